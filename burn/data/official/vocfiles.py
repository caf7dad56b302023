"""The files of a VOCdevkit: images' sizes, annotations."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from burn.errors import UserError
from burn.images.decode import check_regular, load_image

Object = tuple[str, bool, tuple[float, float, float, float]]


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the file's head. Raises UserError where it is no image."""
    check_regular(path)
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return load_image(path).size  # says what is wrong


def objects(path: Path, size: tuple[int, int]) -> list[Object]:
    """The objects of an annotation: class, whether it is marked difficult, x1, y1, x2, y2.

    Corners are in pixels of the image, far ones exclusive (in the file they count from 1, and are
    inclusive). Raises UserError: no annotation, or one of an image of another size.
    """
    try:
        root = ElementTree.parse(path).getroot()
        boxes = [
            (element.find("name").text.strip(), _difficult(element), _corners(element))
            for element in root.iter("object")
        ]
        said = tuple(int(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a VOC annotation") from None
    except (
        OSError,
        ElementTree.ParseError,
        AttributeError,
        ValueError,
        LookupError,
        RecursionError,
    ) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path}: {message}; expected a VOC annotation") from None
    if all(said) and said != size:  # some tools leave zeros
        raise UserError(
            f"{path}: found the size {said[0]} x {said[1]}; expected that of the image, "
            f"{size[0]} x {size[1]}"
        )
    return boxes


def _difficult(element) -> bool:
    return element.findtext("difficult", "0").strip() == "1"


def _corners(element) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (
        float(element.find(f"bndbox/{corner}").text) for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    return x1 - 1, y1 - 1, x2, y2


def wrong(box: tuple[float, ...], size: tuple[int, int]) -> str | None:
    """What is wrong with a box of an image of `size`: less than a pixel of it is there."""
    x1, y1, x2, y2 = box
    if any(np.isnan(box)):
        return "no number"
    if any(np.isinf(box)):
        return "infinite"
    if x2 <= x1 or y2 <= y1:
        return "reversed"
    if min(x2, size[0]) - max(x1, 0) < 1 or min(y2, size[1]) - max(y1, 0) < 1:
        return "outside the image"
    return None
