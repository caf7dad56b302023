"""The masks of a VOCdevkit: 0 is the background, 1, 2, ... are classes, 255 is ignored."""

import numpy as np

from burn.data.official.vockit import Id, Kit, Part
from burn.errors import UserError
from burn.images.decode import fitted, load_image

IGNORE = 255


class Masks:
    """Masks, read once: which numbers are in each, and, for a packed set, the square of it.

    size: its side in pixels; None: masks stay in their files.
    """

    def __init__(self, kit: Kit, sizes: dict[Id, tuple[int, int]], size: int | None):
        self.kit, self.sizes, self.size = kit, sizes, size
        self.files: dict[Id, str] = {}
        self.numbers: dict[Id, np.ndarray] = {}  # those in it, rising
        self.squares: dict[Id, np.ndarray] = {}

    def read(self, parts: dict[str, Part]) -> None:
        """The masks of all splits. Raises UserError where one split has nothing to tell apart."""
        for name, part in parts.items():
            for i in part.ids if part.masks else ():
                if i not in self.files and (file := self.kit.mask(i)):
                    self.files[i] = file
                    self._read(i)
            self._check(name, [i for i in part.ids if part.masks and i in self.files])

    def classes(self, i: Id) -> np.ndarray:
        """The numbers of the classes in a mask."""
        numbers = self.numbers[i]
        return numbers[(numbers > 0) & (numbers < IGNORE)]

    def _read(self, i: Id) -> None:
        path = self.kit.folder / self.files[i]
        image = load_image(path, None)
        if image.mode not in ("P", "L") or image.size != self.sizes[i]:
            raise UserError(
                f"{path}: found {image.width} x {image.height} pixels of mode {image.mode}; "
                "expected {} x {} of mode P or L, a class's number each".format(*self.sizes[i])
            )
        self.numbers[i] = np.nonzero(np.bincount(np.asarray(image).ravel()))[0]
        if self.size is not None:
            wide, high, left, top = fitted(*image.size, self.size)
            image = image.resize((wide, high), 0)  # nearest; numbers have no mean
            box = (left, top, left + self.size, top + self.size)
            self.squares[i] = np.asarray(image.crop(box))

    def _check(self, split: str, ids: list[Id]) -> None:
        """Whoever says the same everywhere would be right on every pixel."""
        numbers = sorted(set().union(*(self.numbers[i].tolist() for i in ids)))
        if not ids or len(set(numbers) - {IGNORE}) > 1:
            return
        folder = (self.kit.folder / self.files[ids[0]]).parent
        found = f"{folder}: found {' and '.join(map(str, numbers))} alone in the masks of {split}"
        if IGNORE in numbers:
            found += ", and 255 is ignored"
        hint = ": if 255 is a class, write 1 there" if numbers == [0, IGNORE] else ""
        raise UserError(
            f"{found}; expected two numbers or more, 0 for the background and 1, 2, ... for "
            f"classes{hint}"
        )

    def of(self, ids: list[Id]) -> tuple[np.ndarray | None, list[str | None] | None]:
        """Packed masks uint8 (N, S, S), 255 where an image has none; or their files."""
        if self.size is None:
            return None, [self.files.get(i) for i in ids]
        empty = np.full((self.size, self.size), IGNORE, np.uint8)
        return np.stack([self.squares.get(i, empty) for i in ids]), None
