"""What nobody plans at a transformer station: outages, load taken over, short peaks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from titans_ts.datasets.processes import DAYS_PER_YEAR, Clock, Streams

__all__ = ["Events", "draw_events", "no_events"]

OUTAGES_PER_YEAR = 1.5
OUTAGE_HOURS = (0.3, 3.0)
PICKUP, PICKUP_HOURS = 0.5, 1.5  # how much more a cold load draws, and how long

TRANSFERS_PER_YEAR = 8.0
TRANSFER_HOURS = (4.0, 96.0)
TRANSFER_SHARE = (0.2, 0.5)

PEAKS_PER_YEAR = 60.0
PEAK_HOURS = (0.25, 1.5)
PEAK_SHARE = (0.15, 0.4)


class Events(NamedTuple):
    """What events do to one feeder; each of shape (time,)."""

    medium: np.ndarray  # factor on the consumption of the medium-voltage side
    low: np.ndarray  # factor on the consumption of the low-voltage side
    energised: np.ndarray  # bool; False while the transformer is cut off


def no_events(clock: Clock) -> Events:
    """Return the events of a quiet station."""
    ones = np.ones(clock.n_steps)
    return Events(ones, ones.copy(), np.ones(clock.n_steps, dtype=bool))


def draw_events(streams: Streams, clock: Clock, feeder: int) -> Events:
    """Draw the events of one feeder.

    - An *outage* cuts the transformer off for 20 minutes to 3 hours, about three times in two
      years; afterwards the load is half as large again, which fades over 1.5 hours, since every
      refrigerator and heater starts at once (cold load pickup).
    - A *transfer* moves 20 to 50 % of one side's load to or from a neighbour for hours to days,
      eight times a year.
    - A *peak* adds 15 to 40 % to one side for 15 to 90 minutes, 60 times a year.

    Parameters
    ----------
    streams : Streams
    clock : Clock
    feeder : int

    Returns
    -------
    Events
    """
    events = no_events(clock)
    sides = (events.medium, events.low)

    rng = streams(feeder, "transfers")
    for start, hours, side, size in _arrivals(rng, clock, TRANSFERS_PER_YEAR, TRANSFER_HOURS):
        share = np.interp(abs(2 * size - 1), [0, 1], TRANSFER_SHARE)
        sides[side][clock.steps(start, start + hours)] *= 1 + np.copysign(share, size - 0.5)

    rng = streams(feeder, "peaks")
    for start, hours, side, size in _arrivals(rng, clock, PEAKS_PER_YEAR, PEAK_HOURS):
        share = np.interp(size, [0, 1], PEAK_SHARE)
        sides[side][clock.steps(start, start + hours)] *= 1 + share

    rng = streams(feeder, "outages")
    for start, hours, _, _ in _arrivals(rng, clock, OUTAGES_PER_YEAR, OUTAGE_HOURS):
        stop = start + hours
        events.energised[clock.steps(start, stop)] = False
        after = clock.steps(stop, stop + 6 * PICKUP_HOURS)
        for factor in sides:
            factor[after] *= 1 + PICKUP * np.exp(-(clock.hours[after] - stop) / PICKUP_HOURS)
    return events


def _arrivals(
    rng: np.random.Generator, clock: Clock, per_year: float, hours: tuple[float, float]
) -> list[tuple[float, float, int, float]]:
    """Start hour, duration in hours (log-uniform), side and size (0 to 1) of rare events."""
    # As many numbers for every day, event or not: a longer run does not move earlier events.
    numbers = rng.random((clock.n_days, 5))
    found = []
    for day in np.flatnonzero(numbers[:, 0] < per_year / DAYS_PER_YEAR):
        _, time, length, side, size = numbers[day].tolist()
        duration = hours[0] * (hours[1] / hours[0]) ** length
        found.append((24 * (float(day) + time), duration, int(side < 0.5), size))
    return found
