"""Rows: a table whose columns have roles, and whose rows each have a series and a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from titans_ts.data.ids import IdColumn, id_column, read_ids
from titans_ts.data.panel_time import panel_axis, refuse_repeated, sort_rows
from titans_ts.data.roles import Roles
from titans_ts.data.tables import Label, Table, may_be_text, plain_label
from titans_ts.data.time_axis import Place, TimeAxis, labels_of, refuse_missing
from titans_ts.data.time_column import mixes_offsets, read_time_column
from titans_ts.errors import DataError

__all__ = ["Rows", "check_index_kind", "open_rows"]


@dataclass(frozen=True)
class Rows:
    """A table, and which row is when and of which series; not yet known to be regular.

    Parameters
    ----------
    table : Table
    roles : Roles
    index : Index or None
        Time of each row, as the table has them; None where it has no time.
    place : Place or None
        Where the time is kept, in words; None with ``index``.
    time_form : str
        How a time column writes times; see :func:`titans_ts.data.time_column.read_time_column`.
    ids : tuple
        Of the series of a long table, in order of first appearance; empty for a wide one.
    codes : ndarray of shape (rows,), int, or None
        Which series each row is of, as the table has them; None for a wide table.
    order : ndarray of shape (rows,) or None
        The rows series by series, oldest first; None if they are in order. A wide table is left
        in the order it has.
    offsets : ndarray of shape (n_series + 1,)
        Where each series starts among the ordered rows.
    """

    table: Table
    roles: Roles
    index: pd.Index | None
    place: Place | None
    time_form: str
    ids: tuple[Label, ...]
    codes: np.ndarray | None
    order: np.ndarray | None
    offsets: np.ndarray

    def time_axis(self, freq: str | None, step: int | None = None) -> TimeAxis | None:
        """Hold the time of all series against one frequency; None where there is no time.

        ``step`` is that of the integers that a forecaster was fitted on, if any.

        Raises
        ------
        ParameterError
            ``freq`` is no frequency.
        DataError
            Rows are not regularly spaced, or not as ``freq`` or ``step`` says.
        """
        if self.index is None or self.place is None:
            if freq is not None and not self.table.single:
                columns = ", ".join(map(repr, self.table.labels))
                raise DataError(
                    f"freq={freq!r} was given, but {self.table.name} has no time column: its "
                    f"columns are {columns}. Name the time column with time_column=, or leave "
                    "freq out."
                )
            return None
        if self.codes is None:
            return TimeAxis.from_index(self.index, freq, self.place, step)
        return panel_axis(self.index, self.order, self.offsets, self.ids, freq, self.place, step)

    def where(self) -> Callable[[int], str]:
        """Return what turns a row number of the table into words."""
        index, codes, ids = self.index, self.codes, self.ids
        if codes is not None and index is not None:
            return lambda row: f"row {row} (series {ids[codes[row]]!r}, {index[row]})"
        if index is None or isinstance(index, pd.RangeIndex):
            return lambda row: f"row {row}"
        return lambda row: f"row {row} ({index[row]})"

    def id_column(self) -> IdColumn | None:
        """Describe how the table keeps its ids; None for a wide table."""
        roles, table = self.roles, self.table
        if roles.levels:
            level = pd.Series(table.index.get_level_values(0)[:0])  # type: ignore[union-attr]
            return id_column(level, plain_label(table.index.names[0]), "", None, True)  # type: ignore[union-attr]
        if roles.ids is None:
            return None
        return id_column(
            table.columns[roles.ids],
            table.labels[roles.ids],
            table.kinds[roles.ids] if table.kinds else "",
            sum(i < roles.ids for i in roles.target),
            roles.time is None or roles.ids < roles.time,
        )

    def time_label(self) -> Label:
        """Name of the time column, or of the index or level that holds the time."""
        if self.roles.time is not None:
            return self.table.labels[self.roles.time]
        index = self.table.index
        return None if index is None else plain_label(index.names[-1])


def open_rows(table: Table, roles: Roles, time_form: str = "index") -> Rows:
    """Read ids and time of a table's rows, and put the rows of a long table in order.

    Parameters
    ----------
    table : Table
    roles : Roles
    time_form : str, optional
        How a table like this one wrote its time, to be tried first.

    Raises
    ------
    DataError
        An id or a time is missing or cannot be read, or a series has two rows of one time. The
        time of a wide table is looked at by :meth:`Rows.time_axis` only.
    """
    index, form, place = _read_time(table, roles, time_form)
    if not roles.long:
        offsets = np.array([0, table.n_rows], dtype=np.int64)
        return Rows(table, roles, index, place, form, (), None, None, offsets)
    assert index is not None
    assert place is not None
    if roles.levels:
        label = table.index.names[0]  # type: ignore[union-attr]
        words = "the first level of the index" if label is None else f"the index level {label!r}"
        ids = read_ids(pd.Series(table.index.get_level_values(0)), words)  # type: ignore[union-attr]
    else:
        assert roles.ids is not None
        ids = read_ids(table.columns[roles.ids], f"column {table.labels[roles.ids]!r}{_of(table)}")
    refuse_missing(index, place, lambda row: ids.names[ids.codes[row]])
    order, offsets = sort_rows(ids.codes, labels_of(index), len(ids.names))
    refuse_repeated(index, order, offsets, ids.names, place)
    return Rows(table, roles, index, place, form, ids.names, ids.codes, order, offsets)


def _read_time(
    table: Table, roles: Roles, time_form: str
) -> tuple[pd.Index | None, str, Place | None]:
    """Return the time of each row, how it is written, and where."""
    hint = _id_hint(table, roles.time)

    def several() -> str:
        return _stacked_by(table, roles)

    if roles.time is not None:
        label = table.labels[roles.time]
        sort = f"X.sort({label!r})" if table.polars else f"X.sort_values({label!r})"
        place = Place(f"column {label!r}{_of(table)}", sort, hint, False, several)
        times, form = read_time_column(table.columns[roles.time], place.words, time_form)
        _check_range(times, place.words)
        if table.kinds and table.kinds[roles.time] == "Date":
            form = "dates"
        return times, form, place
    if table.index is None:
        return None, "index", None
    index: pd.Index = table.index
    if roles.levels:
        name = index.names[1]
        words = "the second level of the index" if name is None else f"the index level {name!r}"
        index = index.get_level_values(1)
    else:
        words = "the index" if index.name is None else f"the index {index.name!r}"
    what = "the second level of its index" if roles.levels else "an index"
    check_index_kind(index, f"{table.name} has {what}")
    if roles.long and not roles.levels and pd.api.types.is_integer_dtype(index.dtype):
        raise DataError(
            f"{table.name} has the ids of series in column {table.labels[roles.ids or 0]!r}, but "
            "its index only numbers its rows. Name the time column with time_column=."
        )
    place = Place(f"{words}{_of(table)}", "X.sort_index()", hint, True, several)
    _check_range(index, place.words)
    if not isinstance(index.dtype, np.dtype):
        refuse_missing(index, place)
    return index, "index", place


def _of(table: Table) -> str:
    return "" if table.name == "X" else f" of {table.name}"


def _check_range(index: pd.Index, words: str) -> None:
    """Raise DataError for integers that do not fit into 64 bits with a sign."""
    if index.dtype == np.uint64 and len(index) and index.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"The labels in {words} go up to {index.max()}, expected at most 2**63 - 1. Number the "
            "rows anew."
        )


def check_index_kind(index: pd.Index, words: str) -> None:
    """Raise DataError for an index that says neither time nor place; ``words`` say whose it is."""
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        return
    if pd.api.types.is_integer_dtype(index.dtype):
        return
    # pandas wants to be told that stamps of several offsets shall become one zone.
    utc = ", utc=True" if mixes_offsets(index) else ""
    raise DataError(
        f"{words} of {index.dtype} values, the first "
        f"{index[:1].tolist()[0]!r}; expected time stamps, periods or integers. Convert it with "
        f"X.index = pandas.to_datetime(X.index{utc}), or X.reset_index(drop=True) to count rows "
        "instead."
    )


def _id_hint(table: Table, time: int | None) -> str:
    """Word how to name the ids; they are likely the first column of text."""
    others = [i for i in range(len(table.columns)) if i != time]
    ids = [i for i in others if not pd.api.types.is_numeric_dtype(table.columns[i].dtype)]
    return f"id_column={table.labels[ids[0]]!r}" if ids else "id_column='station'"


def _stacked_by(table: Table, roles: Roles) -> str:
    """Word that rows may be of several series, where a column of text has a block for each."""
    used = {roles.time, roles.ids, *roles.past, *roles.known, *roles.static}
    for i, column in enumerate(table.columns):
        if i in used or not may_be_text(column.dtype):
            continue
        codes = pd.factorize(column.astype(str))[0]
        blocks = 1 + int((np.diff(codes) != 0).sum())
        # Each value in one block only: a note or the weather comes and goes.
        if 1 < blocks == codes.max() + 1 and 3 * blocks <= len(codes):
            return (
                " If the rows are of several series, name the column that tells these apart, such "
                f"as id_column={table.labels[i]!r}."
            )
    return ""
