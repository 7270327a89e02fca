"""Several processes that train one model: what they agree on, and how the first hears of it."""

from __future__ import annotations

import json
import re
import signal
import threading
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessRaisedException

from titans_ts import errors
from titans_ts.errors import ParameterError
from titans_ts.training.callbacks import BestWeights, History
from titans_ts.training.faults import is_out_of_memory

__all__ = ["Agreement", "HandOver", "any_rank", "fit", "gather", "may_wait"]

# Steps between two talks of the processes, on a device that is waited for.
LOOK_EVERY = 50


def any_rank(trainer: Trainer, here: bool) -> bool:
    """Whether something is so in one of the processes at least; all have to ask."""
    if trainer.world_size == 1:
        return here
    count = torch.tensor(int(here), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(count, reduce_op="sum")) > 0


def may_wait(trainer: Trainer, pl_module: LightningModule, n_steps: int) -> bool:
    """Whether this step is one behind which processes ask each other; the same in all of them."""
    on_cpu = pl_module.device.type == "cpu"
    return trainer.world_size == 1 or on_cpu or n_steps % LOOK_EVERY == 0


def gather(trainer: Trainer, here: Any) -> list[Any]:
    """What each process hands in, in order, in the first of them; an empty list in others."""
    if trainer.world_size == 1:
        return [here]
    found = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(here, found)
    return found or []


class Agreement(Callback):
    """Let all processes start alike, and stop at the same step when one of them is interrupted.

    A second Ctrl+C is not waited for.

    Parameters
    ----------
    seed : int
    asked : int or "auto"
        The parameter ``batch_size``.
    """

    def __init__(self, seed: int, asked: int | str) -> None:
        self.seed, self.asked = seed, asked
        self._asked_to_stop = False
        self._handler: Any = None
        self._n_steps = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        if self.asked == "auto":
            raise ParameterError(
                f"batch_size='auto' looks for what one device holds, and training is on "
                f"{trainer.world_size}. Give a number, which is shared by all devices; default 64."
            )
        if any_rank(trainer, trainer.strategy.broadcast(self.seed) != self.seed):
            raise ParameterError(
                "The processes that train together have different seeds. Set random_state to a "
                "number, so that they draw the same windows."
            )
        # Another dropout in every process; what is drawn from the data has seeds of its own.
        torch.manual_seed(self.seed + trainer.global_rank)
        self._asked_to_stop, self._n_steps = False, 0
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._ask_to_stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        if trainer.world_size == 1:
            return
        self._n_steps += 1
        if may_wait(trainer, pl_module, self._n_steps) and any_rank(trainer, self._asked_to_stop):
            raise KeyboardInterrupt

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._give_back()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._give_back()

    def _ask_to_stop(self, *arguments: Any) -> None:
        if self._asked_to_stop:
            raise KeyboardInterrupt
        self._asked_to_stop = True

    def _give_back(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None


class HandOver(Callback):
    """Hand over what came of a fit from the processes that trained to the one that started them.

    Lightning hands over the weights. Place it last.

    Parameters
    ----------
    history : History
    best : BestWeights or None
    """

    def __init__(self, history: History, best: BestWeights | None) -> None:
        self.history, self.best = history, best
        self.file: Path | None = None  # where processes that this one started write

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.file is not None and trainer.is_global_zero:
            best = None if self.best is None else self.best.best_epoch
            self.file.write_text(json.dumps({"epochs": self.history.epochs, "best": best}))

    def take(self) -> None:
        """Take over what the first process came to."""
        assert self.file is not None
        found = json.loads(self.file.read_text())
        self.history.epochs = found["epochs"]
        if self.best is not None:
            self.best.best_epoch = found["best"]


def fit(
    trainer: Trainer, module: LightningModule, batches: Any, validation: Any, hand_over: HandOver
) -> None:
    """``trainer.fit``, after which this process knows what came of it, wherever it ran.

    Raises
    ------
    TitansError
        What a process of ours raised in training.
    """
    if not isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        trainer.fit(module, batches, validation)
        return
    try:
        with (
            TemporaryDirectory(prefix="titans_ts-") as folder,
            warnings.catch_warnings(),
        ):
            hand_over.file = Path(folder) / "result.json"
            # Asked for by the name of the strategy; torch's threads are idle meanwhile.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded")
            trainer.fit(module, batches, validation)
            hand_over.take()
    except ProcessRaisedException as error:
        # Only its text comes out of a process, the traceback with the error at its end.
        text = str(error)
        ours = re.findall(r"^titans_ts\.errors\.(\w+): (.*)$", text, re.MULTILINE)
        if ours:
            name, message = ours[-1]
            raise getattr(errors, name)(message) from error
        if is_out_of_memory(error):
            raise MemoryError(text.strip().splitlines()[-1]) from error
        raise
