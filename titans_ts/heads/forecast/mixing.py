"""Channel mixing: let a channel's forecast depend on the other channels, whatever their number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.nn.layers import RMSNorm

__all__ = ["ChannelMixer"]


class ChannelMixer(nn.Module):
    """Attention across the channels of a window, at each origin by itself.

    Channels have no order and no fixed number here: swapping two swaps their forecasts.

    Parameters
    ----------
    dim : int
        Width of a vector.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, vectors: Tensor, n_channels: int) -> Tensor:
        """Mix vectors of shape (batch * n_channels, origins, dim) over channels."""
        grouped = vectors.unflatten(0, (-1, n_channels)).transpose(1, 2)
        queries, keys, values = self.qkv(self.norm(grouped)).chunk(3, dim=-1)
        mixed = self.out(F.scaled_dot_product_attention(queries, keys, values))
        return vectors + torch.flatten(mixed.transpose(1, 2), 0, 1)
