"""What the feeders of a transformer station carry: consumers, solar panels, capacitor banks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from titans_ts.datasets.processes import (
    Clock,
    Streams,
    decay,
    ornstein_uhlenbeck,
    slow_walk,
    telegraph,
)
from titans_ts.datasets.weather import FEEDER_SHARED, Weather

__all__ = ["Feeder", "Loads", "draw_feeder", "public_holidays", "simulate_loads", "working_level"]

# Rated powers in MVA: the R10 series of preferred numbers (ISO 3), as in IEC 60076-1.
RATED_POWERS = (10.0, 12.5, 16.0, 20.0, 25.0, 31.5, 40.0)
REFERENCE_POWER = 25.0  # MVA, rating of the first feeder

TEMPERATURE_HEATING, TEMPERATURE_COOLING = 14.0, 23.0  # degrees Celsius, where each begins
BUILDING_HOURS = 8.0  # how fast rooms follow the air outside

SOLAR_START, SOLAR_LIMIT = 0.10, 0.55  # installed solar power, as a fraction of rated power
SOLAR_PERFORMANCE = 0.85  # power at the meter per watt of panel under 1000 W/m^2

MONDAY_1970 = 3  # 1 January 1970 was a Thursday


class Loads(NamedTuple):
    """Power drawn on the two lower sides of a three-winding transformer; each of shape (time,)."""

    medium_active: np.ndarray  # MW; negative when solar power flows back
    medium_reactive: np.ndarray  # Mvar; negative when capacitors over-compensate
    low_active: np.ndarray
    low_reactive: np.ndarray


@dataclass(frozen=True)
class Feeder:
    """What makes one transformer of the station different from the next.

    Parameters
    ----------
    number : int
        Counted from 1.
    rated_power : float
        In MVA.
    utilisation : float
        Mean consumption in terms of the reference feeder's.
    industry : float
        Share of industry in the consumption on the medium-voltage side.
    offices : float
        Share of shops and offices on the low-voltage side.
    solar : float
        Solar power in terms of the reference feeder's.
    """

    number: int
    rated_power: float = REFERENCE_POWER
    utilisation: float = 1.0
    industry: float = 0.6
    offices: float = 0.4
    solar: float = 1.0


def draw_feeder(streams: Streams, number: int) -> Feeder:
    """Return the reference feeder for number 1, and a random variation of it for the others."""
    if number == 1:
        return Feeder(number)
    rng = streams(number, "feeder")
    return Feeder(
        number,
        rated_power=float(rng.choice(RATED_POWERS)),
        utilisation=rng.uniform(0.75, 1.1),
        industry=rng.uniform(0.3, 0.8),
        offices=rng.uniform(0.2, 0.6),
        solar=rng.uniform(0.0, 1.6),
    )


def simulate_loads(
    streams: Streams,
    clock: Clock,
    weather: Weather,
    feeder: Feeder,
    *,
    load_growth: float,
    solar_growth: float,
) -> Loads:
    """Simulate what one feeder carries when nothing unusual happens.

    Consumption is a sum over kinds of consumers of mean power x daily shape x noise, plus heating
    and cooling; the medium-voltage side also has machines that switch on and off, and feeds back
    solar power; the low-voltage side has pumps on some nights. Reactive power is a slowly varying
    tan(phi) times consumption, less capacitor banks that are switched every few weeks.

    Parameters
    ----------
    streams : Streams
    clock : Clock
    weather : Weather
    feeder : Feeder
    load_growth : float
        Fraction a year, compounded.
    solar_growth : float
        Newly installed solar power in the first year, as a fraction of rated power; slows down
        towards a limit of 0.55 of rated power.

    Returns
    -------
    Loads
    """

    def stream(name: str) -> np.random.Generator:
        return streams(feeder.number, name)

    working = working_level(clock.dates)[clock.day]
    hour = clock.hour_of_day
    homes, offices = _homes(hour, working, clock), _offices(hour, working)
    factories = _factories(hour, working)
    # Each side in MW on the 25 MVA reference; the station's mood is shared by its feeders.
    mood = 0.03 * slow_walk(streams(FEEDER_SHARED, "mood"), clock, days=8)
    low = 2.5 * (feeder.offices * offices + (1 - feeder.offices) * homes)
    medium = 5.6 * (
        feeder.industry * factories
        + 0.4 * (1 - feeder.industry) * offices
        + 0.6 * (1 - feeder.industry) * homes
    )
    low = low * np.exp(mood + _wobble(stream, "low", clock, (0.05, 0.05, 0.03)))
    medium = medium * np.exp(mood + _wobble(stream, "medium", clock, (0.08, 0.08, 0.06)))

    comfort = _heating_and_cooling(clock, weather.ambient) * (0.35 + 0.65 * homes)
    low = low + 0.10 * comfort
    machines = telegraph(stream("machines"), clock, on_hours=5, off_hours=9)
    medium = medium + 0.13 * comfort + 1.1 * (machines * (0.4 + 0.6 * working))
    pumps = 1.9 * _night_pumps(stream("pumps"), clock)

    size = feeder.rated_power / REFERENCE_POWER * feeder.utilisation
    growth = (1 + load_growth) ** clock.years
    low, medium = (low + pumps) * size * growth, medium * size * growth

    # tan(phi) 0.33 is a power factor of 0.95; 0.45 one of 0.91.
    low_phi = 0.33 + 0.04 * slow_walk(stream("low phi"), clock, days=20)
    medium_phi = 0.42 + 0.06 * slow_walk(stream("medium phi"), clock, days=20)
    jitter = 0.05 * ornstein_uhlenbeck(stream("phi"), clock, hours=0.7)
    low_bank = telegraph(stream("low bank"), clock, on_hours=24 * 15, off_hours=24 * 60)
    medium_bank = telegraph(stream("medium bank"), clock, on_hours=24 * 40, off_hours=24 * 40)
    return Loads(
        medium_active=medium - _solar_power(clock, weather, feeder, solar_growth),
        medium_reactive=medium * (medium_phi + jitter) - (0.8 + 1.8 * medium_bank) * size,
        low_active=low,
        low_reactive=low * (low_phi + 0.4 * jitter) - 1.3 * low_bank * size,
    )


def working_level(dates: np.ndarray) -> np.ndarray:
    """How much of working life goes on: 1 on a working day, less on others.

    Parameters
    ----------
    dates : ndarray of shape (days,), datetime64[D]

    Returns
    -------
    ndarray of shape (days,)
        1 Monday to Friday, 0.6 on Saturdays, 0.25 on Sundays, 0.15 on public holidays.
    """
    weekday = (dates.astype(np.int64) + MONDAY_1970) % 7
    level = np.select([weekday == 5, weekday == 6], [0.6, 0.25], 1.0)
    return np.where(public_holidays(dates), 0.15, level)


def public_holidays(dates: np.ndarray) -> np.ndarray:
    """Mark new year, spring festival (a week), 1 to 3 May and 1 to 7 October.

    The spring festival starts at the new moon between 21 January and 20 February, here the mean
    new moon (Meeus, Astronomical Algorithms, chapter 49) in China's time zone, which is within a
    day of the true one.

    Parameters
    ----------
    dates : ndarray of shape (days,), datetime64[D]

    Returns
    -------
    ndarray of shape (days,), bool
    """
    years = dates.astype("datetime64[Y]")
    in_year = (dates - years.astype("datetime64[D]")).astype(np.int64)
    month = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    day = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    fixed = ((month == 5) & (day <= 3)) | ((month == 10) & (day <= 7)) | (in_year == 0)

    epoch = np.datetime64("2000-01-06T22:14")  # a mean new moon, at 14:14 universal time
    january_21 = years.astype("datetime64[D]") + 20
    since = (january_21 - epoch) / np.timedelta64(1, "D")
    moon = np.ceil(since / 29.530588853) * 29.530588853 - since  # days after 21 January
    festival = in_year - 20 - np.floor(moon)
    return fixed | ((festival >= 0) & (festival < 7))


# -- shapes of a day, each with a mean of about 1 over a working week ----------------------------


def _bump(hour: np.ndarray, centre: float | np.ndarray, width: float) -> np.ndarray:
    away = (hour - centre + 12) % 24 - 12
    return np.exp(-0.5 * (away / width) ** 2)


def _ramp(hour: np.ndarray, at: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(hour - at) / width))


def _homes(hour: np.ndarray, working: np.ndarray, clock: Clock) -> np.ndarray:
    late = 9.5 - 2.3 * working  # people rise later when they do not work
    morning = _bump(hour, late, 1.4)
    dark = clock.season(0)  # evenings start earlier and last longer in winter
    evening = _bump(hour, 20.2 - 0.7 * dark, 2.3) * (1 + 0.1 * dark)
    return 0.62 + 0.35 * morning + (0.45 - 0.2 * working) * _bump(hour, 12.8, 1.8) + 0.95 * evening


def _offices(hour: np.ndarray, working: np.ndarray) -> np.ndarray:
    open_ = _ramp(hour, 8.2, 0.5) - _ramp(hour, 19.0, 0.8)
    shops = _ramp(hour, 10.0, 0.5) - _ramp(hour, 21.5, 0.4)
    return 0.5 + 0.85 * working * open_ + 0.45 * shops


def _factories(hour: np.ndarray, working: np.ndarray) -> np.ndarray:
    shifts = _ramp(hour, 6.2, 0.35) - _ramp(hour, 22.0, 0.35)
    breaks = 0.22 * _bump(hour, 12.2, 0.5) + 0.12 * _bump(hour, 18.0, 0.4)
    return 0.55 + working * (0.75 * shifts - breaks)


# -- what moves the shapes -----------------------------------------------------------------------


def _wobble(
    stream: Callable[[str], np.random.Generator],
    name: str,
    clock: Clock,
    sizes: tuple[float, float, float],
) -> np.ndarray:
    """Noise of weeks, hours and minutes, with these standard deviations."""
    weeks = slow_walk(stream(f"{name} weeks"), clock, days=12)
    hours = ornstein_uhlenbeck(stream(f"{name} hours"), clock, hours=5)
    minutes = ornstein_uhlenbeck(stream(f"{name} minutes"), clock, hours=0.4)
    return sizes[0] * weeks + sizes[1] * hours + sizes[2] * minutes


def _heating_and_cooling(clock: Clock, ambient: np.ndarray) -> np.ndarray:
    """Degrees by which rooms are too cold or too warm, in K; cooling counts 1.6 times."""
    keep = decay(clock.step_hours, BUILDING_HOURS)
    indoors = lfilter([1 - keep], [1.0, -keep], ambient, zi=keep * ambient[:1])[0]
    cold = np.maximum(TEMPERATURE_HEATING - indoors, 0)
    return cold + 1.6 * np.maximum(indoors - TEMPERATURE_COOLING, 0)


def _night_pumps(rng: np.random.Generator, clock: Clock) -> np.ndarray:
    """Fraction of water pumps and storage heaters that run, mostly in hot and in cold weeks."""
    chance, start, stop, share = rng.random((clock.n_days, 4)).T
    # Twice a year: highest in mid-July and mid-January.
    wave = np.cos(4 * np.pi * (clock.date_of_year - 197) / 365)
    running = np.zeros(clock.n_steps)
    for day in np.flatnonzero(chance < 0.4 + 0.2 * wave):
        # From about 22:00 to about 5:00.
        first, last = 24 * day + 21.5 + start[day], 24 * day + 27.5 + 3 * stop[day]
        running[clock.steps(first, last)] = 0.6 + 0.4 * share[day]
    return running


def _solar_power(clock: Clock, weather: Weather, feeder: Feeder, solar_growth: float) -> np.ndarray:
    """Solar power fed in, in MW."""
    room = SOLAR_LIMIT - SOLAR_START
    installed = SOLAR_LIMIT - room * np.exp(-solar_growth / room * clock.years)
    peak = installed * feeder.rated_power * feeder.solar
    return SOLAR_PERFORMANCE * peak * weather.irradiance / 1000
