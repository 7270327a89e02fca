"""TrainingModule: a model of forecasts as the training loop sees it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.culprits import name_culprits
from titans_ts.training.graphed import GraphedLoss
from titans_ts.training.loop_module import LoopModule
from titans_ts.training.parts import loss_in_parts, part_of, split_batch
from titans_ts.training.settings import TrainingSettings

__all__ = ["TrainingModule"]

# Bytes of activations up to which a CPU takes a batch in one piece.
MOST_BYTES = 108_000_000

# What a backward pass needs of a token in float32, in bytes per unit of width and block, as
# measured: for mixing and memory, and for each multiple of the width inside SwiGLU.
BYTES_MIXING, BYTES_SWIGLU = 720, 48


class TrainingModule(LoopModule):
    """Train a :class:`ForecastModel` on windows.

    Parameters
    ----------
    model : ForecastModel
    settings : TrainingSettings
    n_origins, n_validation_origins : int
        Patches of each window after which a forecast is trained, and judged.
    """

    remedy = (
        "Look there for extreme values, and bring them closer with "
        "target_transform=LogTransform() or by setting them to NaN"
    )

    # Else a batch without an observed target would pull the mean towards its loss, which is 0.
    weighs_judged_targets = True
    model: ForecastModel

    def __init__(
        self,
        model: ForecastModel,
        settings: TrainingSettings,
        *,
        n_origins: int,
        n_validation_origins: int,
    ) -> None:
        super().__init__(model, settings)
        self.n_origins, self.n_validation_origins = n_origins, n_validation_origins
        self.graphed: GraphedLoss = GraphedLoss(self._loss_alone, model)

    def n_examples(self, batch: WindowBatch) -> int:
        return len(batch.context)

    def n_targets(self, batch: WindowBatch) -> Tensor:
        return self.model.n_observed_targets(batch, self.n_origins)

    def n_validation_targets(self, batch: WindowBatch) -> Tensor | int:
        # In complete windows: where all are, their number is known without a look at the device.
        if batch.context_complete and batch.target_complete:
            return self.n_examples(batch)
        n_targets = self.model.n_observed_targets(batch, self.n_validation_origins).double()
        horizon, n_channels = batch.target.shape[1:]
        return n_targets / (self.n_validation_origins * horizon * n_channels)

    def share(self, batch: WindowBatch, start: int, stop: int) -> WindowBatch:
        return part_of(batch, start, stop)

    def training_loss(self, batch: WindowBatch) -> Tensor:
        n_parts = self._n_parts(batch)
        if n_parts == 1:
            return self.graphed(batch)[0] if self.alone else self._whole_loss(batch)
        parts = split_batch(batch, n_parts)
        counts = [self.model.n_observed_targets(part, self.n_origins) for part in parts]
        total = torch.stack(counts).sum().clamp(min=1)
        return loss_in_parts(
            self._whole_loss,
            parts,
            [count.double() / total for count in counts],
            [p for p in self.parameters() if p.requires_grad],
        )

    def validation_loss(self, batch: WindowBatch) -> Tensor:
        return self.model.training_loss(batch, self.n_validation_origins)

    def where_not_finite(self, loader: Any, place: int) -> str:
        return name_culprits(self.model, self.n_origins, loader, place)

    def _whole_loss(self, batch: WindowBatch) -> Tensor:
        return self.model.training_loss(batch, self.n_origins)

    def _loss_alone(self, batch: WindowBatch) -> tuple[Tensor, None]:
        return self._whole_loss(batch), None

    def _n_parts(self, batch: WindowBatch) -> int:
        """Into how many parts a batch is cut, which bounds the memory of a step on a CPU."""
        backbone = self.model.backbone
        if backbone is None or batch.context.device.type != "cpu":
            return 1
        if self.whole_model:
            return 1  # weights in shards are gathered for one pass
        config = backbone.config
        n_windows, time, n_channels = batch.context.shape
        n_tokens = n_windows * n_channels * time // self.model.head.config.patch_length
        per_token = config.dim * config.depth * (BYTES_MIXING + BYTES_SWIGLU * config.mlp_expansion)
        return min(max(math.ceil(n_tokens * per_token / MOST_BYTES), 1), n_windows)
