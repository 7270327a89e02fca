"""find_learning_rate: which rate to train with, by trying ever larger ones for a step each."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer
from sklearn.base import clone

from titans_ts.errors import NonFiniteLossError, ParameterError
from titans_ts.parameters import check_int, check_number

__all__ = ["LearningRates", "find_learning_rate"]

# A loss so many times the best has run away.
RUN_AWAY = 4.0

# What is for a fit: it would cut the sweep short, wait for a loss of validation, or write files.
OF_A_FIT = {"max_epochs", "max_steps", "max_time", "fast_dev_run", "enable_checkpointing"}
CALLBACKS_OF_A_FIT = (EarlyStopping, Timer, Checkpoint)

# What the loss of a step before weighs in the smoothed one.
SMOOTHING = 0.9


class LearningRates(NamedTuple):
    """What :func:`~titans_ts.training.find_learning_rate` saw."""

    suggestion: float
    rates: np.ndarray  # that were tried, one a step
    losses: np.ndarray  # smoothed, at each


def find_learning_rate(
    forecaster: Any,
    X: Any,
    *,
    lowest: float = 1e-5,
    highest: float = 1.0,
    n_steps: int = 100,
) -> LearningRates:
    """Try learning rates from low to high, a step each, and suggest one.

    The suggestion is the rate at which the loss falls fastest, before it grows: a peak for the
    warm-up and the cosine that follow. The forecaster is left as it is; a copy is trained, and
    thrown away. Nothing is written, where Lightning's own finder keeps a checkpoint file. What
    ``trainer_kwargs`` says of when to stop, and of checkpoints, is left out.

    Parameters
    ----------
    forecaster : TitansForecaster
        Or another estimator with ``fit``, ``max_epochs`` and ``trainer_kwargs`` that trains by
        :func:`titans_ts.training.run_training`.
    X : table
        As for ``fit``.
    lowest, highest : float
    n_steps : int, default 100

    Returns
    -------
    LearningRates
        With ``suggestion``, ``rates`` and ``losses``.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> from titans_ts.training import find_learning_rate
    >>> station = make_transformer_station(600, freq="h", random_state=0)
    >>> forecaster = TitansForecaster(horizon=24, random_state=0)
    >>> found = find_learning_rate(forecaster, station, n_steps=20)
    >>> 1e-5 <= found.suggestion <= 1.0
    True
    """
    check_number("lowest", lowest, minimum=0, exclusive=True)
    check_number("highest", highest, minimum=lowest, maximum=1000, exclusive=True)
    check_int("n_steps", n_steps, minimum=10)
    sweep = _Sweep(np.geomspace(lowest, highest, n_steps))
    given = dict(forecaster.trainer_kwargs or {})
    kwargs = {name: value for name, value in given.items() if name not in OF_A_FIT}
    more = kwargs.pop("callbacks", None) or []
    more = [more] if isinstance(more, Callback) else list(more)
    more = [callback for callback in more if not isinstance(callback, CALLBACKS_OF_A_FIT)]
    # Epochs may be short; nothing is judged between them.
    kwargs |= {"callbacks": [*more, sweep], "limit_val_batches": 0}
    trial = clone(forecaster).set_params(max_epochs=n_steps, trainer_kwargs=kwargs, verbose=0)
    with suppress(_Enough, NonFiniteLossError):
        trial.fit(X)
    return sweep.result()


class _Enough(Exception):
    """All rates were tried, or the loss has run away."""


class _Sweep(Callback):
    def __init__(self, rates: np.ndarray) -> None:
        self.rates, self.losses = rates, list[float]()
        self._mean, self._n = 0.0, 0

    def __deepcopy__(self, memo: Any) -> _Sweep:
        return self  # what a clone of the forecaster sees is wanted here

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._n == len(self.rates):
            raise _Enough
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = float(self.rates[self._n])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._n += 1
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * float(outputs["loss"])
        self.losses.append(self._mean / (1 - SMOOTHING**self._n))
        if self.losses[-1] > RUN_AWAY * min(self.losses) or not math.isfinite(self.losses[-1]):
            raise _Enough

    def result(self) -> LearningRates:
        losses = np.array(self.losses)
        rates = self.rates[: len(losses)]
        if len(losses) < 3:
            raise ParameterError(
                f"The loss ran away within {len(losses)} steps from a learning rate of "
                f"{self.rates[0]:g}. Give a smaller lowest."
            )
        # Up to the smallest loss: behind it the curve may fall again from far above.
        falling = losses[: max(int(losses.argmin()) + 1, 3)]
        steepest = int(np.gradient(falling, np.log(rates[: len(falling)])).argmin())
        return LearningRates(float(rates[steepest]), rates, losses)
