"""Build a table like another one, with other rows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.frequency import parse_freq
from titans_ts.data.tables import build_table, polars_numbers
from titans_ts.data.time_column import lost_in_writing, write_time_column
from titans_ts.errors import DataError
from titans_ts.preprocessing.grid import Grid
from titans_ts.preprocessing.source import Source

__all__ = ["rebuild"]


def rebuild(
    source: Source,
    grid: Grid,
    values: np.ndarray,
    freq: str | None,
    *,
    carry: Sequence[Any],
    keep: Sequence[Any],
) -> Any:
    """Put values on a grid into a table like the one that they are from.

    Parameters
    ----------
    source : Source
    grid : Grid
        Its rows are those of the table in the panel's order; every series starts with one.
    values : ndarray of shape (n_rows, channels)
    freq : str or None
        Of the index, where the table is one series.
    carry : sequence
        Columns that take the value of the row before where there is none.
    keep : sequence
        All columns of the result, of the table's own. Those that hold no ids, no time, no values
        and are not carried are missing in new rows.

    Returns
    -------
    Series or DataFrame
        Series by series, oldest row first; same columns, index names and dtypes.

    Raises
    ------
    DataError
        The time column is written in a way that cannot tell the new times apart.
    """
    table, roles = source.table, source.roles
    assert table is not None
    assert roles is not None
    in_table = np.arange(table.n_rows) if source.order is None else source.order
    there, missing = in_table[grid.filled], grid.rows < 0
    new = source.columns(values)
    time = None if roles.time is None else table.labels[roles.time]
    ids = None if roles.ids is None else table.labels[roles.ids]

    columns: list[tuple[Any, Any]] = []
    for label in keep:
        if label in new:
            column: Any = new[label]
            if table.polars:
                column = polars_numbers(str(label), column)
        elif label == time and roles.time is not None:
            column = _written(grid.stamps, source, roles.time)
        else:
            gone = None if label == ids or label in carry else missing
            column = _take(source, label, there, gone)
        columns.append((label, column))
    return build_table(
        table.container, columns, _index(source, grid, freq, there), table.columns_name
    )


def _written(stamps: pd.Index, source: Source, position: int) -> pd.Series:
    """Times as the table's column of them holds times."""
    lost = lost_in_writing(stamps, source.time_form)
    if lost is None:
        return write_time_column(stamps, source.time_form)
    assert source.table is not None
    label, column = source.table.labels[position], source.table.columns[position]
    what = "days" if source.time_form == "dates" else f"times such as {column.iloc[0]!r}"
    raise DataError(
        f"Column {label!r} holds {what}, in which {lost} cannot be written. Convert it to time "
        "stamps before, for example with pandas.to_datetime, or give another freq=."
    )


def _take(source: Source, label: Any, rows: np.ndarray, missing: np.ndarray | None) -> Any:
    """Rows of a column, missing where told."""
    table = source.table
    assert table is not None
    if table.polars:
        column = nw.from_native(source.native, eager_only=True)[str(label)]
        taken = column[rows]
        if missing is None or not missing.any():
            return taken
        nothing = nw.new_series(taken.name, [None], taken.dtype, backend="polars")
        present = nw.new_series("present", ~missing, backend="polars")
        return taken.zip_with(present, nothing[np.zeros(len(rows), dtype=np.int64)])
    column = table.columns[table.labels.index(label)].reset_index(drop=True)
    if missing is None or not missing.any():
        return column.take(rows).reset_index(drop=True)
    return column.reindex(np.where(missing, -1, rows)).reset_index(drop=True)


def _index(source: Source, grid: Grid, freq: str | None, there: np.ndarray) -> pd.Index | None:
    table, roles = source.table, source.roles
    assert table is not None
    assert roles is not None
    if table.index is None or roles.time is not None:
        return None
    names = table.index.names
    if roles.levels:
        ids = table.index.get_level_values(0).take(there)
        return pd.MultiIndex.from_arrays([ids, grid.stamps], names=names)
    index = grid.stamps.rename(names[0])
    if isinstance(index, pd.DatetimeIndex) and len(grid.offsets) == 2 and freq is not None:
        # An hour that the clock skips moves a stamp: right, but then pandas knows no frequency.
        with contextlib.suppress(ValueError):
            index.freq = parse_freq(freq)  # type: ignore[misc]
    return index
