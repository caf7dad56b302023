"""BYOL (Grill et al., NeurIPS 2020) on the binary student, without a teacher.

A predictor on the student's projection of one view is pulled to a momentum copy's projection of the
other view (eq. 2, both ways). The momentum rises to 1 on a half-cosine over each stage. The copy
sees batch statistics, as published, so only its parameters follow. Heads, loss and momentum update
are lightly's; its cosine_schedule counts steps where the loop tells a share, so burn.training.losses.balance
is used.
"""

from burn.experiment.schema import AtLeastOne, Unit
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    """Defaults are for small sets; published: hidden 4096."""

    momentum: Unit = 0.99  # of the target network at the start; 1 at the end
    hidden: AtLeastOne = 1024  # width inside projector and predictor
    embedding: AtLeastOne = 256  # dimensions of the projection


class Method(Base):
    normalised = True  # of the cosine alone; BYOL has no temperature

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

        hidden, out = recipe.hidden, recipe.embedding
        self.networks["projector"] = BYOLProjectionHead(context.network.dim, hidden, out)
        self.networks["predictor"] = BYOLPredictionHead(out, hidden, out)

    def begin(self):
        from burn.training.heads import frozen_copies

        copied = (self.networks[n] for n in ("network", "projector"))
        self.helpers["target"] = frozen_copies(copied)

    def step(self, views, labels, step):
        import torch
        from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity

        n, away = self.networks, NegativeCosineSimilarity()
        predicted = [n["predictor"](n["projector"](n["network"](v))).float() for v in views]
        with torch.no_grad():
            network, projector = self.helpers["target"]
            targets = [projector(network(v)).float() for v in views]
        cosines = away(predicted[0], targets[1]) + away(predicted[1], targets[0])
        return Step(4 + 2 * cosines, outputs=predicted[0], targets=targets[1])

    def after_update(self, progress):
        """Move the target network's parameters towards the student's."""
        from lightly.models.utils import update_momentum

        from burn.training.losses import balance

        momentum = balance(progress, 1, self.recipe.momentum, 1.0)
        for slow, name in zip(self.helpers["target"], ("network", "projector")):
            update_momentum(self.networks[name], slow, momentum)
