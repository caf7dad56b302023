"""Reading the lists that owners ship beside their images."""

from pathlib import Path

import numpy as np

from burn.data.files import read_text
from burn.data.sources import Split
from burn.errors import UserError


def listed(
    folder: Path, files: list[str], labels: list[int], names: list[str], kept: int | None, lst: Path,
    all_classes: bool = True,
) -> Split:  # fmt: skip
    """A split from a list, `lst`, of files under `folder` and their labels; the first `kept` classes.

    Raises UserError: a class without an image, if `all_classes` must have some. Files are not
    looked for: prepare decodes them.
    """
    split = Split(np.array(labels, np.int64), folder=folder, files=files)
    if kept is not None:
        split = split.select(np.nonzero(split.labels < kept)[0])
        names = names[:kept]
    counts = np.bincount(split.labels, minlength=len(names))
    if (counts == 0).any() and all_classes:
        raise UserError(f"{lst}: found no {names[int(counts.argmin())]!r} image; expected some")
    return split


def rows(path: Path, columns: int, expected: str) -> list[list[str]]:
    """The lines of an official list, each of so many columns apart by blanks (the first one may
    hold blanks if there are two). Raises UserError naming the file, and the line."""
    lines = []
    for number, line in enumerate(read_text(path, expected).splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().rsplit(None, columns - 1)
        if len(parts) != columns:
            raise UserError(f"{path}: line {number}: found {line!r}; {expected}")
        lines.append(parts)
    if not lines:
        raise UserError(f"{path}: found no line; {expected}")
    return lines


def whole(text: str, path: Path, expected: str) -> int:
    """A number out of an official list. Raises UserError."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{path}: found {text!r} for a number; {expected}") from None
