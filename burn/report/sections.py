"""The sections of the page, top to bottom; each writes its tables and figures on the way."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.places import PREDICTIONS
from burn.report import captions, cost, difference, examples, plots
from burn.report.captions import RANKING, caption, figure_key, measured, name
from burn.report.collect import TEACHER, entry, is_random, methods
from burn.report.figures import bars, ladder, panels
from burn.report.grid import Cell, Grid, Head, printed, to_latex, to_markdown
from burn.report.page import Picture, Prose, Section
from burn.report.provenance import trainings
from burn.report.tables import (
    ABLATION, DIGITS, ablation_rows, columns, fill, final_rows, last_stages, scores, shots,
    stage_rows, to_csv,
)  # fmt: skip

MAIN = "linear"  # the task of the main table; the only one with a table per stage
# Methods that pictures leave out, for room: the published baselines but the nearest rival.
UNSEEN = ("supervised", "swav", "byol", "mocov2_tuned")
# Task -> what its evaluations keep, how it is drawn, and what is to be seen.
SEEN = {
    "detection": ("found", examples.detections, "Objects of some test images, and as many of the "
                  "surest detections of each method as there are objects (ten at most)."),
    "segmentation": ("found0", examples.masks, "Some test images, their masks, and the masks each "
                     "method finds. Black is class 0 (of VOC, the background), white is ignored."),
    "linear": ("neighbours", examples.neighbours, "Some test images, and the training images "
               "nearest to each by cosine of the features, nearest first. Thick blue: of the same "
               "class (how many is said above); thin orange: of another."),
}  # fmt: skip


class Report:
    """What every section needs: what was asked for, where the results are, where to write."""

    def __init__(self, settings: dict[str, Any], results: Path, out: Path):
        self.settings, self.results, self.out = settings, results, out
        main = methods(settings, "main")
        self.plain = {m for m in main if m == TEACHER or is_random(settings, m)}

    def save(self, base: str, cells: pd.DataFrame, heads: tuple[str, ...], said: str,
             full: pd.DataFrame | None = None, beside: bool = True, note: str = "") -> Grid:  # fmt: skip
        """Write a table; its CSV is that of `full`, which has every metric."""
        grid = printed(cells, heads, said, base, self.link, beside)
        return self.write(grid, to_csv(cells if full is None else full), note)

    def write(self, grid: Grid, csv: str, note: str = "") -> Grid:
        """Write tables/<base>.csv, .md and .tex."""
        markdown = f"{to_markdown(grid)}\n*{grid.caption}*\n" + (note and f"\n{note}\n")
        for suffix, text in {".csv": csv, ".md": markdown, ".tex": to_latex(grid, note)}.items():
            path = (self.out / "tables" / grid.base).with_suffix(suffix)
            path.write_text(text, encoding="utf-8")
        return grid

    def link(self, protocol: str, method: str) -> str:
        """Address of the evaluation behind a cell, from the page; of several seeds, their folder."""
        seeds = self.settings["seeds"]
        folder = places.evaluation(Path(".."), protocol, method, seeds[0])
        if len(seeds) > 1:
            return f"{folder.parent.as_posix()}/"
        return (folder / places.METRICS).as_posix()

    def figure(self, base: str) -> Path:
        return self.out / "figures" / base


def sections(report: Report, frame: pd.DataFrame) -> list[Section]:
    """The page, top to bottom."""
    settings = report.settings
    main, variants = (frame[frame.method.isin(methods(settings, t))] for t in ("main", "ablation"))
    of_main, of_variants = main[main.task == MAIN], variants[variants.task == MAIN]
    tasks = list(dict.fromkeys(protocol.task for protocol in settings["protocols"].values()))
    page = [Section("", [Prose(captions.what_was_run(settings, frame))])]
    if len(tasks) > 1:
        page.append(comparison(report, main))
    for task in tasks:
        page.append(of_task(report, main[main.task == task], task))
        if task == MAIN:
            page.append(transfer(report, of_main))
    page += [stages(report, of_main), ablation(report, of_variants), costs(report, main)]
    page += [training(report), beside_published(report, main, variants)]
    items = captions.collapsed_runs(frame)
    page.append(Section("Collapsed runs", [Prose("" if items else "None.", items)]))
    return [section for section in page if section]


def comparison(report: Report, frame: pd.DataFrame) -> Section:
    """Table and figure of every task: the headline of each method's last stage."""
    settings = report.settings
    cells = fill(frame, final_rows(settings, frame), columns(frame, grouped=True))
    tasks = captions.listed([name(task).lower() for task in frame.task.unique()])
    said = caption(settings, f"The score each task is known by, {tasks} (%).", frame, cells)
    grid = report.save("comparison", cells, ("method",), said)
    panels(cells, "score (%)", report.figure("comparison"), report.plain)
    alt = "The score of each method on each task"
    return Section("Comparison", [grid, Picture("comparison", alt, figure_key(cells))])


