"""What the calendar says of a time stamp: sine and cosine of hour, day, week and year."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.frequency import parse_freq
from titans_ts.errors import DataError, ParameterError

__all__ = ["CALENDAR_FEATURES", "HOLIDAY", "calendar_names", "calendar_values", "check_holidays"]

#: What the column of holidays is called.
HOLIDAY = "holiday"


def _hour(index: pd.DatetimeIndex) -> Any:
    return index.hour + index.minute / 60 + index.second / 3600


# Each turns stamps into how far through its period they are, from 0 to 1.
CALENDAR_FEATURES: dict[str, Callable[[pd.DatetimeIndex], Any]] = {
    "second_of_minute": lambda index: index.second / 60,
    "minute_of_hour": lambda index: (index.minute + index.second / 60) / 60,
    "hour_of_day": lambda index: _hour(index) / 24,
    "day_of_week": lambda index: index.day_of_week / 7,
    "day_of_month": lambda index: (index.day - 1) / index.days_in_month,
    "day_of_year": lambda index: (index.day_of_year - 1) / np.where(index.is_leap_year, 366, 365),
    "week_of_year": lambda index: (index.isocalendar().week.to_numpy(dtype=float) - 1) / 53,
    "month_of_year": lambda index: (index.month - 1) / 12,
}

# By how long a step is, the first row that it fits: a season that one step spans says nothing, and
# a month is too long to be told from its neighbours by a year of data.
_BY_STEP = (
    (pd.Timedelta("59s"), ("second_of_minute", "minute_of_hour", "hour_of_day")),
    (pd.Timedelta("59min"), ("minute_of_hour", "hour_of_day", "day_of_week", "day_of_year")),
    (pd.Timedelta("23h"), ("hour_of_day", "day_of_week", "day_of_year")),
    (pd.Timedelta("6D"), ("day_of_week", "day_of_month", "day_of_year")),
    (pd.Timedelta("27D"), ("week_of_year",)),
    (pd.Timedelta("200D"), ("month_of_year",)),
)


def calendar_names(freq: str | None, features: str | Sequence[str] = "auto") -> tuple[str, ...]:
    """Name the calendar features that suit a frequency.

    Parameters
    ----------
    freq : str or None
        A pandas frequency of stamps or periods. None fits every feature that is asked for, and
        ``"auto"`` none.
    features : "auto", str or sequence of str, default "auto"
        Some of :data:`CALENDAR_FEATURES`, such as ``"hour_of_day"``.

    Returns
    -------
    tuple of str
        Two for each feature, such as ``"hour_of_day_sin"`` and ``"hour_of_day_cos"``.

    Raises
    ------
    ParameterError
        A feature is unknown or named twice, or ``freq`` is no frequency.

    Examples
    --------
    >>> calendar_names("MS")
    ('month_of_year_sin', 'month_of_year_cos')
    >>> len(calendar_names("15min")), len(calendar_names("YE"))
    (8, 0)
    """
    if isinstance(features, str) and features == "auto":
        chosen: tuple[str, ...] = () if freq is None else _features_of(freq)
    else:
        chosen = (features,) if isinstance(features, str) else tuple(features)
        for name in chosen:
            if name not in CALENDAR_FEATURES or chosen.count(name) > 1:
                raise ParameterError(
                    f"Calendar features must be 'auto', or distinct ones of "
                    f"{', '.join(map(repr, CALENDAR_FEATURES))}; got {name!r}."
                )
    return tuple(f"{name}_{wave}" for name in chosen for wave in ("sin", "cos"))


def calendar_values(
    index: pd.DatetimeIndex | pd.PeriodIndex,
    names: Sequence[str],
    *,
    tz: str | None = None,
    holidays: str | None = None,
) -> np.ndarray:
    """Compute calendar features of time stamps.

    A feature goes once around the circle in its period: ``sin`` and ``cos`` of the share of the
    period that has passed, so that 23:00 is as close to midnight as 1:00 is. The hour of the day
    counts minutes too, while day, week and month are whole; the days of a leap year are 366.

    Parameters
    ----------
    index : DatetimeIndex or PeriodIndex
        A period counts by its start.
    names : sequence of str
        As :func:`calendar_names` returns them.
    tz : str, optional
        The time zone in which hours and days are counted. Default: that of the index.
    holidays : str, optional
        A country (``"DE"``) or part of one (``"DE-BY"``) in the codes of ISO 3166: adds a last
        column, 1 on public holidays and 0 elsewhere. Needs the package ``holidays``.

    Returns
    -------
    ndarray of shape (rows, len(names)), or one column more with ``holidays``; float64

    Raises
    ------
    DataError
        ``tz`` was given, but the stamps have no time zone.
    ParameterError
        The country is unknown, or the package ``holidays`` is not installed.

    Examples
    --------
    >>> hours = pd.date_range("2024-01-01", periods=3, freq="6h")
    >>> calendar_values(hours, calendar_names("h", "hour_of_day")).round(3)
    array([[ 0.,  1.],
           [ 1.,  0.],
           [ 0., -1.]])
    """
    stamps = _local(index, tz)
    out = np.empty((len(stamps), len(names) + (holidays is not None)))
    angles: dict[str, np.ndarray] = {}
    for column, name in enumerate(names):
        feature, _, wave = name.rpartition("_")
        if feature not in angles:
            angles[feature] = 2 * np.pi * np.asarray(CALENDAR_FEATURES[feature](stamps), float)
        out[:, column] = np.sin(angles[feature]) if wave == "sin" else np.cos(angles[feature])
    if holidays is not None:
        out[:, -1] = _holiday(stamps, holidays)
    return out


def check_holidays(holidays: Any) -> None:
    """Raise ParameterError unless ``holidays`` is None or a country that can be looked up."""
    if holidays is not None:
        _holiday_dates(holidays, [2024])


def _features_of(freq: str) -> tuple[str, ...]:
    dates = pd.date_range("2001-01-01", periods=13, freq=parse_freq(freq))
    step = (dates[-1] - dates[0]) / 12
    return next((names for longest, names in _BY_STEP if step <= longest), ())


def _local(index: Any, tz: str | None) -> pd.DatetimeIndex:
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
        if tz is None:
            return index
    if tz is not None:
        if index.tz is None:
            raise DataError(
                f"Calendar features were asked for in the time zone {tz!r}, but the time stamps "
                "have none. Give them theirs, for example with X.index.tz_localize('UTC')."
            )
        index = index.tz_convert(tz)
    # Hours and days on the wall.
    return index.tz_localize(None)


def _holiday(stamps: pd.DatetimeIndex, holidays: str) -> np.ndarray:
    years = sorted(set(stamps.year.tolist()))
    dates = _holiday_dates(holidays, years)
    return np.asarray(stamps.normalize().isin(pd.DatetimeIndex(sorted(dates))), dtype=np.float64)


def _holiday_dates(country: Any, years: list[int]) -> list[Any]:
    try:
        import holidays as library
    except ImportError:
        raise ParameterError(
            f"holidays={country!r} needs the package holidays, which is not installed. Install it "
            'with pip install "titans-ts[holidays]", or leave holidays out.'
        ) from None
    if isinstance(country, str):
        code, _, part = country.partition("-")
        try:
            return list(library.country_holidays(code, subdiv=part or None, years=years))
        except NotImplementedError:
            pass  # the library's word for a country that it does not know
    raise ParameterError(
        "holidays must be a country such as 'DE', or a part of one such as 'DE-BY', in the codes "
        f"of ISO 3166, got {country!r}."
    )
