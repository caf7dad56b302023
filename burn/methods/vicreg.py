"""VICReg (Bardes et al., ICLR 2022), without a teacher: a row, and a method for the teacher.

The embeddings of two views are pulled together (invariance); each of their dimensions keeps a
standard deviation of 1 over the batch (variance), and two dimensions vary independently
(covariance; eqs. 1 to 6). Head and loss are lightly's.
"""

from burn.experiment.schema import AtLeastOne, NonNegative
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: hidden and embedding 8192."""

    hidden: AtLeastOne = 512  # width inside the projection
    embedding: AtLeastOne = 512  # dimensions of the projection
    invariance: NonNegative = 25.0
    variance: NonNegative = 25.0
    covariance: NonNegative = 1.0


class Method(Base):
    embeds = True
    normalised = True  # collapse is measured by the spread of directions

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from lightly.loss.vicreg_loss import VICRegLoss

        from burn.training.heads import projector

        r = recipe
        self.networks["head"] = projector(context.network.dim, r.embedding, r.hidden)
        self.loss = VICRegLoss(r.invariance, r.variance, r.covariance, gather_distributed=True)

    def step(self, views, labels, step):
        import torch

        z = [self.networks["head"](self.networks["network"](v)).float() for v in views]
        with torch.autocast(z[0].device.type, enabled=False):  # covariances are matrix products
            loss = self.loss(*z)
        return Step(loss, outputs=z[0], targets=z[1])
