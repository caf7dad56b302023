"""Bars of a table, at the width of a journal column, the same bytes for the same numbers."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from burn.report.style import BLACK, GREYS, HATCHES, PALETTE, WIDTH, canvas, legend, turn

ROW_HEIGHT = 1.75  # inches
# More bars in a row than this are too thin to tell apart: go on in another row, then in `panels`.
BARS_PER_ROW = 21
ACROSS, PANEL_HEIGHT = 4, 1.35  # of `panels`, in inches


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
    across = min(len(columns), ACROSS)
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
            _bar(ax, cell, left + (i + 0.5) * width, width, colour, HATCHES[again])
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
        ink = "black" if colour != BLACK else GREYS[1]
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
            (_published_rungs if published else _rungs)(ax, list(column.itertuples()))
            ax.set_xlabel(label)
        axes[0].set_yticks(range(len(columns[0])), [names[0] for names in columns[0].names])
        axes[0].invert_yaxis()


def _rungs(ax: Any, column: list[Any]) -> None:
    for y, cell in enumerate(column):
        if cell.n:
            ax.barh(y, cell.mean, 0.75, color=PALETTE[0], edgecolor="black", linewidth=0.4)
        if cell.spread:
            ax.errorbar(cell.mean, y, xerr=cell.spread, color="black", lw=0.7, capsize=1.5)
        if cell.collapsed:
            at = {"xytext": (2, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate("†", (cell.mean + cell.spread, y), **at)
    ax.set_title(column[0].label, fontsize=7)
    if column[0].metric == "top1":
        ax.axvline(100 / column[0].classes, color="black", ls=":", lw=0.9)


def _published_rungs(ax: Any, column: list[Any]) -> None:
    for y, cell in enumerate(column):
        if cell.published:
            ax.barh(y, float(cell.published), 0.75, color="white", edgecolor="black", linewidth=0.7)
    ax.set_title(f"{column[0].dataset}, published", fontsize=7)


def _highest(cells: pd.DataFrame) -> float:
    """The largest value drawn, in percent; at least 1."""
    drawn = cells[(cells.published != "") & ~cells.stand_in].published.astype(float)
    return max(1.0, *(cells["mean"] + cells.spread).dropna(), *drawn)
