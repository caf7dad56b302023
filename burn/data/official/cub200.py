"""CUB-200-2011: lists, by an image's number, of files, classes, and who is for training."""

from pathlib import Path

from burn.data.official.lists import listed, rows, whole
from burn.data.registry import REGISTRY
from burn.data.sources import Contents
from burn.errors import UserError
from burn.experiment.schema import DataSet

BASE = "CUB_200_2011"  # what the archive unpacks to; its inside may also lie in the folder itself
IMAGES, CLASSES, SPLIT = "images.txt", "image_class_labels.txt", "train_test_split.txt"


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Classes in the order of their numbers, named by their folders (001.Black_footed_Albatross)."""
    expected = REGISTRY[dataset].expected(dataset, "official")
    base = folder if (folder / IMAGES).exists() else folder / BASE
    files = dict(rows(base / IMAGES, 2, expected))
    classes, training = (_by_image(base / name, files, expected) for name in (CLASSES, SPLIT))
    if not (base / "images").is_dir():
        raise UserError(f"{base / 'images'}: no such folder; {expected}")
    folders = {classes[image]: str(Path(file).parent) for image, file in files.items()}
    numbers = sorted(folders)
    names, label = [folders[n] for n in numbers], {n: i for i, n in enumerate(numbers)}
    splits = []
    for flag in (1, 0):
        chosen = [image for image in files if training[image] == flag]
        labels = [label[classes[image]] for image in chosen]
        chosen = [files[image] for image in chosen]
        splits.append(listed(base / "images", chosen, labels, names, spec.classes, base / SPLIT))
    return Contents(names[: spec.classes], *splits)


def _by_image(path: Path, files: dict[str, str], expected: str) -> dict[str, int]:
    """A list's number for each image. Raises UserError where one is left out."""
    values = {image: whole(value, path, expected) for image, value in rows(path, 2, expected)}
    if missing := [image for image in files if image not in values]:
        raise UserError(f"{path}: found no line for image {missing[0]} of {IMAGES}; {expected}")
    return values
