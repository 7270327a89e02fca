"""A tile: a stretch of tokens whose writes are kept as factors instead of being added up.

Inside a tile the memory's weights after any token are a known combination of the weights at the
tile's start and of rank-one writes (see README.md). Reading through that combination costs as much
as attending over the tile, and no weight matrix per token, per chunk or, while sequences share
their initial weights, per sequence is ever made.

Everything in here is laid out heads first, (heads, batch, ...): products with weights that all
sequences share then are one plain product per head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_coarse import coarse_gates
from titans_ts.ops.memory_net import bound_error, finish_read, output_error, silu_backward
from titans_ts.ops.memory_state import MemoryGates, MemoryState

__all__ = [
    "MemoryTile",
    "close_tile",
    "open_tile",
    "read_after_each",
    "read_tile",
    "tile_length",
    "write_tile",
]


class MemoryTile(NamedTuple):
    """The state at the tile's start, and the factors of every write since."""

    weights: tuple[Tensor, ...]  # at the tile's start, (heads, batch or 1, in, out)
    momentum: tuple[Tensor, ...]  # likewise; () where it is zero
    anchor: tuple[Tensor, ...]  # gradient point of a chunk that was open at the tile's start
    position: int  # tokens of that chunk already read at the tile's start
    inputs: tuple[Tensor, ...] = ()  # per layer, what each token fed in: (heads, batch, time, in)
    errors: tuple[Tensor, ...] = ()  # per layer, its error there: (heads, batch, time, out)
    step_size: Tensor | None = None  # (heads, batch, layers, time)
    momentum_sum: Tensor | None = None  # cumulative log momentum, same shape
    keep_sum: Tensor | None = None  # cumulative log keep, same shape
    observed: Tensor | None = None  # (1, batch, 1, time): False where a token changes nothing
    table: GateTable | None = None  # the combinations after the newest tokens
    coarse: bool = False  # ``observed`` then says which tokens move the memory on

    def detached(self) -> MemoryTile:
        """The same numbers, through which no derivative passes."""

        def detach(part: Any) -> Any:
            if isinstance(part, Tensor):
                return part.detach()
            if isinstance(part, GateTable):
                return GateTable(*map(detach, part))
            return tuple(map(detach, part)) if isinstance(part, tuple) else part

        return MemoryTile(*map(detach, self))


class GateTable(NamedTuple):
    """Weights after some tokens of a tile, as a combination.

    After token t: ``W_t = start[t] W_0 + pushed[t] S_0 - sum_i writes[t, i] G_i``.
    """

    start: Tensor  # (heads, batch, layers, rows): B
    pushed: Tensor | None  # same shape: D; None without a momentum buffer to start from
    writes: Tensor  # (heads, batch, layers, rows, time): A, zero for i > t
    rows: range  # the tokens t

    def pick(self, rows: range, count: int | None = None) -> GateTable:
        """Some of the rows, and the writes of the first ``count`` tokens only."""
        now = slice(rows.start - self.rows.start, rows.stop - self.rows.start)
        pushed = None if self.pushed is None else self.pushed[..., now]
        return GateTable(self.start[..., now], pushed, self.writes[..., now, :count], rows)

    def layer(self, layer: int) -> tuple[Tensor, Tensor | None, Tensor]:
        pushed = None if self.pushed is None else self.pushed[:, :, layer, :, None]
        return self.start[:, :, layer, :, None], pushed, self.writes[:, :, layer]


