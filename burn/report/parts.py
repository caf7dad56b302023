"""The sections of the page; each writes its tables and figures on the way."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn.experiment.schema import STAGES
from burn.places import PREDICTIONS
from burn.report import cost, difference, examples
from burn.report.captions import RANKING, budget, figure_key, listed, measured, name, reading
from burn.report.collect import TEACHER, entry, is_random, methods, place
from burn.report.figures import bars, ladder, panels
from burn.report.latex import to_latex
from burn.report.page import Grid, Picture, Prose, Section
from burn.report.plots import curves, shots, tradeoff
from burn.report.rows import (
    ABLATION,
    ablation_rows,
    columns,
    comparison_columns,
    final_rows,
    last_stages,
    scores,
    shots_table,
    stage_rows,
)
from burn.report.tables import Table, table, to_csv, to_html, to_markdown

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
    """What every section needs: what was asked for, the numbers, where to write."""

    def __init__(self, settings: dict[str, Any], results: Path, out: Path):
        self.settings, self.results, self.out = settings, results, out
        main = methods(settings, "main")
        self.plain = {m for m in main if m == TEACHER or is_random(settings, m)}

    def save(self, name: str, full: Table, shown: Table, heads: tuple[str, ...], caption: str,
             beside: bool = True, note: str = "") -> Grid:  # fmt: skip
        """Write tables/<name>.csv with every metric, .md and .tex with the shown ones."""
        markdown = to_markdown(shown, heads, beside)
        texts = {
            ".csv": to_csv(full),
            ".md": f"{markdown}\n*{caption}*\n" + (note and f"\n{note}\n"),
            ".tex": to_latex(shown, heads, f"{caption} {note}".strip(), name, beside),
        }
        for suffix, content in texts.items():
            (self.out / "tables" / name).with_suffix(suffix).write_text(content, encoding="utf-8")
        return Grid(markdown, to_html(shown, heads, self.link, beside), caption, name)

    def link(self, row, cell) -> str:
        """Address of the evaluation behind a cell, from the page; of several seeds, their folder."""
        seeds = self.settings["seeds"]
        path = place(Path(".."), cell.column.protocol, row.method, seeds[0])
        return path.as_posix() if len(seeds) == 1 else f"{path.parent.parent.as_posix()}/"

    def figure(self, name: str) -> Path:
        return self.out / "figures" / name


def comparison(report: Report, frame: pd.DataFrame) -> Section:
    """Table and figure of every task: the headline of each method's last stage."""
    settings = report.settings
    lines = table(frame, final_rows(settings, frame), comparison_columns(frame))
    tasks = [name(task).lower() for task in frame.task.unique()]
    caption = " ".join(
        [f"The score each task is known by, {listed(tasks)} (%).",
         *reading(settings, frame, lines),
         *budget(settings, frame, methods(settings, "main"))]
    )  # fmt: skip
    grid = report.save("comparison", lines, lines, ("method",), caption)
    panels(lines, "score (%)", report.figure("comparison"), report.plain)
    alt = "The score of each method on each task"
    return Section("Comparison", [grid, Picture("comparison", alt, figure_key(lines))])


def task(report: Report, frame: pd.DataFrame, task: str) -> Section:
    """Tables and figures of one task, of each method's last stage."""
    settings, rows = report.settings, final_rows(report.settings, frame)
    found = difference.differences(settings, frame, report.results) if task == MAIN else []
    shown = table(frame, rows, columns(frame))
    full = table(frame, rows, columns(frame, every=True))
    title, metric = name(task), measured(shown)
    caption = " ".join(
        [f"{title}: {metric} (%).", *reading(settings, frame, shown),
         *budget(settings, frame, methods(settings, "main"))]
    )  # fmt: skip
    note = difference.sentence(found, frame) if found else ""
    blocks = [report.save(task, full, shown, ("method",), caption, note=note)]
    if found:
        path = report.out / "tables" / "differences.csv"
        path.write_text(difference.to_csv(found), encoding="utf-8")
        blocks.append(Prose(note))
    bars(shown, f"{metric[0].upper()}{metric[1:]} (%)", report.figure(task), report.plain)
    alt = f"{title}: {metric} of each method on each data set"
    blocks.append(Picture(task, alt, figure_key(shown)))
    by_shots = shots_table(frame, rows)
    if by_shots:
        blocks += _shots(report, frame, by_shots, task)
    if task in SEEN:
        blocks += _pictures(report, frame, task)
    return Section(title, blocks)


def transfer(report: Report, frame: pd.DataFrame) -> Section | None:
    """Table of the main task on data sets that the networks were not pretrained on, if on others too."""
    settings = report.settings
    away = frame[frame.dataset != settings["pretrain_on"]]
    if away.empty or len(away) == len(frame):
        return None
    shown, full = (
        table(away, final_rows(settings, away), columns(away, every)) for every in (False, True)
    )
    caption = " ".join(
        [f"Transfer by linear evaluation: {measured(shown)} (%) on data sets not seen in pretraining.",
         *reading(settings, away, shown), *budget(settings, away, methods(settings, "main"))]
    )  # fmt: skip
    return Section("Transfer", [report.save("transfer", full, shown, ("method",), caption)])


