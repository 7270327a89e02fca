"""The memory, one token: what a stream does, in as few operations as there can be.

A step would pass over every matrix to write it, and take fresh memory for it besides. So the
writes of an open chunk stay what they are, a few vectors, until the chunk is full: the state after
any token is a known combination of the state before it and of them (README.md), and a read goes
through that combination. What is left of a step's time is for the most part that of calling
operations, so they are few, and their shapes are the same in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import bound_error, finish_read, output_error
from titans_ts.ops.memory_pending import (
    MOST_CARRIED,
    PendingWrites,
    StepRates,
    WriteLog,
    split_factors,
)
from titans_ts.ops.memory_state import MemoryGates, MemoryState

__all__ = ["memory_step", "rates_of_gates"]

# Writes that may wait: reading through more of them costs more than adding them up.
MOST_PENDING = 64


def rates_of_gates(gates: MemoryGates) -> StepRates:
    """Gates of one token, as the other forms take them, for :func:`memory_step`."""

    observed = gates.observed
    if observed is not None:
        lead = gates.step_size.shape[:2]
        observed = observed[:, 0].expand(*lead, -1).flatten(0, 1)[..., None]
    step, log_momentum, log_keep = (
        None if gate is None else gate.flatten(0, 1) for gate in gates[:3]
    )
    assert step is not None
    return StepRates(
        step,
        None if log_momentum is None else log_momentum.exp(),
        None if log_keep is None else -torch.expm1(log_keep),
        observed,
    )


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
        with _lasting():
            state = _opened(state, batch, chunk_size, rates.momentum is not None)
    pending = state.pending
    assert pending is not None
    anchor = pending.anchor
    queries, keys = pairs.split_with_sizes((1, 1), 1)
    # Queries and keys meet the first layer together, so that it is passed over once.
    asked, first = torch.bmm(pairs, anchor[0]).split_with_sizes((1, 1), 1)
    factors = _factors(anchor, keys, values, first, residual=residual)
    pending = pending.appended(factors, rates, moves=not coarse or state.position == 0)
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
        with _lasting():
            after = _turned(after, chunk_size)
    return read, after


@contextmanager
def _lasting() -> Iterator[None]:
    """Make tensors that may take part in derivatives later, also inside of inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _turned(state: MemoryState, chunk_size: int) -> MemoryState:
    """A state whose writes were added up to the weights.

    Where momentum is short, the last are carried on in place of its buffer.
    """
    pending = state.pending
    assert pending is not None
    carried = pending.remembered()
    if carried is None or state.position < chunk_size:
        after = state.settled()
        if state.position == chunk_size:
            after = after._replace(anchor=after.weights, position=0)
        return after
    lead = state.weights[0].shape[:2]
    weights = tuple(w.unflatten(0, lead) for w in pending.added_up(buffers=False)[0])
    buffers = () if pending.buffer_is_forgotten() else state.momentum
    after = MemoryState(weights, buffers, weights, 0)
    return _opened(after, lead[0], chunk_size, pending.has_momentum, pending, carried)


def _opened(
    state: MemoryState,
    batch: int,
    chunk_size: int,
    has_momentum: bool,
    before: PendingWrites | None = None,
    carried: int = 0,
) -> MemoryState:
    """A state with room for pending writes, and matrices of its own for every sequence.

    The last ``carried`` writes of ``before`` come first, for what they are in its momentum.
    """

    def spelled_out(matrices: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(m.expand(batch, -1, -1, -1).contiguous() for m in matrices)

    weights, momentum = spelled_out(state.weights), spelled_out(state.momentum)
    anchor = spelled_out(state.anchor) if state.position else weights
    # As many places in every chunk, so that the state takes the same memory at all times.
    places = MOST_CARRIED if has_momentum else 0
    room = places + min(chunk_size - state.position, MOST_PENDING)
    rows, like, n_layers = batch * weights[0].shape[1], weights[0], len(weights)
    widths = [weight.shape[side] for side in (2, 3) for weight in weights]
    # Zeros, since what is not written yet takes part in products, with a share of nothing.
    factors = like.new_zeros(rows, room + 2, sum(widths) + n_layers)
    shares, pushes = like.new_zeros(2, rows, n_layers, room + 2)
    shares[..., -1], pushes[..., -2] = 1.0, 1.0
    if before is not None:
        old, new = slice(before.filled - carried, before.filled), slice(places - carried, places)
        factors[:, new] = before.factors[:, old]
        pushes[..., new] = before.pushes[..., old]
        # The weights have had their share of the buffer already.
        shares[..., -2], pushes[..., -2] = 0.0, before.pushes[..., -2]
    own, buffers = (tuple(m.flatten(0, 1) for m in matrices) for matrices in (weights, momentum))
    pending = PendingWrites(
        factors,
        *split_factors(factors, widths),
        shares,
        pushes,
        own,
        buffers,
        tuple(m.flatten(0, 1) for m in anchor) if state.position else own,
        has_momentum,
        places,
        places,
        1.0,
        WriteLog(places),
    )
    return MemoryState(weights, momentum, anchor, state.position, pending)


def _read(pending: PendingWrites, queries: Tensor, asked: Tensor) -> Tensor:
    """Read after the newest pending write.

    ``asked`` is what the first layer's weights answer; it is used up.
    """
    h, y, shares = queries, asked, pending.shares
    # Plain numbers are factors that a product takes along.
    numbers = shares.tolist()[0] if len(shares) == 1 and shares.device.type == "cpu" else None
    for layer in range(len(pending.weights)):
        of_layer = shares.narrow(1, layer, 1)
        if layer:
            h = F.silu(y)
            y = torch.bmm(h, pending.weights[layer])
        kept, pushed = 1.0, 1.0
        if numbers is not None:
            *_, pushed, kept = numbers[layer]
        else:
            y.mul_(of_layer[..., -1:])
        if pending.momentum:
            if numbers is not None:
                y.baddbmm_(h, pending.momentum[layer], beta=kept, alpha=pushed)
                kept = 1.0
            else:
                y.addcmul_(torch.bmm(h, pending.momentum[layer]), of_layer[..., -2:-1])
        scores = torch.bmm(h, pending.inputs[layer]).mul_(of_layer)
        y.baddbmm_(scores, pending.errors[layer], beta=kept, alpha=-1)
    return y


def _read_at(weights: tuple[Tensor, ...], start: Tensor) -> Tensor:
    y = start
    for weight in weights[1:]:
        y = torch.bmm(F.silu(y), weight)
    return y


def _factors(
    anchor: tuple[Tensor, ...], keys: Tensor, values: Tensor, first: Tensor, *, residual: bool
) -> list[Tensor]:
    """Inputs and errors of a write, as ``memory_net.memory_errors`` has them, one list.

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
        errors = [bound_error(torch.baddbmm(values, inputs[-1], anchor[-1], beta=-2, alpha=2))]
    for layer in range(len(anchor) - 1, 0, -1):
        # As a column: a row times a transposed matrix takes a slower way.
        back = torch.bmm(anchor[layer], errors[0].mT).mT
        errors.insert(0, torch.ops.aten.silu_backward(back, before[layer - 1]))
    return inputs + errors
