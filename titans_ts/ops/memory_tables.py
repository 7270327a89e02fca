"""The gates of a stretch of tokens as numbers: what each write weighs in each later memory."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.memory_state import MemoryGates

__all__ = ["GateTables", "TileTables", "gate_tables"]


class TileTables(NamedTuple):
    """A :class:`GateTables` of one tile, its layers apart."""

    start: tuple[Tensor, ...]
    pushed: tuple[Tensor, ...] | None
    writes: tuple[Tensor, ...] | None
    weights: tuple[Tensor, ...]
    buffer: tuple[Tensor, ...] | None
    start_end: tuple[Tensor, ...]
    pushed_end: tuple[Tensor, ...] | None
    fade_end: tuple[Tensor, ...] | None


class GateTables(NamedTuple):
    """Weights and momentum buffer inside and at the end of tiles, as combinations.

    With G_i the gradient of token i of a tile, and W_0, S_0 the state at the tile's start::

        W_t = start_t W_0 + pushed_t S_0 - sum_i writes_it G_i
        W   = start_end W_0 + pushed_end S_0 - sum_i weights_i G_i      after the tile
        S   = fade_end S_0 - sum_i buffer_i G_i

    See README.md for the derivation.
    """

    start: Tensor  # (tiles, layers, rows, 1, tokens): B
    pushed: Tensor | None  # same shape: D; None without momentum
    writes: Tensor | None  # (tiles, layers, rows, tokens, tokens): A transposed, zero for i > t
    weights: Tensor  # (tiles, rows, layers, 1, tokens): a, the last column of ``writes``
    buffer: Tensor | None  # same shape: r; None without momentum
    start_end: Tensor  # (tiles, layers, rows, 1, 1): beta
    pushed_end: Tensor | None  # same shape: gamma
    fade_end: Tensor | None  # same shape: rho

    def tile(self, index: int, length: int) -> TileTables:
        """Tables of one tile; ``length`` is less than the tile's where it is a short last one."""

        def at(name: str) -> tuple[Tensor, ...] | None:
            table = getattr(self, name)
            if table is None:
                return None
            table = table[index]
            if name == "writes" and length < table.shape[-1]:
                table = table[..., :length, :length]
            elif length < table.shape[-1]:
                table = table[..., :length]
            return table.unbind(0)

        return TileTables(*(at(name) for name in self._fields))


def gate_tables(gates: MemoryGates, *, n_tiles: int, reads: bool = True) -> GateTables:
    """Tables of equally long tiles.

    Parameters
    ----------
    gates : MemoryGates
        Of shape (rows, layers, n_tiles * tokens); ``observed`` (rows, 1, n_tiles * tokens).
    n_tiles : int
    reads : bool, default True
        False: only what the state after each tile needs; ``writes`` is None.

    Returns
    -------
    GateTables
    """

    def in_tiles(gate: Tensor | None) -> Tensor | None:
        return None if gate is None else gate.unflatten(-1, (n_tiles, -1)).permute(2, 1, 0, 3)

    step, log_momentum, log_keep, observed = map(in_tiles, gates)
    assert step is not None
    n = step.shape[-1]
    ends = slice(None) if reads else slice(n - 1, None)
    if log_keep is None:
        fade = _later(step.new_ones(*step.shape, n))[..., ends]
        start = torch.ones_like(step)
    else:
        keep = log_keep.cumsum(-1)
        fade = _decay(keep[..., None, :] - keep[..., :, None])[..., ends]
        start = keep.clamp(min=_least(keep)).exp()
    start = start[..., None, :]
    if log_momentum is None:
        writes = fade * step[..., None]
        weights = writes[..., -1][..., None, :]
        return GateTables(
            start, None, writes if reads else None, weights, None, start[..., -1:], None, None
        )
    momentum = log_momentum.cumsum(-1)
    if observed is not None:
        # A masked token keeps the momentum buffer, but does not add it to the weights.
        fade = fade * observed[..., None]
    carried = _decay(momentum[..., None, :] - momentum[..., :, None])
    left = momentum.clamp(min=_least(momentum)).exp()[..., None, :]
    pushed = left @ fade
    writes = (carried @ fade) * step[..., None]
    buffer = (carried[..., -1] * step)[..., None, :]
    return GateTables(
        start,
        pushed,
        writes if reads else None,
        writes[..., -1][..., None, :],
        buffer,
        start[..., -1:],
        pushed[..., -1:],
        left[..., -1:],
    )


def _later(table: Tensor) -> Tensor:
    """What is not before the diagonal; the rest zero."""
    return table.triu()


def _decay(gap: Tensor) -> Tensor:
    """``exp`` of sums of log gates, zero before the diagonal.

    Cut off where it no longer counts: numbers that underflow take the CPU a hundred times as long.
    And masked before as well as after, or what overflows would make the backward pass
    ``inf * 0``; by ``triu``, which is much faster than filling with -inf.
    """
    return _later(_later(gap).clamp(min=_least(gap)).exp())


def _least(x: Tensor) -> float:
    return 0.7 * math.log(torch.finfo(x.dtype).tiny)
