"""Read arrays: series without names, and without time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.columns import (
    float_dtype,
    refuse_empty,
    refuse_infinite,
    stack_columns,
    to_float64,
)
from titans_ts.data.layout import Layout
from titans_ts.data.mapped import check_store, mapped_store
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import open_table
from titans_ts.errors import DataError

__all__ = ["as_array", "filled", "read_array"]


def read_array(X: Any, *, later: bool = False) -> tuple[SeriesSet, Layout]:
    """Read an array of shape (time, channels) or (series, time, channels), or what becomes one.

    Parameters
    ----------
    X : array-like
    later : bool, default False
        Whether these are rows after those of ``fit``: a column may have no values then.

    Returns
    -------
    series : SeriesSet
        A C-contiguous float64 array without NaN is not copied. The rows of a C-contiguous
        :class:`numpy.memmap` of float32 or float64 stay in its file.
    layout : Layout

    Raises
    ------
    DataError
        It is no such array, or holds infinities or something else than numbers.
    """
    array = as_array(X)
    if array.ndim not in (2, 3):
        what = f"shape {array.shape}" if array.ndim else f"a single value, {X!r:.50}"
        # In scikit-learn's words where it has its own for this.
        help_ = "Reshape your data with X.reshape(-1, 1)" if array.ndim == 1 else "Reshape it"
        raise DataError(
            f"Expected X of shape (time, channels) or (series, time, channels), got {what}. "
            f"{help_}{' for a single channel' if array.ndim == 1 else ''}."
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

    def words(number: int) -> str:
        return f"column {number}"

    n_series = n[0] if several else 1
    offsets = np.arange(n_series + 1, dtype=np.int64) * rows
    store = mapped_store(X)
    if store is not None:
        check_store(store, words, where, later=later)
        series = SeriesSet(store, offsets[:-1], np.diff(offsets), names)
        return _with_layout(series, array, several)
    if array.dtype.kind in "fiu":
        values = np.ascontiguousarray(flat, dtype=np.float64)
    else:
        parts = [to_float64(pd.Series(c), words(i), where) for i, c in enumerate(flat.T)]
        values = np.stack(parts, axis=1)
    observed = np.broadcast_to(np.True_, values.shape)
    if not np.isfinite(values).all():
        columns = list(values.T)
        refuse_infinite(columns, words, where)
        refuse_empty(columns, words, later=later)
        values, observed = stack_columns(columns, None)
    return _with_layout(SeriesSet.from_rows(values, observed, offsets, names), array, several)


def _with_layout(series: SeriesSet, array: np.ndarray, several: bool) -> tuple[SeriesSet, Layout]:
    layout = Layout(
        container=f"numpy{array.ndim}d",
        channels=series.channels,
        labels=series.channels,
        dtypes=(float_dtype(array.dtype),) * len(series.channels),
        named=False,
        ids=tuple(range(series.n_series)) if several else (),
    )
    return replace(series, ids=layout.ids or None), layout


def filled(masked: np.ma.MaskedArray, dtype: Any = np.float64) -> np.ndarray:
    """A masked array as an array, NaN where it is masked."""
    return np.ma.asarray(masked, dtype=dtype).filled(np.nan)


def as_array(X: Any) -> np.ndarray:
    """Make an array of what is no table: NaN where it is masked.

    Raises
    ------
    DataError
        It is a table of a library that is not read, or makes no array of one kind of values.
    """
    array = _converted(X)
    if array.dtype.names:
        raise DataError(
            f"X is an array of records with the fields {', '.join(map(repr, array.dtype.names))}, "
            "expected plain numbers. Give pandas.DataFrame(X)."
        )
    return array


def _converted(X: Any) -> np.ndarray:
    if isinstance(X, np.ma.MaskedArray) and not X.dtype.names:
        # Of objects where it is no array of numbers, so that the place of others can be named.
        number = X.dtype.kind in "fiu"
        return filled(X, np.float64 if number else object)
    if hasattr(X, "toarray"):
        raise DataError(
            f"Sparse data not supported: X is a {type(X).__name__}, expected a dense array, "
            "Series or DataFrame. Give X.toarray()."
        )
    if hasattr(X, "__arrow_c_stream__") or hasattr(X, "__dataframe__"):
        # As an array it would lose the names of its columns, ids among them.
        raise DataError(
            f"X is a {type(X).__name__} of {type(X).__module__.partition('.')[0]}, expected an "
            "array, or a Series or DataFrame of pandas or polars. Give X.to_pandas(), or "
            "polars.from_arrow(X)."
        )
    if isinstance(X, (list, tuple)) and any(open_table(part) is not None for part in X):
        raise DataError(
            f"X is a {type(X).__name__} of frames or Series, expected one table. Put them below "
            "one another with a column of ids, for example with pandas.concat(dict(a=..., b=...), "
            "names=['unique_id'])."
        )
    if isinstance(X, (list, tuple)) or hasattr(X, "__array__"):
        try:
            return np.asarray(X)
        except (ValueError, TypeError, RuntimeError) as error:
            raise DataError(
                f"X is a {type(X).__name__} that makes no array of shape (time, channels): "
                f"{' '.join(str(error).split()).rstrip('.')}."
            ) from error
    hint = " Read a file first, for example with pandas.read_csv." if isinstance(X, str) else ""
    raise DataError(
        f"X is a {type(X).__name__}, expected an array, or a Series or DataFrame of pandas or "
        f"polars.{hint}"
    )
