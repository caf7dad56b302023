"""Every random number of a view, drawn on the CPU, so that it is the same on every device."""

from typing import NamedTuple

import torch
from torch import Tensor

from burn.experiment.schema import Augment
from burn.images.crops import NUMBERS, boxes

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the jitter operations


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
