"""Figures that are no bars: scores against k, scores against cost, training curves."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from burn.experiment.schema import STAGES
from burn.places import CURVE
from burn.report.collect import TEACHER
from burn.report.style import BLUE, LINES, RED, WIDTH, canvas, legend, line

PANEL, ACROSS = 1.35, 3  # height of a panel of training curves in inches; panels in a row
OF_STAGE = dict(zip((*STAGES, TEACHER), "o^s*", strict=True))  # marks of `tradeoff`
Runs = dict[str, dict[int, list[tuple[str, Path]]]]


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
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    methods = list(points.method.unique())
    with canvas(base, WIDTH, 2.9) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, key, scale, unit in zip(
            axes, ("ops", "bytes"), (1e8, 1e6), ("OPs for one image (1e8)", "stored (MB)"),
            strict=True,
        ):  # fmt: skip
            for point in points.to_dict("records"):
                look = line(point["method"], methods, plain) | {"ls": "none"}
                look["marker"] = OF_STAGE[point["stage"]]
                look["mfc"] = look["color"] if point["final"] else "white"
                look["label"] = point["method"] if point["final"] else None
                spread = point["spread"] or None
                ax.errorbar(point[key] / scale, point["mean"], spread, elinewidth=0.5, **look)
            ax.set_xscale("log")
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if key == "bytes" else (1,)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.set_xlabel(unit)
        for stage in (s for s in STAGES if s in set(points.stage)):
            look = {"marker": OF_STAGE[stage], "ls": "none", "mfc": "white", "color": "black"}
            axes[0].plot([], [], label=f"after {stage}", **look)
        axes[0].set_ylabel(label)
        legend(figure, axes)


def curves(runs: Runs, base: Path) -> set[str]:
    """Draw the loss of each run against its updates, stage after stage; returns what was drawn.

    runs: name -> seed -> (stage, artifact folder) in the order of training. The weight of the
    similarity term, where a method balances two terms, goes by the scale on the right.
    """
    read = {
        name: {seed: read_curves(stages) for seed, stages in seeds.items()}
        for name, seeds in runs.items()
    }
    read = {n: seeds for n, seeds in read.items() if any(len(c) for c in seeds.values())}
    if not read:
        return set()
    across = min(ACROSS, len(read))
    down = math.ceil(len(read) / across)
    with canvas(base, 2 * WIDTH, 0.3 + PANEL * down) as figure:
        axes = figure.subplots(down, across, squeeze=False).flatten()
        for ax in axes[len(read) :]:
            ax.set_axis_off()
        for ax, (name, seeds) in zip(axes, read.items()):
            _curve(ax, name, seeds)
        for ax in axes[: len(read)][-across:]:
            ax.set_xlabel("updates")
        legend(figure, [*figure.axes], 4)
    every = pd.concat([curve for seeds in read.values() for curve in seeds.values()])
    return {key for key in ("loss", "balance") if every[key].notna().any()}


def read_curves(stages: list[tuple[str, Path]]) -> pd.DataFrame:
    """The curves of one seed's stages: stage, update (counted over all), loss, balance (or nan)."""
    read, before = [pd.DataFrame(columns=["stage", "update", "loss", "balance"])], 0
    for stage, folder in stages:
        curve = pd.read_csv(folder / CURVE, float_precision="round_trip")
        if len(curve):
            curve = curve.assign(stage=stage, update=before + curve["update"])
            before = curve["update"].iloc[-1]
            read.append(curve.reindex(columns=read[0].columns))
    return pd.concat(read[1:]) if read[1:] else read[0]


def _curve(ax: Any, name: str, seeds: dict[int, pd.DataFrame]) -> None:
    ax.set_title(name)
    for n, (seed, curve) in enumerate(seeds.items()):
        label = "loss" if len(seeds) == 1 else f"loss, seed {seed}"
        look = {"color": BLUE, "ls": LINES[n % len(LINES)], "lw": 0.8, "label": label}
        ax.plot(curve["update"].to_list(), curve.loss.to_list(), **look)
    first = next(curve for curve in seeds.values() if len(curve))
    start, stages = 0, first.groupby("stage", sort=False)
    for stage, of_stage in stages:
        if start:
            ax.axvline(start, color="black", lw=0.5)
        if stage != TEACHER:
            at = {"xytext": (2, -1), "textcoords": "offset points", "va": "top", "fontsize": 6}
            ax.annotate(stage, (start, 1), xycoords=("data", "axes fraction"), **at)
        start = of_stage["update"].iloc[-1]
    ax.margins(x=0.02, y=0.12)
    if first.balance.notna().any():
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.set_ylim(0, 1)
        for _, of_stage in first.dropna(subset="balance").groupby(
            "stage", sort=False
        ):  # starts anew
            look = {"color": RED, "ls": "--", "lw": 0.8, "label": "weight of the similarity"}
            right.plot(of_stage["update"].to_list(), of_stage.balance.to_list(), **look)
