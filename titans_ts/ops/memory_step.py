"""The memory, one token: what a stream does, in as few operations as there can be."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.memory_net import memory_errors, read_memory
from titans_ts.ops.memory_state import MemoryGates, MemoryState

__all__ = ["memory_step"]


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
    anchor = state.anchor if state.position else state.weights
    inputs, errors = memory_errors(anchor, key, value, residual=residual)
    weights, momentum = [], []
    for layer, weight in enumerate(state.weights):
        step = gates.step_size[:, :, layer, :, None]
        push = (inputs[layer] * step).mT * errors[layer]
        if gates.log_momentum is None:
            buffer = push.neg_()
        elif state.momentum:
            decay = gates.log_momentum[:, :, layer, :, None].exp()
            buffer = torch.addcmul(push.neg_(), state.momentum[layer], decay, out=push)
        else:
            buffer = push.neg_()
        kept = weight
        if gates.log_keep is not None:
            kept = weight * gates.log_keep[:, :, layer, :, None].exp()
        if gates.observed is None:
            new = kept.add_(buffer) if kept is not weight else kept + buffer
        else:
            new = torch.where(gates.observed[:, :, 0, :, None], kept + buffer, kept)
        weights.append(new)
        if gates.log_momentum is not None:
            momentum.append(buffer)
    after = tuple(weights)
    read = read_memory(anchor if coarse else after, query, residual=residual)
    position = (state.position + 1) % chunk_size
    return read, MemoryState(after, tuple(momentum), anchor if position else after, position)
