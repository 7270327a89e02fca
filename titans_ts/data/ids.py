"""Ids of the series in a long table: read them, and write them as they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.data.frequency import plural
from titans_ts.data.tables import Label
from titans_ts.errors import DataError

__all__ = ["ID_NAMES", "IdColumn", "Ids", "read_ids", "refuse_alike"]

#: Columns that hold ids without being named with ``id_column=``.
ID_NAMES = ("unique_id", "item_id")


@dataclass(frozen=True)
class IdColumn:
    """Where and how a long table keeps its ids, without the ids.

    Parameters
    ----------
    label : str, int, float or None
        Name of the column, or of the index level.
    dtype : str
        As pandas or polars call it: ``"int64"``, ``"category"``; ``"Int64"``, ``"Enum"``.
    categories : tuple
        Of a pandas category or a polars Enum; empty for others.
    ordered : bool
        Whether a pandas category is.
    position : int or None
        How many target columns stand before the column; None if it is a level of the index.
    before_time : bool
        Whether the column stands before the time column.
    """

    label: Label
    dtype: str
    categories: tuple[Label, ...] = ()
    ordered: bool = False
    position: int | None = None
    before_time: bool = True

    def write(self, ids: Sequence[Label], rows: np.ndarray, *, polars: bool) -> Any:
        """Return the ids of rows, given which series each row is of.

        Parameters
        ----------
        ids : sequence
            One for each series.
        rows : ndarray of shape (rows,), int
        polars : bool

        Returns
        -------
        pandas or narwhals Series
        """
        if polars:
            dtype = nw.Enum(self.categories) if self.dtype == "Enum" else getattr(nw, self.dtype)()  # type: ignore[arg-type]
            each = nw.new_series(str(self.label), list(ids), dtype=dtype, backend="polars")
            return each[rows]
        if self.dtype == "category":
            values: Any = pd.Categorical(list(ids), list(self.categories), ordered=self.ordered)
        else:
            values = _array(list(ids), self.dtype)
        return (
            pd.Series(values, dtype=None if self.dtype != "object" else object)
            .take(rows)
            .reset_index(drop=True)
        )


def _array(ids: list[Label], dtype: str) -> Any:
    try:
        return pd.array(ids, dtype=dtype)  # type: ignore[call-overload]
    except TypeError:  # a dtype that cannot be told by its name, such as Arrow's dictionaries
        return pd.array(ids)


@dataclass(frozen=True)
class Ids:
    """Which series each row of a long table is of."""

    names: tuple[Label, ...]  # in order of first appearance
    codes: np.ndarray  # (rows,), int: number of the row's series


def read_ids(column: pd.Series, words: str) -> Ids:
    """Read a column of ids.

    Parameters
    ----------
    column : Series
        Of text, numbers or categories.
    words : str
        The column in words, such as ``"column 'unique_id'"``, for messages.

    Raises
    ------
    DataError
        An id is missing, or of a type that JSON does not keep.
    """
    try:
        codes, found = pd.factorize(column)
    except TypeError as error:  # lists, sets
        raise DataError(
            f"Expected ids of series in {words} as text or numbers, got {column.iloc[0]!r:.50} "
            f"({error}). Convert the column, for example with astype(str)."
        ) from error
    missing = codes < 0
    if missing.any():
        raise DataError(
            f"{words[0].upper()}{words[1:]} has {plural(int(missing.sum()), 'missing id')}, the "
            f"first in row {int(missing.argmax())}; expected "
            "the id of a series in every row. Fill it in, or drop these rows."
        )
    names = pd.Index(found).tolist()
    refuse_alike(names, words)
    for name in names:
        if isinstance(name, (str, int)) or (isinstance(name, float) and math.isfinite(name)):
            continue
        raise DataError(
            f"Expected ids of series in {words} as text or numbers, got {name!r} "
            f"({type(name).__name__}). Convert the column, for example with astype(str)."
        )
    return Ids(tuple(names), codes)


def refuse_alike(names: Sequence[Any], words: str) -> None:
    """Raise DataError for ids that a reader would take for the same; ``words`` as of read_ids."""
    if not any(isinstance(name, str) for name in names):
        return
    seen: dict[str, Any] = {}
    for name in names:
        other = seen.setdefault(str(name).strip(), name)
        if other is not name:
            raise DataError(
                f"{words[0].upper()}{words[1:]} has ids that differ only in their type or in "
                f"spaces, such as {other!r} and {name!r}; expected ids that are told apart. Bring "
                "them to one form, for example with astype(str).str.strip()."
            )


def id_column(
    column: pd.Series, label: Label, kind: str, position: int | None, before_time: bool
) -> IdColumn:
    """Describe a column of ids; ``kind`` is polars' name for its dtype, or empty."""
    dtype = column.dtype
    categories: tuple[Label, ...] = ()
    ordered = False
    if isinstance(dtype, pd.CategoricalDtype) and kind in ("", "Enum"):
        categories, ordered = tuple(dtype.categories.tolist()), bool(dtype.ordered)
    name = kind or ("category" if isinstance(dtype, pd.CategoricalDtype) else str(dtype))
    return IdColumn(label, name, categories, ordered, position, before_time)
