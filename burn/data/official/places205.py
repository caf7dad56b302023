"""Places205: images below images256/, and a list of paths and labels for each split.

The lists have no names of the classes; the folders do: a/abbey/gsun_1.jpg is an abbey,
b/bazaar/indoor/gsun_2.jpg a bazaar/indoor. The labelled test images are val's.
"""

from pathlib import Path

from burn.data.official.lists import listed, rows, whole
from burn.data.registry import REGISTRY
from burn.data.sources import Contents, Split
from burn.errors import UserError
from burn.experiment.schema import DataSet

LISTS = Path("trainvalsplit_places205")
IMAGES = (Path("images256"), Path("data/vision/torralba/deeplearning/images256"))  # as unpacked


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Labels as in the lists."""
    expected = REGISTRY[dataset].expected(dataset, "official")
    images = next((folder / i for i in IMAGES if (folder / i).is_dir()), None)
    paths = [folder / LISTS / f"{split}_places205.csv" for split in ("train", "val")]
    lists = [_list(path, expected) for path in paths]
    if images is None:
        raise UserError(f"{folder / IMAGES[0]}: no such folder; {expected}")
    names = _names(*lists[0], paths[0], expected)
    splits: list[Split] = []
    for path, (files, labels) in zip(paths, lists):
        if (most := max(labels)) >= len(names):
            raise UserError(
                f"{path}: found label {most}; expected 0 to {len(names) - 1}, the labels of "
                f"{paths[0].name}"
            )
        splits.append(listed(images, files, labels, names, spec.classes, path))
    return Contents(names[: spec.classes], *splits)


def _list(path: Path, expected: str) -> tuple[list[str], list[int]]:
    listed_rows = rows(path, 2, expected)
    files = [file.lstrip("/") for file, _ in listed_rows]  # some copies begin with a slash
    return files, [whole(label, path, expected) for _, label in listed_rows]


def _names(files: list[str], labels: list[int], path: Path, expected: str) -> list[str]:
    """The folder of each label's images, without the letter it lies under."""
    names: dict[int, str] = {}
    for file, label in zip(files, labels):
        if label not in names:
            parts = Path(file).parts[:-1]
            names[label] = "/".join(parts[1:] if len(parts[0]) == 1 else parts) if parts else file
    if sorted(names) != list(range(len(names))):
        gap = next(i for i in range(len(names) + 1) if i not in names)
        raise UserError(f"{path}: found no image of label {gap}; {expected}")
    return [names[i] for i in range(len(names))]
