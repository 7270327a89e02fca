"""The coarse memory: one step of gradient descent a chunk, momentum and forgetting once.

A chunk's first token moves the memory on, the others only add their gradients, so that all writes
of a chunk weigh the same in weights and momentum buffer, and one product makes both (README.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Workspace
from titans_ts.ops.memory_scan import LayerTables, Matrices, move_back, move_dots
from titans_ts.ops.memory_state import MemoryGates

__all__ = [
    "CoarseTables",
    "CoarseWork",
    "coarse_gates",
    "coarse_tables",
    "coarse_tables_backward",
    "coarse_write",
    "coarse_write_backward",
]


def coarse_gates(gates: MemoryGates, position: int, chunk_size: int) -> MemoryGates:
    """Gates that act where a chunk starts; ``observed`` then says which tokens move the memory on.

    ``position`` is the first token's place in its chunk; gates are of shape (..., time).
    """
    step = gates.step_size
    place = torch.arange(position, position + step.shape[-1], device=step.device)
    first = (place % chunk_size == 0).expand(*[1] * (step.ndim - 1), -1)

    def at_first(gate: Tensor | None) -> Tensor | None:
        return None if gate is None else torch.where(first, gate, torch.zeros_like(gate))

    moving = first if gates.observed is None else first & gates.observed
    return MemoryGates(step, at_first(gates.log_momentum), at_first(gates.log_keep), moving)


class CoarseWork(NamedTuple):
    """What the derivative of coarse tables needs."""

    gates: MemoryGates
    starts: Tensor
    tables: CoarseTables


class CoarseTables(NamedTuple):
    """What a tile does to weights and momentum buffer, or cotangents of it.

    ``W' = start W + pushed S - sum_i step_i G_i`` and ``S' = fade S - sum_i step_i G_i``; a tile
    that does not start a chunk, or starts it with a masked token, has 1, 0 and 1.
    """

    steps: Tensor  # (tiles, layers, rows, tokens, 1, 1)
    start: Tensor  # (tiles, layers, rows, 1, 1)
    pushed: Tensor | None  # same shape; None without momentum
    fade: Tensor | None


def coarse_tables(gates: MemoryGates, starts: Tensor) -> CoarseTables:
    """Tables of equally long tiles.

    Parameters
    ----------
    gates : MemoryGates
        Of shape (rows, layers, tiles * tokens); ``observed`` (rows, 1, tiles * tokens).
    starts : Tensor of shape (tiles,), bool
        Which tiles start a chunk.
    """
    n_tiles = len(starts)

    def first_of_tile(gate: Tensor) -> Tensor:
        """(tiles, layers, rows, 1, 1)."""
        return gate.unflatten(-1, (n_tiles, -1))[..., 0].permute(2, 1, 0)[..., None, None]

    steps = gates.step_size.unflatten(-1, (n_tiles, -1)).permute(2, 1, 0, 3)[..., None, None]
    starting = starts[:, None, None, None, None]
    none = torch.zeros_like(first_of_tile(gates.step_size))
    start = none + 1
    if gates.log_keep is not None:
        start = torch.where(starting, first_of_tile(gates.log_keep), none).exp()
    if gates.log_momentum is None:
        return CoarseTables(steps, start, None, None)
    fade = torch.where(starting, first_of_tile(gates.log_momentum), none).exp()
    moving = starting
    if gates.observed is not None:
        moving = starting & first_of_tile(gates.observed)
    return CoarseTables(steps, start, torch.where(moving, fade, none), fade)


def coarse_tables_backward(work: CoarseWork, bars: CoarseTables) -> list[Tensor | None]:
    """Cotangents of step sizes, log momentum and log keep, of shape (rows, layers, time)."""
    gates, starts, tables = work
    n_tiles = len(starts)

    def at_first(bar: Tensor) -> Tensor:
        out = torch.zeros_like(gates.step_size)
        first = out.unflatten(-1, (n_tiles, -1))[..., 0]
        first.copy_(torch.where(starts[:, None, None], bar[..., 0, 0], 0.0).permute(2, 1, 0))
        return out

    steps_bar = bars.steps[..., 0, 0].permute(2, 1, 0, 3).flatten(-2)
    keep_bar = None if gates.log_keep is None else at_first(bars.start * tables.start)
    momentum_bar = None
    if tables.fade is not None and tables.pushed is not None:
        # Masked, pushed is zero and stays so; elsewhere it is the same number as fade.
        assert bars.fade is not None
        assert bars.pushed is not None
        momentum_bar = at_first(bars.fade * tables.fade + bars.pushed * tables.pushed)
    return [steps_bar, momentum_bar, keep_bar]


def coarse_write(
    old: Matrices, new: Matrices, factor: Tensor, wide: Tensor, tables: LayerTables
) -> None:
    """State after a tile, with ``factor^T wide`` taken off both; ``new`` may be ``old``."""
    if len(old.parts) == 1:
        torch.mul(old.stacked, tables.moves[0], out=new.stacked)
        new.stacked.baddbmm_(factor.mT, wide, alpha=-1)
        return
    (weight, buffer), (new_weight, new_buffer) = old.parts, new.parts
    start, pushed, fade = tables.moves
    if isinstance(start, float):
        # W' = start W + S' + (pushed - fade) S: the product is made once, for S'.
        if pushed == fade:
            torch.mul(weight, start, out=new_weight)
        else:
            torch.add(weight * start, buffer, alpha=pushed - fade, out=new_weight)
        if new is old:
            buffer.baddbmm_(factor.mT, wide, beta=fade, alpha=-1)
        else:
            torch.mul(buffer, fade, out=new_buffer).baddbmm_(factor.mT, wide, alpha=-1)
    else:
        torch.mul(weight, start, out=new_weight).addcmul_(buffer, pushed - fade)
        torch.mul(buffer, fade, out=new_buffer).baddbmm_(factor.mT, wide, alpha=-1)
    new_weight.add_(new_buffer)


def coarse_write_backward(
    state: Matrices,
    state_bar: Matrices,
    factor: Tensor,
    wide: Tensor,
    moves: Any,
    move_bars: Tensor,
    factor_bar: Tensor,
    wide_bar: Tensor,
    work: Workspace,
) -> None:
    """Cotangents of a write; ``state_bar`` moves from after the tile to before it."""
    both = state_bar.stacked
    if len(state_bar.parts) == 2:
        weight_bar = state_bar.parts[0]
        both = work.take("both bars", 0, weight_bar, tuple(weight_bar.shape))
        torch.add(*state_bar.parts, out=both)
    factor_bar.baddbmm_(wide, both.mT, beta=0, alpha=-1)
    wide_bar.baddbmm_(factor, both, beta=0, alpha=-1)
    move_dots(state, state_bar, move_bars)
    move_back(state_bar, moves, None, None)
