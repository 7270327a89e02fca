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

__all__ = [
    "SeenSegment",
    "SegmentAttention",
    "SegmentTokens",
    "SlidingWindowAttention",
    "WindowState",
]


# What queries and keys are multiplied by where attention starts as recall.
RECALL_SHARPNESS = 1.7


class WindowState(NamedTuple):
    """The keys and values that the next token can still see: at most ``window - 1`` of them."""

    keys: Tensor  # (batch, heads, past, width), without rotary positions
    values: Tensor  # same shape
    observed: Tensor  # (batch, past), bool
    tail: Tensor | None = None  # last inputs of the convolutions, (batch, conv_width - 1, 3 * dim)


class _Attention(nn.Module):
    """Projections, convolutions and persistent tokens, common to both kinds."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.n_heads, self.rotary, dim = config.n_heads, config.rotary, config.dim
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        # Near zero, they start as a place where attention can rest (Titans, section 3.3).
        self.persistent = persistent_tokens(config.n_persistent, dim)
        has_conv = config.attention_conv and config.conv_width
        self.conv = CausalConv(3 * dim, config.conv_width) if has_conv else None
        if config.recall and self.conv is not None:
            # So sharp that one match stands out among hundreds of tokens.
            with torch.no_grad():
                self.query.weight.mul_(RECALL_SHARPNESS)
            start_recall(self.query.weight, self.key_value.weight[:dim], self.conv)

    def _project(
        self, x: Tensor, tail: Tensor | None, *, n_again: int = 0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys and values of tokens, and the convolution's tail, as ``CausalConv`` has
        it."""
        queries = self.query(x)
        if self.conv is None:
            return (self._heads(queries), *self._keys_values(x), None)
        joined = torch.cat([queries, self.key_value(x)], dim=-1)
        mixed, tail = self.conv(joined, tail, n_again=n_again)
        queries, keys, values = (self._heads(part) for part in mixed.chunk(3, dim=-1))
        return queries, keys, values, tail

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


class SegmentTokens(NamedTuple):
    """What attention makes of a segment's tokens before their memory reads are there."""

    queries: Tensor  # (batch, heads, time, width), scaled and with any rotary positions
    keys: Tensor  # same shape, with any rotary positions
    values: Tensor  # same shape
    observed: Tensor | None  # (batch, time), bool
    prefix: Prefix | None


class SeenSegment(NamedTuple):
    """What the tokens of a segment see, up to the last one that was read."""

    read_keys: Tensor  # (batch, heads, n, width), with any rotary positions
    read_values: Tensor  # same shape
    keys: Tensor  # same shape, of the tokens themselves
    values: Tensor  # same shape
    observed: Tensor | None  # (batch, n), bool

    def carried(self) -> SeenSegment:
        """The same, to be kept in a state."""
        read_keys, read_values, keys, values = (carry(part) for part in self[:4])
        observed = None if self.observed is None else self.observed.clone()
        return SeenSegment(read_keys, read_values, keys, values, observed)

    def and_then(self, later: SeenSegment) -> SeenSegment:
        """This beginning of a segment, and what comes after it."""
        read_keys, read_values, keys, values = (
            torch.cat([a.to(b.dtype), b], dim=-2) for a, b in zip(self[:4], later[:4], strict=True)
        )
        observed = None
        if self.observed is not None or later.observed is not None:
            observed = torch.cat([_mask_of(self), _mask_of(later)], dim=1)
        return SeenSegment(read_keys, read_values, keys, values, observed)


def _mask_of(seen: SeenSegment) -> Tensor:
    if seen.observed is not None:
        return seen.observed
    batch, _, n, _ = seen.keys.shape
    return torch.ones(batch, n, dtype=torch.bool, device=seen.keys.device)


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
        (tokens,), _ = self.prepare(x, observed)
        return self.attend(tokens, self.see(tokens, reads))

    def prepare(
        self,
        x: Tensor,
        observed: Tensor | None = None,
        tail: Tensor | None = None,
        *,
        n_before: int = 0,
        n_again: int = 0,
    ) -> tuple[list[SegmentTokens], Tensor | None]:
        """Do what needs no memory, for all segments at once: they are read one after another.

        Parameters
        ----------
        x : Tensor of shape (batch, time, dim)
            Whole segments, of which the last may be open.
        observed : Tensor of shape (batch, time), bool, optional
        tail : Tensor of shape (batch, conv_width - 1, 3 * dim), optional
            Last inputs of the convolutions before ``x``: they go on from one segment to the next.
        n_before : int, default 0
            Tokens that the segment already has; ``x`` is then more of it, at most to its end.
        n_again : int, default 0
            Last tokens of ``x`` that will come again.

        Returns
        -------
        list of SegmentTokens
            One per segment, for ``see`` and ``attend``.
        tail : Tensor or None
            That before the tokens that will come again; None without convolutions.
        """
        time, size = x.shape[1], self.segment_length
        plain, keys, values, tail = self._project(x, tail, n_again=n_again)
        prefix = Prefix.meet(plain, *self._prefix(x), rotary=self.rotary)

        # Split, not cut one after another: each cut would have a gradient as long as the whole.
        def split(y: Tensor) -> tuple[Tensor, ...]:
            return y.split(size, dim=-2)

        scale, nothing = plain.shape[-1] ** -0.5, (None,) * -(-time // size)
        parts = zip(
            split(self._turned(plain, n_before, scale) if self.rotary else plain * scale),
            split(self._turned(keys, n_before) if self.rotary else keys),
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
                None if scores is None or prefix is None else prefix._replace(scores=scores),
            )
            for queries, keys, values, seen, scores in parts
        ], tail

    def _turned(self, x: Tensor, n_before: int, scale: float = 1.0) -> Tensor:
        """With rotary positions, which count from each segment's start."""
        time, size = x.shape[-2], self.segment_length
        if n_before + time <= size:
            return rotate(x, n_before, scale=scale)
        n_segments = -(-time // size)
        x = F.pad(x, (0, 0, 0, n_segments * size - time)).unflatten(-2, (n_segments, size))
        return rotate(x, 0, scale=scale).flatten(-3, -2)[..., :time, :]

    def see(
        self, tokens: SegmentTokens, reads: Tensor, before: SeenSegment | None = None
    ) -> SeenSegment:
        """What prepared tokens see beside persistent ones.

        ``reads``, of shape (batch, time, dim), is what the memory answered to the same tokens;
        ``before`` is what earlier tokens of the segment saw.
        """
        keys, values = self._keys_values(reads)
        if self.rotary:
            # Reads take the positions of the segment before, so that a read and its token differ.
            n_before = 0 if before is None else before.keys.shape[-2]
            keys = rotate(keys, n_before - self.segment_length)
        seen = SeenSegment(keys, values, tokens.keys, tokens.values, tokens.observed)
        return seen if before is None else before.and_then(seen)

    def attend(self, tokens: SegmentTokens, seen: SeenSegment) -> Tensor:
        """Attend from prepared tokens to [persistent | memory reads | segment]."""
        mask = seen.observed
        return self._join(
            attend(
                tokens.queries,
                torch.cat([seen.read_keys, seen.keys], dim=-2),
                torch.cat([seen.read_values, seen.values], dim=-2),
                SegmentPattern(tokens.queries.shape[-2], seen.keys.shape[-2], self.causal_reads),
                observed=None if mask is None else torch.cat([mask, mask], dim=1),
                prefix=tokens.prefix,
            )
        )
