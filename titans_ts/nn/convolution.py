"""Short convolutions of queries, keys and values, and how they start as recall."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from titans_ts.nn.layers import carry
from titans_ts.ops.depthwise import depthwise

__all__ = ["CausalConv", "start_recall"]


class CausalConv(nn.Module):
    """Depthwise causal convolution over time, whose last inputs are carried as its state."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(dim, width).uniform_(-1, 1) * width**-0.5)
        # Starts near "this token only", so that the convolution is learnt, not imposed.
        with torch.no_grad():
            self.weight[:, -1] += 1.0

    def forward(
        self, x: Tensor, tail: Tensor | None = None, *, n_again: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Convolve ``x`` of shape (batch, time, dim); return it and the new tail.

        ``tail`` holds the ``width - 1`` inputs before ``x``, shape (batch, width - 1, dim);
        None stands for zeros. The new one is that before the last ``n_again`` tokens,
        which will come again.
        """
        if tail is None:
            tail = x.new_zeros(x.shape[0], self.width - 1, x.shape[2])
        joined = torch.cat([tail, x], dim=1)
        stop = joined.shape[1] - n_again
        return depthwise(joined, self.weight), carry(joined[:, stop - (self.width - 1) : stop])

    def step(self, x: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        """:meth:`forward` of one token, ``x`` of shape (batch, dim)."""
        if tail is None:
            tail = x.new_zeros(x.shape[0], self.width - 1, x.shape[1])
        joined = torch.cat((tail, x[:, None]), 1)
        return (joined * self.weight.t()).sum(1), joined[:, 1:]


def start_recall(queries: Tensor, keys: Tensor, conv: CausalConv) -> None:
    """Let a key start as the query of the token before it.

    What is asked with some tokens is then answered with what followed tokens like them.

    Parameters
    ----------
    queries, keys : Tensor of shape (width, dim)
        Projections; that of the keys is overwritten.
    conv : CausalConv
        Over queries, keys and values, of width 2 or more; a query then starts without the earliest
        token that it reaches, which a key cannot reach.
    """
    query_taps, key_taps, _ = conv.weight.chunk(3)
    with torch.no_grad():
        keys.copy_(queries)
        query_taps[:, 0] = 0.0
        key_taps[:, :-1] = query_taps[:, 1:]
        key_taps[:, -1] = 0.0
