"""What the calendar says of every row of a set, as covariates that are known in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.calendar import calendar_names, calendar_values
from titans_ts.data.frequency import fixed_span, parse_freq
from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.store import ArrayStore, PlacedStore
from titans_ts.data.time_axis import TimeAxis
from titans_ts.errors import DataError

__all__ = ["calendar_series"]


def calendar_series(
    series: SeriesSet,
    layout: Layout,
    fitted: Layout,
    horizon: int,
    *,
    features: str | Sequence[str],
    holidays: str | None = None,
) -> SeriesSet:
    """Return calendar features of all rows, and of the ``horizon`` rows after them.

    Parameters
    ----------
    series : SeriesSet
    layout : Layout
        When the last row of each series was.
    fitted : Layout
        Of the table that the model was fitted to: its frequency chooses the features, and its
        time zone is the one in which hours and days are counted.
    horizon : int
    features : str or sequence of str
        As for :func:`titans_ts.data.calendar.calendar_names`.
    holidays : str, optional
        A country, as for :func:`titans_ts.data.calendar.calendar_values`.

    Returns
    -------
    SeriesSet
        Of ``lengths + horizon`` rows.

    Raises
    ------
    DataError
        The table has no time stamps, or one has a time zone and the other none.
    """
    time, reference = layout.time, fitted.time
    if time is None or reference is None or time.kind == "integers":
        raise DataError(
            "calendar= needs time stamps, but X has none. Give a frame with a DatetimeIndex or a "
            "time column, or leave calendar out."
        )
    if (time.tz is None) != (reference.tz is None):
        raise DataError(
            f"The time stamps of X are {_zone(time)}, but the model was fitted on stamps "
            f"{_zone(reference)}, in which its calendar counts. Localise or convert them."
        )
    names = calendar_names(reference.freq, features)
    lengths = series.lengths + horizon
    # Series of one panel mostly end together: one table for each distinct end, reaching back as
    # far as any series that ends there.
    last = np.array(time.last)
    distinct, which = np.unique(last, return_inverse=True)
    reach = np.zeros(len(distinct), dtype=np.int64)
    np.maximum.at(reach, which, lengths)
    tables = [
        calendar_values(
            _stamps(time, int(np.flatnonzero(which == i)[0]), int(n) - horizon, horizon),
            names,
            tz=reference.tz,
            holidays=holidays,
        )
        for i, n in enumerate(reach)
    ]
    table = np.concatenate(tables)
    everything = ArrayStore(table, np.broadcast_to(np.True_, table.shape))
    store = PlacedStore(everything, lengths, np.cumsum(reach)[which] - lengths)
    channels = names if holidays is None else (*names, "holiday")
    return SeriesSet(store, np.cumsum(lengths) - lengths, lengths, channels, ids=series.ids)


def _stamps(time: TimeAxis, series: int, before: int, after: int) -> Any:
    """The labels of the last ``before`` rows of a series, and of ``after`` more."""
    future = time.future(after, series)
    last = time.last[series]
    steps = np.arange(-before + 1, 1)
    offset = parse_freq(time.freq)
    if time.kind == "periods":
        return time.index_of(last + steps * offset.n).append(future)
    span = fixed_span(offset)
    unit = pd.Timedelta(np.timedelta64(1, time.unit))  # type: ignore[call-overload]
    if span is not None and not span % unit:
        return time.index_of(last + steps * (span // unit)).append(future)
    end = pd.DatetimeIndex(time.index_of(np.array([last])))
    # Business hours walk back from 10:00 to the evening before, not to 9:00, and on from there
    # alike: only the first stamp is another, so it is one too many.
    days = pd.date_range(end=end.tz_localize(None)[0], periods=before + 1, freq=offset)[1:]
    if time.tz is not None:
        first_time = np.ones(before, dtype=bool)
        days = days.tz_localize(time.tz, ambiguous=first_time, nonexistent="shift_forward")
    return days.append(future)


def _zone(time: TimeAxis) -> str:
    return f"in {time.tz}" if time.tz else "without time zone"
