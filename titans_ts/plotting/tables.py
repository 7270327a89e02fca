"""Tables that are to be drawn: as named columns over one axis, for each of their series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.arrays import filled
from titans_ts.data.roles import as_list, find_roles
from titans_ts.data.rows import open_rows
from titans_ts.data.tables import Label, Table, open_table
from titans_ts.data.time_column import no_such_column, read_time_column
from titans_ts.errors import DataError

__all__ = ["Lines", "Source", "as_numbers", "open_source", "pick_series"]


@dataclass(frozen=True)
class Lines:
    """One series of a table, as named columns over one axis."""

    parameter: str  # what the caller calls the table
    index: pd.Index | None  # None: rows are counted
    columns: dict[str, pd.Series]
    n_rows: int

    def __getitem__(self, channel: str) -> np.ndarray:
        if channel not in self.columns:
            raise no_such_column(channel, list(self.columns), "channels", table=self.parameter)
        try:
            return self.columns[channel].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"Column {channel!r} of {self.parameter} holds something else than numbers "
                f"({error}), so it cannot be drawn. Name others with channels=."
            ) from error


@dataclass(frozen=True)
class Source:
    """A table that was opened; the lines of a series are taken out when they are asked for.

    Parameters
    ----------
    parameter : str
        What the caller calls the table.
    ids : tuple or None
        Of the series of a long table; None for one series.
    take : callable
        Gives the lines of series number ``i``.
    """

    parameter: str
    ids: tuple[Label, ...] | None
    take: Callable[[int], Lines]

    def lines(self, series: Label) -> Lines:
        """The lines of a series; of the only one where there are no ids."""
        if self.ids is None:
            return self.take(0)
        if series not in self.ids:
            listed = ", ".join(map(repr, self.ids[:5])) + (", ..." if len(self.ids) > 5 else "")
            raise DataError(
                f"{self.parameter} has no series {series!r}; it has {len(self.ids):,}: {listed}. "
                "Name others with series=."
            )
        return self.take(self.ids.index(series))


def open_source(
    table: Any, parameter: str, *, id_column: Label = None, time_column: Label = None
) -> Source:
    """Open an array, series or frame.

    Parameters
    ----------
    table : array of shape (time, channels), Series or DataFrame
    parameter : str
        What the caller calls it, for messages.
    id_column, time_column : str, optional
        As for a forecaster.

    Raises
    ------
    DataError
        It cannot be read, or an array has more axes.
    """
    opened = open_table(table, parameter)
    if opened is None:
        lines = _array_lines(table, parameter)
        return Source(parameter, None, lambda _: lines)
    roles = find_roles(opened, id_column=id_column, time_column=time_column, targets=False)
    taken = {roles.time, roles.ids}
    if not roles.long:
        index = opened.index
        if roles.time is not None:
            words = f"column {opened.labels[roles.time]!r} of {parameter}"
            index, _ = read_time_column(opened.columns[roles.time], words)
        lines = Lines(parameter, index, _named(opened, taken), _n_rows(opened))
        return Source(parameter, None, lambda _: lines)
    rows = open_rows(opened, roles)
    named = _named(opened, taken)

    def take(number: int) -> Lines:
        where = np.arange(rows.offsets[number], rows.offsets[number + 1])
        where = where if rows.order is None else rows.order[where]
        assert rows.index is not None
        columns = {name: column.iloc[where] for name, column in named.items()}
        return Lines(parameter, rows.index[where], columns, len(where))

    return Source(parameter, rows.ids, take)


def pick_series(history: Source, forecast: Source, series: Any, most: int) -> list[Label]:
    """Return ids of the series to draw; [None] for a table of one series.

    Parameters
    ----------
    history, forecast : Source
    series : id or list of ids, or None
        None takes the first of the forecast.
    most : int
        How many at most where none are named.

    Raises
    ------
    DataError
        Only one of the tables has ids; or series are named and there are none.
    """
    if (history.ids is None) != (forecast.ids is None):
        long, wide = (forecast, history) if history.ids is None else (history, forecast)
        raise DataError(
            f"{long.parameter} has the ids of series, but {wide.parameter} has none; expected "
            "tables of one kind, as fit and predict take and return them."
        )
    if forecast.ids is None:
        if series is not None:
            raise DataError(
                f"series={series!r} names a series, but history is one series without ids. Leave "
                "series out, or name the id column with id_column=."
            )
        return [None]
    if series is None:
        return list(forecast.ids[:most])
    names = as_list(series)
    if not names:
        raise DataError("series is empty, expected at least one series to draw.")
    return list(dict.fromkeys(names))


def as_numbers(table: Any, parameter: str) -> np.ndarray:
    """An array, series by series or not, as float64.

    Raises
    ------
    DataError
        It is something else than numbers.
    """
    try:
        if isinstance(table, np.ma.MaskedArray):
            return filled(table)
        return np.asarray(table, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{parameter} is a {type(table).__name__} that makes no array of numbers ({error}); "
            "expected an array of shape (time, channels), a Series or a DataFrame."
        ) from error


def _array_lines(table: Any, parameter: str) -> Lines:
    array = as_numbers(table, parameter)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(
            f"{parameter} has shape {array.shape}, expected (time, channels). Draw one series "
            "at a time, such as X[0]."
        )
    named = {str(i): pd.Series(column) for i, column in enumerate(array.T)}
    return Lines(parameter, None, named, len(array))


def _named(opened: Table, taken: set[int | None]) -> dict[str, pd.Series]:
    return {
        "0" if label in (None, "") else str(label): column
        for i, (label, column) in enumerate(zip(opened.labels, opened.columns, strict=True))
        if i not in taken
    }


def _n_rows(opened: Table) -> int:
    return len(opened.columns[0]) if opened.columns else 0
