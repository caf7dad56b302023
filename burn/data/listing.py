"""What lies in the folder of a data set, as one value: `prepare` depends on it.

To hash every image would take hours for a large set, and Snakemake asks at each start: so a file
counts as changed if its path, its size or the time it was written differ. No image is opened.
"""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from burn.artifacts import artifact
from burn.data.files import unseen, within
from burn.data.official.imagenet import KIT
from burn.data.unlabelled import listed
from burn.errors import UserError
from burn.experiment.schema import Data
from burn.places import named


def of(data: Data, dataset: str) -> str | None:
    """The listing of data.sets.<dataset>.

    None for what is drawn, or not there; and for official copies that prepare itself may fetch, whose
    files are younger than the start of the run.
    """
    spec = data.sets[dataset]
    if spec.source == "synthetic" or (spec.source == "official" and data.download):
        return None
    return _hash(str(named(data.root) / named(spec.path or dataset)), spec.source)


def text(data: Data, dataset: str) -> str:
    """The same as JSON, as the take-over reads what has changed: {"files in data/mine": hash}."""
    found = of(data, dataset)
    return json.dumps(
        found and {f"files in {data.root}/{data.sets[dataset].path or dataset}": found}
    )


def write(settings: dict[str, Any], out: str | Path) -> None:
    """Make the artifact `out`: metrics.json has the listing of each set."""
    with artifact(out, "listing", settings) as work:
        work.metrics = {name: of(settings["data"], name) for name in settings["data"].sets}


@functools.cache  # Snakemake asks several times
def _hash(path: str, source: str) -> str | None:
    if not os.path.exists(path):
        return None
    if source == "images" and os.path.isfile(path):
        rows = _listed(Path(path))
    else:
        archives = source == "official" and os.path.exists(os.path.join(path, f"{KIT}.tar.gz"))
        rows = _below(path, not archives)  # which prepare unpacks there
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(row)
    return digest.hexdigest()


def _below(top: str, deep: bool) -> list[bytes]:
    """Path, size and time of every file below a folder, links followed; of the folder alone, if not `deep`."""
    rows, waiting, seen, start = [], [top], set(), len(top) + 1
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # prepare says what is wrong
        for entry in entries:
            if unseen(entry.name):
                continue
            if entry.is_dir():
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in seen or within(os.path.realpath(folder), target):
                        continue  # it leads back
                    seen.add(target)
                if deep:
                    waiting.append(entry.path)
                continue
            rows.append(_row(entry.path[start:], entry))
    return rows


def _listed(path: Path) -> list[bytes]:
    """The same of the files that a list names, and of the list."""
    try:
        names = listed(path)
    except UserError:
        names = []  # prepare says what is wrong
    return [_row(name, path.parent / name) for name in [path.name, *names]]


def _row(name: str, file: os.DirEntry | Path) -> bytes:
    try:
        stat = file.stat()
        found = f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError:
        found = "gone"
    return os.fsencode(name) + f"\0{found}\n".encode()
