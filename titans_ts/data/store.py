"""Row stores: where the rows of a set lie, in memory or in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

# Far places of a file that are read before it is mapped anew, which frees the pages read so far.
MOST_JUMPS = 512

__all__ = ["ArrayStore", "FileStore", "JoinedStore", "PlacedStore", "RowStore", "is_all_true"]


class RowStore(Protocol):
    """Rows of numbers, addressed by their position; values come out as float64.

    Where a value is not observed it comes out as 0.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        ...

    def take(
        self, rows: np.ndarray, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pick rows by number.

        Parameters
        ----------
        rows : ndarray of shape (batch, time), int
        columns : ndarray of shape (batch,), int, optional
            One column for each line of ``rows``. Default: all of them.

        Returns
        -------
        values : ndarray of shape (batch, time, columns), float64
        observed : ndarray of the same shape, bool
        """
        ...

    def windows(
        self, starts: np.ndarray, length: int, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pick stretches of ``length`` neighbouring rows, as :meth:`take` picks rows one by one.

        Parameters
        ----------
        starts : ndarray of shape (batch,), int
            The first row of each.
        length : int
        columns : ndarray of shape (batch,), int, optional

        Returns
        -------
        values : ndarray of shape (batch, length, columns), float64
        observed : ndarray of the same shape, bool
            Read-only where everything is observed: one True, broadcast.
        """
        ...

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``start`` to ``stop``: values and observed, each of shape (rows, columns)."""
        ...


@dataclass(frozen=True)
class ArrayStore:
    """Rows in memory.

    Parameters
    ----------
    values : ndarray of shape (rows, columns), float64
        0 where a value is missing.
    observed : ndarray of the same shape, bool
    """

    values: np.ndarray
    observed: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def take(
        self, rows: np.ndarray, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        pick = rows if columns is None else (rows[..., None], columns[:, None, None])
        return self.values[pick], self.observed[pick]

    def windows(
        self, starts: np.ndarray, length: int, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        values = _gather(self.values, starts, length, columns)
        if is_all_true(self.observed):
            return values, all_true(values.shape)
        return values, _gather(self.observed, starts, length, columns)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        return self.values[start:stop], self.observed[start:stop]

    def by_column(self) -> ArrayStore:
        """A copy in which a column's rows lie side by side: to pick windows of single columns.

        Where they lie a table's width apart, a window of a wide table is as many places in memory
        as it has rows. The mask is not copied where everything is observed.
        """
        observed = self.observed
        if not is_all_true(observed):
            observed = np.asfortranarray(observed)
        return ArrayStore(np.asfortranarray(self.values), observed)


def is_all_true(mask: np.ndarray) -> bool:
    """Whether a mask is known, without a look at its elements, to be True throughout."""
    if any(mask.strides) or not mask.size:
        return False
    return mask.dtype == bool and bool(mask[(0,) * mask.ndim])


def _gather(
    rows: np.ndarray, starts: np.ndarray, length: int, columns: np.ndarray | None
) -> np.ndarray:
    """Stretches of an array of shape (rows, columns), by one gather from a view of all of them."""
    if not len(starts) or not length:
        return np.empty((len(starts), length, rows.shape[1] if columns is None else 1), rows.dtype)
    down, across = rows.strides
    n, width = len(rows) - length + 1, rows.shape[1]
    if columns is None:
        return _view(rows, (n, length, width), (down, down, across))[starts]
    return _view(rows, (n, width, length), (down, across, down))[starts, columns][..., None]


def _view(
    rows: np.ndarray, shape: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray:
    """The elements of ``rows`` in another order, some of them in many places."""
    if rows.flags.c_contiguous:
        return np.ndarray(shape, rows.dtype, rows, 0, strides)
    if rows.flags.f_contiguous:
        return np.ndarray(shape, rows.dtype, rows.T, 0, strides)
    # Takes what lies anywhere, and as long as a whole small batch takes to gather.
    return as_strided(rows, shape, strides)


def all_true(shape: tuple[int, ...]) -> np.ndarray:
    """A mask that is True throughout and takes no memory; as ``numpy.broadcast_to``, but quick."""
    return np.ndarray(shape, np.bool_, b"\1", 0, (0,) * len(shape))


@dataclass(frozen=True)
class FileStore:
    """Rows of a file of plain numbers, C order; NaN where a value is missing.

    The file is mapped anew for every access: pages that were read count as this process's memory
    only while a mapping is open, so a pass over the file leaves nothing behind.

    Parameters
    ----------
    path : Path
    dtype : str
        Of the numbers in the file, such as ``"<f4"``.
    n_rows, n_columns : int
    skip : int, default 0
        Bytes before the first row.
    columns : tuple of int, optional
        The columns of the file that are columns here. Default: all.
    keeper : object, optional
        What removes the file when it is collected itself.
    """

    path: Path
    dtype: str
    n_rows: int
    n_columns: int
    skip: int = 0
    columns: tuple[int, ...] | None = None
    keeper: Any = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.n_columns if self.columns is None else len(self.columns)

    def take(
        self, rows: np.ndarray, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        flat = rows.reshape(-1)
        chosen = None if self.columns is None else np.asarray(self.columns)
        which = None
        if columns is not None:
            which = np.repeat(columns if chosen is None else chosen[columns], rows.shape[1])
        raw = np.empty((len(flat), self.shape[1] if which is None else 1), self.dtype)
        # The system maps the pages around each place that is read, too: 64 kB a jump.
        steps = np.diff(flat)
        jumps = np.flatnonzero((steps != 1) & (steps != 0))[MOST_JUMPS - 1 :: MOST_JUMPS] + 1
        for start, stop in pairwise([0, *jumps.tolist(), len(flat)]):
            part = slice(start, stop)
            if which is not None:
                raw[part, 0] = self._open()[flat[part], which[part]]
            else:
                found = self._open()[flat[part]]
                raw[part] = found if chosen is None else found[:, chosen]
        raw = raw.reshape(*rows.shape, raw.shape[1])
        return _observed(raw)

    def windows(
        self, starts: np.ndarray, length: int, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.take(starts[:, None] + np.arange(length), columns)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        block = self._open()[start:stop]
        return _observed(block if self.columns is None else block[:, list(self.columns)])

    def _open(self) -> np.memmap:
        return np.memmap(
            self.path, self.dtype, "r", offset=self.skip, shape=(self.n_rows, self.n_columns)
        )


def _observed(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.array(raw, dtype=np.float64)  # a copy, never a view of a mapping
    observed = ~np.isnan(values)
    values[~observed] = 0.0
    return values, observed


@dataclass(frozen=True)
class PlacedStore:
    """Stretches of another store's rows, one a series, numbered anew one after another.

    Stretches may overlap: series of one panel share the rows of a calendar.

    Parameters
    ----------
    store : RowStore
    lengths : ndarray of shape (n_series,), int
        Of the stretches.
    places : ndarray of shape (n_series,), int
        The first row of each in ``store``.
    """

    store: RowStore
    lengths: np.ndarray
    places: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.lengths.sum()), self.store.shape[1]

    def take(
        self, rows: np.ndarray, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        ends = np.cumsum(self.lengths)
        series = np.searchsorted(ends, rows, side="right")
        place = rows - (ends - self.lengths)[series] + self.places[series]
        return self.store.take(place, columns)

    def windows(
        self, starts: np.ndarray, length: int, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        ends = np.cumsum(self.lengths)
        series = np.searchsorted(ends, starts, side="right")
        if (starts + length > ends[series]).any():  # what stood in two places is no stretch there
            return self.take(starts[:, None] + np.arange(length), columns)
        place = starts - (ends - self.lengths)[series] + self.places[series]
        return self.store.windows(place, length, columns)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        values, observed = self.take(np.arange(start, stop)[None])
        return values[0], observed[0]


@dataclass(frozen=True)
class JoinedStore:
    """The columns of several stores with the same rows, side by side."""

    stores: tuple[RowStore, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.stores[0].shape[0], sum(store.shape[1] for store in self.stores)

    def take(
        self, rows: np.ndarray, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._side_by_side([store.take(rows) for store in self.stores], columns)

    def windows(
        self, starts: np.ndarray, length: int, columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [store.windows(starts, length) for store in self.stores]
        return self._side_by_side(parts, columns)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        parts = [store.read(start, stop) for store in self.stores]
        values, observed = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        return values, observed

    @staticmethod
    def _side_by_side(
        parts: list[tuple[np.ndarray, np.ndarray]], columns: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        values, observed = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        if columns is None:
            return values, observed
        pick = columns[:, None, None]
        return np.take_along_axis(values, pick, 2), np.take_along_axis(observed, pick, 2)
