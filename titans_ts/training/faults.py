"""What can go wrong while training: a loss that is no number, and a step too large for memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from titans_ts.errors import DeviceMemoryError, NonFiniteLossError
from titans_ts.training.data import MOST_RECENT
from titans_ts.training.loop_module import LoopModule

__all__ = ["FiniteLoss", "explain_out_of_memory", "is_out_of_memory"]

# Steps between two looks at the loss of a device that is waited for when its numbers are read.
LOOK_EVERY = 50


class FiniteLoss(Callback):
    """Stop at the first loss that is NaN or infinite, and say on which examples it was.

    On a CPU every loss is looked at, before it changes a weight. A GPU would have to be waited for,
    so there the losses of some steps are kept, and looked at together.

    Parameters
    ----------
    learning_rate : float
        For the message.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._place = 0
        self._kept: deque[tuple[int, Tensor]] = deque(maxlen=min(LOOK_EVERY, MOST_RECENT))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept.clear()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._place = batch_idx

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        whole = pl_module.whole_loss if isinstance(pl_module, LoopModule) else None
        # That of all devices, so that all of them stop, and at the same step.
        self._kept.append((self._place, loss.detach() if whole is None else whole))
        if loss.device.type == "cpu" or len(self._kept) == self._kept.maxlen:
            self.look(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        if trainer.is_last_batch:  # validation follows
            self.look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.look(trainer, pl_module)

    def look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the losses since the last look.

        Raises
        ------
        NonFiniteLossError
            One of them is no number.
        """
        if not self._kept:
            return
        places, losses = zip(*self._kept, strict=True)
        self._kept.clear()
        for place, loss in zip(places, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise NonFiniteLossError(self._explain(trainer, pl_module, place, loss))

    def _explain(
        self, trainer: Trainer, pl_module: LightningModule, place: int, loss: float
    ) -> str:
        assert isinstance(pl_module, LoopModule)
        where = pl_module.where_not_finite(trainer.train_dataloader, place)
        where = where and f", from {where}"
        return (
            f"The training loss is {loss} in epoch {trainer.current_epoch}, batch {place}{where}. "
            f"Nothing was fitted. {pl_module.remedy}; or lower learning_rate, which is "
            f"{self.learning_rate}."
        )


@contextmanager
def explain_out_of_memory(batch_size: int, *, asked: Any) -> Iterator[None]:
    """Turn what torch raises where memory ends into a sentence.

    Parameters
    ----------
    batch_size : int
        Of the steps.
    asked : int or "auto"
        The parameter.

    Raises
    ------
    DeviceMemoryError
        Memory ended.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if batch_size > 1:
            less = f"Give batch_size={batch_size // 2} or less"
            less += "" if asked == "auto" else ", or batch_size='auto' to have one found"
        else:
            less = "There is no smaller batch"
        reason = str(error).strip().split("\n")[0] or "no more memory"
        raise DeviceMemoryError(
            f"Memory ended in training with batch_size={batch_size}: {reason} {less}; a shorter "
            "context_length, a smaller dim or depth, and in a forecaster channel_mixing=False, "
            "take less, too."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has no memory left."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    # A CPU's allocator, and the backends of other devices, have no class of their own.
    words = str(error).lower()
    return "out of memory" in words or "can't allocate memory" in words
