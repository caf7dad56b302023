"""Finding images: which files or arrays make up a split, with their labels. No pixels are decoded
here, except where the official copy is no set of image files (CIFAR) or has masks (VOC).

`read` returns the same thing for every source; burn/data/official/ has a file for each layout that
the owners of a data set ship. torch is imported only to cut a subset or download.
"""

import importlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from burn.data import synthetic
from burn.data.files import WANTED, Others, images_below, loose, subfolders
from burn.data.registry import REGISTRY, info
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.places import named


@dataclass
class Split:
    """One split of N images: an array `images` (N, 3, h, w), or `files` relative to `folder`.

    labels: int64 (N,), or uint8 (N, classes) multi-hot. boxes, masks, and more on labels: as
    in the data artifact (burn.images.store.Split).
    mask_files: relative to `folder` too, None for an image without one.
    """

    labels: np.ndarray
    images: np.ndarray | None = None
    folder: Path | None = None
    files: list[str] | None = None
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None
    mask_files: list[str | None] | None = None

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
            None if self.mask_files is None else [self.mask_files[i] for i in index],
        )


@dataclass
class Contents:
    """A data set as its source has it: class names in label order, and its splits.

    Without labels there are no classes and no test, and the labels are -1. parts: further splits that one task trains or tests on, by name, such as "train_detection".
    missing: images that are listed and not there, of a set where this is usual (Birdsnap).
    left_out_boxes: those that are none, such as reversed ones. others: files that are no images.
    """

    classes: list[str]
    train: Split
    test: Split | None = None
    parts: dict[str, Split] = field(default_factory=dict)
    missing: int = 0
    left_out_boxes: int = 0
    others: Others | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """All splits by name, train and test first."""
        test = {} if self.test is None else {"test": self.test}
        return {"train": self.train, **test, **self.parts}


def read(dataset: str, root: str | Path, spec: DataSet, download: bool = False) -> Contents:
    """Find the data set that `spec` (data.sets.<dataset>) describes, cut to its limits.

    Real sets lie in <root>/<spec.path or dataset>. For them `classes: n` keeps the first n classes
    in label order (sorted by name for folders); `train` and `test` cut a class-balanced subset of
    each split that begins so, drawn by `seed`. Raises UserError: no data, an empty class, splits
    that disagree, limits that cannot be met.
    """
    key = f"data.sets.{dataset}"
    if spec.source == "synthetic":
        return _drawn(dataset, spec, key)
    folder = named(root) / named(spec.path or dataset)
    if spec.source == "images":
        from burn.data import unlabelled

        contents = unlabelled.read(folder, dataset, spec)
        contents.others.tell(len(contents.train.labels))
        return contents
    known = info(dataset, folder)
    if spec.source == "folder" and not known.multilabel:
        contents = read_folder(folder, dataset, spec.classes)
    else:  # one's own boxes and masks come in the official layout too, a VOCdevkit
        reader = importlib.import_module(f"burn.data.official.{known.reader}")
        contents = reader.read(folder, dataset, spec, download)
    names = contents.classes
    if spec.classes is not None and spec.classes > len(names):
        raise UserError(f"{key}.classes: found {spec.classes}; allowed: up to {len(names)}")
    if len(names) < 2 and not known.multilabel:
        raise UserError(f"{folder}: found {len(names)} class; expected at least two")
    if empty := [name for name, split in contents.splits.items() if not len(split.labels)]:
        raise UserError(
            f"{folder}: found no image for {empty[0]}; {known.expected(dataset, spec.source)}"
        )
    if contents.others:
        contents.others.tell(sum(len(split.labels) for split in contents.splits.values()))
    limits = {"train": spec.train, "test": spec.test}
    cut = {}
    for name, split in contents.splits.items():
        kind = name.split("_")[0]
        cut[name] = split
        if limits[kind] is not None:
            cut[name] = _limited(split, limits[kind], len(names), spec.seed, f"{key}.{kind}")
    train, test = cut.pop("train"), cut.pop("test")
    return replace(contents, train=train, test=test, parts=cut)


