"""What tasks share: features of a frozen network, average precision, parts of a split.

A task is a file of this folder with `Options` (a burn.params.Strict; what params.yaml may say of
it) and `examine(network, data, options, seed, device, workers)`, which returns scores by name, in
percent. The report knows a task by the first it has of top1, map, ap and miou. Names that end in
_k1, _k2, ... are the headline at so many labels, and <score>_std is a score's spread within one
examination. These may be among them:

    correct   where a test image is found right or not: truth values, one per image, in order
    arrays    arrays by name, kept beside the scores in predictions.npz
    notes     how the scores came about (settings chosen): no table shows them
    per_class scores of each class: no table shows them

A task that works on annotations of its own, VOC's lists of detection say, names them in `PART`
(burn.data.store.Data.split).

Like a method file it must import torch late, and leave `network` as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from burn.data.store import Split
    from burn.params import Augment


def features(network: nn.Module, split: Split, size: int, device: torch.device, batch: int = 500,
             augment: Augment | None = None, seed: int = 0, workers: int = 0) -> Tensor:  # fmt: skip
    """(N, D) float32 features of every image of `split`, in order, on `device`.

    Whole images at side `size` (test-time view), or one random crop and flip each with `augment`.
    """
    import torch

    from burn.data.augment import crops_flips, plain

    generator = torch.Generator().manual_seed(seed)
    out = []
    with torch.inference_mode():
        for images in _batches(split, size, batch, workers):
            images = images.to(device)
            x = plain(images, size) if augment is None else crops_flips(images, augment, generator)
            out.append(network(x.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(out)


def part(split: Split, rows: Tensor) -> Split:
    """The images at `rows`, int64 (n,), of a packed or streamed split, with their labels."""
    from burn.data.store import Split

    if split.images is not None:
        return Split(split.labels[rows], images=split.images[rows])
    return Split(split.labels[rows], files=[split.files[i] for i in rows.tolist()])


def average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(C,) average precision in percent of each column of `scores` (M, C) for `truth` (M, C), 0/1.

    Precision summed over the steps of recall, not interpolated (VOC 2007's own rule has 11 points).
    A class without a positive has none: nan.
    """
    from sklearn.metrics import average_precision_score

    return np.array([
        100 * average_precision_score(t, s) if t.any() else np.nan for s, t in zip(scores.T, truth.T)
    ])  # fmt: skip


def _batches(split: Split, size: int, batch: int, workers: int):
    import torch

    if split.images is not None:
        yield from split.images.split(batch)
        return
    from burn.data.store import Streamed

    data = Streamed(split, None, size, 1, 0, 0)
    for crops, _ in torch.utils.data.DataLoader(data, batch, num_workers=workers):
        yield crops[:, 0]
