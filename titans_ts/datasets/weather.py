"""Weather over a transformer station: air temperature and sun, shared by its feeders."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from titans_ts.datasets.processes import Clock, Streams, decay, ornstein_uhlenbeck, slow_walk

__all__ = ["Weather", "clear_sky_irradiance", "simulate_weather"]

LATITUDE = 32.0  # degrees north: hot summers and cold winters, as in eastern China

MEAN_TEMPERATURE = 16.0  # degrees Celsius
ANNUAL_SWING = 12.0  # K, half of the difference between late July and late January
WARMEST_DAY = 205.0  # day of the year

FRONTS_PER_DAY = 0.2
FRONT_SIZE = 3.5  # K, mean of an exponential
FRONT_HOURS = (3.0, 48.0)  # how fast the air cools, and how slowly it comes back

FEEDER_SHARED = 0  # the number under which all feeders draw the same weather


class Weather(NamedTuple):
    """Each of shape (time,)."""

    ambient: np.ndarray  # degrees Celsius
    irradiance: np.ndarray  # global, on a level surface, W/m^2


def simulate_weather(streams: Streams, clock: Clock) -> Weather:
    """Simulate air temperature and sunshine.

    Air temperature is a year's and a day's wave around a mean, plus Ornstein-Uhlenbeck noise of
    120 days (a mild winter), 4 days (weather patterns) and 2 hours, less cold fronts. A front comes
    with a chance of 0.2 a day, cools the air within hours, fades over two days, and brings clouds.
    Clear days have the larger daily wave.

    Parameters
    ----------
    streams : Streams
    clock : Clock

    Returns
    -------
    Weather
    """

    def stream(name: str) -> np.random.Generator:
        return streams(FEEDER_SHARED, name)

    front = _fronts(stream("fronts"), clock)
    pattern = slow_walk(stream("clouds"), clock, days=1.5)
    clear_days = _logistic(1.0 + 1.6 * pattern - 0.35 * front)
    # Broken clouds flicker most: the logistic is steepest half-way between clear and overcast.
    flicker = ornstein_uhlenbeck(stream("flicker"), clock, hours=0.4)
    clearness = 0.12 + 0.88 * _logistic(2.2 * (1.0 + 1.6 * pattern - 0.35 * front + 0.6 * flicker))

    hour = clock.hour_of_day
    # Warmest at 15:00; the second harmonic makes mornings quicker than evenings.
    daily = np.cos(np.pi * (hour - 15) / 12) + 0.25 * np.cos(np.pi * (hour - 14) / 6)
    ambient = (
        MEAN_TEMPERATURE
        + ANNUAL_SWING * clock.season(WARMEST_DAY)
        + (2.0 + 3.5 * clear_days) * daily
        + 1.2 * slow_walk(stream("year"), clock, days=120)
        + 2.5 * slow_walk(stream("patterns"), clock, days=4)
        + 0.5 * ornstein_uhlenbeck(stream("gusts"), clock, hours=2)
        - (front - FRONTS_PER_DAY * FRONT_SIZE * (FRONT_HOURS[1] - FRONT_HOURS[0]) / 24)
    )
    return Weather(ambient, clearness * clear_sky_irradiance(clock))


def clear_sky_irradiance(clock: Clock, latitude: float = LATITUDE) -> np.ndarray:
    """Return the global irradiance under a cloudless sky, in W/m^2, in local solar time.

    With declination d, latitude l and hour angle w, the sun stands at the zenith angle z::

        d = 23.45 deg * sin(2 pi (284 + day) / 365)                 (Cooper, 1969)
        cos z = sin l sin d + cos l cos d cos w
        irradiance = 1098 cos z exp(-0.057 / cos z)                 (Haurwitz, 1945)

    Returns
    -------
    ndarray of shape (time,)
        0 at night.
    """
    tilt = np.deg2rad(23.45) * np.sin(2 * np.pi * (284 + clock.day_of_year) / 365)
    angle = np.pi * (clock.hour_of_day - 12) / 12
    place = np.deg2rad(latitude)
    height = np.sin(place) * np.sin(tilt) + np.cos(place) * np.cos(tilt) * np.cos(angle)
    # Below 0.01 the exponential is under 0.4 % already; the bound keeps night from dividing by 0.
    above = np.maximum(height, 1e-2)
    return np.where(height > 1e-2, 1098 * above * np.exp(-0.057 / above), 0.0)


def _fronts(rng: np.random.Generator, clock: Clock) -> np.ndarray:
    """How far fronts have cooled the air, in K, shape (time,)."""
    # Three numbers a day whether or not a front comes, so that days do not depend on each other.
    chance, time, size = rng.random((clock.n_days, 3)).T
    days = np.flatnonzero(chance < FRONTS_PER_DAY)
    step = np.searchsorted(clock.hours, 24 * (days + time[days]))
    inside = step < clock.n_steps
    shocks = np.zeros(clock.n_steps)
    # Exponential sizes from uniform numbers, by inversion.
    np.add.at(shocks, step[inside], -FRONT_SIZE * np.log1p(-size[days][inside]))
    # The difference of two exponentials rises over the shorter time and falls over the longer.
    quick, slow = (decay(clock.step_hours, hours) for hours in FRONT_HOURS)
    return lfilter([1.0], [1.0, -slow], shocks) - lfilter([1.0], [1.0, -quick], shocks)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
