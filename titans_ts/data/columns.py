"""Columns of numbers: read them as float64, and refuse what no forecast can be made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.frequency import plural
from titans_ts.data.time_column import looks_like_time
from titans_ts.errors import DataError

__all__ = ["column_words", "float_dtype", "refuse_not_finite", "to_float64"]

# What pandas calls object columns whose values are all numbers.
_NUMBERS = {"floating", "integer", "mixed-integer-float", "decimal", "empty"}


def float_dtype(dtype: Any) -> str:
    """Name the dtype that a forecast of such a column has: floats keep theirs."""
    if isinstance(dtype, pd.SparseDtype):
        dtype = dtype.subtype
    return str(dtype) if pd.api.types.is_float_dtype(dtype) else "float64"


def to_float64(column: pd.Series, words: str, where: Callable[[int], str]) -> np.ndarray:
    """Read a column of numbers.

    Parameters
    ----------
    column : Series
    words : str
        The column in words, such as ``"column 'OT'"``, for messages.
    where : callable
        Turns a row number into words.

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
        return column.where(column.notna(), np.nan).to_numpy(dtype=np.float64)
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
    if _is_text(dtype):
        raise _explain_text(column, words, where)
    raise DataError(
        f"Expected numbers in {words}, got {dtype} values. "
        "Drop it, or name the columns to forecast with target=."
    )


def _is_text(dtype: Any) -> bool:
    kinds = (pd.StringDtype, pd.CategoricalDtype)
    return isinstance(dtype, kinds) or pd.api.types.is_object_dtype(dtype)


def _explain_text(column: pd.Series, words: str, where: Callable[[int], str]) -> DataError:
    values = column.astype(object)
    numbers = pd.to_numeric(values.where(values.map(np.isscalar), "no number"), errors="coerce")
    bad = np.asarray(numbers.isna() & values.notna())
    if not bad.any():
        row = int(np.asarray(values.map(lambda value: isinstance(value, str))).argmax())
        return DataError(
            f"Expected numbers in {words}, got text that looks like numbers, the first "
            f"{values.iloc[row]!r} in {where(row)}. Convert it with pandas.to_numeric."
        )
    row = int(bad.argmax())
    if looks_like_time(values) and bad.all():
        return DataError(
            f"Expected numbers in {words}, got what look like time stamps, the first "
            f"{values.iloc[row]!r} in {where(row)}. Say that it holds the time with time_column=, "
            "or name the columns to forecast with target=."
        )
    what = "got only text" if bad.all() else f"got text in {plural(int(bad.sum()), 'row')}"
    return DataError(
        f"Expected numbers in {words}, {what}, the first {values.iloc[row]!r} in {where(row)}. "
        "Correct or drop it, or name the columns to forecast with target=."
    )


def refuse_not_finite(
    values: np.ndarray, column_words: Callable[[int], str], where: Callable[[int], str]
) -> None:
    """Raise DataError if there are missing or infinite values.

    Parameters
    ----------
    values : ndarray of shape (rows, columns)
    column_words, where : callable
        Turn a column number and a row number into words.
    """
    if np.isfinite(values).all():
        return
    missing = np.isnan(values)
    if missing.any():
        raise DataError(
            _count(missing, "missing value", "NaN", column_words, where)
            + ", expected none: missing values are not supported yet. Fill them, for example with "
            "X.interpolate(), or drop the columns."
        )
    raise DataError(
        _count(np.isinf(values), "infinite value", "inf", column_words, where)
        + ", expected finite numbers. Correct them or fill them in."
    )


def _count(
    bad: np.ndarray,
    noun: str,
    short: str,
    column_words: Callable[[int], str],
    where: Callable[[int], str],
) -> str:
    """Word how many values are bad, and where the first is."""
    counts = bad.sum(axis=0)
    column = int(np.argmax(counts > 0))
    row = int(bad[:, column].argmax())
    others = int((counts > 0).sum()) - 1
    also = f" ({plural(others, 'other column')} {_has(others)} some too)" if others else ""
    words = column_words(column)
    return (
        f"{words[0].upper()}{words[1:]} has {plural(int(counts[column]), noun)} ({short}), the "
        f"first in {where(row)}{also}"
    )


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def column_words(labels: Sequence[Any]) -> Callable[[int], str]:
    """Return what turns a column number into words: ``column 'OT'``."""
    return lambda number: "the series" if labels[number] is None else f"column {labels[number]!r}"
