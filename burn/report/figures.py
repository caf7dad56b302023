"""Bars of a table, at the width of a journal column, the same bytes for the same numbers."""

import math
from pathlib import Path
from typing import Any

from burn.report.tables import Table

WIDTH, ROW_HEIGHT = 3.3, 1.75  # inches
BARS_PER_ROW = 21  # more than this are too thin to tell apart: go on in another row of axes
# Okabe & Ito's colours, told apart by most colour-blind readers; then again, hatched.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
STYLE = {
    "pdf.fonttype": 42,  # fonts as outlines with their names: text stays text
    "svg.hashsalt": "burn",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws it alike
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "xtick.major.size": 0,
}


def bars(lines: Table, label: str, base: Path, plain: set[str]) -> None:
    """Draw `lines`, a group of bars per column, into `base`.pdf and `base`.png.

    Error bars are one standard deviation over seeds; hollow diamonds are published figures, for
    real sets only; dotted lines are chance (Top-1 only); a dagger is a collapsed run. Methods in
    `plain` are grey: they are there for orientation.
    """
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: no display, no state shared with a caller

    count = len(lines[0][1])
    groups = max(1, BARS_PER_ROW // len(lines))
    depth = math.ceil(count / groups)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever matplotlibrc says here, the figure is the same
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, 0.55 + ROW_HEIGHT * depth), layout="constrained")
        axes = figure.subplots(depth, 1, squeeze=False, sharey=True)[:, 0]
        for i, ax in enumerate(axes):
            chosen = range(i * groups, min(count, (i + 1) * groups))
            _axes(ax, lines, chosen, min(groups, count), label, plain)
        axes[0].set_ylim(0, min(110.0, 1.12 * _highest(lines)))
        _legend(figure, axes)
        _save(figure, base)


def _axes(ax: Any, lines: Table, chosen: range, groups: int, label: str, plain: set[str]) -> None:
    width = 0.86 / len(lines)
    for x, j in enumerate(chosen):
        left = x - 0.43
        for i, (row, cells) in enumerate(lines):
            look = _look(i, [row.method for row, _ in lines], plain)
            _bar(ax, cells[j], left + (i + 0.5) * width, width, "/".join(row.keys), look)
        cell = lines[0][1][j]
        if cell.column.metric == "top1":
            chance = 100 / cell.classes
            ax.plot([left, x + 0.43], [chance, chance], ":", color="black", lw=0.9, label="chance")
    names = [lines[0][1][j].column.label.replace(" (", "\n(") for j in chosen]
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(-0.5, groups - 0.5)
    ax.set_ylabel(label)


def _bar(ax: Any, cell: Any, x: float, width: float, name: str, look: dict) -> None:
    if cell.n:
        ax.bar(x, cell.mean, 0.9 * width, label=name, edgecolor="black", linewidth=0.4, **look)
    top = cell.mean if cell.n else 0.0
    if cell.n > 1:
        ax.errorbar(x, cell.mean, cell.std, color="black", lw=0.7, capsize=1.5, capthick=0.7)
        top += cell.std
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
    import matplotlib
    from matplotlib.figure import Figure

    columns = lines[0][1]
    panels = [(j, False) for j in range(len(columns))]
    panels += [(j, True) for j in range(len(columns)) if any(c[j].published for _, c in lines)]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(2 * WIDTH, 0.6 + 0.17 * len(lines)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (j, published) in zip(axes, panels, strict=True):
            _rungs(ax, [(row, cells[j]) for row, cells in lines], published)
            ax.set_xlabel(label)
        axes[0].set_yticks(range(len(lines)), [row.keys[0] for row, _ in lines])
        axes[0].invert_yaxis()
        _save(figure, base)


def _rungs(ax: Any, rungs: list[tuple[Any, Any]], published: bool) -> None:
    first = rungs[0][1]
    for y, (_, cell) in enumerate(rungs):
        if published and cell.published:
            ax.barh(y, float(cell.published), 0.75, color="white", edgecolor="black", linewidth=0.7)
        elif cell.n and not published:
            spread = cell.std if cell.n > 1 else 0.0
            ax.barh(y, cell.mean, 0.75, color=PALETTE[0], edgecolor="black", linewidth=0.4)
            if cell.n > 1:
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


def _look(i: int, methods: list[str], plain: set[str]) -> dict:
    if methods[i] in plain:
        return {"color": "#DDDDDD" if i == 0 else "#777777"}
    turn, colour = divmod(sum(m not in plain for m in methods[:i]), len(PALETTE))
    return {"color": PALETTE[colour], "hatch": (None, "////", "....")[min(turn, 2)]}


def _highest(lines: Table) -> float:
    """The largest value drawn, in percent; at least 1."""
    tops = [1.0]
    for cell in (cell for _, cells in lines for cell in cells):
        if cell.n:
            tops.append(cell.mean + (cell.std if cell.n > 1 else 0))
        if cell.published and not cell.stand_in:
            tops.append(float(cell.published))
    return max(tops)


def _legend(figure: Any, axes: Any) -> None:
    seen: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            seen.setdefault(name, handle)
    last = [name for name in ("chance", "published") if name in seen]
    names = [name for name in seen if name not in last] + last
    figure.legend(
        [seen[name] for name in names],
        names,
        loc="outside upper center",
        ncols=3,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
    )


def _save(figure: Any, base: Path) -> None:
    """No date and no program version in the files: they would differ between identical runs."""
    figure.savefig(
        base.with_suffix(".pdf"),
        metadata={"CreationDate": None, "Creator": None, "Producer": None},
    )
    figure.savefig(base.with_suffix(".png"), dpi=300, metadata={"Software": None})
