"""Pictures of what networks find: detections, masks, nearest neighbours.

Drawn from what evaluations kept of themselves in predictions.npz, so no data set is needed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from burn.report.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PALETTE,
    PINK,
    RED,
    SKY,
    WIDTH,
    YELLOW,
    canvas,
)

TRUTH = "truth"
VOID = 255
BOXES = (ORANGE, SKY, PINK, YELLOW, GREEN, RED, BLUE)  # seen on most photographs
Kept = dict[str, np.ndarray]  # of predictions.npz, by the names the task gave


def kept(path: Path, stage: str) -> Kept:
    """What an evaluation kept of `stage`, without that in the names; empty if it kept nothing."""
    if not path.exists():
        return {}
    with np.load(path) as found:
        own = {
            name.partition(".")[2]: found[name] for name in found if name.startswith(f"{stage}.")
        }
    return own


def detections(found: dict[str, Kept], base: Path) -> None:
    """Draw the objects of some test images, and below what each method found.

    found: name -> see burn.tasks.detection.examples. Of each method as many detections as there are
    objects, the surest.
    """
    first = next(iter(found.values()))
    classes, pictures = first["classes"].tolist(), _pictures(first)
    shown = [own["truth"][:, 1] for own in found.values()] + [
        own["found"][:, 1] for own in found.values()
    ]
    seen = sorted({int(c) for c in np.concatenate(shown)})
    colours = {c: BOXES[n % len(BOXES)] for n, c in enumerate(seen)}
    with _sheet(base, [TRUTH, *found], len(pictures)) as (figure, axes):
        for n, picture in enumerate(pictures):
            truth = first["truth"][first["truth"][:, 0] == n, 1:]
            _boxes(axes[0, n], picture, truth, colours)
            for line, own in zip(axes[1:], found.values(), strict=True):
                mine = own["found"][own["found"][:, 0] == n, 1:]
                mine = mine[np.argsort(-mine[:, 5], kind="stable")][: len(truth)]
                _boxes(line[n], picture, mine, colours)
        _key(figure, [(classes[c], colours[c]) for c in seen])


def masks(found: dict[str, Kept], base: Path) -> None:
    """Draw some test images, their masks, and below what each method found.

    found: name -> see burn.tasks.segmentation.examples.
    """
    first = next(iter(found.values()))
    classes, pictures = first["classes"].tolist(), _pictures(first)
    colours, seen = _paint(len(classes)), set()
    with _sheet(base, ["image", TRUTH, *found], len(pictures)) as (figure, axes):
        for n, picture in enumerate(pictures):
            axes[0, n].imshow(picture, interpolation="nearest")
            columns = [first[f"truth{n}"], *(own[f"found{n}"] for own in found.values())]
            for line, content in zip(axes[1:], columns, strict=True):
                mask = decode(content)
                line[n].imshow(colours[mask], interpolation="nearest")
                seen |= {int(c) for c in np.unique(mask) if c != VOID}
        _key(figure, [(classes[c], tuple(colours[c] / 255)) for c in sorted(seen)])


def neighbours(found: dict[str, Kept], base: Path) -> None:
    """Draw some test images, and beside them the training images nearest to each by each method.

    found: name -> see burn.tasks.linear.neighbours. Frames say whether the class is the same.
    """
    first = next(iter(found.values()))
    queries, across = first["labels"].shape
    spec = {"width_ratios": [1, *([across - 1] * len(found))]}
    with canvas(base, 2 * WIDTH, 0.45 + 0.27 * queries) as figure:
        panels = figure.subplots(1, 1 + len(found), gridspec_kw=spec)
        side = decode(first["neighbours"]).shape[0] // queries
        _tiles(panels[0], decode(first["neighbours"])[:, :side], side, None)
        panels[0].set_title("query")
        for ax, (name, own) in zip(panels[1:], found.items(), strict=True):
            same = own["labels"][:, 1:] == own["labels"][:, :1]
            _tiles(ax, decode(own["neighbours"])[:, side:], side, same)
            ax.set_title(f"{name}\n{same.sum()} of {same.size}")


def _tiles(ax: Any, mosaic: np.ndarray, side: int, same: np.ndarray | None) -> None:
    """Squares with gaps between them; thick blue frames where `same`, thin orange ones elsewhere."""
    from matplotlib.patches import Rectangle

    gap = max(2, side // 8)
    rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
    for r in range(rows):
        for c in range(columns):
            x, y = c * (side + gap), r * (side + gap)
            tile = mosaic[r * side : (r + 1) * side, c * side : (c + 1) * side]
            ax.imshow(tile, extent=(x, x + side, y + side, y), interpolation="nearest")
            if same is not None:
                look = {"ec": BLUE, "lw": 1.2} if same[r, c] else {"ec": ORANGE, "lw": 0.5}
                ax.add_patch(Rectangle((x, y), side, side, fill=False, **look))
    ax.set_xlim(-gap / 2, columns * (side + gap) - gap / 2)
    ax.set_ylim(rows * (side + gap) - gap / 2, -gap / 2)
    ax.set_axis_off()


def decode(content: np.ndarray) -> np.ndarray:
    """A picture that an evaluation kept (burn.evaluation.pictures.encode): uint8 (H, W, 3), a channel last, or (H, W)."""
    from PIL import Image

    with Image.open(io.BytesIO(content.tobytes())) as file:
        return np.array(file)


def _pictures(own: Kept) -> list[np.ndarray]:
    return [decode(own[f"picture{n}"]) for n in range(sum(k.startswith("picture") for k in own))]


@contextmanager
def _sheet(base: Path, names: list[str], count: int) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes: a line of squares per name, a column per picture."""
    side = (WIDTH - 0.3) / count
    with canvas(base, WIDTH, 0.35 + side * len(names)) as figure:
        axes = figure.subplots(len(names), count, squeeze=False)
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
        for ax in axes.flatten():
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        for line, name in zip(axes, names, strict=True):
            line[0].set_ylabel(name)
        yield figure, axes


def _boxes(ax: Any, picture: np.ndarray, boxes: np.ndarray, colours: dict[int, str]) -> None:
    from matplotlib.patches import Rectangle

    ax.imshow(picture, interpolation="nearest")
    for label, x1, y1, x2, y2 in boxes[:, :5].tolist():
        look = {"ec": colours[int(label)], "lw": 0.9, "fill": False}
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **look))


def _paint(classes: int) -> np.ndarray:
    """uint8 (256, 3): a colour for each value of a mask; 0 is black, ignored pixels are white.

    Beyond the palette its colours come again, darker, then paler.
    """
    from matplotlib.colors import to_rgb

    bright = [to_rgb(colour) for colour in PALETTE if colour != BLACK]
    table = np.full((256, 3), 255, np.uint8)
    table[0] = 0
    for n in range(classes - 1):
        again, number = divmod(n, len(bright))
        colour = np.array(bright[number])
        shades = (colour, colour / 2, (1 + colour) / 2)
        table[1 + n] = np.round(255 * shades[again % len(shades)])
    return table


def _key(figure: Any, names: list[tuple[str, Any]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(fc=colour, ec="black", lw=0.3, label=name) for name, colour in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=6,
                  handlelength=1, columnspacing=1)  # fmt: skip
