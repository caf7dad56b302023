"""Reading a data artifact in training: packed sets as one array, large sets from their files."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset

from burn.artifacts import read_json
from burn.errors import UserError
from burn.images.crops import NUMBERS, boxes, read_crops
from burn.images.decode import fitted, load_image
from burn.places import INDEX, METRICS, SEEN, TENSORS


@dataclass
class Split:
    """One split of N images, packed (`images`) or streamed (`files`); the other one is None.

    labels: int64 (N,), -1 where the set has no labels, or uint8 (N, classes), multi-hot, sources.UNSURE where an image shows a class only
    in objects marked difficult. images: uint8 (N, 3, S, S).
    boxes: float32 (M, 7), rows [image, class, x1, y1, x2, y2, difficult], images rising, corners in
    pixels of the image as the split gives it: the packed square, or the file's whole image.
    masks: uint8 (N, S, S), 0 background, class + 1, 255 ignore; of a streamed split mask_files, whose
    pixels say the same, None for an image that has no mask. All None where the set has none.
    seen, masks_seen: int64 (N, 2), bytes and time of each file when it was checked.
    Tensors are mapped from the file, not loaded: index them, do not write to them.
    """

    labels: torch.Tensor
    images: torch.Tensor | None = None
    files: list[Path] | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    mask_files: list[Path | None] | None = None
    seen: np.ndarray | None = None
    masks_seen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def file(self, i: int) -> Path:
        """The file of image i. Raises UserError if it is another than was checked: its label may be."""
        return _as_seen(self.files[i], None if self.seen is None else self.seen[i])

    def mask_file(self, i: int) -> Path:
        """The file of its mask; raises the same."""
        return _as_seen(self.mask_files[i], None if self.masks_seen is None else self.masks_seen[i])


def _as_seen(path: Path, seen: np.ndarray | None) -> Path:
    if seen is None:
        return path
    try:
        stat = os.stat(path)
    except OSError:  # who reads it says what is wrong
        return path
    if (stat.st_size, stat.st_mtime_ns) != tuple(seen.tolist()):
        raise UserError(
            f"{path}: found a file that has changed since the step prepare checked it; expected the "
            "same, or another run of the pipeline, which checks it again"
        )
    return path


@dataclass
class Data:
    """A data set: names of the classes in label order, whether it is a drawn stand-in, its splits.

    Without labels it has no classes, and no split "test". size is the side in pixels at which images are kept.
    """

    classes: list[str]
    stand_in: bool
    size: int
    splits: dict[str, Split]

    @property
    def unlabelled(self) -> bool:
        return not self.classes

    def split(self, name: str, part: str | None = None) -> Split:
        """The split "train" or "test"; for `part` "detection" or "segmentation" the split that the
        set has for that task, if it has one of its own."""
        return self.splits.get(f"{name}_{part}", self.splits[name])


def open_data(dir: str | Path) -> Data:
    """Open the artifact that `prepare` left in `dir`. Raises UserError naming what is missing."""
    dir = Path(dir)
    index = read_json(dir / INDEX, classes=list, streamed=bool)
    metrics = read_json(dir / METRICS, stand_in=bool, size=int)
    path = dir / TENSORS
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {error}; expected what prepare wrote") from None
    splits, seen = {}, _seen(dir / SEEN) if index["streamed"] else {}
    for name in sorted({key.partition(".")[0] for key in tensors}):
        own = {
            k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")
        }
        try:
            if index["streamed"]:
                folder = Path(index[name]["folder"])
                own["files"] = [folder / file for file in index[name]["files"]]
                own["seen"], own["masks_seen"] = seen.get(name), seen.get(f"{name}.masks")
                if "masks" in index[name]:
                    masks = index[name]["masks"]
                    own["mask_files"] = [None if mask is None else folder / mask for mask in masks]
            splits[name] = Split(**own)
        except (KeyError, TypeError):
            raise UserError(
                f"{dir}: {name}: found something missing or too much in {INDEX} and {TENSORS}; expected "
                "what prepare wrote"
            ) from None
        _check(splits[name], len(index["classes"]), f"{path}: {name}")
    if missing := {"train", *(["test"] if index["classes"] else [])} - set(splits):
        raise UserError(f"{path}: found no split {min(missing)}; expected what prepare wrote")
    return Data(index["classes"], metrics["stand_in"], metrics["size"], splits)


def _seen(path: Path) -> dict[str, np.ndarray]:
    """What prepare saw of the files; nothing where the artifact comes from another machine."""
    if not path.exists():
        return {}
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: found no whole file; expected what prepare wrote") from None


def _check(split: Split, classes: int, where: str) -> None:
    """Raises UserError where a split's tensors are not of the sizes and kinds that Split says."""
    labels, count = split.labels, len(split.labels)
    several = labels.dtype == torch.uint8 and labels.shape[1:] == (classes,)
    if not several and (labels.dtype != torch.int64 or labels.dim() != 1):
        raise UserError(f"{where}: labels: found {labels.dtype} {list(labels.shape)}; expected int64 "
                        f"(N) or uint8 (N, {classes})")  # fmt: skip
    low, high = (0, classes - 1) if classes else (-1, -1)
    if not several and count and not low <= int(labels.min()) <= int(labels.max()) <= high:
        worst = int(labels.min()) if labels.min() < low else int(labels.max())
        raise UserError(f"{where}: labels: found {worst}; expected {low} to {high}")
    for name, kind, dims in (("images", torch.uint8, 4), ("masks", torch.uint8, 3)):
        tensor = getattr(split, name)
        if tensor is not None and (
            tensor.dtype != kind or tensor.dim() != dims or len(tensor) != count
        ):
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise UserError(f"{where}: {name}: found {found}; expected uint8, {count} of them")
    if split.boxes is not None and (split.boxes.dim() != 2 or split.boxes.shape[1] != 7):
        raise UserError(f"{where}: boxes: found {list(split.boxes.shape)}; expected (M, 7)")
    if split.images is None and (split.files is None or len(split.files) != count):
        raise UserError(f"{where}: found {count} labels and no such number of images")
    if split.seen is not None and split.seen.shape != (count, 2):
        raise UserError(f"{where}: found {count} labels and no such number of files in {SEEN}")


