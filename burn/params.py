"""params.yaml, typed: what may be said in it, and what each step may read of it.

One source of truth for both engines. `load` validates a whole file (or the configuration that
Snakemake merged) before any step runs; `READS` lists, per step, the only keys it sees, and is what
Snakemake's `params:` and dvc.yaml's `params:` are made of (a test compares them).

This module must stay cheap to import: no torch here, nor at the top of a method or task file.
"""

import copy
import importlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from burn.data.registry import REGISTRY

STAGES = ("real", "binact", "binary")
# Where null means "leave this entry out"; elsewhere it is a value like any other.
REMOVABLE = ("methods.standalone", "methods.distilled", "protocols", "tasks", "data.sets")
ON = {"tasks": "task", "data.sets": "dataset"}  # what a protocol calls them
RESERVED = ("teacher", *STAGES)  # rows and folders of results that are no method
FORMATS = ("auto", "burn", "s2bnn", "moco")  # of released checkpoints (burn.released)


class ParamsError(Exception):
    """A parameter that cannot be used: one line naming file, key, what was found, what is allowed."""


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
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
# Of the multiplications; auto: bf16 where the device multiplies it, else fp32 (burn.machine.in_force).
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

    source: Literal["synthetic", "folder", "official"] = "synthetic"
    path: str | None = None
    size: AtLeastOne = 32
    pack: bool = True
    classes: AtLeastOne | None = None
    train: AtLeastOne | None = None
    test: AtLeastOne | None = None
    seed: Count = 0


class Data(Strict):
    root: str = "data"
    download: bool = False
    sets: dict[Name, DataSet]


class Augment(Strict):
    """The two-view recipe (burn.augment); each view draws its own values, per image."""

    size: AtLeastOne = 32
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
    """The training loop's settings (burn.train)."""

    batch: AtLeastOne = 256
    accumulate: AtLeastOne = 1
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Positive = 3e-4
    weight_decay: NonNegative = 0.0
    warmup: Unit = 0.0
    precision: Arithmetic = "auto"
    checkpoint_minutes: NonNegative = 5.0
    strict: bool = False


class Network(Strict):
    """A feature extractor (burn.models)."""

    arch: Literal["resnet18", "resnet50"]
    width: Positive = 1.0
    stem: Literal["imagenet", "half", "small"] = "imagenet"


class Student(Network):
    arch: Literal["reactnet"] = "reactnet"
    stem: Literal["imagenet", "small"] = "imagenet"
    gradient: Literal["clipped", "quadratic"] = "clipped"


class Teacher(Strict):
    """MoCo v2 on the FP network, or a checkpoint file somebody already has."""

    network: Network
    checkpoint: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    epochs: Count = 200
    train: Train
    augment: dict[str, Any] = {}
    queue: AtLeastOne = 65536
    momentum: Unit = 0.999
    temperature: Positive = 0.2
    embedding: AtLeastOne = 128
    norm: bool = False


class Epochs(Strict):
    """Epochs per stage; 0 leaves the stage out (its node hands the networks on unchanged)."""

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


class Report(Strict):
    title: str = "BURN, reproduced"


class Params(Strict):
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)]
    machine: Machine = Machine()
    data: Data
    pretrain_on: Name
    augment: Augment
    train: Train
    teacher: Teacher
    student: Student
    methods: Methods
    tasks: dict[Name, dict[str, Any]]
    protocols: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Protocol]
    report: Report = Report()


# What each step may read: a short name for the step's own use, and the key in params.yaml.
READS = {
    "prepare": {
        "root": "data.root",
        "download": "data.download",
        "spec": "data.sets.{dataset}",
    },
    "teacher": {"teacher": "teacher", "augment": "augment"},
    "pretrain": {
        "student": "student",
        "train": "train",
        "augment": "augment",
        "recipe": "methods.{family}.{method}.recipe",
        "epochs": "methods.{family}.{method}.epochs.{stage}",
    },
    "protocol": {"protocol": "protocols.{protocol}", "options": "tasks.{task}"},
    "evaluate": {},
    "cost": {"size": "augment.size"},
    "report": {
        "seeds": "seeds",
        "pretrain_on": "pretrain_on",
        "methods": "methods",
        "protocols": "protocols",
        "report": "report",
    },
}


