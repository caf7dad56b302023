"""The sections of the page, top to bottom; each writes its tables and figures on the way."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.places import PREDICTIONS
from burn.report import (
    ablation,
    alive,
    captions,
    cost,
    deployment,
    difference,
    examples,
    figures,
    tables,
    terms,
)
from burn.report.captions import RANKING, caption, figure_key, measured, name
from burn.report.collect import TEACHER, entry, is_random, methods
from burn.report.grid import Cell, Grid, Head, printed, to_latex, to_markdown
from burn.report.page import Picture, Prose, Section
from burn.report.provenance import trainings
from burn.report.tables import ablation_rows, columns, fill, final_rows, last_stages, stage_rows

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

    def save(self, base: str, said: str, frame: pd.DataFrame, cells: pd.DataFrame,
             full: pd.DataFrame | None = None, heads: tuple[str, ...] = ("method",),
             beside: bool = True, **reading: Any) -> Grid:  # fmt: skip
        """Write a table, which shows what is `said`; its CSV is that of `full`, with every metric."""
        told = caption(self.settings, said, frame, cells, beside=beside, **reading)
        grid = printed(cells, heads, told, base, self.link, beside)
        return self.write(grid, tables.to_csv(cells if full is None else full))

    def write(self, grid: Grid, csv: str) -> Grid:
        """Write tables/<base>.csv, .md and .tex."""
        markdown = f"{to_markdown(grid)}\n*{grid.caption}*\n"
        for suffix, text in {".csv": csv, ".md": markdown, ".tex": to_latex(grid)}.items():
            path = (self.out / "tables" / grid.base).with_suffix(suffix)
            path.write_text(text, encoding="utf-8")
        return grid

    def link(self, protocol: str, method: str) -> str:
        """Address in the run of the evaluation behind a cell; of several seeds, their folder."""
        seeds = self.settings["seeds"]
        folder = places.evaluation(Path(), protocol, method, seeds[0])
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
    page.append(rivals(report, main))
    for task in tasks:
        page.append(of_task(report, main[main.task == task], task))
        if task == MAIN:
            page.append(transfer(report, of_main))
    page += [stages(report, of_main), ablation.section(report, of_variants), costs(report, main)]
    page += [deployed(report, of_main), of_terms(report, main), training(report)]
    page += [beside_published(report, main, variants)]
    items = captions.collapsed_runs(frame)
    page.append(Section("Collapsed runs", [Prose("" if items else "None.", items)]))
    return [section for section in page if section]


def comparison(report: Report, frame: pd.DataFrame) -> Section:
    """Table and figure of every task: the headline of each method's last stage."""
    cells = fill(frame, final_rows(report.settings, frame), columns(frame, grouped=True))
    tasks = captions.listed([name(task).lower() for task in frame.task.unique()])
    grid = report.save("comparison", f"The score each task is known by, {tasks} (%).", frame, cells)
    figures.panels(cells, "score (%)", report.figure("comparison"), report.plain)
    alt = "The score of each method on each task"
    return Section("Comparison", [grid, Picture("comparison", alt, figure_key(cells))])


def rivals(report: Report, frame: pd.DataFrame) -> Section | None:
    """Each row of BURN against the best rival of each column."""
    lines = difference.differences(report.settings, frame, report.results)
    if lines.empty:
        return None
    csv = lines.to_csv(index=False, lineterminator="\n")
    return Section("Against the best rival", [report.write(difference.grid(lines, frame), csv)])


def of_task(report: Report, frame: pd.DataFrame, task: str) -> Section:
    """Tables and figures of one task, of each method's last stage."""
    rows = final_rows(report.settings, frame)
    cells, full = (fill(frame, rows, columns(frame, every)) for every in (False, True))
    title, metric = name(task), measured(cells)
    grid = report.save(task, f"{title}: {metric} (%).", frame, cells, full)
    figures.bars(cells, f"{metric[0].upper()}{metric[1:]} (%)", report.figure(task), report.plain)
    alt = f"{title}: {metric} of each method on each data set"
    blocks = [grid, Picture(task, alt, figure_key(cells))]
    more = [*of_shots(report, frame, rows, task), *pictures(report, frame, task)]
    return Section(title, [*blocks, *more])


