"""params.yaml, typed: every section, its keys, types, bounds and defaults.

This package must stay cheap to import: no torch here, nor at the top of a method or task file.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

STAGES = ("real", "binact", "binary")
RESERVED = ("teacher", *STAGES)  # rows and folders of results that are no method
FORMATS = ("auto", "burn", "s2bnn", "moco")  # of released checkpoints (burn.released.read)


def _number(value: Any) -> Any:
    # YAML 1.1 reads 3e-4 as a string (it wants 3.0e-4); nobody means the string.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Real, Field(gt=0)]
NonNegative = Annotated[Real, Field(ge=0)]
Unit = Annotated[Real, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=4096)]  # of an image, in pixels
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # as NumPy's generators want it
# Names become those of folders and logs.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=64)]
# Of the multiplications; auto: bf16 where that is faster, else fp32 (burn.networks.arithmetic.in_force).
Arithmetic = Literal["auto", "bf16", "fp32"]


def _rising(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError("two values in rising order")
    return value


Share = Annotated[list[Unit], Field(min_length=2, max_length=2), AfterValidator(_rising)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class Strict(BaseModel):
    """A section of params.yaml: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Machine(Strict):
    """How a step runs, never what it computes: no node depends on this section."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    gpus: Count = 1
    threads: AtLeastOne = 1
    workers: Count = 2


class DataSet(Strict):
    """Where a data set comes from and how much of it is used."""

    source: Literal["synthetic", "folder", "official", "images"] = "synthetic"
    path: str | None = None
    size: Side = 32
    pack: bool = True
    classes: AtLeastOne | None = None
    train: AtLeastOne | None = None
    test: AtLeastOne | None = None
    seed: Seed = 0
    # null: none, or of source images one file in a hundred (burn.data.prepare.may_be_broken)
    skip_broken: Count | None = None


class Data(Strict):
    root: str = "data"
    download: bool = False
    sets: dict[Name, DataSet]


class Augment(Strict):
    """The two-view recipe (burn.images.augment); each view draws its own values, per image."""

    size: Side = 32
    crop: Share = [0.08, 1.0]
    flip: Unit = 0.5
    jitter: Annotated[list[NonNegative], Field(min_length=4, max_length=4)] = [0.4, 0.4, 0.4, 0.1]
    jitter_p: Unit = 0.6
    gray_p: Unit = 0.2
    blur: Range = [0.1, 2.0]
    blur_p: Unit = 0.2

    @field_validator("jitter")
    @classmethod
    def _half_a_turn(cls, value):
        if value[3] > 0.5:
            raise ValueError("hue, the last of four, of at most 0.5")
        return value


class Train(Strict):
    """The training loop's settings (burn.training.fit)."""

    batch: AtLeastOne = 256
    accumulate: AtLeastOne = 1
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Positive = 3e-4
    weight_decay: NonNegative = 0.0
    warmup: Unit = 0.0
    schedule: Literal["cosine", "linear"] = "cosine"
    precision: Arithmetic = "auto"
    checkpoint_minutes: NonNegative = 5.0
    strict: bool = False


class Network(Strict):
    """A feature extractor (burn.networks)."""

    arch: Literal["resnet18", "resnet50"]
    width: Positive = 1.0
    stem: Literal["imagenet", "half", "small"] = "imagenet"


class Student(Network):
    arch: Literal["reactnet"] = "reactnet"
    stem: Literal["imagenet", "small"] = "imagenet"
    gradient: Literal["clipped", "quadratic"] = "clipped"
    latent: Literal["kaiming", "small"] = "kaiming"
    neck: bool = False


class Teacher(Strict):
    """The FP network, trained by a method that needs no teacher, or weights that exist already."""

    method: Name = "mocov2"
    network: Network
    checkpoint: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    epochs: Count = 200
    train: Train
    recipe: dict[str, Any] = {}


class Epochs(Strict):
    """Epochs per stage; 0 leaves the stage out (its node hands on what the one before left).

    An epoch is as many passes of the student as there are training images: a method that looks at
    two views of an image sees half of the images in it. Equal epochs are equal work of the student.
    """

    real: Count = 0
    binact: Count = 0
    binary: Count = 0


class Method(Strict):
    """A row of every table: a file of burn/methods/ and what it is told.

    With `table: ablation` it stands in the ablation table instead, under its `label`: the name of
    a published row, as in burn/report/published.csv, puts that figure beside it.
    """

    file: Name
    epochs: Epochs
    recipe: dict[str, Any] = {}
    table: Literal["main", "ablation"] = "main"
    label: Annotated[str, Field(pattern=r"^[^|\n]+$")] | None = None


class Methods(Strict):
    """`distilled` methods learn from the frozen teacher, `standalone` ones need none."""

    standalone: dict[Name, Method] = {}
    distilled: dict[Name, Method] = {}


class Protocol(Strict):
    """A column of the tables: a task on a data set.

    `stages: last` examines only a method's result, not the networks on the way to it; `options` are
    what differs from `tasks.<task>` here, so that one task file serves several columns.
    """

    task: Name
    dataset: Name
    stages: Literal["all", "last"] = "all"
    options: dict[str, Any] = {}


def _free(name: str) -> str:
    if name in ("published", "networks"):
        raise ValueError("any other name: results/published and results/networks are in Git")
    return name


class Report(Strict):
    title: str = "BURN, reproduced"


class Params(Strict):
    run: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64), AfterValidator(_free)
    ]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    machine: Machine = Machine()
    data: Data
    pretrain_on: Name
    augment: Augment
    train: Train
    teacher: Teacher
    student: Student
    methods: Methods
    tasks: dict[Name, dict[str, Any]]
    protocols: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)], Protocol
    ]
    report: Report = Report()
