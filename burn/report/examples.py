"""Pictures of what networks find: detections, masks, nearest neighbours.

Drawn from what evaluations kept of themselves in predictions.npz, so no data set is needed.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from burn.errors import UserError
from burn.report import style
from burn.report.style import BLACK, BLUE, ORANGE, PALETTE, WIDTH, canvas

TRUTH = "truth"
VOID = 255
# Seen on most photographs.
BOXES = (ORANGE, style.SKY, style.PINK, style.YELLOW, style.GREEN, style.RED, BLUE)
Kept = dict[str, np.ndarray]  # of predictions.npz, by the names the task gave


def kept(path: Path, stage: str) -> Kept:
    """What an evaluation kept of `stage`, without that in the names; empty if it kept nothing."""
    try:
        with np.load(path) as arrays:
            own = [name for name in arrays if name.startswith(f"{stage}.")]
            return {name.removeprefix(f"{stage}."): arrays[name] for name in own}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected arrays of an evaluation") from None
    except (ValueError, OSError, EOFError, KeyError, BadZipFile, zlib.error):
        raise UserError(f"{path}: found no whole file; expected arrays of an evaluation") from None


def detections(methods: dict[str, Kept], base: Path) -> None:
    """Draw the objects of some test images, and below what each method found.

    methods: name -> see burn.tasks.detection.examples. Of each method as many detections as there
    are objects, the surest.
    """
    first = next(iter(methods.values()))
    classes, pictures = first["classes"].tolist(), _pictures(first)
    labels = [own[key][:, 1] for key in ("truth", "found") for own in methods.values()]
    seen = np.unique(np.concatenate(labels)).astype(int).tolist()
    colours = {c: BOXES[n % len(BOXES)] for n, c in enumerate(seen)}
    with _sheet(base, [TRUTH, *methods], len(pictures)) as (figure, axes):
        for n, picture in enumerate(pictures):
            truth = first["truth"][first["truth"][:, 0] == n, 1:]
            _boxes(axes[0, n], picture, truth, colours)
            for line, own in zip(axes[1:], methods.values(), strict=True):
                mine = own["found"][own["found"][:, 0] == n, 1:]
                mine = mine[np.argsort(-mine[:, 5], kind="stable")][: len(truth)]
                _boxes(line[n], picture, mine, colours)
        _key(figure, [(classes[c], colours[c]) for c in seen])


def masks(methods: dict[str, Kept], base: Path) -> None:
    """Draw some test images, their masks, and below what each method found.

    methods: name -> see burn.tasks.segmentation.examples.
    """
    first = next(iter(methods.values()))
    classes, pictures = first["classes"].tolist(), _pictures(first)
    colours, seen = _paint(len(classes)), set()
    with _sheet(base, ["image", TRUTH, *methods], len(pictures)) as (figure, axes):
        for n, picture in enumerate(pictures):
            axes[0, n].imshow(picture, interpolation="nearest")
            encoded = [first[f"truth{n}"], *(own[f"found{n}"] for own in methods.values())]
            for line, mask in zip(axes[1:], map(decode, encoded), strict=True):
                line[n].imshow(colours[mask], interpolation="nearest")
                seen |= {int(c) for c in np.unique(mask) if c != VOID}
        _key(figure, [(classes[c], tuple(colours[c] / 255)) for c in sorted(seen)])


def neighbours(methods: dict[str, Kept], base: Path) -> None:
    """Draw some test images, and beside them the training images nearest to each by each method.

    methods: name -> see burn.tasks.linear.neighbours. Frames say whether the class is the same.
    """
    first = next(iter(methods.values()))
    queries, across = first["labels"].shape
    widths = {"width_ratios": [1, *([across - 1] * len(methods))]}
    with canvas(base, 2 * WIDTH, 0.45 + 0.27 * queries) as figure:
        panels = figure.subplots(1, 1 + len(methods), gridspec_kw=widths)
        side = decode(first["neighbours"]).shape[0] // queries
        _tiles(panels[0], decode(first["neighbours"])[:, :side], side, None)
        panels[0].set_title("query")
        for ax, (name, own) in zip(panels[1:], methods.items(), strict=True):
            same = own["labels"][:, 1:] == own["labels"][:, :1]
            _tiles(ax, decode(own["neighbours"])[:, side:], side, same)
            ax.set_title(f"{name}\n{same.sum()} of {same.size}")


def decode(content: np.ndarray) -> np.ndarray:
    """A picture that an evaluation kept (burn.evaluation.pictures.encode): uint8 (H, W, 3) or (H, W)."""
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
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for line, name in zip(axes, names, strict=True):
            line[0].set_ylabel(name)
        yield figure, axes
    path = base.with_suffix(".png")
    with Image.open(path) as picture:  # photographs: a palette makes the file a third as large
        reduced = picture.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE
        )  # keeps rare colours
        reduced.save(path, dpi=(style.DPI, style.DPI), optimize=True)


def _tiles(ax: Any, mosaic: np.ndarray, side: int, same: np.ndarray | None) -> None:
    """Squares with gaps between them; thick blue frames where `same`, thin orange ones elsewhere."""
    gap = max(2, side // 8)
    rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
    for r, c in np.ndindex(rows, columns):
        x, y = c * (side + gap), r * (side + gap)
        tile = mosaic[r * side : (r + 1) * side, c * side : (c + 1) * side]
        ax.imshow(tile, extent=(x, x + side, y + side, y), interpolation="nearest")
        if same is not None:
            look = {"ec": BLUE, "lw": 1.2} if same[r, c] else {"ec": ORANGE, "lw": 0.5}
            ax.add_patch(Rectangle((x, y), side, side, fill=False, **look))
    ax.set_xlim(-gap / 2, columns * (side + gap) - gap / 2)
    ax.set_ylim(rows * (side + gap) - gap / 2, -gap / 2)
    ax.set_axis_off()


def _boxes(ax: Any, picture: np.ndarray, boxes: np.ndarray, colours: dict[int, str]) -> None:
    ax.imshow(picture, interpolation="nearest")
    for label, x1, y1, x2, y2 in boxes[:, :5].tolist():
        look = {"ec": colours[int(label)], "lw": 0.9, "fill": False}
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **look))


def _paint(classes: int) -> np.ndarray:
    """uint8 (256, 3): a colour for each value of a mask; 0 is black, ignored pixels are white.

    Beyond the palette its colours come again, darker, then paler.
    """
    bright = np.array([to_rgb(colour) for colour in PALETTE if colour != BLACK])
    shades = np.concatenate([bright, bright / 2, (1 + bright) / 2])
    table = np.full((256, 3), 255, np.uint8)
    table[0] = 0
    table[1:classes] = np.round(255 * shades[np.arange(classes - 1) % len(shades)])
    return table


def _key(figure: Any, names: list[tuple[str, Any]]) -> None:
    handles = [
        Patch(fc=colour, ec="black", lw=0.3, label=style.plain(name)) for name, colour in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=6,
                  handlelength=1, columnspacing=1)  # fmt: skip
