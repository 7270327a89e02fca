"""What can go wrong while training: a loss that is no number, and a step too large for memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from titans_ts.errors import DeviceMemoryError, NonFiniteLossError
from titans_ts.training.data import MOST_RECENT, WindowBatches, WindowLoader
from titans_ts.training.module import TrainingModule

__all__ = ["FiniteLoss", "explain_out_of_memory"]

# Steps between two looks at the loss of a device that is waited for when its numbers are read.
LOOK_EVERY = 50

# Windows that a message names.
MOST_NAMED = 5


class FiniteLoss(Callback):
    """Stop at the first loss that is NaN or infinite, and say on which windows it was.

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
        self._kept.append((self._place, loss.detach()))
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
        assert isinstance(pl_module, TrainingModule)
        loader = trainer.train_dataloader
        where = ""
        if isinstance(loader, WindowLoader) and isinstance(loader.dataset, WindowBatches):
            numbers = dict(loader.recent).get(place)
            if numbers is not None:
                where = f", from {_named(loader.dataset, _culprits(pl_module, loader, numbers))}"
        return (
            f"The training loss is {loss} in epoch {trainer.current_epoch}, batch {place}{where}. "
            "Nothing was fitted. Look there for extreme values, and bring them closer with "
            "target_transform=LogTransform() or by setting them to NaN; or lower learning_rate, "
            f"which is {self.learning_rate}."
        )


def _culprits(module: TrainingModule, loader: WindowLoader, numbers: np.ndarray) -> np.ndarray:
    """Those of a batch whose own loss is no number; all, where that cannot be told any more."""
    model, found, was_training = module.model, [], module.training
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        return numbers
    model.eval()
    try:
        with torch.no_grad():
            for number in numbers:
                batch = loader.dataset[np.array([number])].to(module.device)
                loss = model.training_loss(batch, module.n_origins)
                if not bool(loss.isfinite()):
                    found.append(number)
    finally:
        model.train(was_training)
    return np.array(found) if found else numbers


def _named(data: WindowBatches, numbers: np.ndarray) -> str:
    """Windows by series, channel and rows, as far as a sentence holds them."""
    index = data.windows
    window, channel = np.divmod(np.unique(numbers), data.n_channels)
    series, origin = index.locate(window)
    ids, channels = index.series.ids, index.series.channels
    words: dict[str, tuple[int, int]] = {}
    for s, c, o in zip(series, channel, origin, strict=True):
        name = f"series {int(s) if ids is None else ids[s]!r}"
        name += f", channel {channels[c]!r}" if data.by_channel else f", channels {channels!r}"
        first, stop = max(int(o) - index.context_length, 0), int(o) + index.horizon
        low, high = words.get(name, (first, stop))
        words[name] = min(low, first), max(high, stop)
    shown = [f"{name} (rows {a} to {b - 1})" for name, (a, b) in words.items()][:MOST_NAMED]
    more = len(words) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


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
        if not _is_out_of_memory(error):
            raise
        if batch_size > 1:
            less = f"Give batch_size={batch_size // 2} or less"
            less += "" if asked == "auto" else ", or batch_size='auto' to have one found"
        else:
            less = "There is no smaller batch"
        reason = str(error).strip().split("\n")[0] or "no more memory"
        raise DeviceMemoryError(
            f"Memory ended in training with batch_size={batch_size}: {reason} {less}; a shorter "
            "context_length, a smaller dim or depth, and channel_mixing=False take less, too."
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    # A CPU's allocator, and the backends of other devices, have no class of their own.
    words = str(error).lower()
    return "out of memory" in words or "can't allocate memory" in words
