"""Tuned MoCo v2 (Shen et al., CVPR 2021, table 1; MoCo v2: Chen et al., 2020), without a teacher.

MoCo v2 on the binary student as S2-BNN's authors got it to work: Adam, crops of at least a fifth
of the image (`augment` in params.yaml) and two steps, binary activations first. A query on one view
is told from the queue's keys by its key on the other; the key encoder is a moving average whose
batch norms use averaged statistics, as the teacher's (burn/teacher.py says why).

The head is lightly's. Its NTXentLoss is not used: the memory bank in it is in no checkpoint and
drops the keys that go over its end. Nor is its update_momentum: it leaves out running statistics.
"""

from burn.methods.base import Method as Base
from burn.methods.base import Recipe as BaseRecipe
from burn.methods.base import Step
from burn.params import AtLeastOne, Positive, Unit


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: queue 65536, momentum 0.999, no norm."""

    queue: AtLeastOne = 1024  # negatives kept
    momentum: Unit = 0.99  # of the key encoder
    temperature: Positive = 0.2
    embedding: AtLeastOne = 128  # dimensions of the contrastive embedding
    norm: bool = True  # batch norm inside the embedding MLP: short runs need it to start


class Method(Base):
    neck = False
    normalised = True

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from lightly.models.modules.heads import MoCoProjectionHead

        dim = context.network.dim
        self.temperature = recipe.temperature
        self.networks["head"] = MoCoProjectionHead(
            dim, dim, recipe.embedding, batch_norm=recipe.norm
        )

    def begin(self):
        from burn.models.heads import Queue, frozen_copies

        self.helpers["key"] = frozen_copies(self.networks[n] for n in ("network", "head"))
        self.helpers["queue"] = Queue(self.recipe.queue, self.recipe.embedding)

    def step(self, views, labels, step):
        """Query on the first view, key on the second."""
        import torch
        import torch.nn.functional as F

        from burn.losses import info_nce

        query = self.networks["head"](self.networks["network"](views[0])).float()
        query = F.normalize(query, dim=1)
        with torch.no_grad():
            network, head = self.helpers["key"].eval()
            key = F.normalize(head(network(views[1])).float(), dim=1)
        queue = self.helpers["queue"]
        negatives = queue.keys.clone()  # the queue changes before the backward pass
        queue.push(key)
        return Step(info_nce(query, key, negatives, self.temperature), outputs=query, targets=key)

    def after_update(self, progress):
        """Move the key encoder towards the query encoder."""
        from burn.models.heads import follow

        for slow, name in zip(self.helpers["key"], ("network", "head")):
            follow(slow, self.networks[name], self.recipe.momentum)
