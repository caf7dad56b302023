"""How every figure looks: the width of a journal column, colours, marks; the same bytes each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure  # no pyplot: no display, no state shared with a caller

DPI = 300  # of PNG
WIDTH = 3.3  # inches: a column of a two-column journal; a page is twice that
# Okabe & Ito's colours, told apart by most colour-blind readers; then again, hatched or dashed. Yellow
# is last: a line of it is hard to see on white.
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, YELLOW)
GREYS = ("#BBBBBB", "#666666")  # the floor, and whatever else is there for orientation
MARKERS = "osDv^<>pP"  # of lines, beside the colours
LINES = ("-", "--", ":")
HATCHES = (None, "////", "....")
STYLE = {
    "pdf.fonttype": 42,  # fonts as outlines with their names: text stays text
    "svg.hashsalt": "burn",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws it alike
    "font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "hatch.linewidth": 0.5,
    "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.0, "lines.markersize": 3.5,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2, "ytick.major.size": 2,
}  # fmt: skip


def plain(name: str) -> str:
    """A name that a user gave (of a class, of a row) as matplotlib writes it as it stands: it takes what
    is between two $ for mathematics, and leaves what begins with _ out of legends."""
    name = " ".join(name.split()).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


@contextmanager
def canvas(base: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches; it is saved as `base`.pdf and `base`.png.

    Neither holds a date or a program's version: they would differ between identical runs.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever matplotlibrc says here, the figure is the same
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        save(figure, base)


def save(figure: Figure, base: Path) -> None:
    """Write base.pdf and base.png."""
    none = {"CreationDate": None, "Creator": None, "Producer": None}
    figure.savefig(base.with_suffix(".pdf"), metadata=none)
    figure.savefig(base.with_suffix(".png"), dpi=DPI, metadata={"Software": None})


def turn(method: str, methods: list[str], plain: set[str]) -> tuple[str, int, int]:
    """(colour, which time round the palette, number) of a method; those in `plain` are grey."""
    if method in plain:
        return GREYS[min(methods.index(method), 1)], 0, methods.index(method)
    number = sum(m not in plain for m in methods[: methods.index(method)])
    return PALETTE[number % len(PALETTE)], min(number // len(PALETTE), 2), number


def line(method: str, methods: list[str], plain: set[str]) -> dict[str, Any]:
    """The looks of a method's line with marks."""
    colour, again, number = turn(method, methods, plain)
    look = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "ls": LINES[again]}
    return look | ({"ls": "--"} if method in plain else {})


def legend(figure: Figure, axes: Any, columns: int = 3, last: tuple[str, ...] = ()) -> None:
    """One legend above all axes, each name once, those in `last` at the end."""
    seen: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            seen.setdefault(name, handle)
    names = sorted(seen, key=lambda name: last.index(name) if name in last else -1)
    figure.legend([seen[name] for name in names], names, loc="outside upper center", ncols=columns,
                  frameon=False, handlelength=1.6, columnspacing=1.0)  # fmt: skip
