"""Figures of tables and of training, at the width of a journal column; the same bytes for the same
numbers."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from burn.experiment.schema import STAGES
from burn.places import CURVE, TEACHER
from burn.report import style
from burn.report.style import BLUE, PALETTE, RED, WIDTH, canvas, legend, line, turn

ROW_HEIGHT, PANEL_HEIGHT = 1.75, 1.35  # of `bars`, and of `panels` and `curves`, in inches
# More bars in a row than this are too thin to tell apart: go on in another row, then in `panels`.
BARS_PER_ROW = 21
OF_STAGE = dict(zip((*STAGES, TEACHER), "o^s*", strict=True))  # marks of `tradeoff`
# Its panels: scale, unit, and where in a decade the axis has ticks.
COSTS = {"ops": (1e8, "OPs for one image (1e8)", (1,)), "bytes": (1e6, "stored (MB)", (1, 2, 5))}

INFORMATION = ("target_information", "output_information")  # nats, of burn.training.collapse
LEAST = 1e-4  # nats that are drawn: less is nothing


def bars(cells: pd.DataFrame, label: str, base: Path, plain: set[str]) -> None:
    """Draw a table (burn.report.tables.fill), a group of bars per column, into `base`.pdf and .png.

    Error bars are one standard deviation over seeds (of one seed, over the task's drawings); hollow
    diamonds are published figures, for real sets only; dotted lines are chance (Top-1 only); a
    dagger is a collapsed run. Methods in `plain` are grey: they are there for orientation.
    """
    count = cells.column.nunique()
    groups = max(1, BARS_PER_ROW // cells.row.nunique())
    depth = math.ceil(count / groups)
    if depth > 2:
        panels(cells, label, base, plain)
        return
    with canvas(base, WIDTH, 0.55 + ROW_HEIGHT * depth) as figure:
        axes = figure.subplots(depth, 1, squeeze=False, sharey=True)[:, 0]
        for i, ax in enumerate(axes):
            _axes(ax, cells[cells.column // groups == i], min(groups, count), plain)
        axes[0].set_ylim(0, min(110.0, 1.12 * _highest(cells)))
        figure.supylabel(label, fontsize=7)
        legend(figure, axes, last=("chance", "published"))


def panels(cells: pd.DataFrame, label: str, base: Path, plain: set[str]) -> None:
    """Draw a table, a panel with a scale of its own per column, as wide as a page. Marks: see `bars`."""
    columns = [column for _, column in cells.groupby("column")]
    across = min(4, len(columns))
    down = math.ceil(len(columns) / across)
    with canvas(base, 2 * WIDTH, 0.5 + PANEL_HEIGHT * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for ax in axes[len(columns) :]:
            ax.set_axis_off()
        for ax, column in zip(axes, columns):
            _axes(ax, column, 1, plain)
            ax.set_xticks([])
            title = column.label.iloc[0].replace(" (stand-in)", "\n(stand-in)")
            ax.set_title(title.replace(": ", ":\n", 1))
            ax.set_ylim(0, min(110.0, 1.15 * _highest(column)))
        figure.supylabel(label, fontsize=7)
        legend(figure, axes, 5, ("chance", "published"))


def _axes(ax: Any, cells: pd.DataFrame, groups: int, plain: set[str]) -> None:
    width, methods = 0.86 / cells.row.nunique(), list(cells.method.unique())
    columns = [list(column.itertuples()) for _, column in cells.groupby("column")]
    for x, column in enumerate(columns):
        left = x - 0.43
        for i, cell in enumerate(column):
            colour, again, _ = turn(cell.method, methods, plain)
            _bar(ax, cell, left + (i + 0.5) * width, width, colour, style.HATCHES[again])
        if column[0].metric == "top1":
            chance = [100 / column[0].classes] * 2
            ax.plot([left, x + 0.43], chance, ":", color="black", lw=0.9, label="chance")
    labels = [column[0].label.replace(" (", "\n(") for column in columns]
    ax.set_xticks(range(len(labels)), labels)
    ax.tick_params("x", length=0)
    ax.set_xlim(-0.5, groups - 0.5)


def _bar(ax: Any, cell: Any, x: float, width: float, colour: str, hatch: str | None) -> None:
    if cell.n:
        ax.bar(x, cell.mean, 0.9 * width, label="/".join(cell.names), edgecolor="black",
               linewidth=0.4, color=colour, hatch=hatch)  # fmt: skip
    if cell.spread:
        ink = "black" if colour != style.BLACK else style.GREYS[1]
        ax.errorbar(x, cell.mean, cell.spread, color=ink, lw=0.7, capsize=1.5, capthick=0.7)
    if cell.collapsed:
        at = {"xytext": (0, 1), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate("†", (x, cell.mean + cell.spread), **at)
    if cell.published and not cell.stand_in:
        hollow = {"mfc": "white", "mec": "black", "mew": 0.7, "ms": 3.5, "zorder": 3}
        ax.plot(x, float(cell.published), "D", ls="none", label="published", **hollow)


def ladder(cells: pd.DataFrame, label: str, base: Path) -> None:
    """Draw the ablation into `base`.pdf and `base`.png: variants downwards, a panel per column.

    Published figures have a panel of their own: they are of another data set or budget, and what
    compares is the step from bar to bar. Marks are those of `bars`.
    """
    columns = [column for _, column in cells.groupby("column")]
    panels = [(column, False) for column in columns]
    panels += [(column, True) for column in columns if (column.published != "").any()]
    with canvas(base, 2 * WIDTH, 0.6 + 0.17 * len(columns[0])) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (column, published) in zip(axes, panels, strict=True):
            _rungs(ax, column, published)
            ax.set_xlabel(label)
        axes[0].set_yticks(
            range(len(columns[0])), [style.plain(names[0]) for names in columns[0].names]
        )
        axes[0].invert_yaxis()


def _rungs(ax: Any, column: pd.DataFrame, published: bool) -> None:
    first, look = column.iloc[0], {"edgecolor": "black", "linewidth": 0.7 if published else 0.4}
    known = column.assign(y=range(len(column)))[
        column.published != "" if published else column.n > 0
    ]
    if published:
        ax.barh(known.y, known.published.astype(float), 0.75, color="white", **look)
        ax.set_title(f"{first.published_of}, published", fontsize=7)
        return
    ax.barh(known.y, known["mean"], 0.75, color=PALETTE[0], **look)
    for cell in known.itertuples():
        if cell.spread:
            ax.errorbar(cell.mean, cell.y, xerr=cell.spread, color="black", lw=0.7, capsize=1.5)
        if cell.collapsed:
            at = {"xytext": (2, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate("†", (cell.mean + cell.spread, cell.y), **at)
    ax.set_title(first.label, fontsize=7)
    if first.metric == "top1":
        ax.axvline(100 / first.classes, color="black", ls=":", lw=0.9)


def _highest(cells: pd.DataFrame) -> float:
    """The largest value drawn, in percent; at least 1."""
    drawn = cells[(cells.published != "") & ~cells.stand_in].published.astype(float)
    return max(1.0, *(cells["mean"] + cells.spread).dropna(), *drawn)


def lines_of_shots(cells: pd.DataFrame, label: str, base: Path, plain: set[str]) -> None:
    """Draw a score against the number of labels k, a panel per data set; bars: standard deviation.

    `cells`: burn.report.tables.shots.
    """
    cells = cells.assign(k=cells.label.str.split().str[-1].astype(int), set=cells.names.str[0])
    ticks, sets = list(cells.k.unique()), cells.groupby("set", sort=False)
    methods = list(cells.method.unique())
    with canvas(base, WIDTH if len(sets) == 1 else 2 * WIDTH, 2.6) as figure:
        axes = figure.subplots(1, len(sets), squeeze=False)[0]
        for ax, (name, of_set) in zip(axes, sets, strict=True):
            for method, own in of_set[of_set.n > 0].groupby("method", sort=False):
                apart = 1.02 ** (methods.index(method) - len(methods) / 2)  # bars side by side
                ax.errorbar(apart * own.k, own["mean"], own.spread, label=own.names.iloc[0][-1],
                            capsize=1.5, elinewidth=0.5, **line(method, methods, plain))  # fmt: skip
            ax.set_xscale("log", base=2)
            ax.set_xticks(ticks, [str(k) for k in ticks])
            ax.set_xlabel("images of each class, k")
            ax.set_title(name)
        axes[0].set_ylabel(label)
        legend(figure, axes, 3 if len(sets) == 1 else 5)


def tradeoff(points: pd.DataFrame, label: str, base: Path, plain: set[str]) -> None:
    """Draw a score against operations for one image and against stored bytes.

    `points`: burn.report.cost.points; the results of methods are filled.
    """
    methods = list(points.method.unique())
    with canvas(base, WIDTH, 2.9) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, (key, (scale, unit, ticks)) in zip(axes, COSTS.items(), strict=True):
            for point in points.to_dict("records"):
                look = line(point["method"], methods, plain) | {"ls": "none"}
                look["marker"] = OF_STAGE[point["stage"]]
                look["mfc"] = look["color"] if point["final"] else "white"
                look["label"] = point["method"] if point["final"] else None
                spread = point["spread"] or None
                ax.errorbar(point[key] / scale, point["mean"], spread, elinewidth=0.5, **look)
            ax.set_xscale("log")
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(LogLocator(subs=ticks))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.set_xlabel(unit)
        for stage in (s for s in STAGES if s in set(points.stage)):
            look = {"marker": OF_STAGE[stage], "ls": "none", "mfc": "white", "color": "black"}
            axes[0].plot([], [], label=f"after {stage}", **look)
        axes[0].set_ylabel(label)
        legend(figure, axes)


def deployed(points: pd.DataFrame, label: str, base: Path, plain: set[str]) -> None:
    """Draw a score against milliseconds, if they were measured, and against bytes of a file.

    `points`: burn.report.deployment.points. Filled: a binary network as bits, the floating-point one as
    floats, in OpenVINO; hollow: in torch.
    """
    methods = list(points.method.unique())
    shown = points[points.format.isin(["packed", "openvino"])]  # of int8 the score is not known
    panels = {"ms": ("ms for one image, measured", 1), "bytes": ("file (MB)", 1e6)}
    panels = {key: how for key, how in panels.items() if shown[key].notna().any()}
    with canvas(base, WIDTH, 2.9) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (key, (unit, scale)) in zip(axes, panels.items(), strict=True):
            for point in shown.dropna(subset=key).to_dict("records"):
                look = line(point["method"], methods, plain) | {"ls": "none"}
                if point["method"] == TEACHER:
                    look["marker"] = "*"
                in_torch = point["format"] == "packed"
                look["mfc"] = "white" if in_torch else look["color"]
                look["label"] = point["method"] if in_torch else None
                spread = point["spread"] or None
                ax.errorbar(point[key] / scale, point["mean"], spread, elinewidth=0.5, **look)
            ax.set_xscale("log")
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.set_xlabel(unit)
        axes[0].set_ylabel(label)
        legend(figure, axes)


def read_curves(folders: dict[tuple[str, int, str], Path]) -> pd.DataFrame:
    """The training curves of (method, seed, stage) -> artifact folder, one after another: `method`,
    `seed`, `stage`, `update` (counted over all stages), and of the rest what was logged, else nan.
    Empty if nothing was trained."""
    known = ["method", "seed", "stage", "update", "loss", "balance", "kl", *INFORMATION]
    read = []
    for key, folder in folders.items():
        curve = pd.read_csv(folder / CURVE)
        read.append(curve.assign(**dict(zip(known, key))).reindex(columns=known))
    trained = [curve for curve in read if len(curve)]
    if not trained:
        return pd.DataFrame(columns=known)
    curves = pd.concat(trained, ignore_index=True)
    ends = curves.groupby(known[:3], sort=False)["update"].max()
    before = (ends.groupby(known[:2]).cumsum() - ends).rename("before")
    return curves.assign(update=curves["update"] + curves.join(before, on=known[:3]).before)


def information(curves: pd.DataFrame, base: Path) -> None:
    """Draw what target and output say of the image, of the methods that have a KL term, against updates.

    The first seed is a line, the others are thin.
    """
    methods = list(curves.method.unique())
    with canvas(base, 2 * WIDTH, 2.2) as figure:
        axes = figure.subplots(1, len(INFORMATION), sharey=True)
        for ax, key in zip(axes, INFORMATION):
            for (method, seed), own in curves.groupby(["method", "seed"], sort=False):
                first = seed == curves.seed.iloc[0]
                look = style.line(method, methods, set()) | {
                    "marker": "",
                    "lw": 1.0 if first else 0.4,
                }
                known = own[key].clip(lower=LEAST)
                ax.plot(own["update"], known, label=method if first else None, **look)
            ax.set_yscale("log")
            ax.set_xlabel("updates")
            ax.set_title(key.replace("_", " "))
        axes[0].set_ylabel("nats")
        legend(figure, [axes[0]], 4)


def curves(curves: pd.DataFrame, base: Path) -> None:
    """Draw the losses of `read_curves` against updates, a panel per method, stage after stage.

    The weight of the similarity term, where a method balances two terms, goes by the scale on the
    right.
    """
    methods = curves.groupby("method", sort=False)
    across = min(3, len(methods))
    down = math.ceil(len(methods) / across)
    with canvas(base, 2 * WIDTH, 0.3 + PANEL_HEIGHT * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for ax in axes[len(methods) :]:
            ax.set_axis_off()
        for ax, (method, own) in zip(axes, methods):
            ax.set_title(method)
            _curve(ax, [of_seed for _, of_seed in own.groupby("seed", sort=False)])
        for ax in axes[: len(methods)][-across:]:
            ax.set_xlabel("updates")
        legend(figure, [*figure.axes], 4)


def _curve(ax: Any, seeds: list[pd.DataFrame]) -> None:
    for n, curve in enumerate(seeds):
        label = "loss" if len(seeds) == 1 else f"loss, seed {curve.seed.iloc[0]}"
        look = {"color": BLUE, "ls": style.LINES[n % len(style.LINES)], "lw": 0.8, "label": label}
        ax.plot(curve["update"], curve.loss, **look)
    ends = seeds[0].groupby("stage", sort=False)["update"].max()
    for stage, start in zip(ends.index, [0, *ends]):
        if start:
            ax.axvline(start, color="black", lw=0.5)
        if stage != TEACHER:
            at = {"xytext": (2, -1), "textcoords": "offset points", "va": "top", "fontsize": 6}
            ax.annotate(stage, (start, 1), xycoords=("data", "axes fraction"), **at)
    ax.margins(x=0.02, y=0.12)
    balanced = seeds[0].dropna(subset="balance")
    if len(balanced):
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.set_ylim(0, 1)
        for _, own in balanced.groupby("stage", sort=False):  # it starts anew with each
            look = {"color": RED, "ls": "--", "lw": 0.8, "label": "weight of the similarity"}
            right.plot(own["update"], own.balance, **look)
