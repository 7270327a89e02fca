"""The four Titans blocks, of one signature: ``block(x, state, observed) -> (y, state)``.

All have the Llama layout: RMSNorm, mixer, residual; RMSNorm, SwiGLU, residual.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.nn.attention import (
    SegmentAttention,
    SegmentTokens,
    SlidingWindowAttention,
    WindowState,
)
from titans_ts.nn.convolution import CausalConv
from titans_ts.nn.layers import (
    RMSNorm,
    SwiGLU,
    at_least_float32,
    carry,
    mask_tokens,
    unit_length,
)
from titans_ts.nn.memory import MemorySession, NeuralMemory, NeuralMemoryState

__all__ = ["LMMBlock", "MACBlock", "MAGBlock", "MALBlock", "make_block"]


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


class MACState(NamedTuple):
    """State of a MAC block: the memory as the open segment found it, and that segment's tokens."""

    memory: NeuralMemoryState | None  # None: nothing was written yet
    query_tail: Tensor | None  # last inputs of the context query's convolution
    rows: Tensor  # (batch, n, dim), the open segment's normalised tokens, n < segment_length
    observed: Tensor  # (batch, n), bool


class MACBlock(Block):
    """Memory as context (section 4.1): for each segment, in this order,

    1. read the memory with the segment's queries, as it stood before the segment;
    2. attend over [persistent | reads | segment];
    3. write what attention made of each token;
    4. gate that by a read of the updated memory.

    In causal mode a token sees the reads of its own and earlier tokens, and is gated by the memory
    that holds tokens up to itself; in literal mode it sees the whole segment's reads and the
    memory after the whole segment. A segment that is cut between two calls is run again from its
    start, so pieces equal the whole; in literal mode the outputs given so far are then
    provisional.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.segment_length = config.segment_length
        self.causal = config.mac_mode == "causal"
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.query_conv = CausalConv(config.dim, config.conv_width) if config.conv_width else None
        self.attention = SegmentAttention(config)
        # Persistent tokens are attention's here; the memory is written by attention alone.
        self.memory = NeuralMemory(config, persistent=False)
        self.gate = MemoryGate(config.dim)

    def mix(
        self, x: Tensor, state: MACState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, MACState | None]:
        n_new = x.shape[1]
        memory, tail = None, None
        if state is not None:
            memory, tail = state.memory, state.query_tail
            if observed is None:
                observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            x = torch.cat([state.rows, x], dim=1)
            observed = torch.cat([state.observed, observed], dim=1)
        n_open = x.shape[1] % self.segment_length
        session = self.memory.open(memory)
        # What needs no memory is done for all segments at once; and split, not cut one after
        # another, since each cut would have a gradient as long as the whole.
        queries, tail = self._queries(x, tail, n_open)
        parts = zip(
            x.split(self.segment_length, dim=1),
            self.attention.prepare(x, observed),
            queries.split(self.segment_length, dim=2),
            strict=True,
        )
        outputs = []
        for part in parts:
            # What the segment started from stays; it is needed again should it be cut here.
            before = session
            y, session = self._segment(*part, session)
            outputs.append(y)
        out = torch.cat(outputs, dim=1)[:, -n_new:]
        if not need_state:
            return out, None
        if observed is None:
            observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        keep = slice(x.shape[1] - n_open, None)
        memory = self.memory.close(before if n_open else session)
        return out, MACState(memory, tail, carry(x[:, keep]), observed[:, keep].clone())

    def _queries(self, x: Tensor, tail: Tensor | None, n_open: int) -> tuple[Tensor, Tensor | None]:
        """What the memory is asked before attention, and the convolution's tail.

        The queries have shape (batch, heads, time, width); the tail leaves out the last
        ``n_open`` tokens, which come again.
        """
        queries = self.query(x)
        if self.query_conv is not None:
            queries, tail = self.query_conv(queries, tail, n_open=n_open)
        queries = queries.unflatten(-1, (self.memory.n_heads, -1)).transpose(1, 2)
        return unit_length(F.silu(at_least_float32(queries))), tail

    def _segment(
        self, x: Tensor, tokens: SegmentTokens, queries: Tensor, session: MemorySession
    ) -> tuple[Tensor, MemorySession]:
        """One segment: its tokens ``x``, and what attention and memory made of them before."""
        y = self.attention.attend(tokens, self.memory.read(session, queries))
        gate, session = self.memory.write_and_read(
            session, y, tokens.observed, after_each=self.causal
        )
        return self.gate(y, gate), session


class MemoryGate(nn.Module):
    """Gate one branch by another: ``norm(y) * sigmoid(norm(m))``, gains learnt (section 4.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.branch_norm = RMSNorm(dim)
        self.memory_norm = RMSNorm(dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, branch: Tensor, memory: Tensor) -> Tensor:
        return self.out(self.branch_norm(branch) * torch.sigmoid(self.memory_norm(memory)))


_BLOCKS = {"mac": MACBlock, "mag": MAGBlock, "mal": MALBlock, "lmm": LMMBlock}


def make_block(config: BackboneConfig, place: int = 0) -> Block:
    """A block of ``config.variant``, or of memory alone where that variant leaves out attention.

    ``place`` is its number in the stack, from 0.
    """
    spare = config.variant in ("mag", "mal") and (place + 1) % config.attention_every
    return LMMBlock(config) if spare else _BLOCKS[config.variant](config)
