"""NeuralMemory: projections and gates around the memory, as a module."""

from __future__ import annotations

import itertools
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.nn.convolution import CausalConv, start_recall
from titans_ts.nn.layers import (
    RMSNorm,
    at_least_float32,
    mask_tokens,
    persistent_tokens,
    silu,
    times,
    unit_length,
)
from titans_ts.nn.memory_weights import StepWeightsCache
from titans_ts.ops.exporting import is_exporting
from titans_ts.ops.memory_chunked import TILE_SIZE, memory_chunked, solves
from titans_ts.ops.memory_pending import StepRates
from titans_ts.ops.memory_state import MemoryGates, MemoryState, mask_gates
from titans_ts.ops.memory_step import memory_step
from titans_ts.ops.memory_tile import (
    MemoryTile,
    close_tile,
    open_tile,
    read_after_each,
    read_tile,
    tile_length,
    write_tile,
)

__all__ = ["MemorySession", "NeuralMemory", "NeuralMemoryState"]

# Tokens, times sequences, that go through projections, gates and memory at a time where nobody
# wants derivatives: enough for large products, few enough that the system need not hand out, and
# zero, fresh memory for each.
STRETCH_TOKENS = 4096


class NeuralMemoryState(NamedTuple):
    """What a NeuralMemory carries from one call to the next."""

    memory: MemoryState
    tail: Tensor | None  # last inputs of the convolutions, (batch, conv_width - 1, 3 * dim)


class MemorySession(NamedTuple):
    """A memory in use: between two writes, before its writes are added up."""

    tile: MemoryTile
    tail: Tensor | None


