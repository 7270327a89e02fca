"""Future: the rows that a forecast is about, and the covariates that are known for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.columns import stack_columns
from titans_ts.data.covariates import labels_of, read_covariate
from titans_ts.data.frequency import plural
from titans_ts.data.layout import Layout
from titans_ts.data.panel_time import refuse_repeated, sort_rows
from titans_ts.data.roles import Names, find_roles
from titans_ts.data.rows import Rows, open_rows
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label, Table, open_table
from titans_ts.data.time_axis import labels_of as labels_of_index
from titans_ts.data.time_axis import zone_name
from titans_ts.errors import DataError

__all__ = ["future_frame", "missing_future", "read_future"]

# How many missing rows, and how many series, a message names.
_STEPS, _SERIES = 3, 3


def future_frame(layout: Layout, horizon: int) -> Any:
    """Return the rows that follow a table, with id and time and no values.

    Parameters
    ----------
    layout : Layout
    horizon : int
        Rows of each series.

    Returns
    -------
    DataFrame
        Of the library of the table: its id and time columns, or its index with no columns.

    Raises
    ------
    DataError
        The table has no time.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.data.schema import read_table
    >>> days = pd.date_range("2024-01-01", periods=3)
    >>> X = pd.DataFrame({"item_id": "a", "timestamp": days, "target": [3.0, 1.0, 4.0]})
    >>> future_frame(read_table(X)[1], 2)
      item_id  timestamp
    0       a 2024-01-04
    1       a 2024-01-05
    """
    if layout.container.startswith("numpy"):
        raise DataError(
            "Arrays have no time, so there is no table of their future. Give fit a DataFrame to "
            "use future covariates."
        )
    if layout.time is None:
        raise DataError(
            "X had no time column, so there is no table of its future. Give the future covariates "
            f"as a table of {plural(horizon, 'row')}, or fit with a time column."
        )
    return layout.assemble([], horizon)


def missing_future(
    future: Any,
    layout: Layout,
    horizon: int,
    *,
    time_column: Label = None,
    id_column: Label = None,
) -> Any:
    """Return the rows of :func:`future_frame` that a table of future covariates lacks.

    Parameters
    ----------
    future : DataFrame
    layout : Layout
    horizon : int
    time_column, id_column : str, optional
        As in :func:`titans_ts.data.schema.read_table`.

    Returns
    -------
    DataFrame
        Like :func:`future_frame`; without rows if nothing is missing.

    Raises
    ------
    DataError
        The table's ids or times cannot be used.
    """
    wanted = future_frame(layout, horizon)
    rows = _open_future(future, layout, time_column, id_column, None)
    lacking = _Match.of(rows, layout, horizon).found.reshape(-1) < 0
    if layout.container.startswith("polars"):
        return nw.from_native(wanted, eager_only=True).filter(lacking.tolist()).to_native()
    missing = wanted[lacking]
    return missing.reset_index(drop=True) if layout.time_position is not None else missing


def read_future(
    future: Any,
    layout: Layout,
    horizon: int,
    *,
    time_column: Label = None,
    id_column: Label = None,
    future_covariates: Names = None,
) -> SeriesSet:
    """Read the covariates that are known for the ``horizon`` steps after each series.

    Parameters
    ----------
    future : DataFrame
        Like the table of ``layout``, its rows in any order. Rows before or after these steps,
        rows of other series, and other columns may be there and are not looked at.
    layout : Layout
        Of the table whose continuation is forecast.
    horizon : int
    time_column, id_column, future_covariates : optional
        As in :func:`titans_ts.data.schema.read_table`; default: as in the table of ``layout``.

    Returns
    -------
    SeriesSet
        One series of ``horizon`` rows for each of the layout's, in its order; channels as in
        ``layout.covariates.known``. NaN is taken as not observed.

    Raises
    ------
    DataError
        Steps or series are missing (they are named), repeated, or between two steps; time of
        another kind; no such column; a category that ``fit`` has not seen; infinite values.
    """
    schema = layout.covariates
    names = [c.label for c in schema.known] if future_covariates is None else future_covariates
    rows = _open_future(future, layout, time_column, id_column, names)
    match = _Match.of(rows, layout, horizon)
    match.refuse_misaligned()
    match.refuse_missing()
    picked = match.found.reshape(-1)
    where = rows.where()
    expected = {covariate.label: covariate for covariate in schema.known}
    columns = []
    for i in rows.roles.known:
        label = rows.table.labels[i]
        part = rows.table.columns[i].iloc[picked].reset_index(drop=True)
        _, values = read_covariate(
            part, label, "known", lambda row: where(int(picked[row])), expected.get(label)
        )
        columns.append(values)
    values, observed = stack_columns(columns, None)
    offsets = np.arange(match.found.shape[0] + 1) * horizon
    series = SeriesSet.from_rows(values, observed, offsets, labels_of(schema.known))
    return replace(series, ids=layout.ids or None)


def _open_future(
    future: Any, layout: Layout, time_column: Label, id_column: Label, names: Names
) -> Rows:
    """Open the table of future covariates with the roles that the table of ``layout`` had."""
    table = open_table(future, "future")
    if table is None:
        raise DataError(
            f"future is a {type(future).__name__}, expected a DataFrame like X, with "
            "its time and the columns of future_covariates."
        )
    if not table.n_rows and not len(table.index if table.index is not None else ()):
        raise DataError("future has no rows, expected one for each step to forecast.")
    if isinstance(table.index, pd.MultiIndex):
        if not layout.long:
            raise DataError(
                f"future has an index of {table.index.nlevels} levels, but X is one series "
                "without an id. Give future the index of X."
            )
        id_column = time_column = None
    else:
        id_column = _known_name(table, id_column, layout.id_label)
        time_column = _known_name(table, time_column, layout.time_label)
    roles = find_roles(
        table,
        time_column=time_column,
        id_column=id_column,
        future_covariates=names,
        targets=False,
        recognise_ids=layout.long,
    )
    if layout.long and not roles.long:
        raise DataError(
            f"future has no ids of series: its columns are {', '.join(map(repr, table.labels))}. "
            f"Give it the ids of X in a column {layout.id_label or 'unique_id'!r}."
        )
    return open_rows(table, roles, layout.time_form)


def _known_name(table: Table, given: Label, of_layout: Label) -> Label:
    """Name a column as the caller says, or as the table of the layout had it."""
    if given is not None:
        return given
    return of_layout if of_layout in table.labels else None


@dataclass(frozen=True)
class _Match:
    """Which row of a future table is which step of which series."""

    rows: Rows
    layout: Layout
    times: pd.Index | None  # the steps to forecast, series after series
    found: np.ndarray  # (n_series, horizon), row of the future table; -1 where there is none
    series: np.ndarray  # (rows,), number of each row's series; -1 for one that X has not
    labels: np.ndarray  # (rows,), time of each row, as whole numbers
    expected: np.ndarray  # (n_series, horizon), time of each step, in the same numbers

    @classmethod
    def of(cls, rows: Rows, layout: Layout, horizon: int) -> _Match:
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
                f"{layout.time_label!r} like X. Take the rows of make_future_dataframe()."
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
            order, offsets = sort_rows(zeros, labels_of_index(index), 1)
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
            "make_future_dataframe()."
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
            "make_future_dataframe() gives the rows that are needed, get_missing_future(future) "
            "those that are missing."
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
    return labels_of_index(index), labels_of_index(times)
