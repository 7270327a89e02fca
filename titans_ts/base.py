"""What every forecaster shares: reading tables, setting validation rows aside, scoring.

A forecaster adds two methods: ``_fit_windows`` learns from windows, ``_forecast`` turns contexts
into forecasts. Both see plain arrays in the data's own units; neither knows what a table is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from titans_ts.data.schema import Layout, read_table
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import CutWindows, WindowIndex, cut_windows
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int, check_number, check_quantiles

__all__ = ["BaseForecaster", "TrainingWindows"]

# Windows forecast at a time when scoring: large enough to keep matrix products busy, and so few
# that their values (8 bytes each, and about as much again) stay under 100 MB.
SCORE_BATCH = 512
SCORE_VALUES = 6_000_000


class TrainingWindows(NamedTuple):
    """What a forecaster learns from."""

    train: WindowIndex  # no target of these touches a validation row
    validation: WindowIndex | None  # None: no rows were set aside


class BaseForecaster(BaseEstimator):
    """Common part of :class:`TitansForecaster` and the baselines; not for direct use."""

    # What subclasses store in __init__, as scikit-learn's rules want it.
    horizon: int
    context_length: int
    freq: str | None
    time_column: str | None
    target: str | Sequence[str] | None
    validation_fraction: float

    # -- what a subclass provides -------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Raise ParameterError for a bad constructor value; called first in ``fit``."""
        check_int("horizon", self.horizon)
        check_int("context_length", self.context_length)
        check_number("validation_fraction", self.validation_fraction, minimum=0, maximum=0.9)

    def _shortest_context(self) -> int:
        """The shortest context that makes sense for this forecaster, in rows."""
        return 1

    def _round_context(self, length: int) -> int:
        """The context that is really used where ``length`` rows are to be had; not longer."""
        return length

    def _fit_windows(self, windows: TrainingWindows) -> None:
        """Learn from windows; set fitted attributes."""
        raise NotImplementedError

    def _forecast(
        self, windows: CutWindows, quantiles: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """Forecast what follows each context.

        Parameters
        ----------
        windows : CutWindows
            With contexts of ``context_length_`` steps; targets are not looked at.
        quantiles : tuple of float, optional

        Returns
        -------
        ndarray of shape (batch, horizon, channels), or (batch, horizon, channels, quantiles)
        """
        raise NotImplementedError

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what ``save`` keeps beyond the common part: JSON values, and arrays by name."""
        raise NotImplementedError

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Undo :meth:`_fitted_state` on a forecaster that holds its parameters."""
        raise NotImplementedError

    # -- the scikit-learn API -----------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        # The last that fit sets: a first fit that failed or was stopped leaves nothing to use.
        return hasattr(self, "context_")

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> Self:
        """Learn to forecast from a table of series.

        Parameters
        ----------
        X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
            Regularly spaced rows, oldest first. A frame carries time in a ``DatetimeIndex`` or in
            a time column.
        y : None
            Here because scikit-learn passes one. Anything but a copy of X's target is refused.
        validation : int, array or frame, optional
            Rows on which learning is judged: a number of last rows of X, or a table like X whose
            rows follow it. Default: the last ``validation_fraction`` of X.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            The table cannot be used; the message says where and what to do.
        """
        self._check_parameters()
        series, layout = self._read(X)
        _refuse_other_target(y, series)
        joined, n_train = self._set_validation_aside(series, layout, validation)

        least = self._shortest_context()
        shortest = self.horizon + least
        if n_train.max() < shortest:
            raise DataError(
                f"Too few rows to learn from: the longest series has {n_train.max()} training rows "
                f"({series.lengths.max()} rows before the split), and a horizon of {self.horizon} "
                f"with a context of at least {least} needs {shortest}. "
                "Give more rows, or lower horizon or validation_fraction."
            )
        # From here on attributes change: a fit that fails must leave a forecaster that is not
        # fitted, not one of two halves.
        self.__dict__.pop("context_", None)
        # Half of a short series at most, so that more than a window or two is left to learn from.
        half = (int(n_train.max()) - self.horizon) // 2
        self.context_length_ = self._round_context(min(self.context_length, max(half, least)))

        self.n_features_in_ = len(layout.channels)
        if layout.named:
            self.feature_names_in_ = np.array(layout.channels, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.freq_ = layout.freq
        self._fit_windows(self._training_windows(joined, n_train))
        self.layout_ = layout
        self.context_ = series.tail(np.full(series.n_series, self.context_length_)).copy()
        return self

    def predict(self, X: Any = None, *, quantiles: Any = None) -> Any:
        """Forecast the ``horizon`` steps that follow.

        Parameters
        ----------
        X : like X of ``fit``, optional
            What to read before forecasting; the last ``context_length_`` rows count, and a shorter
            table is padded. Any series, seen in ``fit`` or not, with the same columns.
            Default: the table given to ``fit``.
        quantiles : sequence of float, optional
            Fractions strictly between 0 and 1, increasing. Default: the point forecast.

        Returns
        -------
        array, Series or DataFrame
            The same kind as X, with the future index. With quantiles, frames have columns such as
            ``OT_q0.1`` and arrays one more axis.
        """
        check_is_fitted(self)
        levels = check_quantiles("quantiles", quantiles)
        if X is None:
            series, layout = self.context_, self.layout_
        else:
            series, layout = self._read_like_fit(X)
        every = np.arange(series.n_series)
        cut = cut_windows(series, every, series.lengths, self.context_length_, 0)
        forecast = self._forecast(cut, levels)
        return layout.forecast_table(forecast, levels)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean absolute error over every origin with a full context inside X.

        Two forecasters are comparable on the same origins: give each ``context_length_`` rows
        before the first, or use :func:`titans_ts.backtesting.long_horizon_protocol`.

        Parameters
        ----------
        X : like X of ``fit``
            At least ``context_length_ + horizon`` rows.
        y : None
            As in ``fit``.

        Returns
        -------
        float
            In the data's own units; higher is better, 0 is perfect.
        """
        check_is_fitted(self)
        series, _ = self._read_like_fit(X)
        _refuse_other_target(y, series)
        windows = WindowIndex(series, self.context_length_, self.horizon)
        if not len(windows):
            raise DataError(
                f"Nothing to score: the longest series has {series.lengths.max()} rows, and one "
                f"origin needs {self.context_length_} rows of context and {self.horizon} of target."
            )
        total, count = 0.0, 0
        for cut, forecast in self.iter_forecasts(windows):
            error = np.abs(forecast - cut.target)[cut.target_observed]
            total, count = total + float(error.sum()), count + error.size
        return -total / count

    def save(self, path: str | Path) -> None:
        """Write the fitted forecaster to a folder: JSON and safetensors, no pickle.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist yet, or one that an earlier ``save`` wrote. It is
            replaced as a whole: an interrupted save leaves what was there before.
        """
        from titans_ts.persistence import save_forecaster

        check_is_fitted(self)
        save_forecaster(self, path)

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> Self:
        """Read a forecaster that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
        device : str, optional
            Where a model with weights goes, such as ``"cpu"`` or ``"cuda:0"``. Default: as the
            ``accelerator`` parameter says.

        Raises
        ------
        SavedModelError
            The folder is damaged, holds another kind of forecaster, or is from a newer version.
        """
        from titans_ts.persistence import load_forecaster

        return load_forecaster(cls, path, device=device)

    def iter_forecasts(self, windows: WindowIndex) -> Iterator[tuple[CutWindows, np.ndarray]]:
        """Cut windows batch by batch and forecast them; every window comes once, in order."""
        values = (windows.context_length + windows.horizon) * len(windows.series.channels)
        batch = max(min(SCORE_BATCH, SCORE_VALUES // values), 1)
        for start in range(0, len(windows), batch):
            cut = windows.cut(np.arange(start, min(start + batch, len(windows))))
            yield cut, self._forecast(cut)

    # -- inside -------------------------------------------------------------------------------

    def _read(self, X: Any, freq: str | None = None) -> tuple[SeriesSet, Layout]:
        freq = self.freq if freq is None else freq
        return read_table(X, freq=freq, time_column=self.time_column, target=self.target)

    def _read_like_fit(self, X: Any) -> tuple[SeriesSet, Layout]:
        # The frequency of fit, so that two rows are enough and another frequency is noticed.
        series, layout = self._read(X, self.freq_)
        expected = self.n_features_in_
        if len(layout.channels) != expected:
            raise DataError(
                f"X has {len(layout.channels)} channels, but {type(self).__name__} was fitted on "
                f"{expected}. Give the same columns as in fit."
            )
        names = getattr(self, "feature_names_in_", None)
        if names is not None and layout.named and tuple(names) != layout.channels:
            raise DataError(
                f"X has the columns {list(layout.channels)}, but {type(self).__name__} was fitted "
                f"on {list(names)}. Give the same columns in the same order."
            )
        return series, layout

    def _set_validation_aside(
        self, series: SeriesSet, layout: Layout, validation: Any
    ) -> tuple[SeriesSet, np.ndarray]:
        """Return training and validation rows in one set, and how many of each series train."""
        if validation is None:
            # Short series keep their rows: a tail that holds no whole target would judge nothing.
            n_tail = (series.lengths * self.validation_fraction).astype(np.int64)
            n_tail = np.where(n_tail >= self.horizon, n_tail, 0)
            return series, series.lengths - n_tail
        if isinstance(validation, Integral) and not isinstance(validation, bool):
            n = int(validation)
            if n and not self.horizon <= n < series.lengths.min():
                raise ParameterError(
                    f"validation={n} rows cannot be set aside: expected at least the horizon "
                    f"({self.horizon}), and fewer than the shortest series has "
                    f"({series.lengths.min()})."
                )
            return series, series.lengths - n
        later, later_layout = self._read(validation, layout.freq)
        if later_layout.channels != layout.channels or later.n_series != series.n_series:
            raise DataError(
                f"validation has {later.n_series} series with the columns "
                f"{list(later_layout.channels)}, expected {series.n_series} with "
                f"{list(layout.channels)}, as in X."
            )
        if later.lengths.min() < self.horizon:
            raise DataError(
                f"validation has {later.lengths.min()} rows, fewer than the horizon "
                f"({self.horizon}); not one forecast could be judged."
            )
        layout.check_followed_by(later_layout)
        pairs = zip(series, later, strict=True)
        joined = SeriesSet.from_arrays([np.concatenate(p) for p in pairs], series.channels)
        return joined, series.lengths

    def _training_windows(self, joined: SeriesSet, n_train: np.ndarray) -> TrainingWindows:
        train = joined.head(n_train)
        # A series too short for a full context gives windows padded on the left.
        longest = n_train - self.horizon
        first = np.maximum(np.minimum(self.context_length_, longest), self._shortest_context())
        windows = WindowIndex(train, self.context_length_, self.horizon, first_origin=first)
        if (n_train == joined.lengths).all():
            return TrainingWindows(windows, None)
        # A series without validation rows gets an origin past its end, hence no window.
        return TrainingWindows(
            windows, WindowIndex(joined, self.context_length_, self.horizon, first_origin=n_train)
        )


def _refuse_other_target(y: Any, series: SeriesSet) -> None:
    if y is None:
        return
    given = np.asarray(y)
    if given.size == series.values.size and np.array_equal(
        given.reshape(-1), series.values.reshape(-1)
    ):
        return
    raise DataError(
        "y must be None: a forecaster learns to continue X itself, so the target is a column of X "
        f"(got a y of shape {given.shape}). Put the target into X and name it with target=."
    )
