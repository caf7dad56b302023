"""Colour jitter and grayscale of a batch, each image by its own numbers, in place."""

from collections.abc import Callable

import torch
from torch import Tensor

from burn.images.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, Draw
from burn.images.geometry import blur

ALONE = 100_000  # an image of so many floats gains nothing by company: its colours are done alone


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


def change_(x: Tensor, drawn: Tensor, change: Callable[..., Tensor], *values: Tensor) -> None:
    """x[drawn] = change(x[drawn], values[drawn], ...)"""
    index = drawn.nonzero()[:, 0]
    if len(index):
        place = index.to(x.device)
        y = change(x.index_select(0, place), *(v[index] for v in values))
        x[place] = y.expand(-1, 3, -1, -1)


def photometric_(x: Tensor, drawn: Draw) -> Tensor:
    """Jitter, grayscale and blur, in place; indifferent to whether images lie on their side."""
    if x.device.type == "cpu" and x[:1].numel() >= ALONE:
        return _one_by_one_(x, drawn)
    jitter_(x, drawn)
    change_(x, drawn.gray, to_gray)
    change_(x, drawn.blur, blur, drawn.sigma)
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
