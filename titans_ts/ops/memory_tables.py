"""The gates of a stretch of tokens as numbers: what each write weighs in each later memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_state import MemoryGates

__all__ = ["GateTables", "TileTables", "gate_tables"]


class TileTables(NamedTuple):
    """A :class:`GateTables` of one tile: a list per field, one entry a layer, or None.

    Entries are tensors; of the last three, plain numbers where there is one row, on a CPU: a
    factor that a product takes along.
    """

    start: Any
    pushed: Any
    writes: Any
    weights: Any
    buffer: Any
    start_end: Any
    pushed_end: Any
    fade_end: Any


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

    def tiles(self, lengths: list[int], *, numbers: bool = True) -> list[TileTables]:
        """Tables of each tile; ``lengths`` says where one is shorter than the others.

        ``numbers=False`` leaves them all tensors, to be written to.
        """
        n_layers = self.start.shape[1]
        # One call for all of them: the scan asks for thousands.
        split: list[Any] = [table if table is None else table.flatten(0, 1) for table in self]
        numbers = numbers and self.start.shape[2] == 1 and self.start.device.type == "cpu"
        for i, table in enumerate(split):
            if table is not None:
                is_number = numbers and self._fields[i].endswith("_end")
                split[i] = table.flatten().tolist() if is_number else table.unbind(0)
        result = []
        for number, length in enumerate(lengths):
            of_tile = slice(number * n_layers, (number + 1) * n_layers)
            tile = TileTables(*(None if x is None else list(x[of_tile]) for x in split))
            if length < self.start.shape[-1]:
                tile = tile._replace(
                    start=_shortened(tile.start, length),
                    pushed=_shortened(tile.pushed, length),
                    writes=_shortened(tile.writes, length, length),
                    weights=_shortened(tile.weights, length),
                    buffer=_shortened(tile.buffer, length),
                )
            result.append(tile)
        return result


def _shortened(tables: list[Tensor] | None, n: int, rows: int | None = None) -> Any:
    return tables if tables is None else [table[..., :rows, :n] for table in tables]


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
        if gate is None:
            return None
        return gate.unflatten(-1, (n_tiles, -1)).permute(2, 1, 0, 3).contiguous()

    step, log_momentum, log_keep, observed = map(in_tiles, gates)
    assert step is not None
    n = step.shape[-1]
    ends = slice(None) if reads else slice(n - 1, None)
    start = torch.ones_like(step)
    fade = _upper(n, n, step)[:, ends].expand(*step.shape, -1)
    if log_keep is not None:
        keep = log_keep.cumsum(-1)
        fade = _decay(keep, keep)[..., ends]
        start = keep.clamp(min=_least(keep)).exp()
    start = start[..., None, :]
    if log_momentum is None:
        writes = fade * step[..., None]
        weights = writes[..., -1][..., None, :]
        return GateTables(
            start, None, writes if reads else None, weights, None, start[..., -1:], None, None
        )
    if observed is not None:
        # A masked token keeps the momentum buffer, but does not add it to the weights.
        fade = fade * observed[..., None]
    momentum = log_momentum.cumsum(-1)
    # One row more than tokens: what is left of the buffer at the tile's start.
    carried = _decay(F.pad(momentum, (0, 1)), momentum, scale=F.pad(step, (0, 1), value=1.0))
    summed = carried @ fade
    pushed = summed[..., n:, :]
    writes = summed[..., :n, :]
    return GateTables(
        start,
        pushed,
        writes if reads else None,
        writes[..., -1][..., None, :],
        carried[..., :n, -1][..., None, :],
        start[..., -1:],
        pushed[..., -1:],
        carried[..., n:, -1:],
    )


def _decay(since: Tensor, until: Tensor, scale: Tensor | None = None) -> Tensor:
    """``exp(until_t - since_s)`` in row s and column t, zero where t comes before s.

    Rows may be one more than columns: the last is never before anything. ``scale`` multiplies rows.
    """
    mask = _upper(since.shape[-1], until.shape[-1], until)
    most = -_least(until)
    # Asked of a GPU, this question would have to be waited for.
    if until.device.type == "cpu" and -float(until.detach()[..., -1].amin()) < most:
        rows = (-since).exp()
        rows = rows if scale is None else rows * scale
        return (until.exp()[..., None, :] * rows[..., :, None]).mul_(mask)
    # Multiplied by the mask before exp as well as after: what overflows where t comes before s
    # would make the backward pass ``inf * 0``.
    gap = (until[..., None, :] - since[..., :, None]) * mask
    decay = gap.clamp(min=-most).exp() * mask
    return decay if scale is None else decay * scale[..., None]


def _upper(rows: int, columns: int, like: Tensor) -> Tensor:
    """Ones on and above the diagonal, and in a row more than there are columns."""
    ones = like.new_ones(rows, columns, requires_grad=False)
    ones[:columns].triu_()
    return ones


def _least(x: Tensor) -> float:
    """Where logarithms are cut off: numbers that underflow take a CPU a hundred times as long."""
    return 0.7 * math.log(torch.finfo(x.dtype).tiny)
