"""The memory, one token: what a stream does, in as few operations as there can be.

A step would pass over every matrix to write it, and take fresh memory for it besides. So the
writes of an open chunk stay what they are, a few vectors, until the chunk is full: the state after
any token is a known combination of the state before it and of them (README.md), and a read goes
through that combination. What is left of a step's time is for the most part that of calling
operations, so they are few, and their shapes are the same in every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import finish_read, output_error
from titans_ts.ops.memory_state import MemoryGates, MemoryState, PendingWrites, WriteLog

__all__ = ["StepRates", "memory_step", "rates_of_gates", "settled"]

# Writes that may wait: reading through more of them costs more than adding them up.
MOST_PENDING = 64


class StepRates(NamedTuple):
    """The gates of one token as they are, not as logarithms; a row is a head of a sequence."""

    step_size: Tensor  # (rows, layers, 1)
    momentum: Tensor | None  # same shape; None: no momentum
    keep: Tensor | None  # same shape; None: nothing is forgotten
    observed: Tensor | None  # (rows, 1, 1), bool; None: observed


def rates_of_gates(gates: MemoryGates) -> StepRates:
    """Gates of one token, as the other forms take them, for :func:`memory_step`."""

    def rates(gate: Tensor | None) -> Tensor | None:
        return None if gate is None else gate.flatten(0, 1).exp()

    observed = gates.observed
    if observed is not None:
        lead = gates.step_size.shape[:2]
        observed = observed[:, 0].expand(*lead, -1).flatten(0, 1)[..., None]
    step = gates.step_size.flatten(0, 1)
    return StepRates(step, rates(gates.log_momentum), rates(gates.log_keep), observed)


def memory_step(
    state: MemoryState,
    pairs: Tensor,
    values: Tensor,
    rates: StepRates,
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
    pairs : Tensor of shape (rows, 2, width)
        Query and key; a row is a head of a sequence, heads of one sequence together.
    values : Tensor of shape (rows, 1, width)
    rates : StepRates
    chunk_size : int
    residual, coarse : bool, default False
        As in ``memory_reference``.

    Returns
    -------
    read : Tensor of shape (rows, 1, width)
    state : MemoryState
    """
    if state.pending is None:
        batch = len(pairs) // state.weights[0].shape[1]
        state = _opened(state, batch, chunk_size, has_momentum=rates.momentum is not None)
    pending = state.pending
    assert pending is not None
    anchor = pending.anchor
    queries, keys = pairs.split(1, 1)
    # Queries and keys meet the first layer together, so that it is passed over once.
    asked, first = torch.bmm(pairs, anchor[0]).split(1, 1)
    factors = _factors(anchor, keys, values, first, residual=residual)
    pending = _appended(pending, factors, rates)
    if coarse:
        read = _read_at(anchor, asked)
    else:
        if anchor is not pending.weights:  # The chunk started before these.
            asked = torch.bmm(queries, pending.weights[0])
        read = _read(pending, queries, asked)
    read = finish_read(read, queries, residual=residual)
    position = state.position + 1
    after = MemoryState(state.weights, state.momentum, state.anchor, position, pending)
    if position == chunk_size or pending.filled == pending.room:
        after = settled(after)
        if position == chunk_size:
            after = after._replace(anchor=after.weights, position=0)
    return read, after


def settled(state: MemoryState) -> MemoryState:
    """The same state with its pending writes added up."""
    pending = state.pending
    if pending is None:
        return state
    n, n_layers = pending.filled, len(state.weights)
    shares, pushes = (x[..., None] for x in (pending.shares, pending.pushes))
    news = _blank([*state.weights, *state.momentum])
    for layer, old in enumerate(pending.weights):
        x, error = pending.inputs[layer][:, :n], pending.errors[layer][:, :n]
        weight = torch.mul(old, shares[:, layer, -1:], out=news[layer].flatten(0, 1))
        if pending.momentum:
            old_buffer = pending.momentum[layer]
            weight.addcmul_(old_buffer, shares[:, layer, -2:-1])
            buffer = news[n_layers + layer].flatten(0, 1)
            torch.mul(old_buffer, pushes[:, layer, -2:-1], out=buffer)
            buffer.baddbmm_((x * pushes[:, layer, :n]).mT, error, alpha=-1)
        weight.baddbmm_((x * shares[:, layer, :n]).mT, error, alpha=-1)
    anchor = state.anchor if n < state.position else state.weights
    return MemoryState(tuple(news[:n_layers]), tuple(news[n_layers:]), anchor, state.position)


