"""Row numbers: the index that a table left in a file, which is nothing to forecast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.errors import DataError

__all__ = ["UNNAMED", "counts_rows", "is_unnamed", "refuse_row_numbers"]

#: What pandas.DataFrame.to_csv leaves of an index without a name, as pandas.read_csv calls it.
UNNAMED = "Unnamed: 0"

# Further ones are of a file that was read and written again; polars calls such a column "".
_NAMES = re.compile(r"(Unnamed: \d+(\.\d+)?)?")


def is_unnamed(label: Any) -> bool:
    """Tell whether a column is called as readers of CSV call one without a name."""
    return isinstance(label, str) and _NAMES.fullmatch(label) is not None


def counts_rows(column: pd.Series) -> bool:
    """Tell whether a column holds 0, 1, 2, ... in all rows."""
    numbers = _whole_numbers(column)
    return numbers is not None and bool((numbers == np.arange(len(numbers))).all())


def refuse_row_numbers(labels: Sequence[Any], columns: Sequence[pd.Series], table: str) -> None:
    """Raise DataError for a column without a name that numbers rows.

    Parameters
    ----------
    labels, columns : sequence
        What would be forecast, because nobody said what to forecast.
    table : str
        What the user calls the table.
    """
    for label, column in zip(labels, columns, strict=True):
        if not is_unnamed(label):
            continue
        numbers = _whole_numbers(column)
        if numbers is None or len(numbers) < 2:
            continue
        steps = np.diff(numbers)
        # Growing with gaps: of rows that were selected before they were written. From 0 again: of
        # tables that were put below one another; a flag of 0 and 1 does not tell.
        again = ((steps == 1) | (numbers[1:] == 0)).all() and numbers[0] == 0 and numbers.max() > 1
        if not ((steps > 0).all() or again):
            continue
        shown = ", ".join(map(str, numbers[:3].tolist()))
        raise DataError(
            f"The column {label!r} of {table} holds {shown}{', ...' * (len(numbers) > 3)}: row "
            "numbers, as pandas.DataFrame.to_csv writes them. Drop it, as "
            "pandas.read_csv(path, index_col=0) does, or name the columns to forecast with target=."
        )


def _whole_numbers(column: pd.Series) -> np.ndarray | None:
    if not pd.api.types.is_integer_dtype(column.dtype) or column.hasnans:
        return None
    return column.to_numpy(dtype=np.int64)
