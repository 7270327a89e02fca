"""The memory, many tokens at once: the same results as the reference, and fast."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.memory_state import MemoryGates, MemoryState
from titans_ts.ops.memory_tile import close_tile, open_tile, read_tile, write_tile

__all__ = ["memory_chunked", "slice_gates"]

# Tokens whose writes are kept as factors. Longer tiles touch the weight matrices less often,
# shorter ones attend over less: with heads of 32 to 64 the two cost the same around here.
TILE_SIZE = 64


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
    need_state: bool = True,
) -> tuple[Tensor, MemoryState | None]:
    """Write tokens into the memory and read it after each, as ``memory_reference`` does.

    Gradients are taken where a chunk starts (Titans, section 3.2), so the chunk size is a part of
    the model. What is done at once is more: a tile of many chunks, whose reads are one masked
    product (see README.md).

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
    need_state : bool, default True
        False: return None for the state and spare the work of making it.

    Returns
    -------
    reads : Tensor of shape (batch, heads, time, width)
    state : MemoryState or None
        Memory after the last token.
    """
    if keys.shape[-2] == 0:
        return queries, state if need_state else None
    q, k, v = (tensor.transpose(0, 1).contiguous() for tensor in (queries, keys, values))
    n, start, reads = k.shape[-2], 0, []
    after: MemoryState | None = state
    # Tiles end where chunks end, so that only the first can start inside a chunk.
    size = max(TILE_SIZE // chunk_size, 1) * chunk_size
    while start < n:
        assert after is not None
        stop = min(start + size - after.position, n)
        now = slice(start, stop)
        tile = open_tile(after)
        tile = write_tile(
            tile,
            k[..., now, :],
            v[..., now, :],
            slice_gates(gates, now),
            chunk_size=chunk_size,
            residual=residual,
        )
        reads.append(read_tile(tile, q[..., now, :], range(stop - start), residual=residual))
        start = stop
        last = start == n and not need_state
        after = None if last else close_tile(tile, chunk_size=chunk_size)
    out = reads[0] if len(reads) == 1 else torch.cat(reads, dim=-2)
    return out.transpose(0, 1), after
