"""Callbacks: what was learnt each epoch, the best weights, and a bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor

from titans_ts.errors import NonFiniteLossError
from titans_ts.training.loop_module import LoopModule

__all__ = [
    "BestWeights",
    "History",
    "OneProgressBar",
    "TellLoggers",
    "WeightAverage",
    "WholeSteps",
]


class History(Callback):
    """The losses of every epoch, as plain numbers; of validation, if the epoch was judged.

    Place it first: it tells Lightning the epoch's training loss, which others may watch.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._judged = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._judged = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._judged = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LoopModule)
        # Once an epoch: Lightning's book-keeping of a logged number takes as long as many a step.
        pl_module.log("train_loss", pl_module.mean_training_loss())
        # Lightning keeps the last loss of validation through epochs that are not judged.
        names = ("train_loss", "validation_loss") if self._judged else ("train_loss",)
        seen = {
            n: float(trainer.callback_metrics[n]) for n in names if n in trainer.callback_metrics
        }
        self.epochs.append({"epoch": trainer.current_epoch, **seen})


class TellLoggers(Callback):
    """Tell loggers of hyper-parameters, and of the learning rate that each epoch came to.

    Parameters
    ----------
    hyperparameters : mapping
        What is neither a number nor text is told in words: loggers write files of plain values.
    """

    def __init__(self, hyperparameters: Mapping[str, Any]) -> None:
        self.hyperparameters = {
            name: value if isinstance(value, str | bool | int | float | None) else repr(value)
            for name, value in hyperparameters.items()
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            logger.log_hyperparams(self.hyperparameters)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("learning_rate", trainer.optimizers[0].param_groups[0]["lr"])


class WholeSteps(Callback):
    """Make the gradients of a step over several batches those of all of them in one batch.

    Place it before callbacks that look at gradients.
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, LoopModule)
        factor = pl_module.take_step_factor()
        if factor is not None:
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor.to(parameter.grad.dtype))


class WeightAverage(Callback):
    """Judge and keep a fading average of the weights instead of the last ones.

    An average over the last few hundred steps forecasts better than any of them: the noise of
    small batches cancels. It stands in for the weights while validation runs, so place it before
    :class:`BestWeights`, which then keeps averages.

    Parameters
    ----------
    decay : float
        Weight of the average at each step, once there are enough steps; less before.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: list[Tensor] = []
        self.n_steps = 0
        self._trained: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not when the fit starts: weights are on their device now.
        self.weights = [p.clone() for p in _weights(pl_module)]
        self.n_steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        # Counted here and not on the device, which would have to be waited for at every step.
        n, self.n_steps = self.n_steps, self.n_steps + 1
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        torch._foreach_lerp_(self.weights, _weights(pl_module), share)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._trained = [p.clone() for p in _weights(pl_module)]
        self._put_in(pl_module, self.weights)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._trained:
            self._put_in(pl_module, self._trained)
            self._trained = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.put_in(pl_module)

    def put_in(self, pl_module: LightningModule) -> None:
        """Give a module the average for good."""
        self._put_in(pl_module, self.weights)

    def _put_in(self, pl_module: LightningModule, weights: list[Tensor]) -> None:
        for here, weight in zip(_weights(pl_module), weights, strict=True):
            here.copy_(weight)


def _weights(pl_module: LightningModule) -> list[Tensor]:
    return [p.detach() for p in pl_module.parameters()]


class BestWeights(Callback):
    """Stop when validation has stopped improving, and put the best weights back.

    Weights wait in memory: Lightning's own early stopping would restore them from a checkpoint
    file, and a fit writes no files. A loss that is no number is no better than any other.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.last_loss = 0.0
        self.best_loss = math.inf
        self.best_epoch: int | None = None
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:  # asked for through trainer_kwargs; judges a few batches only
            return
        self.last_loss = loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.best_loss:
            # Weights first: Ctrl+C may come between any two lines.
            self.weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}
            self.best_loss, self.best_epoch = loss, trainer.current_epoch
        elif trainer.current_epoch - (self.best_epoch or 0) >= self.patience:
            trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_epoch is None and not math.isfinite(self.last_loss):
            assert isinstance(pl_module, LoopModule)
            raise NonFiniteLossError(
                f"The loss of the validation data is {self.last_loss}, and was no number in any "
                f"epoch. Nothing was fitted. {pl_module.remedy}."
            )
        self.put_back(pl_module)

    def put_back(self, pl_module: LightningModule) -> None:
        """Give a module its best weights; the last ones stay where none were judged."""
        if self.weights:
            pl_module.load_state_dict(self.weights)
            self.weights = {}


class OneProgressBar(TQDMProgressBar):
    """Lightning's bar over the batches of training; validation adds no bar of its own."""

    def init_validation_tqdm(self) -> Any:
        # Not the usual bar, disabled: it has drawn itself by then.
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}