def open_tile(state: MemoryState) -> MemoryTile:
    """Start a tile from a state (batch first, as callers hold it)."""

    def heads_first(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Copied once here (not at all if it was made by close_tile), or else by every product.
        return tuple(tensor.transpose(0, 1).contiguous() for tensor in tensors)

    state = state.settled()
    return MemoryTile(
        heads_first(state.weights),
        heads_first(state.momentum),
        heads_first(state.anchor),
        state.position,
    )


def tile_length(tile: MemoryTile) -> int:
    """Tokens written since the tile was opened."""
    return tile.inputs[0].shape[-2] if tile.inputs else 0


def write_tile(
    tile: MemoryTile,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool,
    coarse: bool = False,
    first_order: bool = False,
) -> MemoryTile:
    """Write tokens; chunk after chunk, since each takes its gradients where it starts.

    Parameters
    ----------
    tile : MemoryTile
    keys, values : Tensor of shape (heads, batch, time, width)
    gates : MemoryGates
        Batch first, as callers hold them; the same of them None in every call for one tile.
    chunk_size : int
    residual : bool
    coarse : bool, default False
        As in ``memory_reference``; the same in every call for one tile.
    first_order : bool, default False
        Derivatives do not pass through the weights at which gradients are taken.

    Returns
    -------
    MemoryTile
    """
    before, n_new = tile_length(tile), keys.shape[-2]
    if n_new == 0:
        return tile
    if coarse:
        gates = coarse_gates(gates, (tile.position + before) % chunk_size, chunk_size)
    tile = _append_gates(tile._replace(coarse=coarse), gates)
    # One row more than the new tokens: a chunk's anchor is the state before its first token.
    table = _gate_table(tile, range(max(before - 1, 0), before + n_new))
    tile = tile._replace(table=table)
    start = before
    while start < before + n_new:
        place = (tile.position + start) % chunk_size
        stop = min(start + chunk_size - place, before + n_new)
        new = slice(start - before, stop - before)
        chunk_start = start - place
        # The chunk's tokens share one anchor: the state after ``chunk_start`` tokens of the tile.
        found = tile.detached() if first_order else tile
        if chunk_start <= 0:
            fixed = found.anchor if chunk_start < 0 else found.weights
            anchor: _FixedAnchor | _TileAnchor = _FixedAnchor(fixed)
        else:
            anchor = _TileAnchor(found, chunk_start)
        inputs, errors = _errors_at(
            anchor, len(tile.weights), keys[..., new, :], values[..., new, :], residual
        )
        if tile.inputs:
            inputs = tuple(torch.cat(pair, -2) for pair in zip(tile.inputs, inputs, strict=True))
            errors = tuple(torch.cat(pair, -2) for pair in zip(tile.errors, errors, strict=True))
        tile = tile._replace(inputs=inputs, errors=errors)
        start = stop
    return tile


def read_tile(tile: MemoryTile, queries: Tensor, rows: range | None, *, residual: bool) -> Tensor:
    """Read the memory as it stood after some of the tile's tokens.

    Parameters
    ----------
    tile : MemoryTile
    queries : Tensor of shape (heads, batch, time, width)
    rows : range or None
        Query ``i`` reads the state after token ``rows[i]``; a range of one serves all queries.
        None: the state at the tile's start.
    residual : bool

    Returns
    -------
    Tensor of shape (heads, batch, time, width)
    """
    table = None if rows is None else _rows_of_table(tile, rows)
    hidden = queries
    for layer, weight in enumerate(tile.weights):
        hidden = F.silu(hidden) if layer else hidden
        if table is None:
            hidden = _apply(hidden, weight)
            continue
        buffer = tile.momentum[layer] if tile.momentum else None
        past, errors = tile.inputs[layer], tile.errors[layer]
        hidden = _combine(hidden, table.layer(layer), weight, buffer, past, errors)
    return finish_read(hidden, queries, residual=residual)


def read_after_each(
    tile: MemoryTile,
    queries: Tensor,
    first: int,
    *,
    chunk_size: int,
    residual: bool,
    coarse: bool,
) -> Tensor:
    """Read with each of the tile's tokens from number ``first`` on, after that token.

    ``coarse``: each reads the memory that its chunk found.
    """
    stop = first + queries.shape[-2]
    if not coarse:
        return read_tile(tile, queries, range(first, stop), residual=residual)
    reads, start = [], first
    while start < stop:
        chunk = start - (tile.position + start) % chunk_size  # its first token
        end = min(chunk + chunk_size, stop)
        # Before the tile, its weights are those that the open chunk started from.
        found = tile._replace(weights=tile.anchor) if chunk < 0 else tile
        rows = range(chunk - 1, chunk) if chunk > 0 else None
        now = queries[..., start - first : end - first, :]
        reads.append(read_tile(found, now, rows, residual=residual))
        start = end
    return torch.cat(reads, dim=-2)


def close_tile(tile: MemoryTile, *, chunk_size: int) -> MemoryState:
    """Add the writes up and return the state after the tile's last token."""
    n = tile_length(tile)
    position = (tile.position + n) % chunk_size
    if n == 0:
        return MemoryState(
            _batch_first(tile.weights),
            _batch_first(tile.momentum),
            _batch_first(tile.anchor),
            position,
        )
    weights = _weights_after(tile, n)
    if position == 0:
        anchor = weights
    elif n < position:  # The open chunk started before the tile.
        anchor = tile.anchor
    else:
        anchor = tile.weights if n == position else _weights_after(tile, n - position)
    momentum: tuple[Tensor, ...] = ()
    if tile.momentum_sum is not None:
        assert tile.step_size is not None
        decay = (tile.momentum_sum[..., -1:] - tile.momentum_sum).exp() * tile.step_size
        momentum = tuple(
            -(inputs * decay[:, :, layer, :, None]).mT @ errors
            for layer, (inputs, errors) in enumerate(zip(tile.inputs, tile.errors, strict=True))
        )
        if tile.momentum:
            left = tile.momentum_sum[..., -1].exp()[..., None, None]
            momentum = tuple(
                left[:, :, layer] * old + new
                for layer, (old, new) in enumerate(zip(tile.momentum, momentum, strict=True))
            )
    return MemoryState(
        _batch_first(weights), _batch_first(momentum), _batch_first(anchor), position
    )


class _FixedAnchor:
    """Weights at a chunk's start, given as matrices."""

    def __init__(self, weights: tuple[Tensor, ...]) -> None:
        self.weights = weights

    def forward(self, x: Tensor, layer: int) -> Tensor:
        return _apply(x, self.weights[layer])

    def backward(self, x: Tensor, layer: int) -> Tensor:
        return _apply(x, self.weights[layer].mT)


class _TileAnchor:
    """Weights at a chunk's start, as the tile's combination after ``count`` tokens."""

    def __init__(self, tile: MemoryTile, count: int) -> None:
        self.tile, self.count = tile, count
        self.table = _rows_of_table(tile, range(count - 1, count)).pick(
            range(count - 1, count), count
        )

    def forward(self, x: Tensor, layer: int) -> Tensor:
        buffer = self.tile.momentum[layer] if self.tile.momentum else None
        past, errors = self._factors(layer)
        return _combine(x, self.table.layer(layer), self.tile.weights[layer], buffer, past, errors)

    def backward(self, x: Tensor, layer: int) -> Tensor:
        buffer = self.tile.momentum[layer].mT if self.tile.momentum else None
        past, errors = self._factors(layer)
        return _combine(
            x, self.table.layer(layer), self.tile.weights[layer].mT, buffer, errors, past
        )

    def _factors(self, layer: int) -> tuple[Tensor, Tensor]:
        first = slice(0, self.count)
        return self.tile.inputs[layer][..., first, :], self.tile.errors[layer][..., first, :]


def _combine(
    x: Tensor,
    shares: tuple[Tensor, Tensor | None, Tensor],
    weight: Tensor,
    buffer: Tensor | None,
    left: Tensor,
    right: Tensor,
) -> Tensor:
    """``x @ (start W + pushed S - left^T writes right)``, without making that matrix."""
    start, pushed, writes = shares
    if weight.shape[-2] < weight.shape[-1]:  # Scale whichever side is narrower.
        answer = _apply(start * x, weight)
    else:
        answer = start * _apply(x, weight)
    if pushed is not None:
        assert buffer is not None
        answer = answer + pushed * _apply(x, buffer)
    overlap = (x @ left.mT) * writes
    lead = answer.shape[:2]
    out = torch.baddbmm(answer.flatten(0, 1), overlap.flatten(0, 1), right.flatten(0, 1), alpha=-1)
    return out.unflatten(0, lead)


def _errors_at(
    anchor: _FixedAnchor | _TileAnchor, n_layers: int, keys: Tensor, values: Tensor, residual: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """As ``memory_net.memory_errors``, through an anchor that need not be a matrix."""
    inputs, before = [keys], []
    for layer in range(n_layers):
        before.append(anchor.forward(inputs[-1], layer))
        inputs.append(F.silu(before[-1]))
    inputs.pop()
    error = output_error(before[-1], keys, values, residual=residual)
    errors = [bound_error(error) if n_layers > 1 and not residual else error]
    for layer in range(n_layers - 1, 0, -1):
        errors.insert(0, silu_backward(anchor.backward(errors[0], layer), before[layer - 1]))
    return tuple(inputs), tuple(errors)


def _apply(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight`` for (heads, batch, time, in) and (heads, batch or 1, in, out)."""
    if weight.shape[1] == 1 and x.shape[1] > 1:
        return (x.flatten(1, 2) @ weight[:, 0]).unflatten(1, x.shape[1:3])
    return x @ weight


def _append_gates(tile: MemoryTile, gates: MemoryGates) -> MemoryTile:
    def appended(old: Tensor | None, new: Tensor | None, *, running: bool) -> Tensor | None:
        if new is None:
            return None
        new = new.transpose(0, 1)
        if running:
            new = new.cumsum(-1)
            new = new if old is None else new + old[..., -1:]
        return new if old is None else torch.cat([old, new], -1)

    return tile._replace(
        step_size=appended(tile.step_size, gates.step_size, running=False),
        momentum_sum=appended(tile.momentum_sum, gates.log_momentum, running=True),
        keep_sum=appended(tile.keep_sum, gates.log_keep, running=True),
        observed=appended(tile.observed, gates.observed, running=False),
    )


def _gate_table(tile: MemoryTile, rows: range) -> GateTable:
    """The combination after each token of ``rows`` (a range of tile tokens, step 1)."""
    step, keep, momentum = tile.step_size, tile.keep_sum, tile.momentum_sum
    assert step is not None
    n = step.shape[-1]
    picked = slice(rows.start, rows.stop)
    token = torch.arange(n, device=step.device)
    # Filled before exp: exp of a large positive number above the diagonal would turn the
    # backward pass into inf * 0.
    later = token > token[picked, None]
    if keep is None:
        fade = (~later).to(step.dtype).expand(*step.shape[:-1], len(rows), n)
        start = torch.ones_like(step[..., picked])
    else:
        gap = keep[..., picked, None] - keep[..., None, :]
        fade = gap.masked_fill(later, -torch.inf).exp()
        start = keep[..., picked].exp()
    if momentum is None:
        return GateTable(start, None, fade * step[..., None, :], rows)
    pushing = fade
    if tile.observed is not None:
        # A masked token keeps the momentum buffer, but does not add it to the weights.
        pushing = fade.masked_fill(~tile.observed[..., None, :], 0.0)
    gap = momentum[..., :, None] - momentum[..., None, :]
    carry = gap.masked_fill(token > token[:, None], -torch.inf).exp()
    pushed = (pushing @ momentum.exp()[..., None])[..., 0] if tile.momentum else None
    writes = pushing @ carry
    if tile.coarse:
        # What does not move the memory on is added as it is, besides.
        writes = writes + (fade - pushing)
    return GateTable(start, pushed, writes * step[..., None, :], rows)


def _rows_of_table(tile: MemoryTile, rows: range) -> GateTable:
    """Rows of the gate table, from the one at hand where it has them."""
    table = tile.table
    if table is not None and table.rows.start <= rows.start and rows.stop <= table.rows.stop:
        return table.pick(rows)
    return _gate_table(tile, rows)


def _weights_after(tile: MemoryTile, count: int) -> tuple[Tensor, ...]:
    table = _rows_of_table(tile, range(count - 1, count))
    result = []
    for layer, weight in enumerate(tile.weights):
        start, pushed, writes = table.layer(layer)
        inputs, errors = tile.inputs[layer], tile.errors[layer]
        # The table may be newer than the writes: a row has no weight on later tokens anyway.
        share = writes[..., 0, : inputs.shape[-2], None]
        new = start * weight - (inputs * share).mT @ errors
        result.append(new if pushed is None else new + pushed * tile.momentum[layer])
    return tuple(result)


def _batch_first(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.transpose(0, 1) for tensor in tensors)
