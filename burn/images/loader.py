"""Batches of augmented views, the same for any number of workers and after any resume.

Everything random about update number `step` is drawn from a generator seeded by (seed, step,
rank), and an epoch's order by (seed, epoch): a resumed run continues with the very same batches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from burn.errors import UserError
from burn.experiment.schema import Augment
from burn.images.augment import crops_flips, photometric, view
from burn.images.store import Split, Streamed
from burn.images.workers import decoded


class Loader:
    """Yields (views, labels) for steps `first`, `first + 1`, ... without end.

    Args:
        split: a split of a data artifact, packed or streamed.
        views: 2 views, 1 view, or 0 for one random crop and flip without colour changes.
        batch: images per step and process.
        rank, world: this process and how many there are; each takes its share of every batch.
        small: how each further view is made, which come after `views` (not after 0 views).

    `steps` is the number of steps of one epoch (the last, smaller batch is dropped). Raises
    UserError if the split is smaller than one batch.
    """

    def __init__(self, split: Split, augment: Augment, batch: int, views: int, seed: int,
                 device: torch.device, workers: int = 0, rank: int = 0, world: int = 1,
                 small: Sequence[Augment] = ()):  # fmt: skip
        self.split, self.augment, self.batch, self.views = split, augment, batch, views
        self.seed, self.device, self.workers = seed, device, workers
        self.rank, self.world = rank, world
        self.small = small
        self.steps = len(split) // (batch * world)
        if self.steps == 0:
            raise UserError(
                f"train.batch: found {batch} x {world} processes; "
                f"allowed: at most the {len(split)} training images"
            )
        # A packed set of a few hundred MB lives where the model does.
        self.images = None if split.images is None else split.images.to(device)
        self.labels = split.labels.to(device)

    def order(self, epoch: int) -> Tensor:
        """The images of an epoch in their order, (steps, batch) for this process."""
        generator = torch.Generator().manual_seed(mix(self.seed, epoch, 1 << 20))
        order = torch.randperm(len(self.split), generator=generator)
        order = order[: self.steps * self.batch * self.world]
        return order.view(self.steps, self.world, self.batch)[:, self.rank]

    def run(self, first: int, last: int):
        """(views, labels) of steps `first` up to, not including, `last`."""
        step = first
        while step < last:
            epoch, offset = divmod(step, self.steps)
            rows = self.order(epoch)[offset : offset + last - step]
            fetch = self._packed if self.images is not None else self._streamed
            for images, labels in fetch(rows, epoch):
                generator = torch.Generator().manual_seed(mix(self.seed, step, self.rank))
                yield self._augmented(images, generator), labels
                step += 1

    def _packed(self, rows: Tensor, epoch: int):
        for row in rows.to(self.device):
            yield self.images[row], self.labels[row]

    def _streamed(self, rows: Tensor, epoch: int):
        views = max(1, self.views)
        small = [(augment.crop, augment.size) for augment in self.small]
        data = Streamed(
            self.split, self.augment.crop, self.augment.size, views, self.seed, epoch, small
        )
        batches = decoded(data, rows.tolist(), self.workers, pin=self.device.type == "cuda")
        for crops, *small, labels in batches:
            crops, *small = (c.to(self.device, non_blocking=True) for c in (crops, *small))
            yield [*crops.unbind(1), *small], labels.to(self.device)

    def _augmented(self, images: Tensor | list[Tensor], generator) -> list[Tensor]:
        recipes = [*[self.augment] * max(1, self.views), *self.small]
        if isinstance(images, list):  # streamed: crops are already made
            if self.views == 0:
                off = {"jitter_p": 0, "gray_p": 0, "blur_p": 0}
                recipes = [augment.model_copy(update=off) for augment in recipes]
            return [photometric(x, augment, generator) for x, augment in zip(images, recipes)]
        if self.views == 0:
            return [crops_flips(images, self.augment, generator)]
        return [view(images, augment, generator) for augment in recipes]


def mix(*numbers: int) -> int:
    """One 63-bit seed out of some numbers, by a multiplicative hash: near ones give far seeds."""
    x = 0
    for value in numbers:
        x = ((x ^ (value + 1)) * 0x9E3779B97F4A7C15 + 0x7F4A7C15) & (2**64 - 1)
        x ^= x >> 29
    return x >> 1
