"""Future: the rows that a forecast is about, and the covariates that are known for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.columns import stack_columns
from titans_ts.data.covariates import labels_of, read_covariate
from titans_ts.data.frequency import plural
from titans_ts.data.future_match import Match
from titans_ts.data.layout import Layout
from titans_ts.data.roles import Names, find_roles
from titans_ts.data.rows import Rows, open_rows
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label, Table, open_table
from titans_ts.errors import DataError

__all__ = ["future_frame", "missing_future", "read_future"]


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
    lacking = Match.of(rows, layout, horizon).found.reshape(-1) < 0
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
    match = Match.of(rows, layout, horizon)
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
