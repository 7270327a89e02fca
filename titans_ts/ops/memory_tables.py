"""The gates of a stretch of tokens as numbers: what each write weighs in each later memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.memory_state import MemoryGates

__all__ = ["GateTables", "gate_tables"]


class GateTables(NamedTuple):
    """Weights and momentum buffer inside and at the end of tiles, as combinations.

    With G_i the gradient of token i of a tile, and W_0, S_0 the state at the tile's start::

        W_t = start_t W_0 + pushed_t S_0 - sum_i writes_it G_i
        W   = start_end W_0 + pushed_end S_0 - sum_i weights_i G_i      after the tile
        S   = fade_end S_0 - sum_i buffer_i G_i

    See README.md for the derivation.
    """

    start: Tensor  # (tiles, rows, layers, 1, tokens): B
    pushed: Tensor | None  # same shape: D; None without momentum
    writes: Tensor | None  # (tiles, rows, layers, tokens, tokens): A transposed, zero for i > t
    weights: Tensor  # (tiles, rows, layers, 1, tokens): a, the last column of ``writes``
    buffer: Tensor | None  # same shape: r; None without momentum
    start_end: Tensor  # (tiles, rows, layers, 1, 1): beta
    pushed_end: Tensor | None  # same shape: gamma
    fade_end: Tensor | None  # same shape: rho


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
        return None if gate is None else gate.unflatten(-1, (n_tiles, -1)).movedim(2, 0)

    step, log_momentum, log_keep, observed = map(in_tiles, gates)
    assert step is not None
    n = step.shape[-1]
    token = torch.arange(n, device=step.device)
    earlier = token[:, None] > token  # (i, t) with t before i: filled before exp, see README.md
    ends = slice(None) if reads else slice(n - 1, None)
    later = earlier[:, ends]
    if log_keep is None:
        fade = (~later).to(step.dtype).expand(*step.shape, later.shape[1])
        start = torch.ones_like(step)
    else:
        keep = log_keep.cumsum(-1)
        gap = keep[..., None, ends] - keep[..., :, None]
        fade = gap.masked_fill(later, -torch.inf).exp()
        start = keep.exp()
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
        fade = fade.masked_fill(~observed[..., None], 0.0)
    gap = momentum[..., None, :] - momentum[..., :, None]
    carried = gap.masked_fill(earlier, -torch.inf).exp()
    left = momentum.exp()[..., None, :]
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
