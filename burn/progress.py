"""A progress bar with an ETA on a terminal; plain lines, some twenty a run, elsewhere."""

import sys
import time

from tqdm import tqdm


class Progress:
    def __init__(self, total: int, done: int, name, quiet: bool = False):
        self.total, self.first, self.began = total, done, time.monotonic()
        self.every = max(1, total // 20)
        self.printed, self.quiet = done, quiet
        self.bar = None
        if not quiet and sys.stderr.isatty():
            self.bar = tqdm(total=total, initial=done, desc=str(name), unit="update")

    def at(self, update: int, loss: float, row: dict[str, float]) -> None:
        """`update` of the total are done; shows the loss and, if measured, the outputs' spread."""
        words = f"loss {loss:.4f}"
        if "output_spread" in row:
            words += f"  spread {row['output_spread']:.2f}"
            words += f"  information {row['output_information']:.3f}"
        if self.bar is not None:
            self.bar.update(update - self.bar.n)
            self.bar.set_postfix_str(words)
        elif not self.quiet and (update - self.printed >= self.every or update == self.total):
            self.printed = update
            rate = (time.monotonic() - self.began) / max(1, update - self.first)
            left = rate * (self.total - update)
            print(f"update {update}/{self.total}  {words}  {left:.0f} s left", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
