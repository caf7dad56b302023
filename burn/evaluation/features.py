"""What tasks share: features of a frozen network, average precision, parts of a split.

A task is a file of burn/tasks/ with `Options` (a burn.experiment.schema.Strict; what params.yaml may
say of it) and `examine(network, data, options, seed, device, workers)`, which returns the
burn.evaluation.scores.Scores of a network and leaves it as it is.

A task that needs certain annotations says so in `NEEDS`: "class" (one in an image), "boxes" or "masks";
one that has splits of its own in VOC names them in `PART` (burn.images.store.Data.split). Like a
method's file it must import torch late.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from burn.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from burn.experiment.schema import Augment
    from burn.images.store import Split


PIXELS = 2**22  # of a batch of images: a 224-pixel network's largest maps take some 0.3 GB


def features(network: nn.Module, split: Split, size: int, device: torch.device, workers: int = 0,
             augment: Augment | None = None, seed: int = 0, epoch: int = 0) -> Tensor:  # fmt: skip
    """(N, D) float32 features of every image of `split`, in order, on `device`.

    Whole images at side `size` (test-time view), or one random crop and flip each with `augment`,
    drawn by (seed, epoch).
    """
    import torch
    from tqdm import tqdm

    from burn.images.augment import crops_flips, photometric, plain

    generator = torch.Generator().manual_seed(2**20 * seed + epoch)
    flip = augment and augment.model_copy(update={"jitter_p": 0, "gray_p": 0, "blur_p": 0})
    batch, out, at = min(500, max(1, PIXELS // size**2)), None, 0
    with torch.inference_mode(), tqdm(total=len(split), desc="features", unit="image",
                                      disable=None, leave=False) as bar:  # fmt: skip
        for images in _batches(split, size, batch, workers, augment, seed, epoch):
            images = images.to(device)
            if augment is None:
                x = plain(images, size)
            elif split.images is None:  # the crops are already made
                x = photometric(images, flip, generator)
            else:
                x = crops_flips(images, augment, generator)
            output = network(x.contiguous(memory_format=torch.channels_last)).float()
            if out is None:  # filled in place: torch.cat would take the memory twice
                with torch.inference_mode(False):  # a task may train on it
                    out = torch.empty(len(split), output.shape[1], device=device)
            out[at : at + len(output)] = output
            at += len(output)
            bar.update(len(output))
    return out


def part(split: Split, rows: Tensor) -> Split:
    """The images at `rows`, int64 (n,), of a packed or streamed split, with their labels."""
    from burn.images.store import Split

    if split.images is not None:
        return Split(split.labels[rows], images=split.images[rows])
    files = [split.files[i] for i in rows.tolist()]
    seen = None if split.seen is None else split.seen[rows.numpy()]
    return Split(split.labels[rows], files=files, seen=seen)


def pictures(split: Split, rows: Tensor, side: int) -> Tensor:
    """Whole images at `rows`, (B,), as squares to look at: uint8 (B, 3, side, side)."""
    import torch
    import torch.nn.functional as F

    images = next(iter(_batches(part(split, rows), side, len(rows), 0, None, 0, 0)))
    if images.shape[-1] != side:
        images = F.interpolate(images.float(), (side, side), mode="area").round()
    return images.to(torch.uint8)


def knn(bank: Tensor, labels: Tensor, query: Tensor, ks: Collection[int],
        temperature: float) -> dict[int, Tensor]:  # fmt: skip
    """k -> class of each (M, D) query by a vote of its k nearest (N, D) rows, weight exp(cos / T)."""
    import torch
    import torch.nn.functional as F

    bank, query = F.normalize(bank, dim=1), F.normalize(query, dim=1)
    classes = int(labels.max()) + 1
    votes = {k: [] for k in ks}
    for part in query.split(1000):
        cosine, rows = (part @ bank.t()).topk(max(ks), dim=1)
        weight = ((cosine - cosine[:, :1]) / temperature).exp()  # the nearest counts 1: no overflow
        for k, found in votes.items():
            vote = torch.zeros(len(part), classes, device=bank.device)
            found.append(vote.scatter_add_(1, labels[rows[:, :k]], weight[:, :k]).argmax(1))
    return {k: torch.cat(found) for k, found in votes.items()}


def check_positives(
    train: np.ndarray, test: np.ndarray, classes: list[str], task: str
) -> list[str]:
    """The classes without a positive to test on, which no mean of average precisions has; told.

    train, test: labels (N, C), 1 where an image shows a class. Raises UserError where no class has a
    positive in one of them.
    """
    lacking = {}
    for name, labels in (("train", train), ("test", test)):
        there = np.asarray(labels == 1).any(0)
        if not there.any():
            raise UserError(
                f"protocols: {task}: found no image of any class in the {name} split (objects marked "
                "difficult count for none); allowed: some"
            )
        lacking[name] = [c for c, known in zip(classes, there) if not known]
    for name, what in (("train", "scored as by chance"), ("test", "left out of the mean")):
        if few := lacking[name]:
            more = f" and {len(few) - 3} more" if len(few) > 3 else ""
            print(f"{task}: no image in the {name} split, {what}: {', '.join(few[:3])}{more}",
                  file=sys.stderr)  # fmt: skip
    return lacking["test"]


def average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(C,) average precision in percent of each column of `scores` (M, C) for `truth` (M, C): 1, 0,
    or burn.data.sources.UNSURE, which counts neither way.

    Precision summed over the steps of recall, not interpolated (VOC 2007's own rule has 11 points).
    A class without a positive has none: nan.
    """
    from sklearn.metrics import average_precision_score

    from burn.images.decode import UNSURE

    precisions = []
    for s, t in zip(scores.T, truth.T):
        s, t = s[t != UNSURE], t[t != UNSURE]
        precisions.append(100 * average_precision_score(t, s) if t.any() else np.nan)
    return np.array(precisions)


def _batches(split: Split, size: int, batch: int, workers: int, augment: Augment | None,
             seed: int, epoch: int):  # fmt: skip
    if split.images is not None:
        yield from split.images.split(batch)
        return
    from burn.images.store import Streamed
    from burn.images.workers import decoded

    data = Streamed(split, augment and augment.crop, size, 1, seed, epoch)
    chunks = [list(range(at, min(at + batch, len(data)))) for at in range(0, len(data), batch)]
    for crops, _ in decoded(data, chunks, workers):
        yield crops[:, 0]
