"""Figures that are no bars: scores against k, scores against cost, training curves."""

import csv
import math
from pathlib import Path
from typing import Any

from burn.experiment.schema import STAGES
from burn.places import CURVE
from burn.report.collect import TEACHER
from burn.report.style import BLUE, LINES, RED, WIDTH, canvas, legend, line
from burn.report.tables import Table

PANEL, ACROSS = 1.35, 3  # height of a panel of training curves in inches; panels in a row
OF_STAGE = dict(zip((*STAGES, TEACHER), "o^s*", strict=True))  # marks of `tradeoff`


def shots(lines: Table, label: str, base: Path, plain: set[str]) -> None:
    """Draw a score against the number of labels k, a panel per data set; bars: standard deviation.

    `lines`: burn.report.rows.shots_table.
    """
    sets = list(dict.fromkeys(row.keys[0] for row, _ in lines))
    methods = list(dict.fromkeys(row.method for row, _ in lines))
    with canvas(base, WIDTH if len(sets) == 1 else 2 * WIDTH, 2.6) as figure:
        axes = figure.subplots(1, len(sets), squeeze=False)[0]
        for ax, name in zip(axes, sets, strict=True):
            for row, cells in ((r, c) for r, c in lines if r.keys[0] == name):
                known = [cell for cell in cells if cell.n]
                apart = 1.02 ** (methods.index(row.method) - len(methods) / 2)  # bars side by side
                ks = [apart * int(cell.column.label.split()[-1]) for cell in known]
                ax.errorbar(
                    ks,
                    [cell.mean for cell in known],
                    [cell.spread for cell in known],
                    label=row.keys[-1],
                    capsize=1.5,
                    elinewidth=0.5,
                    **line(row.method, methods, plain),
                )
            ax.set_xscale("log", base=2)
            ticks = [int(cell.column.label.split()[-1]) for cell in lines[0][1]]
            ax.set_xticks(ticks, [str(k) for k in ticks])
            ax.set_xlabel("images of each class, k")
            ax.set_title(name)
        axes[0].set_ylabel(label)
        legend(figure, axes, 3 if len(sets) == 1 else 5)


def tradeoff(points: list[dict[str, Any]], label: str, base: Path, plain: set[str]) -> None:
    """Draw a score against operations for one image and against stored bytes.

    `points`: a dict of method, stage, name, score, spread, ops, bytes each, final stages filled.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    methods = list(dict.fromkeys(point["method"] for point in points))
    with canvas(base, WIDTH, 2.9) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, key, scale, unit in zip(
            axes, ("ops", "bytes"), (1e8, 1e6), ("OPs for one image (1e8)", "stored (MB)"),
            strict=True,
        ):  # fmt: skip
            for point in points:
                look = line(point["method"], methods, plain) | {"ls": "none"}
                look["marker"] = OF_STAGE[point["stage"]]
                look["mfc"] = look["color"] if point["last"] else "white"
                name = point["name"] if point["last"] else None
                at = (point[key] / scale, point["score"])
                ax.errorbar(*at, point["spread"] or None, label=name, elinewidth=0.5, **look)
            ax.set_xscale("log")
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if key == "bytes" else (1,)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.set_xlabel(unit)
        seen = [stage for stage in OF_STAGE if any(p["stage"] == stage for p in points)]
        for stage in (s for s in seen if s != TEACHER):
            look = {"marker": OF_STAGE[stage], "ls": "none", "mfc": "white", "color": "black"}
            axes[0].plot([], [], label=f"after {stage}", **look)
        axes[0].set_ylabel(label)
        legend(figure, axes)


def curves(runs: dict[str, dict[int, list[tuple[str, Path]]]], base: Path) -> set[str]:
    """Draw the loss of each run against its updates, stage after stage; returns what was drawn.

    runs: name -> seed -> (stage, artifact folder) in the order of training. The weight of the
    similarity term, where a method balances two terms, goes by the scale on the right.
    """
    found = {
        name: {seed: read(stages) for seed, stages in seeds.items()} for name, seeds in runs.items()
    }
    found = {name: seeds for name, seeds in found.items() if any(seeds.values())}
    if not found:
        return set()
    across = min(ACROSS, len(found))
    down = math.ceil(len(found) / across)
    with canvas(base, 2 * WIDTH, 0.3 + PANEL * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for i, ax in enumerate(axes):
            if i < len(found):
                _curve(ax, *list(found.items())[i])
            else:
                ax.set_axis_off()
        for ax in axes[: len(found)][-across:]:
            ax.set_xlabel("updates")
        legend(figure, [*figure.axes], 4)
    rows = [row for seeds in found.values() for rows in seeds.values() for row in rows]
    return {key for row in rows for key in row if key in ("loss", "balance")}


def read(stages: list[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Rows of the curves of one seed's stages: stage, update (counted over all), loss, balance."""
    rows, before = [], 0
    for stage, folder in stages:
        with open(folder / CURVE, newline="") as file:
            own = list(csv.DictReader(file))
        for row in own:
            kept = {"stage": stage, "update": before + int(row["update"])}
            kept |= {key: float(row[key]) for key in ("loss", "balance") if row.get(key)}
            rows.append(kept)
        before = rows[-1]["update"] if own else before
    return rows


def _curve(ax: Any, name: str, seeds: dict[int, list[dict[str, Any]]]) -> None:
    ax.set_title(name)
    first = next(rows for rows in seeds.values() if rows)
    for n, (seed, rows) in enumerate(seeds.items()):
        xs, ys = [row["update"] for row in rows], [row["loss"] for row in rows]
        label = "loss" if len(seeds) == 1 else f"loss, seed {seed}"
        ax.plot(xs, ys, color=BLUE, ls=LINES[n % len(LINES)], lw=0.8, label=label)
    ends = [a["update"] for a, b in zip(first, first[1:]) if a["stage"] != b["stage"]]
    for end in ends:
        ax.axvline(end, color="black", lw=0.5)
    starts = [0, *ends]
    stages = list(dict.fromkeys(row["stage"] for row in first))
    if stages != [TEACHER]:
        for start, stage in zip(starts, stages, strict=True):
            at = {"xytext": (2, -1), "textcoords": "offset points", "va": "top", "fontsize": 6}
            ax.annotate(stage, (start, 1), xycoords=("data", "axes fraction"), **at)
    ax.margins(x=0.02, y=0.12)
    balanced = [row for row in first if "balance" in row]
    if balanced:
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.set_ylim(0, 1)
        for stage in stages:  # it starts anew with each
            part = [row for row in balanced if row["stage"] == stage]
            xs, ys = [row["update"] for row in part], [row["balance"] for row in part]
            right.plot(xs, ys, color=RED, ls="--", lw=0.8, label="weight of the similarity")
