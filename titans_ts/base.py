"""What every forecaster shares: reading tables, setting validation rows aside, scoring.

A forecaster adds two methods: ``_fit_windows`` learns from windows, ``_forecast`` turns contexts
into forecasts. Both see plain arrays in the data's own units; neither knows what a table is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from titans_ts.callers import called_by
from titans_ts.data.calendar_series import calendar_series
from titans_ts.data.covariates import CovariateSchema
from titans_ts.data.frequency import FittedFreq
from titans_ts.data.future import future_frame, missing_future, read_future
from titans_ts.data.other_target import refuse_other_target
from titans_ts.data.schema import Layout, read_table
from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import (
    TrainingWindows,
    set_validation_aside,
    training_windows,
)
from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.errors import DataError, ParameterError, TrainingInterrupted
from titans_ts.parameters import check_int, check_number, check_quantiles, plain_role
from titans_ts.preprocessing.target import TargetTransform

__all__ = ["BaseForecaster"]

# Windows forecast at a time when scoring: large enough to keep matrix products busy, and so few
# that their values (8 bytes each, and about as much again) stay under 100 MB.
SCORE_BATCH = 512
SCORE_VALUES = 6_000_000

# Where scikit-learn's scorers ask for predictions, one for each row of X.
_SCORERS = {("sklearn.utils._response", "_get_response_values")}


class BaseForecaster(BaseEstimator):
    """Common part of :class:`TitansForecaster` and the baselines; not for direct use."""

    # What subclasses store in __init__, as scikit-learn's rules want it.
    horizon: int
    context_length: int
    freq: str | None
    time_column: str | None
    id_column: str | None
    target: str | Sequence[str] | None
    target_transform: Any
    validation_fraction: float
    # Forecasters that read covariates store these too.
    past_covariates: Sequence[str] | str | None = None
    future_covariates: Sequence[str] | str | None = None
    static_covariates: Sequence[str] | str | None = None
    calendar: bool | Sequence[str] = False
    holidays: str | None = None

    # Parameters that say what a fitted forecaster reads and writes: it can have no others.
    _shaping: tuple[str, ...] = (
        "horizon",
        "past_covariates",
        "future_covariates",
        "static_covariates",
        "calendar",
        "holidays",
    )

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
        """Learn from windows; set fitted attributes.

        May raise TrainingInterrupted once they are set: the forecaster is then fitted, and
        ``fit`` raises it too.
        """
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

    def _check_loaded(self) -> None:
        """Raise where numbers of a saved forecaster make no sense, before they are used."""
        BaseForecaster._check_parameters(self)  # that of a subclass may import Lightning
        check_int("context_length_", self.context_length_)
        if self.n_features_in_ != len(self.layout_.channels):
            raise DataError(
                f"n_features_in_ is {self.n_features_in_!r} for {len(self.layout_.channels)} "
                "channels."
            )

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what ``save`` keeps beyond the common part: JSON values, and arrays by name."""
        raise NotImplementedError

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Undo :meth:`_fitted_state` on a forecaster that holds its parameters."""
        raise NotImplementedError

    def _transform_state(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
        """Return what ``save`` keeps of ``target_transform``."""
        return (None, {}) if self.target_transform_ is None else self.target_transform_.to_state()

    def _restore_transform(
        self, values: dict[str, Any] | None, arrays: dict[str, np.ndarray]
    ) -> None:
        """Undo :meth:`_transform_state`."""
        self.target_transform_ = None
        if values is not None:
            self.target_transform_ = TargetTransform.from_state(values, arrays)
            steps = self.target_transform_.steps
            self.target_transform = steps[0] if len(steps) == 1 else make_pipeline(*steps)

    # -- the scikit-learn API -----------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

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
        y : array or Series, optional
            Here because scikit-learn passes one, and ignored: a forecaster learns to continue X
            itself. One that says something else than X's target is refused: another number of
            rows than X, or a Series or frame with another name.
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
        return self._fit(X, y, validation, self._fit_windows)

    def _fit(
        self, X: Any, y: Any, validation: Any, learn: Callable[[TrainingWindows], None]
    ) -> Self:
        """Do what ``fit`` does, with :meth:`_fit_windows` or one that knows more."""
        self._check_parameters()
        series, layout = self._read(X)
        refuse_other_target(y, X, series, layout)
        joined, n_train, last = set_validation_aside(
            series,
            layout,
            validation,
            horizon=self.horizon,
            fraction=self.validation_fraction,
            read=lambda later: self._read_later(later, layout),
        )

        least = self._shortest_context()
        shortest = self.horizon + least
        if n_train.max() < shortest:
            raise DataError(
                f"Too few rows to learn from: the longest series has {n_train.max()} training rows "
                f"(before the split, n_samples={series.lengths.max()}), and a horizon of "
                f"{self.horizon} with a context of at least {least} needs {shortest}. "
                "Give more rows, or lower horizon or validation_fraction."
            )
        # From here on attributes change: a fit that fails must leave a forecaster that is not
        # fitted, not one of two halves.
        self.__dict__.pop("context_", None)
        # Half of a short series at most, so that more than a window or two is left to learn from.
        half = (int(n_train.max()) - self.horizon) // 2
        self.context_length_ = self._round_context(min(self.context_length, max(half, least)))

        self._note_shape()
        self.n_features_in_ = len(layout.channels)
        if layout.named:
            self.feature_names_in_ = np.array(layout.channels, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.freq_ = layout.freq
        self.target_transform_ = None
        if self.target_transform is not None:
            # From training rows only: a scaler must not have seen what learning is judged on.
            self.target_transform_ = TargetTransform.fit(
                self.target_transform, joined.head(n_train), joined.ids or ()
            )
        self.layout_ = layout
        joined = self._with_calendar(self._to_model_units(joined), last, layout)
        windows = training_windows(joined, n_train, self.context_length_, self.horizon, least)
        try:
            learn(windows)
        except TrainingInterrupted:
            self.context_ = self._last_rows(series).copy()
            raise
        self.context_ = self._last_rows(series).copy()
        return self

    def predict(self, X: Any = None, *, future: Any = None, quantiles: Any = None) -> Any:
        """Forecast the ``horizon`` steps that follow.

        Parameters
        ----------
        X : like X of ``fit``, optional
            What to read before forecasting; the last ``context_length_`` rows count, and a shorter
            table is padded. Any series, seen in ``fit`` or not, with the same columns.
            Default: the table given to ``fit``.
        future : DataFrame, optional
            Covariates that are known in advance, for the ``horizon`` steps of each series:
            a frame like X with id, time and the columns ``future_covariates``. Needed if the
            forecaster has such. :meth:`make_future_dataframe` gives its rows.
        quantiles : sequence of float, optional
            Fractions strictly between 0 and 1, increasing. Default: the point forecast.

        Returns
        -------
        array, Series or DataFrame
            The same kind as X, with the future index. With quantiles, frames have columns such as
            ``OT_q0.1``, ``q0.1`` in a long frame of one target, and arrays one more axis.

        Raises
        ------
        DataError
            X does not look like the table given to ``fit``; or ``future`` is missing, lacks
            steps, or does not fit X. The message names them.
        """
        check_is_fitted(self)
        if called_by(_SCORERS):
            # Of equal length by chance, they would be compared without a word.
            raise DataError(
                f"scikit-learn's scorers compare predict(X) with the rows of X, but a forecast is "
                f"of the {self.horizon} steps after them. Use scoring=forecast_scorer('mae') "
                "with cv=RollingOriginSplit(...), or the forecaster's own score."
            )
        levels = check_quantiles("quantiles", quantiles)
        series, layout = self._series_to_continue(X)
        return self._continue(self._with_future(series, layout, future), layout, levels)

    def make_future_dataframe(self, X: Any = None) -> Any:
        """Return the rows that ``predict(X, future=...)`` needs covariates for.

        Parameters
        ----------
        X : like X of ``predict``, optional
            Default: the table given to ``fit``.

        Returns
        -------
        DataFrame
            Like X, with id and time of the ``horizon`` steps after the end of each series, and no
            other column: add the columns ``future_covariates``, or merge them in.
        """
        check_is_fitted(self)
        return future_frame(self._series_to_continue(X)[1], self.horizon)

    def get_missing_future(self, future: Any, X: Any = None) -> Any:
        """Return the rows of :meth:`make_future_dataframe` that ``future`` lacks.

        Parameters
        ----------
        future : DataFrame
            As for ``predict``.
        X : like X of ``predict``, optional
            Default: the table given to ``fit``.

        Returns
        -------
        DataFrame
            Without a row if nothing is missing.
        """
        check_is_fitted(self)
        layout = self._series_to_continue(X)[1]
        return missing_future(
            future, layout, self.horizon, time_column=self.time_column, id_column=self.id_column
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean absolute error over every origin with a full context inside X.

        Two forecasters are comparable on the same origins: give each ``context_length_`` rows
        before the first, or use :func:`titans_ts.backtesting.long_horizon_protocol`.

        Parameters
        ----------
        X : like X of ``fit``
            At least ``context_length_ + horizon`` rows.
        y : array or Series, optional
            Ignored, as in ``fit``.

        Returns
        -------
        float
            In the data's own units; higher is better, 0 is perfect.
        """
        check_is_fitted(self)
        series, layout = self._read_like_fit(X)
        refuse_other_target(y, X, series, layout)
        series = self._with_calendar(series, layout, self.layout_)
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
        if not count:
            raise DataError(
                "Nothing to score: every value after a full context is missing. Give rows with "
                "observed values."
            )
        return -total / count

    def read_series(self, X: Any) -> SeriesSet:
        """Read a table as ``score`` does, for :meth:`iter_forecasts`.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        SeriesSet
            Series and covariates, in the data's own units.
        """
        check_is_fitted(self)
        series, layout = self._read_like_fit(X)
        return self._with_calendar(series, layout, self.layout_)

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
        self._check_shape()
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

    def iter_forecasts(
        self, windows: WindowIndex, *, quantiles: tuple[float, ...] | None = None
    ) -> Iterator[tuple[CutWindows, np.ndarray]]:
        """Cut windows batch by batch and forecast them; every window comes once, in order.

        Parameters
        ----------
        windows : WindowIndex
            Over series from :meth:`read_series`.
        quantiles : tuple of float, optional

        Yields
        ------
        windows : CutWindows
            In the data's own units.
        forecast : ndarray of shape (batch, horizon, channels), or one more axis for quantiles
            In the data's own units.
        """
        values = (windows.context_length + self.horizon) * len(windows.series.channels)
        batch = max(min(SCORE_BATCH, SCORE_VALUES // values), 1)
        forecast = self._prepare(windows, quantiles)
        for start in range(0, len(windows), batch):
            yield forecast(np.arange(start, min(start + batch, len(windows))))

    # -- inside -------------------------------------------------------------------------------

    def _prepare(
        self, windows: WindowIndex, quantiles: tuple[float, ...] | None
    ) -> Callable[[np.ndarray], tuple[CutWindows, np.ndarray]]:
        """Return a function that cuts and forecasts the windows with the numbers it is given."""
        transform = self.target_transform_
        if transform is None:

            def forecast(numbers: np.ndarray) -> tuple[CutWindows, np.ndarray]:
                cut = windows.cut(numbers, n_future=self.horizon)
                return cut, self._forecast(cut, quantiles)

            return forecast

        inside = replace(windows, series=self._to_model_units(windows.series))
        # A difference looks back on rows that may lie before the context.
        before = windows.with_context(max(windows.context_length, transform.context_rows))
        ids = windows.series.ids or ()

        def forecast_and_undo(numbers: np.ndarray) -> tuple[CutWindows, np.ndarray]:
            cut = windows.cut(numbers, n_future=self.horizon)
            forecast = self._forecast(inside.cut(numbers, n_future=self.horizon), quantiles)
            past = cut if before is windows else before.cut(numbers)
            of_windows = tuple(ids[i] for i in cut.series) if ids else ()
            return cut, transform.backward(
                forecast, past.context, past.context_observed, of_windows
            )

        return forecast_and_undo

    def _read(
        self,
        X: Any,
        freq: str | None = None,
        schema: CovariateSchema | None = None,
        *,
        step: int | None = None,
        time_form: str = "index",
        part: bool = False,
    ) -> tuple[SeriesSet, Layout]:
        self._check_freq()
        series, layout = read_table(
            X,
            freq=self.freq if freq is None else freq,
            time_column=self.time_column,
            id_column=self.id_column,
            target=self.target,
            past_covariates=self.past_covariates,
            future_covariates=self.future_covariates,
            static_covariates=self.static_covariates,
            schema=schema,
            step=step,
            time_form=time_form,
            part=part,
        )
        return replace(series, ids=layout.ids or None), layout

    def _found(self, freq: str | None) -> str | None:
        """The frequency of fit, marked where nobody gave it."""
        return freq if freq is None or self.freq is not None else FittedFreq(freq)

    def _check_freq(self) -> None:
        """Raise ParameterError unless ``freq`` is a name, which can be saved and read again."""
        if self.freq is None or isinstance(self.freq, str):
            return
        raise ParameterError(
            "freq must be the name of a frequency, such as 'h', '15min' or 'MS', got "
            f"{self.freq!r}. An offset of pandas has its name in freqstr."
        )

    def _read_like_fit(self, X: Any, *, part: bool = False) -> tuple[SeriesSet, Layout]:
        self._check_shape()
        series, layout = self._read_later(X, self.layout_, part=part)
        expected = self.n_features_in_
        if len(layout.channels) != expected:
            raise DataError(
                # In scikit-learn's words.
                f"X has {len(layout.channels)} features, but {type(self).__name__} is expecting "
                f"{expected} features as input{_differing(layout, self.layout_)}. Give the same "
                "columns as in fit."
            )
        # Numbers tell columns apart as names do, unless an array went in or comes in.
        fitted = self.layout_
        moved = layout.labels != fitted.labels and set(layout.labels) == set(fitted.labels)
        moved &= not any("numpy" in each.container for each in (layout, fitted))
        names = getattr(self, "feature_names_in_", None)
        if moved or (names is not None and layout.named and tuple(names) != layout.channels):
            raise DataError(
                f"X has the columns {list(layout.channels)}, but {type(self).__name__} was fitted "
                f"on {list(fitted.channels)}. Give the same columns in the same order."
            )
        return series, layout

    def _note_shape(self) -> None:
        """Remember parameters that :meth:`_check_shape` compares later ones with."""
        # Copies: a list of columns may be changed in place.
        self._shape = {name: copy.copy(getattr(self, name)) for name in self._shaping}

    def _check_shape(self) -> None:
        """Raise ParameterError where ``set_params`` changed after ``fit`` what it cannot change."""
        for name, then in self._shape.items():
            now = getattr(self, name)
            if plain_role(now) != plain_role(then):
                raise ParameterError(
                    f"{name} was {then!r} in fit and is {now!r} now, but a forecaster goes on as "
                    f"it was fitted. Fit it again, or set {name} back."
                )

    def _read_later(
        self, X: Any, fitted: Layout, *, part: bool = False
    ) -> tuple[SeriesSet, Layout]:
        """Read a table as that of ``fit`` was read, which cannot always be told from few rows."""
        # Frequency and step of fit, so that few rows are enough and another one is noticed.
        freq, schema, form = self._found(fitted.freq), fitted.covariates, fitted.time_form
        return self._read(X, freq, schema, step=fitted.step, time_form=form, part=part)

    def _series_to_continue(self, X: Any) -> tuple[SeriesSet, Layout]:
        """What ``predict(X)`` reads: the last rows of each series."""
        if X is None:
            self._check_shape()
            return self.context_, self.layout_
        series, layout = self._read_like_fit(X)
        return self._last_rows(series), layout

    def _continue(
        self, series: SeriesSet, layout: Layout, quantiles: tuple[float, ...] | None
    ) -> Any:
        """Forecast what follows the last rows of each series, covariates of that time beside."""
        windows = WindowIndex(series, self.context_length_, 0, first_origin=series.lengths)
        # Windows without a target, one a series: cut from the end of each.
        parts = [f for _, f in self.iter_forecasts(windows, quantiles=quantiles)]
        return layout.forecast_table(np.concatenate(parts), quantiles)

    def _last_rows(self, series: SeriesSet) -> SeriesSet:
        """The rows that a forecast is made from."""
        return series.tail(np.full(series.n_series, self._rows_to_keep()))

    def _rows_to_keep(self) -> int:
        """A context, and what ``target_transform`` takes for it."""
        # The first rows of a difference are none; a score's contexts have rows before them.
        transform = self.target_transform_
        return self.context_length_ + (0 if transform is None else transform.context_rows)

    def _with_future(self, series: SeriesSet, layout: Layout, future: Any) -> SeriesSet:
        """Add the covariates of the steps to forecast."""
        if series.known is None:
            if future is not None:
                raise DataError(
                    f"future= was given, but this {type(self).__name__} has no future_covariates. "
                    "Leave it out, or fit with future_covariates=[...]."
                )
        elif future is None:
            raise DataError(
                f"predict needs future=, a table with the columns {list(series.known.channels)} "
                f"for the {self.horizon} steps after the end of each series: they were named in "
                "future_covariates. make_future_dataframe(X) gives its rows."
            )
        else:
            ahead = read_future(
                future,
                layout,
                self.horizon,
                time_column=self.time_column,
                id_column=self.id_column,
                future_covariates=self.future_covariates,
            )
            series = replace(series, known=series.known.followed_by(ahead))
        return self._with_calendar(series, layout, self.layout_)

    def _has_calendar(self) -> bool:
        # A grid may set a boolean of numpy.
        return not isinstance(self.calendar, bool | np.bool_) or bool(self.calendar)

    def _with_calendar(self, series: SeriesSet, layout: Layout, fitted: Layout) -> SeriesSet:
        """Add what the calendar says of each row and of the steps to forecast.

        ``layout`` tells when the last rows were; ``fitted`` has the time zone of the model.
        """
        if not self._has_calendar():
            return series
        features = "auto" if isinstance(self.calendar, bool | np.bool_) else self.calendar
        known = calendar_series(
            series, layout, fitted, self.horizon, features=features, holidays=self.holidays
        )
        if series.known is not None:
            known = series.known.beside(known)
        return replace(series, known=known)

    def _to_model_units(self, series: SeriesSet) -> SeriesSet:
        if self.target_transform_ is None:
            return series
        return self.target_transform_.forward(series, series.ids or ())


def _differing(layout: Layout, fitted: Layout) -> str:
    """Which columns a table has too many or lacks, where both have names."""
    if not (layout.named and fitted.named):
        return ""
    words = []
    for what, here, there in (("more", layout, fitted), ("missing", fitted, layout)):
        names = [name for name in here.channels if name not in there.channels]
        if names:
            shown = ", ".join(map(repr, names[:5])) + ", ..." * (len(names) > 5)
            words.append(f"{what}: {shown}")
    return f" ({'; '.join(words)})" if words else ""
