"""S2-BNN (Shen et al., CVPR 2021): distillation of the teacher's contrastive embedding.

The student's own two-layer MLP (hidden width: its feature's) is pulled to the softmax of the
teacher's L2-normalised embedding over its dimensions: soft cross-entropy, same view for both.
"""

from burn.errors import UserError
from burn.experiment.schema import Positive
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    temperature: Positive = 0.2


class Method(Base):
    distils = True
    views = 1
    student_passes = 1
    normalised = True

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.training.heads import mlp

        if context.teacher.head is None:
            raise UserError(
                "teacher.checkpoint: found no contrastive embedding in it; expected MoCo v2's fc.0 "
                "and fc.2, which s2bnn distils"
            )
        outputs = context.teacher.embedding_dim
        self.networks["head"] = mlp(context.network.dim, outputs)
        self.temperature = recipe.temperature

    def step(self, views, labels, step):
        import torch.nn.functional as F

        target = F.normalize(self.context.teacher.embedding(views[0]), dim=1)
        output = self.networks["head"](self.networks["network"](views[0])).float()
        output = F.normalize(output, dim=1)
        p = F.softmax(target / self.temperature, dim=1)
        loss = -(p * F.log_softmax(output / self.temperature, dim=1)).sum(1).mean()
        return Step(loss, outputs=output, targets=target)
