"""Timing cases that take turns, so that the drift of a machine cancels in their ratios."""

import resource
import statistics
import time
from collections.abc import Callable

Rates = tuple[float, float]  # images per second, and per CPU second


def take_turns(cases: dict[str, Callable[[int], int]], rounds: int) -> list[dict[str, Rates]]:
    """Rates of each case in each round, after a round to warm up.

    A case is called with the number of the round; it returns how many images it worked on. Its CPU
    seconds are those of this process and of the worker processes that have ended with it, so other
    programs on the machine take little away from the second rate.
    """
    for case in cases.values():
        case(0)
    return [{name: _timed(case, i) for name, case in cases.items()} for i in range(rounds)]


def _timed(case: Callable[[int], int], number: int) -> Rates:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    images = case(number)
    return images / (time.perf_counter() - wall), images / (_cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def spread(values: list[float], digits: int = 0) -> str:
    """Median, lowest and highest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
