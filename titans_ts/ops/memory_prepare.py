"""A group of chunks before its scan: everything that takes no state, for all tiles at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.arena import Arena
from titans_ts.ops.memory_coarse import CoarseWork, coarse_tables
from titans_ts.ops.memory_fold import Fold, make_fold
from titans_ts.ops.memory_scan import LayerTables, spread
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import TableWork, make_tables

__all__ = ["Group", "Prepared", "ScanOptions", "padded", "prepare_group", "to_tiles"]


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
    def tiles_per_chunk(self) -> int:
        return -(-self.length // self.tile)

    @property
    def n_tiles(self) -> int:
        return self.n_chunks * self.tiles_per_chunk

    @property
    def padded(self) -> int:
        """Length of a chunk whose last tile is filled up with masked tokens."""
        return self.tiles_per_chunk * self.tile

    def span(self, number: int) -> slice:
        """Tokens of a tile, counted from its chunk's start."""
        return slice(number * self.tile, (number + 1) * self.tile)


class Prepared(NamedTuple):
    """What takes no state: the tokens in tiles, the gates as numbers, the first layer's factors."""

    queries: Tensor  # (rows, padded time, width)
    keys: Tensor
    values: Tensor
    table_work: TableWork | CoarseWork
    fold: Fold | None  # momentum, where it is folded into the weights
    writes: Tensor | None  # (tiles, layers, rows, tokens, tokens); None: coarse
    tables: list[list[LayerTables]]  # of each tile and layer
    reads: Tensor | None  # (tiles, layers, rows, tokens, parts, 1); None: coarse
    ends: Tensor  # same shape
    looked: Tensor | None  # (tiles, rows, tokens, parts * width): queries, spread; None: coarse
    scores: Tensor | None  # (tiles, rows, tokens, tokens): keys times queries; None: coarse
    weighted: Tensor | None  # those times what each write weighs
    factors: Tensor  # (tiles, rows, tokens, parts * width): keys, spread
    both: Tensor | None  # (chunks, rows, 2 * padded length, width): keys, then queries; coarse only


def to_tiles(tokens: Tensor, tile: int) -> Tensor:
    """(rows, time, ...) as (tiles, rows, tile, ...), a view."""
    return tokens.unflatten(1, (-1, tile)).transpose(0, 1)


def prepare_group(
    group: Group,
    options: ScanOptions,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: MemoryGates,
    arena: Arena,
    *,
    n_parts: int,
) -> Prepared:
    """Everything of a group that takes no state."""
    queries, keys, values = (padded(x[:, group.start : group.stop], group, arena) for x in tokens)
    gates = _cut_gates(gates, group)
    reads = writes = fold = None
    table_work: TableWork | CoarseWork
    if options.coarse:
        starts = _starts(group, options, gates.step_size.device)
        coarse = coarse_tables(gates, starts)
        table_work = CoarseWork(gates, starts, coarse)
        ends, moves = coarse.steps, list(coarse[1:])
    else:
        made, table_work = make_tables(gates, n_tiles=group.n_tiles, arena=arena)
        ends = _columns(made.weights, made.buffer)
        reads, writes = _columns(made.start, made.pushed), made.writes
        moves = [made.start_end, made.pushed_end, made.fade_end]
        fold = make_fold(gates, table_work, group.n_tiles)
        if fold is not None:
            reads = _columns(made.start, fold.pushed[..., None, :])
            moves[1] = fold.kappa
    early = 0 if fold is None else fold.early
    tables = _per_tile(reads, writes, ends, moves, _recent(ends), early)

    def room(width: int) -> Tensor:
        rows = keys.shape[0]
        return arena.take(group.n_tiles, rows, group.tile, width, dtype=keys.dtype)

    width = keys.shape[-1]
    key_tiles = to_tiles(keys, group.tile)
    factors = spread(key_tiles, ends[:, 0], room(ends.shape[-2] * width))
    looked = scores = weighted = both = None
    if reads is not None:
        assert writes is not None
        query_tiles = to_tiles(queries, group.tile)
        looked = spread(query_tiles, reads[:, 0], room(n_parts * width))
        scores = torch.matmul(key_tiles, query_tiles.mT, out=room(group.tile))
        weighted = torch.mul(scores, writes[:, 0], out=room(group.tile))
    else:
        both = arena.take(group.n_chunks, len(keys), 2 * group.padded, width, dtype=keys.dtype)
        halves = both.split(group.padded, 2)
        halves[0].copy_(to_tiles(keys, group.padded))
        halves[1].copy_(to_tiles(queries, group.padded))
    return Prepared(
        queries, keys, values, table_work, fold, writes, tables, reads, ends, looked, scores,
        weighted, factors, both,
    )  # fmt: skip