def of_task(report: Report, frame: pd.DataFrame, task: str) -> Section:
    """Tables and figures of one task, of each method's last stage."""
    settings, rows, note = report.settings, final_rows(report.settings, frame), ""
    cells, full = (fill(frame, rows, columns(frame, every)) for every in (False, True))
    title, metric = name(task), measured(cells)
    if task == MAIN:
        lines = difference.differences(settings, frame, report.results)
        if len(lines):
            note = difference.sentence(lines, frame)
            lines.to_csv(report.out / "tables/differences.csv", index=False, lineterminator="\n")
    said = caption(settings, f"{title}: {metric} (%).", frame, cells)
    blocks = [report.save(task, cells, ("method",), said, full, note=note), Prose(note)]
    bars(cells, f"{metric[0].upper()}{metric[1:]} (%)", report.figure(task), report.plain)
    alt = f"{title}: {metric} of each method on each data set"
    blocks.append(Picture(task, alt, figure_key(cells)))
    return Section(title, [*blocks, *of_shots(report, frame, rows, task),
                           *pictures(report, frame, task)])  # fmt: skip


def transfer(report: Report, frame: pd.DataFrame) -> Section | None:
    """Table of the main task on data sets that the networks were not pretrained on, if on others too."""
    settings = report.settings
    away = frame[frame.dataset != settings["pretrain_on"]]
    if away.empty or len(away) == len(frame):
        return None
    rows = final_rows(settings, away)
    cells, full = (fill(away, rows, columns(away, every)) for every in (False, True))
    said = "Transfer by linear evaluation: {} (%) on data sets not seen in pretraining."
    said = caption(settings, said.format(measured(cells)), away, cells)
    return Section("Transfer", [report.save("transfer", cells, ("method",), said, full)])


def of_shots(report: Report, frame: pd.DataFrame, rows: pd.DataFrame, task: str) -> list:
    """A task's table and figure from k images of each class, if it has such scores."""
    cells = shots(frame, rows)
    if cells.empty:
        return []
    metric, base = name(scores(frame)[0]), f"{task}_k"
    said = (
        f"{name(task)} from k images of each class: {metric} (%). The figure of the task is the mean "
        "over all k. A class with fewer images gives all it has."
    )
    said = caption(report.settings, said, frame, cells, beside=False)
    grid = report.save(base, cells, ("data set", "method"), said, beside=False)
    plots.lines_of_shots(cells, f"{metric} (%)", report.figure(base), report.plain)
    alt = f"{name(task)}: {metric} against the number of images of each class"
    return [grid, Picture(base, alt, "The table as lines; error bars: one standard deviation.")]


def pictures(report: Report, frame: pd.DataFrame, task: str) -> list[Picture]:
    """What networks find, as far as evaluations kept it: on the set they were pretrained on, or else on
    the task's first."""
    settings, last, seed = report.settings, last_stages(frame), report.settings["seeds"][0]
    key, draw, said = SEEN.get(task, ("", None, ""))
    file = {m: "" if m == TEACHER else entry(settings, m).file for m in methods(settings, "main")}
    sets = frame.drop_duplicates("protocol").set_index("protocol").dataset
    for protocol in sorted(sets.index, key=lambda p: sets[p] != settings["pretrain_on"]):
        shown = {}
        for method in (m for m in file if file[m] not in UNSEEN):
            folder = places.evaluation(report.results, protocol, method, seed)
            kept = examples.kept(folder / PREDICTIONS, last[method])
            if key in kept:
                shown[method] = kept
        if shown:
            base = "neighbours" if task == MAIN else f"{task}_examples"
            draw(shown, report.figure(base))
            of = columns(frame[frame.protocol == protocol]).label[0]
            said += f" Data set: {of}; seed {seed}. Too few to rank methods by."
            return [Picture(base, f"{name(task)}: pictures", said)]
    return []


