"""Columns of numbers: read them as float64, and refuse what no forecast can be made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.frequency import plural
from titans_ts.data.tables import may_be_text
from titans_ts.data.time_column import looks_like_time
from titans_ts.errors import DataError, DataTypeError

__all__ = [
    "cast_column",
    "column_words",
    "float_dtype",
    "is_number_like",
    "refuse_empty",
    "refuse_infinite",
    "refuse_unseen",
    "stack_columns",
    "to_float64",
]

# What pandas calls object columns whose values are all numbers.
_NUMBERS = {"floating", "integer", "mixed-integer-float", "decimal", "empty"}

# A number with a decimal comma, or with commas or points between thousands.
_COMMA = re.compile(r"[+-]?\d+([.,]\d+)*,\d+(\.\d+)?")

_OF_TARGETS = "Drop it, or name the columns to forecast with target="


def is_number_like(kind: str) -> bool:
    """Tell whether what ``pandas.api.types.infer_dtype`` found is numbers all through."""
    return kind in _NUMBERS


def float_dtype(dtype: Any) -> str:
    """Name the dtype that a forecast of such a column has: floats keep theirs."""
    if isinstance(dtype, pd.SparseDtype):
        dtype = dtype.subtype
    return str(dtype) if pd.api.types.is_float_dtype(dtype) else "float64"


def cast_column(values: np.ndarray, dtype: str) -> Any:
    """Turn float64 into a dtype that :func:`float_dtype` named; NaN is missing in all of them."""
    try:
        return values.astype(dtype)
    except TypeError:  # a dtype of pandas' own, such as Float32
        return pd.Series(values).astype(dtype)  # type: ignore[call-overload]


def to_float64(
    column: pd.Series, words: str, where: Callable[[int], str], *, advice: str = _OF_TARGETS
) -> np.ndarray:
    """Read a column of numbers.

    Parameters
    ----------
    column : Series
    words : str
        The column in words, such as ``"column 'OT'"``, for messages.
    where : callable
        Turns a row number into words.
    advice : str
        What to do about a column that holds no numbers.

    Returns
    -------
    ndarray of shape (rows,), float64
        NaN where a value is missing. May share memory with the column.

    Raises
    ------
    DataError
        The column holds something else than real numbers.
    """
    dtype = column.dtype
    kind = "boolean" if pd.api.types.is_bool_dtype(dtype) else ""
    if pd.api.types.is_object_dtype(dtype):
        kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in _NUMBERS:
        try:
            return column.where(column.notna(), np.nan).to_numpy(dtype=np.float64)
        except OverflowError:
            raise _too_large(column, words, where) from None
    if kind == "boolean":
        raise DataError(
            f"Expected numbers in {words}, got True and False. Convert it with "
            "astype(float), or name the columns to forecast with target=."
        )
    if kind == "complex" or pd.api.types.is_complex_dtype(dtype):
        raise DataError(
            f"Complex data not supported: expected real numbers in {words}, got {dtype}. "
            "Give real and imaginary part as two columns."
        )
    if pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if may_be_text(dtype):
        raise _explain_text(column, words, where)
    raise DataError(f"Expected numbers in {words}, got {dtype} values. {advice}.")


def _too_large(column: pd.Series, words: str, where: Callable[[int], str]) -> DataError:
    large = column.notna() & column.map(lambda value: abs(value) > sys.float_info.max)
    row = int(np.asarray(large).argmax())
    return DataError(
        f"Expected numbers in {words}, got one too large for 64 bits, the first in {where(row)}. "
        "Correct it, set it missing (NaN), or give the numbers in a larger unit."
    )


def _explain_text(column: pd.Series, words: str, where: Callable[[int], str]) -> DataError:
    values = column.astype(object)
    numbers = pd.to_numeric(values.where(values.map(np.isscalar), "no number"), errors="coerce")
    bad = np.asarray(numbers.isna() & values.notna())
    if not bad.any():
        return _explain_numbers(values, words, where)
    row = int(bad.argmax())
    odd = values.iloc[row]
    if not isinstance(odd, (str, bytes)):
        # On one line: an array's own words go over several.
        shown = " ".join(repr(odd).split())
        return DataTypeError(
            f"Expected numbers in {words}, got a {type(odd).__name__}, the first {shown:.50} in "
            f"{where(row)}. The argument must be free of strings, dicts and lists: numbers only."
        )
    if all(isinstance(text, str) and _COMMA.fullmatch(text.strip()) for text in values[bad]):
        return DataError(
            f"Expected numbers in {words}, got text with a comma in {plural(int(bad.sum()), 'row')}"
            f", the first {odd!r} in {where(row)}. Read the file with decimal=',', or where commas "
            "stand between thousands with thousands=','; or convert the column with str.replace."
        )
    if looks_like_time(values) and bad.all():
        return DataError(
            f"Expected numbers in {words}, got what look like time stamps, the first "
            f"{values.iloc[row]!r} in {where(row)}. Say that it holds the time with time_column=, "
            "or drop it."
        )
    what = "got only text" if bad.all() else f"got text in {plural(int(bad.sum()), 'row')}"
    return DataError(
        f"Expected numbers in {words}, {what}, the first {values.iloc[row]!r} in {where(row)}. "
        "Correct or drop it, or name the columns to forecast with target=."
    )


def _explain_numbers(values: pd.Series, words: str, where: Callable[[int], str]) -> DataError:
    """Word the error for values that are or look like numbers, but are not plain ones."""
    text = np.asarray(values.map(lambda value: isinstance(value, (str, bytes))))
    if text.any():
        row = int(text.argmax())
        return DataError(
            f"Expected numbers in {words}, got text that looks like numbers, the first "
            f"{values.iloc[row]!r} in {where(row)}. Convert it with pandas.to_numeric."
        )
    odd = np.asarray(values.map(lambda value: isinstance(value, (bool, np.bool_, complex))))
    if odd.any():
        row = int(odd.argmax())
        value = values.iloc[row]
        return DataError(
            f"Expected real numbers in {words}, got a {type(value).__name__} in "
            f"{plural(int(odd.sum()), 'row')}, the first {value!r} in {where(row)}. Correct it, or "
            "name the columns to forecast with target=."
        )
    return DataError(
        f"Expected numbers in {words}, got categories, the first {values.iloc[0]!r} in {where(0)}. "
        "Convert it with astype(float), or name the columns to forecast with target=."
    )


def stack_columns(
    columns: Sequence[np.ndarray], order: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Put columns side by side, and say which values are there.

    Parameters
    ----------
    columns : sequence of ndarray of shape (rows,), float64
        NaN where a value is missing. Left untouched.
    order : ndarray of shape (rows,) or None
        The rows in the order wanted; None as they are.

    Returns
    -------
    values : ndarray of shape (rows, columns)
        0 where a value is missing. One column that is complete and in order is not copied.
    observed : ndarray of the same shape, bool
    """
    missing = [np.isnan(column) for column in columns]
    complete = not any(mask.any() for mask in missing)
    shape = len(columns[0]), len(columns)
    if len(columns) == 1 and complete and order is None:
        return columns[0].reshape(shape), np.broadcast_to(np.True_, shape)
    values = np.empty(shape)
    for number, column in enumerate(columns):
        values[:, number] = column if order is None else column[order]
    if complete:  # one True, broadcast, costs no memory
        return values, np.broadcast_to(np.True_, shape)
    observed = np.empty(shape, dtype=bool)
    for number, mask in enumerate(missing):
        np.logical_not(mask if order is None else mask[order], out=observed[:, number])
    values[~observed] = 0.0
    return values, observed


