"""Timing on a machine that is never quite quiet: contenders take turns, and medians count."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

__all__ = ["CLOCK", "Effort", "clock", "interleave", "slope"]

# With one thread, time on the processor is what others on the machine do not lengthen (they still
# share its caches): SPEED_CLOCK=cpu for a machine that cannot be kept quiet.
CLOCK = "processor time" if os.environ.get("SPEED_CLOCK") == "cpu" else "wall clock"
clock = time.process_time if CLOCK == "processor time" else time.perf_counter

# Calls shorter than this are timed several at a time: the clock and Python's own work would show.
LEAST_SECONDS = 0.02
# The first call of anything allocates and builds caches. Calls longer than this are not repeated
# to see how long they take without.
LONG_SECONDS = 1.0


class Effort(NamedTuple):
    """How much a benchmark is to do."""

    rounds: int = 5  # medians are over so many turns
    quick: bool = False  # only what the figures marked quick in bars.toml need
    full: bool = False  # what takes ten minutes and more, too


def interleave(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = clock,
) -> dict[str, float]:
    """Median seconds of a call of each; all take turns, so that noise falls on all alike.

    Parameters
    ----------
    runs : mapping of name to callable
    rounds : int
        Turns of each, after one to warm up.
    clock : callable
        Seconds, rising.

    Returns
    -------
    dict of name to float
        In the order of ``runs``.
    """

    def spend(run: Callable[[], object], calls: int) -> float:
        start = clock()
        for _ in range(calls):
            run()
        return (clock() - start) / calls

    calls = {}
    for name, run in runs.items():
        once = spend(run, 1)
        if once < LONG_SECONDS:
            once = spend(run, 1)
        calls[name] = max(math.ceil(LEAST_SECONDS / max(once, 1e-9)), 1)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            spent[name].append(spend(run, calls[name]))
    return {name: median(seconds) for name, seconds in spent.items()}


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of ``seconds ~ sizes ** p``, by least squares on logarithms."""
    x = [math.log(size) for size in sizes]
    y = [math.log(spent) for spent in seconds]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - middle_x) ** 2 for a in x)
