"""A simulated transformer station with the columns of the ETT data sets; needs no network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from titans_ts.datasets.processes import Clock, Streams, ornstein_uhlenbeck
from titans_ts.datasets.station_events import draw_events, no_events
from titans_ts.datasets.station_loads import Feeder, draw_feeder, simulate_loads, working_level
from titans_ts.datasets.thermal import OilCooling, top_oil_rise, top_oil_temperature
from titans_ts.datasets.weather import Weather, simulate_weather
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_choice, check_int, check_number

__all__ = ["COLUMNS", "make_transformer_station"]

#: Columns of one feeder, in the order of the ETT files.
COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
COVARIATES = ("AMBIENT", "SUN", "WORKING")

# Physics runs in steps of at most this many minutes, whatever the rows' spacing.
LONGEST_STEP = 15.0

# Nameplate of the transformers, as fractions of rated power. Load losses are 6 times the no-load
# losses, the loss ratio R of the thermal model.
NO_LOAD_LOSS = 0.001
LOAD_LOSS = NO_LOAD_LOSS * OilCooling.loss_ratio
MAGNETISING_POWER = 0.003
SHORT_CIRCUIT_REACTANCE = 0.105  # 10.5 %, usual between the windings of a 110 kV transformer

# Meters: standard deviation of a reading, and the decimals that are kept.
POWER_NOISE, POWER_DECIMALS = 0.0015, 2  # of rated power; MW and Mvar
OIL_NOISE, OIL_DECIMALS = 0.1, 1  # degrees Celsius


def make_transformer_station(
    n_steps: int = 35_040,
    *,
    n_feeders: int = 1,
    freq: str = "15min",
    start: Any = "2016-07-01",
    layout: str = "wide",
    covariates: bool = False,
    load_growth: float = 0.02,
    solar_growth: float = 0.1,
    events: bool = True,
    random_state: Any = 0,
) -> pd.DataFrame:
    """Simulate a transformer station: six loads and the oil temperature of each transformer.

    The columns, their order and their meaning are those of the ETT data sets, so what works on this
    table works on ETTm1.csv; every value comes from the model described in the user guide.

    ========  ==============================================================  =====
    Column    Meaning                                                         Unit
    ========  ==============================================================  =====
    ``HUFL``  high-voltage side, useful (active) load                         MW
    ``HULL``  high-voltage side, useless (reactive) load                      Mvar
    ``MUFL``  medium-voltage side, active; negative: solar power flows back   MW
    ``MULL``  medium-voltage side, reactive; negative: capacitors prevail     Mvar
    ``LUFL``  low-voltage side, active                                        MW
    ``LULL``  low-voltage side, reactive                                      Mvar
    ``OT``    top-oil temperature                                             deg C
    ========  ==============================================================  =====

    Parameters
    ----------
    n_steps : int, default 35_040
        Rows per feeder; the default is a year of quarter hours.
    n_feeders : int, default 1
        Transformers in the station. They share weather and calendar, and differ in size, consumers
        and events. Feeder 1 is always the 25 MVA reference.
    freq : str, default "15min"
        Spacing of rows, a fixed length of time of at most a day. A row is the mean over its
        interval; intervals beyond 15 minutes are means of finer simulated steps, so ``"1h"`` gives
        the hourly means of ``"15min"``.
    start : str, datetime or Timestamp, default "2016-07-01"
        Local time of the first row, without time zone.
    layout : {"wide", "long"}, default "wide"
        With several feeders, ``"wide"`` has the columns ``HUFL_1 ... OT_1, HUFL_2 ...`` and one row
        per time; ``"long"`` has a column ``feeder`` (``"feeder_1"``, ...), a column ``date``, the
        seven columns, and the feeders one below the other. For a 3-D array
        (series, time, channels) reshape the long one: ``long.iloc[:, 2:].to_numpy().reshape(
        n_feeders, n_steps, -1)``.
    covariates : bool, default False
        Append what drives the loads: ``AMBIENT`` (air temperature, degrees Celsius), ``SUN``
        (irradiance, W/m^2) and ``WORKING`` (1 on a working day, down to 0.15 on a holiday; known in
        advance).
    load_growth : float, default 0.02
        Growth of consumption a year, as a fraction, compounded. Lower it for runs over decades.
    solar_growth : float, default 0.1
        Solar power installed in the first year, as a fraction of rated power; it changes the shape
        of the day, and levels off at 0.55 of rated power.
    events : bool, default True
        Outages, load transfers and short peaks. Holidays are part of the calendar, hence kept.
    random_state : int, None, RandomState or Generator, default 0
        The same number gives the same rows; None gives new ones each time.

    Returns
    -------
    DataFrame
        float64. Wide: shape (n_steps, 7 * n_feeders), with a DatetimeIndex named ``date``. Long:
        shape (n_steps * n_feeders, 9). Plus the covariates, if asked for.

    Raises
    ------
    ParameterError
        A parameter has a value that makes no sense.

    Notes
    -----
    With a fixed ``random_state``, a longer run begins with the rows of a shorter one, and a larger
    station contains the smaller one.

    Examples
    --------
    >>> from titans_ts.datasets import make_transformer_station
    >>> station = make_transformer_station(96)
    >>> station.shape
    (96, 7)
    >>> list(station.columns)
    ['HUFL', 'HULL', 'MUFL', 'MULL', 'LUFL', 'LULL', 'OT']
    """
    check_int("n_steps", n_steps)
    check_int("n_feeders", n_feeders)
    check_choice("layout", layout, ("wide", "long"))
    check_number("load_growth", load_growth, minimum=-0.5, maximum=1)
    check_number("solar_growth", solar_growth, minimum=0, maximum=1)
    for name, value in (("covariates", covariates), ("events", events)):
        check_choice(name, value, (True, False))
    streams = Streams(random_state)
    step = _step(freq)
    index = _index(n_steps, freq, start)
    minutes = step / pd.Timedelta(minutes=1)
    parts = math.ceil(minutes / LONGEST_STEP)
    clock = Clock(index[0].to_datetime64(), n_steps * parts, minutes / parts / 60)

    weather = simulate_weather(streams, clock)
    tables = []
    for number in range(1, n_feeders + 1):
        feeder = draw_feeder(streams, number)
        readings = _simulate_feeder(
            streams,
            clock,
            weather,
            feeder,
            load_growth=load_growth,
            solar_growth=solar_growth,
            events=events,
        )
        rows = readings.reshape(n_steps, parts, len(COLUMNS)).mean(axis=1)
        tables.append(_round(rows))
    drivers = None
    if covariates:
        working = working_level(clock.dates)[clock.day]
        columns = np.column_stack([*weather, working]).reshape(n_steps, parts, -1).mean(axis=1)
        drivers = pd.DataFrame(columns.round(2), index=index, columns=list(COVARIATES))
    return _assemble(tables, drivers, index, layout)


def _step(freq: Any) -> pd.Timedelta:
    try:
        offset: Any = to_offset(freq)
        step = pd.Timedelta(offset)
    except (ValueError, TypeError):
        step = pd.Timedelta(0)
    if not pd.Timedelta(0) < step <= pd.Timedelta(days=1):
        raise ParameterError(
            "freq must be a fixed length of time of at most a day, such as '15min' or '1h', "
            f"got {freq!r}."
        )
    return step


def _index(n_steps: int, freq: Any, start: Any) -> pd.DatetimeIndex:
    try:
        first: Any = pd.Timestamp(start)
    except (ValueError, TypeError):
        first = pd.NaT
    if first is pd.NaT or first.tz is not None:
        raise ParameterError(
            "start must be a date or time without time zone, such as '2016-07-01', got "
            f"{start!r}. Localise the result instead."
        )
    try:
        return pd.date_range(first, periods=n_steps, freq=freq, name="date")
    except (pd.errors.OutOfBoundsDatetime, OverflowError) as error:
        raise ParameterError(
            f"n_steps={n_steps} of {freq} from {first} go beyond the last time stamp that pandas "
            "can hold; give fewer steps or an earlier start."
        ) from error


def _simulate_feeder(
    streams: Streams,
    clock: Clock,
    weather: Weather,
    feeder: Feeder,
    *,
    load_growth: float,
    solar_growth: float,
    events: bool,
) -> np.ndarray:
    """Meter readings before rounding, shape (time, 7)."""
    loads = simulate_loads(
        streams, clock, weather, feeder, load_growth=load_growth, solar_growth=solar_growth
    )
    happened = draw_events(streams, clock, feeder.number) if events else no_events(clock)
    on = happened.energised
    medium, low = happened.medium * on, happened.low * on
    p_medium, q_medium = loads.medium_active * medium, loads.medium_reactive * medium
    p_low, q_low = loads.low_active * low, loads.low_reactive * low

    rated = feeder.rated_power
    p_loss, q_loss = transformer_losses(p_medium + p_low, q_medium + q_low, rated)
    p_high, q_high = p_medium + p_low + on * p_loss, q_medium + q_low + on * q_loss

    # A transformer that is cut off has no losses at all, not even those of its core.
    rise = on * top_oil_rise(np.hypot(p_high, q_high) / rated)
    oil = top_oil_temperature(rise, weather.ambient, step_minutes=60 * clock.step_hours)

    powers = np.column_stack([p_high, q_high, p_medium, q_medium, p_low, q_low])
    rng = streams(feeder.number, "meters")
    powers += on[:, None] * (POWER_NOISE * rated) * rng.standard_normal(powers.shape)
    # A thermometer drifts for an hour or so rather than jumping from reading to reading.
    sensor = ornstein_uhlenbeck(streams(feeder.number, "thermometer"), clock, hours=0.5)
    return np.column_stack([powers, oil + OIL_NOISE * sensor])


def transformer_losses(
    active: np.ndarray, reactive: np.ndarray, rated_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the active and reactive power that a transformer itself takes up.

    With the load factor K = sqrt(P^2 + Q^2) / S_rated of what passes through::

        P_loss = P_0 + P_k K^2        P_0 = 0.1 %, P_k = 0.6 % of S_rated
        Q_loss = Q_0 + X_k K^2        Q_0 = 0.3 %, X_k = 10.5 % of S_rated

    No-load terms are voltage's, load terms current's (IEC 60076-1, clause 3, definitions of
    no-load loss, load loss and short-circuit impedance). The three windings are taken as one pair.

    Parameters
    ----------
    active, reactive : ndarray of shape (time,)
        Power on the lower sides together, in MW and Mvar.
    rated_power : float
        In MVA.

    Returns
    -------
    active, reactive : ndarray of shape (time,)
        In MW and Mvar.
    """
    squared = (active**2 + reactive**2) / rated_power**2
    return (
        rated_power * (NO_LOAD_LOSS + LOAD_LOSS * squared),
        rated_power * (MAGNETISING_POWER + SHORT_CIRCUIT_REACTANCE * squared),
    )


def _round(rows: np.ndarray) -> np.ndarray:
    rows[:, :-1] = rows[:, :-1].round(POWER_DECIMALS)
    rows[:, -1] = rows[:, -1].round(OIL_DECIMALS)
    # Adding 0 turns the -0.0 of a rounded small number into 0.0.
    return rows + 0.0


def _assemble(
    tables: list[np.ndarray], drivers: pd.DataFrame | None, index: pd.DatetimeIndex, layout: str
) -> pd.DataFrame:
    if layout == "wide":
        names = list(COLUMNS)
        if len(tables) > 1:
            names = [f"{name}_{i}" for i in range(1, len(tables) + 1) for name in COLUMNS]
        wide = pd.DataFrame(np.hstack(tables), index=index, columns=names)
        return wide if drivers is None else wide.join(drivers)
    parts = []
    for number, table in enumerate(tables, start=1):
        part = pd.DataFrame(table, index=index, columns=list(COLUMNS))
        part = part if drivers is None else part.join(drivers)
        part = part.reset_index()
        part.insert(0, "feeder", f"feeder_{number}")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
