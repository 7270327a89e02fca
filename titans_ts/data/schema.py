"""Read any table of series: check it, and take it apart into values and layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.data.arrays import read_array
from titans_ts.data.columns import (
    column_words,
    float_dtype,
    refuse_empty,
    refuse_infinite,
    stack_columns,
    to_float64,
)
from titans_ts.data.covariates import CovariateSchema
from titans_ts.data.layout import Layout
from titans_ts.data.parquet import ParquetFolder, read_parquet_folder
from titans_ts.data.read_covariates import read_covariates
from titans_ts.data.roles import Names, as_list, find_roles, listed
from titans_ts.data.rows import Rows, open_rows
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label, open_table
from titans_ts.errors import DataError

__all__ = ["Layout", "read_rows", "read_table"]


def read_table(
    X: Any,
    *,
    freq: str | None = None,
    time_column: Label = None,
    target: Names = None,
    id_column: Label = None,
    past_covariates: Names = None,
    future_covariates: Names = None,
    static_covariates: Names = None,
    schema: CovariateSchema | None = None,
    step: int | None = None,
    time_form: str = "index",
    part: bool = False,
) -> tuple[SeriesSet, Layout]:
    """Read a table of regularly spaced series.

    Parameters
    ----------
    X : array, Series or DataFrame
        An array of shape (time, channels) or (series, time, channels), or what becomes one; a
        Series; a frame of pandas or polars; or a :class:`titans_ts.ParquetFolder`, whose rows
        stay on disk.

        *Wide*: one column per channel; rows are regularly spaced, oldest first. A frame's time is
        its DatetimeIndex or PeriodIndex; or a time column; or else its index of integers. Without
        ``time_column``, the only column of time stamps is taken, or a column of text that is
        called date, ds, time, timestamp or datetime.

        *Long*: the rows of several series below one another, with a column of ids, or with a
        pandas index of two levels, id and time. Rows may come in any order: series are taken in
        the order in which their ids first appear, the rows of each by time. Series need not be
        equally long, but share one frequency; one of a row or two is fine beside longer ones.
        Integers in a column that is called like time (``ds``) count steps here.

        NaN, None and NA stand for missing values, as does the mask of a masked array.
    freq : str, optional
        A pandas frequency such as ``"15min"``; checked against the rows. Default: inferred, in a
        long table from the longest series. Arrays have no time, so it says nothing about them.
    time_column : str, optional
        Name of the time column. Arrays have none, so it says nothing about them.
    target : str or list of str, optional
        The columns to forecast, in this order. Default: all without another role.
    id_column : str, optional
        Name of the column that tells series apart. Default: ``unique_id`` or ``item_id``, where
        there is one. Arrays have none, so it says nothing about them.
    past_covariates, future_covariates, static_covariates : str or list of str, optional
        Columns that help to forecast: known up to now; known in advance; the same at all times of
        a series. Numbers, True and False, or categories (text).
    schema : CovariateSchema, optional
        What the covariates were in ``fit``. Default: learnt from X.
    step : int, optional
        How far apart integer labels were in ``fit``. Default: told from the rows.
    time_form : str, optional
        How the table of ``fit`` wrote its times, as its layout says: tried first on text.
    part : bool, default False
        Whether a frame is part of a larger one: all values of a target may be missing then.

    Returns
    -------
    series : SeriesSet
        Values in float64, with covariates beside; a C-contiguous float64 array without missing
        values is not copied.
    layout : Layout
        What the table looked like.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataError
        The table cannot be used. Not numbers (True and False neither) in a target; infinite
        values; a target without any value; time stamps with gaps, duplicates, out of order or
        irregular; no such column, or one with two roles; a covariate that is not what it was.

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

    A long table, of two series of unequal length:

    >>> long = pd.DataFrame({
    ...     "unique_id": ["a", "a", "a", "b", "b"],
    ...     "ds": index[[0, 1, 2, 0, 1]],
    ...     "y": [3.0, 1.0, 4.0, 1.0, 5.0],
    ... })
    >>> series, layout = read_table(long)
    >>> series.lengths.tolist(), layout.ids
    ([3, 2], ('a', 'b'))
    """
    roles: dict[str, Any] = {
        "freq": freq,
        "time_column": time_column,
        "target": target,
        "id_column": id_column,
        "past_covariates": past_covariates,
        "future_covariates": future_covariates,
        "static_covariates": static_covariates,
        "schema": schema,
        "step": step,
    }
    if isinstance(X, ParquetFolder):
        return read_parquet_folder(X, **roles)
    series, layout, _ = read_rows(X, time_form=time_form, part=part, **roles)
    return series, layout


def read_rows(
    X: Any,
    *,
    freq: str | None = None,
    time_column: Label = None,
    target: Names = None,
    id_column: Label = None,
    past_covariates: Names = None,
    future_covariates: Names = None,
    static_covariates: Names = None,
    schema: CovariateSchema | None = None,
    step: int | None = None,
    time_form: str = "index",
    part: bool = False,
) -> tuple[SeriesSet, Layout, np.ndarray | None]:
    """Read a table as :func:`read_table` does, and tell where its rows went.

    Returns
    -------
    series : SeriesSet
    layout : Layout
    order : ndarray of shape (rows,), int, or None
        Row ``i`` of ``series.values`` is row ``order[i]`` of X; None if they are in one order.
        For :func:`titans_ts.data.rewrite.replace_values`.
    """
    table = open_table(X)
    if table is None:
        _refuse_names(
            target=target,
            past_covariates=past_covariates,
            future_covariates=future_covariates,
            static_covariates=static_covariates,
        )
        return (*read_array(X, later=schema is not None), None)
    if not len(table.columns):
        raise DataError("X has no columns, expected at least one column of numbers.")
    if not table.n_rows:
        raise DataError(f"X has no rows (its columns are {listed(table)}), expected some.")
    roles = find_roles(
        table,
        time_column=time_column,
        target=target,
        id_column=id_column,
        past_covariates=past_covariates,
        future_covariates=future_covariates,
        static_covariates=static_covariates,
    )
    rows = open_rows(table, roles, time_form)
    axis = rows.time_axis(freq, step)
    labels = tuple(table.labels[i] for i in roles.target)
    values, observed = _read_targets(rows, part=part, later=schema is not None)
    unnamed = labels[0] in (None, "") and table.single
    layout = Layout(
        container=table.container,
        channels=("0",) if unnamed else tuple(map(str, labels)),
        labels=labels,
        dtypes=tuple(float_dtype(table.columns[i].dtype) for i in roles.target),
        named=not unnamed and all(isinstance(label, str) for label in labels),
        columns_name=table.columns_name,
        time=axis,
        time_label=rows.time_label(),
        time_position=None if roles.time is None else sum(i < roles.time for i in roles.target),
        time_form=rows.time_form,
        ids=rows.ids,
        id_column=rows.id_column(),
    )
    series = SeriesSet.from_rows(values, observed, rows.offsets, layout.channels)
    learnt, past, known, static = read_covariates(rows, schema)
    series = replace(series, past=past, known=known, static=static, ids=rows.ids or None)
    return series, replace(layout, covariates=learnt), rows.order


def _refuse_names(**named: Names) -> None:
    """Raise DataError where columns of an array are named."""
    for name, value in named.items():
        if value is not None and (name == "target" or as_list(value)):
            wanted = "the columns to forecast" if name == "target" else "the series"
            raise DataError(
                f"{name}={value!r} names columns, but X is an array without names. Give a "
                f"DataFrame, or only {wanted} and no {name}."
            )


def _read_targets(rows: Rows, *, part: bool, later: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values and observed of the targets, rows in order."""
    where = rows.where()
    table, target = rows.table, rows.roles.target
    words = column_words([table.labels[i] for i in target])
    columns = [to_float64(table.columns[i], words(n), where) for n, i in enumerate(target)]
    refuse_infinite(columns, words, where)
    if not part:
        refuse_empty(columns, words, later=later)
    return stack_columns(columns, rows.order)
