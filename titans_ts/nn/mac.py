"""Memory as context: segments that are attended to one after another, and remembered."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.nn.attention import SeenSegment, SegmentAttention, SegmentTokens
from titans_ts.nn.blocks import Block, MemoryGate
from titans_ts.nn.convolution import CausalConv
from titans_ts.nn.layers import at_least_float32, carry, unit_length
from titans_ts.nn.memory import MemorySession, NeuralMemory, NeuralMemoryState

__all__ = ["LiteralMACBlock", "LiteralMACState", "MACBlock", "MACState", "OpenSegment"]


class Tails(NamedTuple):
    """Last inputs of the convolutions, which go on from one segment to the next."""

    query: Tensor | None = None  # of the context's queries
    attention: Tensor | None = None


class OpenSegment(NamedTuple):
    """What the next token of a segment still needs of its beginning."""

    memory: NeuralMemoryState  # as the segment found it
    seen: SeenSegment


class MACState(NamedTuple):
    """State of a MAC block in causal mode."""

    memory: NeuralMemoryState  # all tokens are written
    tails: Tails
    open: OpenSegment | None  # None where a segment has just ended

    @property
    def n_open(self) -> int:
        return 0 if self.open is None else self.open.seen.keys.shape[-2]


class LiteralMACState(NamedTuple):
    """State of a MAC block in literal mode: all as the open segment found it, and its tokens."""

    memory: NeuralMemoryState
    tails: Tails
    rows: Tensor  # (batch, n, dim), the open segment's normalised tokens, n < segment_length
    observed: Tensor  # (batch, n), bool

    @property
    def n_open(self) -> int:
        return self.rows.shape[1]


class _Walk(NamedTuple):
    """What came of some segments."""

    y: Tensor
    before: MemorySession  # as the last segment found it
    session: MemorySession
    tails: Tails
    seen: SeenSegment  # of the last segment


class MACBlock(Block):
    """Memory as context (Titans, section 4.1): for each segment, in this order,

    1. read the memory with the segment's queries, as it stood before the segment;
    2. attend over [persistent | reads | segment];
    3. write what attention made of each token;
    4. gate that by a read of the updated memory.

    A token sees the reads of its own and earlier tokens, and is gated by the memory that holds
    tokens up to itself; so a segment that is cut between two calls goes on where it was.
    """

    causal = True

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.segment_length = config.segment_length
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.query_conv = CausalConv(config.dim, config.conv_width) if config.conv_width else None
        self.attention = SegmentAttention(config)
        # Persistent tokens are attention's here; the memory is written by attention alone.
        self.memory = NeuralMemory(config, persistent=False)
        self.gate = MemoryGate(config.dim)

    def mix(
        self, x: Tensor, state: MACState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, MACState | None]:
        begun = None
        if state is not None and state.open is not None:
            n = self.segment_length - state.n_open
            if x.shape[1] <= n:
                return self._go_on(x, state, state.open, observed, need_state=need_state)
            now = None if observed is None else observed[:, :n]
            begun, state = self._go_on(x[:, :n], state, state.open, now, need_state=True)
            x, observed = x[:, n:], None if observed is None else observed[:, n:]
        session = self.memory.open(None if state is None else state.memory)
        walk = self._walk(x, observed, session, Tails() if state is None else state.tails)
        y = walk.y if begun is None else torch.cat([begun, walk.y], dim=1)
        if not need_state:
            return y, None
        opened = None
        if x.shape[1] % self.segment_length:
            opened = OpenSegment(self.memory.close(walk.before), walk.seen.carried())
        return y, MACState(self.memory.close(walk.session), walk.tails, opened)

    def _go_on(
        self,
        x: Tensor,
        state: MACState,
        opened: OpenSegment,
        observed: Tensor | None,
        *,
        need_state: bool,
    ) -> tuple[Tensor, MACState | None]:
        """More of the open segment, at most to its end."""
        queries, query_tail = self._queries(x, state.tails.query)
        (tokens,), tail = self.attention.prepare(
            x, observed, state.tails.attention, n_before=state.n_open
        )
        reads = self.memory.read(self.memory.open(opened.memory), queries)
        seen = self.attention.see(tokens, reads, opened.seen)
        y = self.attention.attend(tokens, seen)
        # A chunk goes on too, which the memory has at hand for sequences that come in pieces.
        gate, memory = self.memory(y, state.memory, observed, need_state=need_state)
        y = self.gate(y, gate)
        if memory is None:
            return y, None
        ended = seen.keys.shape[-2] == self.segment_length
        after = None if ended else OpenSegment(opened.memory, seen.carried())
        return y, MACState(memory, Tails(query_tail, tail), after)

    def _walk(
        self,
        x: Tensor,
        observed: Tensor | None,
        session: MemorySession,
        tails: Tails,
        *,
        n_again: int = 0,
    ) -> _Walk:
        """Segments one after another, of which the last may be open.

        Tails are those before the last ``n_again`` tokens, which will come again.
        """
        # What needs no memory is done for all segments at once; and split, not cut one after
        # another, since each cut would have a gradient as long as the whole.
        queries, query_tail = self._queries(x, tails.query, n_again=n_again)
        prepared, tail = self.attention.prepare(x, observed, tails.attention, n_again=n_again)
        parts = zip(
            x.split(self.segment_length, dim=1),
            prepared,
            queries.split(self.segment_length, dim=2),
            strict=True,
        )
        outputs = []
        for part in parts:
            before = session
            y, session, seen = self._segment(*part, session)
            outputs.append(y)
        y = torch.cat(outputs, dim=1)
        return _Walk(y, before, session, Tails(query_tail, tail), seen)

    def _queries(
        self, x: Tensor, tail: Tensor | None, *, n_again: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """What the memory is asked before attention, of shape (batch, heads, time, width)."""
        queries = self.query(x)
        if self.query_conv is not None:
            queries, tail = self.query_conv(queries, tail, n_again=n_again)
        queries = queries.unflatten(-1, (self.memory.n_heads, -1)).transpose(1, 2)
        return unit_length(F.silu(at_least_float32(queries))), tail

    def _segment(
        self, x: Tensor, tokens: SegmentTokens, queries: Tensor, session: MemorySession
    ) -> tuple[Tensor, MemorySession, SeenSegment]:
        """One segment: its tokens ``x``, and what attention and memory made of them before."""
        seen = self.attention.see(tokens, self.memory.read(session, queries))
        y = self.attention.attend(tokens, seen)
        gate, session = self.memory.write_and_read(
            session, y, tokens.observed, after_each=self.causal
        )
        return self.gate(y, gate), session, seen


class LiteralMACBlock(MACBlock):
    """The paper's order to the letter: a token sees the whole segment's reads, and is gated by the
    memory after the whole segment.

    A segment that is cut between two calls is run again from its start, so pieces equal the whole
    where no other block has built on the outputs given so far, which are provisional.
    """

    causal = False

    def mix(  # type: ignore[override]
        self, x: Tensor, state: LiteralMACState | None, observed: Tensor | None, need_state: bool
    ) -> tuple[Tensor, LiteralMACState | None]:
        n_new, memory, tails = x.shape[1], None, Tails()
        if state is not None:
            memory, tails = state.memory, state.tails
            if observed is None:
                observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            x = torch.cat([state.rows, x], dim=1)
            observed = torch.cat([state.observed, observed], dim=1)
        n_open = x.shape[1] % self.segment_length
        walk = self._walk(x, observed, self.memory.open(memory), tails, n_again=n_open)
        y = walk.y[:, -n_new:]
        if not need_state:
            return y, None
        if observed is None:
            observed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        keep = slice(x.shape[1] - n_open, None)
        memory = self.memory.close(walk.before if n_open else walk.session)
        return y, LiteralMACState(memory, walk.tails, carry(x[:, keep]), observed[:, keep].clone())
