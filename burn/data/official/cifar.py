"""CIFAR-10 and CIFAR-100 in their Python version: pickles of pixels, no image files."""

import operator
import pickle
from pathlib import Path

import numpy as np

from burn.data.registry import REGISTRY
from burn.data.sources import Contents, Split
from burn.errors import UserError
from burn.experiment.schema import DataSet

LAYOUT = {  # folder, training files, test files, names file, key of the labels, key of the names
    "cifar10": (
        "cifar-10-batches-py",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "labels",
        "label_names",
    ),
    "cifar100": (
        "cifar-100-python", ("train",), ("test",), "meta", "fine_labels", "fine_label_names"
    ),
}  # fmt: skip


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Copies are not held to the published checksums, only to the layout."""
    if not spec.pack:
        raise UserError(f"data.sets.{dataset}.pack: found false; allowed: true (no image files)")
    name, train, test, meta, labels_key, names_key = LAYOUT[dataset]
    base, expected = folder / name, REGISTRY[dataset].expected(dataset, "official")
    if download and not base.is_dir():
        _fetch(folder, dataset)
    if not base.is_dir():
        raise UserError(f"{folder}: found no {name}/; {expected}, or data.download: true")
    names = _unpickle(base / meta, expected).get(names_key)
    if not isinstance(names, list):
        raise UserError(f"{base / meta}: found no {names_key}; expected a CIFAR pickle")
    kept = len(names) if spec.classes is None else spec.classes
    splits = []
    for files in (train, test):
        parts = [_batch(base / f, labels_key, len(names), expected) for f in files]
        images, labels = (np.concatenate(p) for p in zip(*parts, strict=True))
        split = Split(labels, images).select(np.nonzero(labels < kept)[0])
        if missing := sorted(set(range(min(kept, len(names)))) - set(split.labels.tolist())):
            raise UserError(f"{base / files[0]}: found no {names[missing[0]]!r} image")
        splits.append(split)
    return Contents(names[:kept], *splits)


def _fetch(folder: Path, dataset: str) -> None:
    from torchvision import datasets

    folder.mkdir(parents=True, exist_ok=True)
    try:
        kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
        kind(folder, download=True)
    except (OSError, RuntimeError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{folder}: download of {dataset} failed: {message}") from None


class _Refused(str):
    """The name of what a pickle wants to call."""


class _Arrays(pickle.Unpickler):
    """Unpickles lists, dicts and NumPy arrays, and nothing that could run code."""

    allowed = ("_reconstruct", "ndarray", "dtype", "_frombuffer")

    def find_class(self, module, name):
        if (module.split(".")[0] == "numpy" and name in self.allowed) or (
            (module, name) == ("_codecs", "encode")
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(_Refused(f"{module}.{name}"))


def _unpickle(path: Path, expected: str) -> dict:
    try:
        with open(path, "rb") as file:
            content = _Arrays(file, encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {expected}") from None
    except pickle.UnpicklingError as error:
        refused = [word for word in error.args if isinstance(word, _Refused)]
        found = f"{refused[0]}, which has no place in it" if refused else "no whole pickle"
        raise UserError(f"{path}: found {found}; expected a CIFAR pickle") from None
    except Exception:  # noqa: BLE001 - a damaged pickle can raise nearly anything
        raise UserError(f"{path}: found no whole pickle; expected a CIFAR pickle") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a {type(content).__name__}; expected a CIFAR pickle")
    return content


def _batch(
    path: Path, labels_key: str, classes: int, expected: str
) -> tuple[np.ndarray, np.ndarray]:
    entry = _unpickle(path, expected)
    data, labels = np.asarray(entry.get("data")), np.asarray(entry.get(labels_key), dtype=object)
    if data.dtype != np.uint8 or data.shape != (labels.size, 3072):
        raise UserError(
            f"{path}: found data {data.dtype} {data.shape} and {labels.size} labels; "
            "expected uint8 (N, 3072) and N labels"
        )
    try:
        labels = np.array([operator.index(label) for label in labels.ravel()], np.int64)
    except (TypeError, OverflowError):
        raise UserError(f"{path}: found a label that is no number; expected numbers") from None
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        odd = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{path}: found label {odd}; expected 0 to {classes - 1}")
    return data.reshape(-1, 3, 32, 32), labels
