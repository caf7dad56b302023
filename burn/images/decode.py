"""Image files into pixels."""

import os
import struct
from pathlib import Path

from PIL import Image

from burn.errors import UserError

UNSURE = 255  # in multi-hot labels: a class that an image shows only in objects marked difficult


def load_image(path: str | Path, mode: str | None = "RGB") -> Image.Image:
    """Decode a whole image file, to RGB or another mode; None leaves it as it is.

    Raises UserError naming a file that cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG":  # its decoder overlooks a missing end and wrong checksums
                with Image.open(path) as again:
                    again.verify()
            image.load()
            return image.convert(mode) if mode else image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected an image") from None
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        found = "an empty file" if os.path.getsize(path) == 0 else " ".join(str(error).split())
        raise UserError(f"{path}: found {found}; expected a whole image") from None


def fitted(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """How an image becomes size x size: (new width, new height, left, top) of resize and crop.

    The shorter side becomes `size`, the centre is kept; rounding as in torchvision.
    """
    short = min(width, height)
    wide, high = int(size * width / short), int(size * height / short)
    return wide, high, round((wide - size) / 2), round((high - size) / 2)
