"""What Parquet files look like as a table: roles of their columns, and the layout.

Both are told from a small frame, with the code that reads frames: the first rows for the roles, and
rows with the stamps of the longest series for the frequency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.ids import ID_NAMES, refuse_alike
from titans_ts.data.layout import Layout
from titans_ts.data.parquet.files import ParquetFiles
from titans_ts.data.parquet.scan import Census, RowScan
from titans_ts.data.parquet.time import Clock
from titans_ts.data.roles import Roles, find_roles
from titans_ts.data.rows import check_index_kind
from titans_ts.data.tables import Label, open_table
from titans_ts.data.time_axis import TimeAxis
from titans_ts.data.time_column import find_time_column, is_time_name, write_time_column
from titans_ts.errors import DataError

__all__ = ["Columns", "find_columns", "find_layout"]

HEAD_ROWS = 1000
# The frequency is told from so many series, the longest, and so many rows of each.
LONGEST, SAMPLE_ROWS = 16, 2000


@dataclass(frozen=True)
class Columns:
    """The files' columns by role, by their names in the files.

    Parameters
    ----------
    head : DataFrame
        The first rows, as pandas reads them.
    roles : Roles
        Positions in ``head``.
    ids, time : str or None
    target, past, known, static : tuple of str
    labels : Mapping
        What pandas calls each of them.
    """

    head: pd.DataFrame
    roles: Roles
    ids: str | None
    time: str | None
    target: tuple[str, ...]
    past: tuple[str, ...]
    known: tuple[str, ...]
    static: tuple[str, ...]
    labels: Mapping[str, Label]

    @property
    def covariates(self) -> tuple[str, ...]:
        """All covariates."""
        return self.past + self.known + self.static

    def first_times(self) -> pd.Series | None:
        """The time of the first rows, where there is one."""
        if self.time is None:
            return None
        if self.roles.time is not None:
            return self.head.iloc[:, self.roles.time]
        return pd.Series(self.head.index.get_level_values(-1))

    def is_category(self, name: str) -> bool:
        """Whether pandas reads a column as categories, which may be numbers."""
        return isinstance(self.head[self.labels[name]].dtype, pd.CategoricalDtype)


def find_columns(files: ParquetFiles, names: Mapping[str, Any]) -> Columns:
    """Find the role of each column; ``names`` as :func:`titans_ts.data.roles.find_roles` takes.

    Raises
    ------
    DataError
        The files have no rows; no such column, or one with two roles.
    """
    listed = ", ".join(map(repr, files.schema.names))
    if not files.n_rows:
        raise DataError(f"The Parquet files have no rows (their columns are {listed}).")
    head = files.frame(HEAD_ROWS)
    noted = (files.schema.pandas_metadata or {}).get("index_columns", [])
    index = [name for name in noted if isinstance(name, str) and name in files.schema.names]
    own = [name for name in files.schema.names if name not in index]
    if not isinstance(head.index, (pd.DatetimeIndex, pd.PeriodIndex, pd.MultiIndex)):
        meaning = _meaning_of_index(head, names) if index else "rows"
        if meaning == "rows":
            head, index = head.set_index(pd.RangeIndex(len(head), name=head.index.name)), []
        elif meaning == "column":
            if names.get("time_column") is None and _is_counted(head.index):
                names = {**names, "time_column": head.index.name}
            head, own, index = head.reset_index(), [*index, *own], []
    table = open_table(head)
    assert table is not None
    if not own:
        raise DataError(f"The Parquet files have no column beside their index {listed}.")
    roles = find_roles(table, **names)
    time = own[roles.time] if roles.time is not None else (index[-1] if index else None)
    ids = own[roles.ids] if roles.ids is not None else (index[0] if roles.levels else None)
    return Columns(
        head=head,
        roles=roles,
        ids=ids,
        time=time,
        labels=dict(zip(own, table.labels, strict=True)),
        **{
            role: tuple(own[i] for i in getattr(roles, role))
            for role in ("target", "past", "known", "static")
        },
    )


def _meaning_of_index(head: pd.DataFrame, names: Mapping[str, Any]) -> str:
    """Say what an index of one level without time stamps is.

    Returns
    -------
    {"rows", "column", "time"}
        Row numbers, which say nothing across files, or which a frame with a time column has
        beside it; a column that was made the index; or labels of rows that follow one another.
    """
    if head.index.name is None:
        check_index_kind(head.index, "The Parquet files have an index")
        return "rows"
    if names.get("time_column") is not None or not _is_counted(head.index):
        return "column"
    labels = list(head.columns)
    long = names.get("id_column") is not None or any(label in ID_NAMES for label in labels)
    timed = find_time_column(labels, [head.iloc[:, i] for i in range(len(labels))]) is not None
    if timed or (long and any(map(is_time_name, labels))):
        return "rows"
    return "column" if long else "time"


def _is_counted(index: pd.Index) -> bool:
    return pd.api.types.is_integer_dtype(index.dtype)


def find_layout(
    files: ParquetFiles,
    columns: Columns,
    clock: Clock,
    census: Census,
    freq: str | None,
    fitted_step: int | None,
) -> Layout:
    """Return the layout of the whole table, but for its covariates.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataError
        The longest series are not regular, or not as ``freq`` or ``fitted_step`` says; targets
        are not numbers.
    """
    from titans_ts.data.schema import read_table

    ids = () if census.ids is None else tuple(census.ids.to_pylist())
    refuse_alike(ids, f"column {columns.ids!r} of the Parquet files")
    series = np.argsort(-census.counts, kind="stable")[:LONGEST]
    stamps = _stamps(files, columns, clock, census, series)
    sample = _sample(columns, clock, census, series, stamps)
    labels = [columns.labels[name] for name in columns.target]
    in_column = columns.roles.time is not None
    _, layout = read_table(
        sample,
        freq=freq,
        step=fitted_step,
        time_column=columns.labels[columns.time] if in_column and columns.time else None,
        target=labels,
        id_column=None if columns.roles.ids is None else columns.labels[columns.ids or ""],
    )
    time = layout.time
    if time is not None and clock.name is None:  # rows that are only numbered
        time = replace(time, last=(files.n_rows - 1,))
    elif time is not None:
        time = replace(
            time, first=_ends(census.first, clock, time), last=_ends(census.last, clock, time)
        )
    id_column = layout.id_column
    if id_column is not None and id_column.dtype == "category":
        id_column = replace(id_column, categories=ids)
    return replace(layout, time=time, ids=ids, id_column=id_column)


def _ends(stamps: np.ndarray, clock: Clock, time: TimeAxis) -> tuple[int, ...]:
    if clock.kind == "stamps" and clock.unit != time.unit:
        stamps = stamps.view(f"M8[{clock.unit}]").astype(f"M8[{time.unit}]").astype(np.int64)
    return tuple(stamps.tolist())


def _stamps(
    files: ParquetFiles, columns: Columns, clock: Clock, census: Census, series: np.ndarray
) -> list[np.ndarray]:
    """The first stamps of some series."""
    sizes = np.minimum(census.counts[series], SAMPLE_ROWS)
    if census.steps is not None and census.steps[0] != census.steps[1] and clock.name is not None:
        found: list[list[np.ndarray]] = [[] for _ in series]
        # The steps differ: months, or a gap somewhere. Only reading tells.
        for rows, which in _rows_of(files, columns, clock, series):
            for number in np.unique(which):
                found[number].append(rows[which == number])
            if all(sum(map(len, f)) >= n for f, n in zip(found, sizes, strict=True)):
                break
        return [np.concatenate(f)[:n] for f, n in zip(found, sizes, strict=True)]
    step = census.steps[0] if census.steps is not None else 1
    starts = census.first[series]
    return [start + step * np.arange(n) for start, n in zip(starts, sizes, strict=True)]


def _rows_of(
    files: ParquetFiles, columns: Columns, clock: Clock, series: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    by_number = np.argsort(series)
    for group in RowScan(files, columns.ids, clock).groups():
        at = np.searchsorted(series, group.series, sorter=by_number).clip(max=len(series) - 1)
        which = by_number[at]
        wanted = series[which] == group.series
        if wanted.any():
            yield group.stamps[wanted], which[wanted]


def _sample(
    columns: Columns, clock: Clock, census: Census, series: np.ndarray, stamps: list[np.ndarray]
) -> pd.DataFrame:
    """A frame like the head, with stamps and ids of whole series and numbers that do not matter."""
    head, roles = columns.head, columns.roles
    sizes = [len(part) for part in stamps]
    n = sum(sizes)
    frame = head.reset_index(drop=True).iloc[np.arange(n) % len(head)]
    frame.index = pd.RangeIndex(n, name=head.index.name)
    for i in roles.target:
        # The first rows may all be missing.
        if pd.api.types.is_numeric_dtype(frame.dtypes.iloc[i]):
            frame.isetitem(i, pd.Series(1, index=frame.index, dtype=frame.dtypes.iloc[i]))
    keep = list(roles.target)
    ids = pd.Series(dtype=object)
    if census.ids is not None:
        ids = census.ids.take(_int_array(np.repeat(series, sizes))).to_pandas()
    if roles.ids is not None:
        like = head.dtypes.iloc[roles.ids]
        category = isinstance(like, pd.CategoricalDtype)
        frame.isetitem(roles.ids, ids.astype("category" if category else like).array)
        keep.append(roles.ids)
    if clock.name is not None:
        index = clock.index(np.concatenate(stamps))
        if roles.time is not None:
            times = _times(index, clock, head.dtypes.iloc[roles.time])
            frame.isetitem(roles.time, times.array)
            keep.append(roles.time)
        elif roles.levels:
            frame.index = pd.MultiIndex.from_arrays([ids, index], names=head.index.names)
        else:
            like = head.index.dtype if clock.kind == "integers" else index.dtype
            frame.index = index.astype(like).rename(head.index.name)
    return frame.iloc[:, sorted(keep)]


def _times(index: pd.Index, clock: Clock, dtype: Any) -> pd.Series:
    """Stamps as a column of this dtype holds them."""
    if clock.kind == "integers":
        # Those of the first rows would be all the categories that there are.
        category = isinstance(dtype, pd.CategoricalDtype)
        return pd.Series(index).astype("category" if category else dtype)
    return write_time_column(
        index, clock.text or ("dates" if pd.api.types.is_object_dtype(dtype) else "index")
    )


def _int_array(values: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.array(values)
