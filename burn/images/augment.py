"""The two-view augmentation: drawn per image, computed for a whole batch, on the images' device.

One view (the BURN release's recipe): random resized crop (bicubic), horizontal flip, colour jitter,
grayscale, Gaussian blur, ImageNet normalisation; `burn.params.Augment` holds its numbers.

`draw` makes every random number of a view, on the CPU, so that they are the same on every device;
all else is deterministic. Each operation equals torchvision's on float images in [0, 1]
(tests/test_augment.py compares them one by one). Only the way there is another:

- Crop, resize, flip and blur are weighted sums of a few rows, then of a few columns.
  `embedding_bag` computes just that, far quicker than dense matrix products or convolutions.
- From the crop on images lie on their side (columns as rows) until they are handed out: the second
  weighted sum leaves them so, and no operation on colours minds.
- Brightness, contrast and saturation are one formula with three coefficients, and the images are
  sorted by when hue is their turn: an order of its own for each image costs no masks (`jitter_`).
- Hue is turned without leaving RGB (`turn_hue_`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from burn.experiment.schema import Augment
from burn.images.crops import NUMBERS, boxes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the jitter operations
PART = 800_000  # on CPU a batch is cut into parts of so many floats, which stay in the cache
ALONE = 100_000  # an image of so many floats gains nothing by company: its colours are done alone


class Draw(NamedTuple):
    """The random numbers of one view of n images: CPU tensors, one entry (or row) per image."""

    top: Tensor  # int64 (n,), crop box in pixels
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool (n,)
    jitter: Tensor  # bool (n,)
    factor: Tensor  # float32 (n, 4): brightness, contrast, saturation, hue (in turns)
    order: Tensor  # int64 (n, 4): which of those four comes first, second, third, last
    gray: Tensor  # bool (n,)
    blur: Tensor  # bool (n,)
    sigma: Tensor  # float32 (n,), of the blur, in pixels


class Taps(NamedTuple):
    """A weighted sum of K rows for each of S output rows, per image."""

    index: Tensor  # int64 (n, S, K): rows of the input
    weight: Tensor  # float32 (n, S, K)


def draw(n: int, height: int, width: int, cfg: Augment, generator: torch.Generator) -> Draw:
    """Draw one view of `n` images of `height` x `width` pixels with a CPU `generator`.

    The distributions are those of torchvision's RandomResizedCrop (ratio 3/4 to 4/3), ColorJitter
    and GaussianBlur. What an image draws does not depend on how many images follow it.
    """
    u = torch.rand(n, NUMBERS + 13, generator=generator, dtype=torch.float64)
    box, coin, factor, keys, sigma = u.split((NUMBERS, 4, 4, 4, 1), dim=1)
    spread = torch.tensor(cfg.jitter, dtype=torch.float64)
    low = (1 - spread).clamp(min=0)
    low[HUE] = -spread[HUE]
    high = 1 + spread
    high[HUE] = spread[HUE]
    return Draw(
        *torch.from_numpy(boxes(box.numpy(), height, width, cfg.crop)).unbind(1),
        flip=coin[:, 0] < cfg.flip,
        jitter=coin[:, 1] < cfg.jitter_p,
        factor=(low + (high - low) * factor).float(),
        order=keys.argsort(dim=1),
        gray=coin[:, 2] < cfg.gray_p,
        blur=coin[:, 3] < cfg.blur_p,
        sigma=(cfg.blur[0] + (cfg.blur[1] - cfg.blur[0]) * sigma[:, 0]).float(),
    )


# --- geometry ------------------------------------------------------------------------------------


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


def _cubic_taps(first: Tensor, length: Tensor, start: Tensor, step: Tensor, size: int, device):
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


def _crop_sideways(x: Tensor, drawn: Draw, size: int) -> Tensor:
    """`crop`, but the images come out on their side: (n, 3, columns, rows)."""
    mirror = torch.where(drawn.flip, -1.0, 1.0).double()
    # Rows and columns together: one set of small operations instead of two.
    first, length = torch.cat([drawn.top, drawn.left]), torch.cat([drawn.height, drawn.width])
    start = torch.cat([drawn.top, drawn.left + drawn.width * drawn.flip])
    step = torch.cat([drawn.height.double(), mirror * drawn.width]) / size
    taps = _cubic_taps(first, length, start, step, size, x.device)
    rows, columns = (Taps(*pair) for pair in zip(*(t.chunk(2) for t in taps), strict=True))
    return sum_columns(sum_rows(x, rows), columns)


def crop(x: Tensor, drawn: Draw, size: int) -> Tensor:
    """Crop, flip and resize float images (n, 3, H, W) to (n, 3, size, size); not clamped.

    Equals torchvision's resized_crop(..., BICUBIC, antialias=True), then horizontal_flip.
    """
    return _crop_sideways(x, drawn, size).transpose(2, 3)


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


# --- colour (orientation does not matter) --------------------------------------------------------


def to_gray(x: Tensor) -> Tensor:
    """(n, 3, H, W) -> (n, 1, H, W), the luma of ITU-R 601-2."""
    return (x[:, :1] * 0.2989).add_(x[:, 1:2], alpha=0.587).add_(x[:, 2:], alpha=0.114)


def blend_(x: Tensor, factor: Tensor, contrast: Tensor, saturation: Tensor) -> None:
    """Brightness, contrast or saturation, in place: the one that each image's coefficients say.

    factor * x + saturation * gray(x) + contrast * mean(gray(x)), clamped to [0, 1]; coefficients
    (n,). Where `saturation` (or `contrast`) is 1 - factor and the other 0, that is torchvision's
    adjust_saturation (or adjust_contrast); where both are 0, adjust_brightness.
    """
    factor, contrast, saturation = (t.view(-1, 1, 1, 1) for t in (factor, contrast, saturation))
    gray = to_gray(x)
    mean = gray.mean((2, 3), keepdim=True)
    torch.addcmul(gray.mul_(saturation).add_(mean.mul_(contrast)), x, factor, out=x).clamp_(0, 1)


def turn_hue_(x: Tensor, turn: Tensor) -> None:
    """Turn the hue of images (n, 3, H, W) by `turn` (n,) in [-0.5, 0.5] turns, in place.

    Equals torchvision's adjust_hue, without HSV. Let lo, hi be a pixel's smallest and largest
    channel, c = hi - lo, and h its hue in [0, 6). Turning keeps lo and hi, and a channel whose peak
    is at p (red 0, green 2, blue 4) is hi within distance 1 of p on the circle of hues, lo beyond
    distance 2, linear between: clamp(lo + c (2 - distance), lo, hi).

    - c (h - 3) is +-(2 c + lo + r - g - b), with the sign of b - g; so nothing is divided by c.
    - With y = c (h - 3 + 6 turn), c * distance is 3 c - ||y + s| - 3 c| for s = c (green) and -c
      (blue), and ||y| - 3 c| for red, whichever way y runs over the circle's ends.
    """
    red, green, blue = x.unbind(1)
    high = torch.maximum(red, green)
    torch.maximum(high, blue, out=high)
    low = torch.minimum(red, green)
    torch.minimum(low, blue, out=low)
    c = high - low
    c3 = c * 3
    y = torch.add(low, c, alpha=2).add_(red).sub_(green).sub_(blue)
    y.copysign_(blue - green).addcmul_(c, 6 * turn.view(-1, 1, 1))

    distance = y.abs().sub_(c3).abs_()
    torch.clamp(torch.add(low, c, alpha=2).sub_(distance), low, high, out=red)
    base = low - c
    for sign, channel in ((1, green), (-1, blue)):
        rise = torch.add(y, c, alpha=sign).abs_().sub_(c3).abs_()  # 3 c - c * distance
        torch.clamp(rise.add_(base), low, high, out=channel)


def jitter_(x: Tensor, drawn: Draw) -> None:
    """Colour jitter, in place, of those images (n, 3, H, W) that drew it, each in its own order.

    Sorted by falling position of hue in their order, the images with a step to go before hue are a
    leading slice, those with a step left after it a trailing one. So hue is turned once, for all
    images, between up to three steps before and three after it.
    """
    index = drawn.jitter.nonzero()[:, 0]
    if not len(index):
        return
    position = (drawn.order[index] == HUE).int().argmax(dim=1)
    position, by = position.sort(descending=True, stable=True)
    index = index[by]
    order, factor = drawn.order[index], drawn.factor[index]
    factor_at = factor.gather(1, order)  # from here on: columns are steps
    contrast, saturation = ((1 - factor_at) * (order == kind) for kind in (CONTRAST, SATURATION))
    coefficients = torch.stack([factor_at, contrast, saturation])  # (3, m, 4)
    # Images from begin[p] on have hue before position p.
    begin = [int((position >= p).sum()) for p in range(4)]

    def step(images: slice, when: Tensor) -> None:
        if images.start < images.stop:
            rows = torch.arange(images.start, images.stop)
            blend_(y[images], *coefficients[:, rows, when[images]].to(x.device))

    index = index.to(x.device)
    y = x.index_select(0, index)
    for ahead in (3, 2, 1):
        step(slice(0, begin[ahead]), position - ahead)
    turn_hue_(y, factor[:, HUE].to(x.device))
    for past in (1, 2, 3):
        step(slice(begin[4 - past], len(y)), position + past)
    x[index] = y


def _change_(x: Tensor, drawn: Tensor, change: Callable[..., Tensor], *values: Tensor) -> None:
    """x[drawn] = change(x[drawn], values[drawn], ...)"""
    index = drawn.nonzero()[:, 0]
    if len(index):
        place = index.to(x.device)
        y = change(x.index_select(0, place), *(v[index] for v in values))
        x[place] = y.expand(-1, 3, -1, -1)


def _photometric_(x: Tensor, drawn: Draw) -> Tensor:
    """Jitter, grayscale and blur, in place; indifferent to whether images lie on their side."""
    if x.device.type == "cpu" and x[:1].numel() >= ALONE:
        return _one_by_one_(x, drawn)
    jitter_(x, drawn)
    _change_(x, drawn.gray, to_gray)
    _change_(x, drawn.blur, blur, drawn.sigma)
    return x


def _one_by_one_(x: Tensor, drawn: Draw) -> Tensor:
    """The same, image by image: no copies of those that are changed, no work on others' behalf."""
    jitter, order, gray, blurred = (
        v.tolist() for v in (drawn.jitter, drawn.order, drawn.gray, drawn.blur)
    )
    for i, image in enumerate(x.split(1)):
        for kind in order[i] if jitter[i] else ():
            _adjust_(image, kind, drawn.factor[i, kind].item())
        if gray[i]:
            image.copy_(to_gray(image).expand_as(image))
        if blurred[i]:
            image.copy_(blur(image, drawn.sigma[i : i + 1]))
    return x


def _adjust_(x: Tensor, kind: int, factor: float) -> None:
    """One jitter operation on a single image (1, 3, H, W), in place."""
    if kind == HUE:
        turn_hue_(x, torch.tensor([factor]))
    elif kind == BRIGHTNESS:
        x.mul_(factor).clamp_(0, 1)
    else:
        gray = to_gray(x)
        gray = gray.mean((2, 3), keepdim=True) if kind == CONTRAST else gray
        x.mul_(factor).add_(gray, alpha=1 - factor).clamp_(0, 1)


# --- what the rest of the project calls ----------------------------------------------------------


def apply(images: Tensor, drawn: Draw, cfg: Augment) -> Tensor:
    """One view, not normalised: (n, 3, H, W) uint8, or float in [0, 1] -> (n, 3, S, S) float32."""
    x = _crop_sideways(_floats(images), drawn, cfg.size).clamp_(0, 1)
    return _photometric_(x, drawn).transpose(2, 3)


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
        _change_(x, d.flip, lambda x: x.flip(3))
        return _photometric_(x, d)

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
        return _cubic_taps(first, length, start, step, size, x.device)

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