class NeuralMemory(nn.Module):
    """Long-term memory: an MLP per head and sequence that learns while it reads.

    ``q, k, v = silu(conv(x W))`` with q and k of unit length (Titans, section 4.4); gates are
    scalars per head and memory layer; the answer is normalised, gated by the input, and
    projected.

    Parameters
    ----------
    config : BackboneConfig
    persistent : bool, default True
        Whether a sequence starts with ``config.n_persistent`` learnt tokens.
    """

    def __init__(self, config: BackboneConfig, *, persistent: bool = True) -> None:
        super().__init__()
        heads, dim = config.memory_heads, config.dim
        self.n_heads, self.n_layers = heads, config.memory_depth
        self.chunk_size, self.residual = config.chunk_size, config.memory_residual
        self.max_step_size = config.max_step_size
        self.has_momentum, self.has_forgetting = config.momentum, config.forgetting
        self.writes = config.memory_writes
        self.coarse, self.first_order = config.coarse_memory, config.first_order
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.conv = CausalConv(3 * dim, config.conv_width) if config.conv_width else None
        if config.recall and self.conv is not None:
            queries, keys, _ = self.qkv.weight.chunk(3)
            start_recall(queries, keys, self.conv)
        width = dim // heads
        hidden = [width * config.memory_expansion] * (config.memory_depth - 1)
        sizes = [width, *hidden, width]
        self.initial_weights = nn.ParameterList(
            torch.randn(heads, n_in, n_out) * n_in**-0.5
            for n_in, n_out in itertools.pairwise(sizes)
        )
        self.gates = nn.Linear(dim, 3 * heads * self.n_layers)
        nn.init.normal_(self.gates.weight, std=0.02)
        with torch.no_grad():
            # Small steps, moderate momentum, little forgetting: a memory that starts calm. Steps
            # are divided by the chunk's length, and so is forgetting: a memory that forgets
            # faster than it learns fades to nothing.
            step, momentum, forget = self.gates.bias.unflatten(0, (3, -1))
            step.fill_(-1.0)
            momentum.fill_(math.log(config.initial_momentum / (1 - config.initial_momentum)))
            forget.fill_(-5.0 - math.log(config.chunk_size / 4))
        self.read_norm = RMSNorm(width)
        self.out_gate = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.persistent = persistent_tokens(config.n_persistent if persistent else 0, dim)
        self._step_weights = StepWeightsCache()

    def forward(
        self,
        x: Tensor,
        state: NeuralMemoryState | None = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, NeuralMemoryState | None]:
        """Write each token, then read with it.

        Parameters
        ----------
        x : Tensor of shape (batch, time, dim)
        state : NeuralMemoryState, optional
            None: the sequence starts here, with the learnt initial weights.
        observed : Tensor of shape (batch, time), bool, optional
            Masked tokens are not written; their own reads mean nothing.
        need_state : bool, default True
            False: return None for the state.

        Returns
        -------
        y : Tensor of shape (batch, time, dim)
        state : NeuralMemoryState or None
        """
        if not torch.is_grad_enabled():
            if x.shape[1] == 1 and state is not None and not _is_autocast(x):
                y, stepped = self._step(x, state, observed)
                return y, stepped if need_state else None
            if x.is_cpu and not is_exporting():  # a graph is of any batch size
                chunks = max(STRETCH_TOKENS // len(x) // self.chunk_size, 1)
                if x.shape[1] >= 2 * max(chunks * self.chunk_size, TILE_SIZE):
                    return self._in_stretches(
                        x, state, observed, chunks * self.chunk_size, need_state=need_state
                    )
        n_first = 0
        if state is None and self.persistent is not None:
            n_first = len(self.persistent)
            x = torch.cat([self.persistent.expand(x.shape[0], -1, -1), x], dim=1)
            observed = None if observed is None else F.pad(observed, (n_first, 0), value=True)
        x = mask_tokens(x, observed)
        memory = self.initial_state() if state is None else state.memory
        queries, keys, values, tail = self._project(x, None if state is None else state.tail)
        product_dtype = _product_dtype(x)
        with _full_precision(x):
            reads, after = memory_chunked(
                memory,
                queries,
                keys,
                values,
                self._gates(x, observed),
                chunk_size=self.chunk_size,
                residual=self.residual,
                coarse=self.coarse,
                first_order=self.first_order,
                need_state=need_state,
                product_dtype=product_dtype,
            )
        y = self._answer(reads, x)[:, n_first:]
        return y, None if after is None else NeuralMemoryState(after, tail)

    def _in_stretches(
        self,
        x: Tensor,
        state: NeuralMemoryState | None,
        observed: Tensor | None,
        length: int,
        *,
        need_state: bool,
    ) -> tuple[Tensor, NeuralMemoryState | None]:
        """:meth:`forward` stretch by stretch, so that what lies between takes memory of one."""
        y, time = torch.empty_like(x), x.shape[1]
        for start in range(0, time, length):
            now = slice(start, start + length)
            y[:, now], state = self(
                x[:, now],
                state,
                None if observed is None else observed[:, now],
                need_state=need_state or start + length < time,
            )
        return y, state

    # -- step by step, for MAC, which reads, attends, and writes what attention made of it --------

    def initial_state(self) -> MemoryState:
        """The learnt initial weights, shared by all sequences (batch dimension 1)."""
        weights = tuple(weight[None] for weight in self.initial_weights)
        return MemoryState(weights, (), weights, 0)

    def open(self, state: NeuralMemoryState | None) -> MemorySession:
        """Start to use a memory; None for a new sequence (persistent tokens are not written)."""
        if state is None:
            return MemorySession(open_tile(self.initial_state()), None)
        return MemorySession(open_tile(state.memory), state.tail)

    def read(self, session: MemorySession, queries: Tensor) -> Tensor:
        """Read the memory as it stands, without gate or projection.

        ``queries`` has shape (batch, heads, time, width); the answer (batch, time, dim).
        """
        n = tile_length(session.tile)
        with _full_precision(queries):
            reads = read_tile(
                session.tile,
                at_least_float32(queries).transpose(0, 1).contiguous(),
                range(n - 1, n) if n else None,
                residual=self.residual,
            )
        return self._normed(reads.transpose(0, 1)).to(queries.dtype)

    def write_and_read(
        self, session: MemorySession, x: Tensor, observed: Tensor | None, *, after_each: bool
    ) -> tuple[Tensor, MemorySession]:
        """Write tokens, then read with the same tokens.

        The first of them starts a chunk: in MAC, chunks start where segments do.

        Parameters
        ----------
        session : MemorySession
        x : Tensor of shape (batch, time, dim)
        observed : Tensor of shape (batch, time), bool, optional
        after_each : bool
            True: each token reads the memory as it stands after that token; False: after the last.

        Returns
        -------
        y : Tensor of shape (batch, time, dim)
        session : MemorySession
        """
        x = mask_tokens(x, observed)
        queries, keys, values, tail = self._project(x, session.tail)
        gates, n_new = self._gates(x, observed), x.shape[1]
        with _full_precision(x):
            tile = session.tile
            in_chunk = (tile.position + tile_length(tile)) % self.chunk_size
            if in_chunk or tile_length(tile) + n_new > TILE_SIZE:
                state = close_tile(tile, chunk_size=self.chunk_size)
                tile = open_tile(state._replace(anchor=state.weights, position=0))
            # A whole tile of a memory that was written before may be faster scanned.
            carried = bool(tile.momentum) or tile.weights[0].shape[1] > 1
            scanned = n_new == TILE_SIZE and carried and self.n_layers > 1
            solved = solves(
                n_new,
                self.chunk_size,
                self.n_layers,
                residual=self.residual,
                coarse=self.coarse,
                first_order=self.first_order,
            )
            if n_new > TILE_SIZE or scanned or solved:
                reads, tile = self._scanned_segment(tile, queries, keys, values, gates, after_each)
                return self._answer(reads, x), MemorySession(tile, tail)
            tile = write_tile(
                tile,
                keys.transpose(0, 1).contiguous(),
                values.transpose(0, 1).contiguous(),
                gates,
                chunk_size=self.chunk_size,
                residual=self.residual,
                coarse=self.coarse,
                first_order=self.first_order,
            )
            n, heads_first = tile_length(tile), queries.transpose(0, 1).contiguous()
            if after_each:
                reads = read_after_each(
                    tile,
                    heads_first,
                    n - n_new,
                    chunk_size=self.chunk_size,
                    residual=self.residual,
                    coarse=self.coarse,
                )
            else:
                reads = read_tile(tile, heads_first, range(n - 1, n), residual=self.residual)
        return self._answer(reads.transpose(0, 1), x), MemorySession(tile, tail)

    def _scanned_segment(
        self,
        tile: MemoryTile,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        gates: MemoryGates,
        after_each: bool,
    ) -> tuple[Tensor, MemoryTile]:
        """Of a segment that goes into a state like a sequence, and not into a tile."""
        reads, state = memory_chunked(
            close_tile(tile, chunk_size=self.chunk_size),
            queries,
            keys,
            values,
            gates,
            chunk_size=self.chunk_size,
            residual=self.residual,
            coarse=self.coarse,
            first_order=self.first_order,
        )
        assert state is not None
        tile = open_tile(state)
        if not after_each:
            reads = read_tile(
                tile, queries.transpose(0, 1).contiguous(), None, residual=self.residual
            ).transpose(0, 1)
        return reads, tile

    def close(self, session: MemorySession) -> NeuralMemoryState:
        """Add the writes up into a state of fixed size."""
        with _full_precision(session.tile.weights[0]):
            memory = close_tile(session.tile, chunk_size=self.chunk_size)
        return NeuralMemoryState(memory, session.tail)

    # -- inside ---------------------------------------------------------------------------------

    def _project(
        self, x: Tensor, tail: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        mixed = self.qkv(x)
        if self.conv is not None:
            mixed, tail = self.conv(mixed, tail)
        heads = silu(at_least_float32(mixed)).unflatten(-1, (3 * self.n_heads, -1)).transpose(1, 2)
        queries_keys, values = heads.split([2 * self.n_heads, self.n_heads], dim=1)
        queries, keys = unit_length(queries_keys).chunk(2, dim=1)
        return queries, keys, values, tail

    def _gates(self, x: Tensor, observed: Tensor | None) -> MemoryGates:
        logits = self.gates(at_least_float32(x)).unflatten(-1, (3, self.n_heads, self.n_layers))
        step, momentum, forget = logits.permute(2, 0, 3, 4, 1)
        step_size = self.max_step_size / self.chunk_size * torch.sigmoid(step)
        log_momentum = log_keep = None
        if self.has_momentum:
            step_size = step_size * torch.sigmoid(-momentum)
            log_momentum = F.logsigmoid(momentum)
        if self.has_forgetting:
            log_keep = F.logsigmoid(-forget)
        if not self.writes:
            observed = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        return mask_gates(MemoryGates(step_size, log_momentum, log_keep), observed)

    def _step(
        self, x: Tensor, state: NeuralMemoryState, observed: Tensor | None
    ) -> tuple[Tensor, NeuralMemoryState]:
        """One token, as :meth:`forward` has it, in fewer operations: their calls are the cost."""
        # Where no operation is to leave a trace for derivatives, it is called in less time. What
        # is handed out is made outside, since a tensor from in here bears no derivatives later.
        with torch.inference_mode():
            gated, answer, memory, tail = self._step_inside(x, state, observed)
        tail = tail if tail is None else tail.clone()
        return torch.mm(gated, answer)[:, None], NeuralMemoryState(memory, tail)

    def _step_inside(
        self, x: Tensor, state: NeuralMemoryState, observed: Tensor | None
    ) -> tuple[Tensor, Tensor, MemoryState, Tensor | None]:
        """What is left to be multiplied, the next states beside it."""
        batch, heads, dim = len(x), self.n_heads, x.shape[-1]
        x = mask_tokens(x, observed)[:, 0]
        weights = self._step_weights.get(
            self.qkv.weight,
            self.out_gate.weight,
            self.gates.weight,
            self.gates.bias,
            self.read_norm.weight,
            self.out.weight,
            torch.finfo(x.dtype).eps if self.read_norm.eps is None else self.read_norm.eps,
        )
        mixed, gates = torch.addmm(weights.bias, x, weights.project).split_with_sizes(
            (4 * dim, len(weights.bias) - 4 * dim), 1
        )
        tail = state.tail
        if self.conv is not None:
            mixed, out_gate = mixed.split((3 * dim, dim), 1)
            mixed, tail = self.conv.step(mixed, tail)
            mixed = torch.cat((mixed, out_gate), 1)
        pairs, values, out_gate = (
            F.silu(mixed).view(batch, 4, heads, -1).split_with_sizes((2, 1, 1), 1)
        )
        pairs = pairs / torch.linalg.vector_norm(pairs, dim=-1, keepdim=True).clamp_min_(1e-12)
        read, memory = memory_step(
            state.memory,
            pairs.transpose(1, 2).reshape(batch * heads, 2, -1),
            values.reshape(batch * heads, 1, -1),
            self._rates(gates, observed),
            chunk_size=self.chunk_size,
            residual=self.residual,
            coarse=self.coarse,
        )
        norm = torch.linalg.vector_norm(read, dim=-1, keepdim=True)
        normed = read * torch.addcmul(weights.eps, norm, norm).rsqrt_()
        gated = (normed.view(out_gate.shape) * out_gate).view(batch, dim)
        return gated, weights.answer, memory, tail

    def _rates(self, gates: Tensor, observed: Tensor | None) -> StepRates:
        """:meth:`_gates` of one token, ``gates`` of shape (batch, 3 * heads * layers)."""
        rates = torch.sigmoid(gates)
        if len(gates) > 1:
            rates = rates.unflatten(-1, (3, -1)).transpose(0, 1)
        rates = rates.reshape(3, -1, self.n_layers, 1)
        step, unit = rates.select(0, 0), self.max_step_size / self.chunk_size
        momentum = rates.select(0, 1) if self.has_momentum else None
        forget = rates.select(0, 2) if self.has_forgetting else None
        if momentum is not None:
            # 1 - sigmoid(x) and sigmoid(-x) differ by rounding only.
            step = torch.addcmul(step, step, momentum, value=-1)
        if observed is None and self.writes:
            return StepRates(step, momentum, forget, None, unit)
        seen = gates.new_zeros(len(gates), 1, dtype=torch.bool)
        if self.writes and observed is not None:
            seen = observed
        seen = seen.repeat_interleave(self.n_heads, 0)[..., None]

        def masked(rate: Tensor | None, otherwise: float) -> Any:
            return None if rate is None else torch.where(seen, rate, otherwise)

        return StepRates(masked(step, 0.0), masked(momentum, 1.0), masked(forget, 0.0), seen, unit)

    def _normed(self, reads: Tensor) -> Tensor:
        return self.read_norm(reads).transpose(1, 2).flatten(-2)

    def _answer(self, reads: Tensor, x: Tensor) -> Tensor:
        return self.out(times(self._normed(reads).to(x.dtype), silu(self.out_gate(x))))


def _is_autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _product_dtype(x: Tensor) -> torch.dtype:
    """What autocast would multiply in, for a kernel that adds up in float32."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16:
        return torch.bfloat16
    return torch.float32


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Memory and gates never run below float32."""
    if not _is_autocast(x):
        return nullcontext()  # The other takes as long as a step of a stream's memory.
    return torch.autocast(x.device.type, enabled=False)
