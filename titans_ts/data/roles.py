"""Roles: which column of a table is the time, the id, a target, a covariate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.covariates import PARAMETERS
from titans_ts.data.ids import ID_NAMES
from titans_ts.data.row_numbers import refuse_row_numbers
from titans_ts.data.tables import Label, Table, plain_label
from titans_ts.data.time_column import (
    find_time_column,
    is_time_name,
    no_such_column,
    refuse_text_times,
    refuse_unread_time,
)
from titans_ts.errors import DataError

__all__ = ["Names", "Roles", "find_roles"]

#: How a caller names columns: one label or several.
Names = Label | Sequence[Label]


@dataclass(frozen=True)
class Roles:
    """Positions of a table's columns.

    Parameters
    ----------
    time : int or None
        None if the index holds the time, or nothing does.
    ids : int or None
        None if a level of the index holds them, or there are none.
    levels : bool
        Whether the index holds both, ids in its first level and time in its second.
    target : tuple of int
        The columns to forecast, in the order asked for.
    past, known, static : tuple of int
        Covariates, in the order asked for.
    """

    time: int | None
    ids: int | None
    levels: bool
    target: tuple[int, ...]
    past: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    static: tuple[int, ...] = ()

    @property
    def long(self) -> bool:
        """Whether rows of several series stand below one another."""
        return self.levels or self.ids is not None


def find_roles(
    table: Table,
    *,
    time_column: Label = None,
    target: Names = None,
    id_column: Label = None,
    past_covariates: Names = None,
    future_covariates: Names = None,
    static_covariates: Names = None,
    targets: bool = True,
    recognise_ids: bool = True,
) -> Roles:
    """Find the role of each column.

    Parameters
    ----------
    table : Table
    time_column, id_column : str, optional
        Default: recognised.
    target, past_covariates, future_covariates, static_covariates : str or list of str, optional
        Default: everything without another role is a target.
    targets : bool, default True
        Whether the table has targets at all; a table of future covariates needs none.

    recognise_ids : bool, default True
        Whether a column is taken for ids by its name.

    Raises
    ------
    DataError
        No such column; a column in two roles; several that could be the time. With ``targets``
        also: a column without a role that is likely the time, where none was found; row numbers
        among the columns that would be forecast.
    """
    ids, levels = _id_position(table, id_column, recognise_ids)
    time = _time_position(table, time_column, ids, levels)
    taken: dict[int, str] = {}
    if time is not None:
        taken[time] = "the time column"
    if ids is not None:
        taken[ids] = "the id column"
    roles = {}
    for role, names in (
        ("past", past_covariates),
        ("known", future_covariates),
        ("static", static_covariates),
    ):
        roles[role] = _positions(table, names, PARAMETERS[role], taken)
    stamped = isinstance(table.index, (pd.DatetimeIndex, pd.PeriodIndex))
    timeless = time is None and not levels and not stamped
    chosen = _target_positions(table, target, taken, timeless) if targets else ()
    if targets and timeless and not _counted(table):
        # Where no target was given, those that would be forecast too.
        others = [i for i in range(len(table.labels)) if i not in taken]
        refuse_text_times(*_named(table, others), table.name)
    if targets and target is None and not table.single:
        refuse_row_numbers(*_named(table, chosen), table.name)
    return Roles(time, ids, levels, chosen, **roles)


def _counted(table: Table) -> bool:
    """Tell whether somebody made a column of integers the index, to count by it."""
    index = table.index
    named = index is not None and index.name is not None
    return table.single or (named and pd.api.types.is_integer_dtype(index.dtype))  # type: ignore[union-attr]


def _named(table: Table, positions: Sequence[int]) -> tuple[list[Label], list[pd.Series]]:
    return [table.labels[i] for i in positions], [table.columns[i] for i in positions]


def listed(table: Table) -> str:
    """The columns of a table, for messages."""
    return ", ".join(map(repr, table.labels))


def as_list(names: Any) -> list[Any]:
    """Names as a list, also where one was given alone."""
    if names is None:
        return []
    if isinstance(names, (list, tuple, np.ndarray, pd.Index)):
        return [plain_label(name) for name in names]
    return [names]


def _id_position(table: Table, id_column: Label, recognise: bool) -> tuple[int | None, bool]:
    index = table.index
    if isinstance(index, pd.MultiIndex):
        _check_levels(table, index, id_column)
        return None, True
    if id_column is not None:
        if table.single or id_column not in table.labels:
            raise no_such_column(id_column, table.labels, "id_column", table=table.name)
        return table.labels.index(id_column), False
    found = [
        i
        for i, label in enumerate(table.labels)
        if label in ID_NAMES and recognise and not table.single
    ]
    if len(found) > 1:
        several = " and ".join(repr(table.labels[i]) for i in found)
        raise DataError(
            f"{several} could both be the ids of {table.name}. Say which with id_column=, or drop "
            "the other."
        )
    return (found[0] if found else None), False


def _check_levels(table: Table, index: pd.MultiIndex, id_column: Label) -> None:
    if index.nlevels != 2:
        raise DataError(
            f"{table.name} has an index of {index.nlevels} levels, expected two (id of the series, "
            "then time) or one level of time stamps. Join the names of the others to one id, or "
            "take them out with X.reset_index()."
        )
    stamped = [isinstance(level, (pd.DatetimeIndex, pd.PeriodIndex)) for level in index.levels]
    if stamped == [True, False]:
        raise DataError(
            f"{table.name} has an index of time and then id, expected the id of the series first "
            "and the time second. Swap them with X.swaplevel()."
        )
    if id_column is not None and id_column != index.names[0]:
        raise DataError(
            f"id_column={id_column!r} was given, but {table.name} has an index of two levels, of "
            f"which the first, {index.names[0]!r}, holds the ids. Leave id_column out, or give "
            "X.reset_index()."
        )


def _time_position(table: Table, time_column: Label, ids: int | None, levels: bool) -> int | None:
    """Return which column holds the time; None if the index does, or nothing."""
    index = table.index
    stamped = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    if table.single:
        return None
    if levels:
        if time_column is not None and time_column != index.names[1]:  # type: ignore[union-attr]
            raise DataError(
                f"time_column={time_column!r} was given, but {table.name} has an index of two "
                f"levels, of which the second, {index.names[1]!r}, holds the time. Leave "  # type: ignore[union-attr]
                "time_column out, or give X.reset_index()."
            )
        return None
    if time_column is None:
        if stamped:
            return None
        others = [i for i in range(len(table.labels)) if i != ids]
        found = find_time_column(
            [table.labels[i] for i in others], [table.columns[i] for i in others]
        )
        if found is None and ids is not None:
            # Steps that are counted: only beside ids, as a wide table may have such a channel.
            counted = [i for i in others if is_time_name(table.labels[i])]
            counted = [i for i in counted if pd.api.types.is_integer_dtype(table.columns[i].dtype)]
            if len(counted) == 1:
                return counted[0]
            labels = ", ".join(repr(table.labels[i]) for i in others) or "none"
            raise DataError(
                f"{table.name} has the ids of series in column {table.labels[ids]!r}, but no time: "
                f"its other columns are {labels}. Name the time column with time_column=."
            )
        return None if found is None else others[found]
    if time_column in table.labels:
        position = table.labels.index(time_column)
        if position == ids:
            raise DataError(
                f"The column {time_column!r} cannot be both the id column and the time column. "
                "Name another with time_column= or id_column=."
            )
        return position
    # The same table with its time column set as index.
    if stamped and index is not None and index.name == time_column:
        return None
    raise no_such_column(time_column, table.labels, "time_column", table=table.name)


def _positions(table: Table, names: Any, parameter: str, taken: dict[int, str]) -> tuple[int, ...]:
    """Find the columns of one parameter, and note that they are taken."""
    chosen = []
    for name in as_list(names):
        if name not in table.labels:
            raise no_such_column(name, table.labels, parameter, table=table.name)
        i = table.labels.index(name)
        if i in chosen:
            raise DataError(
                f"{parameter} names the column {name!r} twice, expected distinct names."
            )
        if i in taken:
            raise DataError(
                f"{parameter}={name!r} is {taken[i]}, expected a column without another role. "
                "Name each column in one parameter only."
            )
        chosen.append(i)
    for i in chosen:
        taken[i] = f"named in {parameter}"
    return tuple(chosen)


def _target_positions(
    table: Table, target: Any, taken: dict[int, str], timeless: bool
) -> tuple[int, ...]:
    """Return which columns to forecast; ``timeless`` tells that no time was found."""
    if target is None:
        if timeless:
            refuse_unread_time(table.labels, table.columns, table.name)
        chosen = tuple(i for i in range(len(table.labels)) if i not in taken)
        if not chosen:
            beside = " and ".join(
                f"{words} {table.labels[i]!r}"
                if words.startswith("the ")
                else repr(table.labels[i])
                for i, words in taken.items()
            ).replace("the ", "its ")
            raise DataError(
                f"{table.name} has no column beside {beside}, expected at least one column of "
                "numbers."
            )
        return chosen
    if not as_list(target):
        raise DataError(
            f"target is empty, expected at least one column of X, which has {listed(table)}."
        )
    return _positions(table, target, "target", taken)