def transfer(report: Report, frame: pd.DataFrame) -> Section | None:
    """Table of the main task on data sets that the networks were not pretrained on, if on others too."""
    away = frame[frame.dataset != report.settings["pretrain_on"]]
    if away.empty or len(away) == len(frame):
        return None
    rows = final_rows(report.settings, away)
    cells, full = (fill(away, rows, columns(away, every)) for every in (False, True))
    said = "Transfer by linear evaluation: {} (%) on data sets not seen in pretraining."
    said = said.format(measured(cells))
    return Section("Transfer", [report.save("transfer", said, away, cells, full)])


def of_shots(report: Report, frame: pd.DataFrame, rows: pd.DataFrame, task: str) -> list:
    """A task's table and figure from k images of each class, if it has such scores."""
    cells = tables.shots(frame, rows)
    if cells.empty:
        return []
    metric, base = name(tables.scores(frame)[0]), f"{task}_k"
    said = (
        f"{name(task)} from k images of each class: {metric} (%). The figure of the task is the mean "
        "over all k. A class with fewer images gives all it has."
    )
    heads = ("data set", "method")
    grid = report.save(base, said, frame, cells, heads=heads, beside=False)
    figures.lines_of_shots(cells, f"{metric} (%)", report.figure(base), report.plain)
    alt = f"{name(task)}: {metric} against the number of images of each class"
    return [grid, Picture(base, alt, "The table as lines; error bars: one standard deviation.")]


def pictures(report: Report, frame: pd.DataFrame, task: str) -> list[Picture]:
    """What networks find, as far as evaluations kept it: on the set they were pretrained on, or else on
    the task's first."""
    settings, last, seed = report.settings, last_stages(frame), report.settings["seeds"][0]
    key, draw, said = SEEN.get(task, ("", None, ""))
    shown = [m for m in last.index if m == TEACHER or entry(settings, m).file not in UNSEEN]
    sets = frame.drop_duplicates("protocol").set_index("protocol").dataset
    for protocol in sorted(sets.index, key=lambda p: sets[p] != settings["pretrain_on"]):
        folders = {m: places.evaluation(report.results, protocol, m, seed) for m in shown}
        kept = {m: examples.kept(folder / PREDICTIONS, last[m]) for m, folder in folders.items()}
        kept = {m: own for m, own in kept.items() if key in own}
        if kept:
            base = "neighbours" if task == MAIN else f"{task}_examples"
            draw(kept, report.figure(base))
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
    cells, final = fill(frame, rows, columns(frame)), final_rows(settings, frame)
    said = f"{name(MAIN)} after each stage of training: {measured(cells)} (%)."
    ranking = RANKING.replace(
        "the trained binary networks", "the networks after their binary stage"
    )
    grid = report.save("stages", said, frame, cells, heads=("method", "stage", "epochs"),
                       ranking=ranking, beside=False, epochs=False)  # fmt: skip
    teacher = fill(frame, final[final.method == TEACHER], columns(frame))
    points = cost.points(pd.concat([cells, teacher]), report.results)
    label = f"{cells.label[0]}, {measured(cells)} (%)"
    figures.tradeoff(points, label, report.figure("cost"), report.plain)
    said = (
        "The first column against operations and bytes (see the cost table), of each method after each "
        "stage: circle real, triangle binary activations, square fully binary, star the teacher; filled: "
        f"its result. Cost of one image of {points.pixels[0]} pixels, without a classifier."
    )
    picture = Picture("cost", "Score against operations and against stored bytes", said)
    return Section("After each stage", [grid, picture])


def costs(report: Report, frame: pd.DataFrame) -> Section:
    """Table of what the networks cost."""
    lines = cost.records(report.settings, frame, report.results)
    csv = lines.to_csv(index=False, lineterminator="\n")
    return Section("Cost", [report.write(cost.grid(lines), csv)])


