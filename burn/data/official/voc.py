"""PASCAL VOC: VOC2007 with VOC2012 beside it, or anybody's own images in a VOCdevkit of that form.

Which images are in which split: vockit.py. A tree may have annotations alone or masks alone: the classes in an image are then those of what is
there. Where a class is only in objects marked difficult the label is UNSURE, which PASCAL's evaluation
leaves out; their boxes are kept, and marked.
Labels are of the whole image, packed boxes and masks of the square that is kept of it.
"""

import sys
from pathlib import Path

import numpy as np

from burn.data.official.vocfiles import image_size, objects, wrong
from burn.data.official.vockit import Id, Kit, Part, fetch
from burn.data.official.vocmasks import IGNORE, Masks
from burn.data.sources import Contents, Split
from burn.errors import UserError
from burn.experiment.schema import DataSet
from burn.images.decode import UNSURE, fitted

CLASSES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
]


def read(folder: Path, dataset: str, spec: DataSet, download: bool = False) -> Contents:
    """Classes: of the official set PASCAL's twenty; otherwise the names in the annotations, sorted,
    then class<k> for each further number in the masks."""
    kit = Kit(folder, dataset, spec.source)
    if kit.official and download:
        fetch(folder)
    parts = kit.parts()
    ids = list(dict.fromkeys(i for part in parts.values() for i in part.ids))
    files = {i: kit.image(i) for i in ids}
    sizes = {i: image_size(kit.folder / file) for i, file in files.items()}
    marked = {i: objects(kit.annotation(i), sizes[i])
              for part in parts.values() if part.boxes for i in part.ids}  # fmt: skip
    left_out = _leave_out(kit, parts, marked, sizes)
    masks = Masks(kit, sizes, spec.size if spec.pack else None)
    masks.read(parts)
    names = _names(kit, marked, masks)
    if not kit.official:
        masks.doubt(len({name for marks in marked.values() for name, _, _ in marks}))
    if spec.classes not in (None, len(names)):
        raise UserError(
            f"data.sets.{dataset}.classes: found {spec.classes}; allowed: null, or the "
            f"{len(names)} there are (boxes, masks)"
        )
    splits = {}
    for name, part in parts.items():
        split = Split(_labels(part, marked, masks, names), None, kit.folder,
                      [files[i] for i in part.ids])  # fmt: skip
        if part.boxes:
            split.boxes = _boxes(part.ids, marked, sizes, names, spec.size if spec.pack else None)
        if part.masks:
            split.masks, split.mask_files = masks.of(part.ids)
        splits[name] = split
    train, test = splits.pop("train"), splits.pop("test")
    return Contents(names, train, test, splits, left_out_boxes=left_out)


def _leave_out(kit: Kit, parts: dict[str, Part], marked: dict[Id, list], sizes: dict) -> int:
    """How many boxes are none: said with the first of them. What is in an image they still say.

    Raises UserError if a split has no other boxes.
    """
    odd = [
        (i, name, box, why)
        for i, objects in marked.items()
        for name, _, box in objects
        if (why := wrong(box, sizes[i]))
    ]
    if not odd:
        return 0
    (i, name, box, why), count = odd[0], sum(map(len, marked.values()))
    found = f"{kit.annotation(i)}: found a box of {name!r} that is {why}"
    found += f" ({' '.join(map(str, box))})"
    for split, part in parts.items():
        boxes = [(box, i) for i in part.ids if part.boxes for _, _, box in marked[i]]
        if boxes and all(wrong(box, sizes[i]) for box, i in boxes):
            raise UserError(
                f"{found}, and no box of {split} that is whole; expected xmin < xmax and "
                "ymin < ymax inside the image"
            )
    print(f"{found}; boxes left out: {len(odd)} of {count}", file=sys.stderr)
    return len(odd)


def _names(kit: Kit, marked: dict[Id, list], masks: Masks) -> list[str]:
    known = {name for marks in marked.values() for name, _, _ in marks}
    names = CLASSES if kit.official else sorted(known)
    for i, marks in marked.items() if kit.official else ():
        if odd := [name for name, _, _ in marks if name not in CLASSES]:
            raise UserError(
                f"{kit.annotation(i)}: found class {odd[0]!r}; expected one of PASCAL's twenty"
            )
    present = {i: masks.classes(i) for i in masks.numbers}
    last = max((int(p[-1]) for p in present.values() if len(p)), default=0)
    if kit.official and last > len(names):
        i = next(i for i, p in present.items() if len(p) and p[-1] == last)
        raise UserError(
            f"{kit.folder / masks.files[i]}: found {last}; expected 0 to {len(names)}, or {IGNORE}"
        )
    names = [*names, *(f"class{k}" for k in range(len(names) + 1, last + 1))]
    if not names:
        raise UserError(f"{kit.folder}: found no object and no mask; {kit.expected}")
    return names


def _labels(part: Part, marked: dict[Id, list], masks: Masks, names: list[str]) -> np.ndarray:
    """uint8 (N, classes), 1 where a class is in the image, UNSURE where only as a difficult object."""
    label = {name: k for k, name in enumerate(names)}
    labels = np.zeros((len(part.ids), len(names)), np.uint8)
    for row, i in enumerate(part.ids):
        if part.boxes:
            labels[row, [label[name] for name, difficult, _ in marked[i] if difficult]] = UNSURE
            seen = [label[name] for name, difficult, _ in marked[i] if not difficult]
        elif i in masks.numbers:
            seen = masks.classes(i) - 1
        else:
            year, name = i
            raise masks.kit.missing(masks.kit.folder / year / "SegmentationClass" / f"{name}.png")
        labels[row, seen] = 1
    return labels


def _boxes(ids: list[Id], marked: dict[Id, list], sizes: dict, names: list[str], size: int | None):
    """float32 (M, 7): image, class, x1, y1, x2, y2, difficult, in pixels of the image, or of the
    square of side `size` that is kept of it. What is left of less than a pixel is left out."""
    label = {name: k for k, name in enumerate(names)}
    rows = []
    for row, i in enumerate(ids):
        width, height = sizes[i]
        scale, shift, limit = [1, 1], [0, 0], [width, height]
        if size is not None:
            wide, high, *shift = fitted(width, height, size)
            scale, limit = [wide / width, high / height], [size, size]
        for name, difficult, box in marked[i]:
            if wrong(box, sizes[i]):
                continue
            box = np.clip(np.array(box) * (scale * 2) - shift * 2, 0, limit * 2)
            if (box[2:] - box[:2] >= 1).all():
                rows.append((row, label[name], *box, difficult))
    return np.array(rows, np.float32).reshape(-1, 7)
