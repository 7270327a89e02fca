"""Time grid and random processes that the simulator of a station is built from.

Every process is exact in continuous time and draws from a stream of its own, front to back. So a
longer run starts with the rows of a shorter one, a new feeder leaves the others as they were, and
whatever lives on the scale of days is the same for every step size.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property

import numpy as np
from scipy.signal import lfilter

from titans_ts.errors import ParameterError

__all__ = ["Clock", "Streams", "decay", "ornstein_uhlenbeck", "slow_walk", "telegraph"]

DAYS_PER_YEAR = 365.25


class Clock:
    """Steps of equal length, seen as hours, days and seasons.

    Parameters
    ----------
    start : datetime64
        Local time of the first step.
    n_steps : int
    step_hours : float
        Length of a step in hours.
    """

    def __init__(self, start: np.datetime64, n_steps: int, step_hours: float) -> None:
        self.n_steps = n_steps
        self.step_hours = step_hours
        self.first_day = start.astype("datetime64[D]")
        self._offset = float((start - self.first_day) / np.timedelta64(1, "us")) / 3.6e9

    @cached_property
    def hours(self) -> np.ndarray:
        """Hours since the midnight before the first step, shape (n_steps,)."""
        return self._offset + self.step_hours * np.arange(self.n_steps)

    @cached_property
    def day(self) -> np.ndarray:
        """Whole days since the first day, shape (n_steps,), int."""
        # The nudge keeps a midnight reached by adding thirds of an hour from falling a day back.
        return np.floor(self.hours / 24 + 1e-9).astype(np.int64)

    @cached_property
    def hour_of_day(self) -> np.ndarray:
        """Local hour, 0 to 24, shape (n_steps,)."""
        return self.hours - 24.0 * self.day

    @cached_property
    def dates(self) -> np.ndarray:
        """Every calendar day that the steps touch, shape (n_days,), datetime64[D]."""
        return self.first_day + np.arange(self.n_days)

    @property
    def n_days(self) -> int:
        return int(self.day[-1]) + 1

    @cached_property
    def date_of_year(self) -> np.ndarray:
        """Number of each of ``dates`` in its year, 1 to 366, shape (n_days,), int."""
        new_year = self.dates.astype("datetime64[Y]").astype("datetime64[D]")
        return (self.dates - new_year).astype(np.int64) + 1

    @cached_property
    def day_of_year(self) -> np.ndarray:
        """The same for each step, with the hour as a fraction, shape (n_steps,)."""
        return self.date_of_year[self.day] + self.hour_of_day / 24

    @cached_property
    def years(self) -> np.ndarray:
        """Years since the first step, shape (n_steps,)."""
        return (self.hours - self._offset) / (24 * DAYS_PER_YEAR)

    def season(self, peak_day: float) -> np.ndarray:
        """Annual wave: 1 on ``peak_day`` of the year, -1 half a year away, shape (n_steps,)."""
        return np.cos(2 * np.pi * (self.day_of_year - peak_day) / DAYS_PER_YEAR)

    def steps(self, start_hour: float, stop_hour: float) -> slice:
        """The steps that begin in ``start_hour <= hour < stop_hour``."""
        first, last = np.searchsorted(self.hours, [start_hour, stop_hour])
        return slice(int(first), int(last))


class Streams:
    """Independent random generators, each known by a feeder and a name.

    Parameters
    ----------
    random_state : int, None, RandomState or Generator
        An int fixes every stream; None takes fresh entropy from the system; a generator is asked
        for one seed, hence moves on.
    """

    def __init__(self, random_state: object) -> None:
        self._entropy = _entropy(random_state)

    def __call__(self, feeder: int, name: str) -> np.random.Generator:
        """The stream of this feeder (0: what feeders share) and name, from its beginning."""
        # A key made of the name, not of the order of calls: a new source leaves the others alone.
        key = (feeder, zlib.crc32(name.encode()))
        seed = np.random.SeedSequence(self._entropy, spawn_key=key)
        return np.random.Generator(np.random.PCG64(seed))


def _entropy(random_state: object) -> int:
    if random_state is None:
        entropy = np.random.SeedSequence().entropy
        assert isinstance(entropy, int)
        return entropy
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    whole = isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool)
    if not whole or int(random_state) < 0:  # type: ignore[call-overload]
        raise ParameterError(
            "random_state must be a whole number of at least 0, None, a numpy RandomState or a "
            f"numpy Generator, got {random_state!r}."
        )
    return int(random_state)  # type: ignore[call-overload]


def decay(step: float, time_constant: float) -> float:
    """Fraction that is left after one step; both in the same unit."""
    return math.exp(-step / time_constant)


def ornstein_uhlenbeck(rng: np.random.Generator, clock: Clock, hours: float) -> np.ndarray:
    """Stationary noise with mean 0, variance 1 and autocorrelation exp(-lag / hours).

    The exact discretisation of an Ornstein-Uhlenbeck process, so its statistics do not depend on
    the step::

        x_0 = e_0,    x_t = a x_{t-1} + sqrt(1 - a^2) e_t,    a = exp(-step / hours)

    Returns
    -------
    ndarray of shape (n_steps,)
    """
    keep = decay(clock.step_hours, hours)
    shocks = rng.standard_normal(clock.n_steps)
    shocks[1:] *= math.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], shocks)


def slow_walk(rng: np.random.Generator, clock: Clock, days: float) -> np.ndarray:
    """Like :func:`ornstein_uhlenbeck`, drawn at midnights and straight in between.

    For what changes over days: the values at midnights are the same for every step size.

    Returns
    -------
    ndarray of shape (n_steps,)
    """
    keep = decay(1.0, days)
    knots = rng.standard_normal(clock.n_days + 1)
    knots[1:] *= math.sqrt(1 - keep**2)
    return np.interp(clock.hours / 24, np.arange(len(knots)), lfilter([1.0], [1.0, -keep], knots))


def telegraph(
    rng: np.random.Generator, clock: Clock, on_hours: float, off_hours: float
) -> np.ndarray:
    """A switch that stays on and off for exponential times with these means.

    Returns
    -------
    ndarray of shape (n_steps,), bool
    """
    on_first = rng.random() < on_hours / (on_hours + off_hours)
    means = (on_hours, off_hours) if on_first else (off_hours, on_hours)
    end, flips = clock.hours[-1], np.zeros(1)
    while flips[-1] <= end:
        pairs = rng.standard_exponential((64, 2)) * means
        flips = np.append(flips, flips[-1] + np.cumsum(pairs))
    n_flips = np.searchsorted(flips, clock.hours, side="right") - 1
    return (n_flips % 2 == 0) == on_first
