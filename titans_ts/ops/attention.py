"""Attention as short-term memory: within a segment, or over a sliding window at linear cost.

One softmax runs over a prefix, which every query sees, and over keys of which each query sees some.
There are two forms of it, chosen by size: a plain one that makes all scores, and one through
torch's fused kernels (FlashAttention, arXiv:2205.14135), which never hold them all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.constants import constant
from titans_ts.ops.rotary import rotate

__all__ = ["Prefix", "SegmentPattern", "WindowPattern", "attend", "sliding_window_attention"]

# Keys of a query from which on the fused kernels are faster. On one core of a CPU, forward and
# backward, the plain form takes 0.7 to 1.15 times as long as the fused one with up to 256 keys, 1.4
# times with 384, and about twice as long with 640.
_FUSED_FROM = {"cpu": 320}
_FUSED_FROM_ELSEWHERE = 128  # not measured: on a GPU, writing scores out is what costs
_FUSED_QUERIES = 32  # fewer do not repay the work on their keys: a step of a stream is plain
_BLOCK = 128  # queries of a block, at most
_STRETCH = 8192  # queries that are worked on together, at most: what they need stays in the cache
_LANES = 8  # the fused kernels of CUDA want sizes to be multiples of it


class Prefix(NamedTuple):
    """What comes before all keys, has no position, and is seen by every query."""

    scores: Tensor  # (batch, heads, n, p)
    values: Tensor  # (heads, p, width)
    keys: Tensor | None = None  # same shape, where queries have no position that they would miss

    @classmethod
    def meet(
        cls, queries: Tensor, keys: Tensor, values: Tensor, *, rotary: bool = True
    ) -> Prefix | None:
        """Let queries (batch, heads, n, width), neither scaled nor rotated, meet a prefix.

        ``keys`` and ``values`` are of shape (heads, p, width); None where p is 0. ``rotary`` says
        whether queries will be rotated.
        """
        if not keys.shape[-2]:
            return None
        scaled = keys * queries.shape[-1] ** -0.5
        # One product per head for the whole batch, where a broadcast one is one per sequence.
        scores = torch.einsum("bhnw,hpw->bhnp", queries, scaled)
        return cls(scores, values, None if rotary else keys)

    def part(self, now: slice) -> Prefix:
        return self._replace(scores=self.scores[..., now, :])


class WindowPattern(NamedTuple):
    """n queries and m keys, the last n of them the queries' own; a query sees ``window`` keys."""

    n: int
    m: int
    window: int

    def visible(self, device: torch.device) -> Tensor:
        """Of shape (n, m), bool."""
        own = torch.arange(self.m - self.n, self.m, device=device)[:, None]
        column = torch.arange(self.m, device=device)
        return (column <= own) & (column > own - self.window)


