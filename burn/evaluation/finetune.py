"""Fine-tuning a pretrained network inside a detector or a segmenter: what the two tasks share.

The precision of the network's convolutions is a property of its modules, which nothing here
touches: a binary network has binary weights and binary inputs at every step, and at the end.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from burn.errors import UserError
from burn.experiment.schema import Arithmetic, AtLeastOne, Count, NonNegative, Positive, Strict

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from burn.images.store import Data, Split

LOOK = 20  # updates between two looks at the loss (on a GPU each look waits for it)


class Recipe(Strict):
    """How a detector or a segmenter is trained; each task has defaults of its own.

    norm: what the network's batch norms normalise by in training: the statistics that they came
    with (frozen), or those of the batch at hand (moving). Their scale and shift are trained in
    either case. Frozen is the custom where a batch has few images, since their statistics would be
    noise (torchvision's and Detectron2's detectors, batch 2 a GPU); moving where it has sixteen of
    them (DeepLab's segmenters). Batch norms of the new layers always go by the batch.
    """

    iterations: AtLeastOne
    batch: AtLeastOne  # images at a time: this is what memory limits
    accumulate: AtLeastOne = 1  # times that many images make an update
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Positive
    weight_decay: NonNegative = 1e-4
    warmup: Count = 0  # iterations over which the rate rises to lr
    schedule: Literal["step", "poly"]
    milestones: list[Count] = []  # step: iterations at which the rate falls to a tenth
    power: Positive = 0.9  # poly: rate = lr * (1 - share of the iterations done) ** power
    norm: Literal["frozen", "moving"]
    precision: Arithmetic = "auto"


def rate(iteration: int, recipe: Recipe) -> float:
    """The learning rate of an iteration (counted from 0)."""
    if recipe.schedule == "poly":
        factor = (1 - iteration / recipe.iterations) ** recipe.power
    else:
        factor = 0.1 ** sum(iteration >= m for m in recipe.milestones)
    return recipe.lr * factor * min(1.0, (iteration + 1) / (recipe.warmup + 1))


def trainable(network: nn.Module) -> nn.Module:
    """A copy of `network`, all of it to be trained; the original stays as it is."""
    return copy.deepcopy(network).requires_grad_(True)


def fit(model: nn.Module, backbone: nn.Module, loss: Callable[[list[int], torch.Generator, list],
        Tensor], split: Split, rows: list[int], recipe: Recipe, seed: int, device: torch.device,
        workers: int, title: str) -> None:  # fmt: skip
    """Train `model` in place, then leave it in eval mode.

    Args:
        backbone: the pretrained part of `model`, whose batch norms `recipe.norm` is about.
        loss: (rows of a batch, generator, their images) -> loss. Random choices are drawn from the
            generator, so they do not depend on `workers`.
        rows: the images of `split` to train on.
        title: the key of params.yaml, for messages.

    Raises UserError if the loss stops being a number, or the images do not make a batch.
    """
    import torch
    from torch import nn

    from burn.networks.arithmetic import autocast
    from burn.progress import Progress

    order = torch.Generator().manual_seed(seed)
    drawn = torch.Generator().manual_seed(seed + 2**32)  # beyond every seed
    chunks = _order(rows, recipe.iterations * recipe.accumulate, recipe.batch, order, title)
    batches = zip(chunks, images(split, chunks, workers))
    optimizer = _optimizer(model, recipe)
    progress = Progress(recipe.iterations, 0, title)
    model.train()
    if recipe.norm == "frozen":
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    total = 0.0
    for iteration in range(recipe.iterations):
        for group in optimizer.param_groups:
            group["lr"] = rate(iteration, recipe)
        for _ in range(recipe.accumulate):
            chunk, pictures = next(batches)
            pictures = [picture.to(device, non_blocking=True) for picture in pictures]
            with autocast(device, recipe.precision):
                value = loss(chunk, drawn, pictures) / recipe.accumulate
            value.backward()
            total = total + value.detach()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = iteration + 1
        if done % LOOK == 0 or done == recipe.iterations:
            mean = float(total) / ((iteration % LOOK) + 1)
            if not math.isfinite(mean):
                raise UserError(
                    f"{title}.lr: found a loss of {mean} by iteration {done} at {recipe.lr:g}; "
                    "allowed: a rate at which it stays a number"
                )
            progress.at(done, mean, {})
            total = 0.0
    progress.close()
    model.eval()


def shown(split: Split, rows: list[int], batch: int, workers: int):
    """(rows, images) of test batches, with a progress bar on a terminal."""
    from tqdm import tqdm

    chunks = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    pairs = zip(chunks, images(split, chunks, workers))
    yield from tqdm(pairs, "test", len(chunks), unit="batch", disable=None, leave=False)


def images(split: Split, chunks: list[list[int]], workers: int) -> Iterator[list[Tensor]]:
    """The images of each chunk of rows, uint8 (3, H, W) each: of the array, or decoded by workers."""
    if split.images is not None:
        for chunk in chunks:
            yield [split.images[row] for row in chunk]
        return
    from burn.images.workers import decoded

    yield from decoded(_Files(split), chunks, workers, collate=list)


class _Files:
    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Tensor:
        from torchvision.transforms.v2.functional import pil_to_tensor

        from burn.images.decode import load_image

        return pil_to_tensor(load_image(self.split.file(row)))


def parts(data: Data, part: str, key: str, task: str) -> tuple[Split, Split]:
    """The train and the test split for `part`. Raises UserError if they lack annotations (`key`)."""
    pair = data.split("train", part), data.split("test", part)
    for name, split in zip(("train", "test"), pair):
        if all(getattr(split, k, None) is None for k in key.split("|")):
            raise UserError(
                f"protocols: {task} on a data set whose {name} split has no {key.split('|')[0]}; "
                "allowed: one with them (voc07, or any in VOCdevkit layout)"
            )
    return pair


def _order(rows: list[int], count: int, batch: int, generator, title: str) -> list[list[int]]:
    """`count` batches of rows: epoch after epoch in random order, the last smaller batch dropped."""
    import torch

    if len(rows) < batch:
        raise UserError(
            f"{title}.batch: found {batch}; allowed: at most the {len(rows)} training images"
        )
    out: list[list[int]] = []
    chosen = torch.tensor(rows)
    while len(out) < count:
        order = chosen[torch.randperm(len(chosen), generator=generator)]
        out += [c.tolist() for c in order.split(batch) if len(c) == batch]
    return out[:count]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trained, recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(trained, recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
