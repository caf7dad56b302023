"""What the report says: which tables and figures there are, and the page."""

import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from burn import places
from burn.artifacts import artifact, write_json
from burn.errors import UserError
from burn.experiment.reads import text
from burn.experiment.schema import STAGES
from burn.places import CURVE, METRICS, PREDICTIONS
from burn.report import nodes, parts
from burn.report.captions import collapsed_runs, reduced, what_was_run
from burn.report.collect import collect, methods, place, sources
from burn.report.page import Details, Grid, Prose, Section, anchor, html_table
from burn.report.page import to_html as page_html
from burn.report.page import to_markdown as page_markdown
from burn.report.rows import ablation_rows, columns, final_rows, scores
from burn.report.tables import DIGITS, pipe_table, table

# Tables and figures that are of no single task: none may be called so.
OWN = (
    "comparison",
    "transfer",
    "stages",
    "ablation",
    "cost",
    "curves",
    "neighbours",
    "differences",
)


def write(settings: dict[str, Any], results: Path, out: Path) -> None:
    """See burn.report.report."""
    for task in (protocol.task for protocol in settings["protocols"].values()):
        if task in OWN:
            raise UserError(
                f"tasks: found {task!r}, which the report calls a table or figure of its own; "
                f"allowed: any name but {', '.join(OWN)}"
            )
    frame = collect(settings, results)
    evaluations = [path for *_, path in sources(settings, results)]
    guesses = [path.with_name(PREDICTIONS) for path in evaluations]
    trained = [folder / CURVE for folder in trainings(settings, results)]
    inputs = [*evaluations, *guesses, *trained, places.cost(results) / METRICS]
    with artifact(out, "report", settings, inputs) as work:
        for folder in ("tables", "figures", "metrics"):
            work.path(folder).mkdir(exist_ok=True)
        title = " ".join(settings["report"].title.split())
        found = sections(parts.Report(settings, results, work.dir), frame)
        work.path("report.md").write_text(page_markdown(title, found), encoding="utf-8")
        found.append(how_it_was_run(settings, results))
        whole = page_html(title, found, work.dir)
        work.path("report.html").write_text(whole, encoding="utf-8")
        work.metrics = means(settings, frame)
        for protocol in settings["protocols"]:
            each = {m: known[protocol] for m, known in work.metrics.items() if protocol in known}
            write_json(work.path("metrics") / f"{protocol}.json", each)


def sections(report: parts.Report, frame: pd.DataFrame) -> list[Section]:
    """The page, top to bottom."""
    settings = report.settings
    main, ablation = (frame[frame.method.isin(methods(settings, t))] for t in ("main", "ablation"))
    tasks = list(dict.fromkeys(protocol.task for protocol in settings["protocols"].values()))
    found: list[Section | None] = [Section("", [Prose(what_was_run(settings, frame))])]
    if len(tasks) > 1:
        found.append(parts.comparison(report, main))
    for task in tasks:
        found.append(parts.task(report, main[main.task == task], task))
        if task == parts.MAIN:
            found.append(parts.transfer(report, main[main.task == task]))
    found.append(parts.stages(report, main[main.task == parts.MAIN]))
    if parts.MAIN in ablation.task.values:
        found.append(parts.ablation(report, ablation[ablation.task == parts.MAIN]))
    found += [parts.costs(report, main), parts.training(report)]
    found.append(beside_published(report, main, ablation))
    items = collapsed_runs(frame)
    found.append(Section("Collapsed runs", [Prose("" if items else "None.", items)]))
    return [section for section in found if section]


def beside_published(
    report: parts.Report, main: pd.DataFrame, ablation: pd.DataFrame
) -> Section | None:
    """Every number that a published one stands beside, and why they differ, as far as is known."""
    lines = []
    for frame, rows in ((main, final_rows), (ablation, ablation_rows)):
        for _, part in frame.groupby("task", sort=False):
            for row, cells in table(part, rows(report.settings, part), columns(part)):
                lines += [(row, cell) for cell in cells if cell.n and cell.published]
    if not lines:
        return None
    both = pd.concat([main, ablation])
    heads, rows, linked = ["method", "column", "here", "published", "difference", "why"], [], []
    for row, cell in lines:
        why = ["not the real set"] * cell.stand_in + ["reduced budget"] * reduced(
            both[both.method == row.method]
        )
        why += ["collapsed"] * cell.collapsed
        here = f"{cell.mean:.{DIGITS}f}"
        difference = f"{cell.mean - float(cell.published):+.{DIGITS}f}"
        line = [row.keys[0], cell.column.label, here, cell.published, difference, ", ".join(why)]
        rows.append(line)
        escaped = list(map(html.escape, line))
        linked.append([*escaped[:2], anchor(here, report.link(row, cell)), *escaped[3:]])
    markdown = pipe_table(heads, [":--", ":--", "--:", "--:", "--:", ":--"], rows)
    said = "What differs from the published numbers (%). Sources: "
    said += ", ".join(sorted({cell.source for _, cell in lines})) + "."
    return Section(
        "Beside the published numbers", [Grid(markdown, html_table(heads, linked, 2), said)]
    )


def trainings(settings: dict[str, Any], results: Path) -> list[Path]:
    """Folders of all training steps: the teachers, then every stage of every method."""
    found = [places.teacher(results, seed) for seed in settings["seeds"]]
    known = [*settings["methods"].standalone, *settings["methods"].distilled]
    return found + [
        places.network(results, method, seed, stage)
        for method in known
        for seed in settings["seeds"]
        for stage in STAGES
    ]


def how_it_was_run(settings: dict[str, Any], results: Path) -> Section:
    """Machines, commits and times of all steps, and the parameters in force; HTML page only."""
    folders = trainings(settings, results)
    folders += [place(results, p, m, s).parent for p, m, s, _ in sources(settings, results)]
    folders.append(places.cost(results))
    heads = ["made with", "commit", "device", "finished (UTC)", "steps"]
    made = nodes.machines(nodes.provenances(results, folders))
    body = [[html.escape(str(cell)) for cell in line] for line in made]
    caption = "What trained, evaluated and counted; the steps' provenance.json says it one by one."
    grid = Grid("", html_table(heads, body, 4), caption)
    known = nodes.nested(nodes.parameters(results, json.loads(text(settings))))
    listing = yaml.safe_dump(known, sort_keys=False, default_flow_style=None, width=100)
    return Section("How it was run", [grid, Details("Parameters", listing)])


def means(settings: dict[str, Any], frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """method -> protocol -> mean over seeds of the protocol's first score, in percent."""
    out: dict[str, dict[str, float]] = {method: {} for method in methods(settings)}
    for protocol, part in frame[frame["last"]].groupby("protocol"):
        first = part[part.metric == scores(part)[0]]
        for method, values in first.groupby("method").value:
            out[method][protocol] = round(float(values.mean()), DIGITS + 2)
    return out
