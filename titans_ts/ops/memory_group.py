"""A group of chunks, forward and backward: what the scan does between two saved states."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_scan import (
    ChunkErrors,
    Layers,
    ScanState,
    Tile,
    TileReads,
    chunk_errors,
    chunk_errors_backward,
    read_at,
    read_at_backward,
    read_start,
    tile_backward,
    tile_read,
    tile_write,
)
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import GateTables, TileTables, gate_tables
from titans_ts.ops.workspace import Workspace

__all__ = ["Group", "GroupWork", "ScanOptions", "Slots", "run_group", "run_group_backward"]


class ScanOptions(NamedTuple):
    """What is fixed for a whole scan."""

    chunk_size: int
    position: int  # tokens of the open chunk that were read before
    residual: bool
    coarse: bool
    first_order: bool
    save_every: int | None
    need_state: bool
    n_layers: int
    has_momentum: bool  # whether the state has a momentum buffer


class Group(NamedTuple):
    """Neighbouring chunks of one length, worked on together."""

    start: int  # first token
    n_chunks: int
    length: int  # of each chunk
    tile: int

    @property
    def stop(self) -> int:
        return self.start + self.n_chunks * self.length

    @property
    def n_tiles(self) -> int:
        """Of each chunk."""
        return -(-self.length // self.tile)

    @property
    def tile_lengths(self) -> list[int]:
        last = self.length - (self.n_tiles - 1) * self.tile
        return ([self.tile] * (self.n_tiles - 1) + [last]) * self.n_chunks

    def span(self, number: int) -> slice:
        """Tokens of a tile, counted from its chunk's start."""
        return slice(number * self.tile, min((number + 1) * self.tile, self.length))


class ChunkWork(NamedTuple):
    """What the forward pass of one chunk leaves for the backward pass."""

    states: list[ScanState]  # before each tile
    anchor: list[Tensor]
    made: ChunkErrors
    reads: list[TileReads]  # of each tile; with coarse reads one, of the chunk


class Slots:
    """Workspaces for one tile after the other.

    ``reuse``: a group may have those of the group before. ``apart``: the tiles of a group have
    one each; otherwise, with ``reuse``, all have the same.
    """

    def __init__(self, *, reuse: bool, apart: bool = False) -> None:
        self.reuse, self.apart = reuse, apart or not reuse
        self._slots: list[Workspace] = []
        self._taken = 0

    def next(self) -> Workspace:
        index = self._taken if self.apart else 0
        if index == len(self._slots):
            self._slots.append(Workspace(keep=self.apart))
        self._taken += 1
        return self._slots[index]

    def next_group(self) -> None:
        if self.reuse:
            self._taken = 0


class GroupWork(NamedTuple):
    queries: Tensor  # (chunks, rows, width, tokens)
    keys: Tensor
    values: Tensor
    gates: MemoryGates  # leaves of the tables' graph
    tables: GateTables
    chunks: list[ChunkWork]


def _columns(tokens: Tensor, group: Group) -> Tensor:
    """Tokens of a group as (chunks, rows, width, tokens)."""
    cut = tokens[:, group.start : group.stop].unflatten(1, (group.n_chunks, group.length))
    return cut.permute(1, 0, 3, 2).contiguous()


def _rows(columns: Tensor) -> Tensor:
    """Back to (rows, time, width)."""
    return columns.permute(1, 0, 3, 2).flatten(1, 2)


def _cut_gates(gates: MemoryGates, group: Group) -> MemoryGates:
    """Gates of a group, filled up with masked tokens where a chunk's last tile is short."""
    cut: list[Any] = [
        None if gate is None else gate[..., group.start : group.stop] for gate in gates
    ]
    short = group.n_tiles * group.tile - group.length
    if short:
        step = cut[0]
        if cut[3] is None:
            cut[3] = torch.ones(len(step), 1, step.shape[-1], dtype=torch.bool, device=step.device)
        for i, gate in enumerate(cut):
            if gate is not None:
                chunks = gate.unflatten(-1, (group.n_chunks, group.length))
                cut[i] = F.pad(chunks, (0, short)).flatten(-2)
    return MemoryGates(*cut)


def run_group(
    group: Group,
    options: ScanOptions,
    state: ScanState,
    anchor: list[Tensor] | None,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: MemoryGates,
    reads: Tensor,
    slots: Slots,
    *,
    keep: bool,
    write_last: bool,
) -> tuple[ScanState, GroupWork | None]:
    """Chunks of a group, one after the other; what they read is written into ``reads``."""
    state = _emptied(state)
    q, k, v = (_columns(x, group) for x in tokens)
    gates = _cut_gates(gates, group)
    if keep:
        step, log_momentum, log_keep = map(_leaf, gates[:3])
        gates = MemoryGates(step, log_momentum, log_keep, gates.observed)
    with torch.set_grad_enabled(keep):
        tables = gate_tables(
            gates, n_tiles=group.n_chunks * group.n_tiles, reads=not options.coarse
        )
    graph = tables
    tables = GateTables(*map(_detached, tables))
    chunks = []
    of_tiles = tables.tiles(group.tile_lengths)
    for c in range(group.n_chunks):
        at = state.weights if anchor is None else anchor
        first_token = group.start + c * group.length
        reads_of, states, made = [], [], None
        for j in range(group.n_tiles):
            table, span, space = of_tiles[c * group.n_tiles + j], group.span(j), slots.next()
            query, started = q[c][..., span], None
            if not options.coarse:
                started = read_start(state, query, table, space)
            if made is None:
                made = chunk_errors(at, k[c], v[c], space, residual=options.residual)
                if options.coarse:
                    y, read = read_at(at, q[c], space, residual=options.residual)
                    reads[:, first_token : first_token + group.length] = y.mT
                    reads_of.append(read)
            tile = _tile(made.inputs, made.errors, table, group, span)
            if started is not None:
                y, read = tile_read(state, query, started, tile, space, residual=options.residual)
                reads[:, first_token + span.start : first_token + span.stop] = y.mT
                reads_of.append(read)
            states.append(state)
            if write_last or (c, j) != (group.n_chunks - 1, group.n_tiles - 1):
                state = tile_write(state, tile, space)
        assert made is not None
        if keep:
            chunks.append(ChunkWork(states, at, made, reads_of))
    work = GroupWork(q, k, v, gates, graph, chunks) if keep else None
    return state, work


