"""Attention as short-term memory: within a segment, or over a sliding window at linear cost."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend", "rotate", "sliding_window_attention"]


def rotate(x: Tensor, first_position: int, *, base: float = 10_000.0) -> Tensor:
    """Rotary positions (RoFormer, arXiv:2104.09864): turn pairs of features by their position.

    Only differences of positions ever matter, so a caller may count from wherever it likes.

    Parameters
    ----------
    x : Tensor of shape (..., time, width)
        Width even.
    first_position : int
        Position of the first row; may be negative.
    """
    time, width = x.shape[-2:]
    # In float64: at position 2,000,000 float32 angles are off by a tenth of a radian.
    index = torch.arange(0, width, 2, device=x.device, dtype=torch.float64)
    position = torch.arange(first_position, first_position + time, device=x.device)
    angle = position[:, None] * base ** (-index / width)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x.chunk(2, dim=-1)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    visible: Tensor,
    *,
    plain_queries: Tensor,
    prefix_keys: Tensor,
    prefix_values: Tensor,
) -> Tensor:
    """Softmax attention over a prefix that is always visible and over what ``visible`` allows.

    The prefix has no position: it meets the queries before they were rotated.

    Parameters
    ----------
    queries, plain_queries : Tensor of shape (..., n, width)
        With and without rotary positions.
    keys, values : Tensor of shape (..., m, width)
    visible : Tensor, bool, broadcastable to (..., n, m)
        Each query must see something, unless there is a prefix.
    prefix_keys, prefix_values : Tensor of shape (..., p, width)
        p may be 0.

    Returns
    -------
    Tensor of shape (..., n, width)
    """
    scale = queries.shape[-1] ** -0.5
    scores = (queries * scale) @ keys.mT
    scores = scores.masked_fill(~visible, -torch.inf)
    n_prefix = prefix_keys.shape[-2]
    if not n_prefix:
        return scores.softmax(-1) @ values
    first = (plain_queries * scale) @ prefix_keys.mT
    weights = torch.cat([first, scores], dim=-1).softmax(-1)
    return weights[..., :n_prefix] @ prefix_values + weights[..., n_prefix:] @ values


def sliding_window_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    observed: Tensor,
    *,
    window: int,
    prefix_keys: Tensor,
    prefix_values: Tensor,
) -> Tensor:
    """Causal attention in which a token sees itself and the ``window - 1`` tokens before it.

    Queries go in blocks of one window, each with the two windows of keys it can reach: time and
    memory grow with ``time * window``, not with ``time ** 2``. A window longer than what there is
    to see costs no more than that.

    Parameters
    ----------
    queries : Tensor of shape (batch, heads, time, width)
        Not rotated.
    keys, values : Tensor of shape (batch, heads, past + time, width)
        The last ``time`` belong to the queries; ``past < window`` came before. Not rotated.
    observed : Tensor of shape (batch, past + time), bool
        Keys that may be seen. A query always sees its own.
    window : int
    prefix_keys, prefix_values : Tensor of shape (heads, p, width)
        Seen by every query, without position.

    Returns
    -------
    Tensor of shape (batch, heads, time, width)
    """
    time, past = queries.shape[-2], keys.shape[-2] - queries.shape[-2]
    window = min(window, past + time)
    size = min(window, time)
    blocks = -(-time // size)
    turned = rotate(queries, 0)
    keys = rotate(keys, -past)
    # Pad so that block i's keys are ``reach`` columns from i * size on.
    before, after = window - 1 - past, blocks * size - time
    keys, values = (F.pad(x, (0, 0, before, after)) for x in (keys, values))
    observed = F.pad(observed, (before, after))
    reach = window - 1 + size
    keys = keys.unfold(-2, reach, size).mT  # (batch, heads, blocks, reach, width)
    values = values.unfold(-2, reach, size).mT
    observed = observed.unfold(-1, reach, size)[:, None, :, None, :]

    row = torch.arange(size, device=queries.device)[:, None]
    column = torch.arange(reach, device=queries.device)
    own = column == row + window - 1
    near = (column >= row) & (column <= row + window - 1)
    visible = (near & observed) | own

    def in_blocks(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, after)).unflatten(-2, (blocks, size))

    out = attend(
        in_blocks(turned),
        keys,
        values,
        visible,
        plain_queries=in_blocks(queries),
        prefix_keys=prefix_keys[None, :, None],
        prefix_values=prefix_values[None, :, None],
    )
    return out.flatten(-3, -2)[..., :time, :]
