"""SwAV (Caron et al., NeurIPS 2020) on the binary student, without a teacher.

The code of one view (its scores on the prototypes, balanced over the batch by Sinkhorn's scaling)
is predicted from the other view and from small crops of the image (multi-crop). `queue` adds earlier
features to the codes' batch, which must not be small beside the number of prototypes; the paper has
one of 3840 for batches of 256.

Heads and loss are lightly's. Its prototypes have a bias, which is taken out: the paper's have none.
"""

from burn.experiment.schema import AtLeastOne, Count, Positive, Share, Unit
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: 3000 prototypes, hidden 2048, no norm."""

    prototypes: AtLeastOne = 100
    hidden: AtLeastOne = 512  # width inside the projection
    embedding: AtLeastOne = 128  # dimensions of the projection
    norm: bool = True  # batch norm after the projection, as burn.training.heads.mlp says
    temperature: Positive = 0.1
    epsilon: Positive = 0.05  # smoothness of the codes
    rounds: AtLeastOne = 3  # of Sinkhorn's scaling
    freeze: Unit = 0.05  # share of a stage, from its start, in which the prototypes stay
    small_crops: Count = 0
    small_size: AtLeastOne = 16  # side in pixels
    small_crop: Share = [0.05, 0.14]  # of the image's area, as augment.crop
    queue: Count = 0  # features of each view kept; 0: none
    queue_from: Unit = 0.075  # share of a stage from which on they are used


class Method(Base):
    @staticmethod
    def small_views(recipe, augment):
        small = {"size": recipe.small_size, "crop": recipe.small_crop}
        return [augment.model_copy(update=small)] * recipe.small_crops

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from lightly.loss.swav_loss import SwaVLoss
        from lightly.models.modules.heads import SwaVProjectionHead, SwaVPrototypes
        from torch import nn

        r, out = recipe, recipe.embedding
        self.temperature = r.temperature
        frozen = round(r.freeze * context.total_steps)
        self.networks["projector"] = projector = SwaVProjectionHead(
            context.network.dim, r.hidden, out
        )
        if r.norm:
            projector.layers.append(nn.BatchNorm1d(out, affine=False))
        self.networks["prototypes"] = prototypes = SwaVPrototypes(out, r.prototypes, frozen)
        prototypes.heads[0].register_parameter("bias", None)
        prototypes.normalize()
        self.loss = SwaVLoss(r.temperature, r.rounds, r.epsilon, sinkhorn_gather_distributed=True)

    def begin(self):
        from torch import nn

        from burn.training.heads import Queue

        if self.recipe.queue:
            queues = (Queue(self.recipe.queue, self.recipe.embedding) for _ in range(2))
            self.helpers["queues"] = nn.ModuleList(queues)

    def step(self, views, labels, step):
        """Each resolution passes the network at once; the first two views have codes."""
        import torch
        import torch.nn.functional as F

        n = self.networks
        parts = [n["network"](torch.cat(part)) for part in (views[:2], views[2:]) if part]
        z = F.normalize(n["projector"](torch.cat(parts)).float(), dim=1)
        with torch.autocast(z.device.type, enabled=False):  # codes divide by epsilon
            scores = n["prototypes"](z, step).chunk(len(views))
            loss = self.loss(scores[:2], scores[2:], self._earlier(step, len(views[0])))
        for queue, features in zip(self.helpers.get("queues", ()), z.chunk(len(views))):
            queue.push(features)
        # What is predicted; and what its codes, the targets, are made of.
        return Step(loss.sum(), outputs=scores[0], targets=scores[1])

    def _earlier(self, step, batch):
        """Scores of this process's share of the queues' features; None where they are not used."""
        import torch

        from burn.training.distributed import world

        (rank, processes), size = world(), self.recipe.queue
        full = step * batch * processes >= size
        if not size or not full or step < self.recipe.queue_from * self.context.total_steps:
            return None
        share = slice(rank, size - size % processes, processes)  # equal ones, as the loss wants
        with torch.no_grad():
            return [
                self.networks["prototypes"](q.keys[share], step) for q in self.helpers["queues"]
            ]

    def after_update(self, progress):
        self.networks["prototypes"].normalize()