def padded(tokens: Tensor, group: Group, arena: Arena) -> Tensor:
    """Tokens of a group, (rows, time, width), with zeros where a chunk's last tile is short."""
    if group.padded == group.length:
        return tokens
    rows, _, width = tokens.shape
    out = arena.take(rows, group.n_chunks, group.padded, width, dtype=tokens.dtype)
    out[:, :, : group.length] = tokens.unflatten(1, (group.n_chunks, group.length))
    out[:, :, group.length :] = 0
    return out.flatten(1, 2)


def _cut_gates(gates: MemoryGates, group: Group) -> MemoryGates:
    """Gates of a group, filled up with masked tokens where a chunk's last tile is short."""
    cut: list[Any] = [
        None if gate is None else gate[..., group.start : group.stop] for gate in gates
    ]
    short = group.padded - group.length
    if short:
        step = cut[0]
        if cut[3] is None:
            cut[3] = torch.ones(len(step), 1, step.shape[-1], dtype=torch.bool, device=step.device)
        for i, gate in enumerate(cut):
            if gate is not None:
                chunks = gate.unflatten(-1, (group.n_chunks, group.length))
                cut[i] = F.pad(chunks, (0, short)).flatten(-2)
    return MemoryGates(*cut)


def _columns(weight: Tensor, buffer: Tensor | None) -> Tensor:
    """(..., 1, tokens) of both, as (..., tokens, parts, 1)."""
    parts = [weight] if buffer is None else [weight, buffer]
    return torch.stack([part.mT for part in parts], -2)


def _starts(group: Group, options: ScanOptions, device: torch.device) -> Tensor:
    """Which tiles start a chunk: none of one that was open before."""
    tile = torch.arange(group.n_tiles, device=device)
    opened = options.position > 0 and group.start == 0
    return (tile % group.tiles_per_chunk == 0) & (not opened)


def _recent(ends: Tensor) -> int:
    """How many of a tile's last writes weigh anything in the momentum buffer after it."""
    n = ends.shape[-3]
    # Asked of a GPU, this question would have to be waited for.
    if ends.shape[-2] == 1 or ends.device.type != "cpu":
        return n
    shares = ends[..., 1, 0]
    most = shares.amax(-1, keepdim=True).clamp_min_(torch.finfo(shares.dtype).tiny)
    profile = (shares / most).flatten(0, -2).amax(0).tolist()
    least = 0.01 * torch.finfo(shares.dtype).eps
    older = next((i for i, share in enumerate(profile) if share > least), n)
    # Whole vectors of the processor; a little less is not worth a product of its own.
    recent = -(-(n - older) // 16) * 16
    return recent if recent <= 0.75 * n else n


def _per_tile(
    reads: Tensor | None,
    writes: Tensor | None,
    ends: Tensor,
    moves: list[Tensor | None],
    recent: int,
    early: int,
) -> list[list[LayerTables]]:
    n_layers, n_rows = ends.shape[1:3]
    given = [move for move in moves if move is not None]
    each: list[Any]
    if n_rows == 1 and ends.device.type == "cpu":
        each = torch.stack([move.flatten(0, 2).flatten() for move in given], -1).tolist()
    else:
        each = list(zip(*(move.flatten(0, 1).unbind() for move in given), strict=True))

    def split(table: Tensor | None) -> Any:
        # One call for all of them: the scan asks for thousands.
        return [None] * len(each) if table is None else table.flatten(0, 1).unbind()

    parts = zip(split(reads), split(writes), split(ends), each, strict=True)
    flat = [LayerTables(*part, recent, early) for part in parts]
    return [flat[i : i + n_layers] for i in range(0, len(flat), n_layers)]
