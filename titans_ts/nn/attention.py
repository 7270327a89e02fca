"""Attention modules: over a sliding window (MAG, MAL), and inside a segment (MAC)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.nn.layers import carry, persistent_tokens
from titans_ts.ops.attention import attend, rotate, sliding_window_attention

__all__ = ["SegmentAttention", "SlidingWindowAttention", "WindowState"]


class WindowState(NamedTuple):
    """The keys and values that the next token can still see: at most ``window - 1`` of them."""

    keys: Tensor  # (batch, heads, past, width), without rotary positions
    values: Tensor  # same shape
    observed: Tensor  # (batch, past), bool


class _Attention(nn.Module):
    """Projections and persistent tokens, common to both kinds."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key_value = nn.Linear(config.dim, 2 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        # Near zero, they start as a place where attention can rest (Titans, section 3.3).
        self.persistent = persistent_tokens(config.n_persistent, config.dim)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

    def _keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(x).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def _prefix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the persistent tokens, of which there may be none."""
        tokens = x.new_empty(0, x.shape[-1]) if self.persistent is None else self.persistent
        return self._keys_values(tokens)

    def _join(self, heads: Tensor) -> Tensor:
        return self.out(heads.transpose(-3, -2).flatten(-2))


class SlidingWindowAttention(_Attention):
    """Causal attention over the last ``config.attention_window`` tokens and persistent ones."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.window = config.attention_window

    def forward(
        self, x: Tensor, state: WindowState | None = None, observed: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """Attend from each token of ``x``, shape (batch, time, dim), to its window."""
        keys, values = self._keys_values(x)
        if observed is None:
            observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if state is not None:
            keys = torch.cat([state.keys.to(keys.dtype), keys], dim=-2)
            values = torch.cat([state.values.to(values.dtype), values], dim=-2)
            observed = torch.cat([state.observed, observed], dim=-1)
        prefix_keys, prefix_values = self._prefix(x)
        out = sliding_window_attention(
            self._heads(self.query(x)),
            keys,
            values,
            observed,
            window=self.window,
            prefix_keys=prefix_keys,
            prefix_values=prefix_values,
        )
        past = min(self.window - 1, keys.shape[-2])
        keep = slice(keys.shape[-2] - past, None)
        state = WindowState(
            carry(keys[..., keep, :]), carry(values[..., keep, :]), observed[:, keep].clone()
        )
        return self._join(out), state


class SegmentAttention(_Attention):
    """MAC's attention: from the tokens of a segment to [persistent | memory reads | segment]."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.segment_length = config.segment_length
        self.causal_reads = config.mac_mode == "causal"

    def forward(self, x: Tensor, reads: Tensor, observed: Tensor | None = None) -> Tensor:
        """Attend inside one segment (Titans, eqs. 22-23).

        Parameters
        ----------
        x : Tensor of shape (batch, time, dim)
            The segment, or its first tokens; time at most ``segment_length``.
        reads : Tensor of shape (batch, time, dim)
            What the memory answered to the same tokens. Each is as old as its token, so in causal
            mode a token sees the reads up to its own.
        observed : Tensor of shape (batch, time), bool, optional

        Returns
        -------
        Tensor of shape (batch, time, dim)
        """
        time = x.shape[1]
        queries = self._heads(self.query(x))
        keys, values = self._keys_values(torch.cat([reads, x], dim=1))
        # Reads take the positions of the segment before, so that a read and its token differ.
        keys = torch.cat(
            [
                rotate(keys[..., :time, :], -self.segment_length),
                rotate(keys[..., time:, :], 0),
            ],
            dim=-2,
        )
        earlier = torch.ones(time, time, dtype=torch.bool, device=x.device).tril()
        visible_reads = earlier if self.causal_reads else torch.ones_like(earlier)
        visible = torch.cat([visible_reads, earlier], dim=-1)
        if observed is not None:
            itself = torch.eye(time, dtype=torch.bool, device=x.device)
            itself = torch.cat([torch.zeros_like(itself), itself], dim=-1)
            visible = visible & observed.repeat(1, 2)[:, None, None, :] | itself
        prefix_keys, prefix_values = self._prefix(x)
        out = attend(
            rotate(queries, 0),
            keys,
            values,
            visible,
            plain_queries=queries,
            prefix_keys=prefix_keys,
            prefix_values=prefix_values,
        )
        return self._join(out)
