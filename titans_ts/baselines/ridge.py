"""RidgeForecaster: one linear map from context to horizon, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from titans_ts.baselines.common import BaselineForecaster, centre, fill_edges
from titans_ts.baselines.moments import Moments, window_moments
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.errors import DataError
from titans_ts.parameters import check_number

__all__ = ["ALPHAS", "DEFAULT_ALPHA", "RidgeForecaster", "fit_ridge"]

#: Penalties tried where ``alpha`` is None and there are validation rows.
ALPHAS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: The penalty where there are none.
DEFAULT_ALPHA = 1e-2


class RidgeForecaster(BaselineForecaster):
    """Forecast each channel by one linear map from its context, fitted by ridge regression.

    The context's mean is taken away before the map and added back after it. All channels share
    the map, and each is weighed by its standard deviation over the training rows, so that it
    counts equally whatever its unit. The fit is exact and holds no windows; a year of
    quarter-hours takes under a second.

    Parameters
    ----------
    horizon : int, default 24
        Steps to forecast.
    context_length : int, default 336
        Rows to forecast from. Short tables get less: half of what a series can give.
    alpha : float, optional
        Penalty on the squared weights, relative to the mean of the context's second moments,
        so it means the same for every table. Default: the best of 1e-5, 1e-4 .. 1 on the
        validation windows, or 0.01 where no rows were set aside.
    freq : str, optional
        Frequency as pandas writes it, such as ``"15min"``. Default: read from the time stamps.
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
        Part of the rows, at the end, that ``alpha`` and the quantiles are judged on.

    Attributes
    ----------
    coef_ : ndarray of shape (context_length_, horizon)
    alpha_ : float
    context_length_ : int
    channel_mean_ : ndarray of shape (channels,)
        Over the training rows; the forecast where a context holds no value at all.
    error_quantiles_ : ndarray of shape (levels, horizon, channels)
        What ``predict(quantiles=...)`` adds to the point forecast.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import RidgeForecaster
    >>> wave = np.sin(np.arange(400) * 2 * np.pi / 20)[:, None]
    >>> forecaster = RidgeForecaster(horizon=5, context_length=40, alpha=1e-6).fit(wave)
    >>> forecaster.predict().shape
    (5, 1)
    >>> bool(np.allclose(forecaster.predict(), wave[:5], atol=1e-3))
    True
    """

    _learnt_arrays = ("coef_",)
    _learnt_numbers = ("alpha_",)

    def __init__(
        self,
        *,
        horizon: int = 24,
        context_length: int = 336,
        alpha: float | None = None,
        freq: str | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        target: str | list[str] | None = None,
        target_transform: Any = None,
        validation_fraction: float = 0.2,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.alpha = alpha
        self.freq = freq
        self.time_column = time_column
        self.id_column = id_column
        self.target = target
        self.target_transform = target_transform
        self.validation_fraction = validation_fraction

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.alpha is not None:
            check_number("alpha", self.alpha, minimum=0)

    def _learn(self, windows: TrainingWindows, scale: np.ndarray) -> TrainingWindows:
        self.coef_, self.alpha_ = fit_ridge(windows, self.channel_mean_, scale, alpha=self.alpha)
        return windows

    def _point(self, context: np.ndarray, observed: np.ndarray) -> np.ndarray:
        centred, mean = centre(fill_edges(context, observed, self.channel_mean_))
        return (centred @ self.coef_ + mean).transpose(0, 2, 1)


def fit_ridge(
    windows: TrainingWindows,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    alpha: float | None = None,
) -> tuple[np.ndarray, float]:
    """Solve ``min |Z W - Y|^2 + alpha m |W|^2`` over all training windows.

    Z holds contexts and Y targets, each less its context's mean and divided by its channel's
    scale; m is the mean of the diagonal of ``Z' Z``.

    Parameters
    ----------
    windows : TrainingWindows
    mean, scale : ndarray of shape (channels,)
    alpha : float, optional
        Default: the best of ``ALPHAS`` on validation windows, or ``DEFAULT_ALPHA`` without any.

    Returns
    -------
    coef : ndarray of shape (context_length, horizon)
    alpha : float

    Raises
    ------
    DataError
        No training window has a target of which at least half was observed.
    """
    train = window_moments(windows.train, mean, scale)
    if not train.n_windows:
        raise DataError(
            f"No stretch of {windows.train.horizon} training rows has values in at least half of "
            "them, so there is nothing to learn from. Fill the gaps, or lower horizon."
        )
    size = float(np.trace(train.gram)) / len(train.gram)
    if size <= 0:  # Every context is constant: the forecast is its mean.
        return np.zeros_like(train.cross), DEFAULT_ALPHA if alpha is None else float(alpha)

    # One eigendecomposition serves every alpha.
    values, vectors = np.linalg.eigh(train.gram)
    cross = vectors.T @ train.cross
    # Rounding leaves directions without signal a tiny eigenvalue of either sign; alpha=0 would
    # divide by it.
    values = np.maximum(values, 0.0)
    floor = len(values) * np.finfo(np.float64).eps * values[-1]

    def solve(penalty: float) -> np.ndarray:
        weight = values + penalty * size
        return np.divide(cross, weight[:, None], where=weight[:, None] > floor, out=cross * 0.0)

    if alpha is None:
        alpha = DEFAULT_ALPHA
        judged = windows.validation
        if judged is not None and len(judged):
            moments = window_moments(judged, mean, scale)
            if moments.n_windows:
                alpha = _best_alpha(moments, vectors, solve)
    return vectors @ solve(float(alpha)), float(alpha)


def _best_alpha(
    validation: Moments, vectors: np.ndarray, solve: Callable[[float], np.ndarray]
) -> float:
    """The alpha of least squared error on validation windows, from their moments alone."""
    gram = vectors.T @ validation.gram @ vectors
    cross = vectors.T @ validation.cross

    def squared_error(alpha: float) -> float:
        coef = solve(alpha)
        return validation.energy + float((coef * (gram @ coef - 2 * cross)).sum())

    return min(ALPHAS, key=squared_error)
