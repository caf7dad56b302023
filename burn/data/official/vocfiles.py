"""The files of a VOCdevkit: images' sizes, annotations, masks."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from burn.data.official.vockit import Id, Kit
from burn.errors import UserError
from burn.images.decode import check_regular, fitted, load_image

IGNORE = 255
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


class Masks:
    """Masks, read once: which numbers are in each, and, for a packed set, the square of it.

    size: its side in pixels; None: masks stay in their files.
    """

    def __init__(self, kit: Kit, sizes: dict[Id, tuple[int, int]], size: int | None):
        self.kit, self.sizes, self.size = kit, sizes, size
        self.files: dict[Id, str] = {}
        self.present: dict[Id, np.ndarray] = {}  # the numbers, without 0 and 255
        self.squares: dict[Id, np.ndarray] = {}

    def read(self, ids) -> None:
        for i in ids:
            if i not in self.files and (file := self.kit.mask(i)):
                self.files[i] = file
                self._read(i, self.kit.folder / file)

    def _read(self, i: Id, path: Path) -> None:
        image = load_image(path, None)
        if image.mode not in ("P", "L") or image.size != self.sizes[i]:
            raise UserError(
                f"{path}: found {image.width} x {image.height} pixels of mode {image.mode}; "
                "expected {} x {} of mode P or L, a class's number each".format(*self.sizes[i])
            )
        counts = np.bincount(np.asarray(image).ravel(), minlength=256)
        self.present[i] = np.nonzero(counts[1:IGNORE])[0] + 1
        if self.size is not None:
            wide, high, left, top = fitted(*image.size, self.size)
            image = image.resize((wide, high), 0)  # nearest; numbers have no mean
            box = (left, top, left + self.size, top + self.size)
            self.squares[i] = np.asarray(image.crop(box))

    def of(self, ids: list[Id]) -> tuple[np.ndarray | None, list[str | None] | None]:
        """Packed masks uint8 (N, S, S), 255 where an image has none; or their files."""
        if self.size is None:
            return None, [self.files.get(i) for i in ids]
        empty = np.full((self.size, self.size), IGNORE, np.uint8)
        return np.stack([self.squares.get(i, empty) for i in ids]), None
