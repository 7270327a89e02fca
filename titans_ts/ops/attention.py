"""Attention as short-term memory: within a segment, or over a sliding window at linear cost.

One softmax runs over a prefix, which every query sees, and over keys of which each query sees some.
There are two forms of it: a plain one that makes all scores, and one through torch's fused kernels
(FlashAttention, arXiv:2205.14135), which never hold them all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.constants import constant
from titans_ts.ops.rotary import rotate

__all__ = ["Prefix", "attend", "hide", "prefix_of", "sliding_window_attention"]

# Keys from which on the fused kernels are faster. On one core of a CPU, forward and backward with
# 224 x 16 queries and 35 keys of width 32, the plain form takes 4.5 ms and the fused 6.5 ms; with
# 64 x 64 queries and 128 keys both take 4.7 ms, and with 256 x 128 and 640 keys 850 and 390 ms.
FUSED_FROM = 128
_BLOCK = 128  # queries of a block: each meets at most so many keys out of its window
_LANES = 8  # the fused kernels of CUDA want sizes to be multiples of it


class Prefix(NamedTuple):
    """Keys that every query sees, and that have no position: what the queries make of them."""

    scores: Tensor  # (batch, heads, n, p)
    values: Tensor  # (heads, p, width)


def prefix_of(queries: Tensor, keys: Tensor, values: Tensor) -> Prefix | None:
    """Let queries that were not rotated meet a prefix.

    Parameters
    ----------
    queries : Tensor of shape (batch, heads, n, width)
    keys, values : Tensor of shape (heads, p, width)

    Returns
    -------
    Prefix or None
        None where p is 0.
    """
    if not keys.shape[-2]:
        return None
    scale = queries.shape[-1] ** -0.5
    # One product per head for the whole batch, where a broadcast product is one per sequence.
    return Prefix(torch.einsum("bhnw,hpw->bhnp", queries, keys * scale), values)


def hide(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: 0 where visible, minus infinity elsewhere."""
    # Added, not filled in: the backward pass of a sum does nothing.
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, -torch.inf
    )


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, prefix: Prefix | None
) -> Tensor:
    """Softmax attention over a prefix and over the keys that ``bias`` leaves visible, plainly.

    Parameters
    ----------
    queries : Tensor of shape (batch, heads, ..., n, width)
        Scaled by ``width ** -0.5``; rotated, as are the keys.
    keys, values : Tensor of shape (batch, heads, ..., m, width)
    bias : Tensor, broadcastable to (batch, heads, ..., n, m)
        Added to the scores: see ``hide``. Each query must see something, unless there is a prefix.
    prefix : Prefix, optional
        Its scores of shape (batch, heads, ..., n, p).

    Returns
    -------
    Tensor of shape (batch, heads, ..., n, width)
    """
    scores = queries @ keys.mT + bias
    if prefix is None:
        return scores.softmax(-1) @ values
    n_prefix = prefix.scores.shape[-1]
    weights = torch.cat([prefix.scores, scores], dim=-1).softmax(-1)
    first, rest = weights.split([n_prefix, scores.shape[-1]], dim=-1)
    return torch.einsum("bh...p,hpw->bh...w", first, prefix.values) + rest @ values


def sliding_window_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    observed: Tensor | None = None,
    *,
    window: int,
    prefix_keys: Tensor,
    prefix_values: Tensor,
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

    Returns
    -------
    Tensor of shape (batch, heads, time, width)
    """
    time, past = queries.shape[-2], keys.shape[-2] - queries.shape[-2]
    prefix = prefix_of(queries, prefix_keys, prefix_values)
    queries = rotate(queries, 0, scale=queries.shape[-1] ** -0.5)
    keys = rotate(keys, -past)
    # A block's keys are whole blocks: its own, and ``n_before`` that the window reaches.
    n_before = max(-(-(window - 1) // _BLOCK), 1)
    size = max(_whole_lanes(-(-(window - 1) // n_before)), _LANES)
    reach = (n_before + 1) * size
    # The first queries, which reach back to where nothing is, go as one block of their own. It
    # takes what does not fill a block, so that nothing is padded.
    n_first = n_before * size - past
    n_first += (time - n_first) % size
    form = _fused if min(reach, past + time) >= FUSED_FROM else _plain
    if time <= n_first:
        return form(queries, keys, values, observed, prefix, window, (1, time, past + time))
    