def _opened(state: MemoryState, batch: int, chunk_size: int, *, has_momentum: bool) -> MemoryState:
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
    # Zeros, since what is not written yet takes part in products, with a share of nothing.
    widths = [weight.shape[side] for side in (2, 3) for weight in weights]
    factors = like.new_zeros(rows, room, sum(widths))
    shares, pushes = like.new_zeros(2, rows, len(weights), room + 2)
    shares[..., -1], pushes[..., -2] = 1.0, 1.0
    own, buffers = (tuple(m.flatten(0, 1) for m in matrices) for matrices in (weights, momentum))
    pending = PendingWrites(
        factors,
        *_sides(factors, widths),
        shares,
        pushes,
        own,
        buffers,
        tuple(m.flatten(0, 1) for m in anchor) if state.position else own,
        0,
        WriteLog(),
    )
    return MemoryState(weights, momentum, anchor, state.position, pending)


def _sides(factors: Tensor, widths: list[int]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and errors of every layer."""
    parts = factors.split(widths, -1)
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


def _appended(pending: PendingWrites, factors: Tensor, rates: StepRates) -> PendingWrites:
    """One write more."""
    n, rows, log = pending.filled, pending.factors, pending.log
    inputs, errors = pending.inputs, pending.errors
    if not log.extend(n):
        # Another stream went on from this state already: what it appended is its own.
        rows, log = rows.clone(), WriteLog(n + 1)
        rows[:, n + 1 :] = 0
        inputs, errors = _sides(rows, [x.shape[-1] for x in (*inputs, *errors)])
    rows[:, n : n + 1] = factors
    step, momentum, keep, observed = rates
    pushes = torch.zeros_like(pending.pushes) if momentum is None else pending.pushes * momentum
    pushes[..., n : n + 1] = step
    seen = pushes if observed is None else pushes * observed
    shares = pending.shares + seen if keep is None else seen.addcmul(pending.shares, keep)
    kept = pending.weights, pending.momentum, pending.anchor
    return PendingWrites(rows, inputs, errors, shares, pushes, *kept, n + 1, log)


def _read(pending: PendingWrites, queries: Tensor, asked: Tensor) -> Tensor:
    """Read after the newest pending write.

    ``asked`` is what the first layer's weights answer; it is used up.
    """
    h, y, shares = queries, asked, pending.shares
    # Plain numbers are factors that a product takes along.
    numbers = shares[0].tolist() if len(shares) == 1 and shares.device.type == "cpu" else None
    for layer, of_layer in enumerate(shares.unsqueeze(2).unbind(1)):
        if layer:
            h = F.silu(y)
            y = torch.bmm(h, pending.weights[layer])
        if numbers is not None and pending.momentum:
            *_, pushed, kept = numbers[layer]
            y.baddbmm_(h, pending.momentum[layer], beta=kept, alpha=pushed)
        else:
            y.mul_(of_layer[..., -1:])
            if pending.momentum:
                y.addcmul_(torch.bmm(h, pending.momentum[layer]), of_layer[..., -2:-1])
        scores = torch.bmm(h, pending.inputs[layer].mT).mul_(of_layer[..., :-2])
        y.baddbmm_(scores, pending.errors[layer], alpha=-1)
    return y


def _read_at(weights: tuple[Tensor, ...], start: Tensor) -> Tensor:
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


def _factors(
    anchor: tuple[Tensor, ...], keys: Tensor, values: Tensor, first: Tensor, *, residual: bool
) -> Tensor:
    """Inputs and errors of a write, as ``memory_net.memory_errors`` has them, side by side.

    ``first`` is ``keys @ anchor[0]``.
    """
    inputs, before = [keys], [first]
    for weight in anchor[1:-1]:
        inputs.append(F.silu(before[-1]))
        before.append(torch.bmm(inputs[-1], weight))
    if len(anchor) > 1:
        inputs.append(F.silu(before[-1]))
    if residual or len(anchor) == 1:
        output = torch.bmm(inputs[-1], anchor[-1]) if len(anchor) > 1 else first
        errors = [output_error(output, keys, values, residual=residual)]
    else:
        # 2 (f(k) - v) in one go.
        errors = [torch.baddbmm(values, inputs[-1], anchor[-1], beta=-2, alpha=2)]
    for layer in range(len(anchor) - 1, 0, -1):
        # As a column: a row times a transposed matrix takes a slower way.
        back = torch.bmm(anchor[layer], errors[0].mT).mT
        errors.insert(0, torch.ops.aten.silu_backward(back, before[layer - 1]))
    return torch.cat((*inputs, *errors), -1)
