"""The product of the gate tables in blocks, for long tiles.

Both factors of ``writes = H F`` are decays, so that all of a block of columns above the diagonal
follows from the column before it: with ``m`` the token before block j, ``l`` the product's column
there and ``h`` that of H, a row i above block j is::

    (H F)_it = l_i f_t + h_i g_t,   f_t = exp(K_t - K_m),   g_t = sum_s exp(M_s - M_m) F_st

where s runs over the block's tokens up to t. Of n tokens that takes n^2 products rather than n^3,
and no decay over more than a block is ever formed. Row 0, the buffer at the tile's start, is a
write before the first token: l = 0 and h = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena
from titans_ts.ops.memory_table_decays import (
    add_exponents,
    decay,
    least_log,
    ones_above,
    sums_from_here,
)

__all__ = ["BlockWork", "block_tables", "block_tables_backward", "in_blocks"]

# Tokens of a block, and of the tiles that are worth it.
BLOCK = 32
LONG_TILE = 96


class BlockWork(NamedTuple):
    """What the derivative needs; times in blocks are (..., blocks, tokens of a block)."""

    summed: Tensor  # (..., tokens + 1, tokens)
    steps: Tensor  # (..., blocks, tokens of a block, 1)
    fade: Tensor  # (..., blocks, tokens of a block, tokens of a block): F on the diagonal
    carried: Tensor  # same shape: H there, without step sizes
    kept: Tensor  # in blocks: f, from each block's start
    spun: Tensor  # in blocks: exp(M_s - M_m), likewise
    added: Tensor  # in blocks: g
    columns: Tensor  # (blocks, ..., tokens + 1): h before each block, of the rows above it
    forgets: bool


def in_blocks(n: int) -> bool:
    """Whether tiles of ``n`` tokens are made in blocks."""
    return n >= LONG_TILE and n % BLOCK == 0


def block_tables(
    steps: Tensor,
    log_momentum: Tensor,
    log_keep: Tensor | None,
    observed: Tensor | None,
    arena: Arena,
) -> tuple[Tensor, Tensor, BlockWork]:
    """The product H F, and H's last column.

    Parameters
    ----------
    steps : Tensor of shape (..., tokens + 1, 1)
        Step sizes, after a one.
    log_momentum, log_keep, observed : Tensor of shape (..., tokens)
    arena : Arena

    Returns
    -------
    summed : Tensor of shape (..., tokens + 1, tokens)
    column : Tensor of shape (..., tokens + 1)
    work : BlockWork
    """
    lead, n = log_momentum.shape[:-1], log_momentum.shape[-1]
    shape = (n // BLOCK, BLOCK)

    def take(*shape: int) -> Tensor:
        return arena.take(*lead, *shape, dtype=steps.dtype)

    upper = ones_above(BLOCK, BLOCK, steps)
    fade, kept = take(*shape, BLOCK), take(*shape)
    if log_keep is None:
        fade.copy_(upper.expand_as(fade))
        kept.fill_(1.0)
    else:
        keep = log_keep.unflatten(-1, shape).cumsum(-1)
        decay(keep, keep, upper, fade)
        torch.exp(keep.clamp_(min=least_log(keep)), out=kept)
    if observed is not None:
        # A masked token keeps the momentum buffer, but does not add it to the weights.
        fade.mul_(observed.unflatten(-1, shape)[..., None])
    momentum = log_momentum.unflatten(-1, shape).cumsum(-1)
    carried = decay(momentum, momentum, upper, take(*shape, BLOCK))
    spun = torch.exp(momentum.clamp_(min=least_log(momentum)), out=take(*shape))
    own_steps = steps[..., 1:, :].unflatten(-2, shape)
    scaled = torch.mul(carried, own_steps, out=take(*shape, BLOCK))
    added = torch.matmul(spun[..., None, :], fade)[..., 0, :]

    summed, columns = take(n + 1, n).zero_(), arena.take(shape[0], *lead, n + 1, dtype=steps.dtype)
    _diagonal(summed).copy_(torch.matmul(scaled, fade))
    column = take(n + 1)
    column[..., 0] = 1.0
    for j, start in enumerate(range(0, n, BLOCK)):
        above, now = slice(0, start + 1), slice(start, start + BLOCK)
        columns[j].copy_(column)
        block, h = summed[..., above, now], column[..., above]
        torch.mul(h[..., None], added[..., j, None, :], out=block)
        if start:
            block.addcmul_(summed[..., above, start - 1, None], kept[..., j, None, :])
        h.mul_(spun[..., j, -1:])
        column[..., start + 1 : start + BLOCK + 1] = scaled[..., j, :, -1]
    forgets = log_keep is not None
    work = BlockWork(summed, own_steps, fade, carried, kept, spun, added, columns, forgets)
    return summed, column, work


def block_tables_backward(
    work: BlockWork, summed_bar: Tensor, column_bar: Tensor, arena: Arena
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cotangents of step sizes, log momentum and log keep, of shape (..., tokens).

    Parameters
    ----------
    work : BlockWork
    summed_bar : Tensor of shape (..., tokens + 1, tokens)
        Written.
    column_bar : Tensor of shape (..., tokens + 1)
        Written.
    arena : Arena
    """
    summed, steps, fade, carried, kept, spun, added, columns, forgets = work
    lead = column_bar.shape[:-1]
    kept_bar, added_bar, spun_bar = (torch.zeros_like(kept) for _ in range(3))
    scaled_bar = arena.take(*lead, *carried.shape[-3:], dtype=carried.dtype)
    ends = arena.take(*lead, *spun.shape[-2:], dtype=spun.dtype)
    for j in reversed(range(spun.shape[-2])):
        start = j * BLOCK
        above, own = slice(0, start + 1), slice(start + 1, start + BLOCK + 1)
        bar, h = summed_bar[..., above, start : start + BLOCK], columns[j][..., above]
        # This block's own rows of H's column, then those above it.
        ends[..., j, :] = column_bar[..., own]
        h_bar = column_bar[..., above]
        spun_bar[..., j, -1] = (h_bar * h).sum(-1)
        h_bar.mul_(spun[..., j, -1:])
        h_bar += torch.matmul(bar, added[..., j, :, None])[..., 0]
        added_bar[..., j, :] = torch.matmul(h[..., None, :], bar)[..., 0, :]
        if start:
            last = summed[..., above, start - 1]
            kept_bar[..., j, :] = torch.matmul(last[..., None, :], bar)[..., 0, :]
            summed_bar[..., above, start - 1] += torch.matmul(bar, kept[..., j, :, None])[..., 0]
    own_bar = _diagonal(summed_bar).contiguous()
    torch.matmul(own_bar, fade.mT, out=scaled_bar)
    scaled_bar[..., -1] += ends
    spun_bar += torch.matmul(fade, added_bar[..., None])[..., 0]
    product = scaled_bar.mul_(carried)
    sums = product.sum(-1)
    momentum_bar = torch.matmul(steps.mT, product)[..., 0, :]
    momentum_bar -= sums * steps[..., 0]
    momentum_bar += spun_bar.mul_(spun)
    if not forgets:
        return sums.flatten(-2), sums_from_here(momentum_bar).flatten(-2), None
    scaled = torch.mul(carried, steps, out=scaled_bar)
    fade_bar = torch.matmul(scaled.mT, own_bar)
    fade_bar += spun[..., None] * added_bar[..., None, :]
    keep_bar = kept_bar.mul_(kept)
    add_exponents(keep_bar, fade_bar.mul_(fade))
    return (
        sums.flatten(-2),
        sums_from_here(momentum_bar).flatten(-2),
        sums_from_here(keep_bar).flatten(-2),
    )


def _diagonal(summed: Tensor) -> Tensor:
    """The blocks on the diagonal of the tokens' rows: (..., blocks, tokens, tokens), a view."""
    blocks = summed[..., 1:, :].unflatten(-2, (-1, BLOCK)).unflatten(-1, (-1, BLOCK))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
