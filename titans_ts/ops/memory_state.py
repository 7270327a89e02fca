"""What a memory carries from one call to the next, and the gates that move it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.memory_pending import PendingWrites

__all__ = ["MemoryGates", "MemoryState", "mask_gates", "momentum_or_zeros"]


class MemoryGates(NamedTuple):
    """Step size, momentum and forgetting of every token, per head and per memory layer.

    Momentum and keep (1 - forget) come as logarithms: products over many tokens become sums,
    which neither underflow nor divide zero by zero.
    """

    step_size: Tensor  # (batch, heads, layers, time), >= 0: theta
    log_momentum: Tensor | None  # same shape, < 0: log eta; None: no momentum
    log_keep: Tensor | None  # same shape, <= 0: log(1 - alpha); None: nothing is forgotten
    # (batch, 1, 1, time), bool; None: all observed. With momentum, no value of the three gates
    # leaves a memory as it is: a buffer that does not fade is added to the weights once more.
    observed: Tensor | None = None


class MemoryState(NamedTuple):
    """A memory's content between two tokens. All of fixed size, however many tokens were read.

    ``anchor`` is where the open chunk takes its gradients: the weights at that chunk's start. With
    pending writes, weights and momentum buffer are those before them.
    """

    weights: tuple[Tensor, ...]  # per layer (batch or 1, heads, width_in, width_out)
    momentum: tuple[Tensor, ...]  # same shapes: the momentum buffer S; () where it is zero
    anchor: tuple[Tensor, ...]  # same shapes; the same tensors as weights at a chunk's start
    position: int  # tokens already read of the open chunk, 0 .. chunk_size - 1
    pending: PendingWrites | None = None  # the last writes, of a stream; None: none

    def settled(self) -> MemoryState:
        """The same state with its pending writes added up."""
        if self.pending is None:
            return self
        weights, momentum = self.pending.added_up()
        lead = self.weights[0].shape[:2]
        own = tuple(weight.unflatten(0, lead) for weight in weights)
        buffers = tuple(buffer.unflatten(0, lead) for buffer in momentum)
        new = self.pending.filled - self.pending.carried
        anchor = self.anchor if new < self.position else self.weights
        return MemoryState(own, buffers, anchor, self.position)

    def __reduce__(self) -> tuple[type[MemoryState], tuple[object, ...]]:
        # A copy is settled: the places in which pending writes wait belong to one stream.
        return MemoryState, tuple(self.settled())


def mask_gates(gates: MemoryGates, observed: Tensor | None) -> MemoryGates:
    """Let masked tokens leave the memory as it is.

    Step size 0, keep 1, momentum 1, and the momentum buffer, which is kept, is not added to the
    weights. Keys and values of masked tokens must be finite: they are multiplied by 0.

    Parameters
    ----------
    gates : MemoryGates
    observed : Tensor of shape (batch, time), bool, optional
    """
    if observed is None:
        return gates
    seen = observed[:, None, None, :]

    def masked(gate: Tensor | None) -> Tensor | None:
        return None if gate is None else torch.where(seen, gate, torch.zeros_like(gate))

    step_size = torch.where(seen, gates.step_size, torch.zeros_like(gates.step_size))
    return MemoryGates(step_size, masked(gates.log_momentum), masked(gates.log_keep), seen)


def momentum_or_zeros(state: MemoryState) -> tuple[Tensor, ...]:
    """Momentum buffers of a state, spelled out where they are still zero."""
    return state.momentum or tuple(torch.zeros_like(weight) for weight in state.weights)
