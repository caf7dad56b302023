"""The files of a VOCdevkit: images' sizes, annotations."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from burn.errors import UserError
from burn.images.decode import check_regular, load_image

CORNERS = ("xmin", "ymin", "xmax", "ymax")
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
    inclusive). Raises UserError: no annotation, an object that lacks its class or a corner, or an
    annotation of an image of another size.
    """
    root = _root(path)
    found = []
    for number, element in enumerate(root.iter("object"), 1):
        name = (element.findtext("name") or "").strip()
        where = f"{path}: object {number}" + (f" ({name!r})" if name else "")
        if not name:
            raise UserError(f"{where}: found no name; expected its class")
        if element.find("bndbox") is None:
            raise UserError(f"{where}: found no bndbox; expected one with {', '.join(CORNERS)}")
        x1, y1, x2, y2 = (
            _number(element.findtext(f"bndbox/{corner}"), f"{where}: {corner}")
            for corner in CORNERS
        )
        found.append((name, _difficult(element), (x1 - 1, y1 - 1, x2, y2)))
    sides = [(side, root.findtext(f"size/{side}") or "0") for side in ("width", "height")]
    said = tuple(_number(text, f"{path}: size: {side}") for side, text in sides)
    if all(said) and said != size:  # some tools leave zeros
        raise UserError(
            f"{path}: found the size {said[0]:g} x {said[1]:g}; expected that of the image, "
            f"{size[0]} x {size[1]}"
        )
    return found


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a VOC annotation") from None
    except ElementTree.ParseError as error:
        place = "line {}, column {}".format(*error.position)
        raise UserError(
            f"{path}: found no whole XML ({place}); expected a VOC annotation"
        ) from None
    except (OSError, ValueError, LookupError, RecursionError):  # among them an unknown encoding
        raise UserError(
            f"{path}: found no XML that can be read; expected a VOC annotation"
        ) from None
    if root.tag != "annotation":
        raise UserError(f"{path}: found <{root.tag:.40}>; expected <annotation>, as VOC has it")
    return root


def _difficult(element) -> bool:
    return (element.findtext("difficult") or "").strip().lower() in ("1", "1.0", "true")


def _number(text: str | None, where: str) -> float:
    """A number of an annotation, which some tools write as 60.0."""
    try:
        return float(text)
    except TypeError:
        raise UserError(f"{where}: missing; expected a number") from None
    except ValueError:
        raise UserError(f"{where}: found {text.strip()[:40]!r}; expected a number") from None


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