def read_folder(
    folder: Path, dataset: str, classes: int | None = None, source: str = "folder"
) -> Contents:
    """A tree train/<class>/** and test/ (or else val/) <class>/**, by torchvision's ImageFolder rules.

    Of an official copy (`source`) the test images are val/'s: ImageNet's test/ has no labels.
    """
    expected = info(dataset, folder).expected(dataset, source)
    testing = ("test", "val") if source == "folder" else ("val",)
    evaluation = next((s for s in testing if subfolders(folder / s)), "val")
    train, test = (class_folders(folder, s, expected)[:classes] for s in ("train", evaluation))
    same_classes(folder, train, test, ("train/", f"{evaluation}/"))
    others = Others(folder)
    splits = [folder_split(folder / s, train, others) for s in ("train", evaluation)]
    return Contents(train, *splits, others=others)


def class_folders(folder: Path, split: str, expected: str) -> list[str]:
    """The class names under folder/split. Raises UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {expected}")
    names = subfolders(folder / split)
    if not names:
        raise UserError(f"{folder}: found no class folders in {split}/; {expected}")
    return names


def same_classes(folder: Path, train: list[str], test: list[str], where: tuple[str, str]) -> None:
    """Raises UserError where a class is in one of the two places and not in the other."""
    if odd := sorted(set(train) ^ set(test)):
        has, lacks = where if odd[0] in train else where[::-1]
        raise UserError(
            f"{folder}: found class {odd[0]!r} in {has} but not in {lacks} ({len(odd)} such "
            "classes); expected the same classes in both"
        )


def folder_split(folder: Path, names: list[str], others: Others) -> Split:
    """All images below folder/<name>, for each class name, in order; other files go to `others`."""
    files, labels, start = [], [], len(str(folder)) + 1
    for label, name in enumerate(names):
        before = others.count
        images = sorted(images_below(folder / name, others, folder))
        if not images:
            raise UserError(f"{folder / name}: found {others.said(before)}; expected {WANTED}")
        files += [file[start:] for file in images]  # os.path.relpath takes seconds for a million
        labels += [label] * len(images)
    loose(folder, others)
    return Split(np.array(labels, np.int64), folder=folder, files=files)


def _limited(split: Split, limit: int, classes: int, seed: int, key: str) -> Split:
    """At most `limit` images, each class as often as it has images to give; order is kept."""
    import torch

    if limit < classes:
        raise UserError(f"{key}: found {limit}; allowed: at least one per class ({classes})")
    labels = split.labels
    if labels.ndim == 2:  # a multi-label image counts for its rarest class
        rarity = np.where(labels == 1, (labels == 1).sum(0), len(labels) + 1)
        labels = rarity.argmin(1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[by_class], np.arange(classes))
    turn = np.arange(len(by_class)) - starts[labels[by_class]]  # the how-manieth of its class
    chosen = by_class[np.argsort(turn, kind="stable")[:limit]]
    return split.select(np.sort(chosen))


def _drawn(dataset: str, spec: DataSet, key: str) -> Contents:
    known = REGISTRY[dataset]
    classes = spec.classes or known.classes
    most = 254 if known.multilabel else synthetic.MAX_CLASSES  # masks are bytes, 255 means ignore
    if not 2 <= classes <= most:
        raise UserError(f"{key}.classes: found {classes}; allowed: 2 to {most}")
    if not spec.pack:
        raise UserError(f"{key}.pack: found false; allowed: true where source is synthetic")
    splits = []
    for split, count in (("train", spec.train), ("test", spec.test)):
        if count is None or count < classes:
            raise UserError(
                f"{key}.{split}: found {'null' if count is None else count}; allowed: a number, at "
                f"least one per class ({classes}), where source is synthetic"
            )
        needed, there = (
            count * 3 * spec.size**2,
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        )
        if needed > there:
            raise UserError(
                f"{key}.{split}: found {count} images of {spec.size} pixels, {needed / 1e9:.0f} GB; "
                f"allowed: what is drawn must fit into memory ({there / 1e9:.0f} GB)"
            )
        arguments = (dataset, split, count, spec.size, classes, spec.seed)
        if known.multilabel:
            splits.append(Split(**synthetic.draw_scenes(*arguments)))
        else:
            images, labels = synthetic.draw(*arguments)
            splits.append(Split(labels, images))
    return Contents(synthetic.class_names(dataset, classes, spec.seed), *splits)
