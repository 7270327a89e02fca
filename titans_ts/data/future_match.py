"""Which row of a table of the future is which step of which series, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from titans_ts.data.frequency import plural
from titans_ts.data.layout import Layout
from titans_ts.data.panel_time import refuse_repeated, sort_rows
from titans_ts.data.rows import Rows
from titans_ts.data.time_axis import labels_of, zone_name
from titans_ts.errors import DataError

__all__ = ["Match"]

# The X of predict may be another than that of fit, and then these rows are others too.
_ROWS = "make_future_dataframe(X), with the X that predict was given if any"

# How many missing rows, and how many series, a message names.
_STEPS, _SERIES = 3, 3


@dataclass(frozen=True)
class Match:
    """Rows of a table of the future, matched with the steps to forecast.

    Parameters
    ----------
    rows : Rows
        The table.
    layout : Layout
        Of the table that is continued.
    times : Index of length n_series * horizon, or None
        The steps to forecast, series after series; None where there is no time.
    found : ndarray of shape (n_series, horizon), int
        Row of the table for each step; -1 where there is none.
    series : ndarray of shape (rows,), int
        Number of each row's series; -1 for one that is not continued.
    labels : ndarray of shape (rows,), int
        Time of each row, as whole numbers.
    expected : ndarray of shape (n_series, horizon), int
        Time of each step, in the same numbers.
    """

    rows: Rows
    layout: Layout
    times: pd.Index | None
    found: np.ndarray
    series: np.ndarray
    labels: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, rows: Rows, layout: Layout, horizon: int) -> Match:
        """Match rows and steps; refuse what cannot be matched at all."""
        n_series = len(layout.ids) if layout.long else 1
        if layout.time is None:
            steps = np.arange(horizon)[None]
            n_rows = rows.table.n_rows
            found = np.where(steps < n_rows, steps, -1)
            zeros = np.zeros(n_rows, dtype=np.int64)
            return cls(rows, layout, None, found, zeros, np.arange(n_rows), steps)
        if rows.index is None or rows.place is None:
            raise DataError(
                "future has no time, expected "
                f"{'column' if layout.time_position is not None else 'index'} "
                f"{layout.time_label!r} like X. Take the rows of {_ROWS}."
            )
        index = rows.index
        kind, tz = _kind(rows)
        layout.time.check_kind(kind, tz, "future")
        if isinstance(index, pd.PeriodIndex) and index.freqstr != layout.time.freq:
            raise DataError(
                f"future holds periods of {index.freqstr!r}, expected {layout.time.freq!r} as in "
                f"X. Change them with asfreq({layout.time.freq!r})."
            )
        if rows.codes is None:
            zeros = np.zeros(len(index), dtype=np.int64)
            order, offsets = sort_rows(zeros, labels_of(index), 1)
            refuse_repeated(index, order, offsets, (), rows.place)
            series = zeros
        else:
            place = {(type(name), name): i for i, name in enumerate(layout.ids)}
            numbers = [place.get((type(name), name), -1) for name in rows.ids]
            series = np.array(numbers, dtype=np.int64)[rows.codes]
        times = layout.time.future_of_all(horizon)
        labels, expected = _same_unit(index, times)
        # Numbered jointly, so that series and time make one key.
        distinct, numbers_ = np.unique(np.concatenate([labels, expected]), return_inverse=True)
        keys = series * len(distinct) + numbers_[: len(labels)]
        keys[series < 0] = -1
        wanted = np.repeat(np.arange(n_series), horizon) * len(distinct) + numbers_[len(labels) :]
        by_key = np.argsort(keys, kind="stable")
        at = np.minimum(np.searchsorted(keys[by_key], wanted), len(keys) - 1)
        found = np.where(keys[by_key[at]] == wanted, by_key[at], -1)
        shape = n_series, horizon
        return cls(
            rows, layout, times, found.reshape(shape), series, labels, expected.reshape(shape)
        )

    def refuse_misaligned(self) -> None:
        """Raise DataError where a row within the horizon lies between two steps."""
        if self.times is None or self.layout.time is None:
            return
        mine = np.flatnonzero(self.series >= 0)
        series = self.series[mine]
        inside = (self.labels[mine] >= self.expected[series, 0]) & (
            self.labels[mine] <= self.expected[series, -1]
        )
        matched = np.zeros(len(self.series), dtype=bool)
        matched[self.found[self.found >= 0]] = True
        between = mine[inside & ~matched[mine]]
        if not len(between):
            return
        row = int(between[0])
        number = int(self.series[row])
        after = int(np.searchsorted(self.expected[number], self.labels[row]))
        step = self.times[number * self.expected.shape[1] + after]
        index = self.rows.index
        assert index is not None
        every = f"every {self.layout.time.freq}" if self.layout.time.freq else "for every step"
        raise DataError(
            f"future has {plural(len(between), 'row')} between two steps, the first in "
            f"{self.rows.where()(row)}; expected one {every}, the next at {step}. Take the rows of "
            f"{_ROWS}."
        )

    def refuse_missing(self) -> None:
        """Raise DataError where a step has no row."""
        lacking = self.found < 0
        count = int(lacking.sum())
        if not count:
            return
        n_series, horizon = self.found.shape
        if self.times is None:
            raise DataError(
                f"future has {plural(self.rows.table.n_rows, 'row')}, expected {horizon}: one for "
                "each step to forecast, the first directly after X."
            )
        help_ = (
            "make_future_dataframe(X) gives the rows that are needed, get_missing_future(future, "
            "X) those that are missing; leave X out where predict was given none."
        )
        if not self.layout.long:
            raise DataError(
                f"future lacks {count} of the {plural(horizon, 'step')} to forecast: "
                f"{self._steps(0, lacking[0])}. {help_}"
            )
        bad = np.flatnonzero(lacking.any(axis=1))
        named = [
            f"series {self.layout.ids[i]!r} {self._lacks(i, lacking[i])}" for i in bad[:_SERIES]
        ]
        others = len(bad) - len(named)
        if others:
            ids = ", ".join(repr(self.layout.ids[i]) for i in bad[_SERIES : _SERIES + 3])
            named.append(f"and {others:,} other series ({ids}{', ...' if others > 3 else ''})")
        strangers = ""
        if (self.series < 0).all():
            seen = ", ".join(map(repr, self.rows.ids[:3]))
            more = ", ..." if len(self.rows.ids) > 3 else ""
            strangers = f" None of its ids ({seen}{more}) is one of X's."
        raise DataError(
            f"future lacks {count:,} of the {n_series * horizon:,} rows to forecast "
            f"({horizon} for each series): {'; '.join(named)}.{strangers} {help_}"
        )

    def _lacks(self, series: int, lacking: np.ndarray) -> str:
        if lacking.all():
            return f"all of {self._steps(series, lacking)}"
        return f"at {self._steps(series, lacking)}"

    def _steps(self, series: int, lacking: np.ndarray) -> str:
        assert self.times is not None
        steps = np.flatnonzero(lacking)
        at = [str(self.times[series * len(lacking) + step]) for step in steps.tolist()]
        if len(at) <= _STEPS + 1:
            return ", ".join(at)
        return f"{', '.join(at[:_STEPS])}, ... {at[-1]}"


def _kind(rows: Rows) -> tuple[str, str | None]:
    index = rows.index
    if isinstance(index, pd.PeriodIndex):
        return "periods", None
    if not isinstance(index, pd.DatetimeIndex):
        return "integers", None
    assert rows.place is not None
    return "stamps", None if index.tz is None else zone_name(index, rows.place)


def _same_unit(index: pd.Index, times: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Both as whole numbers; stamps in the finer of the two units, so that none is rounded."""
    if isinstance(index, pd.DatetimeIndex) and isinstance(times, pd.DatetimeIndex):
        units = ["s", "ms", "us", "ns"]
        unit = max(index.unit, times.unit, key=units.index)
        index, times = index.as_unit(unit), times.as_unit(unit)
    return labels_of(index), labels_of(times)
