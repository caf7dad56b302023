"""Images that are read from their files, by `machine.workers` processes of their own."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from burn.errors import SIGNALS, UserError


def decoded(data: Dataset, chunks: Sequence[list[int]], workers: int,
            collate: Callable[[list], Any] = default_collate, pin: bool = False) -> Iterator:  # fmt: skip
    """For each chunk of rows what `collate` makes of these items of `data`, in the order of `chunks`.

    With `workers` = 0 this process decodes; with `pin` the batches lie in memory that a GPU can copy
    from at once. Raises UserError where an image is gone or damaged, or where a worker was killed:
    one line for any number of workers.
    """
    unused = torch.Generator()  # else a DataLoader draws from the one that training draws from
    loader = DataLoader(_Told(data), batch_sampler=chunks, num_workers=workers, pin_memory=pin,
                        collate_fn=_Collated(collate), worker_init_fn=_ignore_signals,
                        generator=unused)  # fmt: skip
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    own = set(multiprocessing.active_children()) - before

    def end() -> None:
        """Before Python waits for the workers, which it asks to end by a signal that they ignore."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise
        for worker in own:
            worker.kill()

    atexit.register(end)  # an exception that ends this process may hold this generator till then
    try:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):
                    raise
                raise UserError(
                    f"machine.workers: found {workers}, of which one was killed, as where memory or "
                    "/dev/shm is full; allowed: fewer, or 0, which needs no shared memory"
                ) from error
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        del batches  # the workers end, unless a traceback still holds it
        if not any(worker.is_alive() for worker in own):
            atexit.unregister(end)


class _Told(Dataset):
    """`data`, with an error that the user can mend in the place of an item. Raised in a worker, it
    would come back as a page of traceback."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:
        try:
            return self.data[row]
        except (UserError, OSError) as error:
            return error


class _Collated:
    """`collate`, or the first error among the items."""

    def __init__(self, collate: Callable[[list], Any]):
        self.collate = collate

    def __call__(self, items: list) -> Any:
        errors = [item for item in items if isinstance(item, Exception)]
        return errors[0] if errors else self.collate(items)


def _ignore_signals(_) -> None:
    """A signal to all processes must leave the update its images; workers end with the training."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
