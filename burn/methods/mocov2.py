"""MoCo v2 (Chen et al., 2020; MoCo: He et al., CVPR 2020): the teacher's method, and a row.

A query on one view is told from the queue's keys by its key on the other (InfoNCE). The key encoder
is a moving average of the query's, and its batch norms use averaged statistics (EMAN, Cai et al.,
CVPR 2021) where the official recipe shuffles batches between GPUs: both keep the statistics of a
batch from giving away which key belongs to which query, and this one works on one device.

The row `mocov2_tuned` is what S2-BNN's authors got to work on the binary student (Shen et al., CVPR
2021, table 1): Adam, crops of at least a fifth of the image, two steps, binary activations first.

lightly's NTXentLoss is not used: the memory bank in it is in no checkpoint and drops the keys that
go over its end. Nor is its update_momentum: it leaves out running statistics.
"""

from burn.experiment.schema import AtLeastOne, Positive, Unit
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: queue 65536, momentum 0.999, no norm."""

    queue: AtLeastOne = 1024  # negatives kept
    momentum: Unit = 0.99  # of the key encoder
    temperature: Positive = 0.2
    embedding: AtLeastOne = 128  # dimensions of the contrastive embedding
    norm: bool = True  # batch norm inside the embedding MLP: short runs need it to start


class Method(Base):
    embeds = True
    normalised = True
    student_passes = 1  # the other view goes through the key encoder

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.training.heads import mlp

        self.temperature = recipe.temperature
        self.networks["head"] = mlp(context.network.dim, recipe.embedding, norm=recipe.norm)

    def begin(self):
        from burn.training.heads import Queue, frozen_copies

        self.helpers["key"] = frozen_copies(self.networks[n] for n in ("network", "head"))
        self.helpers["queue"] = Queue(self.recipe.queue, self.recipe.embedding)

    def step(self, views, labels, step):
        """Query on the first view, key on the second."""
        import torch
        import torch.nn.functional as F

        from burn.training.losses import info_nce

        queue = self.helpers["queue"]
        query = self.networks["head"](self.networks["network"](views[0])).float()
        query = F.normalize(query, dim=1)
        with torch.no_grad():
            self.helpers["key"].eval()  # the loop puts every module in training mode
            network, head = self.helpers["key"]
            key = F.normalize(head(network(views[1])).float(), dim=1)
        negatives = queue.keys.clone()  # the queue changes before the backward pass
        queue.push(key)
        loss = info_nce(query, key, negatives, self.temperature)
        return Step(loss, outputs=query, targets=key)

    def after_update(self, progress):
        """Move the key encoder towards the query encoder."""
        from burn.training.heads import follow

        for slow, name in zip(self.helpers["key"], ("network", "head")):
            follow(slow, self.networks[name], self.recipe.momentum)
