"""What params.yaml must satisfy across its sections, and in those that a method or a task defines."""

from typing import Any

from pydantic import ValidationError

from burn.data.registry import REGISTRY
from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.plugins import available, recipe_model
from burn.experiment.schema import RESERVED, Augment, Method, Params, Student, Train
from burn.experiment.wording import allowed, fields_at, shown
from burn.places import named

UNLABELLED = "images"  # the source of sets without labels


def check_section(where: str, key: str, model: Any, section: dict) -> Any:
    """Validate one free-form section (a recipe, a task's options) against its file's model."""
    try:
        return model.model_validate(section)
    except ValidationError as error:
        first = error.errors()[0]
        inner = ".".join([key, *(str(p) for p in first["loc"])])
        if first["type"] == "extra_forbidden":
            keys = ", ".join(fields_at(model, list(first["loc"][:-1])))
            raise UserError(f"{where}: {inner}: unknown key; allowed: {keys}") from None
        section = f"found {shown(first['input'])}; allowed: {allowed(first)}"
        raise UserError(f"{where}: {inner}: {section}") from None


def cross_check(params: Params, where: str) -> None:
    if len(set(params.seeds)) != len(params.seeds):
        raise UserError(f"{where}: seeds: found {params.seeds}; allowed: each seed once")
    both = set(params.methods.standalone) & set(params.methods.distilled)
    if both:
        raise UserError(f"{where}: methods: found {min(both)!r} in both families; allowed: one")
    for name, spec in params.data.sets.items():
        if name not in REGISTRY and spec.source not in ("folder", UNLABELLED):
            raise UserError(
                f"{where}: data.sets.{name}.source: found {spec.source!r}; allowed: folder, "
                f"{UNLABELLED} ({spec.source} ones are {', '.join(REGISTRY)})"
            )
        if spec.source == UNLABELLED and spec.classes is not None:
            raise UserError(
                f"{where}: data.sets.{name}.classes: found {spec.classes}; allowed: null (source: "
                f"{UNLABELLED} has none)"
            )
    if params.pretrain_on not in params.data.sets:
        raise UserError(
            f"{where}: pretrain_on: found {params.pretrain_on!r}; "
            f"allowed: {', '.join(params.data.sets)} (data.sets)"
        )
    _check_teacher(params, where)
    for family in ("standalone", "distilled"):
        for name, method in getattr(params.methods, family).items():
            _check_method(f"methods.{family}.{name}", name, method, params, where)
    if not params.protocols:
        raise UserError(f"{where}: protocols: found none; allowed: one at least")
    for name, protocol in params.protocols.items():
        key = f"protocols.{name}"
        if protocol.dataset not in params.data.sets:
            raise UserError(
                f"{where}: {key}.dataset: found {protocol.dataset!r}; "
                f"allowed: {', '.join(params.data.sets)} (data.sets)"
            )
        if protocol.task not in params.tasks:
            raise UserError(
                f"{where}: {key}.task: found {protocol.task!r}; "
                f"allowed: {', '.join(params.tasks)} (tasks)"
            )
        if params.data.sets[protocol.dataset].source == UNLABELLED:
            labelled = [n for n, s in params.data.sets.items() if s.source != UNLABELLED]
            raise UserError(
                f"{where}: {key}.dataset: found {protocol.dataset!r}, which has no labels (source: "
                f"{UNLABELLED}); allowed: {', '.join(labelled) or 'none of data.sets'}"
            )
    for name, options in params.tasks.items():
        model = recipe_model("tasks", name, "Options")
        if model is None:
            raise UserError(
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
        raise UserError(
            f"{key}.queue: found {queue}; allowed: at least the {images} images of a step "
            "(train.batch x machine.gpus)"
        )


def _check_teacher(params: Params, where: str) -> None:
    teacher = params.teacher
    kind = recipe_model("methods", teacher.method, "Method")
    if kind is not None and teacher.checkpoint is None:
        _check_labels("teacher.method", teacher.method, kind, params, where)
    if kind is not None and (kind.distils or not kind.trains):
        raise UserError(
            f"{where}: teacher.method: found {teacher.method!r}; "
            "allowed: a method that trains and needs no teacher itself"
        )
    recipe = _check_recipe("teacher", teacher.method, teacher.recipe, teacher.train, params, where)
    if recipe.train:
        raise UserError(
            f"{where}: teacher.recipe.train: found {recipe.train}; allowed: none (teacher.train says it)"
        )


def _check_labels(key: str, file: str, kind: Any, params: Params, where: str) -> None:
    """A method that looks at labels must have some."""
    if kind.needs_labels and params.data.sets[params.pretrain_on].source == UNLABELLED:
        out = "" if key == "teacher.method" else ", or null to leave the row out"
        raise UserError(
            f"{where}: {key}: found {file!r}, which needs labels, and {params.pretrain_on} "
            f"(pretrain_on) has none (source: {UNLABELLED}); allowed: a method that needs none{out}"
        )


def _check_recipe(key: str, file: str, raw: dict, train: Train, params: Params, where: str) -> Any:
    """The recipe `raw` as the method in `file` understands it."""
    model = recipe_model("methods", file, "Recipe")
    if model is None:
        name = "method" if key == "teacher" else "file"
        raise UserError(
            f"{where}: {key}.{name}: found {file!r}; allowed: {', '.join(available('methods'))}"
        )
    for section, shared in (
        ("train", Train),
        ("augment", Augment),
        ("student", Student),
    ):  # their keys, not the recipe's
        given = raw.get(section, {})
        if section == "student":  # there is one architecture
            given = {"arch": "reactnet"} | given
        check_section(where, f"{key}.recipe.{section}", shared, given)
    recipe = check_section(where, f"{key}.recipe", model, raw)
    if getattr(recipe, "queue", 0):  # where 0 means none
        train = Train.model_validate(train.model_dump() | recipe.train)
        _check_queue(f"{where}: {key}.recipe", recipe.queue, train, params)
    return recipe


def _check_embedding(key: str, params: Params, where: str) -> None:
    """The method at `key` distils the teacher's embedding: the teacher must have one, which its
    method's file says, or its checkpoint, once that is there."""
    path, method = params.teacher.checkpoint, params.teacher.method
    if path is None:
        has = recipe_model("methods", method, "Method").embeds
        found = f"teacher.method: found {method!r}, which makes no embedding MLP"
    else:
        has = "head" in _networks_in(path, ["head"])
        found = f"teacher.checkpoint: found no embedding MLP (head) in {path}"
    if not has:
        raise UserError(
            f"{where}: {found}; {key} distils one: allowed: a teacher that has it, or "
            f"{key}.recipe.distil: features"
        )


def _networks_in(path: str, unknown: list[str]) -> list[str]:
    """The names of the networks in a weights.safetensors, by its header; `unknown` if it is not there
    (yet) or cannot be read, which the step that takes it says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(named(path), framework="np") as file:
            return [key.partition(".")[0] for key in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return unknown


def _check_method(key: str, name: str, method: Method, params: Params, where: str) -> None:
    if name in RESERVED:
        raise UserError(
            f"{where}: {key}: found {name!r}; allowed: any name but {', '.join(RESERVED)}"
        )
    if method.label is not None and method.table == "main":
        raise UserError(
            f"{where}: {key}.label: found {method.label!r}; allowed: only with table: ablation"
        )
    recipe = _check_recipe(key, method.file, method.recipe, params.train, params, where)
    kind = recipe_model("methods", method.file, "Method")
    _check_labels(f"{key}.file", method.file, kind, params, where)
    if kind.distils and name in params.methods.standalone:
        raise UserError(
            f"{where}: {key}.file: found {method.file!r}, which learns from the teacher; "
            "allowed: one that does not, or this entry under methods.distilled"
        )
    if kind.wants_embedding(recipe):
        _check_embedding(key, params, where)
    trains = kind.trains
    for stage, epochs in method.epochs:
        if epochs and not trains:
            raise UserError(
                f"{where}: {key}.epochs.{stage}: found {epochs}; "
                f"allowed: 0 ({method.file} trains nothing)"
            )
    if trains and not any(epochs for _, epochs in method.epochs):
        raise UserError(f"{where}: {key}.epochs: found 0 in every stage; allowed: one that trains")
