"""Open a table as a Panel, and put other values into the same table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.arrays import as_array
from titans_ts.data.columns import cast_column, column_words, float_dtype, to_float64
from titans_ts.data.ids import read_ids
from titans_ts.data.roles import Roles, as_list, find_roles, listed
from titans_ts.data.tables import Label, Table, open_table, polars_numbers
from titans_ts.data.time_axis import labels_of
from titans_ts.data.time_column import read_time_column
from titans_ts.errors import DataError
from titans_ts.preprocessing.panel import NAMELESS, Panel

__all__ = ["Source", "open_panel", "read_ids_of", "read_stamps"]


@dataclass(frozen=True)
class Source:
    """The table that a panel was opened from.

    Parameters
    ----------
    native : array, Series or DataFrame
    table : Table or None
        None for arrays.
    roles : Roles or None
        Positions of the columns that hold numbers, ids and time; None for arrays.
    order : ndarray of shape (rows,), int, or None
        The table's row of each row of the panel; None if they are the same.
    time_form : str
        How a time column is written; see :func:`titans_ts.data.time_column.read_time_column`.
    """

    native: Any
    table: Table | None
    roles: Roles | None
    order: np.ndarray | None = None
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
        if self.table is None or self.roles is None:
            array = self.native
            return values.reshape(array.shape).astype(float_dtype(array.dtype), copy=False)
        columns = self.columns(values)
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
            return polars_numbers(str(label), column).to_native()
        frame = nw.from_native(self.native, eager_only=True)
        return frame.with_columns(
            *(polars_numbers(str(k), v) for k, v in columns.items())
        ).to_native()

    def columns(self, values: np.ndarray) -> dict[Label, Any]:
        """Columns of numbers by their labels; floats keep their dtype, integers become float64."""
        assert self.table is not None
        assert self.roles is not None
        columns: dict[Label, Any] = {}
        for number, i in enumerate(self.roles.target):
            with np.errstate(over="ignore"):  # beyond float16, a value is infinite
                column = cast_column(values[:, number], float_dtype(self.table.columns[i].dtype))
            # Without an index, by which pandas would sort it into a frame.
            columns[self.table.labels[i]] = getattr(column, "array", column)
        return columns


def open_panel(
    X: Any,
    *,
    id_column: Label = None,
    time_column: Label = None,
    target: Label | Sequence[Label] = None,
    carry: Label | Sequence[Label] = None,
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
        The columns of numbers. Default: all but ids, time and ``carry``.
    carry : str or list of str, optional
        Columns of anything; such that the table lacks are for the caller to refuse.

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
    if not table.n_rows:
        raise DataError(f"X has no rows (its columns are {listed(table)}), expected some.")
    # Where no target is named, other roles keep columns from being one.
    others = [name for name in as_list(carry) if name in table.labels] if target is None else None
    roles = find_roles(
        table,
        time_column=time_column,
        target=target,
        id_column=id_column,
        past_covariates=others,
    )
    stamps, form = read_stamps(table, roles)
    codes, ids = read_ids_of(table, roles)
    order = _order(codes, stamps)

    words = column_words(table.labels)
    where = _row_words(None, stamps, codes, ids)
    values = np.empty((table.n_rows, len(roles.target)))
    for number, i in enumerate(roles.target):
        values[:, number] = to_float64(table.columns[i], words(i), where)
    ordered = _row_words(order, stamps, codes, ids)
    if order is not None:
        values, codes = values[order], codes[order]
        stamps = None if stamps is None else stamps[order]
    offsets = np.searchsorted(codes, np.arange(len(ids) + 1)).astype(np.int64)
    names = tuple("0" if table.labels[i] is None else str(table.labels[i]) for i in roles.target)
    panel = Panel(values, offsets, ids, names, stamps, ordered)
    panel.refuse_infinite()
    return panel, Source(X, table, roles, order, form)


def read_stamps(table: Table, roles: Roles) -> tuple[pd.Index | None, str]:
    """Time of each row, None where rows are only counted; and how it is written."""
    index, form = table.index, "index"
    words = "The index"
    if roles.time is not None:
        label = table.labels[roles.time]
        index, form = read_time_column(table.columns[roles.time], f"column {label!r}")
        words = f"Column {label!r}"
        if table.kinds and table.kinds[roles.time] == "Date":
            form = "dates"
    elif roles.levels and index is not None:
        index, words = index.get_level_values(1), "The second level of the index"
    elif index is None or isinstance(index, pd.RangeIndex):
        return None, form
    stamped = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    if not stamped and not pd.api.types.is_integer_dtype(index.dtype):
        return None, form
    missing = np.asarray(index.isna())
    if missing.any():
        raise DataError(
            f"{words} has {int(missing.sum()):,} missing time stamps (NaT), the first in row "
            f"{int(missing.argmax())}; expected one in every row. Drop these rows, or fill in the "
            "time."
        )
    return index, form


def read_ids_of(table: Table, roles: Roles) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Series of each row, shape (rows,), and what the series are called; one without ids."""
    if roles.levels and table.index is not None:
        column = pd.Series(table.index.get_level_values(0))
        ids = read_ids(column, "the first level of the index")
    elif roles.ids is not None:
        ids = read_ids(table.columns[roles.ids], f"column {table.labels[roles.ids]!r}")
    else:
        return np.zeros(table.n_rows, dtype=np.int64), NAMELESS
    return ids.codes, ids.names


def _order(codes: np.ndarray, stamps: pd.Index | None) -> np.ndarray | None:
    """Return the rows by series and time; None if they are so already."""
    order = np.lexsort((codes,) if stamps is None else (labels_of(stamps), codes))
    return None if (order[1:] > order[:-1]).all() else order


def _row_words(
    order: np.ndarray | None, stamps: pd.Index | None, codes: np.ndarray, ids: tuple[Any, ...]
) -> Callable[[int], str]:
    def where(row: int) -> str:
        at = row if order is None else int(order[row])
        told = [f"series {ids[codes[at]]!r}"] if len(ids) > 1 else []
        told += [] if stamps is None else [str(stamps[at])]
        return f"row {at} ({', '.join(told)})" if told else f"row {at}"

    # The stamps as the table has them: those of the panel are put in order.
    return where


# -- arrays --------------------------------------------------------------------------------------


def _open_array(X: Any, target: Any) -> tuple[Panel, Source]:
    array = as_array(X)
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
    ids = tuple(range(n_series)) if array.ndim == 3 else NAMELESS

    def where(row: int) -> str:
        return f"series {row // rows}, row {row % rows}" if array.ndim == 3 else f"row {row}"

    flat = array.reshape(-1, channels)
    if array.dtype.kind not in "fiu":
        columns = [to_float64(pd.Series(c), f"column {i}", where) for i, c in enumerate(flat.T)]
        flat = np.stack(columns, axis=1)
    values = np.ascontiguousarray(flat, dtype=np.float64)
    offsets = np.arange(n_series + 1, dtype=np.int64) * rows
    names = tuple(str(i) for i in range(channels))
    panel = Panel(values, offsets, ids, names, None, where)
    panel.refuse_infinite()
    return panel, Source(array, None, None)
