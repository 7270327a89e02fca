"""LinearForecaster: one linear map from context to horizon, trained on absolute error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy as np

from titans_ts.baselines.common import BaselineForecaster, batches, centre, fill_edges, thin
from titans_ts.baselines.ridge import fit_ridge
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_int, check_number

__all__ = ["LinearForecaster"]

# An epoch is one pass over the windows, within bounds: a table of a hundred windows still gets
# some steps, and one of a hundred million is still judged now and then.
EPOCH_BATCHES = (100, 500)
# Windows that early stopping looks at: evenly spaced, and enough for three digits of the error.
JUDGED_VALUES = 4_000_000
WARM_UP = 0.05  # part of all steps over which the learning rate rises
DECAY_1, DECAY_2, TINY = np.float32(0.9), np.float32(0.999), np.float32(1e-8)


class LinearForecaster(BaselineForecaster):
    """Forecast each channel by one linear map from its context, trained on absolute error.

    The map is that of :class:`RidgeForecaster` (context less its mean, one map for all channels,
    each channel weighed by its training standard deviation), but it minimises the absolute
    instead of the squared error, so that outliers pull less. Training starts from the ridge
    solution and goes on with Adam (arXiv:1412.6980) on random windows under a cosine-decaying
    rate; the weights of the best epoch on validation windows are kept.

    Normalising each window by its standard deviation too, and weighing its error by the same,
    would leave the map and the loss as they are, so it is not done.

    Parameters
    ----------
    horizon : int, default 24
        Steps to forecast.
    context_length : int, default 336
        Rows to forecast from. Short tables get less: half of what a series can give.
    max_epochs : int, default 4
        Passes over the training windows at most. A pass has at least 100 and at most 500 batches.
    batch_size : int, default 512
        Windows of one channel per step.
    learning_rate : float, default 3e-4
        The highest, reached after a twentieth of the steps.
    patience : int, default 2
        Epochs without a better validation error before training stops. Without validation rows
        all epochs are run and the last weights kept.
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
        Part of the rows, at the end, that training and the quantiles are judged on.
    random_state : int, numpy.random.RandomState or numpy.random.Generator, optional
        Draws the batches. The same integer gives the same forecaster.
    verbose : int, default 0
        1 shows a progress bar.

    Attributes
    ----------
    coef_ : ndarray of shape (context_length_, horizon)
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the ridge solution.
    validation_errors_ : ndarray of shape (epochs run + 1,)
        Mean absolute error on validation windows, each channel in units of its standard
        deviation, before training and after each epoch. Empty without validation rows.
    context_length_ : int
    channel_mean_ : ndarray of shape (channels,)
        Over the training rows; the forecast where a context holds no value at all.
    error_quantiles_ : ndarray of shape (levels, horizon, channels)
        What ``predict(quantiles=...)`` adds to the point forecast.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import LinearForecaster
    >>> wave = np.sin(np.arange(400) * 2 * np.pi / 20)[:, None]
    >>> forecaster = LinearForecaster(horizon=5, context_length=40, random_state=0).fit(wave)
    >>> bool(np.abs(forecaster.predict() - wave[:5]).mean() < 0.05)
    True
    """

    _learnt_arrays = ("coef_", "validation_errors_")
    _learnt_numbers = ("best_epoch_",)

    def __init__(
        self,
        *,
        horizon: int = 24,
        context_length: int = 336,
        max_epochs: int = 4,
        batch_size: int = 512,
        learning_rate: float = 3e-4,
        patience: int = 2,
        freq: str | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        target: str | list[str] | None = None,
        target_transform: Any = None,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.freq = freq
        self.time_column = time_column
        self.id_column = id_column
        self.target = target
        self.target_transform = target_transform
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("max_epochs", "batch_size", "patience"):
            check_int(name, getattr(self, name))
        check_int("verbose", self.verbose, minimum=0)
        check_number("learning_rate", self.learning_rate, minimum=0, exclusive=True)
        if not isinstance(self.random_state, np.random.RandomState):  # which moves when asked
            _generator(self.random_state)

    def _learn(self, windows: TrainingWindows, scale: np.ndarray) -> TrainingWindows:
        rng = _generator(self.random_state)
        train, judged = windows
        if judged is not None and not len(judged):
            judged = None
        weights = fit_ridge(windows, self.channel_mean_, scale)[0].astype(np.float32)

        n_origins = math.ceil(self.batch_size / len(scale))
        epoch = int(np.clip(math.ceil(len(train) / n_origins), *EPOCH_BATCHES))
        best, self.best_epoch_ = weights.copy(), 0
        errors = [] if judged is None else [self._validation_error(judged, weights, scale)]
        if errors and math.isnan(errors[0]):  # its rows hold no value: as if there were none
            judged, errors = None, []
        adam = _Adam(weights, peak=self.learning_rate, steps=epoch * self.max_epochs)
        for step in self._progress(epoch * self.max_epochs):
            past, future = self._draw(train, rng, n_origins, scale)
            adam.descend(weights, _absolute_error_gradient(weights, past, future))
            if (step + 1) % epoch:
                continue
            done = (step + 1) // epoch
            if judged is None:
                best, self.best_epoch_ = weights, done
                continue
            errors.append(self._validation_error(judged, weights, scale))
            if errors[-1] < errors[self.best_epoch_]:
                best, self.best_epoch_ = weights.copy(), done
            elif done - self.best_epoch_ >= self.patience:
                break
        self.coef_ = best.astype(np.float64)
        self.validation_errors_ = np.array(errors)
        return windows

    def _point(self, context: np.ndarray, observed: np.ndarray) -> np.ndarray:
        centred, mean = centre(fill_edges(context, observed, self.channel_mean_))
        return (centred @ self.coef_ + mean).transpose(0, 2, 1)

    def _draw(
        self, train: WindowIndex, rng: np.random.Generator, n_origins: int, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch of contexts and targets: centred, in units of scale, float32, one per row."""
        past, future = self._scaled(train, rng.integers(0, len(train), n_origins), scale)
        return past.astype(np.float32), future.astype(np.float32)

    def _scaled(
        self, windows: WindowIndex, numbers: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Contexts (rows, context_length) and targets (rows, horizon); NaN where not observed."""
        cut = windows.cut(numbers)
        past, mean = centre(fill_edges(cut.context, cut.context_observed, self.channel_mean_))
        future = np.where(cut.target_observed, cut.target, np.nan).transpose(0, 2, 1) - mean
        past, future = past / scale[:, None], future / scale[:, None]
        return past.reshape(-1, past.shape[2]), future.reshape(-1, future.shape[2])

    def _validation_error(
        self, windows: WindowIndex, weights: np.ndarray, scale: np.ndarray
    ) -> float:
        width = (windows.context_length + windows.horizon) * len(scale)
        total, count = 0.0, 0
        for numbers in batches(windows, thin(len(windows), max(32, JUDGED_VALUES // width))):
            past, future = self._scaled(windows, numbers, scale)
            error = np.abs(past @ weights - future)
            total, count = total + float(np.nansum(error)), count + int((~np.isnan(error)).sum())
        return total / count if count else math.nan

    def _progress(self, n_steps: int) -> Iterable[int]:
        if not self.verbose:
            return range(n_steps)
        from rich.progress import track

        return track(range(n_steps), description=type(self).__name__)


def _absolute_error_gradient(
    weights: np.ndarray, past: np.ndarray, future: np.ndarray
) -> np.ndarray:
    """Gradient of the absolute error, summed over steps, averaged over windows.

    A sum over steps, because Adam takes the size out of the gradient, and a mean over a long
    horizon would sink towards its epsilon. What is missing (NaN) pulls in no direction.
    """
    return past.T @ np.nan_to_num(np.sign(past @ weights - future)) / np.float32(len(past))


class _Adam:
    """Adam (arXiv:1412.6980) with a linear warm-up and a cosine decay to 0."""

    def __init__(self, weights: np.ndarray, *, peak: float, steps: int) -> None:
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)
        self.rates: Iterator[tuple[int, float]] = enumerate(
            (
                peak
                * min(1.0, (k + 1) / max(1.0, WARM_UP * steps))
                * 0.5
                * (1 + math.cos(math.pi * k / steps))
                for k in range(steps)
            ),
            start=1,
        )

    def descend(self, weights: np.ndarray, gradient: np.ndarray) -> None:
        """Move ``weights`` in place."""
        step, rate = next(self.rates)
        self.first += (1 - DECAY_1) * (gradient - self.first)
        self.second += (1 - DECAY_2) * (gradient**2 - self.second)
        spread = np.sqrt(self.second / (1 - DECAY_2**step)) + TINY
        weights -= np.float32(rate) * (self.first / (1 - DECAY_1**step)) / spread


def _generator(random_state: Any) -> np.random.Generator:
    """A generator of our own, from whatever scikit-learn's users call a random state."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    whole = isinstance(random_state, Integral) and not isinstance(random_state, bool)
    if whole and random_state >= 0:
        return np.random.default_rng(int(random_state))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    raise ParameterError(
        "random_state must be None, a whole number of at least 0, or a numpy RandomState or "
        f"Generator; got {random_state!r}."
    )
