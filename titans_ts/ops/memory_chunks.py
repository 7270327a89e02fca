"""The scan over chunks as one autograd function: what to keep, what to make again.

A chunk's errors are taken at the state it starts from; its reads and writes follow in tiles of at
most ``MAX_TILE`` tokens. The states between chunks are kept at the start of every group of chunks
only; the backward pass takes the groups in reverse and makes each anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.memory_scan import (
    ChunkErrors,
    ScanState,
    TileReads,
    chunk_errors,
    chunk_errors_backward,
    read_at,
    read_at_backward,
    tile_read,
    tile_read_backward,
    tile_write,
    tile_write_backward,
)
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import GateTables, gate_tables

__all__ = ["ScanOptions", "scan_chunks"]

MAX_TILE = 64


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


class ChunkWork(NamedTuple):
    """What the forward pass of one chunk leaves for the backward pass."""

    states: list[ScanState]  # before each tile
    anchor: list[Tensor]
    made: ChunkErrors
    reads: list[TileReads]  # of each tile; with coarse reads one, of the chunk


class GroupWork(NamedTuple):
    queries: Tensor  # (chunks, rows, width, tokens)
    keys: Tensor
    values: Tensor
    gates: MemoryGates  # leaves of the tables' graph
    tables: GateTables
    chunks: list[ChunkWork]


def plan_groups(
    n_tokens: int, chunk_bytes: int, options: ScanOptions
) -> tuple[list[Group], bool]:
    """Groups of a scan, and whether their work is kept for the backward pass.

    ``chunk_bytes`` is what the work of a full chunk takes.
    """
    size = options.chunk_size

    def group(start: int, n_chunks: int, length: int) -> Group:
        n_tiles = -(-length // MAX_TILE)
        return Group(start, n_chunks, length, -(-length // n_tiles))

    groups, start = [], 0
    if options.position:
        start = min(size - options.position, n_tokens)
        groups.append(group(0, 1, start))
    n_full, rest = divmod(n_tokens - start, size)
    every = options.save_every
    keep = every is None and n_full * chunk_bytes <= KEEP_BYTES
    if every is None:
        # About as many groups as chunks in a group, so that neither outgrows the other.
        every = n_full if keep else max(round(n_full**0.5), -(-GROUP_TOKENS // size))
    for first in range(0, n_full, max(every, 1)):
        groups.append(group(start + first * size, min(every, n_full - first), size))
    if rest:
        groups.append(group(start + n_full * size, 1, rest))
    return groups, keep


# Up to here everything is kept: making it again would cost time, and memory is no question yet.
KEEP_BYTES = 2**28
# Of a group whose work is made again: long enough for its tables to be made in one go.
GROUP_TOKENS = 512


def scan_chunks(
    weights: list[Tensor],
    momentum: list[Tensor],
    anchor: list[Tensor],
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    options: ScanOptions,
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Scan tokens, chunk after chunk.

    Parameters
    ----------
    weights, momentum, anchor : list of Tensor of shape (rows, width_in, width_out)
        The state; ``momentum`` empty where it is zero, ``anchor`` empty at a chunk's start.
    queries, keys, values : Tensor of shape (rows, time, width)
    gates : MemoryGates
        Of shapes (rows, layers, time), and (rows, 1, time) for ``observed``.
    options : ScanOptions

    Returns
    -------
    reads : Tensor of shape (rows, time, width)
    weights, momentum : list of Tensor
        State after the last token; empty unless ``options.need_state``.
    anchor : list of Tensor
        Where the open chunk started, if that was after the first token; else empty.
    """
    step, log_momentum, log_keep, observed = gates
    out = _Scan.apply(
        options,
        observed,
        queries,
        keys,
        values,
        step,
        log_momentum,
        log_keep,
        *weights,
        *momentum,
        *anchor,
    )
    reads, state = out[0], list(out[1:])
    n = options.n_layers
    n_momentum = n if options.need_state and log_momentum is not None else 0
    return reads, state[:n], state[n : n + n_momentum], state[n + n_momentum :]


