"""LoopModule: what the training loop asks of a model, whatever it learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn import Parameter

from titans_ts.training.batches import first_tensor, rows_of
from titans_ts.training.graphed import GraphedLoss
from titans_ts.training.recipe import adamw_with_warm_up
from titans_ts.training.settings import TrainingSettings
from titans_ts.training.sharded import gather_weights, shard_weights
from titans_ts.training.using_all import using_all

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

    On several devices every process draws the same batches and takes its share of each, so a batch
    is that of all devices together, and what is learnt depends on their number no more than on the
    order of a sum. The shares, and the batches of an accumulated step, weigh by their targets.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    settings : TrainingSettings
    """

    # What to do about a loss that is no number, as the start of "; or lower learning_rate".
    remedy = "Look at the data for extreme values"
    # Whether a batch weighs in the mean of an epoch what it has targets, and not examples.
    weighs_targets = False
    # Whether one that is judged does, if no other: to count them, a device is waited for.
    weighs_judged_targets = False
    # On several devices, the loss of the last batch over all of them.
    whole_loss: Tensor | None = None
    # Where a subclass records its loss on a GPU: what is recorded.
    graphed: GraphedLoss | None = None

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        # While ``model`` is one in shards. In a list, so that its weights are not this module's.
        self.whole_model: list[nn.Module] = []
        self.settings = settings
        self.replay: Replay | None = None
        # Of the epoch: losses, and over how many. That is no whole number where targets weigh.
        self.total, self.n_seen = torch.zeros(()), 0.0
        self.n_ranks, self.rank = 1, 0
        self.alone = True  # on one device, without a wrapper that has to see each step
        # Of the batch that was last shared out: its examples, and how many of them are here.
        self._n_whole, self._n_here = 0, 0
        # Of the step being accumulated: targets of its first batch, and of all in units of that.
        self._unit: Tensor | None = None
        self._weight: Tensor | None = None

    # -- what a subclass says -------------------------------------------------------------------

    def training_loss(self, batch: Any) -> Tensor | None:
        """Mean loss over the targets of a batch, shape (); of ``model``'s weights alone.

        None passes over the batch: no step is taken, and it counts nowhere.
        """
        raise NotImplementedError

    def validation_loss(self, batch: Any) -> Tensor:
        """The loss that a batch is judged by, shape ()."""
        loss = self.training_loss(batch)
        assert loss is not None
        return loss

    def n_examples(self, batch: Any) -> int:
        """Number of examples in a batch, which devices share."""
        return len(first_tensor(batch))

    def n_targets(self, batch: Any) -> Tensor | int:
        """Over how many targets, or what weight of them, :meth:`training_loss` is a mean."""
        return self.n_examples(batch)

    def n_validation_targets(self, batch: Any) -> Tensor | int:
        """Over how many targets, or what weight of them, :meth:`validation_loss` is a mean."""
        return self.n_targets(batch)

    def share(self, batch: Any, start: int, stop: int) -> Any:
        """Some of the examples of a batch, as a batch."""
        return rows_of(batch, start, stop, self.n_examples(batch))

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

    def carried(self) -> list[Tensor]:
        """What goes from one batch to the next beside the weights, such as a memory's state.

        It is kept with the progress of a fit, and given back by :meth:`restore_carried`.
        """
        return []

    def restore_carried(self, tensors: list[Tensor]) -> None:
        """Undo :meth:`carried`, in a fit that goes on."""

    def configure_optimizers(self) -> Any:
        return adamw_with_warm_up(
            self,
            learning_rate=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            other_decays=self.other_decays(),
        )

    def other_decays(self) -> Mapping[Parameter, float]:
        """Weight decay of parameters that have another than the settings say."""
        return {}

    # -- what Lightning calls -------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.n_ranks, self.rank = self.trainer.world_size, self.trainer.global_rank
        self.alone = isinstance(self.trainer.strategy, SingleDeviceStrategy)

    def configure_model(self) -> None:
        shard_weights(self)

    def on_fit_end(self) -> None:
        gather_weights(self)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.n_ranks == 1:
            return batch
        n = self.n_examples(batch)
        start, stop = (n * rank // self.n_ranks for rank in (self.rank, self.rank + 1))
        self._n_whole, self._n_here = n, stop - start
        # Where there are fewer examples than processes, one stands in that weighs nothing: all of
        # them have to take part in the step.
        return self.share(batch, start, max(stop, start + 1))

    def on_train_epoch_start(self) -> None:
        self.total, self.n_seen = torch.zeros((), device=self.device), 0.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        if self.replay is not None:
            return self._replay_step()
        loss = self.training_loss(batch)
        if loss is None:
            return None
        loss = self._using_all(loss)
        whole, share = loss.detach(), None
        n: float = self.n_examples(batch)
        alone, accumulated = self.n_ranks == 1, self._n_accumulated() > 1
        if not alone or accumulated or self.weighs_targets:  # else nobody needs to count them
            n_targets = self._count(self.n_targets(batch), loss)
        if not alone:
            whole, n_targets, share = self._over_ranks(whole, n_targets)
            n, self.whole_loss = self._n_whole, whole
        if self.weighs_targets:
            n = float(n_targets)
        self.total, self.n_seen = self.total + n * whole, self.n_seen + n
        if accumulated:
            share = self._accumulate(n_targets, share)
        return loss if share is None else loss * share.to(loss.dtype)

    def mean_training_loss(self) -> Tensor:
        """Mean loss of the examples, or of the targets, of this epoch so far."""
        if self.replay is not None:
            return torch.tensor(self.replay.training_losses.popleft())
        return self.total / (self.n_seen or 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.replay is not None and not self.trainer.sanity_checking:
            if batch_idx == 0:  # a mean over one batch is that number again, to the last digit
                loss = torch.tensor(self.replay.validation_losses.popleft())
                self.log("validation_loss", loss, batch_size=1, prog_bar=True)
            return
        loss = self.validation_loss(batch)
        by_targets = self.weighs_targets or self.weighs_judged_targets
        n: Any = self.n_examples(batch)
        if self.n_ranks > 1 or by_targets:
            n_targets = self.n_validation_targets(batch)
        if self.n_ranks > 1:
            loss, n_targets, _ = self._over_ranks(loss, self._count(n_targets, loss))
            n = self._n_whole
        if by_targets:
            # Lightning asks for an int, and adds up any number; class weights may be below 1.
            n = float(n_targets)
        self.log("validation_loss", loss, batch_size=n, prog_bar=True)

    def _replay_step(self) -> Tensor | None:
        """A step in which nothing is learnt."""
        if self.n_ranks == 1:
            return None
        # Lightning lets no step go by without a loss there. What this one does to weights and
        # optimiser is undone when the record is put back.
        return self._using_all(torch.zeros((), device=self.device, requires_grad=True))

    def _using_all(self, loss: Tensor) -> Tensor:
        if self.n_ranks == 1 or self.whole_model:
            return loss
        return using_all(loss, [p for p in self.parameters() if p.requires_grad])

    # -- shares ---------------------------------------------------------------------------------

    def take_step_factor(self) -> Tensor | None:
        """What the gradients that Lightning added up are still to be multiplied by, once a step.

        Lightning divides by the number of batches, even for fewer at the end of an epoch.
        """
        weight, self._weight, self._unit = self._weight, None, None
        return None if weight is None else self._n_accumulated() / _or_one(weight)

    def _over_ranks(self, loss: Tensor, n_targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the whole batch, its targets, and what this share's gradient weighs in a mean."""
        here = n_targets if self._n_here else torch.zeros_like(n_targets)
        sums = torch.stack([torch.where(here > 0, loss.double() * here, 0.0), here])
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        divisor = _or_one(sums[1])
        return (sums[0] / divisor).to(loss.dtype), sums[1], here * self.n_ranks / divisor

    def _accumulate(self, n_targets: Tensor, share: Tensor | None) -> Tensor:
        if self._unit is None:
            self._unit = _or_one(n_targets)
        weight = n_targets / self._unit
        self._weight = weight if self._weight is None else self._weight + weight
        return weight if share is None else share * weight

    def _count(self, n_targets: Tensor | int, like: Tensor) -> Tensor:
        return torch.as_tensor(n_targets, dtype=torch.float64, device=like.device)

    def _n_accumulated(self) -> int:
        return 1 if self._trainer is None else self.trainer.accumulate_grad_batches


def _or_one(weight: Tensor) -> Tensor:
    """A weight to divide by; class weights may add up to less than one."""
    return torch.where(weight > 0, weight, 1.0)
