"""Open a table as a Panel, and put other values into the same table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.columns import column_words, float_dtype, to_float64
from titans_ts.data.ids import ID_NAMES, read_ids
from titans_ts.data.tables import Label, Table, open_table
from titans_ts.data.time_column import find_time_column, no_such_column, read_time_column
from titans_ts.errors import DataError
from titans_ts.preprocessing.panel import Panel, labels_of

__all__ = ["Source", "open_panel"]


@dataclass(frozen=True)
class Source:
    """The table that a panel was opened from.

    Parameters
    ----------
    native : array, Series or DataFrame
    table : Table or None
        None for arrays.
    channels : tuple of int
        Positions of the columns of numbers.
    order : ndarray of shape (rows,), int, or None
        The table's row of each row of the panel; None if they are the same.
    id_position, time_position : int or None
        Of the columns that hold ids and time.
    time_form : str
        How a time column is written; see :func:`titans_ts.data.time_column.read_time_column`.
    """

    native: Any
    table: Table | None
    channels: tuple[int, ...]
    order: np.ndarray | None = None
    id_position: int | None = None
    time_position: int | None = None
    time_form: str = "index"

    def put(self, values: np.ndarray) -> Any:
        """Return the same table with other values in its columns of numbers.

        Parameters
        ----------
        values : ndarray of shape (rows, channels), in the order of the panel

        Returns
        -------
        array, Series or DataFrame
            Row order, ids, index and other columns as they were. Floats keep their dtype,
            integers become float64.
        """
        if self.order is not None:
            values, ordered = np.empty_like(values), values
            values[self.order] = ordered
        if self.table is None:
            array = self.native
            return values.reshape(array.shape).astype(float_dtype(array.dtype), copy=False)
        columns = {
            self.table.labels[i]: _cast(values[:, n], float_dtype(self.table.columns[i].dtype))
            for n, i in enumerate(self.channels)
        }
        if self.table.container == "pandas.Series":
            (column,) = columns.values()
            return pd.Series(column, index=self.native.index, name=self.native.name)
        if self.table.container == "pandas.DataFrame":
            frame = self.native.copy(deep=False)
            for label, column in columns.items():
                frame[label] = column
            return frame
        if self.table.container == "polars.Series":
            ((label, column),) = columns.items()
            return _polars(str(label), column).to_native()
        frame = nw.from_native(self.native, eager_only=True)
        return frame.with_columns(*(_polars(str(k), v) for k, v in columns.items())).to_native()


def _cast(values: np.ndarray, dtype: str) -> Any:
    with np.errstate(over="ignore"):  # beyond float16, a value is infinite
        try:
            return values.astype(dtype)
        except TypeError:  # a dtype of pandas' own, such as Float32
            return pd.array(values, dtype=dtype)  # type: ignore[call-overload]


def _polars(name: str, values: Any) -> nw.Series:
    # What is missing is null in polars, where NaN is a number like others.
    return nw.new_series(name, np.asarray(values), backend="polars").fill_nan(None)


def open_panel(
    X: Any,
    *,
    id_column: Label = None,
    time_column: Label = None,
    target: Label | Sequence[Label] = None,
) -> tuple[Panel, Source]:
    """Open a table of series, whether its rows are regular in time or not.

    Parameters
    ----------
    X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
    id_column : str, optional
        The column that says which series a row is of. Default: ``unique_id`` or ``item_id`` where
        there is one; otherwise all rows are one series.
    time_column : str, optional
        Default: the index if it holds time, or else the column that looks like time.
    target : str or list of str, optional
        The columns of numbers. Default: all but ids and time.

    Raises
    ------
    DataError
        The table cannot be used; the message says where and what to do.
    """
    table = open_table(X)
    if table is None:
        return _open_array(X, target)
    if not table.columns:
        raise DataError(
            f"X has 0 feature(s) (shape=({len(X)}, 0)) while a minimum of 1 is required: "
            "expected at least one column of numbers."
        )
    if not len(table.columns[0]):
        raise DataError(f"X has no rows (its columns are {_listed(table)}), expected some.")
    id_position = _id_position(table, id_column)
    time_position = _time_position(table, time_column, id_position)
    channels = _channels(table, target, {id_position, time_position})
    stamps, form = _stamps(table, time_position)
    codes, ids = _ids(table, id_position)
    order = _order(codes, stamps)
    where = _row_words(table, order, stamps, codes, ids)

    words = column_words(table.labels)
    values = np.empty((len(codes), len(channels)))
    in_table = _row_words(table, None, stamps, codes, ids)
    for number, i in enumerate(channels):
        values[:, number] = to_float64(table.columns[i], words(i), in_table)
    if order is not None:
        values, codes = values[order], codes[order]
        stamps = None if stamps is None else stamps[order]
    offsets = np.searchsorted(codes, np.arange(len(ids) + 1))
    names = tuple("0" if table.labels[i] is None else str(table.labels[i]) for i in channels)
    panel = Panel(values, offsets.astype(np.int64), ids, names, stamps, where)
    panel.refuse_infinite()
    return panel, Source(X, table, channels, order, id_position, time_position, form)


def _listed(table: Table) -> str:
    return ", ".join(map(repr, table.labels))


def _id_position(table: Table, id_column: Label) -> int | None:
    if id_column is not None:
        if id_column not in table.labels:
            raise no_such_column(id_column, table.labels, "id_column")
        return table.labels.index(id_column)
    found = [i for i, label in enumerate(table.labels) if label in ID_NAMES]
    return found[0] if found and not table.container.endswith("Series") else None


def _time_position(table: Table, time_column: Label, id_position: int | None) -> int | None:
    if table.container.endswith("Series"):
        return None
    stamped = isinstance(table.index, (pd.DatetimeIndex, pd.PeriodIndex))
    if time_column is None:
        if stamped:
            return None
        others = [i for i in range(len(table.labels)) if i != id_position]
        found = find_time_column(
            [table.labels[i] for i in others], [table.columns[i] for i in others]
        )
        if found is not None or id_position is None:
            return None if found is None else others[found]
        # In a long table, a time column may also count.
        counted = [i for i in others if table.labels[i] in ("ds", "timestamp")]
        return counted[0] if counted else None
    if time_column in table.labels:
        return table.labels.index(time_column)
    if stamped and table.index is not None and table.index.name == time_column:
        return None
    raise no_such_column(time_column, table.labels, "time_column")


def _channels(table: Table, target: Any, taken: set[int | None]) -> tuple[int, ...]:
    if target is None:
        chosen = [i for i in range(len(table.labels)) if i not in taken]
        if not chosen:
            raise DataError(
                f"X has no column beside ids and time (its columns are {_listed(table)}), "
                "expected at least one column of numbers."
            )
        return tuple(chosen)
    wanted = list(target) if isinstance(target, (list, tuple, np.ndarray, pd.Index)) else [target]
    for name in wanted:
        if name not in table.labels:
            raise no_such_column(name, table.labels, "target")
    chosen = [table.labels.index(name) for name in wanted]
    if taken & set(chosen) or len(set(chosen)) < len(chosen) or not chosen:
        raise DataError(
            f"target={target!r} must name distinct columns of numbers, at least one and none that "
            f"holds ids or time; the columns of X are {_listed(table)}."
        )
    return tuple(chosen)


def _stamps(table: Table, position: int | None) -> tuple[pd.Index | None, str]:
    if position is not None:
        stamps, form = read_time_column(
            table.columns[position], f"column {table.labels[position]!r}"
        )
        words = f"Column {table.labels[position]!r}"
    else:
        index = table.index
        if index is None or not isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
            return None, "index"
        stamps, form, words = index, "index", "The index"
    missing = np.asarray(stamps.isna())
    if missing.any():
        raise DataError(
            f"{words} has {int(missing.sum()):,} missing time stamps (NaT), the first in row "
            f"{int(missing.argmax())}; expected one in every row. Drop these rows, or fill in the "
            "time."
        )
    return stamps, form


def _ids(table: Table, position: int | None) -> tuple[np.ndarray, tuple[Any, ...]]:
    if position is None:
        return np.zeros(len(table.columns[0]), dtype=np.int64), (0,)
    ids = read_ids(table.columns[position], f"column {table.labels[position]!r}")
    return ids.codes, ids.names


def _order(codes: np.ndarray, stamps: pd.Index | None) -> np.ndarray | None:
    """Return the rows by series and time; None if they are so already."""
    keys = (codes,) if stamps is None else (labels_of(stamps), codes)
    order = np.lexsort(keys)
    return None if (order[1:] > order[:-1]).all() else order


def _row_words(
    table: Table,
    order: np.ndarray | None,
    stamps: pd.Index | None,
    codes: np.ndarray,
    ids: tuple[Any, ...],
) -> Any:
    def where(row: int) -> str:
        at = row if order is None else int(order[row])
        time = "" if stamps is None else f" ({stamps[at]})"
        series = f" of series {ids[codes[at]]!r}" if len(ids) > 1 else ""
        return f"row {at}{time}{series}"

    return where


# -- arrays --------------------------------------------------------------------------------------


def _open_array(X: Any, target: Any) -> tuple[Panel, Source]:
    array = _as_array(X)
    if array.ndim not in (2, 3):
        help_ = " Reshape your data with X.reshape(-1, 1) for a single channel."
        raise DataError(
            "Expected X of shape (time, channels) or (series, time, channels), got shape "
            f"{array.shape}.{help_ if array.ndim == 1 else ''}"
        )
    if target is not None:
        raise DataError(
            f"target={target!r} names columns, but X is an array without names. Give a DataFrame, "
            "or leave target out."
        )
    rows, channels = array.shape[-2:]
    if not channels:
        raise DataError(
            f"X has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: "
            "expected at least one channel on the last axis."
        )
    if not array.size:
        raise DataError(f"X has no rows: its shape is {array.shape}. Expected some.")
    n_series = array.shape[0] if array.ndim == 3 else 1

    def where(row: int) -> str:
        return f"series {row // rows}, row {row % rows}" if array.ndim == 3 else f"row {row}"

    flat = array.reshape(-1, channels)
    if array.dtype.kind not in "fiu":
        columns = [to_float64(pd.Series(c), f"column {i}", where) for i, c in enumerate(flat.T)]
        flat = np.stack(columns, axis=1)
    values = np.ascontiguousarray(flat, dtype=np.float64)
    offsets = np.arange(n_series + 1, dtype=np.int64) * rows
    names = tuple(str(i) for i in range(channels))
    panel = Panel(values, offsets, tuple(range(n_series)), names, None, where)
    panel.refuse_infinite()
    return panel, Source(array, None, tuple(range(channels)))


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
    raise DataError(
        f"X is a {type(X).__name__}, expected an array, or a Series or DataFrame of pandas or "
        "polars."
    )
