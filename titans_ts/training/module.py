"""The Lightning side of a model: optimiser, schedule, and which weights were best."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.parts import loss_in_parts, split_batch
from titans_ts.training.recipe import adamw_with_warm_up

__all__ = ["Replay", "TrainingModule"]

# Bytes of activations up to which a CPU takes a batch in one piece.
MOST_BYTES = 108_000_000

# What a backward pass needs of a token in float32, in bytes per unit of width and block, as
# measured: for mixing and memory, and for each multiple of the width inside SwiGLU.
BYTES_MIXING, BYTES_SWIGLU = 720, 48


@dataclass
class Replay:
    """What a fit that goes on tells Lightning of the steps it does not take again.

    Lightning counts through them as it did before, so its own counters, the schedule, and every
    other callback come to where they were, whatever was asked of the Trainer.
    """

    training_losses: deque[float]  # of the epochs that had ended, in order
    validation_losses: deque[float]  # of each time that validation ran


class TrainingModule(LightningModule):
    """Train a :class:`ForecastModel`: AdamW, warm-up, cosine decay.

    Parameters
    ----------
    model : ForecastModel
    learning_rate : float
        At its peak.
    weight_decay : float
        On matrices; gains and offsets are left alone.
    n_origins, n_validation_origins : int
        Patches of each window after which a forecast is trained, and judged.
    """

    def __init__(
        self,
        model: ForecastModel,
        *,
        learning_rate: float,
        weight_decay: float,
        n_origins: int,
        n_validation_origins: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.n_origins, self.n_validation_origins = n_origins, n_validation_origins
        self.replay: Replay | None = None
        self.total, self.n_windows = torch.zeros(()), 0  # of the epoch: losses, and over how many

    def on_train_epoch_start(self) -> None:
        self.total, self.n_windows = torch.zeros((), device=self.device), 0

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor | None:
        if self.replay is not None:
            return None  # to Lightning, a step in which nothing is learnt
        loss = self._training_loss(batch)
        n = len(batch.context)
        self.total, self.n_windows = self.total + n * loss.detach(), self.n_windows + n
        return loss

    def _training_loss(self, batch: WindowBatch) -> Tensor:
        n_parts = self._n_parts(batch)
        if n_parts == 1:
            return self.model.training_loss(batch, self.n_origins)
        parts = split_batch(batch, n_parts)
        counts = [self.model.n_observed_targets(part, self.n_origins) for part in parts]
        total = torch.stack(counts).sum().clamp(min=1)
        return loss_in_parts(
            lambda part: self.model.training_loss(part, self.n_origins),
            parts,
            [count.double() / total for count in counts],
            [p for p in self.parameters() if p.requires_grad],
        )

    def _n_parts(self, batch: WindowBatch) -> int:
        """Into how many parts a batch is cut, which bounds the memory of a step on a CPU."""
        backbone = self.model.backbone
        if backbone is None or batch.context.device.type != "cpu":
            return 1
        config = backbone.config
        n_windows, time, n_channels = batch.context.shape
        n_tokens = n_windows * n_channels * time // self.model.head.config.patch_length
        per_token = config.dim * config.depth * (BYTES_MIXING + BYTES_SWIGLU * config.mlp_expansion)
        return min(max(math.ceil(n_tokens * per_token / MOST_BYTES), 1), n_windows)

    def mean_training_loss(self) -> Tensor:
        """Mean loss of the windows of this epoch so far."""
        if self.replay is not None:
            return torch.tensor(self.replay.training_losses.popleft())
        return self.total / max(self.n_windows, 1)

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:
        if self.replay is not None and not self.trainer.sanity_checking:
            if batch_idx == 0:  # a mean over one batch is that number again, to the last digit
                loss = torch.tensor(self.replay.validation_losses.popleft())
                self.log("validation_loss", loss, batch_size=1, prog_bar=True)
            return
        loss = self.model.training_loss(batch, self.n_validation_origins)
        self.log("validation_loss", loss, batch_size=len(batch.context), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return adamw_with_warm_up(
            self, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
