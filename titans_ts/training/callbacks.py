"""Callbacks: what was learnt each epoch, the best weights, and a bar."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["BestWeights", "History", "OneProgressBar", "WeightAverage"]


class History(Callback):
    """The losses of every epoch, as plain numbers."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = ("train_loss", "validation_loss")
        seen = {
            n: float(trainer.callback_metrics[n]) for n in names if n in trainer.callback_metrics
        }
        self.epochs.append({"epoch": trainer.current_epoch, **seen})


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
        self._average: AveragedModel | None = None
        self._trained: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def fade(average: Tensor, new: Tensor, n_averaged: Tensor | int) -> Tensor:
            n = int(n_averaged)
            return average.lerp(new, 1 - min(self.decay, (1 + n) / (10 + n)))

        self._average = AveragedModel(_model(pl_module), avg_fn=fade)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        assert self._average is not None
        self._average.update_parameters(_model(pl_module))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        model = _model(pl_module)
        self._trained = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self._put_in(model)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._trained:
            _model(pl_module).load_state_dict(self._trained)
            self._trained = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._put_in(_model(pl_module))

    def _put_in(self, model: nn.Module) -> None:
        assert self._average is not None
        model.load_state_dict(self._average.module.state_dict())


def _model(pl_module: LightningModule) -> nn.Module:
    model = pl_module.model
    assert isinstance(model, nn.Module)
    return model


class BestWeights(Callback):
    """Stop when validation has stopped improving, and put the best weights back.

    Weights wait in memory: Lightning's own early stopping would restore them from a checkpoint
    file, and a fit writes no files.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss = math.inf
        self.best_epoch: int | None = None
        self._weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:  # asked for through trainer_kwargs; judges a few batches only
            return
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, trainer.current_epoch
            self._weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}
        elif trainer.current_epoch - (self.best_epoch or 0) >= self.patience:
            trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._weights:
            pl_module.load_state_dict(self._weights)
            self._weights = {}


class OneProgressBar(TQDMProgressBar):
    """Lightning's bar over the batches of training; validation adds no bar of its own."""

    def init_validation_tqdm(self) -> Any:
        # Not the usual bar, disabled: it has drawn itself by then.
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}
