"""SaveProgress: keep where training is, and go on from there, to the same last digit."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from titans_ts.errors import ParameterError
from titans_ts.training.callbacks import BestWeights, History, WeightAverage
from titans_ts.training.checkpoint import CheckpointFolder, Record
from titans_ts.training.faults import FiniteLoss
from titans_ts.training.loop_module import LoopModule, Replay

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
        if trainer.world_size > 1:
            raise ParameterError(
                f"checkpoint= keeps the progress of one device, and training is on "
                f"{trainer.world_size}. Set devices=1, or leave checkpoint out."
            )
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
        self._n_batches += 1
        # Gradients that wait for more of their kind are not saved.
        complete = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        late = time.monotonic() - self._saved_at >= SAVE_EVERY
        self._arrive("batch", trainer, pl_module, save=complete and late)

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
            self._restore_learner(self._record, pl_module.device)

    # -- inside ---------------------------------------------------------------------------------

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
        }
        tensors = {f"model.{k}": v for k, v in module.model.state_dict().items()}
        tensors |= {f"average.{i}": v for i, v in enumerate(average.weights)}
        tensors["epoch_total"] = module.total
        if best is not None:
            state |= {"best_loss": best.best_loss, "best_epoch": best.best_epoch}
            tensors |= {f"best.{k}": v for k, v in best.weights.items()}
        for number, slots in trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if module.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(module.device)
        copies = {
            k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
            for k, v in tensors.items()
        }
        self.folder.write(state, copies)
        self._saved_at = time.monotonic()

    def _restore(self, record: Record, trainer: Trainer, module: LoopModule) -> None:
        state, tensors = record.state, record.tensors
        module.model.load_state_dict(_under("model.", tensors))
        module.total = tensors["epoch_total"].to(module.device)
        module.n_seen = state["n_windows"]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, slot = name.partition(".")
            slots.setdefault(int(number), {})[slot] = value
        optimizer = trainer.optimizers[0]
        # The schedule has been stepped along, so rates are where they were.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        trainer.precision_plugin.load_state_dict(state["precision"])
        self._restore_learner(record, module.device)
        self._validation_losses = state["validation_losses"]
        torch.set_rng_state(tensors["random.cpu"])
        if module.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], module.device)
        module.replay, self._record = None, None
        self._saved_at = time.monotonic()

    def _restore_learner(self, record: Record, device: torch.device) -> None:
        state, tensors = record.state, record.tensors
        history, average, best, _ = self.learner
        history.epochs = state["history"]
        n = sum(name.startswith("average.") for name in tensors)
        average.weights = [tensors[f"average.{i}"].to(device) for i in range(n)]
        if best is not None:
            best.weights = {k: v.to(device) for k, v in _under("best.", tensors).items()}
            best.best_loss, best.best_epoch = state["best_loss"], state["best_epoch"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
