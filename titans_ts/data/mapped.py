"""Memory-mapped arrays, whose rows stay in their file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from titans_ts.data.columns import refuse_infinite, refuse_unseen
from titans_ts.data.store import FileStore

__all__ = ["check_store", "mapped_store"]

# Values that are looked at at a time: 8 MB as float64.
CHECK_VALUES = 1 << 20


def mapped_store(array: Any) -> FileStore | None:
    """The file behind a memory-mapped array, as rows; None if it cannot be read as such.

    Parameters
    ----------
    array : ndarray of shape (..., columns)
        A :class:`numpy.memmap` of float32 or float64, or a part of one, in C order.

    Examples
    --------
    >>> mapped_store(np.zeros((3, 2))) is None
    True
    """
    if not isinstance(array, np.memmap) or array.filename is None or array.ndim < 2:
        return None
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8) or not array.size:
        return None
    # Changes to a map in mode "c" are in memory only.
    if array.mode == "c" or not array.flags.c_contiguous:
        return None
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    # A part of a map still says the offset of the whole.
    skip = whole.offset + array.ctypes.data - whole.ctypes.data
    columns = array.shape[-1]
    return FileStore(
        Path(array.filename), array.dtype.str, array.size // columns, columns, skip=int(skip)
    )


def check_store(
    store: FileStore,
    column_words: Callable[[int], str],
    where: Callable[[int], str],
    *,
    later: bool = False,
) -> None:
    """Raise DataError for infinite values and for columns without any, some rows at a time.

    Parameters
    ----------
    store : FileStore
    column_words, where : callable
        Turn a column number and a row number into words.
    later : bool, default False
        Whether these are rows after those of ``fit``: a column may have no values then.
    """
    n_rows, n_columns = store.shape
    step = max(CHECK_VALUES // n_columns, 1)
    seen = np.zeros(n_columns, dtype=bool)
    for start in range(0, n_rows, step):
        values, observed = store.read(start, min(start + step, n_rows))
        seen |= observed.any(axis=0)
        refuse_infinite(list(values.T), column_words, partial(_shifted, where, start))
    refuse_unseen(seen, n_rows, column_words, later=later)


def _shifted(where: Callable[[int], str], start: int, row: int) -> str:
    return where(start + row)
