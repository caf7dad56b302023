"""Bars of a table, at the width of a journal column, the same bytes for the same numbers."""

import math
from pathlib import Path
from typing import Any

from burn.report.style import BLACK, GREYS, HATCHES, PALETTE, WIDTH, canvas, legend, turn
from burn.report.tables import Table

ROW_HEIGHT = 1.75  # inches
BARS_PER_ROW = (
    21  # more than this are too thin to tell apart: go on in another row, then in `panels`
)
ACROSS, PANEL_HEIGHT = 4, 1.35  # of `panels`, in inches


def bars(lines: Table, label: str, base: Path, plain: set[str]) -> None:
    """Draw `lines`, a group of bars per column, into `base`.pdf and `base`.png.

    Error bars are one standard deviation over seeds (of one seed, over the task's drawings); hollow diamonds are published figures, for
    real sets only; dotted lines are chance (Top-1 only); a dagger is a collapsed run. Methods in
    `plain` are grey: they are there for orientation.
    """
    count = len(lines[0][1])
    groups = max(1, BARS_PER_ROW // len(lines))
    depth = math.ceil(count / groups)
    if depth > 2:
        panels(lines, label, base, plain)
        return
    with canvas(base, WIDTH, 0.55 + ROW_HEIGHT * depth) as figure:
        axes = figure.subplots(depth, 1, squeeze=False, sharey=True)[:, 0]
        for i, ax in enumerate(axes):
            chosen = range(i * groups, min(count, (i + 1) * groups))
            _axes(ax, lines, chosen, min(groups, count), plain)
        axes[0].set_ylim(0, min(110.0, 1.12 * _highest(lines)))
        figure.supylabel(label, fontsize=7)
        legend(figure, axes, last=("chance", "published"))


def panels(lines: Table, label: str, base: Path, plain: set[str]) -> None:
    """Draw `lines`, a panel with a scale of its own per column, as wide as a page. Marks: see `bars`."""
    count = len(lines[0][1])
    across = min(count, ACROSS)
    down = math.ceil(count / across)
    with canvas(base, 2 * WIDTH, 0.5 + PANEL_HEIGHT * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for j, ax in enumerate(axes):
            if j >= count:
                ax.set_axis_off()
                continue
            _axes(ax, lines, range(j, j + 1), 1, plain)
            ax.set_xticks([])
            title = lines[0][1][j].column.label.replace(" (stand-in)", "\n(stand-in)")
            ax.set_title(title.replace(": ", ":\n", 1))
            ax.set_ylim(
                0, min(110.0, 1.15 * _highest([(r, cells[j : j + 1]) for r, cells in lines]))
            )
        figure.supylabel(label, fontsize=7)
        legend(figure, axes, 5, ("chance", "published"))


def _axes(ax: Any, lines: Table, chosen: range, groups: int, plain: set[str]) -> None:
    width = 0.86 / len(lines)
    for x, j in enumerate(chosen):
        left = x - 0.43
        for i, (row, cells) in enumerate(lines):
            look = _look(row.method, [row.method for row, _ in lines], plain)
            _bar(ax, cells[j], left + (i + 0.5) * width, width, "/".join(row.keys), look)
        cell = lines[0][1][j]
        if cell.column.metric == "top1":
            chance = 100 / cell.classes
            ax.plot([left, x + 0.43], [chance, chance], ":", color="black", lw=0.9, label="chance")
    names = [lines[0][1][j].column.label.replace(" (", "\n(") for j in chosen]
    ax.set_xticks(range(len(names)), names)
    ax.tick_params("x", length=0)
    ax.set_xlim(-0.5, groups - 0.5)


def _bar(ax: Any, cell: Any, x: float, width: float, name: str, look: dict) -> None:
    if cell.n:
        ax.bar(x, cell.mean, 0.9 * width, label=name, edgecolor="black", linewidth=0.4, **look)
    top, spread = cell.mean if cell.n else 0.0, cell.spread
    if spread:
        ink = "black" if look["color"] != BLACK else GREYS[1]
        ax.errorbar(x, cell.mean, spread, color=ink, lw=0.7, capsize=1.5, capthick=0.7)
        top += spread
    if cell.collapsed:
        at = {"xytext": (0, 1), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate("†", (x, top), **at)
    if cell.published and not cell.stand_in:
        hollow = {"mfc": "white", "mec": "black", "mew": 0.7, "ms": 3.5, "zorder": 3}
        ax.plot(x, float(cell.published), "D", ls="none", label="published", **hollow)


def ladder(lines: Table, label: str, base: Path) -> None:
    """Draw the ablation into `base`.pdf and `base`.png: variants downwards, a panel per column.

    Published figures have a panel of their own: they are of another data set or budget, and what
    compares is the step from bar to bar. Marks are those of `bars`.
    """
    columns = lines[0][1]
    panels = [(j, False) for j in range(len(columns))]
    panels += [(j, True) for j in range(len(columns)) if any(c[j].published for _, c in lines)]
    with canvas(base, 2 * WIDTH, 0.6 + 0.17 * len(lines)) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (j, published) in zip(axes, panels, strict=True):
            _rungs(ax, [(row, cells[j]) for row, cells in lines], published)
            ax.set_xlabel(label)
        axes[0].set_yticks(range(len(lines)), [row.keys[0] for row, _ in lines])
        axes[0].invert_yaxis()


def _rungs(ax: Any, rungs: list[tuple[Any, Any]], published: bool) -> None:
    first = rungs[0][1]
    for y, (_, cell) in enumerate(rungs):
        if published and cell.published:
            ax.barh(y, float(cell.published), 0.75, color="white", edgecolor="black", linewidth=0.7)
        elif cell.n and not published:
            spread = cell.spread
            ax.barh(y, cell.mean, 0.75, color=PALETTE[0], edgecolor="black", linewidth=0.4)
            if spread:
                ax.errorbar(cell.mean, y, xerr=spread, color="black", lw=0.7, capsize=1.5)
            if cell.collapsed:
                at = {"xytext": (2, 0), "textcoords": "offset points", "va": "center"}
                ax.annotate("†", (cell.mean + spread, y), **at)
    if published:
        ax.set_title(f"{first.dataset}, published", fontsize=7)
        return
    ax.set_title(first.column.label, fontsize=7)
    if first.column.metric == "top1":
        ax.axvline(100 / first.classes, color="black", ls=":", lw=0.9)


def _look(method: str, methods: list[str], plain: set[str]) -> dict:
    colour, again, _ = turn(method, methods, plain)
    return {"color": colour, "hatch": HATCHES[again]}


def _highest(lines: Table) -> float:
    """The largest value drawn, in percent; at least 1."""
    tops = [1.0]
    for cell in (cell for _, cells in lines for cell in cells):
        if cell.n:
            tops.append(cell.mean + cell.spread)
        if cell.published and not cell.stand_in:
            tops.append(float(cell.published))
    return max(tops)