def _shots(report: Report, frame: pd.DataFrame, lines: Table, task: str) -> list:
    """A task's table and figure from k images of each class."""
    heads, metric = ("data set", "method"), name(scores(frame)[0])
    caption = " ".join(
        [f"{name(task)} from k images of each class: {metric} (%). The figure of the "
         "task is the mean over all k. A class with fewer images gives all it has.",
         *reading(report.settings, frame, lines, beside=False),
         *budget(report.settings, frame, methods(report.settings, "main"))]
    )  # fmt: skip
    grid = report.save(f"{task}_k", lines, lines, heads, caption, beside=False)
    shots(lines, f"{metric} (%)", report.figure(f"{task}_k"), report.plain)
    alt = f"{name(task)}: {metric} against the number of images of each class"
    key = "The table as lines; error bars: one standard deviation."
    return [grid, Picture(f"{task}_k", alt, key)]


def _pictures(report: Report, frame: pd.DataFrame, task: str) -> list[Picture]:
    """What networks find, as far as evaluations kept it: on the set they were pretrained on, or else on
    the task's first."""
    settings, last = report.settings, last_stages(frame)
    (key, draw, said), seed = SEEN[task], settings["seeds"][0]
    file = {m: "" if m == TEACHER else entry(settings, m).file for m in methods(settings, "main")}
    sets = frame.drop_duplicates("protocol").set_index("protocol").dataset
    for protocol in sorted(sets.index, key=lambda p: sets[p] != settings["pretrain_on"]):
        found = {}
        for method in (m for m in file if file[m] not in UNSEEN):
            path = place(report.results, protocol, method, seed).with_name(PREDICTIONS)
            own = examples.kept(path, last[method])
            if key in own:
                found[method] = own
        if found:
            figure = "neighbours" if task == MAIN else f"{task}_examples"
            draw(found, report.figure(figure))
            of = columns(frame[frame.protocol == protocol])[0].label
            said += f" Data set: {of}; seed {seed}. Too few to rank methods by."
            return [Picture(figure, f"{name(task)}: pictures", said)]
    return []


def stages(report: Report, frame: pd.DataFrame) -> Section | None:
    """The main task after each stage of each method, and against what that network costs.

    Of the protocols that examine every stage: if none does, there is nothing to write.
    """
    settings = report.settings
    every = [p for p, protocol in settings["protocols"].items() if protocol.stages == "all"]
    frame = frame[frame.protocol.isin(every)]
    rows, heads = stage_rows(settings, frame), ("method", "stage", "epochs")
    if not rows:
        return None
    lines = table(frame, rows, columns(frame))
    ranking = "Best in bold, second underlined, among the networks after their binary stage."
    caption = " ".join(
        [
            f"{name(MAIN)} after each stage of training: {measured(lines)} (%).",
            *reading(settings, frame, lines, ranking, beside=False),
            *budget(settings, frame, methods(settings, "main"), per_stage=False),
        ]
    )
    grid = report.save("stages", lines, lines, heads, caption, beside=False)
    final = [row for row in final_rows(settings, frame) if row.method == TEACHER]
    points = cost.points(settings, lines + table(frame, final, columns(frame)), report.results)
    label = f"{lines[0][1][0].column.label}, {measured(lines)} (%)"
    tradeoff(points, label, report.figure("cost"), report.plain)
    said = (
        "The first column against operations and bytes (see the cost table), of each method after each "
        "stage: circle real, triangle binary activations, square fully binary, star the teacher; filled: "
        f"its result. Cost of one image of {points[0]['pixels']} pixels, without a classifier."
    )
    picture = Picture("cost", "Score against operations and against stored bytes", said)
    return Section("After each stage", [grid, picture])


def ablation(report: Report, frame: pd.DataFrame) -> Section:
    """Table and figure of the ablation, on the main task."""
    settings, rows = report.settings, ablation_rows(report.settings, frame)
    lines = table(frame, rows, columns(frame))
    full = table(frame, rows, columns(frame, every=True))
    metric = measured(lines)
    caption = " ".join(
        [
            f"Ablation of burn, {name(MAIN).lower()}: {metric} (%). Epochs are those of the stages "
            "real/binact/binary, steps and images those of all stages together. A variant that "
            "starts with + is the one above it with that added.",
            *reading(
                settings, frame, lines, RANKING.replace("trained binary networks", "variants")
            ),
            *budget(settings, frame, methods(settings, "ablation"), per_stage=False),
        ]
    )
    grid = report.save("ablation", full, lines, ABLATION, caption)
    ladder(lines, f"{metric} (%)", report.figure("ablation"))
    alt = f"Ablation: {metric} of each variant, beside the published one"
    return Section("Ablation", [grid, Picture("ablation", alt, figure_key(lines, panel=True))])


def training(report: Report) -> Section | None:
    """The training curves of the teacher and every method, main or ablation."""
    seeds = report.settings["seeds"]
    runs = {
        method: {
            seed: [(TEACHER, report.results / "teacher" / f"seed{seed}")]
            if method == TEACHER
            else [(s, report.results / "pretrain" / method / f"seed{seed}" / s) for s in STAGES]
            for seed in seeds
        }
        for method in [TEACHER, *(m for m in methods(report.settings) if m != TEACHER)]
    }
    drawn = curves(runs, report.figure("curves"))
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


def costs(report: Report, frame: pd.DataFrame) -> Section:
    found = cost.records(report.settings, frame, report.results)
    return Section("Cost", [cost.grid(found, report.out / "tables")])