def _tile(inputs: Any, errors: Any, tables: TileTables, group: Group, span: slice) -> Tile:
    if group.n_tiles > 1:
        inputs, errors = ([x[..., span] for x in xs] for xs in (inputs, errors))
    return Tile(inputs, errors, tables)


def run_group_backward(
    group: Group,
    options: ScanOptions,
    work: GroupWork,
    reads_bar: Tensor,
    state_bars: ScanState | None,
    anchor_bars: list[Tensor] | None,
    open_bars: list[Tensor] | None,
    bars: list[Tensor],
    gate_bars: list[Tensor | None],
    scratch: Workspace,
) -> ScanState:
    """Cotangents of the state before a group; those of its tokens are written into ``bars``."""
    tables = GateTables(*map(_detached, work.tables))
    # Not everything is reached: a first tile has no buffer to push, a last one may not be written.
    table_bars = GateTables(*map(_zeros, tables))
    of_tiles = tables.tiles(group.tile_lengths)
    bars_of_tiles = table_bars.tiles(group.tile_lengths, numbers=False)
    y_bar = _columns(reads_bar, group)
    q_bar, k_bar, v_bar = (torch.empty_like(x) for x in (work.queries, work.keys, work.values))
    for c in range(group.n_chunks - 1, -1, -1):
        states, anchor, made, reads = work.chunks[c]
        x_bars = [scratch.zeros("x bar", i, x) for i, x in enumerate(made.inputs)]
        e_bars = [scratch.zeros("e bar", i, e) for i, e in enumerate(made.errors)]
        for j in range(group.n_tiles - 1, -1, -1):
            span = group.span(j)
            index = c * group.n_tiles + j
            tile = _tile(made.inputs, made.errors, of_tiles[index], group, span)
            tile_bars = _tile(x_bars, e_bars, bars_of_tiles[index], group, span)
            read_bar, state_bars = tile_backward(
                states[j],
                tile,
                None if options.coarse else reads[j],
                y_bar[c][..., span],
                state_bars,
                tile_bars,
                scratch,
                residual=options.residual,
            )
            if read_bar is not None:
                q_bar[c][..., span] = read_bar
        assert state_bars is not None
        at_start = state_bars.weights if open_bars is None else open_bars
        if options.coarse:
            q_bar[c] = read_at_backward(
                anchor,
                reads[0],
                y_bar[c],
                at_start,
                scratch,
                residual=options.residual,
            )
        if anchor_bars is not None:
            for bar, more in zip(at_start, anchor_bars, strict=True):
                bar += more
        k_bar[c], v_bar[c] = chunk_errors_backward(
            anchor,
            work.keys[c],
            work.values[c],
            made,
            x_bars,
            e_bars,
            None if options.first_order else at_start,
            scratch,
            residual=options.residual,
        )
        work.chunks[c] = None  # type: ignore[call-overload]  # Its memory is wanted now.
    for total, bar in zip(bars, (q_bar, k_bar, v_bar), strict=True):
        total[:, group.start : group.stop] = _rows(bar)
    _gates_backward(group, work, table_bars, gate_bars)
    assert state_bars is not None
    return state_bars


def _gates_backward(
    group: Group, work: GroupWork, table_bars: GateTables, gate_bars: list[Tensor | None]
) -> None:
    made = [(t, b) for t, b in zip(work.tables, table_bars, strict=True) if t is not None]
    made = [(table, bar) for table, bar in made if table.requires_grad]
    leaves = [gate for gate in work.gates[:3] if gate is not None]
    found = torch.autograd.grad(
        [table for table, _ in made],
        leaves,
        [bar for _, bar in made],
        allow_unused=True,
        materialize_grads=True,
    )
    totals = [bar for bar in gate_bars if bar is not None]
    width = group.n_tiles * group.tile
    for total, bar in zip(totals, found, strict=True):
        chunks = bar.unflatten(-1, (group.n_chunks, width))[..., : group.length]
        total[..., group.start : group.stop] = chunks.flatten(-2)


def _emptied(state: ScanState) -> ScanState:
    """The same state, with zeros for matrices that have faded to next to nothing.

    Their products would underflow, which takes a CPU ten times as long as any others. A forget
    rate above the step size lets a memory fade so far; what it then reads is nothing anyway.
    """
    if state.weights[0].device.type != "cpu":
        return state
    # Products of two such numbers are what underflows.
    least = torch.finfo(state.weights[0].dtype).tiny ** 0.45

    def emptied(matrices: Layers) -> Layers:
        return [
            torch.zeros_like(matrix)
            if torch.linalg.vector_norm(matrix, torch.inf) < least
            else matrix
            for matrix in matrices
        ]

    momentum = state.momentum
    return ScanState(emptied(state.weights), None if momentum is None else emptied(momentum))


def _leaf(gate: Tensor | None) -> Any:
    return None if gate is None else gate.detach().requires_grad_()


def _detached(table: Tensor | None) -> Any:
    return None if table is None else table.detach()


def _zeros(table: Tensor | None) -> Any:
    return None if table is None else torch.zeros_like(table)
