"""Titans blocks of one signature: ``block(x, state, observed) -> (y, state)``. MAC is in ``mac``.

All have the Llama layout: RMSNorm, mixer, residual; RMSNorm, SwiGLU, residual.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.nn.attention import SlidingWindowAttention, WindowState
from titans_ts.nn.layers import RMSNorm, SwiGLU, at_least_float32, mask_tokens
from titans_ts.nn.memory import NeuralMemory, NeuralMemoryState

__all__ = ["AttentionState", "Block", "LMMBlock", "MAGBlock", "MALBlock", "MemoryGate"]


class Block(nn.Module):
    """Norms, residuals and the feed-forward layer; a subclass mixes tokens over time."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(config.dim)
        self.feed_forward_norm = RMSNorm(config.dim)
        self.feed_forward = SwiGLU(config.dim, config.mlp_expansion)
        self.dropout = nn.Dropout(config.dropout)

    def mix(
        self, x: Tensor, state: Any, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, Any]:
        """Mix normalised tokens over time; see ``forward`` for the shapes."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, Any]:
        """Run tokens through the block.

        Parameters
        ----------
        x : Tensor of shape (batch, time, dim)
        state : NamedTuple, optional
            What this kind of block returned for the tokens before; None at a sequence's start.
        observed : Tensor of shape (batch, time), bool, optional
            Masked tokens change neither other tokens nor the state.
        need_state : bool, default True
            False: return None for the state and spare the work of making it.

        Returns
        -------
        y : Tensor of shape (batch, time, dim)
        state : NamedTuple or None
        """
        if x.shape[1] == 0:
            return x, state if need_state else None
        # Blocks add to one stream: in half precision it would lose what each of them adds.
        x = at_least_float32(x)
        normed = mask_tokens(self.mixer_norm(x), observed)
        mixed, state = self.mix(normed, state, observed, need_state)
        x = x + self.dropout(mixed)
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x, state


class LMMBlock(Block):
    """The long-term memory alone (Titans, section 4.3)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.memory = NeuralMemory(config)

    def mix(
        self, x: Tensor, state: NeuralMemoryState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, NeuralMemoryState | None]:
        return self.memory(x, state, observed, need_state=need_state)


class AttentionState(NamedTuple):
    """State of a block with a memory and sliding-window attention."""

    memory: NeuralMemoryState
    window: WindowState


class MALBlock(Block):
    """Memory as a layer: attention sees what the memory made of the tokens (eqs. 29-31).

    With ``memory_skip`` what the memory answers goes past attention too.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.memory = NeuralMemory(config)
        self.skip = config.memory_skip
        self.attention_norm = RMSNorm(config.dim)
        self.attention = SlidingWindowAttention(config)

    def mix(
        self, x: Tensor, state: AttentionState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, AttentionState | None]:
        memory, window = state or (None, None)
        read, memory = self.memory(x, memory, observed, need_state=need_state)
        y, window = self.attention(self.attention_norm(x + read), window, observed)
        if self.skip:
            y = y + read
        return y, AttentionState(memory, window) if need_state else None


class MAGBlock(Block):
    """Memory as a gate: attention and memory see the same tokens, one gates the other
    (eqs. 26-28)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.memory = NeuralMemory(config)
        self.attention = SlidingWindowAttention(config)
        self.gate = MemoryGate(config.dim)

    def mix(
        self, x: Tensor, state: AttentionState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, AttentionState | None]:
        memory, window = state or (None, None)
        y, window = self.attention(x, window, observed)
        read, memory = self.memory(x, memory, observed, need_state=need_state)
        return self.gate(y, read), AttentionState(memory, window) if need_state else None


class MemoryGate(nn.Module):
    """Gate one branch by another: ``norm(y) * sigmoid(norm(m))``, gains learnt (section 4.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.branch_norm = RMSNorm(dim)
        self.memory_norm = RMSNorm(dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, branch: Tensor, memory: Tensor) -> Tensor:
        return self.out(self.branch_norm(branch) * torch.sigmoid(self.memory_norm(memory)))