def merge(base: dict, overlay: dict) -> dict:
    """Overlay `overlay` on `base`, key by key; lists and scalars replace, null removes."""
    out = copy.deepcopy(base)
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def _drop_removed(raw: dict) -> dict:
    """An entry set to null by an overlay (a method, a data set) is left out, and with a data set or
    a task the protocols on it."""
    raw = copy.deepcopy(raw)
    for path in REMOVABLE:
        table: Any = raw
        for key in path.split("."):
            table = table.get(key) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            continue
        gone = [k for k, v in table.items() if v is None]
        for name in gone:
            del table[name]
        if path in ON:
            for name in [k for k, v in (raw.get("protocols") or {}).items()
                         if isinstance(v, dict) and v.get(ON[path]) in gone]:  # fmt: skip
                del raw["protocols"][name]
    return raw


def parse(raw: Any, where: str = "params.yaml") -> Params:
    """Validate a configuration already read from `where`. Raises ParamsError, one line."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{where}: found {type(raw).__name__}; expected a mapping of sections")
    try:
        params = Params.model_validate(_drop_removed(raw))
    except ValidationError as error:
        raise ParamsError(_one_line(error, where)) from None
    _cross_check(params, where)
    return params


def load(path: str | Path) -> Params:
    """Read and validate a params.yaml. Raises ParamsError."""
    return parse(read_yaml(path), str(path))


class _Loader(yaml.SafeLoader):
    """YAML, but a key that comes twice is an error: else the first would be lost in silence."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} twice in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, expected: str = "a params.yaml") -> Any:
    """What a YAML file says. Raises ParamsError, one line."""
    try:
        return yaml.load(Path(path).read_text(), _Loader)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; expected {expected}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def family_of(params: Params, method: str) -> str:
    """The section of `methods` that holds `method`. Raises ParamsError."""
    for family in ("standalone", "distilled"):
        if method in getattr(params.methods, family):
            return family
    known = [*params.methods.standalone, *params.methods.distilled]
    raise ParamsError(f"--method: found {method!r}; allowed: {', '.join(known)}")


def view(params: Params, step: str, **names: str) -> dict[str, Any]:
    """What `step` may read, by short name; nothing else of params.yaml reaches it."""
    if step == "pretrain":
        names["family"] = family_of(params, names["method"])
    if step == "protocol":
        if names["protocol"] not in params.protocols:
            raise ParamsError(
                f"--protocol: found {names['protocol']!r}; allowed: {', '.join(params.protocols)}"
            )
        names["task"] = params.protocols[names["protocol"]].task
    return {short: _get(params, key.format(**names)) for short, key in READS[step].items()}