def refuse_empty(
    columns: Sequence[np.ndarray], column_words: Callable[[int], str], *, later: bool = False
) -> None:
    """Raise DataError if a column to forecast holds not one value, as :func:`refuse_unseen`."""
    seen = [not np.isnan(column).all() for column in columns]
    refuse_unseen(seen, len(columns[0]), column_words, later=later)


def refuse_unseen(
    seen: Sequence[bool] | np.ndarray,
    n_rows: int,
    column_words: Callable[[int], str],
    *,
    later: bool = False,
) -> None:
    """Raise DataError if a column to forecast holds not one value.

    Parameters
    ----------
    seen : sequence of bool
        Whether a column has a value.
    n_rows : int
    column_words : callable
        Turns a column number into words.
    later : bool, default False
        Whether these are rows after those of ``fit``, of which it is enough if one column has
        values: a sensor that died is forecast from what ``fit`` saw of it.
    """
    if all(seen) or (later and any(seen)):
        return
    words = column_words(list(seen).index(False))
    help_ = "Drop it, or name the columns to forecast with target=."
    if later:
        help_ = "Give rows in which something was observed."
    raise DataError(
        f"{words[0].upper()}{words[1:]} has no values: all of its {plural(n_rows, 'row')} are "
        f"missing (NaN). {help_}"
    )


def refuse_infinite(
    columns: Sequence[np.ndarray], column_words: Callable[[int], str], where: Callable[[int], str]
) -> None:
    """Raise DataError if there are infinite values; missing ones are fine.

    Parameters
    ----------
    columns : sequence of ndarray of shape (rows,)
    column_words, where : callable
        Turn a column number and a row number into words.
    """
    counts = [int(np.isinf(column).sum()) for column in columns]
    if not any(counts):
        return
    number = int(np.argmax(np.array(counts) > 0))
    row = int(np.isinf(columns[number]).argmax())
    others = sum(count > 0 for count in counts) - 1
    also = f" ({plural(others, 'other column')} {_has(others)} some too)" if others else ""
    words = column_words(number)
    raise DataError(
        f"{words[0].upper()}{words[1:]} has {plural(counts[number], 'infinite value')} (inf), the "
        f"first in {where(row)}{also}, expected finite numbers. Correct them, or set them missing "
        "(NaN)."
    )


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def column_words(labels: Sequence[Any]) -> Callable[[int], str]:
    """Return what turns a column number into words: ``column 'OT'``."""
    return lambda number: "the series" if labels[number] is None else f"column {labels[number]!r}"
