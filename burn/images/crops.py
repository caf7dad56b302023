"""Random resized crops (Inception's: Szegedy et al., CVPR 2015): where they lie, and out of a file."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from burn.images.decode import load_image

RATIO = (3 / 4, 4 / 3)  # width to height
TRIES = 10
NUMBERS = 2 * TRIES + 2  # uniform ones that a box takes


def boxes(uniform: np.ndarray, height: int, width: int, share: Any) -> np.ndarray:
    """Boxes, int64 (n, 4) as [top, left, height, width], in images of `height` x `width` pixels.

    RandomResizedCrop.get_params of torchvision for n crops: an area of `share` = (least, most) of
    the image's, a ratio log-uniform in 3/4..4/3. The first of ten tries that fits is taken; where
    none does, the largest central box of an allowed ratio. uniform: (n, NUMBERS), in [0, 1): an
    area for each try, a ratio for each, the place. `least` and `most` may be columns (n, 1).
    """
    least, most = share
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    side = np.sqrt(height * width * (least + (most - least) * uniform[:, :TRIES]))
    skew = np.exp((low + (high - low) * uniform[:, TRIES : 2 * TRIES]) / 2)
    w, h = np.rint(side * skew), np.rint(side / skew)
    fits = (0 < w) & (w <= width) & (0 < h) & (h <= height)
    rows, first = np.arange(len(uniform)), fits.argmax(1)  # the first of the ones
    size = np.stack([h[rows, first], w[rows, first]], 1)
    corner = np.floor(uniform[:, 2 * TRIES :] * ((height, width) - size + 1))
    found = np.concatenate([corner, size], 1).astype(np.int64)
    fits = fits[rows, first]
    if not fits.all():
        h0, w0 = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        found[~fits] = (height - h0) // 2, (width - w0) // 2, h0, w0
    return found


def read_crops(
    path: Path, draw: Callable[[int, int], np.ndarray], sizes: np.ndarray
) -> list[torch.Tensor]:
    """Crops of the image file `path`, each uint8 (3, S, S) for S of `sizes`: bicubic, antialiased.

    `draw(height, width)` gives their boxes, a row for each of `sizes`. The file is decoded once for
    all of them. A JPEG file is decoded at 1/2, 1/4 or 1/8 of its size where no crop would have to
    be enlarged then; its boxes grow to whole pixels of the smaller image.
    Raises UserError where the file is gone or damaged.
    """
    from simplejpeg import decode_jpeg, decode_jpeg_header  # late: packed sets need none

    try:
        data = path.read_bytes()
        height, width, colours, _ = decode_jpeg_header(data)
        if colours not in ("YCbCr", "RGB", "Gray"):
            raise ValueError(f"{colours} is left to Pillow")
        places = draw(height, width)
        factor = reduction(places, sizes)
        # The same pixels as Pillow's, a quarter sooner.
        pixels = decode_jpeg(data, min_height=-(-height // factor), min_width=-(-width // factor))
    except (OSError, ValueError):  # load_image says what is wrong, or reads what is no plain JPEG
        image = load_image(path)
        pixels, places = np.array(image), draw(image.height, image.width)
    else:
        first, last = places[:, :2] // factor, -(-(places[:, :2] + places[:, 2:]) // factor)
        places = np.concatenate([first, last - first], 1)
    return _cut(torch.from_numpy(pixels).permute(2, 0, 1), places, sizes)


def reduction(places: np.ndarray, sizes: np.ndarray) -> int:
    """The largest of 8, 4, 2 and 1 by which no box shrinks below the size it is resized to."""
    spare = (places[:, 2:] / sizes[:, None]).min()
    return next(factor for factor in (8, 4, 2, 1) if spare >= factor or factor == 1)


def _cut(pixels: torch.Tensor, places: np.ndarray, sizes: np.ndarray) -> list[torch.Tensor]:
    """Crops of (3, H, W), by PyTorch's resize of bytes: four times as fast as Pillow's."""
    out = []
    for (top, left, height, width), size in zip(places.tolist(), sizes.tolist()):
        box = pixels[None, :, top : top + height, left : left + width]
        out += F.interpolate(box, (size, size), mode="bicubic", antialias=True)
    return out
