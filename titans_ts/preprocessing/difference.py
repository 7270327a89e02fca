"""Difference: each value against the one a season, or a row, before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from titans_ts.errors import DataError
from titans_ts.parameters import check_int
from titans_ts.preprocessing.base import SeriesTransformer

__all__ = ["Difference"]


class Difference(SeriesTransformer):
    """Replace each value by its difference to the value ``lag`` rows before.

    Takes a trend out of a series (``lag=1``), or a season (``lag=24`` for hourly rows). Rows are
    kept: the first ``lag`` rows, which have nothing before them, are the difference to 0, that is
    the values themselves. So :meth:`inverse_transform` needs no memory of the table and gives back
    any table exactly, but for one rounding per value, which does not add up along the series.

    Where a value is missing its difference is missing, and the next value at the same place in the
    season is held against the last one there that was observed.

    As ``target_transform=`` of a forecaster, the first ``order * lag`` rows of each series are left
    out of training, and forecasts go on from the rows before them. Quantiles are added up step by
    step as if every step were at the same quantile; with ``lag=1`` intervals are then too wide
    rather than too narrow.

    Parameters
    ----------
    lag : int, default 1
        Rows between a value and the one it is held against: 1, or a season.
    order : int, default 1
        How many times differences are taken.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`. Rows must be one step of time apart.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.preprocessing import Difference
    >>> difference = Difference(lag=2)
    >>> changes = difference.fit_transform(np.array([[3.0], [5.0], [4.0], [9.0]]))
    >>> changes[:, 0].tolist()
    [3.0, 5.0, 1.0, 4.0]
    >>> difference.inverse_transform(changes)[:, 0].tolist()
    [3.0, 5.0, 4.0, 9.0]
    """

    _regular = True

    def __init__(
        self,
        *,
        lag: int = 1,
        order: int = 1,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.lag = lag
        self.order = order
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        check_int("lag", self.lag)
        check_int("order", self.order)

    @property
    def _rows_before(self) -> int:
        return self.lag * self.order

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        seasons = self._seasons(block)
        level = self._start(block)
        out = np.empty_like(seasons)
        for season in range(seasons.shape[1]):
            expected = level.sum(axis=0)
            out[:, season] = seasons[:, season] - expected
            # The next season is held against the value that the inverse will find, not against the
            # one that is here: so roundings do not add up.
            level = _advance(level, out[:, season] + expected)
        return self._rows(out, block.shape[1])

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        level = self._start(block) if before is None else self._level_after(before)
        seasons = self._seasons(block)
        out = np.empty_like(seasons)
        for season in range(seasons.shape[1]):
            out[:, season] = seasons[:, season] + level.sum(axis=0)
            level = _advance(level, out[:, season])
        return self._rows(out, block.shape[1])

    def _settled(self, observed: np.ndarray) -> np.ndarray:
        seen = self._seasons(np.where(observed, 1.0, np.nan)) == 1.0
        earlier = np.cumsum(seen, axis=1) - seen
        return self._rows(seen & (earlier >= self.order), observed.shape[1])

    def _level_after(self, before: np.ndarray) -> np.ndarray:
        """Last value, last difference, ... at each place in the season, after rows ``before``."""
        if before.shape[1] < self._rows_before:
            raise DataError(
                f"Difference(lag={self.lag}, order={self.order}) needs {self._rows_before} rows "
                f"before a forecast to undo it, but the context has {before.shape[1]}. Raise "
                "context_length, or lower lag."
            )
        # Padded in front, so that its end is the end of a season.
        seasons = self._seasons(before[:, ::-1])[:, ::-1, ::-1]
        level = self._start(before)
        for season in range(seasons.shape[1]):
            level = _advance(level, seasons[:, season])
        seen = (~np.isnan(seasons)).sum(axis=1)
        for k in range(1, self.order):  # a difference to nothing is no difference
            level[k] = np.where(seen > k, level[k], 0.0)
        # Never observed at this place in the season: better the last value of any than 0.
        rows = np.where(np.isnan(before), -1, np.arange(before.shape[1])[:, None]).max(axis=1)
        last = np.take_along_axis(before, np.maximum(rows, 0)[:, None], axis=1)
        level[0] = np.where(seen > 0, level[0], np.nan_to_num(last))
        return level

    def _start(self, block: np.ndarray) -> np.ndarray:
        return np.zeros((self.order, block.shape[0], self.lag, block.shape[2]))

    def _seasons(self, block: np.ndarray) -> np.ndarray:
        """Cut time into seasons, (n, seasons, lag, channels); the last is filled up with NaN."""
        n, time, channels = block.shape
        n_seasons = -(-time // self.lag)
        padded = np.full((n, n_seasons * self.lag, channels), np.nan)
        padded[:, :time] = block
        return padded.reshape(n, n_seasons, self.lag, channels)

    @staticmethod
    def _rows(seasons: np.ndarray, time: int) -> np.ndarray:
        n, _, _, channels = seasons.shape
        return seasons.reshape(n, -1, channels)[:, :time]


def _advance(level: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Move on by one season: the new last value, difference, ...; the old where it is missing."""
    new = np.empty_like(level)
    for k in range(len(level)):
        new[k] = np.where(np.isnan(value), level[k], value)
        value = value - level[k]
    return new
