"""Image files into pixels."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from burn.errors import UserError

ASPECT = 100  # the longer side to the shorter one, at most
PNG = b"\x89PNG\r\n\x1a\n"  # how a file begins
ASIDE = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tIME")  # chunks that no pixel depends on
UNSURE = 255  # in multi-hot labels: a class that an image shows only in objects marked difficult


def load_image(path: str | Path, mode: str | None = "RGB") -> Image.Image:
    """Decode a whole image file, to RGB or another mode; None leaves it as it is.

    Of 16 bits a channel the upper 8 are kept, rounded. Raises UserError naming a file that cannot
    be decoded, whose numbers have no known range (32 bits, floating point), or that is a mere line.
    """
    check_regular(path)
    try:
        return _decoded(lambda: Image.open(path), path, mode)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - of a damaged file Pillow's decoders raise nearly anything
        found = _wrong(path, error)
    if bare := _pixels_of_png(path):
        with contextlib.suppress(Exception):
            return _decoded(lambda: Image.open(io.BytesIO(bare)), path, mode)
    raise UserError(f"{path}: found {found}; expected a whole image")


def _decoded(opened: Callable[[], Image.Image], path: str | Path, mode: str | None) -> Image.Image:
    with opened() as image:
        if max(image.size) > ASPECT * min(image.size):  # a resize would take gigabytes
            raise UserError(
                f"{path}: found {image.width} x {image.height} pixels; expected sides of which one is at "
                f"most {ASPECT} times as long as the other"
            )
        if image.format == "PNG":  # its decoder overlooks a missing end and wrong checksums
            with opened() as again:
                again.verify()
        image.load()
        return image if mode is None else _eight_bits(image, path).convert(mode)


def _pixels_of_png(path: str | Path) -> bytes | None:
    """A PNG file without its texts and profiles, which Pillow refuses if they are long or damaged; None
    of another file. Pixels do not depend on them."""
    data = Path(path).read_bytes()
    if not data.startswith(PNG):
        return None
    out, at = [PNG], len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")  # length, kind, content, checksum
        if data[at + 4 : at + 8] not in ASIDE:
            out.append(data[at:end])
        at = end
    return b"".join(out)


def _wrong(path: str | Path, error: Exception) -> str:
    """What Pillow says of a file, where it speaks of it and not of its own code."""
    if os.path.getsize(path) == 0:
        return "an empty file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, MemoryError):
        return "more pixels than memory holds"
    said = " ".join(str(error).split())
    if isinstance(error, OSError | SyntaxError) and said and "buffer" not in said:
        return f"a damaged image ({said})"
    return "a damaged image"


def _eight_bits(image: Image.Image, path: str | Path) -> Image.Image:
    """Pillow itself would cut a grey image of 16 bits off at 255: nearly all of it white."""
    deep = image.mode.startswith("I;16")
    # Some versions read 16 bits of these formats as 32.
    if deep or (image.mode == "I" and image.format in ("PNG", "PPM")):
        pixels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError(
            f"{path}: found pixels of mode {image.mode}, whose range is not known; expected 8 or 16 "
            "bits a channel"
        )
    return image


def check_regular(path: str | Path) -> None:
    """Raise UserError unless `path` is a file: to read a pipe would wait for ever."""
    if not os.path.isfile(path):
        found = "no regular file" if os.path.exists(path) else "a link to nothing"
        if not os.path.lexists(path):
            raise UserError(f"{path}: no such file; expected an image")
        raise UserError(f"{path}: found {found}; expected an image")


def fitted(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """How an image becomes size x size: (new width, new height, left, top) of resize and crop.

    The shorter side becomes `size`, the centre is kept; rounding as in torchvision.
    """
    short = min(width, height)
    wide, high = int(size * width / short), int(size * height / short)
    return wide, high, round((wide - size) / 2), round((high - size) / 2)
