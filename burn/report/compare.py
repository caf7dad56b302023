"""Two runs side by side: the parameters and the scores in which they differ."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from burn.artifacts import read_json
from burn.errors import UserError
from burn.experiment.overlay import REMOVABLE
from burn.experiment.schema import Methods, Protocol
from burn.places import PROVENANCE
from burn.report import nodes
from burn.report.collect import collect
from burn.report.rows import scores
from burn.report.tables import DIGITS, HEADLINES, MISSING, pipe_table

LONG = 60  # characters of a value that are shown


class Score(NamedTuple):
    """Mean over seeds in percent, its standard deviation (nan: none is known), the metric."""

    mean: float
    spread: float
    metric: str


def compare(first: Path, second: Path) -> str:
    """Markdown: the parameters that differ between two results folders, and all headline scores.

    A spread is a standard deviation over seeds (of one seed: over the task's drawings); that of a
    difference is the root of the sum of squares, where both are known. Raises UserError if one has
    no report.
    """
    runs = [first, second]
    names = [run.name for run in runs] if first.name != second.name else [str(run) for run in runs]
    asked = [_asked(run) for run in runs]
    found = [nodes.parameters(run, one) for run, one in zip(runs, asked, strict=True)]
    body = [[key, *map(_short, values)] for key, values in changed(*found)]
    text = "No parameter differs.\n"
    if body:
        text = pipe_table(["parameter", *names], [":--"] * 3, body)
    both = [headlines(run, one) for run, one in zip(runs, asked, strict=True)]
    lines = [
        [*key, *_cells(*(each.get(key) for each in both))]
        for key in dict.fromkeys(key for each in both for key in each)
    ]
    heads = ["protocol", "method", "score (%)", *names, "difference"]
    return f"{text}\n{pipe_table(heads, [':--'] * 3 + ['--:'] * 3, lines)}"


def changed(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    """(dotted key, its two values) of what differs; an entry only one run has is one line, "there"."""
    out = {}
    for key in sorted(first.keys() | second.keys()):
        values = tuple(run.get(key, MISSING) for run in (first, second))
        if values[0] == values[1]:
            continue
        entry = _entry(key)
        lacking = [run for run in (first, second) if key not in run]
        if entry and lacking and not any(k.startswith(f"{entry}.") for k in lacking[0]):
            key, values = (
                entry,
                tuple("there" if key in run else MISSING for run in (first, second)),
            )
        out[key] = values
    return list(out.items())


def headlines(results: Path, asked: dict[str, Any]) -> dict[tuple[str, str], Score]:
    """(protocol, method) -> the score the protocol is known by, of the method's last stage."""
    settings = dict(asked)
    settings["methods"] = Methods.model_validate(asked["methods"])
    settings["protocols"] = {k: Protocol.model_validate(v) for k, v in asked["protocols"].items()}
    frame = collect(settings, results)
    out = {}
    for protocol, every in frame[frame["last"]].groupby("protocol", sort=False):
        metric = scores(every)[0]
        for method, part in every.groupby("method", sort=False):
            values = part[part.metric == metric].value
            within = part[part.metric == f"{metric}_std"].value.mean()
            spread = values.std() if len(values) > 1 else within
            out[protocol, method] = Score(values.mean(), spread, metric)
    return out


def _asked(results: Path) -> dict[str, Any]:
    """What a run's report read of params.yaml: the run as it was last asked for."""
    path = results / "report" / PROVENANCE
    if not path.exists():
        raise UserError(f"{path}: no such file; expected a run with a report: results/<run>")
    return read_json(path)["params"]


def _entry(key: str) -> str | None:
    """methods.distilled.burn of methods.distilled.burn.recipe.outputs; None of what is no entry."""
    for table in REMOVABLE:
        if key.startswith(f"{table}."):
            return f"{table}.{key.removeprefix(f'{table}.').partition('.')[0]}"
    return None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (text if len(text) <= LONG else text[: LONG - 1] + "…").replace("|", r"\|")


def _cells(first: Score | None, second: Score | None) -> list[str]:
    known = first or second
    texts = [HEADLINES.get(known.metric, known.metric), *map(_number, (first, second))]
    if first is None or second is None or first.metric != second.metric:
        return [*texts, ""]
    gap = Score(second.mean - first.mean, math.hypot(first.spread, second.spread), "")
    return [*texts, _number(gap, "+")]


def _number(score: Score | None, sign: str = "") -> str:
    if score is None:
        return MISSING
    text = f"{score.mean:{sign}.{DIGITS}f}"
    return text + ("" if math.isnan(score.spread) else f" ± {score.spread:.{DIGITS}f}")
