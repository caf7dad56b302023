"""From the evaluations to tables, figures and a page: `report` is the whole step.

`collect` reads the results into one tidy frame; `tables` picks rows and columns of it and fills them;
`grid` prints a table as Markdown and LaTeX; `figures` and `examples` draw, in one `style`;
`captions` says what a reader must know; `difference`, `cost` and `deployment` make tables, `provenance` tells
how the run was made. `sections` puts the page together, `page` prints it. `compare` sets two runs
side by side. `publish` makes of a run what is committed, `archive` what the tables of it are made from.
`published.csv` holds the figures others printed, with sources.
"""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from burn import places
from burn.artifacts import artifact, write_json
from burn.errors import UserError
from burn.experiment.reads import plain
from burn.places import ASKED, CURVE, METRICS, PREDICTIONS
from burn.report import page, provenance
from burn.report.archive import opened
from burn.report.collect import collect, evaluations, exports, methods
from burn.report.grid import Cell, Grid, Head
from burn.report.sections import Report, sections
from burn.report.tables import DIGITS, scores

# Tables and figures that are of no single task: none may be called so.
OWN = ("comparison", "transfer", "stages", "ablation", "ablation_steps", "cost", "curves",
       "neighbours", "differences", "deployment", "latency")  # fmt: skip
MADE = ("made with", "commit", "device", "finished (UTC)")


def report(settings: dict[str, Any], results: Path, out: Path) -> None:
    """Write the report of the run `results`, a folder of work or a published one, into the artifact
    folder `out`.

    `settings` is burn.experiment.reads.settings(params, "report"). Makes tables/<task>.{csv,md,tex}
    and figures/<task>.{pdf,png} for each task, and <task>_k where it has scores from k images, and of
    all tasks, if there are several, `comparison`; `transfer`, `stages`, `ablation`, `ablation_steps`, `cost`,
    `deployment`, and `latency` if it was measured;
    tables/differences.csv, where there are any; figures of training and of what evaluations kept to
    be seen; report.md, report.html (in one file, all it shows), metrics/<protocol>.json (method ->
    mean, in percent) and metrics.json, the same of all; params.yaml, what `settings` says; of a published run steps/, which its numbers lead
    to. Raises UserError where a result is missing.
    """
    for task in (protocol.task for protocol in settings["protocols"].values()):
        if task in OWN:
            raise UserError(
                f"tasks: found {task!r}, which the report calls a table or figure of its own; "
                f"allowed: any name but {', '.join(OWN)}"
            )
    results = Path(results)
    with opened(results) as run:
        _write(settings, run, out, elsewhere=run != results)


def _write(settings: dict[str, Any], run: Path, out: Path, elsewhere: bool) -> None:
    """The report of an opened run; with a copy of its steps if it lies `elsewhere`, for a while."""
    frame = collect(settings, run)
    examined = list(evaluations(settings, run).values())
    trained = list(provenance.trainings(settings, run).values())
    inputs = [folder / name for name in (METRICS, PREDICTIONS) for folder in examined]
    inputs += [*(folder / CURVE for folder in trained), places.cost(run) / METRICS]
    inputs += [f / METRICS for f in exports(settings, run)]
    with artifact(out, "report", settings, inputs) as work:
        for folder in ("tables", "figures", "metrics"):
            work.path(folder).mkdir(exist_ok=True)
        title = " ".join(settings["report"].title.split())
        told = sections(Report(settings, run, work.dir), frame)
        work.path("report.md").write_text(page.markdown(title, told), encoding="utf-8")
        told.append(how_it_was_run(settings, run))
        if elsewhere:
            shutil.copytree(run, work.path("steps"), dirs_exist_ok=True)
        text = page.html(title, told, work.dir, steps="steps" if elsewhere else "..")
        work.path("report.html").write_text(text, encoding="utf-8")
        known = yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)
        work.path(ASKED).write_text(known, encoding="utf-8")
        work.metrics = means(settings, frame)
        for protocol in settings["protocols"]:
            each = {m: known[protocol] for m, known in work.metrics.items() if protocol in known}
            write_json(work.path("metrics") / f"{protocol}.json", each)


def how_it_was_run(settings: dict[str, Any], results: Path) -> page.Section:
    """Machines, commits and times of all steps, and the parameters in force; HTML page only."""
    folders = [*provenance.trainings(settings, results).values(), places.cost(results)]
    folders += [*evaluations(settings, results).values(), *exports(settings, results)]
    made = provenance.machines(provenance.provenances(results, folders).values())
    heads = [*(Head(text, "name") for text in MADE), Head("steps")]
    caption = "What trained, evaluated, counted and exported; the steps' provenance.json says it one by one."
    grid = Grid(heads, [[Cell(str(text)) for text in line] for line in made], caption)
    known = provenance.nested(provenance.parameters(results, settings))
    listing = yaml.safe_dump(known, sort_keys=False, default_flow_style=None, width=100)
    return page.Section("How it was run", [grid, page.Details("Parameters", listing)])


def means(settings: dict[str, Any], frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """method -> protocol -> mean over seeds of the protocol's first score, in percent."""
    out: dict[str, dict[str, float]] = {method: {} for method in methods(settings)}
    for protocol, of_protocol in frame[frame["last"]].groupby("protocol"):
        first = of_protocol[of_protocol.metric == scores(of_protocol)[0]].dropna(subset="value")
        for method, values in first.groupby("method").value:
            out[method][protocol] = round(float(values.mean()), DIGITS + 2)
    return out
