"""The memory, one token: what a stream does, in as few operations as there can be."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import output_error, read_memory
from titans_ts.ops.memory_state import MemoryGates, MemoryState

__all__ = ["memory_step"]

# Heads times sequences of a stream whose gates are worth turning into numbers.
FEW_ROWS = 4


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
    weights: three times for the anchor, once each for weights and buffer, and once for the read.

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
    after, anchor = _rows(state.weights, lead[0]), _rows(state.anchor, lead[0])
    if not state.position:
        anchor = after
    inputs, errors = _errors(anchor, k, v, residual=residual)
    old = _rows(state.momentum, lead[0])
    news = _blank(after if gates.log_momentum is None else [*after, *after])
    weights, momentum = news[: len(after)], news[len(after) :]
    few = len(k) <= FEW_ROWS and k.device.type == "cpu" and gates.observed is None
    move = _move_row_by_row if few and old else _move
    move(after, old, inputs, errors, gates, weights, momentum)
    read = read_memory(tuple(anchor if coarse else weights), q, residual=residual)
    new = tuple(weight.unflatten(0, lead) for weight in weights)
    position = (state.position + 1) % chunk_size
    opened = state.anchor if state.position else state.weights
    buffers = tuple(buffer.unflatten(0, lead) for buffer in momentum)
    return read.unflatten(0, lead), MemoryState(new, buffers, opened if position else new, position)


def _move_row_by_row(
    before: list[Tensor],
    old: list[Tensor],
    inputs: list[Tensor],
    errors: list[Tensor],
    gates: MemoryGates,
    weights: list[Tensor],
    momentum: list[Tensor],
) -> None:
    """As :func:`_move`, with gates as numbers: a pass over each matrix less."""
    step = gates.step_size.flatten(0, 1)[..., 0].tolist()
    assert gates.log_momentum is not None
    decay = gates.log_momentum.flatten(0, 1)[..., 0].exp().tolist()
    keep = None
    if gates.log_keep is not None:
        keep = gates.log_keep.flatten(0, 1)[..., 0].exp().tolist()
    for layer, matrix in enumerate(before):
        for row in range(len(matrix)):
            push = torch.addr(
                old[layer][row],
                inputs[layer][row, 0],
                errors[layer][row, 0],
                beta=decay[row][layer],
                alpha=-step[row][layer],
                out=momentum[layer][row],
            )
            share = 1.0 if keep is None else keep[row][layer]
            torch.add(push, matrix[row], alpha=share, out=weights[layer][row])


def _move(
    before: list[Tensor],
    old: list[Tensor],
    inputs: list[Tensor],
    errors: list[Tensor],
    gates: MemoryGates,
    weights: list[Tensor],
    momentum: list[Tensor],
) -> None:
    """Write new weights and buffers into ``weights`` and ``momentum``."""
    step = _gate(gates.step_size).unbind(1)
    decay = None if gates.log_momentum is None else _gate(gates.log_momentum).exp().unbind(1)
    keep = None if gates.log_keep is None else _gate(gates.log_keep).exp().unbind(1)
    for layer, weight in enumerate(before):
        factors = (inputs[layer] * step[layer]).mT, errors[layer]
        new = weights[layer]
        if decay is None:
            push = torch.bmm(*factors, out=new).neg_()
        elif old:
            push = torch.mul(old[layer], decay[layer], out=momentum[layer])
            push.baddbmm_(*factors, alpha=-1)
        else:
            push = torch.bmm(*factors, out=momentum[layer]).neg_()
        if gates.observed is not None:
            seen = gates.observed.flatten(1, 2)
            seen = seen.expand(-1, len(weight) // len(seen), -1).flatten(0, 1)[..., None]
            push = torch.mul(push, seen, out=new)
        if keep is None:
            torch.add(push, weight, out=new)
        else:
            torch.addcmul(push, weight, keep[layer], out=new)


def _rows(matrices: tuple[Tensor, ...], batch: int) -> list[Tensor]:
    return [matrix.expand(batch, -1, -1, -1).flatten(0, 1) for matrix in matrices]


def _blank(matrices: list[Tensor]) -> list[Tensor]:
    """Room for matrices of these shapes, all in one piece.

    As pieces of their own, the allocator would give most of them back to the system at each step,
    and fetching them anew takes longer than the step.
    """
    sizes = [matrix.numel() for matrix in matrices]
    pieces = matrices[0].new_empty(sum(sizes)).split(sizes)
    return [piece.view_as(matrix) for piece, matrix in zip(pieces, matrices, strict=True)]


def _gate(gate: Tensor) -> Tensor:
    """(batch, heads, layers, 1) to (rows, layers, 1, 1)."""
    return gate.flatten(0, 1)[..., None]


def _errors(
    anchor: list[Tensor], keys: Tensor, values: Tensor, *, residual: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """As ``memory_net.memory_errors``, without its provision for derivatives."""
    inputs, before = [keys], []
    for weight in anchor[:-1]:
        before.append(torch.bmm(inputs[-1], weight))
        inputs.append(F.silu(before[-1]))
    if residual:
        before.append(torch.bmm(inputs[-1], anchor[-1]))
        errors = [output_error(before[-1], keys, values, residual=True)]
    else:
        errors = [torch.baddbmm(values, inputs[-1], anchor[-1], beta=-2, alpha=2)]
    for layer in range(len(anchor) - 1, 0, -1):
        # As a column: a row times a transposed matrix takes a slower way.
        back = torch.bmm(anchor[layer], errors[0].mT).mT
        errors.insert(0, torch.ops.aten.silu_backward(back, before[layer - 1]))
    return inputs, errors
