"""Crop, resize and blur of a batch, each image by its own numbers: weighted sums of few rows or columns."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from burn.images.draw import Draw


class Taps(NamedTuple):
    """A weighted sum of K rows for each of S output rows, per image."""

    index: Tensor  # int64 (n, S, K): rows of the input
    weight: Tensor  # float32 (n, S, K)


def sum_rows(x: Tensor, taps: Taps) -> Tensor:
    """(n, C, R, L) -> (n, C, S, L): output rows as weighted sums of input rows."""
    n, channels, rows, length = x.shape
    # One table of all rows of all images, image by image, channel by channel.
    start = torch.arange(0, n * channels * rows, rows, device=x.device)
    return _bag(x.reshape(-1, length), start.view(n, channels), 1, taps)


def sum_columns(x: Tensor, taps: Taps) -> Tensor:
    """(n, C, L, R) -> (n, C, S, L): weighted sums of columns, which become the output's rows."""
    n, channels, length, columns = x.shape
    # A table of all first columns, then all second ones: a plain matrix transposition.
    table = x.reshape(-1, columns).t().contiguous().view(-1, length)
    start = torch.arange(n * channels, device=x.device)
    return _bag(table, start.view(n, channels), n * channels, taps)


def _bag(table: Tensor, start: Tensor, step: int, taps: Taps) -> Tensor:
    """Weighted sums of table rows; row r of channel c of image i is at start[i, c] + r * step."""
    k = taps.index.shape[2]
    index = (start[:, :, None, None] + (taps.index * step)[:, None]).int().view(-1, k)
    weight = taps.weight[:, None].expand(-1, start.shape[1], -1, -1).reshape(-1, k)
    out = F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
    return out.view(*start.shape, -1, table.shape[1])


def cubic_taps(first: Tensor, length: Tensor, start: Tensor, step: Tensor, size: int, device):
    """Taps of an antialiased bicubic resize of pixels [first, first + length) to `size` pixels.

    All four (n,), on CPU, in input pixels: output pixel i is centred on start + step * (i + 0.5)
    (a negative step mirrors). As torch's interpolate(mode="bicubic", antialias=True): Keys' cubic
    with a = -0.5, widened by |step| where that exceeds 1, weights outside the box dropped and the
    rest scaled to sum 1.
    """
    k = math.ceil(4 * max(1.0, step.abs().max().item()))
    bounds = torch.stack([first, length, start, step]).double().to(device)
    first, length, start, step = bounds[:, :, None]
    centre = start + step * (torch.arange(size, device=device) + 0.5)
    wide = step.abs().clamp(min=1)
    pixel = (centre - 2 * wide - 0.5).ceil()[..., None] + torch.arange(k, device=device)
    weight = _cubic((pixel + 0.5 - centre[..., None]) / wide[..., None])
    last = (first + length - 1)[..., None]
    weight *= (pixel >= first[..., None]) & (pixel <= last)
    weight /= weight.sum(2, keepdim=True)
    return Taps(pixel.clamp(first[..., None], last).long(), weight.float())


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel, a = -0.5; zero from 2 on."""
    x = x.abs().clamp(max=2)
    near, far = 1 - x.clamp(max=1), 2 - x
    return 0.5 * (1 - x) * far * far + near * near * (2 * x - 1)


def crop_sideways(x: Tensor, drawn: Draw, size: int) -> Tensor:
    """`crop`, but the images come out on their side: (n, 3, columns, rows)."""
    mirror = torch.where(drawn.flip, -1.0, 1.0).double()
    # Rows and columns together: one set of small operations instead of two.
    first, length = torch.cat([drawn.top, drawn.left]), torch.cat([drawn.height, drawn.width])
    start = torch.cat([drawn.top, drawn.left + drawn.width * drawn.flip])
    step = torch.cat([drawn.height.double(), mirror * drawn.width]) / size
    taps = cubic_taps(first, length, start, step, size, x.device)
    rows, columns = (Taps(*pair) for pair in zip(*(t.chunk(2) for t in taps), strict=True))
    return sum_columns(sum_rows(x, rows), columns)


def crop(x: Tensor, drawn: Draw, size: int) -> Tensor:
    """Crop, flip and resize float images (n, 3, H, W) to (n, 3, size, size); not clamped.

    Equals torchvision's resized_crop(..., BICUBIC, antialias=True), then horizontal_flip.
    """
    return crop_sideways(x, drawn, size).transpose(2, 3)


def blur_size(side: int) -> int:
    """Side of the blur kernel in pixels: odd, about a tenth of the image's side, at least 3."""
    return max(3, side // 10 | 1)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of square images (n, C, S, S), `sigma` (n,) in pixels, reflected at the edges.

    Equals torchvision's gaussian_blur with kernel size `blur_size(S)`.
    """
    side = x.shape[2]
    radius = blur_size(side) // 2
    offset = torch.arange(-radius, radius + 1, device=x.device)
    weight = torch.softmax(-0.5 * (offset / sigma.to(x.device)[:, None]) ** 2, dim=1)
    index = (torch.arange(side, device=x.device)[:, None] + offset).abs()
    index = (side - 1 - (side - 1 - index).abs()).clamp(min=0)
    shape = (x.shape[0], side, 2 * radius + 1)
    taps = Taps(index.expand(shape), weight[:, None].expand(shape))
    return sum_columns(sum_columns(x, taps), taps)
