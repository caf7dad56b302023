"""Finding images: which files or arrays make up a split, with their labels. No pixels are decoded
here, except where the official copy is no set of image files (CIFAR) or has masks (VOC).

`read` returns the same thing for every source. torch is imported only to cut a subset or download.
"""

import os
import pickle
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from burn.data import synthetic
from burn.data.registry import FOLDER, REGISTRY
from burn.params import DataSet, ParamsError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
VOC_CLASSES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
]

CIFAR = {  # folder, training files, test files, names file, key of the labels, key of the names
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
VOC_ROOT = "VOCdevkit/VOC2007"


@dataclass
class Split:
    """One split of N images: an array `images` (N, 3, h, w), or `files` relative to `folder`.

    labels: int64 (N,), or uint8 (N, classes) multi-hot. boxes, masks: as in the data artifact.
    """

    labels: np.ndarray
    images: np.ndarray | None = None
    folder: Path | None = None
    files: list[str] | None = None
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None

    def select(self, index: np.ndarray) -> "Split":
        """The images at `index` (rising), with what belongs to them."""
        boxes = self.boxes
        if boxes is not None:
            at = np.searchsorted(index, boxes[:, 0])
            kept = index[np.minimum(at, len(index) - 1)] == boxes[:, 0]
            boxes = np.column_stack([at, boxes[:, 1:]])[kept].astype(np.float32)
        return Split(
            self.labels[index],
            None if self.images is None else self.images[index],
            self.folder,
            None if self.files is None else [self.files[i] for i in index],
            boxes,
            None if self.masks is None else self.masks[index],
        )


@dataclass
class Found:
    """A data set as its source has it: class names in label order, and two splits."""

    classes: list[str]
    train: Split
    test: Split


def read(dataset: str, root: str | Path, spec: DataSet, download: bool = False) -> Found:
    """Find the data set that `spec` (data.sets.<dataset>) describes, cut to its limits.

    Real sets lie in <root>/<spec.path or dataset>. For them `classes: n` keeps the first n classes
    in label order (sorted by name for folders); `train` and `test` cut a class-balanced subset,
    drawn by `seed`. Raises ParamsError: no data, an empty class, splits that disagree, limits that
    cannot be met.
    """
    key = f"data.sets.{dataset}"
    if dataset not in REGISTRY:
        raise ParamsError(f"{key}: no such data set; allowed: {', '.join(REGISTRY)}")
    if spec.source == "synthetic":
        return _drawn(dataset, spec, key)
    folder = Path(root) / (spec.path or dataset)
    if spec.source == "folder":
        if REGISTRY[dataset].multilabel:
            raise ParamsError(
                f"{key}.source: found folder, which has one class per image; "
                "allowed: synthetic, official"
            )
        found = read_folder(folder, dataset, spec.classes)
    else:
        found = read_official(folder, dataset, spec, download)
    names = found.classes
    if spec.classes is not None and spec.classes > len(names):
        raise ParamsError(f"{key}.classes: found {spec.classes}; allowed: up to {len(names)}")
    if len(names) < 2:
        raise ParamsError(f"{folder}: found {len(names)} class; expected at least two")
    for split, limit in (("train", spec.train), ("test", spec.test)):
        if limit is not None:
            part = _limited(getattr(found, split), limit, len(names), spec.seed, f"{key}.{split}")
            setattr(found, split, part)
    return found


def load_image(path: str | Path) -> Image.Image:
    """Decode a whole image file to RGB. Raises ParamsError naming a file that cannot be decoded."""
    try:
        with Image.open(path) as image:
            if image.format == "PNG":  # its decoder overlooks a missing end and wrong checksums
                with Image.open(path) as again:
                    again.verify()
            return image.convert("RGB")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; expected an image") from None
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        found = "an empty file" if os.path.getsize(path) == 0 else " ".join(str(error).split())
        raise ParamsError(f"{path}: found {found}; expected a whole image") from None


def fitted(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """How an image becomes size x size: (new width, new height, left, top) of resize and crop.

    The shorter side becomes `size`, the centre is kept; rounding as in torchvision.
    """
    short = min(width, height)
    wide, high = int(size * width / short), int(size * height / short)
    return wide, high, round((wide - size) / 2), round((high - size) / 2)


def read_folder(folder: Path, dataset: str, classes: int | None = None) -> Found:
    """A tree train/<class>/** and test/ (or else val/) <class>/**, by torchvision's ImageFolder rules."""
    expected = f"expected {FOLDER} (data.sets.{dataset}.source: folder)"
    evaluation = next((s for s in ("test", "val") if _subfolders(folder / s)), "val")
    return _read_tree(folder, ("train", evaluation), expected, classes)


def _read_tree(folder, splits, expected, limit) -> Found:
    if not folder.is_dir():
        raise ParamsError(f"{folder}: no such folder; {expected}")
    train, test = (_subfolders(folder / s) for s in splits)
    for split, names in zip(splits, (train, test), strict=True):
        if not names:
            raise ParamsError(f"{folder}: found no class folders in {split}/; {expected}")
    if odd := sorted(set(train) ^ set(test)):
        has, lacks = splits if odd[0] in train else splits[::-1]
        raise ParamsError(
            f"{folder}: found class {odd[0]!r} in {has}/ but not in {lacks}/ ({len(odd)} such "
            "classes); expected the same classes in both"
        )
    names = train[:limit]
    return Found(names, *(_tree_split(folder / s, names) for s in splits))


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _tree_split(folder: Path, names: list[str]) -> Split:
    files, labels = [], []
    for label, name in enumerate(names):
        images = sorted(_images(folder / name))
        if not images:
            raise ParamsError(
                f"{folder / name}: found no image; expected files ending in {', '.join(EXTENSIONS)}"
            )
        files += [os.path.relpath(f, folder) for f in images]
        labels += [label] * len(images)
    return Split(np.array(labels, np.int64), folder=folder, files=files)


def _images(folder: Path) -> Iterable[str]:
    for at, below, names in os.walk(folder, followlinks=True):
        below[:] = [b for b in below if not b.startswith(".")]
        for name in names:  # hidden files: macOS leaves ._photo.jpg, which is no image
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield os.path.join(at, name)


def read_official(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Found:
    """A data set as its authors publish it; fetched first if it is not there and `download` is set."""
    layout = REGISTRY[dataset].layout
    expected = f"expected {layout} (data.sets.{dataset}.source: official)"
    if dataset == "imagenet":
        return _imagenet(folder, expected, spec.classes)
    reader = {"cifar10": _cifar, "cifar100": _cifar, "voc07": _voc}.get(dataset)
    if reader is None:
        raise ParamsError(
            f"data.sets.{dataset}.source: official is not available for this set yet; "
            f"use folder ({FOLDER})"
        )
    base = CIFAR[dataset][0] if dataset in CIFAR else VOC_ROOT
    if download and not (folder / base).is_dir():
        _fetch(folder, dataset)
    if not (folder / base).is_dir():
        raise ParamsError(f"{folder}: found no {base}/; {expected}, or data.download: true")
    return reader(folder, dataset, spec)


def _fetch(folder: Path, dataset: str) -> None:
    from torchvision import datasets

    folder.mkdir(parents=True, exist_ok=True)
    try:
        if dataset == "voc07":
            for split in ("trainval", "test"):
                datasets.VOCDetection(folder, "2007", split, download=True)
        else:
            kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
            kind(folder, download=True)
    except (OSError, RuntimeError) as error:
        message = " ".join(str(error).split())
        raise ParamsError(f"{folder}: download of {dataset} failed: {message}") from None


def _imagenet(folder: Path, expected: str, classes: int | None) -> Found:
    """The tree train/ and val/ of synset folders; unpacked first where there are only the archives."""
    if not (folder / "train").is_dir() and (folder / "ILSVRC2012_devkit_t12.tar.gz").exists():
        from torchvision import datasets

        try:
            for split in ("train", "val"):
                datasets.ImageNet(folder, split)
        except (OSError, RuntimeError) as error:
            raise ParamsError(f"{folder}: {' '.join(str(error).split())}; {expected}") from None
    found = _read_tree(folder, ("train", "val"), expected, classes)
    if odd := [n for n in found.classes if not re.fullmatch(r"n\d{8}", n)]:
        raise ParamsError(f"{folder}: found class folder {odd[0]!r}, not a synset; {expected}")
    return found


class _Arrays(pickle.Unpickler):
    """Unpickles lists, dicts and NumPy arrays, and nothing that could run code."""

    allowed = ("_reconstruct", "ndarray", "dtype", "_frombuffer")

    def find_class(self, module, name):
        if (module.split(".")[0] == "numpy" and name in self.allowed) or (
            (module, name) == ("_codecs", "encode")
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")


def _unpickle(path: Path) -> dict:
    try:
        with open(path, "rb") as file:
            found = _Arrays(file, encoding="latin1").load()
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; expected a CIFAR pickle") from None
    except Exception as error:  # noqa: BLE001 - a damaged pickle can raise nearly anything
        raise ParamsError(
            f"{path}: {' '.join(str(error).split())}; expected a CIFAR pickle"
        ) from None
    if not isinstance(found, dict):
        raise ParamsError(f"{path}: found a {type(found).__name__}; expected a CIFAR pickle")
    return found


def _cifar(folder: Path, dataset: str, spec: DataSet) -> Found:
    """The Python version of CIFAR. Copies are not held to the published checksums, only to layout."""
    base, train, test, meta, labels_key, names_key = CIFAR[dataset]
    if not spec.pack:
        raise ParamsError(f"data.sets.{dataset}.pack: found false; allowed: true (no image files)")
    names = _unpickle(folder / base / meta).get(names_key)
    if not isinstance(names, list):
        raise ParamsError(f"{folder / base / meta}: no {names_key}; expected a CIFAR pickle")
    kept = len(names) if spec.classes is None else spec.classes
    splits = []
    for files in (train, test):
        parts = [_cifar_batch(folder / base / f, labels_key, len(names)) for f in files]
        images, labels = (np.concatenate(p) for p in zip(*parts, strict=True))
        split = Split(labels, images).select(np.nonzero(labels < kept)[0])
        if missing := sorted(set(range(min(kept, len(names)))) - set(split.labels.tolist())):
            raise ParamsError(f"{folder / base / files[0]}: found no {names[missing[0]]!r} image")
        splits.append(split)
    return Found(names[:kept], *splits)


def _cifar_batch(path: Path, labels_key: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    entry = _unpickle(path)
    data, labels = np.asarray(entry.get("data")), np.asarray(entry.get(labels_key), dtype=object)
    if data.dtype != np.uint8 or data.shape != (labels.size, 3072):
        raise ParamsError(
            f"{path}: found data {data.dtype} {data.shape} and {labels.size} labels; "
            "expected uint8 (N, 3072) and N labels"
        )
    labels = labels.astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ParamsError(f"{path}: found label {labels.max()}; expected 0 to {classes - 1}")
    return data.reshape(-1, 3, 32, 32), labels


def _voc(folder: Path, dataset: str, spec: DataSet) -> Found:
    """PASCAL VOC 2007, trainval and test. Objects marked difficult count nowhere, as is usual.

    `labels` are of the whole image, boxes and masks of the square kept of it. Images without a
    segmentation have a mask of 255 (ignore).
    """
    if not spec.pack or spec.classes not in (None, len(VOC_CLASSES)):
        raise ParamsError(
            f"data.sets.{dataset}: allowed: pack: true and classes: null (boxes, masks)"
        )
    base = folder / VOC_ROOT
    splits = []
    for listed in ("trainval", "test"):
        path = base / "ImageSets" / "Main" / f"{listed}.txt"
        if not path.exists():
            raise ParamsError(f"{path}: no such file; expected the names of the images")
        names = path.read_text().split()
        if not names:
            raise ParamsError(f"{path}: found no names; expected the names of the images")
        labels = np.zeros((len(names), len(VOC_CLASSES)), np.uint8)
        masks = np.full((len(names), spec.size, spec.size), 255, np.uint8)
        boxes = []
        for i, name in enumerate(names):
            fit, objects = _voc_objects(base / "Annotations" / f"{name}.xml", spec.size)
            for label, box in objects:
                labels[i, label] = 1
                if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                    boxes.append((i, label, *box))
            mask = base / "SegmentationClass" / f"{name}.png"
            if mask.exists():
                masks[i] = _voc_mask(mask, fit, spec.size)
        boxes = np.array(boxes, np.float32).reshape(-1, 6)
        files = [f"{name}.jpg" for name in names]
        splits.append(Split(labels, None, base / "JPEGImages", files, boxes, masks))
    return Found(VOC_CLASSES, *splits)


def _voc_objects(path: Path, size: int):
    """How the image is fitted, and its objects: (class, box in pixels of the size x size square)."""
    objects = []
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (int(root.find(f"size/{k}").text) for k in ("width", "height"))
        wide, high, left, top = fitted(width, height, size)
        for found in root.iter("object"):
            if found.findtext("difficult", "0").strip() == "1":
                continue
            x1, y1, x2, y2 = (
                float(found.find(f"bndbox/{k}").text) for k in ("xmin", "ymin", "xmax", "ymax")
            )  # 1-based, far edges inclusive
            box = np.array([x1 - 1, y1 - 1, x2, y2]) * ([wide / width, high / height] * 2)
            box = np.clip(box - [left, top, left, top], 0, size)
            objects.append((VOC_CLASSES.index(found.find("name").text.strip()), box))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; expected a VOC annotation") from None
    except (ElementTree.ParseError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise ParamsError(f"{path}: {error}; expected a VOC annotation") from None
    return (wide, high, left, top), objects


def _voc_mask(path: Path, fit: tuple[int, int, int, int], size: int) -> np.ndarray:
    wide, high, left, top = fit
    load_image(path)  # raises if it is damaged
    with Image.open(path) as image:  # palette indices are the classes
        small = image.resize((wide, high), Image.Resampling.NEAREST)
    return np.asarray(small.crop((left, top, left + size, top + size)))


def _limited(split: Split, limit: int, classes: int, seed: int, key: str) -> Split:
    """At most `limit` images, each class as often as it has images to give; order is kept."""
    import torch

    if limit < classes:
        raise ParamsError(f"{key}: found {limit}; allowed: at least one per class ({classes})")
    labels = split.labels
    if labels.ndim == 2:  # a multi-label image counts for its rarest class
        rarity = np.where(labels > 0, labels.sum(0, dtype=np.int64), len(labels) + 1)
        labels = rarity.argmin(1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[by_class], np.arange(classes))
    turn = np.arange(len(by_class)) - starts[labels[by_class]]  # the how-manieth of its class
    chosen = by_class[np.argsort(turn, kind="stable")[:limit]]
    return split.select(np.sort(chosen))


def _drawn(dataset: str, spec: DataSet, key: str) -> Found:
    info = REGISTRY[dataset]
    classes = spec.classes or info.classes
    most = 254 if info.multilabel else synthetic.MAX_CLASSES  # masks are bytes, 255 means ignore
    if not 2 <= classes <= most:
        raise ParamsError(f"{key}.classes: found {classes}; allowed: 2 to {most}")
    if not spec.pack:
        raise ParamsError(f"{key}.pack: found false; allowed: true where source is synthetic")
    splits = []
    for split, count in (("train", spec.train), ("test", spec.test)):
        if count is None or count < classes:
            raise ParamsError(
                f"{key}.{split}: found {'null' if count is None else count}; allowed: a number, at "
                f"least one per class ({classes}), where source is synthetic"
            )
        arguments = (dataset, split, count, spec.size, classes, spec.seed)
        if info.multilabel:
            splits.append(Split(**synthetic.draw_scenes(*arguments)))
        else:
            images, labels = synthetic.draw(*arguments)
            splits.append(Split(labels, images))
    return Found(synthetic.class_names(dataset, classes, spec.seed), *splits)
