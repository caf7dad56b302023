"""Every number of the report in one tidy frame, read from the evaluations in force, no others."""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.experiment.schema import STAGES, Method, Protocol
from burn.places import METRICS, TEACHER

ORDER = (*STAGES, TEACHER)  # later stages last: the last one is a method's result
# Numbers of a stage that measure nothing, and how a collapse is measured: no scores.
BOOKKEEPING = ("epochs", "updates", "images_seen", "train_images")
COLLAPSE = re.compile(r"spread|information|entropy|std|variance|rank")
COLUMNS = (
    *("protocol", "task", "dataset", "stand_in", "classes", "train_images", "test_images"),
    *("method", "seed", "stage", "last", "epochs", "updates", "images_seen", "pretrain_images"),
    *("pretrain_stand_in", "collapsed"),
    *("kind", "metric", "value"),
)


def methods(settings: dict[str, Any], table: str | None = None) -> list[str]:
    """Methods in the order of the tables: random, supervised ones, distilled ones, the teacher.

    Those of one table ("main", which the teacher is in, or "ablation"), or all.
    """
    standalone = settings["methods"].standalone
    floor = [name for name in standalone if is_random(settings, name)]
    others = [name for name in standalone if name not in floor]
    rows = [*floor, *others, *settings["methods"].distilled]
    rows = [name for name in rows if table in (None, entry(settings, name).table)]
    return rows if table == "ablation" else [*rows, TEACHER]


def entry(settings: dict[str, Any], method: str) -> Method:
    """What params.yaml says of `method`."""
    known = settings["methods"]
    return known.standalone[method] if method in known.standalone else known.distilled[method]


def is_random(settings: dict[str, Any], method: str) -> bool:
    """Whether `method` is an untrained network."""
    return method != TEACHER and entry(settings, method).file == "random"


def place(results: Path, protocol: str, method: str, seed: int) -> Path:
    """metrics.json of an evaluation."""
    return places.evaluation(results, protocol, method, seed) / METRICS


def sources(settings: dict[str, Any], results: Path) -> list[tuple[str, str, int, Path]]:
    """(protocol, method, seed, metrics.json) of each evaluation that `settings` asks for."""
    return [
        (protocol, method, seed, place(results, protocol, method, seed))
        for protocol in settings["protocols"]
        for method in methods(settings)
        for seed in settings["seeds"]
    ]


def collect(settings: dict[str, Any], results: Path) -> pd.DataFrame:
    """One row per protocol, method, seed, stage and metric; `value` of a score is in percent.

    `kind` is "score", "spread" (of the score <metric>, which is called <metric>_std), "measure" (of
    collapse), or "none": a stage that was trained and not examined (`stages: last`) has a row
    without a metric. `last` marks the stage that is a method's result.
    What lies in `results` without being in `settings` is not read. Raises UserError, naming the file,
    if one is missing or belongs to something else.
    """
    rows: list[tuple] = []
    for protocol, method, seed, path in sources(settings, results):
        found = read_json(path)
        _check(found, path, settings["protocols"][protocol], protocol, method, seed)
        facts = [found[k] for k in ("stand_in", "classes", "train_images", "test_images")]
        facts = [protocol, found["task"], found["dataset"], *facts, method, seed]
        stages = sorted(found["stages"], key=ORDER.index)
        for name in stages:
            stage = found["stages"][name]
            numbers = _numbers(stage)
            if not any(kind == "score" for kind, *_ in numbers):
                if settings["protocols"][protocol].stages == "last" and name != stages[-1]:
                    numbers.append(("none", "", math.nan))
                else:
                    raise UserError(f"{path}: stages.{name}: found no score; expected one at least")
            spent = [stage.get(key, math.nan) for key in BOOKKEEPING]
            flags = [bool(stage.get(key)) for key in ("stand_in", "collapsed")]
            common = [*facts, name, name == stages[-1], *spent, *flags]
            rows += [(*common, *number) for number in numbers]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check(found: Any, path: Path, spec: Protocol, protocol: str, method: str, seed: int) -> None:
    """Raise UserError unless the file is the evaluation that its place says it is."""
    expected = {"protocol": protocol, "method": method, "seed": seed}
    expected |= {"task": spec.task, "dataset": spec.dataset}
    for key, value in expected.items():
        if found.get(key) != value:
            raise UserError(f"{path}: {key}: found {found.get(key)!r}; expected {value!r}")
    for key in ("stand_in", "classes", "train_images", "test_images", "stages"):
        if key not in found:
            raise UserError(f"{path}: {key}: missing; expected here")
    unknown = [name for name in found["stages"] if name not in ORDER]
    if unknown or not found["stages"]:
        raise UserError(f"{path}: stages: found {unknown}; expected some of {', '.join(ORDER)}")


def _numbers(stage: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(kind, metric, value) of each number a stage reports, those of its `measures` included."""
    out = []
    for key, value in stage.items():
        if key == "measures":
            out += [("measure", name, number) for _, name, number in _numbers(value)]
        elif key not in BOOKKEEPING and type(value) in (int, float) and math.isfinite(value):
            kind = "measure" if COLLAPSE.search(key) else "score"
            if key.endswith("_std") and key.removesuffix("_std") in stage:
                kind = "spread"
            out.append((kind, key, float(value)))
    return sorted(out)
