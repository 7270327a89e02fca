"""SaveProgress: keep where training is, and go on from there, to the same last digit."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from titans_ts.errors import CheckpointError
from titans_ts.training.callbacks import BestWeights, History, WeightAverage
from titans_ts.training.checkpoint import CheckpointFolder, Record
from titans_ts.training.faults import FiniteLoss
from titans_ts.training.loop_module import LoopModule, Replay
from titans_ts.training.ranks import any_rank, gather, may_wait
from titans_ts.training.sharded import like, whole

__all__ = ["Learner", "SaveProgress"]

# Seconds between two saves within an epoch; each takes some milliseconds, on slow disks a few tens.
SAVE_EVERY = 30.0


class Learner(NamedTuple):
    """What changes while a model is trained, beside the model."""

    history: History
    average: WeightAverage
    best: BestWeights | None
    finite: FiniteLoss

    def put_back(self, pl_module: LightningModule) -> bool:
        """Give a module whose training was cut short the best weights so far.

        Returns
        -------
        bool
            False where no epoch has been judged, or without validation, none has ended.
        """
        judged = self.history.epochs if self.best is None else self.best.weights
        if not judged:
            return False
        if self.best is None:
            self.average.put_in(pl_module)
        else:
            self.best.put_back(pl_module)
        return True


class SaveProgress(Callback):
    """Save progress every so many seconds and after each epoch; go on from what was saved.

    Lightning is not asked to start in the middle of an epoch, which it does differently from
    version to version. It counts from the start, through steps in which nothing is computed (see
    :class:`Replay`), until the hook in which the record was saved comes again; there everything
    that training changes is put back as it was. Place it behind all that is part of it.

    Of several processes the first writes what all have in common, and what is each one's own.

    Parameters
    ----------
    folder : CheckpointFolder
    learner : Learner
    loader : iterable
        Of training batches; one with an attribute ``n_skipped`` need not make those that are not
        computed.
    batch_size : int
    """

    def __init__(
        self, folder: CheckpointFolder, learner: Learner, loader: Any, batch_size: int
    ) -> None:
        self.folder, self.learner, self.batch_size = folder, learner, batch_size
        self._record = folder.found
        self._n_batches = 0
        self._validation_losses: list[float] = []
        self._saved_at = time.monotonic()
        if self._record is not None and hasattr(loader, "n_skipped"):
            loader.n_skipped = self._record.state["n_batches"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LoopModule)
        self.folder.is_writer = trainer.is_global_zero
        self._check_ranks(trainer)
        if self._record is not None:
            state = self._record.state
            pl_module.replay = Replay(
                deque(epoch["train_loss"] for epoch in state["history"]),
                deque(state["validation_losses"]),
            )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, LoopModule)
        self._n_batches += 1
        # Gradients that wait for more of their kind are not saved.
        complete = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        may_save = complete and pl_module.replay is None
        save = may_save and may_wait(trainer, pl_module, self._n_batches) and self._is_late(trainer)
        self._arrive("batch", trainer, pl_module, save=save)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LoopModule)
        if not trainer.sanity_checking and pl_module.replay is None:
            self._validation_losses.append(float(trainer.callback_metrics["validation_loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._arrive("epoch", trainer, pl_module, save=True)

    def restore_learner(self, pl_module: LightningModule) -> None:
        """Put back what the record says of the best weights; for a fit interrupted before it."""
        assert isinstance(pl_module, LoopModule)
        if self._record is not None and pl_module.replay is not None:
            self._restore_learner(self._record, pl_module)

    # -- inside ---------------------------------------------------------------------------------

    def _is_late(self, trainer: Trainer) -> bool:
        """Whether the last record is old, by the clock of any process; all have to ask."""
        return any_rank(trainer, time.monotonic() - self._saved_at >= SAVE_EVERY)

    def _check_ranks(self, trainer: Trainer) -> None:
        state = None if self._record is None else self._record.state
        mine = None if state is None else (state["hook"], state["n_batches"])
        where = f"the checkpoint folder {str(self.folder.folder)!r}"
        if any_rank(trainer, trainer.strategy.broadcast(mine) != mine):
            raise CheckpointError(
                f"The processes that train together found different progress in {where}. Give a "
                "folder that all of them see, such as one that all machines have mounted."
            )
        n = trainer.world_size
        if state is not None and state["n_ranks"] != n:
            raise CheckpointError(
                f"The progress in {where} was written with {state['n_ranks']} as the number of "
                f"all devices, and now it is {n}. Train on as many to go on from there; or name "
                "another folder, or delete this one, to train from the start."
            )

    def _arrive(
        self, hook: str, trainer: Trainer, pl_module: LightningModule, *, save: bool
    ) -> None:
        assert isinstance(pl_module, LoopModule)
        if pl_module.replay is None:
            if save:
                self.learner.finite.look(trainer, pl_module)
                self._save(hook, trainer, pl_module)
            return
        assert self._record is not None
        state = self._record.state
        if (state["hook"], state["n_batches"]) == (hook, self._n_batches):
            with self.folder.explain_misfit():
                self._restore(self._record, trainer, pl_module)

    def _save(self, hook: str, trainer: Trainer, module: LoopModule) -> None:
        history, average, best, _ = self.learner
        state: dict[str, Any] = {
            "hook": hook,
            "n_batches": self._n_batches,
            "batch_size": self.batch_size,
            "history": history.epochs,
            "validation_losses": self._validation_losses,
            "n_windows": module.n_seen,
            "precision": trainer.precision_plugin.state_dict(),
            "n_ranks": trainer.world_size,
        }
        tensors = {f"model.{k}": v for k, v in module.model.state_dict().items()}
        tensors |= {f"average.{i}": v for i, v in enumerate(average.weights)}
        tensors["epoch_total"] = module.total
        if best is not None:
            state |= {"best_loss": best.best_loss, "best_epoch": best.best_epoch}
            tensors |= {f"best.{k}": v for k, v in best.weights.items()}
        for number, slots in trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
        copies = {}
        for name, value in tensors.items():
            # All processes put the shards together, one tensor at a time; the first keeps them.
            value = whole(value)
            if self.folder.is_writer:
                copies[name] = _copy(value)
        for rank, own in enumerate(gather(trainer, _own(module))):
            copies |= {f"rank.{rank}.{name}": value for name, value in own.items()}
        self.folder.write(state, copies)
        self._saved_at = time.monotonic()

    def _restore(self, record: Record, trainer: Trainer, module: LoopModule) -> None:
        state, tensors = record.state, record.tensors
        here = module.model.state_dict()
        weights = _under("model.", tensors)
        module.model.load_state_dict({k: like(here[k], v) for k, v in weights.items()})
        module.total = tensors["epoch_total"].to(module.device)
        module.n_seen = state["n_windows"]
        optimizer = trainer.optimizers[0]
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, slot = name.partition(".")
            parameter = trained[int(number)]
            if value.ndim and value.shape == parameter.shape:  # in shards where the weight is
                value = like(parameter, value)
            slots.setdefault(int(number), {})[slot] = value
        # The schedule has been stepped along, so rates are where they were.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        trainer.precision_plugin.load_state_dict(state["precision"])
        self._restore_learner(record, module)
        self._validation_losses = state["validation_losses"]
        _restore_own(module, _under(f"rank.{trainer.global_rank}.", tensors))
        module.replay, self._record = None, None
        self._saved_at = time.monotonic()

    def _restore_learner(self, record: Record, module: LoopModule) -> None:
        state, tensors = record.state, record.tensors
        history, average, best, _ = self.learner
        history.epochs = state["history"]
        average.weights = [
            like(weight, tensors[f"average.{i}"]) for i, weight in enumerate(average.weights)
        ]
        if best is not None:
            here = module.state_dict()
            best.weights = {k: like(here[k], v) for k, v in _under("best.", tensors).items()}
            best.best_loss, best.best_epoch = state["best_loss"], state["best_epoch"]


def _own(module: LoopModule) -> dict[str, Tensor]:
    """What each process has for itself: its random states, and what its examples carry on."""
    own = {f"carried.{i}": v for i, v in enumerate(module.carried())}
    own["random.cpu"] = torch.get_rng_state()
    if module.device.type == "cuda":
        own["random.cuda"] = torch.cuda.get_rng_state(module.device)
    return {name: _copy(value) for name, value in own.items()}


def _restore_own(module: LoopModule, own: dict[str, Tensor]) -> None:
    carried = _under("carried.", own)
    if carried:
        module.restore_carried([carried[f"{i}"].to(module.device) for i in range(len(carried))])
    torch.set_rng_state(own["random.cpu"])
    if module.device.type == "cuda" and "random.cuda" in own:
        torch.cuda.set_rng_state(own["random.cuda"], module.device)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