class SegmentPattern(NamedTuple):
    """n queries; m memory reads, and then m keys, the last n of them the queries' own."""

    n: int
    m: int
    causal_reads: bool

    def visible(self, device: torch.device) -> Tensor:
        """Of shape (n, 2 m), bool."""
        ones = torch.ones(self.n, self.m, dtype=torch.bool, device=device)
        earlier = ones.tril(self.m - self.n)
        reads = earlier if self.causal_reads else ones
        return torch.cat([reads, earlier], dim=-1)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pattern: WindowPattern | SegmentPattern,
    *,
    observed: Tensor | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Softmax attention over a prefix and over the keys that a pattern lets each query see.

    Parameters
    ----------
    queries : Tensor of shape (batch, heads, blocks * n, width)
        Scaled by ``width ** -0.5``; rotated, as are the keys.
    keys, values : Tensor of shape (batch, heads, (blocks - 1) * n + m, width)
        Block i's are the m from i * n on, of which the last n are its queries' own.
    pattern : WindowPattern or SegmentPattern
        For n queries and m keys of each block.
    observed : Tensor of shape (batch, (blocks - 1) * n + m), bool, optional
        Keys that may be seen; None for all. A query always sees its own.
    prefix : Prefix, optional

    Returns
    -------
    Tensor of shape (batch, heads, blocks * n, width)
    """
    enough = _FUSED_FROM.get(queries.device.type, _FUSED_FROM_ELSEWHERE)
    _, n, m = _sizes(queries, keys, pattern)
    form = _fused if n >= _FUSED_QUERIES and m >= enough else _plain
    return form(queries, keys, values, pattern, observed, prefix)


def sliding_window_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    observed: Tensor | None = None,
    *,
    window: int,
    prefix_keys: Tensor,
    prefix_values: Tensor,
    rotary: bool = True,
) -> Tensor:
    """Causal attention in which a token sees itself and the ``window - 1`` tokens before it.

    Queries go in blocks, each with the keys that it can reach: time and memory grow with
    ``time * window``, not with ``time ** 2``. A window longer than what there is to see costs no
    more than that.

    Parameters
    ----------
    queries : Tensor of shape (batch, heads, time, width)
        Not rotated.
    keys, values : Tensor of shape (batch, heads, past + time, width)
        The last ``time`` belong to the queries; ``past < window`` came before. Not rotated.
    observed : Tensor of shape (batch, past + time), bool, optional
        Keys that may be seen; None for all. A query always sees its own.
    window : int
    prefix_keys, prefix_values : Tensor of shape (heads, p, width)
        Seen by every query, without position; p may be 0.
    rotary : bool, default True
        False: no key has a position.

    Returns
    -------
    Tensor of shape (batch, heads, time, width)
    """
    time, past = queries.shape[-2], keys.shape[-2] - queries.shape[-2]
    stretch = max(_STRETCH, 4 * window)
    n_more = max(-(-time // stretch) - 1, 0)
    # Split, not cut: each cut of the whole would have a gradient as long as the whole.
    sizes = [stretch] * n_more + [time - n_more * stretch]
    all_queries = queries.split(sizes, dim=-2)
    sizes[0] += past
    all_keys, all_values = keys.split(sizes, dim=-2), values.split(sizes, dim=-2)
    seen = None if observed is None else observed.split(sizes, dim=1)
    out = []
    for i, queries in enumerate(all_queries):
        keys, values = all_keys[i], all_values[i]
        observed = None if seen is None else seen[i]
        if i:
            last = slice(all_keys[i - 1].shape[-2] - (window - 1), None)
            keys = torch.cat([all_keys[i - 1][..., last, :], keys], dim=-2)
            values = torch.cat([all_values[i - 1][..., last, :], values], dim=-2)
            if seen is not None:
                observed = torch.cat([seen[i - 1][:, last], seen[i]], dim=1)
        prefix = Prefix.meet(queries, prefix_keys, prefix_values, rotary=rotary)
        out.append(_stretch(queries, keys, values, observed, prefix, window, rotary))
    return torch.cat(out, dim=-2) if n_more else out[0]


def _stretch(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    observed: Tensor | None,
    prefix: Prefix | None,
    window: int,
    rotary: bool,
) -> Tensor:
    """``sliding_window_attention`` of a stretch of tokens whose positions count from its start."""
    time, total = queries.shape[-2], keys.shape[-2]
    past = total - time
    scale = queries.shape[-1] ** -0.5
    queries = rotate(queries, 0, scale=scale) if rotary else queries * scale
    keys = rotate(keys, -past) if rotary else keys
    # A block meets its own keys, and those of the n_before blocks before that its window reaches.
    # Small blocks waste few scores on keys out of the window; very small ones make small products.
    n_before = max(-(-(window - 1) // _BLOCK), 1)
    size = max(-(-(window - 1) // (n_before * _LANES)), 1) * _LANES
    reach = n_before * size
    # The first queries reach back to where nothing is. They go as one block, and take along what
    # does not fill a block, so that nothing is ever padded.
    n_first = reach - past + (time - (reach - past)) % size
    if time <= n_first:
        pattern = WindowPattern(time, total, min(window, total))
        return attend(queries, keys, values, pattern, observed=observed, prefix=prefix)
    parts = []
    if n_first:
        now, seen = slice(n_first), slice(past + n_first)
        pattern = WindowPattern(n_first, past + n_first, min(window, past + n_first))
        parts.append((pattern, now, seen))
    now, seen = slice(n_first, None), slice(past + n_first - reach, None)
    parts.append((WindowPattern(size, reach + size, window), now, seen))
    out = [
        attend(
            queries[..., now, :],
            keys[..., seen, :],
            values[..., seen, :],
            pattern,
            observed=None if observed is None else observed[:, seen],
            prefix=None if prefix is None else prefix.part(now),
        )
        for pattern, now, seen in parts
    ]
    return torch.cat(out, dim=-2)


def _sizes(
    queries: Tensor, keys: Tensor, pattern: WindowPattern | SegmentPattern
) -> tuple[int, int, int]:
    """Blocks, queries of a block, keys of a block."""
    blocks = queries.shape[-2] // pattern.n
    return blocks, pattern.n, keys.shape[-2] - (blocks - 1) * pattern.n


def _visible(pattern: WindowPattern | SegmentPattern, observed: Tensor, n: int, m: int) -> Tensor:
    """What each query of each sequence sees, its own key always; (batch, 1, blocks, n, m), bool."""
    own = F.pad(torch.eye(n, dtype=torch.bool, device=observed.device), (m - n, 0))
    seen = observed.unfold(-1, m, n)[:, None, :, None, :]
    return pattern.visible(observed.device) & seen | own


def _plain(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pattern: WindowPattern | SegmentPattern,
    observed: Tensor | None,
    prefix: Prefix | None,
) -> Tensor:
    """With all scores, as one writes it down."""
    blocks, n, m = _sizes(queries, keys, pattern)
    dtype, device = queries.dtype, queries.device

    def bias_of(visible: Tensor) -> Tensor:
        # Added, not filled in: the backward pass of a sum does nothing.
        zeros = torch.zeros(visible.shape, dtype=dtype, device=device)
        return zeros.masked_fill_(~visible, -torch.inf)

    def make() -> tuple[Tensor, ...]:
        return (bias_of(pattern.visible(device)),)

    if observed is None:
        (bias,) = constant(("bias", type(pattern), pattern, dtype, device), make)
    else:
        bias = bias_of(_visible(pattern, observed, n, m))
        bias = bias if blocks > 1 else bias[:, :, 0]
    first = None if prefix is None else prefix.scores
    if blocks > 1:
        queries = queries.unflatten(-2, (blocks, n))
        keys, values = _windows(keys, m, n), _windows(values, m, n)
        first = None if first is None else first.unflatten(-2, (blocks, n))
    scores = queries @ keys.mT + bias
    if prefix is None or first is None:
        out = scores.softmax(-1) @ values
    else:
        weights = torch.cat([first, scores], dim=-1).softmax(-1)
        shares, weights = weights.split([first.shape[-1], m], dim=-1)
        out = torch.einsum("bh...p,hpw->bh...w", shares, prefix.values) + weights @ values
    return out.flatten(-3, -2) if blocks > 1 else out


def _fused(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pattern: WindowPattern | SegmentPattern,
    observed: Tensor | None,
    prefix: Prefix | None,
) -> Tensor:
    """Through ``scaled_dot_product_attention``, with one mask that all blocks share.

    What a query alone sees, the prefix and its own masked key, becomes one more key: with l the
    log of the sum of their exponentials, and u their average, the softmax over everything is the
    one over [keys, l] with u as the last value. A further feature of the queries holds l, and the
    further key is 1 there and 0 elsewhere; a further feature of the values says how large a share
    it got. In a feature of their own, keys that are not observed are pushed out of the softmax.
    """
    blocks, n, m = _sizes(queries, keys, pattern)
    width, dtype, device = queries.shape[-1], queries.dtype, queries.device
    small = observed is None or n <= _BLOCK  # where each sequence may have a mask of its own
    if blocks == 1 and small and (prefix is None or prefix.keys is not None):
        return _fused_block(queries, keys, values, pattern, observed, prefix)
    lonely = _seen_alone(queries, keys, values, observed, prefix)
    group = n if blocks > 1 else m  # keys that lie together, with a place for the further one
    lanes = 0 if lonely is None else _LANES

    def make_mask() -> tuple[Tensor, ...]:
        visible = F.pad(pattern.visible(device).unflatten(-1, (-1, group)), (0, lanes))
        if lanes:
            visible[:, -1, group] = True
        return (visible.flatten(-2),)

    (mask,) = constant(("mask", type(pattern), pattern, group, lanes, device), make_mask)
    if lonely is not None:
        score, mean = lonely
        rows = keys.shape[:-1]
        push = keys.new_zeros(rows)
        if observed is not None:
            push = push.masked_fill(~observed[:, None], _least(dtype))
        ones = queries.new_ones(score.shape)
        queries = torch.cat(
            [
                queries,
                torch.stack([score.to(dtype), ones], dim=-1),
                queries.new_zeros(*score.shape, lanes - 2),
            ],
            dim=-1,
        )
        keys = _with_further(keys, F.pad(push[..., None], (1, lanes - 2)), group, lanes)
        values = _with_further(values, values.new_zeros(*rows, lanes), group, lanes)

    def in_windows(x: Tensor) -> Tensor:
        """Views that overlap; blocks in the place of heads, since all share one mask."""
        step = group + lanes
        x = x.flatten(0, 1)
        return x[:, None] if blocks == 1 else _windows(x, m // group * step, step)

    out = F.scaled_dot_product_attention(
        queries.flatten(0, 1).unflatten(1, (blocks, n)),
        in_windows(keys),
        in_windows(values),
        attn_mask=mask,
        scale=1.0,
    )
    out = out.flatten(1, 2).unflatten(0, (-1, keys.shape[1]))
    if lonely is None:
        return out
    return torch.addcmul(out[..., :width], out[..., width : width + 1], mean)


def _fused_block(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pattern: WindowPattern | SegmentPattern,
    observed: Tensor | None,
    prefix: Prefix | None,
) -> Tensor:
    """One block whose prefix is keys like all others: a sixth less to do with a window of 1,024."""
    n, m = queries.shape[-2], keys.shape[-2]
    device, n_first = queries.device, 0
    if prefix is not None and prefix.keys is not None:
        n_first = prefix.keys.shape[-2]
        first_keys, first_values = (
            y.to(keys.dtype).expand(keys.shape[0], -1, -1, -1) for y in (prefix.keys, prefix.values)
        )
        keys = torch.cat([first_keys, keys], dim=-2)
        values = torch.cat([first_values, values], dim=-2)

    def with_prefix(visible: Tensor) -> Tensor:
        return F.pad(visible, (n_first, 0), value=True)

    if observed is None:
        key = ("block", type(pattern), pattern, n_first, device)
        (mask,) = constant(key, lambda: (with_prefix(pattern.visible(device)),))
    else:
        mask = with_prefix(_visible(pattern, observed, n, m)[:, :, 0])
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)


class _Windows(torch.autograd.Function):
    """Overlapping views of rows. torch's own backward pass of them takes longer than attention."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, length: int, step: int) -> Tensor:
        return x.unfold(-2, length, step).mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        ctx.rows, ctx.step = inputs[0].shape[-2], inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        step, blocks, length = ctx.step, gradient.shape[-3], gradient.shape[-2]
        shape = (*gradient.shape[:-3], ctx.rows // step, step, gradient.shape[-1])
        total = gradient.new_zeros(shape)
        for i in range(length // step):
            total[..., i : i + blocks, :, :] += gradient[..., i * step : (i + 1) * step, :]
        return total.flatten(-3, -2), None, None


def _windows(x: Tensor, length: int, step: int) -> Tensor:
    """Views (..., blocks, length, width) of rows (..., rows, width), ``step`` from one another.

    ``length`` and the number of rows are multiples of ``step``, and each row is in a window.
    """
    windows: Tensor = _Windows.apply(x, length, step)
    return windows


def _with_further(x: Tensor, features: Tensor, group: int, lanes: int) -> Tensor:
    """Append features to (batch, heads, rows, width), and to each group of rows the further key."""

    def make() -> tuple[Tensor, ...]:
        # Not assigned to one element: a CUDA graph cannot copy a number from the processor.
        first = torch.arange(lanes * lanes, device=x.device) == 0
        return (first.view(lanes, lanes).to(x.dtype),)

    (corner,) = constant(("corner", lanes, x.dtype, x.device), make)
    x, features = (y.unflatten(-2, (-1, group)) for y in (x, features))
    corner = corner.expand(*x.shape[:-2], -1, -1)
    side = torch.cat([features, corner], dim=-2)
    return torch.cat([F.pad(x, (0, 0, 0, lanes)), side], dim=-1).flatten(-3, -2)


def _seen_alone(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    observed: Tensor | None,
    prefix: Prefix | None,
) -> tuple[Tensor, Tensor] | None:
    """What no two queries share: log-sum-exp of its scores, and its mean value."""
    scores = [] if prefix is None else [prefix.scores]
    if observed is not None:
        own = slice(keys.shape[-2] - queries.shape[-2], None)
        score = (queries * keys[..., own, :]).sum(-1)
        # Finite: with nothing else, the softmax of a minus infinity would be NaN.
        score = score.masked_fill(observed[:, None, own], _least(queries.dtype))
        scores.append(score[..., None])
    if not scores:
        return None
    joined = torch.cat(scores, dim=-1)
    weights = joined.softmax(-1)
    mean: Tensor | float = 0.0
    if prefix is not None:
        first = weights[..., : prefix.scores.shape[-1]]
        mean = torch.einsum("bhnp,hpw->bhnw", first, prefix.values)
    if observed is not None:
        mean = mean + weights[..., -1:] * values[..., own, :]
    assert isinstance(mean, Tensor)
    return joined.logsumexp(-1), mean


def _least(dtype: torch.dtype) -> float:
    """So low a score that its exponential is 0, with room to add others to it."""
    return -torch.finfo(dtype).max / 4
