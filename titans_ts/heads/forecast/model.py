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

    def forecast(self, batch: WindowBatch) -> ForecastParameters:
        """Forecast after the context, also where nothing of it was observed."""
        return self.head.place_unseen(self(batch), batch)

    def training_loss(self, batch: WindowBatch, n_origins: int = 1) -> Tensor:
        """Loss over the forecasts after each of the last ``n_origins`` patches.

        All but the last origin have the start of their target inside the context.
        """
        parameters = self(batch, n_origins)
        return self.head.loss(
            parameters,
            self._at_origins(batch.context, batch.target, n_origins),
            self._target_mask(batch, n_origins),
            batch.channel_scale,
        )

    def n_observed_targets(self, batch: WindowBatch, n_origins: int = 1) -> Tensor:
        """Over how many steps :meth:`training_loss` is a mean, shape ()."""
        mask = self._target_mask(batch, n_origins)
        if mask is not None:
            return mask.sum()
        n_windows, _, n_channels = batch.context.shape
        n = n_windows * n_origins * self.head.config.horizon * n_channels
        return torch.tensor(n, device=batch.context.device)

    def _target_mask(self, batch: WindowBatch, n_origins: int) -> Tensor | None:
        if batch.context_complete and batch.target_complete:
            return None
        return self._at_origins(batch.observed, batch.target_observed, n_origins)

    def _at_origins(self, context: Tensor, target: Tensor, n_origins: int) -> Tensor:
        """What follows each of the last origins, shape (batch, origins, horizon, channels)."""
        horizon, patch = self.head.config.horizon, self.head.config.patch_length
        rows = torch.cat([context, target], dim=1)[:, -horizon - (n_origins - 1) * patch :]
        return rows.unfold(1, horizon, patch).movedim(-1, 2)
