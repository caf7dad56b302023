"""The masks of a VOCdevkit: 0 is the background, 1, 2, ... are classes, 255 is ignored."""

import sys

import numpy as np

from burn.data.official.vockit import Id, Kit, Part
from burn.errors import UserError
from burn.images.decode import fitted, load_image

IGNORE = 255
LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF", "GIF")  # or may be; GIF renumbers
RARE = 1000  # a class on fewer than one pixel in so many is told


class Masks:
    """Masks, read once: which numbers are in each, and, for a packed set, the square of it.

    size: its side in pixels; None: masks stay in their files.
    """

    def __init__(self, kit: Kit, sizes: dict[Id, tuple[int, int]], size: int | None):
        self.kit, self.sizes, self.size = kit, sizes, size
        self.files: dict[Id, str] = {}
        self.numbers: dict[Id, np.ndarray] = {}  # those in it, rising
        self.squares: dict[Id, np.ndarray] = {}
        self.pixels = np.zeros(256, np.int64)  # of each number

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
        packing = str(image.info.get("compression", "")) if image.format == "TIFF" else ""
        if image.format in LOSSY or packing.endswith(("jpeg", "webp")):
            raise UserError(
                f"{path}: found a mask in {packing or image.format}, which does not keep its numbers; "
                "expected PNG, written from the masks as they were drawn"
            )
        if image.mode not in ("P", "L") or image.size != self.sizes[i]:
            raise UserError(
                f"{path}: found {image.width} x {image.height} pixels of mode {image.mode}; "
                "expected {} x {} of mode P or L, a class's number each".format(*self.sizes[i])
            )
        counts = np.bincount(np.asarray(image).ravel(), minlength=256)
        self.numbers[i], self.pixels = np.nonzero(counts)[0], self.pixels + counts
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

    def doubt(self, named: int) -> None:
        """Says what can hardly be meant: far more numbers than names, and numbers on next to nothing.

        named: how many classes have a name, 0 where nothing names any.
        """
        if not self.files:
            return
        folder, pixels = (self.kit.folder / next(iter(self.files.values()))).parent, self.pixels
        labels = np.nonzero(pixels[1:IGNORE])[0] + 1
        last = int(labels.max(initial=0))
        if named and last > named:
            added = f"class{named + 1}" + (f" to class{last}" if last > named + 1 else "")
            print(f"{folder}: found number {last}, where annotations name {named} classes: {added} "
                  "added", file=sys.stderr)  # fmt: skip
        elif last > max(named, len(labels)):
            print(f"{folder}: found number {last}: so many classes are counted, of which {len(labels)} "
                  "occur", file=sys.stderr)  # fmt: skip
        rare = labels[pixels[labels] * RARE < pixels[:IGNORE].sum()]
        if len(rare):
            print(f"{folder}: numbers on fewer than one pixel in {RARE}: {len(rare)} of {len(labels)}, "
                  f"the first {rare[0]}; are they classes, or edges that a lossy format or resizing has "
                  "blurred?", file=sys.stderr)  # fmt: skip

    def of(self, ids: list[Id]) -> tuple[np.ndarray | None, list[str | None] | None]:
        """Packed masks uint8 (N, S, S), 255 where an image has none; or their files."""
        if self.size is None:
            return None, [self.files.get(i) for i in ids]
        empty = np.full((self.size, self.size), IGNORE, np.uint8)
        return np.stack([self.squares.get(i, empty) for i in ids]), None
