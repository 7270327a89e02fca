"""What the linear memory prepares of many tiles at once, before it knows any state."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.arena import Workspace
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import gate_tables

__all__ = [
    "Group",
    "Lookups",
    "Prepared",
    "from_tiles",
    "gates_backward",
    "plan_groups",
    "prepare_group",
    "to_tiles",
]


class Lookups(NamedTuple):
    """A group's gates. Columns of ``mix`` and rows of ``start``, ``pushed``: keys, then queries.

    A key meets the state before its chunk, a query the state after its token.
    """

    start: Tensor  # (tiles, rows, 2 tokens, 1)
    pushed: Tensor | None  # same shape; None without momentum
    mix: Tensor  # (tiles, rows, tokens, 2 tokens): what each write, a row, weighs in a look-up
    weights: Tensor  # (tiles, rows, tokens, 1): what it weighs in the weights after the tile
    buffer: Tensor | None  # same shape: and in the momentum buffer
    start_end: Tensor  # (tiles, rows, 1, 1): beta
    pushed_end: Tensor | None  # same shape: gamma
    fade_end: Tensor | None  # same shape: rho


class Group(NamedTuple):
    """Neighbouring tiles, prepared together."""

    start: int  # first token
    stop: int
    n_tiles: int
    tile: int  # tokens of a tile; the last may have fewer


class Prepared(NamedTuple):
    """All of a group that takes no state; ``halves`` is 2 with momentum, else 1."""

    tokens: Tensor  # (tiles, rows, 2 tokens, width): keys, then queries
    values: Tensor  # (tiles, rows, tokens, width)
    looked: Tensor  # (tiles, rows, 2 tokens, halves width): ``start`` and ``pushed`` times tokens
    factors: Tensor  # (tiles, rows, tokens, halves width): ``weights`` and ``buffer`` times keys
    scores: Tensor  # (tiles, rows, tokens, 2 tokens)
    weighted: Tensor  # same shape: times ``mix``
    solver: Tensor | None  # (tiles, rows, tokens, tokens): makes errors of misses
    # Of start_end, and with momentum pushed_end and fade_end: one of each tile, (rows, 1, 1).
    ends: list[tuple[Tensor, ...]]
    gates: MemoryGates  # leaves of the graph of ``lookups``, where one was wanted
    lookups: Lookups

    @property
    def tile(self) -> int:
        return self.values.shape[2]


def plan_groups(
    n_rows: int, time: int, *, chunk_size: int, max_tile: int, group_tokens: int
) -> list[Group]:
    """Groups of about ``group_tokens`` tokens times rows, in tiles of at most ``max_tile``."""
    # Tiles as few as they may be, and then as equal as they can be.
    n_tiles = -(-time // (max(max_tile // chunk_size, 1) * chunk_size))
    tile = -(-time // (n_tiles * chunk_size)) * chunk_size
    n_tiles = -(-time // tile)
    at_once = max(group_tokens // (tile * n_rows), 1)
    return [
        Group(i * tile, min((i + at_once) * tile, time), min(at_once, n_tiles - i), tile)
        for i in range(0, n_tiles, at_once)
    ]


def prepare_group(
    group: Group,
    tokens_of: tuple[Tensor, Tensor, Tensor],
    gates: MemoryGates,
    work: Workspace,
    *,
    chunk_size: int,
    graph: bool,
) -> Prepared:
    """Prepare a group, in buffers of ``work``.

    Parameters
    ----------
    group : Group
    tokens_of : tuple of Tensor of shape (rows, time, width)
        Queries, keys and values of the whole sequence.
    gates : MemoryGates
        Of shape (rows, 1, time).
    work : Workspace
    chunk_size : int
    graph : bool
        Whether gradients of the gates will be asked for.
    """
    all_queries, all_keys, all_values = tokens_of
    halves = 1 if gates.log_momentum is None else 2

    def take(name: str, *shape: int) -> Tensor:
        return work.take(name, 0, all_keys, shape)

    n_rows, width, tile = len(all_keys), all_keys.shape[-1], group.tile
    lead = group.n_tiles, n_rows
    tokens = take("tokens", *lead, 2 * tile, width)
    keys = tokens[..., :tile, :]
    values = take("values", *lead, tile, width)
    to_tiles(all_keys, group, keys)
    to_tiles(all_queries, group, tokens[..., tile:, :])
    to_tiles(all_values, group, values)
    gates = _cut_gates(gates, group, graph=graph)
    with torch.set_grad_enabled(graph):
        lookups = _make_lookups(gates, group.n_tiles, chunk_size)
    looked = take("looked", *lead, 2 * tile, halves * width)
    factors = take("factors", *lead, tile, halves * width)
    with torch.no_grad():
        torch.mul(tokens, lookups.start, out=looked[..., :width])
        torch.mul(keys, lookups.weights, out=factors[..., :width])
        if lookups.pushed is not None and lookups.buffer is not None:
            torch.mul(tokens, lookups.pushed, out=looked[..., width:])
            torch.mul(keys, lookups.buffer, out=factors[..., width:])
        flat = tokens.flatten(0, 1)
        scores = take("scores", *lead, tile, 2 * tile)
        torch.bmm(flat[:, :tile], flat.mT, out=scores.flatten(0, 1))
        weighted = take("weighted", *scores.shape)
        torch.mul(scores, lookups.mix, out=weighted)
        solver = None
        if chunk_size < tile:
            # (I + 2 L) E = 2 misses, with L strictly lower: 2 (I + 2 L)^-1 of all tiles.
            lower = 2 * weighted[..., :tile].mT
            twice = 2 * torch.eye(tile, dtype=lower.dtype, device=lower.device)
            solver = torch.linalg.solve_triangular(
                lower, twice.expand_as(lower), upper=False, unitriangular=True
            )
        ends = [end.detach().unbind() for end in lookups[5:] if end is not None]
    return Prepared(tokens, values, looked, factors, scores, weighted, solver, ends, gates, lookups)


def to_tiles(source: Tensor, group: Group, out: Tensor) -> None:
    """Tokens of a group, (rows, time, width), as (tiles, rows, tokens, width), zeros at the end."""
    cut = source[:, group.start : group.stop]
    whole, rest = divmod(cut.shape[1], group.tile)
    if whole:
        tiles = cut[:, : whole * group.tile].unflatten(1, (whole, group.tile))
        out[:whole] = tiles.transpose(0, 1)
    if rest:
        out[whole, :, :rest] = cut[:, whole * group.tile :]
        out[whole, :, rest:] = 0


def from_tiles(tiles: Tensor, group: Group, out: Tensor) -> None:
    """The way back."""
    spans = out[:, group.start : group.stop].split(group.tile, 1)
    for span, tile in zip(spans, tiles.unbind(), strict=True):
        span.copy_(tile[:, : span.shape[1]])


def _cut_gates(gates: MemoryGates, group: Group, *, graph: bool) -> MemoryGates:
    """Gates of a group, filled up with masked tokens; leaves, where a graph is wanted."""
    cut: list[Any] = [None if x is None else x[..., group.start : group.stop] for x in gates]
    short = group.n_tiles * group.tile - (group.stop - group.start)
    if short:
        if cut[3] is None:
            cut[3] = torch.ones_like(cut[0], dtype=torch.bool)
        cut = [None if gate is None else F.pad(gate, (0, short)) for gate in cut]
    if graph:
        cut[:3] = [None if gate is None else gate.detach().requires_grad_() for gate in cut[:3]]
    return MemoryGates(*cut)


def _make_lookups(gates: MemoryGates, n_tiles: int, chunk_size: int) -> Lookups:
    """By the closed form of ``gate_tables``."""
    tables: list[Any] = [
        None if table is None else table.flatten(0, 1)
        for table in gate_tables(gates, n_tiles=n_tiles)
    ]
    start, pushed, writes, weights, buffer, *ends = tables

    def with_before(table: Tensor, first: float) -> Tensor:
        """Columns of the state before each token's chunk, then those after each token."""
        chunks = table.unflatten(-1, (-1, chunk_size))[..., :-1, -1:]
        before = chunks.expand(*chunks.shape[:-1], chunk_size).flatten(-2)
        return torch.cat((F.pad(before, (chunk_size, 0), value=first), table), -1)

    return Lookups(
        with_before(start, 1.0).mT,
        None if pushed is None else with_before(pushed, 0.0).mT,
        with_before(writes, 0.0),
        weights.mT,
        None if buffer is None else buffer.mT,
        *ends,
    )


def gates_backward(group: Group, made: Prepared, lookup_bars: list[Any], bars: list[Any]) -> None:
    pairs = [
        (x, bar)
        for x, bar in zip(made.lookups, lookup_bars, strict=True)
        if x is not None and x.requires_grad
    ]
    leaves = [gate for gate in made.gates[:3] if gate is not None]
    found = torch.autograd.grad([x for x, _ in pairs], leaves, [bar for _, bar in pairs])
    wanted = [bar for bar in bars if bar is not None]
    for bar, part in zip(wanted, found, strict=True):
        bar[..., group.start : group.stop] = part[..., : group.stop - group.start]
