"""The same binary network trained with labels: cross-entropy on a linear classifier."""

from burn.training.method import Method as Base
from burn.training.method import Recipe as Recipe
from burn.training.method import Step


class Method(Base):
    needs_labels = True
    views = 0  # random crop and flip: the recipe of supervised ImageNet training
    student_passes = 1
    temperature = 1.0

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from torch import nn

        self.networks["classifier"] = nn.Linear(context.network.dim, context.classes)

    def step(self, views, labels, step):
        import torch.nn.functional as F

        logits = self.networks["classifier"](self.networks["network"](views[0])).float()
        return Step(F.cross_entropy(logits, labels), outputs=logits)
