"""forecast_scorer: what to compare when scikit-learn searches for the best forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from titans_ts.base import BaseForecaster
from titans_ts.callers import called_by
from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError, ParameterError
from titans_ts.metrics import is_noise
from titans_ts.model_selection.folds import FoldError, JudgedWindows, judged_windows
from titans_ts.model_selection.measures import (
    QUANTILE_MEASURES,
    Average,
    Collected,
    find_measure,
    greater_is_better,
)
from titans_ts.parameters import check_choice, check_int, check_quantiles

__all__ = ["forecast_scorer"]

DEFAULT_QUANTILES = (0.1, 0.5, 0.9)

# Where scikit-learn calls scorers so that an exception becomes nan and a warning.
_SWALLOWING = {
    ("sklearn.model_selection._validation", "_score"),
    ("sklearn.metrics._scorer", "__call__"),
}


def forecast_scorer(
    metric: str | Callable[..., float] = "mae",
    *,
    gap: int = 0,
    quantiles: Sequence[float] | None = None,
    season_length: int = 1,
    greater_is_better: bool | None = None,
) -> ForecastScorer:
    """Make a scorer of forecasts, for ``scoring=`` of scikit-learn's searches.

    It goes over every origin of a test fold whose target comes after the training rows, compares
    what is forecast there with what came, and returns one number: larger is better, so errors
    come with a minus. All values that were observed count alike, in the data's own units.

    Parameters
    ----------
    metric : str or callable, default "mae"
        ``"mae"``, ``"mse"``, ``"rmse"``, ``"smape"``, ``"wape"`` (summed absolute error over the
        summed absolute truth), ``"mase"``, ``"pinball"`` or ``"wql"``, all but wape as in
        ``titans_ts.metrics``; or a function of ``y_true`` and ``y_pred``, both of shape
        (values,), such as those of :mod:`sklearn.metrics`.
    gap : int, default 0
        The ``gap`` of the :class:`RollingOriginSplit`: rows that are not judged, though they come
        after the training rows.
    quantiles : sequence of float, optional
        Levels for ``"pinball"`` and ``"wql"``. Default: the forecaster's own ``quantiles``, or
        else 0.1, 0.5 and 0.9.
    season_length : int, default 1
        For ``"mase"``, which divides each channel's error by the mean of
        ``|x_t - x_(t - season_length)|`` over the rows of the test fold, its context included: a
        scorer does not see the training rows, so give the folds a ``context_length`` of several
        seasons.
    greater_is_better : bool, optional
        Of a function. Default: by scikit-learn's habit, a name that ends with ``_score`` says
        yes; ``_error``, ``_loss`` and ``_deviance`` say no.

    Returns
    -------
    ForecastScorer
        Called as ``scorer(estimator, X, y=None)``. The estimator is a fitted forecaster, a
        :class:`~sklearn.pipeline.Pipeline` that ends with one, or a search over those; ``y`` is
        ignored, since the truth is in X.

    Raises
    ------
    ParameterError
        There is no such metric.

    See Also
    --------
    RollingOriginSplit : Folds to score on.

    Notes
    -----
    A fold that does not follow the training rows in time (``KFold``, ``GroupKFold``, shuffled
    folds, 3-D arrays cut across series) is refused with a :class:`DataError`. Inside
    scikit-learn, which would turn that into nan, the search stops with a ``ValueError`` that
    says the same. Tables without time stamps show where a fold belongs only by common rows, which
    the folds of :class:`RollingOriginSplit` begin with. Where values repeat, one row fits in
    several places, and the fold is refused: give :class:`RollingOriginSplit` a ``context_length``
    of at least the forecaster's ``context_length_``, and ``order * lag`` more with ``Difference``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from titans_ts import RollingOriginSplit, SeasonalNaiveForecaster, forecast_scorer
    >>> X = np.tile([1.0, 2.0, 5.0], 20)[:, None]
    >>> X[-1] += 3.0
    >>> cross_val_score(
    ...     SeasonalNaiveForecaster(horizon=3, season_length=3),
    ...     X,
    ...     cv=RollingOriginSplit(n_splits=2, horizon=3),
    ...     scoring=forecast_scorer("mae"),
    ... )
    array([ 0., -1.])
    """
    return ForecastScorer(metric, gap, quantiles, season_length, greater_is_better)


class ForecastScorer:
    """What :func:`forecast_scorer` makes; not for direct use."""

    def __init__(
        self,
        metric: str | Callable[..., float],
        gap: int,
        quantiles: Sequence[float] | None,
        season_length: int,
        larger_is_better: bool | None,
    ) -> None:
        self.metric = find_measure(metric)
        check_int("gap", gap, minimum=0)
        check_int("season_length", season_length)
        check_choice("greater_is_better", larger_is_better, (None, True, False))
        self.gap = gap
        self.quantiles = check_quantiles("quantiles", quantiles)
        self.season_length = season_length
        self.larger_is_better = larger_is_better
        self.sign = 1 if greater_is_better(self.metric, larger_is_better) else -1
        if self.quantiles is not None and self.metric not in QUANTILE_MEASURES:
            raise ParameterError(
                f"quantiles={quantiles!r} go with metric='pinball' or 'wql' only, got {metric!r}."
            )

    def __repr__(self) -> str:
        # All that tells scores apart: workers of one study know each other's scorer by it.
        name = getattr(self.metric, "__name__", repr(self.metric))
        options = {
            "gap": self.gap or None,
            "quantiles": self.quantiles,
            "season_length": None if self.season_length == 1 else self.season_length,
            "greater_is_better": self.larger_is_better,
        }
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        return f"forecast_scorer({', '.join([name, *given])})"

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Score a fitted forecaster on a test fold; see :func:`forecast_scorer`."""
        try:
            return self._score(estimator, X)
        except (FoldError, OtherUnitsError) as error:
            # Every fold and candidate would fail alike, and a search over nan "finds" its first
            # candidate. scikit-learn stops for a score that is no number, and shows it.
            if called_by(_SWALLOWING):
                return RefusedScore(str(error))  # type: ignore[return-value]
            raise

    def _score(self, estimator: Any, X: Any) -> float:
        forecaster, steps = _forecaster_of(estimator)
        check_is_fitted(forecaster)
        read = X if steps is None else steps.transform(X)
        series, layout = forecaster._read_like_fit(read)
        truth = series if steps is None else _own_values(forecaster, X, series, steps)
        scale = self._scale(truth) if self.metric == "mase" else None
        levels = self._levels(forecaster)
        measure = (
            Average(self.metric, levels) if isinstance(self.metric, str) else Collected(self.metric)
        )
        for part in judged_windows(forecaster, series, truth, layout, self.gap):
            _add(measure, forecaster, part, levels, scale)
        return self.sign * measure.value() + 0.0  # not -0.0 for a perfect forecast

    def _levels(self, forecaster: BaseForecaster) -> tuple[float, ...] | None:
        if self.metric not in QUANTILE_MEASURES:
            return None
        own = check_quantiles("quantiles", getattr(forecaster, "quantiles", None))
        return self.quantiles or own or DEFAULT_QUANTILES

    def _scale(self, series: SeriesSet) -> np.ndarray:
        """Mean step from one season to the next, shape (n_series, channels); 0 if unknown."""
        lag = self.season_length
        if series.lengths.max() <= lag:
            raise DataError(
                f"mase with season_length={lag} needs more rows than that in a test fold, which "
                f"has {series.lengths.max()}. Give RollingOriginSplit a longer context_length."
            )
        scale = np.zeros((series.n_series, len(series.channels)))
        for i in range(series.n_series):
            one = series.select(np.array([i]))
            values = np.where(one.observed, one.values, np.nan)
            steps = np.abs(values[lag:] - values[:-lag])
            count = (~np.isnan(steps)).sum(axis=0)
            mean = np.nansum(steps, axis=0) / np.maximum(count, 1)
            scale[i] = np.where(is_noise(mean, one.values, one.observed), 0.0, mean)
        return scale


