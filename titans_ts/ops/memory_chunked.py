"""The memory, many tokens at once: the same results as the reference, and fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from titans_ts.ops.exporting import is_exporting
from titans_ts.ops.memory_chunks import ScanOptions, scan_chunks
from titans_ts.ops.memory_linear import linear_memory
from titans_ts.ops.memory_state import MemoryGates, MemoryState
from titans_ts.ops.memory_step import memory_step, rates_of_gates
from titans_ts.ops.memory_tile import close_tile, open_tile, read_after_each, write_tile
from titans_ts.ops.memory_triton import supports, triton_available, triton_scan

__all__ = ["memory_chunked", "slice_gates", "solves"]

# Tokens whose writes are kept as factors. Longer tiles touch the weight matrices less often,
# shorter ones attend over less: with heads of 32 to 64 the two cost the same around here.
TILE_SIZE = 64

# Up to here, tiles, from a state that all sequences of a batch share (but for linear memories of
# many chunks, see ``solves``): no matrix is made for any of them in the first tile.
SHORT = 2 * TILE_SIZE
# Chunks from which on the triangular solve of a linear memory is worth its preparation.
LEAST_SOLVED = 16


def slice_gates(gates: MemoryGates, time: slice) -> MemoryGates:
    """Gates of a stretch of tokens."""

    def at(gate: Tensor | None) -> Tensor | None:
        return None if gate is None else gate[..., time]

    step_size, *others = gates
    return MemoryGates(step_size[..., time], *map(at, others))


def memory_chunked(
    state: MemoryState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool = False,
    coarse: bool = False,
    first_order: bool = False,
    need_state: bool = True,
    save_every: int | None = None,
    product_dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, MemoryState | None]:
    """Write tokens into the memory and read it after each, as ``memory_reference`` does.

    Gradients are taken where a chunk starts (Titans, section 3.2), so the chunk size is a part of
    the model. How it is computed is not: short sequences as tiles of many chunks, whose writes
    are kept as factors; long ones by a scan over chunks (see README.md).

    Parameters
    ----------
    state : MemoryState
        Memory before the first token; left untouched.
    queries, keys, values : Tensor of shape (batch, heads, time, width)
    gates : MemoryGates
        For the same tokens.
    chunk_size : int
        Tokens that share one gradient point.
    residual : bool, default False
        The memory net is ``k + LayerNorm(mlp(k))``.
    coarse : bool, default False
        One step a chunk: all its tokens read the memory that the chunk found, and the momentum
        and forgetting of its first token act once, at about half the cost.
    first_order : bool, default False
        Outer gradients do not pass through the weights at which inner gradients were taken.
    need_state : bool, default True
        False: return None for the state and spare the work of making it.
    save_every : int, optional
        For the backward pass, keep the state before every so many chunks and make the rest
        again. Default: keep all work while it is small, else as many states as keep memory low.
    product_dtype : torch.dtype, default torch.float32
        bfloat16: a GPU's kernel may multiply in it, and adds up, and keeps states, in float32.
        Elsewhere products are those of the tokens' own dtype.

    Returns
    -------
    reads : Tensor of shape (batch, heads, time, width)
    state : MemoryState or None
        Memory after the last token.
    """
    n = keys.shape[-2]
    if n == 0:
        return queries, state if need_state else None
    semantics: dict[str, Any] = {"chunk_size": chunk_size, "residual": residual, "coarse": coarse}
    if n == 1 and not torch.is_grad_enabled():
        lead, rates = keys.shape[:2], rates_of_gates(gates)
        pairs = torch.cat((queries, keys), -2).flatten(0, 1)
        read, after = memory_step(state, pairs, values.flatten(0, 1), rates, **semantics)
        return read.unflatten(0, lead), after
    state = state.settled()
    # A graph is made of tiles: they are plain operations, where a scan works in memory of its own.
    # Where each sequence has matrices of its own, a scan takes a CPU 0.6 to 0.9 times as long as
    # tiles of 64 tokens, with chunks of 1 to 64.
    carried = bool(state.momentum) or len(state.weights[0]) > 1
    own = carried and keys.is_cpu and len(state.weights) > 1
    others = {"residual": residual, "coarse": coarse, "first_order": first_order}
    short = n < TILE_SIZE if own else n <= SHORT
    short = short and not solves(n, chunk_size, len(state.weights), **others)
    short = short or is_exporting()
    form: Callable[..., tuple[Tensor, MemoryState | None]] = _by_tiles if short else _by_scan
    linear = len(state.weights) == 1 and not any(others.values())
    if form is _by_scan and linear and chunk_size <= TILE_SIZE:
        form = partial(_by_whole_chunks, _solve)
    elif form is _by_scan and triton_available(keys.device):
        covered = supports(list(state.weights), chunk_size, **others, product_dtype=product_dtype)
        if covered and keys.dtype == torch.float32:
            kernel = partial(triton_scan, save_every=save_every, product_dtype=product_dtype)
            form = partial(_by_whole_chunks, kernel)
    if form is not _by_tiles and torch.compiler.is_compiling():
        # These write into buffers of their own, which no compiler can follow: it compiles what is
        # before and behind them. Not a decorator, which would import the compiler for everybody.
        form = torch.compiler.disable(form)
    return form(
        state,
        queries,
        keys,
        values,
        gates,
        **semantics,
        first_order=first_order,
        need_state=need_state,
        save_every=save_every,
    )


def solves(
    n_tokens: int,
    chunk_size: int,
    n_layers: int,
    *,
    residual: bool,
    coarse: bool,
    first_order: bool,
) -> bool:
    """Whether so few tokens go by the triangular solve of a linear memory, and not by tiles.

    From sixteen chunks on that is faster on a CPU: tiles go chunk by chunk (1.7 to 10 times as long
    at chunks of 1, as long at chunks of 4), the solve does not. A GPU has as many fewer kernels. A
    graph is made of tiles: they are plain operations.
    """
    if residual or coarse or first_order or n_layers > 1:
        return False
    if is_exporting() or torch.compiler.is_compiling():
        return False
    return n_tokens >= LEAST_SOLVED * chunk_size and chunk_size <= TILE_SIZE


def _by_tiles(
    state: MemoryState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool,
    coarse: bool,
    first_order: bool,
    need_state: bool,
    save_every: int | None,
) -> tuple[Tensor, MemoryState | None]:
    """Tiles of many chunks; nothing is made again, so ``save_every`` says nothing here."""
    q, k, v = (tensor.transpose(0, 1).contiguous() for tensor in (queries, keys, values))
    n, start, reads = k.shape[-2], 0, []
    after: MemoryState | None = state
    # Tiles end where chunks end, so that only the first can start inside a chunk.
    size = max(TILE_SIZE // chunk_size, 1) * chunk_size
    while start < n:
        assert after is not None
        stop = min(start + size - after.position, n)
        now = slice(start, stop)
        tile = write_tile(
            open_tile(after),
            k[..., now, :],
            v[..., now, :],
            slice_gates(gates, now),
            chunk_size=chunk_size,
            residual=residual,
            coarse=coarse,
            first_order=first_order,
        )
        reads.append(
            read_after_each(
                tile,
                q[..., now, :],
                0,
                chunk_size=chunk_size,
                residual=residual,
                coarse=coarse,
            )
        )
        start = stop
        last = start == n and not need_state
        after = None if last else close_tile(tile, chunk_size=chunk_size)
    out = reads[0] if len(reads) == 1 else torch.cat(reads, dim=-2)
    return out.transpose(0, 1), after


def _by_scan(
    state: MemoryState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    residual: bool,
    coarse: bool,
    first_order: bool,
    need_state: bool,
    save_every: int | None,
) -> tuple[Tensor, MemoryState | None]:
    """A scan over chunks, each with matrices of its own."""
    batch, n_heads, n, _ = keys.shape
    options = ScanOptions(
        chunk_size,
        state.position,
        residual,
        coarse,
        first_order,
        save_every,
        need_state,
        len(state.weights),
        bool(state.momentum),
    )
    reads, weights, momentum, opened = scan_chunks(
        _as_rows(state.weights, batch),
        _as_rows(state.momentum, batch),
        _as_rows(state.anchor, batch) if state.position else [],
        queries.flatten(0, 1),
        keys.flatten(0, 1),
        values.flatten(0, 1),
        _gate_rows(gates, n_heads),
        options,
    )
    lead = batch, n_heads
    out = reads.unflatten(0, lead)
    if not need_state:
        return out, None
    position = (state.position + n) % chunk_size
    after = _from_rows(weights, lead)
    if position == 0:
        anchor = after
    elif opened:
        anchor = _from_rows(opened, lead)
    else:  # The open chunk is the one that was open, or that started, before the first token.
        anchor = state.anchor if state.position else state.weights
    return out, MemoryState(after, _from_rows(momentum, lead), anchor, position)


WholeChunks = Callable[..., tuple[Tensor, list[Tensor] | None, list[Tensor] | None]]


def _by_whole_chunks(
    scan: WholeChunks,
    state: MemoryState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    need_state: bool,
    **options: Any,
) -> tuple[Tensor, MemoryState | None]:
    """By a form that takes whole chunks only; open ones at both ends go by tiles."""
    batch, n_heads, n, _ = keys.shape
    first = min(-state.position % chunk_size, n)
    last = n - (n - first) % chunk_size
    reads: list[Tensor] = []
    after = state

    def by_tiles(start: int, stop: int, need_state: bool) -> MemoryState | None:
        now = slice(start, stop)
        read, reached = _by_tiles(
            after,
            queries[..., now, :],
            keys[..., now, :],
            values[..., now, :],
            slice_gates(gates, now),
            chunk_size=chunk_size,
            need_state=need_state,
            **options,
        )
        reads.append(read)
        return reached

    if first:
        made = by_tiles(0, first, True)
        assert made is not None
        after = made
    if last > first:
        now, lead = slice(first, last), (batch, n_heads)
        needed = need_state or last < n
        read, weights, momentum = scan(
            _as_rows(after.weights, batch),
            _as_rows(after.momentum, batch) or None,
            *(tensor[..., now, :].flatten(0, 1) for tensor in (queries, keys, values)),
            _gate_rows(slice_gates(gates, now), n_heads),
            chunk_size=chunk_size,
            need_state=needed,
        )
        reads.append(read.unflatten(0, lead))
        if needed:
            assert weights is not None
            reached = _from_rows(weights, lead)
            after = MemoryState(reached, _from_rows(momentum or [], lead), reached, 0)
    ends: MemoryState | None = after
    if last < n:
        ends = by_tiles(last, n, need_state)
    return torch.cat(reads, dim=-2), ends if need_state else None


def _solve(
    weights: list[Tensor],
    momentum: list[Tensor] | None,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    need_state: bool,
) -> tuple[Tensor, list[Tensor] | None, list[Tensor] | None]:
    """A linear memory, exactly, by one triangular solve."""
    read, weight, buffer = linear_memory(
        weights[0],
        None if momentum is None else momentum[0],
        queries,
        keys,
        values,
        gates,
        chunk_size=chunk_size,
        need_state=need_state,
    )
    return read, None if weight is None else [weight], None if buffer is None else [buffer]


def _as_rows(matrices: tuple[Tensor, ...], batch: int) -> list[Tensor]:
    """(batch or 1, heads, ...) to (batch * heads, ...)."""
    return [matrix.expand(batch, -1, -1, -1).flatten(0, 1) for matrix in matrices]


def _from_rows(matrices: list[Tensor], lead: tuple[int, int]) -> tuple[Tensor, ...]:
    return tuple(matrix.unflatten(0, lead) for matrix in matrices)


def _gate_rows(gates: MemoryGates, n_heads: int) -> MemoryGates:
    def rows(gate: Tensor | None) -> Any:
        return None if gate is None else gate.expand(-1, n_heads, -1, -1).flatten(0, 1)

    return MemoryGates(*map(rows, gates))
