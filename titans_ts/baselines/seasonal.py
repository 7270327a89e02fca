"""SeasonalNaiveForecaster: the last season, repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.baselines.common import BaselineForecaster, batches, fill_edges, thin
from titans_ts.data.seasons import season_candidates
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError
from titans_ts.parameters import check_int

__all__ = ["SeasonalNaiveForecaster"]

# Windows on which seasons are compared; a season that wins at all wins clearly.
COMPARED_WINDOWS = 500


class SeasonalNaiveForecaster(BaselineForecaster):
    """Forecast by repeating the last season of each channel: the baseline of baselines.

    Parameters
    ----------
    horizon : int, default 24
        Steps to forecast.
    context_length : int, default 336
        Rows to look back on; raised to one season where that is longer. More than a season
        serves when values are missing: then the season before is asked.
    season_length : int, optional
        Steps in a season; 1 repeats the last value. Default: the best, on validation windows, of
        1 and what the frequency suggests (a day or a week for ``"15min"``: 96 or 672;
        :func:`titans_ts.data.seasons.season_candidates` has the table), so 1 for a table without
        a frequency.
    freq : str, optional
        Frequency as pandas writes it, such as ``"15min"``. Default: read from the time stamps.
        An array has none; there, ``freq`` only suggests a season.
    time_column : str, optional
        Column that holds the time. Default: found by its type.
    id_column : str, optional
        In a long frame, the column that tells its series apart. Default: ``unique_id`` or
        ``item_id`` where there is one.
    target : str or list of str, optional
        Columns to forecast. Default: all.
    target_transform : transformer, optional
        Any scikit-learn transformer with ``inverse_transform``, or a Pipeline of some. It is
        fitted on the training rows, and undone in ``predict`` and ``score``.
    validation_fraction : float, default 0.2
        Part of the rows, at the end, that the season and the quantiles are judged on.

    Attributes
    ----------
    season_length_ : int
    context_length_ : int
        At least ``season_length_``.
    channel_mean_ : ndarray of shape (channels,)
        Over the training rows; the forecast where a context holds no value at all.
    error_quantiles_ : ndarray of shape (levels, horizon, channels)
        What ``predict(quantiles=...)`` adds to the point forecast.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import SeasonalNaiveForecaster
    >>> X = np.tile([1.0, 2.0, 5.0], 20)[:, None]
    >>> SeasonalNaiveForecaster(horizon=4, season_length=3).fit(X).predict().ravel()
    array([1., 2., 5., 1.])
    """

    _learnt_numbers = ("season_length_",)

    def __init__(
        self,
        *,
        horizon: int = 24,
        context_length: int = 336,
        season_length: int | None = None,
        freq: str | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        target: str | list[str] | None = None,
        target_transform: Any = None,
        validation_fraction: float = 0.2,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.season_length = season_length
        self.freq = freq
        self.time_column = time_column
        self.id_column = id_column
        self.target = target
        self.target_transform = target_transform
        self.validation_fraction = validation_fraction

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_int("season_length", self.season_length, optional=True)

    def _learn(self, windows: TrainingWindows, scale: np.ndarray) -> TrainingWindows:
        longest = int(windows.train.series.lengths.max())
        room = longest - self.horizon
        if self.season_length is None:
            # An array has no frequency of its own, but its user may know one.
            freq = self.freq if self.freq_ is None else self.freq_
            fitting = [1, *(s for s in season_candidates(freq) if 1 < s <= room)]
            self.season_length_ = self._best_season(windows, fitting, scale)
        elif self.season_length > room:
            raise DataError(
                f"A season of {self.season_length} steps and a horizon of {self.horizon} need "
                f"{self.season_length + self.horizon} training rows, but the longest series has "
                f"{longest}. Give more rows, or lower season_length, horizon or "
                "validation_fraction."
            )
        else:
            self.season_length_ = int(self.season_length)
        self.context_length_ = max(self.context_length_, self.season_length_)
        return _with_context(windows, self.context_length_)

    def _best_season(self, windows: TrainingWindows, seasons: list[int], scale: np.ndarray) -> int:
        """The season of least absolute error; every season is judged on the same windows."""
        if len(seasons) == 1:
            return seasons[0]
        train, validation = _with_context(windows, max(self.context_length_, *seasons))
        errors, seen = np.zeros(len(seasons)), False
        if validation is not None:
            errors, seen = self._season_errors(validation, seasons, scale)
        if not seen:  # of nothing observed, all seasons are equally good
            errors, _ = self._season_errors(train, seasons, scale)
        return seasons[int(errors.argmin())]

    def _season_errors(
        self, judged: WindowIndex, seasons: list[int], scale: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """Absolute error of each season, and whether any target was observed."""
        errors, seen = np.zeros(len(seasons)), False
        for numbers in batches(judged, thin(len(judged), COMPARED_WINDOWS)):
            cut = judged.cut(numbers)
            seen |= bool(cut.target_observed.any())
            for i, season in enumerate(seasons):
                forecast = self._repeat(cut.context, cut.context_observed, season)
                error = np.abs(forecast - cut.target) / scale
                errors[i] += error.sum(where=cut.target_observed)
        return errors, seen

    def _point(self, context: np.ndarray, observed: np.ndarray) -> np.ndarray:
        return self._repeat(context, observed, self.season_length_)

    def _repeat(self, context: np.ndarray, observed: np.ndarray, season: int) -> np.ndarray:
        last, seen = context[:, -season:], observed[:, -season:]
        length = context.shape[1]
        for end in range(length - season, season - 1, -season):
            if seen.all():
                break
            before = slice(end - season, end)
            last = np.where(seen, last, context[:, before])
            seen = seen | observed[:, before]
        last = fill_edges(last, seen, self.channel_mean_)
        return last[:, np.arange(self.horizon) % season]


def _with_context(windows: TrainingWindows, context_length: int) -> TrainingWindows:
    """The same windows with a longer context: no padded context where a full one can be had."""
    train, validation = windows
    if context_length == train.context_length:
        return windows
    # A series too short for one keeps its last window, padded.
    first = np.maximum(np.minimum(context_length, train.series.lengths - train.horizon), 1)
    longer: WindowIndex | None = None
    if validation is not None:
        longer = replace(validation, context_length=context_length)
    return TrainingWindows(
        replace(train, context_length=context_length, first_origin=first), longer
    )
