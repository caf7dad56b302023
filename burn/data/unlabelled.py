"""Images without labels: any tree of files, or a list of files. To pretrain on, and for nothing else."""

import sys
from pathlib import Path

import numpy as np

from burn.data.files import WANTED, Others, images_below, read_text
from burn.data.sources import Contents, Split
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.places import named

TESTING = ("test", "val")  # beside train/: images of an ImageFolder to be examined on


def read(folder: Path, dataset: str, spec: DataSet) -> Contents:
    """The images below `folder`, or, where it is a file, those that it lists; no classes, no test.

    Sorted by path, so the order does not depend on the disk, nor on that of the lines. Of an
    ImageFolder, only train/ is read: networks may be examined on the rest. `train: n` cuts a random
    subset, drawn by `seed`, of which a smaller one is a part. Raises UserError: no image.
    """
    others = Others(folder)
    if folder.is_file():
        folder, files = folder.parent, listed(folder)
    elif not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder or file; expected a folder of images, or a text file with a "
            f"path in each line (data.sets.{dataset}.path)"
        )
    else:
        folder = _training(folder)
        start = len(str(folder)) + 1
        files = sorted(file[start:] for file in images_below(folder, others))
        if not files:
            raise UserError(
                f"{folder}: found {others.said()}; expected {WANTED}, here or in folders below"
            )
    split = Split(np.full(len(files), -1), folder=folder, files=files)
    if spec.train is not None and spec.train < len(files):
        import torch

        rng = torch.Generator().manual_seed(spec.seed)
        split = split.select(
            torch.randperm(len(files), generator=rng)[: spec.train].sort()[0].numpy()
        )
    return Contents([], split, others=others)


def _training(folder: Path) -> Path:
    """`folder`, or train/ in it where images to test on stand beside."""
    beside = [name for name in TESTING if (folder / name).is_dir()]
    if not beside or not (folder / "train").is_dir():
        return folder
    print(f"{folder}: {beside[0]}/ stands beside train/: only train/ is read", file=sys.stderr)
    return folder / "train"


def listed(path: Path) -> list[str]:
    """The paths that the lines of a text file name, relative to its folder or absolute; sorted, each
    once.

    Blank lines and blanks around a name count for nothing. Raises UserError: no text, no line.
    """
    expected = "expected a text file with the path of an image in each line"
    text = read_text(path, expected)
    lines = [str(named(line.strip())) for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path}: found no line; {expected}")
    files = sorted(set(lines))
    if twice := len(lines) - len(files):
        print(f"{path}: {twice} lines name a file again: it is read once", file=sys.stderr)
    return files
