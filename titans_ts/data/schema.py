"""Read any table of series: check it, and take it apart into values and layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.columns import column_words, float_dtype, refuse_not_finite, to_float64
from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label, Table, open_table, plain_label
from titans_ts.data.time_axis import Place, TimeAxis
from titans_ts.data.time_column import find_time_column, no_such_column, read_time_column
from titans_ts.errors import DataError

__all__ = ["Layout", "read_table"]


def read_table(
    X: Any,
    *,
    freq: str | None = None,
    time_column: Label = None,
    target: Label | Sequence[Label] = None,
) -> tuple[SeriesSet, Layout]:
    """Read a table of regularly spaced series.

    Parameters
    ----------
    X : array, Series or DataFrame
        An array of shape (time, channels) or (series, time, channels), or what becomes one; a
        Series; or a frame with one column per series, of pandas or polars. Rows are regularly
        spaced, oldest first. A frame's time is its DatetimeIndex or PeriodIndex; or a time column;
        or else its index of integers. Without ``time_column``, the only column of time stamps
        is taken, or a column of text that is called date, ds, time, timestamp or datetime.
    freq : str, optional
        A pandas frequency such as ``"15min"``; checked against the rows. Default: inferred.
        Arrays have no time, so it says nothing about them.
    time_column : str, optional
        Name of the time column. Arrays have none, so it says nothing about them.
    target : str or list of str, optional
        The columns to forecast, in this order. Default: all but the time column.

    Returns
    -------
    series : SeriesSet
        Values in float64; a C-contiguous float64 array is not copied.
    layout : Layout
        What the table looked like.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataError
        The table cannot be used. Not numbers (True and False neither), missing or infinite
        values; time stamps with gaps, duplicates, out of order or irregular; no such column.

    Examples
    --------
    >>> import pandas as pd
    >>> index = pd.date_range("2024-01-01", periods=5, freq="h", name="time")
    >>> frame = pd.DataFrame({"load": [3.0, 1.0, 4.0, 1.0, 5.0]}, index=index)
    >>> series, layout = read_table(frame)
    >>> series.values.shape, layout.channels, layout.freq
    ((5, 1), ('load',), 'h')
    >>> layout.forecast_table(series.values[None, :2])  # doctest: +NORMALIZE_WHITESPACE
                         load
    time
    2024-01-01 05:00:00   3.0
    2024-01-01 06:00:00   1.0
    """
    table = open_table(X)
    if table is None:
        return _read_array(X, target)
    if not len(table.columns):
        raise DataError("X has no columns, expected at least one column of numbers.")
    if not len(table.columns[0]):
        raise DataError(f"X has no rows (its columns are {_listed(table)}), expected some.")
    position = _time_position(table, time_column)
    chosen = _target_positions(table, target, position)
    axis, form, stamps = _read_time(table, position, freq)
    where = _row_words(stamps)
    values = np.empty((len(table.columns[0]), len(chosen)))
    labels = tuple(table.labels[i] for i in chosen)
    words = column_words(labels)
    for number, i in enumerate(chosen):
        values[:, number] = to_float64(table.columns[i], words(number), where)
    refuse_not_finite(values, words, where)
    unnamed = labels[0] in (None, "") and table.container.endswith("Series")
    layout = Layout(
        container=table.container,
        channels=("0",) if unnamed else tuple(map(str, labels)),
        labels=labels,
        dtypes=tuple(float_dtype(table.columns[i].dtype) for i in chosen),
        named=not unnamed and all(isinstance(label, str) for label in labels),
        columns_name=table.columns_name,
        time=axis,
        time_label=_time_label(table, position),
        time_position=None if position is None else sum(i < position for i in chosen),
        time_form=form,
    )
    return SeriesSet.from_arrays([values], layout.channels), layout


def _listed(table: Table) -> str:
    return ", ".join(map(repr, table.labels))


# -- time ----------------------------------------------------------------------------------------


def _time_position(table: Table, time_column: Label) -> int | None:
    """Return which column holds the time; None if the index does, or nothing."""
    index = table.index
    stamped = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    if table.container.endswith("Series"):
        return None
    if time_column is None:
        return None if stamped else find_time_column(table.labels, table.columns)
    if time_column in table.labels:
        return table.labels.index(time_column)
    # The same table with its time column set as index.
    if stamped and index is not None and index.name == time_column:
        return None
    raise no_such_column(time_column, table.labels, "time_column")


def _read_time(
    table: Table, position: int | None, freq: str | None
) -> tuple[TimeAxis | None, str, pd.Index | None]:
    """Return the time axis, how it is written, and the label of each row."""
    polars = table.container.startswith("polars")
    if position is not None:
        label = table.labels[position]
        sort = f"X.sort({label!r})" if polars else f"X.sort_values({label!r})"
        place = Place(f"column {label!r}", sort, _pivot(table, position), index=False)
        index, form = read_time_column(table.columns[position], place.words)
        return TimeAxis.from_index(index, freq, place), form, index
    if table.index is None:
        if freq is not None and not table.container.endswith("Series"):
            raise DataError(
                f"freq={freq!r} was given, but X has no time column: its columns are "
                f"{_listed(table)}. Name the time column with time_column=, or leave freq out."
            )
        return None, "index", None
    index = table.index
    _check_index_kind(index)
    words = "the index" if index.name is None else f"the index {index.name!r}"
    place = Place(words, "X.sort_index()", _pivot(table, None), index=True)
    return TimeAxis.from_index(index, freq, place), "index", index


def _check_index_kind(index: pd.Index) -> None:
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        return
    if isinstance(index, pd.MultiIndex):
        raise DataError(
            f"X has an index of {index.nlevels} levels, expected one level of time stamps. Give "
            "each series a column of its own, for example with X.unstack(), and join its names."
        )
    if pd.api.types.is_integer_dtype(index.dtype):
        return
    raise DataError(
        f"X has an index of {index.dtype} values, the first {index[:1].tolist()[0]!r}; expected "
        "time stamps, periods or integers. Convert it with X.index = pandas.to_datetime(X.index), "
        "or X.reset_index(drop=True) to count rows instead."
    )


def _pivot(table: Table, position: int | None) -> str:
    """Word the call that spreads a long table; its id is likely the first column of text."""
    others = [i for i in range(len(table.columns)) if i != position]
    ids = [i for i in others if not pd.api.types.is_numeric_dtype(table.columns[i].dtype)]
    numbers = [i for i in others if i not in ids]
    name = repr(table.labels[ids[0]]) if ids else "<id>"
    value = repr(table.labels[numbers[0]]) if numbers else "<value>"
    if table.container.startswith("polars"):
        time = table.labels[position] if position is not None else "<time>"
        return f"X.pivot({name}, index={time!r}, values={value})"
    time = f"index={table.labels[position]!r}, " if position is not None else ""
    return f"X.pivot({time}columns={name}, values={value})"


def _time_label(table: Table, position: int | None) -> Label:
    if position is not None:
        return table.labels[position]
    return plain_label(table.index.name) if table.index is not None else None


def _row_words(index: pd.Index | None) -> Callable[[int], str]:
    if index is None or isinstance(index, pd.RangeIndex):
        return lambda row: f"row {row}"
    return lambda row: f"row {row} ({index[row]})"


# -- columns -------------------------------------------------------------------------------------


def _target_positions(table: Table, target: Any, position: int | None) -> list[int]:
    """Return which columns to forecast."""
    if target is None:
        chosen = [i for i in range(len(table.labels)) if i != position]
        if not chosen:
            raise DataError(
                f"X has no column beside its time column {table.labels[position or 0]!r}, "
                "expected at least one column of numbers."
            )
        return chosen
    wanted = list(target) if isinstance(target, (list, tuple, np.ndarray, pd.Index)) else [target]
    if not wanted:
        raise DataError(
            f"target is empty, expected at least one column of X, which has {_listed(table)}."
        )
    chosen = []
    for name in wanted:
        if name not in table.labels:
            raise no_such_column(name, table.labels, "target")
        i = table.labels.index(name)
        if i == position:
            raise DataError(f"target={name!r} is the time column, expected a column of numbers.")
        if i in chosen:
            raise DataError(f"target names the column {name!r} twice, expected distinct names.")
        chosen.append(i)
    return chosen


# -- arrays --------------------------------------------------------------------------------------


def _read_array(X: Any, target: Any) -> tuple[SeriesSet, Layout]:
    array = _as_array(X)
    if array.ndim not in (2, 3):
        what = f"shape {array.shape}" if array.ndim else f"a single value, {X!r:.50}"
        # In scikit-learn's words where it has its own for this.
        help_ = "Reshape your data with X.reshape(-1, 1)" if array.ndim == 1 else "Reshape it"
        raise DataError(
            f"Expected X of shape (time, channels) or (series, time, channels), got {what}. "
            f"{help_}{' for a single channel' if array.ndim == 1 else ''}."
        )
    if target is not None:
        raise DataError(
            f"target={target!r} names columns, but X is an array without names. Give a DataFrame, "
            "or only the columns to forecast and no target."
        )
    *n, rows, channels = array.shape
    if not channels:
        raise DataError(
            f"X has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: "
            "expected at least one channel on the last axis."
        )
    if not array.size:
        raise DataError(f"X has no rows: its shape is {array.shape}. Expected some.")
    flat = array.reshape(-1, channels)
    several = array.ndim == 3
    names = tuple(str(i) for i in range(channels))

    def where(row: int) -> str:
        return f"series {row // rows}, row {row % rows}" if several else f"row {row}"

    if array.dtype.kind not in "fiu":
        columns = [to_float64(pd.Series(c), f"column {i}", where) for i, c in enumerate(flat.T)]
        flat = np.stack(columns, axis=1)
    values = np.ascontiguousarray(flat, dtype=np.float64)
    refuse_not_finite(values, lambda i: f"column {i}", where)
    series = SeriesSet.from_rows(
        values,
        # One True, broadcast, as in SeriesSet.from_arrays.
        np.broadcast_to(np.True_, values.shape),
        np.arange((n[0] if several else 1) + 1, dtype=np.int64) * rows,
        names,
    )
    layout = Layout(
        container=f"numpy{array.ndim}d",
        channels=names,
        labels=names,
        dtypes=(float_dtype(array.dtype),) * channels,
        named=False,
    )
    return series, layout


def _as_array(X: Any) -> np.ndarray:
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.asarray(X, dtype=np.float64).filled(np.nan)
    if hasattr(X, "toarray"):
        raise DataError(
            f"Sparse data not supported: X is a {type(X).__name__}, expected a dense array, "
            "Series or DataFrame. Give X.toarray()."
        )
    if isinstance(X, (list, tuple)) or hasattr(X, "__array__"):
        try:
            return np.asarray(X)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"X is a {type(X).__name__} that makes no array of shape (time, channels): {error}"
            ) from error
    hint = " Read a file first, for example with pandas.read_csv." if isinstance(X, str) else ""
    raise DataError(
        f"X is a {type(X).__name__}, expected an array, or a Series or DataFrame of pandas or "
        f"polars.{hint}"
    )
