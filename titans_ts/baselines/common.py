"""What the baselines share: channel statistics, filled contexts, quantiles from past errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from titans_ts.base import BaseForecaster
from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import CutWindows, WindowIndex

__all__ = [
    "QUANTILE_GRID",
    "BaselineForecaster",
    "batches",
    "centre",
    "channel_statistics",
    "fill_edges",
    "thin",
]

#: Levels at which quantiles of past errors are kept; levels between are interpolated.
QUANTILE_GRID = np.array([0.005, 0.01, 0.025, *np.arange(1, 20) * 0.05, 0.975, 0.99, 0.995])

# Values held at a time while windows are cut (float64, so 32 MB) or errors are kept (64 MB).
BATCH_VALUES = 4_000_000
ERROR_VALUES = 8_000_000
# Fewer errors than this say little about a tail, however wide the table.
MIN_ERROR_WINDOWS = 200


def channel_statistics(series: SeriesSet) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each channel over all its observed rows.

    A channel that never changes gets the scale 1. "Never" allows for rounding: the spread of a
    constant 0.1 + 1e9 is rounding noise, and dividing by it would turn the noise into a signal.

    Returns
    -------
    mean, scale : ndarray of shape (channels,)
    """
    values, observed = series.values, series.observed
    count = np.maximum(observed.sum(axis=0), 1)
    mean = np.sum(values, axis=0, where=observed) / count
    # One channel at a time: a centred copy of a whole table could be large.
    spread = np.array(
        [
            np.sqrt(np.sum((values[:, c] - mean[c]) ** 2, where=observed[:, c]) / count[c])
            for c in range(values.shape[1])
        ]
    )
    largest = np.max(np.abs(values), axis=0, initial=0.0, where=observed)
    moves = spread > 64 * np.finfo(np.float64).eps * largest
    return mean, np.where(moves, spread, 1.0)


def fill_edges(context: np.ndarray, observed: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Replace what was not observed by the last value before it, or else the first after it.

    Parameters
    ----------
    context : ndarray of shape (batch, time, channels)
    observed : ndarray of the same shape, bool
    fallback : ndarray of shape (channels,)
        For a channel of which a context holds no value at all.

    Returns
    -------
    ndarray of shape (batch, time, channels)
        ``context`` itself where everything is observed.
    """
    if observed.all():
        return context
    steps = np.arange(context.shape[1])[:, None]
    last_seen = np.maximum.accumulate(np.where(observed, steps, 0), axis=1)
    first_seen = observed.argmax(axis=1, keepdims=True)
    filled = np.take_along_axis(context, np.maximum(last_seen, first_seen), axis=1)
    return np.where(observed.any(axis=1, keepdims=True), filled, fallback)


def centre(context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take each channel's mean over the context away.

    Parameters
    ----------
    context : ndarray of shape (batch, time, channels)

    Returns
    -------
    centred : ndarray of shape (batch, channels, time)
        Channels before time, as a matrix product with ``(time, horizon)`` wants it.
    mean : ndarray of shape (batch, channels, 1)
    """
    turned = context.transpose(0, 2, 1)
    mean = turned.mean(axis=2, keepdims=True)
    return turned - mean, mean


def thin(n: int, limit: int) -> np.ndarray:
    """At most ``limit`` of the numbers 0 to ``n - 1``, evenly spaced, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, limit)).round().astype(np.int64))


def batches(windows: WindowIndex, numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Split window numbers into batches whose cut values stay within a fixed memory."""
    width = (windows.context_length + windows.horizon) * len(windows.series.channels)
    size = max(1, BATCH_VALUES // width)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


class BaselineForecaster(BaseForecaster):
    """Common part of the baselines; not for direct use.

    Quantiles are the point forecast plus the empirical quantile of the errors made on validation
    windows, for each step and channel; on training windows where no rows were set aside, or where
    none of them holds a value of the channel at that step. They are kept on a grid of levels from
    0.005 to 0.995 and interpolated linearly in between; a level beyond the grid gets its outermost
    value.
    """

    #: Arrays, by attribute name, that ``save`` keeps beside those of this class.
    _learnt_arrays: ClassVar[tuple[str, ...]] = ()
    #: Numbers, by attribute name, likewise.
    _learnt_numbers: ClassVar[tuple[str, ...]] = ()

    def _learn(self, windows: TrainingWindows, scale: np.ndarray) -> TrainingWindows:
        """Learn from windows; ``scale`` has shape (channels,), the training standard deviation.

        Returns
        -------
        TrainingWindows
            The windows to measure errors on: those given, unless the context length changed.
        """
        raise NotImplementedError

    def _point(self, context: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Point forecast of shape (batch, horizon, channels)."""
        raise NotImplementedError

    def _fit_windows(self, windows: TrainingWindows) -> None:
        self.channel_mean_, scale = channel_statistics(windows.train.series)
        windows = self._learn(windows, scale)
        judged = windows.validation
        if judged is None or not len(judged):
            judged = windows.train
        errors = self._measure_errors(judged)
        lacking = np.isnan(errors)
        if lacking.any() and judged is not windows.train:
            errors = np.where(lacking, self._measure_errors(windows.train), errors)
        # A step of a channel that was never observed at all has no errors.
        self.error_quantiles_ = np.nan_to_num(errors)

    def _forecast(
        self, windows: CutWindows, quantiles: tuple[float, ...] | None = None
    ) -> np.ndarray:
        point = self._point(windows.context, windows.context_observed)
        if quantiles is None:
            return point
        above = np.clip(np.searchsorted(QUANTILE_GRID, quantiles), 1, len(QUANTILE_GRID) - 1)
        low, high = QUANTILE_GRID[above - 1], QUANTILE_GRID[above]
        share = np.clip((np.asarray(quantiles) - low) / (high - low), 0, 1)[:, None, None]
        below = self.error_quantiles_[above - 1]
        offsets = below + share * (self.error_quantiles_[above] - below)
        # Rounding at a grid level may cross two neighbours by one unit in the last place.
        offsets = np.maximum.accumulate(offsets, axis=0)
        return point[..., None] + np.moveaxis(offsets, 0, -1)

    def _measure_errors(self, windows: WindowIndex) -> np.ndarray:
        """Quantiles of target minus forecast, of shape (levels, horizon, channels).

        NaN for a step of a channel that was never observed.
        """
        n_channels = len(windows.series.channels)
        limit = max(MIN_ERROR_WINDOWS, ERROR_VALUES // (self.horizon * n_channels))
        errors = []
        for numbers in batches(windows, thin(len(windows), limit)):
            cut = windows.cut(numbers)
            error = cut.target - self._point(cut.context, cut.context_observed)
            errors.append(np.where(cut.target_observed, error, np.nan))
        joined = np.concatenate(errors)
        seen = ~np.isnan(joined)
        if seen.all():
            return np.quantile(joined, QUANTILE_GRID, axis=0)
        never = ~seen.any(axis=0)
        joined[:, never] = 0.0  # of nothing at all, numpy would warn
        return np.where(never, np.nan, np.nanquantile(joined, QUANTILE_GRID, axis=0))

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = ("channel_mean_", "error_quantiles_", *self._learnt_arrays)
        return (
            {name: getattr(self, name) for name in self._learnt_numbers},
            {name: getattr(self, name) for name in arrays},
        )

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        for name in self._learnt_numbers:
            if not isinstance(values[name], int | float):
                raise ValueError(f"{name}={values[name]!r:.80} is no number")
            setattr(self, name, values[name])
        for name in ("channel_mean_", "error_quantiles_", *self._learnt_arrays):
            setattr(self, name, arrays[name])
