"""The memory, one token at a time: slow, plain, and what the fast form is held to."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.memory_net import memory_errors, read_memory
from titans_ts.ops.memory_state import MemoryGates, MemoryState, momentum_or_zeros

__all__ = ["memory_reference"]


def memory_reference(
    state: MemoryState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool = False,
    coarse: bool = False,
    first_order: bool = False,
) -> tuple[Tensor, MemoryState]:
    """Write each (key, value) pair into the memory, then read it with that token's query.

    With G_t the gradient of ``|f(k_t; W) - v_t|^2`` at the weights where t's chunk started::

        S_t = eta_t S_{t-1} - theta_t G_t
        W_t = (1 - alpha_t) W_{t-1} + S_t
        y_t = f(q_t; W_t)

    A masked token leaves S and W as they are.

    Follows Titans (arXiv:2501.00663, eqs. 13-15 and section 3.2). With ``chunk_size=1`` the
    gradient is taken at W_{t-1}, the paper's recurrence.

    Parameters
    ----------
    state : MemoryState
        Memory before the first token; left untouched.
    queries, keys, values : Tensor of shape (batch, heads, time, width)
    gates : MemoryGates
        For the same tokens.
    chunk_size : int
        Tokens that share one gradient point.
    residual : bool, default False
        The memory net is ``k + LayerNorm(mlp(k))``.
    coarse : bool, default False
        One step a chunk: ``y_t = f(q_t; W)`` at the weights where t's chunk started; momentum and
        forgetting, those of the chunk's first token, act once. Tokens after the first take
        ``S_t = S_{t-1} - theta_t G_t`` and ``W_t = W_{t-1} - theta_t G_t``.
    first_order : bool, default False
        G_t is no function of the weights where it is taken, as far as derivatives go.

    Returns
    -------
    reads : Tensor of shape (batch, heads, time, width)
    state : MemoryState
        Memory after the last token.
    """
    state = state.settled()
    weights, anchor, position = state.weights, state.anchor, state.position
    momentum = momentum_or_zeros(state)
    reads = []
    for t in range(keys.shape[-2]):
        now = slice(t, t + 1)
        if position == 0:
            anchor = weights
        fixed = tuple(weight.detach() for weight in anchor) if first_order else anchor
        inputs, errors = memory_errors(
            fixed, keys[..., now, :], values[..., now, :], residual=residual
        )
        # Coarsely, the memory moves on once a chunk: other tokens only add their gradients.
        moves = not coarse or position == 0
        buffers, gradients = [], []
        for layer in range(len(weights)):
            step = gates.step_size[:, :, layer, t, None, None]
            push = -step * (inputs[layer].mT @ errors[layer])
            gradients.append(push)
            if gates.log_momentum is not None:
                decay = gates.log_momentum[:, :, layer, t, None, None].exp() if moves else 1.0
                push = push + decay * momentum[layer]
            buffers.append(push)
        kept = weights
        if gates.log_keep is not None and moves:
            keep = gates.log_keep[..., t, None, None].exp()
            kept = tuple(keep[:, :, layer] * weight for layer, weight in enumerate(weights))
        pushes = buffers if moves else gradients
        if gates.observed is not None:
            seen = gates.observed[:, 0, 0, t, None, None, None]
            pushes = [torch.where(seen, push, torch.zeros_like(push)) for push in pushes]
        weights = tuple(old + push for old, push in zip(kept, pushes, strict=True))
        if gates.log_momentum is not None:
            momentum = tuple(buffers)
        read_from = anchor if coarse else weights
        reads.append(read_memory(read_from, queries[..., now, :], residual=residual))
        position = (position + 1) % chunk_size
    anchor = weights if position == 0 else anchor
    momentum = momentum if gates.log_momentum is not None else ()
    out = torch.cat(reads, dim=-2) if reads else queries
    return out, MemoryState(weights, momentum, anchor, position)
