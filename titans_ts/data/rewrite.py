"""Rewrite: the table that was read, with other values in its target columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.columns import cast_column
from titans_ts.data.layout import Layout
from titans_ts.data.tables import Label, polars_numbers

__all__ = ["replace_values"]


def replace_values(
    X: Any,
    layout: Layout,
    values: np.ndarray,
    observed: np.ndarray | None = None,
    *,
    order: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """Return a table like X whose target columns hold ``values``.

    Rows, index, ids, time and all other columns are X's own, in the order that X has them.

    Parameters
    ----------
    X : array, Series or DataFrame
        As it was given to :func:`titans_ts.data.schema.read_rows`; left untouched.
    layout : Layout
        As read from X.
    values : ndarray of shape (rows, channels)
        In the order of the set that was read from X.
    observed : ndarray of the same shape, bool, optional
        Where False, the table comes out with a missing value: NaN, NA, or in polars null. Default:
        NaN among ``values`` says it.
    order : ndarray of shape (rows,), int, optional
        As read from X by :func:`titans_ts.data.schema.read_rows`.
    names : sequence of str, optional
        Names of the columns of ``values``, where they are others than the targets of X, or more
        of them: they stand where the first target stood. Default: the targets, each in its place.

    Returns
    -------
    ndarray, Series or DataFrame
        Floats keep their dtype, integers become float64; columns with new names are float64
        unless all targets had one dtype. A Series with several names becomes a frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.data.schema import read_rows
    >>> X = pd.DataFrame({"unique_id": ["b", "a", "b"], "ds": [2, 1, 1], "y": [3.0, None, 4.0]})
    >>> series, layout, order = read_rows(X)
    >>> series.values.ravel().tolist()
    [4.0, 3.0, 0.0]
    >>> replace_values(X, layout, 10 * series.values, series.observed, order=order)
      unique_id  ds     y
    0         b   2  30.0
    1         a   1   NaN
    2         b   1  40.0
    """
    values = np.asarray(values, dtype=np.float64)
    if observed is not None:
        values = np.where(observed, values, np.nan)
    if order is not None:
        unsorted = np.empty_like(values)
        unsorted[order] = values
        values = unsorted
    if layout.container.startswith("numpy"):
        shape = np.shape(X)[:-1]
        return values.astype(layout.dtypes[0], copy=False).reshape(*shape, values.shape[1])
    labels: Sequence[Label] = layout.labels if names is None else tuple(names)
    if names is None:
        dtypes: Sequence[str] = layout.dtypes
    else:
        same = len(set(layout.dtypes)) == 1
        dtypes = [layout.dtypes[0] if same else "float64"] * len(labels)
    columns = [cast_column(values[:, i], dtype) for i, dtype in enumerate(dtypes)]
    if layout.container.startswith("polars"):
        return _in_polars(X, layout, labels, columns)
    return _in_pandas(X, layout, labels, columns)


def _in_pandas(
    X: Any, layout: Layout, labels: Sequence[Label], columns: Sequence[Any]
) -> pd.Series | pd.DataFrame:
    parts = [pd.Series(column, name=label) for label, column in zip(labels, columns, strict=True)]
    parts = [part.set_axis(X.index) for part in parts]
    if isinstance(X, pd.Series):
        return parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)
    table = X.copy()
    if tuple(labels) == layout.labels:
        for label, part in zip(labels, parts, strict=True):
            table.isetitem(table.columns.get_loc(label), part)
        return table
    place = min(table.columns.get_loc(label) for label in layout.labels)
    table = table.drop(columns=list(layout.labels))
    for i, part in enumerate(parts):
        table.insert(place + i, part.name, part)
    return table


def _in_polars(X: Any, layout: Layout, labels: Sequence[Label], columns: Sequence[Any]) -> Any:
    new = [
        polars_numbers(str(label), column) for label, column in zip(labels, columns, strict=True)
    ]
    if layout.container == "polars.Series":
        return (
            new[0].to_native()
            if len(new) == 1
            else nw.from_dict({column.name: column for column in new}).to_native()
        )
    table = nw.from_native(X, eager_only=True)
    if tuple(labels) == layout.labels:
        return table.with_columns(*new).to_native()
    place = min(table.columns.index(str(label)) for label in layout.labels)
    kept = {name: table[name] for name in table.columns if name not in set(layout.labels)}
    names = list(kept)
    data = {name: kept[name] for name in names[:place]}
    data |= {column.name: column for column in new}
    data |= {name: kept[name] for name in names[place:]}
    return nw.from_dict(data).to_native()
