"""The memory, one token: what a stream does, in as few operations as there can be.

A step would pass over every matrix to write it, and fresh memory for it besides. So the writes of
an open chunk stay what they are, a few vectors, until the chunk is full: the state after any token
is a known combination of the state before it and of them (README.md), and a read goes through
that combination.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import finish_read, output_error
from titans_ts.ops.memory_state import MemoryGates, MemoryState, PendingWrites, WriteLog

__all__ = ["memory_step", "settled"]

# Writes that may wait: reading through more of them costs more than adding them up.
MOST_PENDING = 64


def memory_step(
    state: MemoryState,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool = False,
    coarse: bool = False,
) -> tuple[Tensor, MemoryState]:
    """Write one token and read the memory after it; no derivatives.

    The same as ``memory_reference`` for a single token. Its time is that of passing over the
    matrices: three times for the anchor, and once each for weights and buffer; they are written
    when a chunk ends, or after ``MOST_PENDING`` tokens.

    Parameters
    ----------
    state : MemoryState
        Left untouched.
    query, key, value : Tensor of shape (batch, heads, 1, width)
    gates : MemoryGates
        Of one token.
    chunk_size : int
    residual, coarse : bool, default False
        As in ``memory_reference``.

    Returns
    -------
    read : Tensor of shape (batch, heads, 1, width)
    state : MemoryState
    """
    lead = key.shape[:2]
    q, k, v = (token.flatten(0, 1) for token in (query, key, value))
    if state.pending is None:
        state = _opened(state, lead[0], chunk_size, gates.log_momentum is not None)
    pending = state.pending
    assert pending is not None
    weights = [weight.flatten(0, 1) for weight in state.weights]
    anchored = pending.count < state.position  # the chunk started before these weights
    anchor = [weight.flatten(0, 1) for weight in state.anchor] if anchored else weights
    # Keys and queries meet the first layer together, so that it is passed over once.
    both = torch.cat((k, q), 1) if not anchored or coarse else k
    first = torch.bmm(both, anchor[0])
    inputs, errors = _errors(anchor, k, v, first[:, :1], residual=residual)
    pending = _appended(pending, inputs, errors, gates)
    if coarse:
        read = _read_at(anchor, first[:, 1:])
    else:
        buffers = [buffer.flatten(0, 1) for buffer in state.momentum]
        start = torch.bmm(q, weights[0]) if anchored else first[:, 1:]
        read = _read(weights, buffers, pending, q, start)
    read = finish_read(read, q, residual=residual)
    position = state.position + 1
    after = state._replace(position=position, pending=pending)
    if position == chunk_size or pending.count == pending.room:
        after = settled(after)
        if position == chunk_size:
            after = after._replace(anchor=after.weights, position=0)
    return read.unflatten(0, lead), after


def settled(state: MemoryState) -> MemoryState:
    """The same state with its pending writes added up."""
    pending = state.pending
    if pending is None:
        return state
    n = pending.count
    shares, pushes = (x[..., None] for x in (pending.shares, pending.pushes))
    has_momentum = bool(state.momentum)
    news = _blank([*state.weights, *state.momentum])
    for layer, old in enumerate(state.weights):
        x, error = pending.inputs[layer][:, :n], pending.errors[layer][:, :n]
        weight = torch.mul(old.flatten(0, 1), shares[:, layer, -1:], out=news[layer].flatten(0, 1))
        if has_momentum:
            old_buffer = state.momentum[layer].flatten(0, 1)
            weight.addcmul_(old_buffer, shares[:, layer, -2:-1])
            buffer = news[len(state.weights) + layer].flatten(0, 1)
            torch.mul(old_buffer, pushes[:, layer, -2:-1], out=buffer)
            buffer.baddbmm_((x * pushes[:, layer, :n]).mT, error, alpha=-1)
        weight.baddbmm_((x * shares[:, layer, :n]).mT, error, alpha=-1)
    weights = tuple(news[: len(state.weights)])
    anchor = state.anchor if n < state.position else state.weights
    return MemoryState(weights, tuple(news[len(weights) :]), anchor, state.position)


def _opened(state: MemoryState, batch: int, chunk_size: int, has_momentum: bool) -> MemoryState:
    """A state with room for pending writes, and matrices of its own for every sequence."""

    def spelled_out(matrices: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(m.expand(batch, -1, -1, -1).contiguous() for m in matrices)

    weights = spelled_out(state.weights)
    momentum: tuple[Tensor, ...] = ()
    if has_momentum:
        momentum = spelled_out(state.momentum) or tuple(map(torch.zeros_like, weights))
    anchor = spelled_out(state.anchor) if state.position else weights
    room = min(chunk_size - state.position, MOST_PENDING)
    rows, like = batch * weights[0].shape[1], weights[0]
    factors = [
        like.new_empty(rows, room, weight.shape[side]) for side in (2, 3) for weight in weights
    ]
    shares, pushes = like.new_zeros(2, rows, len(weights), room + 2)
    shares[..., -1], pushes[..., -2] = 1.0, 1.0
    n = len(weights)
    pending = PendingWrites(tuple(factors[:n]), tuple(factors[n:]), shares, pushes, 0, WriteLog())
    return MemoryState(weights, momentum, anchor, state.position, pending)


def _appended(
    pending: PendingWrites, inputs: list[Tensor], errors: list[Tensor], gates: MemoryGates
) -> PendingWrites:
    """One write more."""
    n = pending.count
    old_inputs, old_errors, log = pending.inputs, pending.errors, pending.log
    if not log.extend(n):
        # Another stream went on from this state already: what it appended is its own.
        old_inputs, old_errors = (tuple(map(torch.clone, x)) for x in (old_inputs, old_errors))
        log = WriteLog(n + 1)
    for buffer, row in zip((*old_inputs, *old_errors), (*inputs, *errors), strict=True):
        buffer[:, n : n + 1] = row
    step, log_momentum, log_keep, observed = gates
    if log_momentum is None:
        pushes = torch.zeros_like(pending.pushes)
    else:
        pushes = pending.pushes * log_momentum.flatten(0, 1).exp()
    pushes[..., n : n + 1] = step.flatten(0, 1)
    seen = pushes
    if observed is not None:
        rows = len(pushes) // observed.shape[0]
        seen = pushes * observed.flatten(1, 2).repeat_interleave(rows, 0)
    if log_keep is None:
        shares = pending.shares + seen
    else:
        shares = torch.addcmul(seen, pending.shares, log_keep.flatten(0, 1).exp())
    return PendingWrites(old_inputs, old_errors, shares, pushes, n + 1, log)


def _read(
    weights: list[Tensor],
    buffers: list[Tensor],
    pending: PendingWrites,
    queries: Tensor,
    start: Tensor,
) -> Tensor:
    """Read after the newest pending write; ``start`` is ``queries @ weights[0]``."""
    n, h, y = pending.count, queries, start
    shares = pending.shares[:, :, None]
    for layer, weight in enumerate(weights):
        if layer:
            h = F.silu(y)
            y = torch.bmm(h, weight)
        share = shares[:, layer]
        y = y * share[..., -1:]
        if buffers:
            y = torch.addcmul(y, torch.bmm(h, buffers[layer]), share[..., -2:-1])
        scores = torch.bmm(h, pending.inputs[layer][:, :n].mT).mul_(share[..., :n])
        y = torch.baddbmm(y, scores, pending.errors[layer][:, :n], alpha=-1)
    return y


def _read_at(weights: list[Tensor], start: Tensor) -> Tensor:
    y = start
    for weight in weights[1:]:
        y = torch.bmm(F.silu(y), weight)
    return y


def _blank(matrices: list[Tensor]) -> list[Tensor]:
    """Room for matrices of these shapes, all in one piece.

    As pieces of their own, the allocator would give most of them back to the system each time,
    and fetching them anew takes longer than to fill them.
    """
    sizes = [matrix.numel() for matrix in matrices]
    pieces = matrices[0].new_empty(sum(sizes)).split(sizes)
    return [piece.view(matrix.shape) for piece, matrix in zip(pieces, matrices, strict=True)]


def _errors(
    anchor: list[Tensor], keys: Tensor, values: Tensor, first: Tensor, *, residual: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """As ``memory_net.memory_errors``; ``first`` is ``keys @ anchor[0]``."""
    inputs, before = [keys], [first]
    for weight in anchor[1:]:
        inputs.append(F.silu(before[-1]))
        before.append(torch.bmm(inputs[-1], weight))
    if residual:
        errors = [output_error(before[-1], keys, values, residual=True)]
    else:
        errors = [torch.sub(before[-1], values).mul_(2)]
    for layer in range(len(anchor) - 1, 0, -1):
        # As a column: a row times a transposed matrix takes a slower way.
        back = torch.bmm(anchor[layer], errors[0].mT).mT
        errors.insert(0, torch.ops.aten.silu_backward(back, before[layer - 1]))
    return inputs, errors