class Streamed(Dataset):
    """A streamed split, decoded anew each epoch: item i is (uint8 (views, 3, size, size), label).

    With `small` = [(crop, size), ...] each of them adds a crop of its own, (3, size, size), before
    the label.

    With crop = [least, most] the views are independent random resized crops that keep such a share
    of the image's area (Inception's crop, as in MoCo and SimCLR). They depend on (seed, epoch, i)
    alone, so on no worker and no order. With crop = None there is one view, the centre: shorter
    side to size * 256 / 224, then the middle square. Nothing else is augmented here.
    Raises UserError where a file is gone, damaged, or another than prepare has checked.
    """

    def __init__(
        self,
        split: Split,
        crop: list[float] | None,
        size: int,
        views: int = 1,
        seed: int = 0,
        epoch: int = 0,
        small: Sequence[tuple[list[float], int]] = (),
    ):
        if split.files is None:
            raise TypeError("a packed split has no files; index its images")
        self.split, self.crop, self.size = split, crop, size
        self.seed, self.epoch = seed, epoch
        self.views = views if crop else 1
        if crop is not None:
            shares, sizes = zip(*[(crop, size)] * views, *small)
            self.shares = np.array(shares).T[..., None]  # (2, crops, 1)
            self.sizes = np.array(sizes)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        if self.crop is None:
            crops = [self._centre(self.split.file(i))]
        else:
            rng = np.random.default_rng([self.seed, self.epoch, i])
            uniform = rng.random((len(self.sizes), NUMBERS))
            crops = read_crops(
                self.split.file(i),
                lambda height, width: boxes(uniform, height, width, self.shares),
                self.sizes,
            )
        return torch.stack(crops[: self.views]), *crops[self.views :], self.split.labels[i]

    def _centre(self, file: Path) -> torch.Tensor:
        image, size = load_image(file), self.size
        wide, high, *_ = fitted(*image.size, size * 256 // 224)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = round((wide - size) / 2), round((high - size) / 2)
        image = image.crop((left, top, left + size, top + size))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