def deployed(report: Report, frame: pd.DataFrame) -> Section:
    """Tables of what is exported, and how fast it is; the main task against time and bytes."""
    lines = deployment.exported(report.settings, report.results)
    known = deployment.times(report.results)
    csv = lines.drop(columns=["images", "dataset"]).to_csv(index=False, lineterminator="\n")
    blocks = [report.write(deployment.grid(lines, known), csv)]
    if len(frame):
        cells = fill(frame, final_rows(report.settings, frame), columns(frame))
        first = cells[cells.label == cells.label[0]]
        label = f"{cells.label[0]}, {measured(first)} (%)"
        points = deployment.points(lines, cells)
        figures.deployed(points, label, report.figure("deployment"), report.plain)
        said = (
            "The first column of linear evaluation against the time for one image, where that was "
            "measured, and against the bytes of the file. Hollow: read by torch; filled: the graph for "
            "OpenVINO. Star: the floating-point teacher; all others are binary."
        )
        blocks.append(Picture("deployment", "Score against milliseconds and bytes", said))
    if known["rows"]:
        rows = pd.DataFrame(known["rows"])
        rows = rows.assign(methods=rows.methods.map(" ".join)).join(
            pd.DataFrame(list(rows.network))
        )
        csv = rows.drop(columns="network").to_csv(index=False, lineterminator="\n")
        blocks.append(report.write(deployment.latency_grid(known), csv))
    return Section("Deployment", blocks)


def of_terms(report: Report, frame: pd.DataFrame) -> Section | None:
    """What each network was given to learn from."""
    lines = terms.records(report.settings, frame, report.results)
    if lines.empty:
        return None
    csv = lines.to_csv(index=False, lineterminator="\n")
    return Section("Terms of training", [report.write(terms.grid(lines), csv)])


def training(report: Report) -> Section | None:
    """The training curves of the teacher and every method, main or ablation."""
    read = figures.read_curves(trainings(report.settings, report.results))
    if read.empty:
        return None
    figures.curves(read, report.figure("curves"))
    said = (
        "Training loss of every stage (mean of 20 updates), against updates; losses of different "
        "methods and stages are not comparable."
    )
    if read.balance.notna().any():
        said += (
            " Dashed, by the scale on the right: the weight of burn's similarity term, the rest being "
            "that of its KL term."
        )
    blocks = [Picture("curves", "Training loss of every method", said)]
    joint = read.dropna(subset=["kl", *figures.INFORMATION])
    if len(joint):
        figures.information(joint, report.figure("information"))
        told = (
            "What the target and the output of the classifiers say of an image, in nats (mutual information "
            "of image and class over a batch), after every 20 updates of all stages. At 0 the KL term is "
            "met by one class for all images, and the classifier on the teacher gets no gradient."
        )
        blocks.append(
            Picture("information", "Information of target and output over training", told)
        )
        lines = alive.records(joint)
        csv = lines.to_csv(index=False, lineterminator="\n")
        blocks.append(report.write(alive.grid(lines), csv))
    return Section("Training", blocks)


def beside_published(report: Report, main: pd.DataFrame, variants: pd.DataFrame) -> Section | None:
    """Every number that a published one stands beside, and why they differ, as far as is known."""
    cells = pd.concat(
        fill(of_task, rows(report.settings, of_task), columns(of_task))
        for frame, rows in ((main, final_rows), (variants, ablation_rows))
        for _, of_task in frame.groupby("task", sort=False)
    )
    cells = cells[(cells.n > 0) & (cells.published != "")]
    if cells.empty:
        return None
    both, lines = pd.concat([main, variants]), []
    for cell in cells.itertuples():
        short = captions.reduced(both[both.method == cell.method])
        why = ["not the real set"] * cell.stand_in + ["reduced budget"] * short
        why += ["collapsed"] * cell.collapsed
        here = Cell(f"{cell.mean:.{tables.DIGITS}f}", link=report.link(cell.protocol, cell.method))
        apart = f"{cell.mean - float(cell.published):+.{tables.DIGITS}f}"
        told = (cell.published, apart, ", ".join(why))
        lines.append([Cell(cell.names[0]), Cell(cell.label), here, *map(Cell, told)])
    heads = [Head("method", "name"), Head("column", "name")]
    heads += [*map(Head, ("here", "published", "difference")), Head("why", "name")]
    said = "What differs from the published numbers (%). Sources: "
    said += ", ".join(sorted(cells.published_source.unique())) + "."
    return Section("Beside the published numbers", [Grid(heads, lines, said)])
