"""A training that is asked to stop: by Ctrl-C, by `kill`, by a cluster that wants its machine back."""

import signal

import torch

from burn.errors import SIGNALS


class Stop:
    """Inside `with Stop(world) as stop`, the SIGNALS end nothing: `stop.asked()` tells of them.

    Args:
        world: processes that train as one; all hear of a signal that one of them got.
    """

    def __init__(self, world: int):
        self.signal = 0
        # A group of its own: a look must not wait for the GPU.
        self.group = torch.distributed.new_group(backend="gloo") if world > 1 else None

    def __enter__(self) -> "Stop":
        self.before = {number: signal.signal(number, self._mark) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _mark(self, number: int, _) -> None:
        self.signal = number

    def asked(self) -> int:
        """The signal that came, or 0: the same in every process, so that all end at one update."""
        if self.group is None:
            return self.signal
        latest = torch.tensor(self.signal)
        torch.distributed.all_reduce(latest, torch.distributed.ReduceOp.MAX, group=self.group)
        return int(latest)
