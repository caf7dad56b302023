"""On which terms the networks of a table were trained: the work each was given, side by side."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.experiment.schema import STAGES
from burn.report.collect import TEACHER, entry, methods
from burn.report.grid import MISSING, Cell, Grid, Head
from burn.report.provenance import provenances
from burn.report.tables import totals, whole

TERMS = ("student_passes", "updates", "images_seen")


def records(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> pd.DataFrame:
    """method -> what all its stages took together, for one seed, and `seconds`, a mean over seeds.

    `student_passes` counts images that went forward and back through the student; `seconds` are those
    of the machine the steps ran on, nan where a step was resumed or does not say.
    """
    spent = totals(frame, TERMS).drop(TEACHER, errors="ignore")
    own = [m for m in methods(settings, "main") if m in spent.index]
    lines = spent.loc[own].assign(
        seconds=[_seconds(settings, results, method) for method in own],
        overrides=[_overrides(entry(settings, method).recipe) for method in own],
    )
    return lines.reset_index(names="method")


def _seconds(settings: dict[str, Any], results: Path, method: str) -> float:
    seconds = []
    for seed in settings["seeds"]:
        folders = [places.network(results, method, seed, stage) for stage in STAGES]
        told = [p.get("training_seconds", 0.0) for p in provenances(results, folders).values()]
        seconds.append(sum(told) if None not in told else float("nan"))
    return sum(seconds) / len(seconds)


def _overrides(recipe: dict[str, Any]) -> str:
    """What a recipe says of the shared sections, "augment.crop [0.2, 1.0]"."""
    shared = {k: recipe[k] for k in ("student", "train", "augment") if recipe.get(k)}
    return ", ".join(
        f"{k}.{key} {value}" for k, own in shared.items() for key, value in own.items()
    )


def grid(lines: pd.DataFrame) -> Grid:
    """The terms as a table; equal passes are said to be equal, others are named."""
    heads = [Head("method", "name"), *map(Head, ("student passes", "updates", "images", "seconds"))]
    heads.append(Head("settings of its own", "name"))
    body = [
        [
            Cell(line.method),
            *(Cell(whole(getattr(line, key)) or MISSING) for key in TERMS),
            Cell(f"{line.seconds:.0f}" if line.seconds > 0 else MISSING),
            Cell(line.overrides or MISSING),
        ]
        for line in lines.itertuples()
    ]
    trained = lines.student_passes[lines.student_passes > 0]
    equal = trained.nunique() == 1
    caption = (
        "What each network was given, all stages together, of one seed. A student pass is one image that "
        "goes forward and back through the student: a method that looks at two views makes two of each "
        "image, so it makes half as many updates. Seconds are of training alone, on the machine it ran on."
    )
    caption += (
        " All trained rows have the same passes." if equal else " Rows differ in their passes."
    )
    return Grid(heads, body, caption, "terms")
