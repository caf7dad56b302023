"""Every score of the report in one tidy frame, read from the evaluations in force, no others."""

import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.experiment.schema import STAGES, Method, Protocol
from burn.places import METRICS, TEACHER

ORDER = (*STAGES, TEACHER)  # later stages last: the last one is a method's result
FACTS = ("protocol", "task", "dataset", "stand_in", "classes", "train_images", "test_images",
         "method", "seed")  # fmt: skip
# What a stage says of its training, and what it is called in the frame.
TRAINING = {"epochs": "epochs", "updates": "updates", "images_seen": "images_seen",
            "student_passes": "student_passes",
            "train_images": "pretrain_images"}  # fmt: skip


def methods(settings: dict[str, Any], table: str | None = None) -> list[str]:
    """Methods in the order of the tables: random, supervised ones, distilled ones, the teacher.

    Those of one table ("main", which the teacher is in, or "ablation"), or all.
    """
    known = settings["methods"]
    floor_first = sorted(known.standalone, key=lambda name: not is_random(settings, name))
    rows = [*floor_first, *known.distilled]
    rows = [name for name in rows if table in (None, entry(settings, name).table)]
    return rows if table == "ablation" else [*rows, TEACHER]


def entry(settings: dict[str, Any], method: str) -> Method:
    """What params.yaml says of `method`."""
    known = settings["methods"]
    return known.standalone[method] if method in known.standalone else known.distilled[method]


def is_random(settings: dict[str, Any], method: str) -> bool:
    """Whether `method` is an untrained network."""
    return method != TEACHER and entry(settings, method).file == "random"


def evaluations(settings: dict[str, Any], results: Path) -> dict[tuple[str, str, int], Path]:
    """(protocol, method, seed) -> artifact folder of each evaluation that `settings` asks for."""
    return {
        (protocol, method, seed): places.evaluation(results, protocol, method, seed)
        for protocol in settings["protocols"]
        for method in methods(settings)
        for seed in settings["seeds"]
    }


def exports(settings: dict[str, Any], results: Path) -> list[Path]:
    """The folders of what was exported of every method and the teacher."""
    names, seeds = methods(settings), settings["seeds"]
    return [places.exported(results, name, seed) for name in names for seed in seeds]


def collect(settings: dict[str, Any], results: Path) -> pd.DataFrame:
    """One row per protocol, method, seed, stage and score; `value`, in percent, may be nan.

    `within` is the standard deviation that a task reports of the score (as <score>_std), `last`
    marks the stage that is a method's result, `measures` has the other numbers of the stage: those
    of collapse. A stage that was trained and not examined (`stages: last`) has a row without a
    metric. What lies in `results` without being in `settings` is not read. Raises UserError, naming
    the file, if one is missing or belongs to something else.
    """
    rows = []
    for (protocol, method, seed), folder in evaluations(settings, results).items():
        path, spec = folder / METRICS, settings["protocols"][protocol]
        evaluation = read_json(path)
        _check(evaluation, path, spec, protocol, method, seed)
        facts = {key: evaluation[key] for key in FACTS}
        stages = sorted(evaluation["stages"], key=ORDER.index)
        for name in stages:
            stage, last = evaluation["stages"][name], name == stages[-1]
            scores = _scores(stage, f"{path}: stages.{name}")
            _say_what_is_dropped(stage, f"{path}: stages.{name}")
            if not scores and (last or spec.stages != "last"):
                raise UserError(f"{path}: stages.{name}: found no score; expected one at least")
            shared = facts | {"stage": name, "last": last, "measures": _measures(stage, scores)}
            shared |= {known: stage.get(key, math.nan) for key, known in TRAINING.items()}
            shared["pretrain_stand_in"] = bool(stage.get("stand_in"))
            shared["pretrain_unlabelled"] = bool(stage.get("unlabelled"))
            shared["collapsed"] = bool(stage.get("collapsed"))
            shared["labelled"] = stage.get("notes", {}).get("labelled", math.nan)
            shared["collapse"] = tuple(stage.get("collapse", ()))
            for metric in scores or [""]:
                value, within = (stage.get(key, math.nan) for key in (metric, f"{metric}_std"))
                rows.append(shared | {"metric": metric, "value": value, "within": _number(within)})
    return pd.DataFrame(rows)


def _check(evaluation: Any, path: Path, spec: Protocol, protocol: str, method: str, seed: int):
    """Raise UserError unless the file is the evaluation that its place says it is."""
    if not isinstance(evaluation, dict):
        raise UserError(f"{path}: found a {type(evaluation).__name__}; expected a mapping")
    expected = {"protocol": protocol, "method": method, "seed": seed}
    expected |= {"task": spec.task, "dataset": spec.dataset}
    for key, value in expected.items():
        if evaluation.get(key) != value:
            raise UserError(f"{path}: {key}: found {evaluation.get(key)!r}; expected {value!r}")
    if missing := [key for key in (*FACTS, "stages") if key not in evaluation]:
        raise UserError(f"{path}: {missing[0]}: missing; expected here")
    if not isinstance(evaluation["stages"], dict):
        raise UserError(f"{path}: stages: found {evaluation['stages']!r:.80}; expected a mapping")
    unknown = [name for name in evaluation["stages"] if name not in ORDER]
    if unknown or not evaluation["stages"]:
        raise UserError(f"{path}: stages: found {unknown}; expected some of {', '.join(ORDER)}")
    for name, stage in evaluation["stages"].items():
        if not isinstance(stage, dict) or not isinstance(stage.get("scores", []), list):
            raise UserError(f"{path}: stages.{name}: found {stage!r:.80}; expected scores by name")


def _scores(stage: dict[str, Any], where: str) -> list[str]:
    """The scores a stage lists, the one its task is known by first; none if all are nan."""
    scores = stage.get("scores", [])
    for name in scores:
        if type(stage.get(name)) not in (int, float):
            raise UserError(
                f"{where}.{name}: found {stage.get(name)!r}; expected a number: a score"
            )
    return scores if any(math.isfinite(stage[name]) for name in scores) else []


def _say_what_is_dropped(stage: dict[str, Any], where: str) -> None:
    """Numbers that are none leave a gap in a table or a figure: on stderr, with the file."""
    numbers = {key: value for key, value in stage.items() if type(value) in (int, float)}
    gone = [key for key, value in numbers.items() if not math.isfinite(value)]
    gone += [key for key, value in stage.items() if value is None]
    spreads = [f"{name}_std" for name in stage.get("scores", [])]
    gone += [key for key in spreads if key in stage and key not in numbers and key not in gone]
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        found = f"{gone[0]}: found {stage[gone[0]]!r}{more}"
        print(f"warning: {where}.{found}; expected a number, left out", file=sys.stderr)


def _number(value: Any) -> float:
    return value if type(value) in (int, float) else math.nan


def _measures(stage: dict[str, Any], scores: list[str]) -> dict[str, float]:
    """The numbers of a stage that are neither scores, nor their spreads, nor about its training."""
    others = {*TRAINING, *scores, *(f"{name}_std" for name in scores)}
    numbers = {k: v for k, v in stage.items() if type(v) in (int, float) and math.isfinite(v)}
    return {key: value for key, value in sorted(numbers.items()) if key not in others}
