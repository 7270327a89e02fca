"""Windows as integers: which rows a window covers, and how to cut a batch of them on demand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from titans_ts.data.series import SeriesSet

__all__ = ["CutWindows", "WindowIndex", "cut_windows"]


class CutWindows(NamedTuple):
    """A batch of windows, cut from a :class:`SeriesSet`; values in the data's own units."""

    context: np.ndarray  # (batch, context_length, channels), float64
    context_observed: np.ndarray  # same shape, bool; False where padded or missing
    target: np.ndarray  # (batch, horizon, channels), float64
    target_observed: np.ndarray  # same shape, bool
    series: np.ndarray  # (batch,), int: which series each window is of
    # Covariates; None where the set has none of the kind.
    past: np.ndarray | None = None  # (batch, context_length, n_past), float64
    past_observed: np.ndarray | None = None  # same shape, bool
    known: np.ndarray | None = None  # (batch, context_length + horizon, n_known), float64
    known_observed: np.ndarray | None = None  # same shape, bool
    static: np.ndarray | None = None  # (batch, n_static), float64; NaN where missing


@dataclass(frozen=True)
class WindowIndex:
    """Every window of a set, known by its *origin*: the row where its target starts.

    A window is never stored: number ``i`` is turned into a series and a row when it is cut,
    so an index of a billion windows is as small as one of ten.

    Parameters
    ----------
    series : SeriesSet
        Where the windows are cut.
    context_length, horizon : int
        Rows before and after the origin.
    first_origin : ndarray of shape (n_series,), optional
        The first origin of each series, in rows of that series. Default: ``context_length``, the
        first with a full context; a smaller one gives contexts padded on the left.
    stride : int, default 1
        Rows between neighbouring origins.
    """

    series: SeriesSet
    context_length: int
    horizon: int
    first_origin: np.ndarray | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        first = self.first_origin
        if first is None:
            first = np.full(self.series.n_series, self.context_length)
        counts = (self.series.lengths - self.horizon - first) // self.stride + 1
        object.__setattr__(self, "_first", np.asarray(first, dtype=np.int64))
        ends = np.cumsum(np.maximum(counts, 0))
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "_before", np.concatenate([[0], ends]))

    def with_context(self, context_length: int) -> WindowIndex:
        """The same origins with contexts of another length, padded where there are no rows."""
        if context_length == self.context_length:
            return self
        return replace(self, context_length=context_length, first_origin=self._first)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return int(self._ends[-1])  # type: ignore[attr-defined]

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Series and origin (a row of that series) of the windows with these numbers."""
        ends: np.ndarray = self._ends  # type: ignore[attr-defined]
        series = np.searchsorted(ends, numbers, side="right")
        before = self._before[series]  # type: ignore[attr-defined]
        return series, self._first[series] + (numbers - before) * self.stride  # type: ignore[attr-defined]

    def cut(
        self,
        numbers: np.ndarray,
        channels: np.ndarray | None = None,
        *,
        n_future: int | None = None,
    ) -> CutWindows:
        """Cut the windows with these numbers; see :func:`cut_windows`.

        ``n_future`` steps after the origin, where that is more than the horizon of the index:
        one of horizon 0 has an origin at the end of a series, whose future is known in part.
        """
        series, origins = self.locate(numbers)
        horizon = self.horizon if n_future is None else n_future
        return cut_windows(self.series, series, origins, self.context_length, horizon, channels)


def cut_windows(
    data: SeriesSet,
    series: np.ndarray,
    origins: np.ndarray,
    context_length: int,
    horizon: int,
    channels: np.ndarray | None = None,
) -> CutWindows:
    """Cut windows around ``origins`` (rows of the series with these numbers).

    Rows before a series' start or after its end come back as 0, marked as not observed; so a
    context may be longer than what is there, and a target may lie wholly in the future.

    Parameters
    ----------
    data : SeriesSet
    series, origins : ndarray of shape (batch,), int
    context_length, horizon : int
    channels : ndarray of shape (batch,), int, optional
        One channel of each window, so that the others need not be read. Default: all of them.
        Covariates come whole.

    Returns
    -------
    CutWindows
    """
    c, first = context_length, origins - context_length
    values, observed = _rows(data, series, first, c + horizon, channels)
    cut = CutWindows(values[:, :c], observed[:, :c], values[:, c:], observed[:, c:], series)
    if data.past is not None:
        past, seen = _rows(data.past, series, first, c)
        cut = cut._replace(past=past, past_observed=seen)
    if data.known is not None:
        known, seen = _rows(data.known, series, first, c + horizon)
        cut = cut._replace(known=known, known_observed=seen)
    return cut if data.static is None else cut._replace(static=data.static[series])


def _rows(
    data: SeriesSet,
    series: np.ndarray,
    first: np.ndarray,
    length: int,
    channels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``length`` rows of each series from ``first`` on; those outside it are not observed."""
    lengths, starts = data.lengths[series], first + data.starts[series]
    if first.min(initial=0) >= 0 and (lengths - first).min(initial=length) >= length:
        return data.store.windows(starts, length, channels)
    steps = np.arange(length)
    inside = (steps >= -first[:, None]) & (steps < (lengths - first)[:, None])
    # Rows of the series around it come along where there are some, and are masked.
    reachable = (starts >= 0) & (starts + length <= data.store.shape[0])
    if reachable.all():
        values, observed = data.store.windows(starts, length, channels)
    else:
        # Row by row, with some row that exists in place of each that does not.
        rows = np.where(inside, starts[:, None] + steps, 0)
        values, observed = data.store.take(rows, channels)
    observed = observed & inside[..., None]
    return np.where(observed, values, 0.0), observed
