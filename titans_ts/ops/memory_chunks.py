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
    Tile,
    TileReads,
    Workspace,
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


class _Slots:
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


def plan_groups(n_tokens: int, chunk_bytes: int, options: ScanOptions) -> tuple[list[Group], bool]:
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
        every = -(-GROUP_TOKENS // size)
        if not keep:
            # About as many groups as chunks in a group, so that neither outgrows the other.
            every = max(round(n_full**0.5), every)
    for first in range(0, n_full, max(every, 1)):
        groups.append(group(start + first * size, min(every, n_full - first), size))
    if rest:
        groups.append(group(start + n_full * size, 1, rest))
    return groups, keep


# Up to here everything is kept: making it again would cost time, and memory is no question yet.
KEEP_BYTES = 2**28
# Of a group: enough for its tables to be made in one go, and few enough for them to stay cached.
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
    # Inside of apply gradients are always off.
    training = torch.is_grad_enabled()
    out = _Scan.apply(
        options,
        training,
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
    def forward(
        ctx: Any, options: ScanOptions, training: bool, observed: Tensor | None, *tensors: Any
    ) -> Any:
        training = training and any(ctx.needs_input_grad)
        reads = torch.empty_like(tensors[0])
        n_rows, parts = len(reads), []
        size = _rows_at_once(tensors[6 : 6 + options.n_layers])
        for first in range(0, n_rows, size):
            rows = slice(first, first + size)
            scan = _RowScan(options, _Inputs.cut(options, observed, tensors, rows), training)
            parts.append(scan)
            scan.run(reads[rows])
        after = [torch.cat(x) if len(x) > 1 else x[0] for x in zip(*(s.after for s in parts))]
        if training:
            ctx.options, ctx.size, ctx.parts = options, size, parts
            ctx.save_for_backward(observed, *tensors)
            for scan in parts:
                scan.inputs = None
        return (reads, *after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Any) -> Any:
        options: ScanOptions = ctx.options
        observed, *tensors = ctx.saved_tensors
        bars = [None if x is None else torch.empty_like(x) for x in tensors]
        for number, scan in enumerate(ctx.parts):
            rows = slice(number * ctx.size, (number + 1) * ctx.size)
            scan.inputs = _Inputs.cut(options, observed, tensors, rows)
            found = scan.run_backward(
                reads_bar[rows],
                [bar[rows] for bar in after_bars],
                [None if bar is None else bar[rows] for bar in bars[:6]],
            )
            for bar, part in zip(bars[6:], found, strict=True):
                bar[rows] = part
        ctx.parts = None
        return (None, None, None, *bars)


# Of the states that are worked on at a time. A core's own cache holds them and what they meet;
# rows (heads and sequences) that fit go together, others one after the other.
CACHE_BYTES = 2**19


def _rows_at_once(weights: tuple[Tensor, ...]) -> int:
    if weights[0].device.type != "cpu":
        return len(weights[0])
    per_row = sum(2 * weight[0].numel() * weight.element_size() for weight in weights)
    return torch.get_num_threads() * max(CACHE_BYTES // per_row, 1)


class _Inputs(NamedTuple):
    """Arguments of a scan, of some of its rows."""

    tokens: tuple[Tensor, Tensor, Tensor]  # queries, keys, values
    gates: MemoryGates
    state: ScanState
    anchor: list[Tensor] | None

    @classmethod
    def cut(
        cls, options: ScanOptions, observed: Tensor | None, tensors: Any, rows: slice
    ) -> _Inputs:
        observed = None if observed is None else observed[rows]
        cut = [None if tensor is None else tensor[rows] for tensor in tensors]
        n = options.n_layers
        weights, rest = cut[6 : 6 + n], cut[6 + n :]
        momentum = rest[:n] if options.has_momentum else None
        anchor = rest[-n:] if options.position else None
        state = ScanState(weights, momentum)
        return cls(tuple(cut[:3]), MemoryGates(*cut[3:6], observed), state, anchor)


class _RowScan:
    """The scan of some rows: forward, and once more backward."""

    def __init__(self, options: ScanOptions, inputs: _Inputs, training: bool) -> None:
        self.options, self.inputs = options, inputs
        keys, weights = inputs.tokens[1], inputs.state.weights
        work = _work_bytes(weights, options.chunk_size)
        self.groups, keep = plan_groups(keys.shape[1], work, options)
        self.training, self.keep = training, keep and training
        self.kept: list[GroupWork] = []
        self.starts: list[ScanState] = []
        self.after: list[Tensor] = []

    def run(self, reads: Tensor) -> None:
        """Write the reads, shape (rows, time, width); the state comes to lie in ``after``."""
        options, inputs = self.options, self.inputs
        state, slots = inputs.state, _Slots(reuse=not self.keep)
        for group in self.groups:
            is_last = group is self.groups[-1]
            if self.training and not self.keep:
                if group.start:
                    state = state.clone()  # Its buffers are about to be used again.
                self.starts.append(state)
            opened: list[Tensor] = []
            if is_last and group.start and (group.stop + options.position) % options.chunk_size:
                opened = [weight.clone() for weight in state.weights]
            state, work = run_group(
                group,
                options,
                state,
                None if group.start else inputs.anchor,
                inputs.tokens,
                inputs.gates,
                reads,
                slots,
                keep=self.keep,
                write_last=options.need_state or not is_last,
            )
            slots.next_group()
            if work is not None:
                self.kept.append(work)
        if options.need_state:
            if self.keep:
                state = state.clone()
            self.after = [*state.weights, *(state.momentum or ()), *opened]

    def run_backward(
        self, reads_bar: Tensor, after_bars: list[Tensor], bars: list[Tensor | None]
    ) -> list[Tensor]:
        """Cotangents of the state; those of tokens and gates are written into ``bars``."""
        options, inputs, n = self.options, self.inputs, self.options.n_layers
        state_bars, opened_bars = None, None
        if options.need_state:
            own = [bar.clone() for bar in after_bars]
            n_momentum = 0 if inputs.gates.log_momentum is None else n
            state_bars = ScanState(own[:n], own[n : n + n_momentum] or None)
            opened_bars = own[n + n_momentum :] or None
        open_bars = [torch.zeros_like(weight) for weight in inputs.anchor or ()]
        reads = torch.empty_like(inputs.tokens[0])  # Made again, and not wanted.
        slots, scratch = _Slots(reuse=True, apart=True), Workspace(keep=True)
        for index in range(len(self.groups) - 1, -1, -1):
            group = self.groups[index]
            anchor = None if group.start else inputs.anchor
            if self.keep:
                work = self.kept.pop()
            else:
                _, work = run_group(
                    group,
                    options,
                    self.starts.pop(),
                    anchor,
                    inputs.tokens,
                    inputs.gates,
                    reads,
                    slots,
                    keep=True,
                    write_last=False,
                )
                slots.next_group()
            state_bars = run_group_backward(
                group,
                options,
                work,
                reads_bar,
                state_bars,
                # What the open chunk's start is asked for besides comes in with its group.
                opened_bars if index == len(self.groups) - 1 else None,
                None if anchor is None else open_bars,
                bars[:3],
                bars[3:],
                scratch,
            )
        momentum_bars = (state_bars.momentum or []) if options.has_momentum else []
        return [*state_bars.weights, *momentum_bars, *open_bars]


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


def run_group(
    group: Group,
    options: ScanOptions,
    state: ScanState,
    anchor: list[Tensor] | None,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: MemoryGates,
    reads: Tensor,
    slots: _Slots,
    *,
    keep: bool,
    write_last: bool,
) -> tuple[ScanState, GroupWork | None]:
    """Chunks of a group, one after the other; what they read is written into ``reads``."""
    q, k, v = (_columns(x, group) for x in tokens)
    gates = _cut_gates(gates, group)
    if keep:
        gates = MemoryGates(
            *(None if gate is None else gate.detach().requires_grad_() for gate in gates[:3]),
            gates.observed,
        )
    with torch.set_grad_enabled(keep):
        tables = gate_tables(
            gates, n_tiles=group.n_chunks * group.n_tiles, reads=not options.coarse
        )
    graph = tables
    tables = GateTables(*(None if table is None else table.detach() for table in tables))
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
    tables = GateTables(*(None if table is None else table.detach() for table in work.tables))
    # Not everything is reached: a first tile has no buffer to push, a last one may not be written.
    table_bars = GateTables(*(None if t is None else torch.zeros_like(t) for t in tables))
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