def plain(value: Any) -> Any:
    """A view or model as plain JSON data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def text(value: Any) -> str:
    """Canonical JSON: what Snakemake compares, and what a checkpoint is bound to."""
    return json.dumps(plain(value), sort_keys=True)


def _get(params: Params, key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def _one_line(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    loc = [str(p) for p in first["loc"] if p != "[key]"]
    key = ".".join(loc)
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_fields_at(Params, loc[:-1]))
        return f"{where}: {key}: unknown key; allowed: {allowed}"
    if first["type"] == "missing":
        return f"{where}: {key}: missing; expected here"
    return f"{where}: {key}: found {first['input']!r}; allowed: {_allowed(first)}"


def _allowed(found: Any) -> str:
    message = found["msg"].removeprefix("Value error, ")
    for start in ("Input should be ", "String should "):
        message = message.removeprefix(start)
    return message


def _fields_at(model: Any, loc: list[str]) -> list[str]:
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        else:
            model = getattr(model, "__args__", (None, None))[-1]
    return list(model.model_fields) if hasattr(model, "model_fields") else []


def recipe_model(package: str, file: str, attribute: str) -> Any:
    """The class `attribute` of burn/<package>/<file>.py, or None if there is no such file.

    Raises ParamsError if the file cannot be imported or has no such class.
    """
    if file not in available(package):
        return None
    try:
        return getattr(importlib.import_module(f"burn.{package}.{file}"), attribute)
    except Exception as error:  # somebody's own file can fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ParamsError(
            f"burn/{package}/{file}.py: found {reason}; expected a class {attribute}"
        ) from error


def available(package: str) -> list[str]:
    """The methods or tasks there are: the files of burn/<package>/."""
    files = (Path(__file__).parent / package).glob("*.py")
    return sorted(f.stem for f in files if f.stem not in ("__init__", "base"))


def check_section(where: str, key: str, model: Any, found: dict) -> Any:
    """Validate one free-form section (a recipe, a task's options) against its file's model."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        inner = ".".join([key, *(str(p) for p in first["loc"])])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(_fields_at(model, list(first["loc"][:-1])))
            raise ParamsError(f"{where}: {inner}: unknown key; allowed: {allowed}") from None
        found = f"found {first['input']!r}; allowed: {_allowed(first)}"
        raise ParamsError(f"{where}: {inner}: {found}") from None


def _cross_check(params: Params, where: str) -> None:
    if len(set(params.seeds)) != len(params.seeds):
        raise ParamsError(f"{where}: seeds: found {params.seeds}; allowed: each seed once")
    both = set(params.methods.standalone) & set(params.methods.distilled)
    if both:
        raise ParamsError(f"{where}: methods: found {min(both)!r} in both families; allowed: one")
    for name, spec in params.data.sets.items():
        if name not in REGISTRY and spec.source != "folder":
            raise ParamsError(
                f"{where}: data.sets.{name}.source: found {spec.source!r}; allowed: folder "
                f"({spec.source} ones are {', '.join(REGISTRY)})"
            )
    if params.pretrain_on not in params.data.sets:
        raise ParamsError(
            f"{where}: pretrain_on: found {params.pretrain_on!r}; "
            f"allowed: {', '.join(params.data.sets)} (data.sets)"
        )
    check_section(where, "teacher.augment", Augment, params.teacher.augment)
    _check_queue(f"{where}: teacher", params.teacher.queue, params.teacher.train, params)
    for family in ("standalone", "distilled"):
        for name, method in getattr(params.methods, family).items():
            _check_method(f"methods.{family}.{name}", name, method, params, where)
    if not params.protocols:
        raise ParamsError(f"{where}: protocols: found none; allowed: one at least")
    for name, protocol in params.protocols.items():
        key = f"protocols.{name}"
        if protocol.dataset not in params.data.sets:
            raise ParamsError(
                f"{where}: {key}.dataset: found {protocol.dataset!r}; "
                f"allowed: {', '.join(params.data.sets)} (data.sets)"
            )
        if protocol.task not in params.tasks:
            raise ParamsError(
                f"{where}: {key}.task: found {protocol.task!r}; "
                f"allowed: {', '.join(params.tasks)} (tasks)"
            )
    for name, options in params.tasks.items():
        model = recipe_model("tasks", name, "Options")
        if model is None:
            raise ParamsError(
                f"{where}: tasks.{name}: no such task; allowed: {', '.join(available('tasks'))}"
            )
        check_section(where, f"tasks.{name}", model, options)
    for name, protocol in params.protocols.items():
        model = recipe_model("tasks", protocol.task, "Options")
        options = merge(params.tasks[protocol.task], protocol.options)
        check_section(where, f"protocols.{name}.options", model, options)


def _check_queue(key: str, queue: int, train: Train, params: Params) -> None:
    """A batch that is longer than the queue it goes to would not find room in it."""
    images = train.batch * max(1, params.machine.gpus)
    if queue < images:
        raise ParamsError(
            f"{key}.queue: found {queue}; allowed: at least the {images} images of a step "
            "(train.batch x machine.gpus)"
        )


def _check_method(key: str, name: str, method: Method, params: Params, where: str) -> None:
    if name in RESERVED:
        raise ParamsError(
            f"{where}: {key}: found {name!r}; allowed: any name but {', '.join(RESERVED)}"
        )
    if method.label is not None and method.table == "main":
        raise ParamsError(
            f"{where}: {key}.label: found {method.label!r}; allowed: only with table: ablation"
        )
    model = recipe_model("methods", method.file, "Recipe")
    if model is None:
        raise ParamsError(
            f"{where}: {key}.file: found {method.file!r}; "
            f"allowed: {', '.join(available('methods'))}"
        )
    for part, shared in (("train", Train), ("augment", Augment)):  # their keys, not the recipe's
        check_section(where, f"{key}.recipe.{part}", shared, method.recipe.get(part, {}))
    recipe = check_section(where, f"{key}.recipe", model, method.recipe)
    if getattr(recipe, "queue", 0):  # where 0 means none
        train = Train.model_validate(params.train.model_dump() | recipe.train)
        _check_queue(f"{where}: {key}.recipe", recipe.queue, train, params)
    trains = recipe_model("methods", method.file, "Method").trains
    for stage, epochs in method.epochs:
        if epochs and not trains:
            raise ParamsError(
                f"{where}: {key}.epochs.{stage}: found {epochs}; "
                f"allowed: 0 ({method.file} trains nothing)"
            )
