"""SeriesSet: any table of series as one flat array plus offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["SeriesSet"]


@dataclass(frozen=True)
class SeriesSet:
    """Series of possibly unequal length, laid one after another in one array.

    The form that every table takes inside the library: what a table looked like (its container,
    time stamps, ids) is kept by :class:`titans_ts.data.schema.Layout`, not here.

    Parameters
    ----------
    values : ndarray of shape (total_rows, channels), float64
        All series, one after another. In the data's own units.
    observed : ndarray of shape (total_rows, channels), bool
        False where a value is missing; ``values`` holds 0 there.
    offsets : ndarray of shape (n_series + 1,), int64
        Series ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    channels : tuple of str
        Column names.
    """

    values: np.ndarray
    observed: np.ndarray
    offsets: np.ndarray
    channels: tuple[str, ...]

    @classmethod
    def from_arrays(cls, arrays: list[np.ndarray], channels: tuple[str, ...]) -> SeriesSet:
        """Join fully observed ``(time, channels)`` arrays into one set."""
        values = np.concatenate(arrays) if len(arrays) != 1 else arrays[0]
        lengths = [len(array) for array in arrays]
        return cls(
            values=np.ascontiguousarray(values, dtype=np.float64),
            # One True, broadcast: a mask of a fully observed set costs no memory.
            observed=np.broadcast_to(np.True_, values.shape),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            channels=channels,
        )

    @property
    def n_series(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, shape (n_series,)."""
        return np.diff(self.offsets)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the values of each series, shape (time, channels), as views."""
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:stop]

    def copy(self) -> SeriesSet:
        """Return a set that shares no memory with this one."""
        return replace(self, values=self.values.copy(), observed=self.observed.copy())

    def rows(self, starts: np.ndarray, stops: np.ndarray) -> SeriesSet:
        """Keep rows ``starts[i]:stops[i]`` of each series ``i`` (counted from its own first row).

        A set of one series stays a view; several series are copied.
        """
        begin, end = self.offsets[:-1] + starts, self.offsets[:-1] + stops
        if self.n_series == 1:
            keep: slice | np.ndarray = slice(int(begin[0]), int(end[0]))
        else:
            keep = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
        offsets = np.concatenate([[0], np.cumsum(end - begin)]).astype(np.int64)
        return replace(
            self, values=self.values[keep], observed=self.observed[keep], offsets=offsets
        )

    def head(self, lengths: np.ndarray) -> SeriesSet:
        """The first ``lengths[i]`` rows of each series."""
        return self.rows(np.zeros_like(self.lengths), np.minimum(lengths, self.lengths))

    def tail(self, lengths: np.ndarray) -> SeriesSet:
        """The last ``lengths[i]`` rows of each series."""
        return self.rows(self.lengths - np.minimum(lengths, self.lengths), self.lengths)