def stages(report: Report, frame: pd.DataFrame) -> Section | None:
    """The main task after each stage of each method, and against what that network costs.

    Of the protocols that examine every stage: if none does, there is nothing to write.
    """
    settings = report.settings
    every = [p for p, protocol in settings["protocols"].items() if protocol.stages == "all"]
    frame = frame[frame.protocol.isin(every)]
    rows = stage_rows(settings, frame)
    if rows.empty:
        return None
    cells, metric = fill(frame, rows, columns(frame)), measured(fill(frame, rows, columns(frame)))
    ranking = "Best in bold, second underlined, among the networks after their binary stage."
    said = f"{name(MAIN)} after each stage of training: {metric} (%)."
    said = caption(settings, said, frame, cells, ranking, beside=False, epochs=None)
    grid = report.save("stages", cells, ("method", "stage", "epochs"), said, beside=False)
    final = final_rows(settings, frame)
    teacher = fill(frame, final[final.method == TEACHER], columns(frame))
    points = cost.points(pd.concat([cells, teacher]), report.results)
    label = f"{cells.label[0]}, {metric} (%)"
    plots.tradeoff(points, label, report.figure("cost"), report.plain)
    said = (
        "The first column against operations and bytes (see the cost table), of each method after each "
        "stage: circle real, triangle binary activations, square fully binary, star the teacher; filled: "
        f"its result. Cost of one image of {points.pixels[0]} pixels, without a classifier."
    )
    picture = Picture("cost", "Score against operations and against stored bytes", said)
    return Section("After each stage", [grid, picture])


def ablation(report: Report, frame: pd.DataFrame) -> Section | None:
    """Table and figure of the ablation, on the main task."""
    if frame.empty:
        return None
    settings, rows = report.settings, ablation_rows(report.settings, frame)
    cells, full = (fill(frame, rows, columns(frame, every)) for every in (False, True))
    metric = measured(cells)
    said = (
        f"Ablation of burn, {name(MAIN).lower()}: {metric} (%). Epochs are those of the stages "
        "real/binact/binary, steps and images those of all stages together. A variant that "
        "starts with + is the one above it with that added."
    )
    ranking = RANKING.replace("trained binary networks", "variants")
    said = caption(settings, said, frame, cells, ranking, epochs=None)
    grid = report.save("ablation", cells, ABLATION, said, full)
    ladder(cells, f"{metric} (%)", report.figure("ablation"))
    alt = f"Ablation: {metric} of each variant, beside the published one"
    return Section("Ablation", [grid, Picture("ablation", alt, figure_key(cells, panel=True))])


def costs(report: Report, frame: pd.DataFrame) -> Section:
    """Table of what the networks cost."""
    lines = cost.records(report.settings, frame, report.results)
    csv = lines.to_csv(index=False, lineterminator="\n")
    return Section("Cost", [report.write(cost.grid(lines), csv)])


def training(report: Report) -> Section | None:
    """The training curves of the teacher and every method, main or ablation."""
    runs: plots.Runs = {}
    for (method, seed, stage), folder in trainings(report.settings, report.results).items():
        runs.setdefault(method, {}).setdefault(seed, []).append((stage, folder))
    order = [TEACHER, *(m for m in methods(report.settings) if m != TEACHER)]
    drawn = plots.curves({method: runs[method] for method in order}, report.figure("curves"))
    if not drawn:
        return None
    said = (
        "Training loss of every stage (mean of 20 updates), against updates; losses of different "
        "methods and stages are not comparable."
    )
    if "balance" in drawn:
        said += (
            " Dashed, by the scale on the right: the weight of burn's similarity term, the rest being "
            "that of its KL term (a clustering term, where there is one, comes on top)."
        )
    return Section("Training", [Picture("curves", "Training loss of every method", said)])


def beside_published(report: Report, main: pd.DataFrame, variants: pd.DataFrame) -> Section | None:
    """Every number that a published one stands beside, and why they differ, as far as is known."""
    tables = [
        fill(of_task, rows(report.settings, of_task), columns(of_task))
        for frame, rows in ((main, final_rows), (variants, ablation_rows))
        for _, of_task in frame.groupby("task", sort=False)
    ]
    cells = pd.concat(tables)
    cells = cells[(cells.n > 0) & (cells.published != "")]
    if cells.empty:
        return None
    both, lines = pd.concat([main, variants]), []
    for cell in cells.itertuples():
        why = {"not the real set": cell.stand_in, "collapsed": cell.collapsed,
               "reduced budget": captions.reduced(both[both.method == cell.method])}  # fmt: skip
        order = ("not the real set", "reduced budget", "collapsed")
        here = Cell(f"{cell.mean:.{DIGITS}f}", link=report.link(cell.protocol, cell.method))
        apart = f"{cell.mean - float(cell.published):+.{DIGITS}f}"
        told = ", ".join(reason for reason in order if why[reason])
        lines.append(
            [Cell(cell.names[0]), Cell(cell.label), here, *map(Cell, (cell.published, apart, told))]
        )
    named = {"method": "name", "column": "name", "here": "number", "published": "number",
             "difference": "number", "why": "name"}  # fmt: skip
    said = "What differs from the published numbers (%). Sources: "
    said += ", ".join(sorted(cells.published_source.unique())) + "."
    heads = [Head(text, kind) for text, kind in named.items()]
    return Section("Beside the published numbers", [Grid(heads, lines, said)])
