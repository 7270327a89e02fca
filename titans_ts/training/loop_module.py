"""LoopModule: what the training loop asks of a model, whatever it learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from titans_ts.training.recipe import adamw_with_warm_up
from titans_ts.training.settings import TrainingSettings

__all__ = ["LoopModule", "Replay"]


@dataclass
class Replay:
    """What a fit that goes on tells Lightning of the steps it does not take again.

    Lightning counts through them as it did before, so its own counters, the schedule, and every
    other callback come to where they were, whatever was asked of the Trainer.
    """

    training_losses: deque[float]  # of the epochs that had ended, in order
    validation_losses: deque[float]  # of each time that validation ran


class LoopModule(LightningModule):
    """A model as the training loop sees it: a loss of a batch, and how much the batch weighs.

    A subclass says :meth:`training_loss`; the other methods have defaults. All weights are in
    ``model``.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    settings : TrainingSettings
    """

    # What to do about a loss that is no number, as the start of "; or lower learning_rate".
    remedy = "Look at the data for extreme values"

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.replay: Replay | None = None
        self.total, self.n_seen = torch.zeros(()), 0  # of the epoch: losses, and over how many

    # -- what a subclass says -------------------------------------------------------------------

    def training_loss(self, batch: Any) -> Tensor:
        """Mean loss over the targets of a batch, shape (); of ``model``'s weights alone."""
        raise NotImplementedError

    def validation_loss(self, batch: Any) -> Tensor:
        """The loss that a batch is judged by, shape ()."""
        return self.training_loss(batch)

    def n_examples(self, batch: Any) -> int:
        """Number of examples in a batch, which is what it weighs in the mean of an epoch."""
        return len(_first_tensor(batch))

    def where_not_finite(self, loader: Any, place: int) -> str:
        """Which examples of a batch have a loss that is no number, for the message.

        Parameters
        ----------
        loader : iterable
            Of training batches, as given to the loop.
        place : int
            Of the batch in its epoch.

        Returns
        -------
        str
            Such as ``"series 'a' (rows 3 to 9)"``; empty where that cannot be told.
        """
        return ""

    def configure_optimizers(self) -> Any:
        return adamw_with_warm_up(
            self,
            learning_rate=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )

    # -- what Lightning calls -------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        self.total, self.n_seen = torch.zeros((), device=self.device), 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        if self.replay is not None:
            return None  # to Lightning, a step in which nothing is learnt
        loss = self.training_loss(batch)
        n = self.n_examples(batch)
        self.total, self.n_seen = self.total + n * loss.detach(), self.n_seen + n
        return loss

    def mean_training_loss(self) -> Tensor:
        """Mean loss of the examples of this epoch so far."""
        if self.replay is not None:
            return torch.tensor(self.replay.training_losses.popleft())
        return self.total / max(self.n_seen, 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.replay is not None and not self.trainer.sanity_checking:
            if batch_idx == 0:  # a mean over one batch is that number again, to the last digit
                loss = torch.tensor(self.replay.validation_losses.popleft())
                self.log("validation_loss", loss, batch_size=1, prog_bar=True)
            return
        loss = self.validation_loss(batch)
        self.log("validation_loss", loss, batch_size=self.n_examples(batch), prog_bar=True)


def _first_tensor(batch: Any) -> Tensor:
    """The first tensor of nested tuples, lists and mappings."""
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, Mapping):
        batch = batch.values()
    if isinstance(batch, Iterable) and not isinstance(batch, str):
        for item in batch:
            try:
                return _first_tensor(item)
            except TypeError:
                continue
    raise TypeError(
        f"A batch of type {type(batch).__name__} holds no tensor; override n_examples of the "
        "LoopModule."
    )
