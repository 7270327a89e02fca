"""ForecastModel: a head around a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.head import ForecastConfig, ForecastHead, ForecastParameters
from titans_ts.nn.backbone import TitansBackbone

__all__ = ["ForecastModel"]


class ForecastModel(nn.Module):
    """Windows in, forecasts out.

    Parameters
    ----------
    head : ForecastConfig
    backbone : BackboneConfig or None
        None leaves the forecast to the linear highway.
    """

    def __init__(self, head: ForecastConfig, backbone: BackboneConfig | None) -> None:
        super().__init__()
        dim = 1 if backbone is None else backbone.dim
        self.head = ForecastHead(head, dim, dropout=0.0 if backbone is None else backbone.dropout)
        self.backbone = None if backbone is None else TitansBackbone(backbone)

    def forward(self, batch: WindowBatch, n_origins: int = 1) -> ForecastParameters:
        """Forecast after each of the last ``n_origins`` patches of the context."""
        encoded = self.head.encode(batch)
        vectors: Tensor | None = None
        if self.backbone is not None:
            vectors, _ = self.backbone(encoded.tokens, observed=encoded.observed, need_state=False)
        return self.head.decode(vectors, encoded, n_origins)

    def training_loss(self, batch: WindowBatch, n_origins: int = 1) -> Tensor:
        """Loss over the forecasts after each of the last ``n_origins`` patches.

        All but the last origin have the start of their target inside the context.
        """
        head = self.head.config
        parameters = self(batch, n_origins)
        needed = head.horizon + (n_origins - 1) * head.patch_length

        def targets(context: Tensor, target: Tensor) -> Tensor:
            rows = torch.cat([context, target], dim=1)[:, -needed:]
            return rows.unfold(1, head.horizon, head.patch_length).movedim(-1, 2)

        mask = None
        if not (batch.context_complete and batch.target_complete):
            mask = targets(batch.observed, batch.target_observed)
        return self.head.loss(
            parameters, targets(batch.context, batch.target), mask, batch.channel_scale
        )
