"""BURN (Kim & Choi, CVPR 2022): joint classifier learning for binary networks.

The student's classifier l on its features k(x) is pulled to a classifier g on the frozen
teacher's features h(x) of the other view. g starts random and is trained at the same time
(`target: joint`), so the target moves. That objective has a trivial optimum: g and l agree on a
constant. `target` and `target_lr` give the variants that cannot fall into it:

    joint      the paper: the gradient of the loss flows into g, at `target_lr` times the rate
    frozen     g stays at its random initialisation
    clustered  g learns by swapped Sinkhorn clustering of the teacher's own features (the SwAV
               objective on g(h(v1)), g(h(v2))), and no gradient comes from the student: the
               target moves, but its balance over the classes rules a constant out
"""

from typing import Annotated, Literal

from pydantic import Field

from burn.experiment.schema import AtLeastOne, NonNegative, Positive, Unit
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step


class Recipe(BaseRecipe):
    temperature: Positive = 0.2  # T of both softmaxes
    outputs: AtLeastOne = 2000  # C of both classifiers
    hidden: AtLeastOne = 2000
    target: Literal["joint", "frozen", "clustered"] = "joint"
    target_lr: NonNegative = 1.0  # learning rate of g, as a factor
    similarity: Literal["features", "outputs", "none"] = "features"  # of what; outputs: the release
    balance: Annotated[list[Unit], Field(min_length=2, max_length=2)] = [0.9, 0.7]
    normalise: bool = False  # KL term on outputs scaled to a root mean square of 1 per image


class Method(Base):
    distils = True

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from torch import nn

        from burn.training.heads import classifier

        student, teacher = context.network.dim, context.teacher.dim
        self.temperature = recipe.temperature
        self.networks["classifier"] = classifier(student, recipe.outputs, recipe.hidden)
        self.networks["target"] = classifier(teacher, recipe.outputs, recipe.hidden)
        self.networks["target"].requires_grad_(recipe.target != "frozen")
        if recipe.similarity == "features":
            self.networks["projection"] = nn.Linear(student, teacher)

    def lr_scale(self, name):
        return self.recipe.target_lr if name == "target" else 1.0

    def step(self, views, labels, step):
        import torch

        from burn.training.losses import balance, burn_loss, unit_rms

        r = self.recipe
        # Frozen, so both views in one batch; first, before the student's activations need room.
        frozen = self.context.teacher.features(torch.cat(views)).chunk(len(views))
        features = [self.networks["network"](v) for v in views]
        outputs = [self.networks["classifier"](k).float() for k in features]
        targets = [self.networks["target"](h).float() for h in frozen]
        if r.normalise:
            outputs, targets = [unit_rms(o) for o in outputs], [unit_rms(t) for t in targets]
        clustering = self._clustering(*targets) if r.target == "clustered" else None
        if r.target != "joint":
            targets = [t.detach() for t in targets]
        near = None
        if r.similarity == "features":
            near = [self.networks["projection"](k) for k in features], frozen[::-1]
        weight = balance(step, self.context.total_steps, *r.balance)
        if r.similarity == "none":
            weight = 0.0
        loss = burn_loss(outputs, targets[::-1], weight, r.temperature, near)
        parts = {"kl": loss.kl, "similarity": loss.similarity}
        if r.similarity != "none":
            parts["balance"] = loss.total.new_tensor(
                weight
            )  # of the similarity term: for the curves
        if clustering is None:
            return Step(loss.total, parts, outputs[0], targets[0])
        parts["clustering"] = clustering
        return Step(loss.total + clustering, parts, outputs[0], targets[0])

    def _clustering(self, first, second):
        """SwAV's swapped prediction (eq. 1-2) between g's outputs for the two views."""
        import torch.nn.functional as F

        from burn.training.losses import sinkhorn, unit_rms

        scores = [unit_rms(t) for t in (first, second)]
        codes = [sinkhorn(s, epsilon=0.5) for s in scores]
        log_p = [F.log_softmax(s, dim=1) for s in scores]
        return -((codes[0] * log_p[1]).sum(1).mean() + (codes[1] * log_p[0]).sum(1).mean()) / 2
