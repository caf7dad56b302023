"""Files that are no whole images, and may be left out: `skip_broken` says how many."""

import sys
from pathlib import Path

import numpy as np

from burn.data.sources import Contents, Split
from burn.errors import UserError
from burn.experiment.schema import DataSet

SHARE = 100  # without labels, where nothing is said, one file in so many may be broken


class Broken:
    """The broken files of a set; each is told on stderr, and one too many is an error."""

    def __init__(self, dataset: str, spec: DataSet, contents: Contents):
        self.files: set[str] = set()  # their paths
        self.contents, self.most = contents, spec.skip_broken
        self.said = f"data.sets.{dataset}.skip_broken: {self.most}"
        if self.most is None:
            images = sum(len(split.labels) for split in contents.splits.values())
            self.most = 0 if contents.classes else -(-images // SHARE)
            self.said = f"data.sets.{dataset}.skip_broken: null, one in {SHARE}"

    def add(self, path: Path, error: UserError) -> None:
        """Leave out the file at `path`. Raises UserError if it is one too many."""
        if str(path) in self.files:  # of two splits
            return
        if len(self.files) == self.most:
            if not self.most:
                raise error
            raise UserError(f"{error}; {self.most} broken files before it are all that may be left "
                            f"out ({self.said})")  # fmt: skip
        self.files.add(str(path))
        print(f"{error}; left out", file=sys.stderr)

    def whole(self, split: Split) -> np.ndarray:
        """Which images of a split are whole, bool (N,)."""
        if not self.files or split.files is None:
            return np.ones(len(split.labels), bool)
        return np.array([str(split.folder / file) not in self.files for file in split.files])

    def leave_out(self) -> None:
        """Take the broken files out of the set. Raises UserError where a class is left without any."""
        if not self.files:
            return
        contents = self.contents
        kept = {name: self._kept(name, split) for name, split in contents.splits.items()}
        contents.train, contents.test = kept.pop("train"), kept.pop("test", None)
        contents.parts = kept

    def _kept(self, name: str, split: Split) -> Split:
        kept = split.select(np.nonzero(self.whole(split))[0])
        if lost := sorted(_present(split) - _present(kept)):
            what = f"of class {self.contents.classes[lost[0]]!r} " if self.contents.classes else ""
            raise UserError(
                f"{split.folder}: found no whole image {what}in {name}, {len(self.files)} broken ones "
                f"left out ({self.said}); expected some"
            )
        return kept


def _present(split: Split) -> set[int]:
    """The labels that some image has."""
    labels = split.labels
    found = np.unique(labels) if labels.ndim == 1 else np.nonzero((labels == 1).any(0))[0]
    return set(found.tolist())