def _work_bytes(weights: list[Tensor], chunk_size: int) -> int:
    """About what a chunk's work takes: two states, and six vectors a token and layer."""
    per_row = sum(
        2 * weight[0].numel() + 6 * chunk_size * max(weight.shape[1:]) for weight in weights
    )
    return len(weights[0]) * per_row * weights[0].element_size()


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: ScanOptions, observed: Tensor | None, *tensors: Any) -> Any:
        queries, keys, values, *gates = tensors[:6]
        n = options.n_layers
        weights, rest = list(tensors[6 : 6 + n]), list(tensors[6 + n :])
        momentum = rest[:n] if options.has_momentum else None
        anchor = rest[n:] if options.has_momentum else rest
        training = any(ctx.needs_input_grad)
        groups, keep = plan_groups(
            keys.shape[1], _work_bytes(weights, options.chunk_size), options
        )
        state = ScanState(weights, momentum)
        reads = torch.empty_like(queries)
        kept: list[GroupWork] = []
        starts: list[ScanState] = []
        for group in groups:
            is_last = group is groups[-1]
            is_open = is_last and (group.stop + options.position) % options.chunk_size != 0
            new_anchor = state.weights if is_open and group.start else None
            starts.append(state)
            y, state, work = run_group(
                group,
                options,
                state,
                anchor if group.start == 0 and options.position else None,
                (queries, keys, values),
                MemoryGates(*gates, observed),
                keep=training and keep,
                write_last=options.need_state or not is_last,
            )
            reads[:, group.start : group.stop] = y
            if training and keep:
                kept.append(work)
        ctx.options, ctx.groups, ctx.kept = options, groups, kept if training and keep else None
        if training:
            ctx.starts = starts
            ctx.save_for_backward(queries, keys, values, *gates, observed, *weights, *rest)
        if not options.need_state:
            return (reads,)
        after = (*state.weights, *(state.momentum or ()), *(new_anchor or ()))
        return (reads, *after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Any) -> Any:
        options: ScanOptions = ctx.options
        queries, keys, values, step, log_momentum, log_keep, observed, *state = ctx.saved_tensors
        n = options.n_layers
        inputs = (queries, keys, values)
        gates = MemoryGates(step, log_momentum, log_keep, observed)
        bars = [torch.empty_like(x) for x in inputs]
        gate_bars = [None if gate is None else torch.empty_like(gate) for gate in gates[:3]]
        state_bars, anchor_bars = None, None
        if options.need_state:
            own = [bar.clone() for bar in after_bars]
            n_momentum = 0 if log_momentum is None else n
            state_bars = ScanState(own[:n], own[n : n + n_momentum] or None)
            anchor_bars = own[n + n_momentum :] or None
        anchor = state[-n:] if options.position else None
        open_bars = [torch.zeros_like(weight) for weight in anchor or ()]
        for index in range(len(ctx.groups) - 1, -1, -1):
            group = ctx.groups[index]
            first_anchor = anchor if group.start == 0 else None
            if ctx.kept is not None:
                work = ctx.kept.pop()
            else:
                _, _, work = run_group(
                    group,
                    options,
                    ctx.starts[index],
                    first_anchor,
                    inputs,
                    gates,
                    keep=True,
                    write_last=False,
                )
            state_bars = run_group_backward(
                group,
                options,
                work,
                reads_bar,
                state_bars,
                # What the open chunk's start is asked for besides comes in with its group.
                anchor_bars if index == len(ctx.groups) - 1 else None,
                open_bars if first_anchor is not None else None,
                bars,
                gate_bars,
            )
            del work
        momentum_bars = (state_bars.momentum or []) if options.has_momentum else []
        ctx.starts = ctx.kept = None
        return (None, None, *bars, *gate_bars, *state_bars.weights, *momentum_bars, *open_bars)


def _columns(tokens: Tensor, group: Group) -> Tensor:
    """Tokens of a group as (chunks, rows, width, tokens)."""
    cut = tokens[:, group.start : group.stop].unflatten(1, (group.n_chunks, group.length))
    return cut.permute(1, 0, 3, 2).contiguous()


def _rows(columns: Tensor) -> Tensor:
    """Back to (rows, time, width)."""
    return columns.permute(1, 0, 3, 2).flatten(1, 2)


def _cut_gates(gates: MemoryGates, group: Group) -> MemoryGates:
    """Gates of a group, filled up with masked tokens where a chunk's last tile is short."""
    cut = [None if gate is None else gate[..., group.start : group.stop] for gate in gates]
    short = group.n_tiles * group.tile - group.length
    if short:
        step = cut[0]
        if cut[3] is None:
            cut[3] = torch.ones(len(step), 1, step.shape[-1], dtype=torch.bool, device=step.device)
        for i, gate in enumerate(cut):
            if gate is not None:
                chunks = gate.unflatten(-1, (group.n_chunks, group.length))
                cut[i] = torch.nn.functional.pad(chunks, (0, short)).flatten(-2)
    return MemoryGates(*cut)


def _tile_tables(tables: GateTables, index: int, length: int) -> GateTables:
    """Tables of one tile; ``length`` less than the tile's where it is the chunk's short last one."""

    def at(name: str) -> Tensor | None:
        table = getattr(tables, name)
        if table is None:
            return None
        table = table[index]
        if name == "writes":
            return table[..., :length, :length]
        return table[..., :length]

    return GateTables(*(at(name) for name in GateTables._fields))


