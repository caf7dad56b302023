"""EMP-SSL (Tong et al., 2023, arXiv:2304.03977): the teacher's method on small budgets, and a row.

The embeddings of some crops of an image are pulled to their mean, while the embeddings of a batch
fill the sphere: their coding rate (Yu et al., NeurIPS 2020, eq. 5)

    R(Z) = 1/2 log det(I + D / (N eps) Z^T Z)

is maximised for each crop's (N, D) batch Z of unit vectors. No negatives, no momentum copy. In five
minutes of one core on CIFAR-10 its features were above VICReg's (results/networks/teacher/README.md).
The paper takes 20 crops; with few passes 2 crops and small batches, so more updates, are better.

lightly's EMPSSLLoss is not used: it adds the coding rate where the paper subtracts it.
"""

from typing import Annotated

from pydantic import Field

from burn.experiment.schema import AtLeastOne, NonNegative, Positive
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: 20 crops, hidden 4096, embedding 512."""

    crops: Annotated[int, Field(ge=2)] = 2  # of each image
    hidden: AtLeastOne = 1024  # width inside the projection
    embedding: AtLeastOne = 256  # dimensions of the projection
    epsilon: Positive = 0.2  # of the coding rate
    invariance: NonNegative = 200.0  # weight of the similarity to the mean


class Method(Base):
    embeds = True
    normalised = True

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.training.heads import projector

        self.networks["head"] = projector(context.network.dim, recipe.embedding, recipe.hidden)

    @classmethod
    def work(cls, recipe):
        return recipe.crops, recipe.crops

    def step(self, views, labels, step):
        """All crops pass the network at once; each crop's batch has a coding rate of its own."""
        import torch
        import torch.nn.functional as F
        from lightly.utils.dist import gather

        from burn.training.distributed import world
        from burn.training.losses import coding_rate

        z = self.networks["head"](self.networks["network"](torch.cat(views))).float()
        z = F.normalize(z, dim=1).view(len(views), -1, z.shape[1])
        if world()[1] > 1:
            z = torch.cat(gather(z), dim=1)  # the rate is one of the whole batch
        similarity = F.cosine_similarity(z, z.mean(0, keepdim=True), dim=2).mean()
        rate = torch.stack([coding_rate(crop, self.recipe.epsilon) for crop in z]).mean()
        loss = -self.recipe.invariance * similarity - rate
        parts = {"similarity": similarity, "coding_rate": rate}
        return Step(loss, parts, outputs=z[0], targets=z[1])
