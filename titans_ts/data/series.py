"""SeriesSet: any table of series as rows in a store, and which of them belong to which series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from titans_ts.data.store import ArrayStore, JoinedStore, PlacedStore, RowStore

__all__ = ["Block", "SeriesSet"]

# Values that are looked at at a time where all are passed over: 8 MB as float64.
BLOCK_VALUES = 1 << 20


class Block(NamedTuple):
    """Neighbouring rows of one or several series of a set."""

    series: np.ndarray  # (n,), numbers of the series
    offsets: np.ndarray  # (n + 1,), the block's rows of each
    values: np.ndarray  # (rows, channels)
    observed: np.ndarray  # same shape, bool


@dataclass(frozen=True)
class SeriesSet:
    """Series of possibly unequal length.

    The form that every table takes inside the library: what a table looked like (its container,
    time stamps, ids) is kept by :class:`titans_ts.data.schema.Layout`, not here. Parts of a set
    (:meth:`head`, :meth:`tail`) share its rows and cost nothing.

    Parameters
    ----------
    store : RowStore
        In the data's own units.
    starts, lengths : ndarray of shape (n_series,), int64
        Series ``i`` is the rows from ``starts[i]`` on, ``lengths[i]`` of them.
    channels : tuple of str
        Column names.
    past : SeriesSet, optional
        Covariates that are known up to now only: as many series, of the same lengths. A
        categorical covariate holds codes 0, 1, ...
    known : SeriesSet, optional
        Covariates that are known in advance; its series start with those here, and may be longer.
    static : ndarray of shape (n_series, n_static), float64, optional
        Covariates that do not change with time; NaN where missing.
    ids : tuple, optional
        What each series is called.
    """

    store: RowStore
    starts: np.ndarray
    lengths: np.ndarray
    channels: tuple[str, ...]
    past: SeriesSet | None = None
    known: SeriesSet | None = None
    static: np.ndarray | None = None
    ids: tuple[Any, ...] | None = None

    @classmethod
    def from_arrays(cls, arrays: list[np.ndarray], channels: tuple[str, ...]) -> SeriesSet:
        """Join fully observed ``(time, channels)`` arrays into one set."""
        values = np.concatenate(arrays) if len(arrays) != 1 else arrays[0]
        offsets = np.cumsum([0, *(len(array) for array in arrays)])
        # One True, broadcast: a mask of a fully observed set costs no memory.
        return cls.from_rows(values, np.broadcast_to(np.True_, values.shape), offsets, channels)

    @classmethod
    def from_rows(
        cls,
        values: np.ndarray,
        observed: np.ndarray,
        offsets: np.ndarray,
        channels: tuple[str, ...],
    ) -> SeriesSet:
        """Make a set of series that lie one after another in one array.

        Parameters
        ----------
        values : ndarray of shape (rows, channels)
            0 where a value is missing. A C-contiguous float64 array is not copied.
        observed : ndarray of the same shape, bool
        offsets : ndarray of shape (n_series + 1,)
            Series ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
        channels : tuple of str
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        store = ArrayStore(np.ascontiguousarray(values, dtype=np.float64), observed)
        return cls(store, offsets[:-1], np.diff(offsets), channels)

    @property
    def n_series(self) -> int:
        return len(self.starts)

    @property
    def offsets(self) -> np.ndarray:
        """Where each series starts in :attr:`values`, and its end; shape (n_series + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def values(self) -> np.ndarray:
        """All rows, one series after another, shape (rows, channels); 0 where not observed.

        No copy where the set lies in memory in one piece; a copy of everything elsewhere.
        """
        return self._rows()[0]

    @property
    def observed(self) -> np.ndarray:
        """Which of :attr:`values` were observed; same shape, bool."""
        return self._rows()[1]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the values of each series, shape (time, channels), as views where possible."""
        for start, length in zip(self.starts, self.lengths, strict=True):
            yield self.store.read(int(start), int(start + length))[0]

    def blocks(self, max_rows: int | None = None) -> Iterator[Block]:
        """Pass over all rows, at most ``max_rows`` at a time; long series come in pieces.

        Default: as many as make some megabytes.
        """
        if max_rows is None:
            max_rows = max(BLOCK_VALUES // max(len(self.channels), 1), 1)
        first = 0
        while first < self.n_series:
            if self.lengths[first] > max_rows:
                start, length = int(self.starts[first]), int(self.lengths[first])
                for at in range(0, length, max_rows):
                    rows = self.store.read(start + at, start + min(at + max_rows, length))
                    yield Block(np.array([first]), np.array([0, len(rows[0])]), *rows)
                first += 1
                continue
            ends = np.cumsum(self.lengths[first:])
            last = first + int(np.searchsorted(ends, max_rows, side="right"))
            part = self.select(np.arange(first, last))
            yield Block(np.arange(first, last), part.offsets, *part._rows())
            first = last

    def select(self, series: np.ndarray) -> SeriesSet:
        """The series with these numbers, in this order."""
        return replace(
            self,
            starts=self.starts[series],
            lengths=self.lengths[series],
            past=None if self.past is None else self.past.select(series),
            known=None if self.known is None else self.known.select(series),
            static=None if self.static is None else self.static[series],
            ids=None if self.ids is None else tuple(self.ids[i] for i in series),
        )

    def rows(self, starts: np.ndarray, stops: np.ndarray) -> SeriesSet:
        """Keep rows ``starts[i]:stops[i]`` of each series ``i`` (counted from its own first row).

        Covariates known beyond a series' end are kept where its last row is.
        """
        known = self.known
        if known is not None:
            beyond = np.where(stops == self.lengths, known.lengths - self.lengths, 0)
            known = known.rows(starts, stops + beyond)
        return replace(
            self,
            starts=self.starts + starts,
            lengths=stops - starts,
            past=None if self.past is None else self.past.rows(starts, stops),
            known=known,
        )

    def head(self, lengths: np.ndarray) -> SeriesSet:
        """The first ``lengths[i]`` rows of each series."""
        return self.rows(np.zeros_like(self.lengths), np.minimum(lengths, self.lengths))

    def tail(self, lengths: np.ndarray) -> SeriesSet:
        """The last ``lengths[i]`` rows of each series."""
        return self.rows(self.lengths - np.minimum(lengths, self.lengths), self.lengths)

    def copy(self) -> SeriesSet:
        """Return a set in memory that shares none with this one."""
        shape = int(self.lengths.sum()), len(self.channels)
        values, observed, at = np.empty(shape), np.empty(shape, dtype=bool), 0
        for block in self.blocks():  # the row numbers of all take more memory than the rows
            here = slice(at, at := at + len(block.values))
            values[here], observed[here] = block.values, block.observed
        mine = SeriesSet.from_rows(values, observed, self.offsets, self.channels)
        return replace(
            self,
            store=mine.store,
            starts=mine.starts,
            past=None if self.past is None else self.past.copy(),
            known=None if self.known is None else self.known.copy(),
            static=None if self.static is None else self.static.copy(),
        )

    def beside(self, other: SeriesSet) -> SeriesSet:
        """Each series with the columns of the same series of ``other`` beside its own.

        Rows are matched from the first on; rows that only one of them has are left out.
        """
        lengths = np.minimum(self.lengths, other.lengths)
        stores = tuple(PlacedStore(part.store, lengths, part.starts) for part in (self, other))
        starts = np.cumsum(lengths) - lengths
        return SeriesSet(
            JoinedStore(stores), starts, lengths, (*self.channels, *other.channels), ids=self.ids
        )

    def followed_by(self, later: SeriesSet) -> SeriesSet:
        """Each series with the rows of the same series of ``later`` behind its own, in memory."""
        order = np.argsort(np.tile(np.arange(self.n_series), 2), kind="stable")
        lengths = np.concatenate([self.lengths, later.lengths])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[order]
        lengths = lengths[order]
        rows = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        parts = zip(self._rows(), later._rows(), strict=True)
        values, observed = (np.concatenate(part)[rows] for part in parts)
        both = self.lengths + later.lengths
        joined = SeriesSet.from_rows(
            values, observed, np.concatenate([[0], np.cumsum(both)]), self.channels
        )
        past, known = self.past, self.known
        if past is not None and later.past is not None:
            past = past.followed_by(later.past)
        if known is not None and later.known is not None:
            # What was known beyond the end here is told again, by the rows that are there now.
            known = known.head(self.lengths).followed_by(later.known)
        return replace(
            self, store=joined.store, starts=joined.starts, lengths=both, past=past, known=known
        )

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        total = int(self.lengths.sum())
        if not total:
            return self.store.read(0, 0)
        ends = self.starts + self.lengths
        if (self.starts[1:] == ends[:-1]).all():
            return self.store.read(int(self.starts[0]), int(ends[-1]))
        # Row numbers of all series: count on within each, and jump where the next one starts.
        numbers = np.arange(total) + np.repeat(self.starts - self.offsets[:-1], self.lengths)
        values, observed = self.store.take(numbers[None])
        return values[0], observed[0]
