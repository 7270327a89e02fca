"""What a tile's own writes add to its reads: attention, whose weights are the tables of writes.

A write says nothing to the tokens before it, so half of each table of (write, token) is zero. Of a
long tile the quarter in which all writes of the second half meet all tokens of the first is left
out; in shorter ones that would be more calls for fewer numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.arena import Workspace

__all__ = ["answer", "answer_backward", "overlap", "overlap_backward"]

# Tokens of a tile from which on it is worth to go by halves.
LONG_TILE = 96


def overlap(
    x: Tensor, h: Tensor, errors: Tensor, writes: Tensor, scores: Tensor, y: Tensor, work: Workspace
) -> None:
    """Subtract ``((h x^T) * writes^T) errors`` from ``y``; ``scores`` takes ``x h^T``."""
    n = x.shape[1]
    if n < LONG_TILE:
        torch.bmm(x, h.mT, out=scores)
    else:
        half = n // 2
        upper, lower = scores.split((half, n - half), 1)
        torch.bmm(x[:, :half], h.mT, out=upper)
        lower[..., :half].zero_()
        lower[..., half:].baddbmm_(x[:, half:], h[:, half:].mT, beta=0)
    weighted = torch.mul(scores, writes, out=work.take("weighted", 0, scores, tuple(scores.shape)))
    answer(weighted, errors, y)


def answer(weighted: Tensor, errors: Tensor, y: Tensor) -> None:
    """Subtract ``weighted^T errors`` from ``y``."""
    n = y.shape[1]
    if n < LONG_TILE:
        y.baddbmm_(weighted.mT, errors, alpha=-1)
        return
    half = n // 2
    first, second = y.split((half, n - half), 1)
    first.baddbmm_(weighted[:, :half, :half].mT, errors[:, :half], alpha=-1)
    second.baddbmm_(weighted[..., half:].mT, errors, alpha=-1)


def answer_backward(
    weighted: Tensor, errors: Tensor, bar: Tensor, error_bar: Tensor, weighted_bar: Tensor
) -> None:
    """Add to the cotangent of the errors; write that of ``weighted``, zero where that is."""
    n = bar.shape[1]
    if n < LONG_TILE:
        error_bar.baddbmm_(weighted, bar, alpha=-1)
        # A product alone could not be negative.
        weighted_bar.baddbmm_(errors, bar.mT, beta=0, alpha=-1)
        return
    half = n // 2
    late = bar[:, half:]
    upper, lower = weighted_bar.split((half, n - half), 1)
    error_bar[:, :half].baddbmm_(weighted[:, :half], bar, alpha=-1)
    error_bar[:, half:].baddbmm_(weighted[:, half:, half:], late, alpha=-1)
    upper.baddbmm_(errors[:, :half], bar.mT, beta=0, alpha=-1)
    lower[..., :half].zero_()
    lower[..., half:].baddbmm_(errors[:, half:], late.mT, beta=0, alpha=-1)


def overlap_backward(
    x: Tensor,
    h: Tensor,
    errors: Tensor,
    scores: Tensor,
    bar: Tensor,
    writes: Tensor,
    writes_bar: Tensor,
    x_bar: Tensor,
    h_bar: Tensor,
    error_bar: Tensor,
    work: Workspace,
) -> None:
    """Add to the cotangents of ``x``, ``h`` and the errors; write that of the table."""
    n, shape = x.shape[1], tuple(scores.shape)
    weighted = torch.mul(scores, writes, out=work.take("weighted", 0, scores, shape))
    weighted_bar = work.take("weighted bar", 0, scores, shape)
    answer_backward(weighted, errors, bar, error_bar, weighted_bar)
    torch.mul(weighted_bar, scores, out=writes_bar)
    scores_bar = weighted_bar.mul_(writes)
    if n < LONG_TILE:
        x_bar.baddbmm_(scores_bar, h)
        h_bar.baddbmm_(scores_bar.mT, x)
        return
    half = n // 2
    x_bar[:, :half].baddbmm_(scores_bar[:, :half], h)
    x_bar[:, half:].baddbmm_(scores_bar[:, half:, half:], h[:, half:])
    h_bar[:, :half].baddbmm_(scores_bar[:, :half, :half].mT, x[:, :half])
    h_bar[:, half:].baddbmm_(scores_bar[..., half:].mT, x)