def _add(
    measure: Average | Collected,
    forecaster: BaseForecaster,
    part: JudgedWindows,
    levels: tuple[float, ...] | None,
    scale: np.ndarray | None,
) -> None:
    done = 0
    for cut, forecast in forecaster.iter_forecasts(part.windows, quantiles=levels):
        numbers = np.arange(done, done + len(forecast))
        true = part.truth.cut(numbers)
        done += len(forecast)
        mask, by = true.target_observed, None
        if scale is not None:
            by = np.broadcast_to(scale[part.series[cut.series]][:, None], mask.shape)
            mask = mask & (by > 0)
            by = by[mask]
        measure.add(true.target[mask], forecast[mask], by)


def _first_alike(
    forecaster: BaseForecaster, X: Any, series: SeriesSet, steps: Pipeline
) -> SeriesSet | None:
    """The fold before the steps, or before as many of them as follow those that add its rows."""
    for number in range(len(steps)):
        try:
            own, _ = forecaster._read_like_fit(steps[:number].transform(X) if number else X)
        except DataError:
            continue  # such as a table whose missing rows the next step fills in
        # Not by their names: steps of scikit-learn turn a frame into an array, which has none.
        alike = (own.n_series, len(own.channels)) == (series.n_series, len(series.channels))
        if alike and (own.lengths == series.lengths).all():
            return own
    return None


class OtherUnitsError(ParameterError):
    """Steps in front of a forecaster change what is forecast."""


class RefusedScore:
    """Why a fold was refused, in the place of a score."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return self.reason


def _forecaster_of(estimator: Any) -> tuple[BaseForecaster, Pipeline | None]:
    """The forecaster inside an estimator, and the fitted steps in front of it."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    if isinstance(estimator, BaseForecaster):
        return estimator, None
    if isinstance(estimator, Pipeline):
        forecaster, inner = _forecaster_of(estimator[-1])
        if inner is None:
            return forecaster, estimator[:-1] if len(estimator) > 1 else None
    raise ParameterError(
        "forecast_scorer scores a forecaster of titans_ts, or a Pipeline that ends with one; got "
        f"{type(estimator).__name__}."
    )


def _own_values(
    forecaster: BaseForecaster, X: Any, series: SeriesSet, steps: Pipeline
) -> SeriesSet:
    """What a fold held before the steps in front of the forecaster, where that can be told.

    Values that the steps filled in are not judged.
    """
    own = _first_alike(forecaster, X, series, steps)
    if own is None:
        return series
    both = own.observed & series.observed
    if not np.allclose(own.values[both], series.values[both], rtol=1e-6, atol=0):
        names = ", ".join(type(step).__name__ for _, step in steps.steps)
        raise OtherUnitsError(
            f"The steps in front of the forecaster ({names}) change the values that are forecast, "
            "so the score would not be in the data's own units. Give the transformer to the "
            "forecaster as target_transform=, which is undone in the forecast."
        )
    observed = SeriesSet.from_rows(own.values, own.observed, own.offsets, own.channels)
    return replace(series, store=observed.store, starts=observed.starts, lengths=observed.lengths)
