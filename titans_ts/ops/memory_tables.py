"""The gates of a stretch of tokens as numbers: what each write weighs in each later memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_table_blocks import (
    BlockWork,
    block_tables,
    block_tables_backward,
    in_blocks,
)
from titans_ts.ops.memory_table_decays import (
    add_exponents,
    decay,
    least_log,
    ones_above,
    sums_from_here,
)
from titans_ts.ops.once import first_derivatives_only

__all__ = [
    "GateTables",
    "TableWork",
    "gate_tables",
    "in_tiles",
    "make_tables",
    "reversed_sums",
    "tables_backward",
]


class GateTables(NamedTuple):
    """Weights and momentum buffer inside and at the end of tiles, as combinations.

    With G_i the gradient of token i of a tile, and W_0, S_0 the state at the tile's start::

        W_t = start_t W_0 + pushed_t S_0 - sum_i writes_it G_i
        W   = start_end W_0 + pushed_end S_0 - sum_i weights_i G_i      after the tile
        S   = fade_end S_0 - sum_i buffer_i G_i

    See README.md for the derivation.
    """

    start: Tensor  # (tiles, layers, rows, 1, tokens): B
    pushed: Tensor | None  # same shape: D; None without momentum
    writes: Tensor  # (tiles, layers, rows, tokens, tokens): A transposed, zero for i > t
    weights: Tensor  # (tiles, layers, rows, 1, tokens): a, the last column of ``writes``
    buffer: Tensor | None  # same shape: r; None without momentum
    start_end: Tensor  # (tiles, layers, rows, 1, 1): beta
    pushed_end: Tensor | None  # same shape: gamma
    fade_end: Tensor | None  # same shape: rho


class TableWork(NamedTuple):
    """What the derivative of the tables needs; with one row more than tokens, see ``carried``."""

    start: Tensor  # (tiles, layers, rows, tokens)
    fade: Tensor | None  # (..., tokens, tokens): F; None: nothing is forgotten, nothing masked
    carried: Tensor | None  # (..., tokens + 1, tokens): H without step sizes; None: no momentum
    steps: Tensor  # (..., tokens + 1, 1), the first one 1
    forgets: bool
    blocks: BlockWork | None = None  # in the place of the matrices, where tiles are long


def make_tables(gates: MemoryGates, *, n_tiles: int, arena: Arena) -> tuple[GateTables, TableWork]:
    """Tables of equally long tiles, without derivatives.

    With K and M the running sums of log keep and log momentum inside a tile::

        F_st = exp(K_t - K_s) observed_s,  H_is = step_i exp(M_s - M_i),  writes = H F

    and zeros where t comes before s, or s before i. One row more of H, before the others, without
    a step size and with M = 0 in the place of M_i, says what is left of the buffer at the tile's
    start: pushed. Of long tiles the product is made in blocks (``memory_table_blocks``).

    Parameters
    ----------
    gates : MemoryGates
        Of shape (rows, layers, n_tiles * tokens); ``observed`` (rows, 1, n_tiles * tokens).
    n_tiles : int
    arena : Arena
        Where the tables lie.

    Returns
    -------
    tables : GateTables
    work : TableWork
        For :func:`tables_backward`.
    """
    step = in_tiles(gates.step_size, n_tiles)
    n, lead = step.shape[-1], step.shape[:-1]

    def take(*shape: int) -> Tensor:
        return arena.take(*lead, *shape, dtype=step.dtype)

    steps = take(n + 1, 1)
    steps[..., 0, 0], steps[..., 1:, 0] = 1.0, step
    start = take(n)
    forgets = gates.log_keep is not None
    if gates.log_keep is None:
        start.fill_(1.0)
    else:
        keep = in_tiles(gates.log_keep, n_tiles).cumsum(-1)
        torch.exp(keep.clamp(min=least_log(keep)), out=start)
    start_row = start[..., None, :]
    if gates.log_momentum is not None and in_blocks(n):
        summed, column, blocks = block_tables(
            steps,
            in_tiles(gates.log_momentum, n_tiles),
            None if gates.log_keep is None else in_tiles(gates.log_keep, n_tiles),
            None if gates.observed is None else in_tiles(gates.observed, n_tiles),
            arena,
        )
        work = TableWork(start, None, None, steps, forgets, blocks)
        return _with_momentum(start_row, summed, column), work
    upper, fade = ones_above(n, n, step), None
    if gates.log_keep is not None:
        fade = decay(keep, keep, upper, take(n, n))
    if gates.log_momentum is None:
        written = take(n, n)
        torch.mul(upper if fade is None else fade, steps[..., 1:, :], out=written)
        tables = GateTables(
            start_row,
            None,
            written,
            written[..., -1][..., None, :],
            None,
            start_row[..., -1:],
            None,
            None,
        )
        return tables, TableWork(start, fade, None, steps, forgets)
    if gates.observed is not None:
        # A masked token keeps the momentum buffer, but does not add it to the weights.
        seen = in_tiles(gates.observed, n_tiles)[..., None]
        if fade is None:
            fade = take(n, n).copy_(upper.expand(*lead, -1, -1))
        fade.mul_(seen)
    momentum = in_tiles(gates.log_momentum, n_tiles).cumsum(-1)
    since = take(n + 1)
    since[..., 0], since[..., 1:] = 0.0, momentum
    carried = decay(since, momentum, ones_above(n + 1, n, step), take(n + 1, n))
    scaled, summed = torch.mul(carried, steps, out=take(n + 1, n)), take(n + 1, n)
    torch.matmul(scaled, upper if fade is None else fade, out=summed)
    tables = _with_momentum(start_row, summed, scaled[..., -1])
    return tables, TableWork(start, fade, carried, steps, forgets)


def _with_momentum(start: Tensor, summed: Tensor, column: Tensor) -> GateTables:
    """Tables from the product and the last column of H."""
    pushed, written = summed[..., :1, :], summed[..., 1:, :]
    return GateTables(
        start,
        pushed,
        written,
        written[..., -1][..., None, :],
        column[..., None, 1:],
        start[..., -1:],
        pushed[..., -1:],
        column[..., :1, None],
    )


def tables_backward(
    work: TableWork, bars: GateTables, summed_bar: Tensor, arena: Arena
) -> list[Tensor | None]:
    """Cotangents of step sizes, log momentum and log keep, of shape (rows, layers, time).

    Parameters
    ----------
    work : TableWork
    bars : GateTables
        Of the tables.
    summed_bar : Tensor of shape (tiles, layers, rows, tokens + 1, tokens)
        Written, save that its last rows are those of ``bars.writes`` already. Without momentum it
        has as many rows as tokens.
    arena : Arena
        For what lies between.
    """
    start, fade, carried, steps, forgets, blocks = work
    lead, n = start.shape[:-1], start.shape[-1]
    summed_bar[..., -n:, -1] += bars.weights[..., 0, :]
    keep_bar = torch.zeros_like(start) if forgets else None
    if keep_bar is not None:
        torch.mul(start, bars.start[..., 0, :], out=keep_bar)
        keep_bar[..., -1] += start[..., -1] * bars.start_end[..., 0, 0]
    if carried is None and blocks is None:
        product = summed_bar.mul_(ones_above(n, n, start) if fade is None else fade)
        step_bar = product.sum(-1)
        add_exponents(keep_bar, product.mul_(steps[..., 1:, :]))
        return [_out_of_tiles(step_bar), None, _optional_sums(keep_bar)]
    assert bars.buffer is not None
    assert bars.pushed_end is not None
    assert bars.fade_end is not None
    assert bars.pushed is not None
    summed_bar[..., 0, :] = bars.pushed[..., 0, :]
    summed_bar[..., 0, -1] += bars.pushed_end[..., 0, 0]
    if blocks is not None:
        column_bar = torch.cat([bars.fade_end[..., 0], bars.buffer[..., 0, :]], -1)
        step_bar, momentum_bar, faded_bar = block_tables_backward(
            blocks, summed_bar, column_bar, arena
        )
        keep_sums = _optional_sums(keep_bar)
        if keep_sums is not None and faded_bar is not None:
            keep_sums += _out_of_tiles(faded_bar)
        return [_out_of_tiles(step_bar), _out_of_tiles(momentum_bar), keep_sums]
    assert carried is not None
    columns = ones_above(n, n, start) if fade is None else fade
    carried_bar = arena.take(*lead, n + 1, n, dtype=start.dtype)
    torch.matmul(summed_bar, columns.mT, out=carried_bar)
    carried_bar[..., 1:, -1] += bars.buffer[..., 0, :]
    carried_bar[..., 0, -1] += bars.fade_end[..., 0, 0]
    product = carried_bar.mul_(carried)
    sums = product.sum(-1, keepdim=True)
    # M_s is the later of two times in its column, and the earlier one in its row.
    momentum_bar = torch.matmul(steps.mT, product)[..., 0, :]
    momentum_bar -= sums[..., 1:, 0] * steps[..., 1:, 0]
    if keep_bar is not None:
        fade_bar = arena.take(*lead, n, n, dtype=start.dtype)
        scaled = torch.mul(carried, steps, out=carried_bar)
        torch.matmul(scaled.mT, summed_bar, out=fade_bar)
        add_exponents(keep_bar, fade_bar.mul_(columns))
    return [_out_of_tiles(sums[..., 1:, 0]), reversed_sums(momentum_bar), _optional_sums(keep_bar)]


def gate_tables(gates: MemoryGates, *, n_tiles: int) -> GateTables:
    """As :func:`make_tables`, with derivatives."""
    step, log_momentum, log_keep, observed = gates
    made = iter(_Tables.apply(n_tiles, observed, step, log_momentum, log_keep))
    has_momentum = log_momentum is not None
    missing = () if has_momentum else ("pushed", "buffer", "pushed_end", "fade_end")
    return GateTables(
        *(None if name in missing else next(made) for name in GateTables._fields)  # type: ignore[arg-type]
    )


class _Tables(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        n_tiles: int,
        observed: Tensor | None,
        step: Tensor,
        log_momentum: Tensor | None,
        log_keep: Tensor | None,
    ) -> tuple[Tensor, ...]:
        gates = MemoryGates(step, log_momentum, log_keep, observed)
        arena = Arena(step.device, block_bytes=0)
        tables, ctx.work = make_tables(gates, n_tiles=n_tiles, arena=arena)
        ctx.present = [table is not None for table in tables]
        # Some of them are parts of others, which outputs must not be.
        return tuple(table.clone() for table in tables if table is not None)

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, *outer: Tensor) -> Any:
        given = iter(outer)
        bars = GateTables(*(next(given) if there else None for there in ctx.present))  # type: ignore[arg-type]
        work: TableWork = ctx.work
        arena = Arena(work.start.device, block_bytes=0)
        summed_bar = bars.writes.clone()
        if bars.pushed is not None:
            summed_bar = torch.nn.functional.pad(summed_bar, (0, 0, 1, 0))
        return (None, None, *tables_backward(work, bars, summed_bar, arena))


def in_tiles(gate: Tensor, n_tiles: int) -> Tensor:
    """(rows, layers, time) as (tiles, layers, rows, tokens)."""
    return gate.unflatten(-1, (n_tiles, -1)).permute(2, 1, 0, 3).contiguous()


def _out_of_tiles(bar: Tensor) -> Tensor:
    return bar.permute(2, 1, 0, 3).flatten(-2)


def _optional_sums(bar: Tensor | None) -> Tensor | None:
    return None if bar is None else reversed_sums(bar)


def reversed_sums(bar: Tensor) -> Tensor:
    """The way back through running sums, and out of tiles."""
    return _out_of_tiles(sums_from_here(bar))
