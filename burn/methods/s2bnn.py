"""S2-BNN (Shen et al., CVPR 2021): distillation of the teacher's contrastive embedding.

The student's own two-layer MLP (hidden width: its feature's) is pulled to the softmax of the
teacher's L2-normalised embedding over its dimensions: soft cross-entropy, same view for both.
Of a teacher that came without its embedding MLP the feature itself can be distilled so
(`distil: features`), which the paper does not try.
"""

from typing import Literal

from burn.errors import UserError
from burn.experiment.schema import Positive
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    temperature: Positive = 0.2
    distil: Literal["embedding", "features"] = "embedding"  # of the teacher


class Method(Base):
    distils = True
    views = 1
    student_passes = 1
    normalised = True

    @classmethod
    def wants_embedding(cls, recipe):
        return recipe.distil == "embedding"

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.training.heads import mlp

        teacher, outputs = context.teacher, context.teacher.dim
        self.target = teacher.features
        if self.wants_embedding(recipe):
            if teacher.head is None:
                raise UserError(
                    "teacher.checkpoint: found no embedding MLP (head) in it, which s2bnn distils; "
                    "expected one, or recipe.distil: features"
                )
            self.target, outputs = teacher.embedding, teacher.embedding_dim
        self.networks["head"] = mlp(context.network.dim, outputs)
        self.temperature = recipe.temperature

    def step(self, views, labels, step):
        import torch.nn.functional as F

        target = F.normalize(self.target(views[0]), dim=1)
        output = self.networks["head"](self.networks["network"](views[0])).float()
        output = F.normalize(output, dim=1)
        p = F.softmax(target / self.temperature, dim=1)
        loss = -(p * F.log_softmax(output / self.temperature, dim=1)).sum(1).mean()
        return Step(loss, outputs=output, targets=target)
