"""What the user can mend: one line, and exit code 2. And that a step was stopped."""

import signal

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
)  # that a training ends by, once it has saved


class UserError(Exception):
    """One line naming the file and the key or row, what was found, and what is allowed."""


class Stopped(Exception):
    """A step that was asked to stop by the signal `number`, and left what it needs to go on."""

    def __init__(self, message: str, number: int):
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}: {message}; the same command goes on from there")
        self.code = 130 if number == signal.SIGINT else 143
