"""Birdsnap: a table of the images and their species, and a list of those that are for testing.

Its owners ship links, of which many are dead by now (get_birdsnap.py fetches the rest): images that
are listed and not there are left out and counted, in metrics.json too. A species may be left without a
test image, not without one to train on.
"""

import csv
import os
import sys
from pathlib import Path

from burn.data.files import read_text, subfolders
from burn.data.official.lists import listed, whole
from burn.data.registry import REGISTRY
from burn.data.sources import Contents
from burn.errors import UserError
from burn.experiment.schema import DataSet

IMAGES, TEST = "images.txt", "test_images.txt"
FOLDERS = ("images", "download/images")  # the second is where get_birdsnap.py puts them


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Classes in the order of species_id, named by their folders."""
    expected = REGISTRY[dataset].expected(dataset, "official")
    base = folder if (folder / IMAGES).exists() else folder / "birdsnap"
    if not (base / IMAGES).exists():
        base = folder
    table = _table(base / IMAGES, ("path", "species_id"), expected)
    (testing,) = zip(*_table(base / TEST, ("path",), expected))
    images = next((base / f for f in FOLDERS if (base / f).is_dir()), None)
    if images is None:
        raise UserError(f"{base / FOLDERS[1]}: no such folder; {expected}")
    species = {file: whole(number, base / IMAGES, expected) for file, number in table}
    if odd := [file for file in testing if file not in species]:
        raise UserError(f"{base / TEST}: found {odd[0]!r}, which {IMAGES} has not; {expected}")
    folders = {number: os.path.dirname(file) for file, number in species.items()}
    numbers = sorted(folders)
    names, label = [folders[n] for n in numbers], {n: i for i, n in enumerate(numbers)}
    there = {f"{s}/{entry.name}" for s in subfolders(images) for entry in os.scandir(images / s)}
    held_out, splits = set(testing), []
    for test in (False, True):
        files = [f for f in species if f in there and (f in held_out) == test]
        labels = [label[species[f]] for f in files]
        listing = base / (TEST if test else IMAGES)
        splits.append(listed(images, files, labels, names, spec.classes, listing, not test))
    missing = sum(file not in there for file in species)
    if missing:
        print(f"{images}: {missing} of {len(species)} images are not there", file=sys.stderr)
    return Contents(names[: spec.classes], *splits, missing=missing)


def _table(path: Path, columns: tuple[str, ...], expected: str) -> list[tuple[str, ...]]:
    """These columns of a tab-separated file with a header."""
    lines = csv.DictReader(
        read_text(path, expected).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    if lacking := [c for c in columns if c not in (lines.fieldnames or ())]:
        raise UserError(f"{path}: found no column {lacking[0]!r}; {expected}")
    cells = [tuple(line[c] or "" for c in columns) for line in lines]
    if not cells:
        raise UserError(f"{path}: found no line; {expected}")
    return cells
