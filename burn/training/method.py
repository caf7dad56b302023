"""What a method is: a file of this folder with a `Recipe` and a `Method`.

A method file must import torch late (inside functions): params.yaml is checked against every
`Recipe` before any step runs, and that check must take no seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from burn.experiment.schema import Augment, Strict, Student, Train

if TYPE_CHECKING:
    from torch import Tensor, nn

    from burn.training.frozen import FrozenTeacher


class Recipe(Strict):
    """What params.yaml may say of a method; these three override the shared sections."""

    train: dict[str, Any] = {}
    augment: dict[str, Any] = {}
    student: dict[str, Any] = {}

    @field_validator("train")
    @classmethod
    def _train(cls, value):
        Train.model_validate(value)
        return value

    @field_validator("augment")
    @classmethod
    def _augment(cls, value):
        Augment.model_validate(value)
        return value

    @field_validator("student")
    @classmethod
    def _student(cls, value):
        Student.model_validate({"arch": "reactnet"} | value)
        return value


@dataclass
class Context:
    """What a method is given to build on."""

    network: nn.Module  # the student, maps (N, 3, H, W) to (N, network.dim)
    teacher: FrozenTeacher | None  # distilled methods only
    classes: int  # of the labels; 0: there are none
    total_steps: int  # loss evaluations over the whole stage


@dataclass
class Step:
    """One loss evaluation: the scalar to minimise, and what to watch."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)  # scalars for the log
    outputs: Tensor | None = None  # (N, C) of the student: collapse is measured on it
    targets: Tensor | None = None  # (N, C) it is pulled to


class Method:
    """Base of every method.

    `networks` is what the stage saves and the next stage starts from; it holds the student as
    "network". `helpers` are modules that training needs and nothing later does (momentum copies,
    queues). Parameters with `requires_grad` are trained.
    """

    distils = False  # True: learns from the frozen teacher, so stands under methods.distilled
    embeds = False  # True: `networks` hold an MLP on the features, "head", that others may distil
    views = 2  # augmented views per image: 2, 1, or 0 for a random crop and flip alone
    # How often `step` puts each image of its batch through the student (small views are not counted).
    student_passes = 2
    needs_labels = False  # True: cannot be trained on a set of source `images`
    trains = True  # False: 0 epochs, in every stage
    calibrates = False  # True: with 0 epochs its batch norms still see some batches, in every stage
    temperature = 0.2  # of the softmax in which collapse is measured
    normalised = False  # the outputs handed over are L2-normalised

    @classmethod
    def work(cls, recipe: Recipe) -> tuple[int, int]:
        """`views` and `student_passes` under this recipe."""
        return cls.views, cls.student_passes

    @classmethod
    def wants_embedding(cls, recipe: Recipe) -> bool:
        """Whether the teacher must have an embedding MLP ("head") for this recipe."""
        return False

    @staticmethod
    def small_views(recipe: Recipe, augment: Augment) -> list[Augment]:
        """How further views of each image are made, which `step` gets after `views` (multi-crop)."""
        return []

    def __init__(self, recipe: Recipe, context: Context):
        self.recipe, self.context = recipe, context
        self.views, self.student_passes = self.work(recipe)
        self.networks: dict[str, nn.Module] = {"network": context.network}
        self.helpers: dict[str, nn.Module] = {}
        self.facts: dict[str, Any] = {}  # what metrics.json should say besides

    def begin(self) -> None:
        """Called once `networks` hold what the stage starts from: copies of them are made here."""

    def step(self, views: list[Tensor], labels: Tensor, step: int) -> Step:
        """The loss of one batch.

        Args:
            views: `self.views` augmented batches (N, 3, S, S), one if `views` is 0 or 1; then the
                `small_views`.
            labels: (N,) class indices, -1 where there are none; only methods that say
                `needs_labels` may look.
            step: loss evaluations so far, of `context.total_steps`.
        """
        raise NotImplementedError

    def after_update(self, progress: float) -> None:
        """Called after each optimiser update with the share of training done (momentum copies)."""

    def lr_scale(self, name: str) -> float:
        """Factor on the learning rate of `networks[name]`."""
        return 1.0
