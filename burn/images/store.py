"""Reading a data artifact in training: packed sets as one array, large sets from their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset

from burn.artifacts import read_json
from burn.errors import UserError
from burn.images.decode import load_image
from burn.places import INDEX, METRICS, TENSORS

RATIO = (3 / 4, 4 / 3)  # width to height of a random crop


@dataclass
class Split:
    """One split of N images, packed (`images`) or streamed (`files`); the other one is None.

    labels: int64 (N,), or uint8 (N, classes), multi-hot, sources.UNSURE where an image shows a class only
    in objects marked difficult. images: uint8 (N, 3, S, S).
    boxes: float32 (M, 7), rows [image, class, x1, y1, x2, y2, difficult], images rising, corners in
    pixels of the image as the split gives it: the packed square, or the file's whole image.
    masks: uint8 (N, S, S), 0 background, class + 1, 255 ignore; of a streamed split mask_files, whose
    pixels say the same, None for an image that has no mask. All None where the set has none.
    Tensors are mapped from the file, not loaded: index them, do not write to them.
    """

    labels: torch.Tensor
    images: torch.Tensor | None = None
    files: list[Path] | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    mask_files: list[Path | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: torch.Tensor) -> torch.Tensor:
        """The images at `indices`, int64 (B,), of a packed split: a copy, uint8 (B, 3, S, S)."""
        if self.images is None:
            raise TypeError("a streamed split has no array; read it through Streamed")
        return self.images[indices]


@dataclass
class Data:
    """A data set: names of the classes in label order, whether it is a drawn stand-in, its splits.

    size is the side in pixels at which images are kept.
    """

    classes: list[str]
    stand_in: bool
    size: int
    splits: dict[str, Split]

    def split(self, name: str, part: str | None = None) -> Split:
        """The split "train" or "test"; for `part` "detection" or "segmentation" the split that the
        set has for that task, if it has one of its own."""
        return self.splits.get(f"{name}_{part}", self.splits[name])


def open_data(dir: str | Path) -> Data:
    """Open the artifact that `prepare` left in `dir`. Raises UserError naming what is missing."""
    dir = Path(dir)
    index, metrics = read_json(dir / INDEX), read_json(dir / METRICS)
    path = dir / TENSORS
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {error}; expected what prepare wrote") from None
    splits = {}
    for name in sorted({key.partition(".")[0] for key in tensors}):
        own = {
            k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")
        }
        if index["streamed"]:
            folder = Path(index[name]["folder"])
            own["files"] = [folder / file for file in index[name]["files"]]
            if "masks" in index[name]:
                masks = index[name]["masks"]
                own["mask_files"] = [None if mask is None else folder / mask for mask in masks]
        splits[name] = Split(**own)
    return Data(index["classes"], metrics["stand_in"], metrics["size"], splits)


class Streamed(Dataset):
    """A streamed split, decoded anew each epoch: item i is (uint8 (views, 3, size, size), label).

    With `small` = [(crop, size), ...] each of them adds a crop of its own, (3, size, size), before
    the label.

    With crop = [least, most] the views are independent random resized crops that keep such a share
    of the image's area (Inception's crop, as in MoCo and SimCLR). They depend on (seed, epoch, i)
    alone, so on no worker and no order. With crop = None there is one view, the centre: shorter
    side to size * 256 / 224, then the middle square. Nothing else is augmented here.
    Raises UserError where a file is gone or damaged.
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
            raise TypeError("a packed split has no files; use take()")
        import torchvision.transforms.v2  # noqa: F401  late, but before workers are forked

        self.split, self.crop, self.size = split, crop, size
        self.views, self.seed, self.epoch, self.small = views if crop else 1, seed, epoch, small

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        from torchvision.transforms.v2 import functional

        image = load_image(self.split.files[i])
        bicubic = functional.InterpolationMode.BICUBIC
        small = []
        if self.crop is None:
            image = functional.resize(image, [self.size * 256 // 224], bicubic, antialias=True)
            views = [functional.center_crop(image, [self.size])]
        else:
            rng = np.random.default_rng([self.seed, self.epoch, i])
            wanted = [(self.crop, self.size)] * self.views + list(self.small)
            crops = []
            for share, size in wanted:
                box = crop_box(rng, image.height, image.width, share)
                crops.append(functional.resized_crop(image, *box, [size, size], bicubic, True))
            views, small = crops[: self.views], crops[self.views :]
        views, small = ([functional.pil_to_tensor(v) for v in part] for part in (views, small))
        return torch.stack(views), *small, self.split.labels[i]


def crop_box(
    rng: np.random.Generator, height: int, width: int, share: list[float]
) -> tuple[int, int, int, int]:
    """A random box (top, left, height, width) with `share` = [least, most] of the area.

    Ratio log-uniform in 3/4..4/3. Boxes that stick out are drawn again, ten times; then the largest
    centred box of an allowed ratio is taken. The rule of torchvision's RandomResizedCrop.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*share)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        h, w = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    h, w = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    return (height - h) // 2, (width - w) // 2, h, w