def run_group(
    group: Group,
    options: ScanOptions,
    state: ScanState,
    anchor: list[Tensor] | None,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: MemoryGates,
    *,
    keep: bool,
    write_last: bool,
) -> tuple[Tensor, ScanState, GroupWork | None]:
    """Chunks of a group, one after the other."""
    q, k, v = (_columns(x, group) for x in tokens)
    gates = _cut_gates(gates, group)
    if keep:
        gates = MemoryGates(
            *(None if gate is None else gate.detach().requires_grad_() for gate in gates[:3]),
            gates.observed,
        )
    with torch.set_grad_enabled(keep):
        tables = gate_tables(gates, n_tiles=group.n_chunks * group.n_tiles, reads=not options.coarse)
    graph = tables
    tables = GateTables(*(None if table is None else table.detach() for table in tables))
    y = torch.empty_like(q)
    chunks = []
    # The state at hand belongs to the caller, or to a group before.
    own = False
    for c in range(group.n_chunks):
        at = state.weights if anchor is None else anchor
        made = chunk_errors(at, k[c], v[c], residual=options.residual)
        reads, states = [], []
        if options.coarse:
            y[c], read = read_at(at, q[c], residual=options.residual)
            reads.append(read)
        for j in range(group.n_tiles):
            span = slice(j * group.tile, min((j + 1) * group.tile, group.length))
            table = _tile_tables(tables, c * group.n_tiles + j, span.stop - span.start)
            x = [tensor[..., span] for tensor in made.inputs]
            e = [tensor[..., span] for tensor in made.errors]
            if not options.coarse:
                y[c][..., span], read = tile_read(
                    state, q[c][..., span], x, e, table, residual=options.residual
                )
                reads.append(read)
            states.append(state)
            if write_last or (c, j) != (group.n_chunks - 1, group.n_tiles - 1):
                state = tile_write(state, x, e, table, in_place=own)
                own = not keep
        if keep:
            chunks.append(ChunkWork(states, at, made, reads))
    work = GroupWork(q, k, v, gates, graph, chunks) if keep else None
    return _rows(y), state, work


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
) -> ScanState:
    """Cotangents of the state before a group; those of its tokens are written into ``bars``."""
    tables = GateTables(*(None if table is None else table.detach() for table in work.tables))
    # Not everything is reached: a first tile has no buffer to push, a last one may not be written.
    table_bars = GateTables(*(None if t is None else torch.zeros_like(t) for t in tables))
    y_bar = _columns(reads_bar, group)
    q_bar, k_bar, v_bar = (torch.empty_like(x) for x in (work.queries, work.keys, work.values))
    for c in range(group.n_chunks - 1, -1, -1):
        states, anchor, made, reads = work.chunks[c]
        x_bars = [torch.zeros_like(x) for x in made.inputs]
        e_bars = [torch.zeros_like(e) for e in made.errors]
        for j in range(group.n_tiles - 1, -1, -1):
            span = slice(j * group.tile, min((j + 1) * group.tile, group.length))
            index, length = c * group.n_tiles + j, span.stop - span.start
            table = _tile_tables(tables, index, length)
            table_bar = _tile_tables(table_bars, index, length)
            x = [tensor[..., span] for tensor in made.inputs]
            e = [tensor[..., span] for tensor in made.errors]
            x_bar = [tensor[..., span] for tensor in x_bars]
            e_bar = [tensor[..., span] for tensor in e_bars]
            state = states[j]
            if state_bars is None:  # Nobody asked for the state after the last tile.
                momentum = state.momentum
                state_bars = ScanState(
                    [torch.zeros_like(weight) for weight in state.weights],
                    None if momentum is None else [torch.zeros_like(s) for s in momentum],
                )
            else:
                state_bars = tile_write_backward(
                    state, x, e, table, state_bars, x_bar, e_bar, table_bar
                )
            if not options.coarse:
                q_bar[c][..., span] = tile_read_backward(
                    state,
                    work.queries[c][..., span],
                    x,
                    e,
                    table,
                    reads[j],
                    y_bar[c][..., span],
                    x_bar,
                    e_bar,
                    state_bars,
                    table_bar,
                    residual=options.residual,
                )
        at_start = state_bars.weights if open_bars is None else open_bars
        if options.coarse:
            q_bar[c] = read_at_backward(
                anchor,
                work.queries[c],
                reads[0],
                y_bar[c],
                at_start,
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
            residual=options.residual,
        )
        work.chunks[c] = None  # type: ignore[call-overload]  # Its memory is wanted now.
    for total, bar in zip(bars, (q_bar, k_bar, v_bar), strict=True):
        total[:, group.start : group.stop] = _rows(bar)
    _gates_backward(group, work, table_bars, gate_bars)
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
