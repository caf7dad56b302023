"""Images and settings for the tests of the augmentation."""

import functools
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.v2 import functional as tv

BICUBIC = tv.InterpolationMode.BICUBIC
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
ALL = {"jitter_p": 1.0, "gray_p": 1.0, "blur_p": 1.0}
NONE = {"jitter_p": 0.0, "gray_p": 0.0, "blur_p": 0.0, "flip": 0.0}
COLOURS = {**NONE, "jitter_p": 1.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, height: int, width: int) -> torch.Tensor:
    """Smooth colourful uint8 images with flat grey, black and white corners."""
    x = F.interpolate(torch.rand(n, 3, 5, 5), size=(height, width), mode="bicubic").clamp_(0, 1)
    x[:, :, :4, :4], x[:, :, -4:, :4], x[:, :, :4, -4:] = 0.4, 0.0, 1.0
    return (x * 255).round().to(torch.uint8)


@functools.cache
def photograph() -> torch.Tensor | None:
    """A CIFAR-10 image, if the environment says where they are (BURN_REAL_DATA)."""
    folder = Path(os.environ.get("BURN_REAL_DATA", "nowhere")) / "cifar10"
    files = (path for end in ("jpg", "jpeg", "png") for path in folder.rglob(f"*.{end}"))
    first = next(files, None)
    return first and decode_image(read_file(str(first)), ImageReadMode.RGB)


def pictures(height: int, width: int) -> torch.Tensor:
    """uint8 images: two of noise, four smooth ones, and a photograph if there is one."""
    noise = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    images = [noise, smooth(4, height, width)]
    if photograph() is not None:
        images.append(tv.resize(photograph(), [height, width], BICUBIC)[None])
    return torch.cat(images)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
