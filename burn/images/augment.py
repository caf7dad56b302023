"""The two-view augmentation: drawn per image, computed for a whole batch, on the images' device.

One view (the BURN release's recipe): random resized crop (bicubic), horizontal flip, colour jitter,
grayscale, Gaussian blur, ImageNet normalisation; `burn.experiment.schema.Augment` holds its numbers.

burn.images.draw makes every random number of a view; geometry and colour are deterministic. Each operation equals torchvision's on float images in [0, 1]
(tests/test_augment.py compares them one by one). Only the way there is another:

- Crop, resize, flip and blur are weighted sums of a few rows, then of a few columns.
  `embedding_bag` computes just that, far quicker than dense matrix products or convolutions.
- From the crop on images lie on their side (columns as rows) until they are handed out: the second
  weighted sum leaves them so, and no operation on colours minds.
- Brightness, contrast and saturation are one formula with three coefficients, and the images are
  sorted by when hue is their turn: an order of its own for each image costs no masks (`jitter_`).
- Hue is turned without leaving RGB (`turn_hue_`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from burn.experiment.schema import Augment
from burn.images.colour import change_, photometric_
from burn.images.draw import Draw, draw
from burn.images.geometry import Taps, crop, crop_sideways, cubic_taps, sum_columns, sum_rows

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
PART = 800_000  # on CPU a batch is cut into parts of so many floats, which stay in the cache


def apply(images: Tensor, drawn: Draw, cfg: Augment) -> Tensor:
    """One view, not normalised: (n, 3, H, W) uint8, or float in [0, 1] -> (n, 3, S, S) float32."""
    x = crop_sideways(_floats(images), drawn, cfg.size).clamp_(0, 1)
    return photometric_(x, drawn).transpose(2, 3)


def normalise(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Float images (n, 3, H, W) in [0, 1], less ImageNet's mean, over its standard deviation."""
    out = torch.empty_like(x) if out is None else out
    # By channel: quicker than one operation if `out` orders its dimensions another way.
    for channel, (mean, std) in enumerate(zip(MEAN, STD)):
        torch.div(x[:, channel] - mean, std, out=out[:, channel])
    return out


class TwoViews:
    """The training views: (n, 3, H, W) uint8 images -> two normalised views of each.

    Called with the images and a CPU generator, returns a pair of (n, 3, S, S) float32 tensors in
    channels_last memory format, on the images' device. Float images in [0, 1] will do as well.
    """

    def __init__(self, cfg: Augment):
        self.cfg = cfg

    def __call__(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return view(images, self.cfg, generator), view(images, self.cfg, generator)


def view(images: Tensor, cfg: Augment, generator: torch.Generator) -> Tensor:
    """One training view, normalised.

    (n, 3, H, W) uint8, or float in [0, 1] -> (n, 3, S, S) float32, channels_last.
    """
    drawn = draw(len(images), *images.shape[2:], cfg, generator)
    return _in_parts(images, drawn, cfg.size, lambda x, d: apply(x, d, cfg))


def crops_flips(images: Tensor, cfg: Augment, generator: torch.Generator) -> Tensor:
    """Random resized crop and flip only, normalised: for training with labels.

    (n, 3, H, W) uint8, or float in [0, 1] -> (n, 3, S, S) float32, channels_last.
    """
    drawn = draw(len(images), *images.shape[2:], cfg, generator)
    return _in_parts(
        images, drawn, cfg.size, lambda x, d: crop(_floats(x), d, cfg.size).clamp_(0, 1)
    )


def photometric(images: Tensor, cfg: Augment, generator: torch.Generator) -> Tensor:
    """One view of images whose crop is already made: flip, jitter, gray, blur, normalised.

    (n, 3, S, S) uint8, or float in [0, 1] -> (n, 3, S, S) float32, channels_last. S need not be
    cfg.size.
    """

    def work(x: Tensor, d: Draw) -> Tensor:
        x = _floats(x)
        change_(x, d.flip, lambda x: x.flip(3))
        return photometric_(x, d)

    drawn = draw(len(images), *images.shape[2:], cfg, generator)
    return _in_parts(images, drawn, images.shape[2], work)


def plain(images: Tensor, size: int) -> Tensor:
    """The test view: (n, 3, H, W) uint8, or float in [0, 1] -> (n, 3, size, size), normalised.

    Images with a shorter side above `size` are resized (bicubic) to int(size * 256 / 224) on that
    side and the centre is cut out, as in Resize(256) and CenterCrop(224). Others are resized to
    `size` on the shorter side before the cut, so size x size images stay as they are.
    """
    height, width = images.shape[2:]
    if height == width == size:
        return _in_parts(images, None, size, lambda x, _: _floats(x))
    short = min(height, width)
    resized = int(size * 256 / 224) if short > size else size

    def taps(x: Tensor, side: int) -> Taps:
        full = resized if side == short else int(resized * side / short)
        step = side / full
        box = [0, side, step * round((full - size) / 2), step]
        first, length, start, step = torch.tensor(box, dtype=torch.float64).expand(len(x), -1).T
        return cubic_taps(first, length, start, step, size, x.device)

    def work(x: Tensor, _) -> Tensor:
        x = sum_rows(_floats(x), taps(x, height))
        return sum_columns(x, taps(x, width)).transpose(2, 3).clamp_(0, 1)

    return _in_parts(images, None, size, work)


def _floats(images: Tensor) -> Tensor:
    """A copy in float32, in [0, 1]."""
    x = images.to(torch.float32, copy=True)
    return x.mul_(1 / 255) if images.dtype == torch.uint8 else x


@torch.no_grad()
def _in_parts(
    images: Tensor, drawn: Draw | None, size: int, work: Callable[[Tensor, Any], Tensor]
) -> Tensor:
    """Normalised `work(part of images, part of drawn)` for each part of a batch, channels_last."""
    n, _, height, width = images.shape
    memory = torch.channels_last
    out = torch.empty(n, 3, size, size, device=images.device, memory_format=memory)
    part = max(1, PART // (3 * max(height * width, size * size)))
    if images.device.type != "cpu":
        part = max(1, n)
    for start in range(0, n, part):
        place = slice(start, start + part)
        some = drawn and Draw(*(values[place] for values in drawn))
        normalise(work(images[place], some), out[place])
    return out
