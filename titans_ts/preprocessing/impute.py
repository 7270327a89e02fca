"""Impute: fill in what is missing, series by series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from titans_ts.errors import ParameterError
from titans_ts.parameters import check_choice, check_int
from titans_ts.preprocessing.base import SeriesTransformer
from titans_ts.preprocessing.panel import Panel

__all__ = ["Impute"]

METHODS = ("linear", "forward", "seasonal", "mean")


class Impute(SeriesTransformer):
    """Fill in missing values of each series from its other values.

    Forecasters of this package need no filling in: they learn from what was observed and leave the
    rest out. Fill in for what cannot do so, such as most regressors. ``"forward"`` looks back only,
    and ``"mean"`` at training rows only; the others look at later rows too, which no forecast can.

    :meth:`inverse_transform` changes nothing: what was filled in stays.

    Parameters
    ----------
    method : {"linear", "forward", "seasonal", "mean"}, default "linear"
        A straight line between the neighbours (their value where there is one only); the value
        before (nothing before the first); the nearest value at the same place in the season, the
        earlier one if both are as near; the mean of the series' training rows, or of all series'
        for one that ``fit`` has not seen.
    season_length : int, optional
        Rows of a season; needed by ``"seasonal"``.
    limit : int, optional
        The most rows that are filled in after a value, and before the first. Default: all.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`. Rows must be one step of time apart.

    Attributes
    ----------
    means_ : ndarray of shape (n_series, channels)
    pooled_mean_ : ndarray of shape (channels,)

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.preprocessing import Impute
    >>> Impute().fit_transform(np.array([[1.0], [np.nan], [np.nan], [4.0]]))[:, 0].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    _regular = True
    _learnt = ("means_", "pooled_mean_")

    def __init__(
        self,
        *,
        method: str = "linear",
        season_length: int | None = None,
        limit: int | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.method = method
        self.season_length = season_length
        self.limit = limit
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        check_choice("method", self.method, METHODS)
        check_int("season_length", self.season_length, optional=True)
        check_int("limit", self.limit, optional=True)
        if self.method == "seasonal" and self.season_length is None:
            raise ParameterError(
                "method='seasonal' needs season_length=, such as 24 for hourly rows with a daily "
                "season."
            )

    def _learn(self, panel: Panel) -> None:
        pooled = _means(panel.values[None])[0]
        self.pooled_mean_ = pooled
        self.means_ = np.empty((len(panel.ids), panel.values.shape[1]))
        for series, rows in panel.blocks():
            means = _means(panel.values[rows])
            self.means_[series] = np.where(np.isnan(means), pooled, means)

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        missing = np.isnan(block)
        if not missing.any():
            return block.copy()
        before, after = _neighbours(missing)
        if self.method == "mean":
            unseen = (numbers < 0)[:, None]
            filled = np.where(unseen, self.pooled_mean_, self.means_[numbers])[:, None]
        elif self.method == "forward":
            filled = _pick(block, before)
        elif self.method == "linear":
            filled = _line(block, before, after)
        else:
            filled = self._same_season(block, missing)
        if self.limit is not None:
            rows = np.arange(block.shape[1])[None, :, None]
            distance = np.where(before >= 0, rows - before, after - rows)
            missing &= distance <= self.limit
        return np.where(missing, filled, block)

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        return block.copy()

    def _same_season(self, block: np.ndarray, missing: np.ndarray) -> np.ndarray:
        season = self.season_length
        assert season is not None
        filled = np.empty_like(block)
        for place in range(min(season, block.shape[1])):
            part = block[:, place::season]
            before, after = _neighbours(missing[:, place::season])
            rows = np.arange(part.shape[1])[None, :, None]
            earlier = (before >= 0) & ((rows - before <= after - rows) | (after >= part.shape[1]))
            filled[:, place::season] = _pick(part, np.where(earlier, before, after))
        return filled


def _neighbours(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the last value up to each row, or -1; and of the next from it on, or ``time``."""
    time = missing.shape[1]
    rows = np.arange(time)[None, :, None]
    before = np.maximum.accumulate(np.where(missing, -1, rows), axis=1)
    after = np.minimum.accumulate(np.where(missing, time, rows)[:, ::-1], axis=1)[:, ::-1]
    return before, after


def _pick(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values at these rows; NaN where there is no such row."""
    exists = (rows >= 0) & (rows < block.shape[1])
    return np.where(exists, np.take_along_axis(block, np.where(exists, rows, 0), axis=1), np.nan)


def _line(block: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    left, right = _pick(block, before), _pick(block, after)
    left, right = np.where(before < 0, right, left), np.where(after >= block.shape[1], left, right)
    rows = np.arange(block.shape[1])[None, :, None]
    share = (rows - before) / np.maximum(after - before, 1)
    # Both shares, so that neither end is missed by a rounding.
    return left * (1 - share) + right * share


def _means(block: np.ndarray) -> np.ndarray:
    """Mean of each series of a block, shape (n, channels); NaN if it has no value."""
    observed = ~np.isnan(block)
    count = observed.sum(axis=1)
    total = np.where(observed, block, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
