"""BURN (Kim & Choi, CVPR 2022): joint classifier learning for binary networks.

The student's classifier l on its features k(x) is pulled to a classifier g on the frozen teacher's
features h(x) of the other view. g starts random and is trained at the same time (`target: joint`),
so the target moves. Nothing in that objective keeps g and l from agreeing on one class for all
images: then the KL term is 0, g gets no gradient any more, and what is left is the similarity of
features. Readings and remedies, each a row of params.yaml:

    burn_literal   the paper's sentence as it stands
    burn_released  the release with its loss taken out of no_grad: g frozen at random, similarity of
                   outputs instead of features
    burn           the paper's, with batch norm (without scale and shift) on the outputs of both
                   classifiers: over a batch every class has the same mean and spread, so one class
                   for all is out of reach, while the gradient still flows into g
    burn_same      burn on the view the student sees, so two views and passes become one and equal
                   passes are twice the updates; an MLP projects to standardised teacher features
                   (SimReg, Navaneet et al., BMVC 2021), and `information` keeps the target apart
    burn_dense     burn_same, and the student's maps are pulled to the teacher's, too (as FitNets,
                   Romero et al., ICLR 2015, and Real-to-Binary, Martinez et al., ICLR 2020, do)
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
    norm: bool = False  # batch norm without scale and shift on both classifiers' outputs
    information: NonNegative = 0.0  # how much the target is rewarded for telling images apart
    target: Literal["joint", "frozen"] = "joint"  # g: trained along, or as initialised
    target_lr: NonNegative = 1.0  # learning rate of g, as a factor
    view: Literal["crossed", "same"] = (
        "crossed"  # of the teacher: the student's other one, or its own
    )
    similarity: Literal["features", "outputs", "none"] = "features"  # of what; outputs: the release
    projection: Literal["linear", "mlp"] = "linear"  # of the student's features to the teacher's
    standardise: bool = False  # the teacher's features, one by one, before their similarity
    balance: Annotated[list[Unit], Field(min_length=2, max_length=2)] = [0.9, 0.7]
    maps: list[AtLeastOne] = []  # strides at which the student's maps are pulled to the teacher's
    maps_weight: NonNegative = 1.0


class Method(Base):
    distils = True

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from torch import nn

        from burn.training.heads import classifier

        r, student, teacher = recipe, context.network.dim, context.teacher.dim
        self.temperature = r.temperature
        self.networks["classifier"] = classifier(student, r.outputs, r.hidden, r.norm)
        self.networks["target"] = classifier(teacher, r.outputs, r.hidden, r.norm)
        self.networks["target"].requires_grad_(r.target != "frozen")
        if r.similarity == "features":
            self.networks["projection"] = _projection(r.projection, student, teacher)
            if r.standardise:
                self.helpers["standard"] = nn.BatchNorm1d(teacher, affine=False)
        if r.maps:
            from burn.training.heads import MapProjections

            self.networks["maps"] = MapProjections(context.network, context.teacher.network, r.maps)

    @classmethod
    def work(cls, recipe):
        # Without a partner to cross with, a second view of an image brings nothing of its own.
        return (1, 1) if recipe.view == "same" else (cls.views, cls.student_passes)

    def lr_scale(self, name):
        return self.recipe.target_lr if name == "target" else 1.0

    def step(self, views, labels, step):
        from burn.training.losses import balance, burn_loss, information

        r = self.recipe
        frozen, frozen_maps = self._teacher(views)
        maps = [self._student_maps(v) for v in views]
        features = [self.networks["network"].pool(m[max(m)]) for m in maps]
        outputs = [self.networks["classifier"](k).float() for k in features]
        targets = [self.networks["target"](h).float() for h in frozen]
        if r.target == "frozen":
            targets = [t.detach() for t in targets]
        order = -1 if r.view == "crossed" else 1
        near = None
        if r.similarity == "features":
            goals = [self.helpers["standard"](h) for h in frozen] if r.standardise else frozen
            near = [self.networks["projection"](k) for k in features], goals[::order]
        weight = balance(step, self.context.total_steps, *r.balance)
        if r.similarity == "none":
            weight = 0.0
        loss = burn_loss(outputs, targets[::order], weight, r.temperature, near)
        parts = {"kl": loss.kl, "similarity": loss.similarity}
        if r.similarity != "none":  # of the similarity term: for the curves
            parts["balance"] = loss.total.new_tensor(weight)
        total = loss.total
        if r.information:
            parts["information"] = sum(information(t, r.temperature) for t in targets)
            total = total - (1 - weight) * r.information * parts["information"]
        if r.maps:
            # Pixel for pixel, so of the same view: another crop shows something else there.
            parts["maps"] = sum(map(self.networks["maps"], maps, frozen_maps))
            total = total + r.maps_weight * parts["maps"]
        return Step(total, parts, outputs[0], targets[0])

    def _teacher(self, views):
        """The features of each view, and its maps if they are asked for."""
        import torch

        # Frozen, so all views in one batch; first, before the student's activations need room.
        images, n = torch.cat(views), len(views)
        if not self.recipe.maps:
            return self.context.teacher.features(images).chunk(n), None
        maps = self.context.teacher.maps(images)
        own = [{s: m.chunk(n)[i] for s, m in maps.items()} for i in range(n)]
        return maps[max(maps)].mean((2, 3)).chunk(n), own

    def _student_maps(self, view):
        network = self.networks["network"]
        return network.maps(view) if self.recipe.maps else {0: network.feature_map(view)}


def _projection(kind, student, teacher):
    from torch import nn

    if kind == "linear":
        return nn.Linear(student, teacher)
    from burn.training.heads import mlp

    # Batch norm inside, not on the outputs: their mean and length are what is learned.
    return mlp(student, teacher, 2 * student, norm=True)[:-1]
