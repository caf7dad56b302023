"""Two runs side by side: the parameters and the scores in which they differ."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from burn.experiment.overlay import REMOVABLE
from burn.report.archive import asked, opened
from burn.report.collect import collect
from burn.report.grid import MISSING, Cell, Grid, Head, to_markdown
from burn.report.provenance import parameters
from burn.report.tables import DIGITS, HEADLINES

LONG = 60  # characters of a value that are shown


def compare(first: Path, second: Path) -> str:
    """Markdown: the parameters that differ between two runs, each a folder of work or a published
    one, and all headline scores.

    A spread is a standard deviation over seeds (of one seed: over the task's drawings); that of a
    difference is the root of the sum of squares, where both are known. Raises UserError if one has
    no report.
    """
    given = [first, second]
    names = [run.name for run in given] if first.name != second.name else [*map(str, given)]
    with ExitStack() as open_ones:
        runs = [open_ones.enter_context(opened(run)) for run in given]
        return _compared(runs, names)


def _compared(runs: list[Path], names: list[str]) -> str:
    read = [asked(run) for run in runs]
    body = changed(*(parameters(run, settings) for run, settings in zip(runs, read)))
    text = "No parameter differs.\n"
    if body:
        text = _table(["parameter", *names], [], [[key, *map(_short, two)] for key, two in body])
    scored = [headlines(run, settings) for run, settings in zip(runs, read)]
    keys = dict.fromkeys(key for run in scored for key in run)
    lines = [[*key, *_scores(*(run.get(key) for run in scored))] for key in keys]
    return text + "\n" + _table(["protocol", "method", "score (%)"], [*names, "difference"], lines)


def changed(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    """(dotted key, its two values) of what differs; an entry only one run has is one line, "there"."""
    runs = (first, second)
    entries = [{_entry(key) for key in run} - {None} for run in runs]
    lone = entries[0] ^ entries[1]
    out = {e: tuple("there" if e in of else MISSING for of in entries) for e in lone}
    for key in (key for key in first | second if _entry(key) not in lone):
        values = tuple(run.get(key, MISSING) for run in runs)
        out |= {key: values} if values[0] != values[1] else {}
    return sorted(out.items())


def headlines(results: Path, settings: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """(protocol, method) -> the score the protocol is known by, of the method's last stage: `metric`,
    `mean` over seeds in percent, and its standard deviation `spread` (nan: none is known)."""
    frame = collect(settings, results)
    known_by = frame[frame.metric != ""].groupby("protocol").metric.first()
    chosen = frame[frame["last"] & (frame.metric == frame.protocol.map(known_by))]
    each = chosen.dropna(subset="value").groupby(["protocol", "method"], sort=False)
    table = each.agg(metric=("metric", "first"), mean=("value", "mean"), within=("within", "mean"))
    table["spread"] = each.value.std().fillna(table.within)
    return {line.Index: line for line in table.itertuples()}


def _entry(key: str) -> str | None:
    """methods.distilled.burn of methods.distilled.burn.recipe.outputs; None of what is no entry."""
    table = next((table for table in REMOVABLE if key.startswith(f"{table}.")), None)
    return table and f"{table}.{key.removeprefix(f'{table}.').partition('.')[0]}"


def _table(names: list[str], numbers: list[str], lines: list[list[str]]) -> str:
    heads = [*(Head(name, "name") for name in names), *map(Head, numbers)]
    return to_markdown(Grid(heads, [list(map(Cell, line)) for line in lines]))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (text if len(text) <= LONG else text[: LONG - 1] + "…").replace("|", r"\|")


def _scores(first: Any, second: Any) -> list[str]:
    """The metric, the scores of two runs (None: it has none) and their difference."""
    metric = (first or second).metric
    texts = [_number(run.mean, run.spread) if run else MISSING for run in (first, second)]
    gap = ""
    if first and second and first.metric == second.metric:
        gap = _number(second.mean - first.mean, math.hypot(first.spread, second.spread), "+")
    return [HEADLINES.get(metric, metric), *texts, gap]


def _number(mean: float, spread: float, sign: str = "") -> str:
    text = f"{mean:{sign}.{DIGITS}f}"
    return text if math.isnan(spread) else f"{text} ± {spread:.{DIGITS}f}"
