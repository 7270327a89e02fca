"""Attention modules: over a sliding window (MAG, MAL), and inside a segment (MAC)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.nn.convolution import CausalConv, start_recall
from titans_ts.nn.layers import carry, persistent_tokens
from titans_ts.ops.attention import Prefix, SegmentPattern, attend, sliding_window_attention
from titans_ts.ops.rotary import rotate

__all__ = ["SegmentAttention", "SegmentTokens", "SlidingWindowAttention", "WindowState"]


# What queries and keys are multiplied by where attention starts as recall.
RECALL_SHARPNESS = 1.7


class WindowState(NamedTuple):
    """The keys and values that the next token can still see: at most ``window - 1`` of them."""

    keys: Tensor  # (batch, heads, past, width), without rotary positions
    values: Tensor  # same shape
    observed: Tensor  # (batch, past), bool
    tail: Tensor | None = None  # last inputs of the convolutions, (batch, conv_width - 1, 3 * dim)


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
        self.window, self.rotary, dim = config.attention_window, config.rotary, config.dim
        has_conv = config.attention_conv and config.conv_width
        self.conv = CausalConv(3 * dim, config.conv_width) if has_conv else None
        if config.recall and self.conv is not None:
            # So sharp that one match stands out among hundreds of tokens.
            with torch.no_grad():
                self.query.weight.mul_(RECALL_SHARPNESS)
            start_recall(self.query.weight, self.key_value.weight[:dim], self.conv)

    def forward(
        self, x: Tensor, state: WindowState | None = None, observed: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """Attend from each token of ``x``, shape (batch, time, dim), to its window."""
        queries, keys, values, tail = self._project(x, None if state is None else state.tail)
        if state is not None:
            keys = torch.cat([state.keys.to(keys.dtype), keys], dim=-2)
            values = torch.cat([state.values.to(values.dtype), values], dim=-2)
            if observed is None:
                observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            observed = torch.cat([state.observed, observed], dim=-1)
        prefix_keys, prefix_values = self._prefix(x)
        out = sliding_window_attention(
            queries,
            keys,
            values,
            observed,
            window=self.window,
            rotary=self.rotary,
            prefix_keys=prefix_keys,
            prefix_values=prefix_values,
        )
        past = min(self.window - 1, keys.shape[-2])
        keep = slice(keys.shape[-2] - past, None)
        if observed is None:
            seen = torch.ones(x.shape[0], past, dtype=torch.bool, device=x.device)
        else:
            seen = observed[:, keep].clone()
        state = WindowState(carry(keys[..., keep, :]), carry(values[..., keep, :]), seen, tail)
        return self._join(out), state

    def _project(
        self, x: Tensor, tail: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        queries = self.query(x)
        if self.conv is None:
            return (self._heads(queries), *self._keys_values(x), None)
        mixed, tail = self.conv(torch.cat([queries, self.key_value(x)], dim=-1), tail)
        queries, keys, values = (self._heads(part) for part in mixed.chunk(3, dim=-1))
        return queries, keys, values, tail


class SegmentTokens(NamedTuple):
    """What attention makes of a segment's tokens before their memory reads are there."""

    queries: Tensor  # (batch, heads, time, width), scaled and with rotary positions
    keys: Tensor  # same shape, with rotary positions
    values: Tensor  # same shape
    observed: Tensor | None  # (batch, time), bool
    prefix: Prefix | None


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
        (tokens,) = self._prepare(x, observed, x.shape[1])
        return self.attend(tokens, reads)

    def prepare(self, x: Tensor, observed: Tensor | None = None) -> list[SegmentTokens]:
        """Do what needs no memory, for all segments at once: they are read one after another.

        Parameters
        ----------
        x : Tensor of shape (batch, time, dim)
            Whole segments, of which the last may be open.
        observed : Tensor of shape (batch, time), bool, optional

        Returns
        -------
        list of SegmentTokens
            One per segment, for ``attend``.
        """
        return self._prepare(x, observed, min(self.segment_length, x.shape[1]))

    def _prepare(self, x: Tensor, observed: Tensor | None, size: int) -> list[SegmentTokens]:
        time = x.shape[1]
        n_segments = -(-time // size)
        x = F.pad(x, (0, 0, 0, n_segments * size - time))
        plain, (keys, values) = self._heads(self.query(x)), self._keys_values(x)
        prefix = Prefix.meet(plain, *self._prefix(x))

        # Positions count from each segment's start.
        def turned(y: Tensor, scale: float) -> Tensor:
            y = y.unflatten(-2, (n_segments, size)) if n_segments > 1 else y
            y = rotate(y, 0, scale=scale)
            return y.flatten(-3, -2) if n_segments > 1 else y

        # Split, not cut one after another: each cut would have a gradient as long as the whole.
        def split(y: Tensor) -> tuple[Tensor, ...]:
            return y[..., :time, :].split(size, dim=-2)

        nothing = (None,) * n_segments
        parts = zip(
            split(turned(plain, plain.shape[-1] ** -0.5)),
            split(turned(keys, 1.0)),
            split(values),
            nothing if observed is None else observed.split(size, dim=1),
            nothing if prefix is None else split(prefix.scores),
            strict=True,
        )
        return [
            SegmentTokens(
                queries,
                keys,
                values,
                seen,
                None if scores is None or prefix is None else Prefix(scores, prefix.values),
            )
            for queries, keys, values, seen, scores in parts
        ]

    def attend(self, tokens: SegmentTokens, reads: Tensor) -> Tensor:
        """Attend from a prepared segment to [persistent | memory reads | segment].

        ``reads``, of shape (batch, time, dim), is what the memory answered to the same tokens.
        """
        keys, values = self._keys_values(reads)
        # Reads take the positions of the segment before, so that a read and its token differ.
        keys = torch.cat([rotate(keys, -self.segment_length), tokens.keys], dim=-2)
        values = torch.cat([values, tokens.values], dim=-2)
        seen = tokens.observed
        return self._join(
            attend(
                tokens.queries,
                keys,
                values,
                SegmentPattern(reads.shape[1], self.causal_reads),
                observed=None if seen is None else torch.cat([seen, seen], dim=1),
                prefix=tokens.prefix,
            )
        )
