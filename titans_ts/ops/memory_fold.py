"""Momentum folded into the weights: a tile whose reads and writes need the buffer but briefly.

After a few dozen tokens the momentum that a tile started with has been spent, and all that is left
of it is what it added to the weights on the way. So ``kappa S_0`` is added to ``W_0`` at once, and
the tokens before that moment take back what it still has to add (README.md).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Workspace
from titans_ts.ops.memory_scan import LayerTables, Matrices, dots, spread, weigh
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_table_decays import sums_from_here
from titans_ts.ops.memory_tables import TableWork, in_tiles, reversed_sums

__all__ = [
    "Fold",
    "fold_backward",
    "fold_weights",
    "folded_answer",
    "folded_look_up",
    "folded_look_up_backward",
    "folded_move_back",
    "folded_read_backward",
    "folded_write",
    "folded_write_backward",
    "make_fold",
]


class Fold(NamedTuple):
    """What is folded, for all tiles of a group; of shape (tiles, layers, rows, ...)."""

    kappa: Tensor  # (..., 1, 1)
    pushed: Tensor  # (..., tokens): what S_0 weighs beside the folded weights, never above zero
    early: int  # tokens for which it weighs anything
    terms: Tensor  # (..., tokens): exp(M_s - K_s), what the buffer adds at each token, unfaded
    later: Tensor  # (..., tokens): the sum of terms after each token


def make_fold(gates: MemoryGates, work: TableWork, n_tiles: int) -> Fold | None:
    """Fold a group's tiles, or None where that saves nothing, or would lose digits.

    With K and M the running sums of log keep and log momentum, ``W_t`` has ``exp(K_t - K_s + M_s)``
    of ``S_0`` from each token ``s <= t``. All of it together is ``exp(K_t) kappa``.
    """
    if gates.log_momentum is None or gates.step_size.device.type != "cpu":
        return None
    exponent = in_tiles(gates.log_momentum, n_tiles).cumsum(-1)
    if gates.log_keep is not None:
        keep = in_tiles(gates.log_keep, n_tiles).cumsum(-1)
        # Forgetting that outruns momentum would make the sum large, and what is left small.
        if float(keep[..., -1].amin()) < -20.0:
            return None
        exponent = exponent - keep
    if float(exponent.amax()) > math.log(2.0):
        return None
    terms = exponent.exp()
    if gates.observed is not None:
        terms = terms * in_tiles(gates.observed, n_tiles)
    sums = sums_from_here(terms)
    later = torch.nn.functional.pad(sums[..., 1:], (0, 1))
    n = terms.shape[-1]
    kappa = sums[..., :1]
    left = (later / kappa.clamp_min(torch.finfo(terms.dtype).tiny)).flatten(0, -2).amax(0).tolist()
    least = 0.01 * torch.finfo(terms.dtype).eps
    spent = next((i for i, share in enumerate(left) if share <= least), n)
    # Whole vectors of the processor. Two smaller products are slower than one: what they spare
    # must be most of it.
    early = -(-max(spent, 1) // 16) * 16
    if early > 0.4 * n:
        return None
    return Fold(kappa[..., None], -work.start * later, early, terms, later)


def fold_backward(
    fold: Fold, work: TableWork, pushed_bar: Tensor, kappa_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Cotangents of the start's share and of log momentum; that of log keep is its negative.

    Parameters
    ----------
    pushed_bar : Tensor of shape (tiles, layers, rows, tokens)
    kappa_bar : Tensor of shape (tiles, layers, rows, 1, 1)

    Returns
    -------
    start_bar : Tensor of shape (tiles, layers, rows, tokens)
    momentum_bar : Tensor of shape (rows, layers, time)
    """
    later_bar = -pushed_bar * work.start
    terms_bar = kappa_bar[..., 0] + later_bar.cumsum(-1) - later_bar
    return -pushed_bar * fold.later, reversed_sums(terms_bar.mul_(fold.terms))


def fold_weights(old: Matrices, new: Matrices, kappa: Any) -> None:
    """``W + kappa S``, into the weight of ``new``, which may be ``old``."""
    if isinstance(kappa, float):
        torch.add(*old.parts, alpha=kappa, out=new.parts[0])
    else:
        weight, buffer = old.parts
        torch.addcmul(weight, buffer, kappa, out=new.parts[0])


def folded_look_up(
    weight: Tensor,
    buffer: Tensor,
    h: Tensor,
    tables: LayerTables,
    out: Tensor,
    found: Tensor | None,
    work: Workspace,
) -> Tensor:
    """As ``memory_scan.look_up``, of a folded weight and a buffer as ``Matrices`` keep them."""
    n, width = tables.early, h.shape[-1]
    if found is None:
        looked = work.take("looked", 0, h, (*h.shape[:-1], 2 * width))
        spread(h, tables.reads, looked)
        return folded_answer(weight, buffer, looked, n, out)
    by_weight, by_buffer = found.chunk(2, -1)
    torch.bmm(h, weight.mT, out=by_weight)
    torch.bmm(h[:, :n], buffer.mT, out=by_buffer[:, :n])
    torch.mul(by_weight, tables.reads[..., 0, :], out=out)
    out[:, :n].addcmul_(by_buffer[:, :n], tables.reads[:, :n, 1])
    return out


def folded_answer(weight: Tensor, buffer: Tensor, looked: Tensor, n: int, out: Tensor) -> Tensor:
    """What both answer to spread vectors, the buffer to the first ``n`` only."""
    by_weight, by_buffer = looked.chunk(2, -1)
    torch.bmm(by_weight, weight, out=out)
    out[:, :n].baddbmm_(by_buffer[:, :n], buffer)
    return out


def folded_read_backward(
    weight: Tensor, buffer: Tensor, bar: Tensor, n: int, looked_bar: Tensor
) -> None:
    """Cotangent of spread vectors, (rows, tokens, 2 * narrow); of a widening layer."""
    by_weight, by_buffer = looked_bar.chunk(2, -1)
    torch.bmm(bar, weight.mT, out=by_weight)
    torch.bmm(bar[:, :n], buffer.mT, out=by_buffer[:, :n])
    by_buffer[:, n:].zero_()


def folded_look_up_backward(
    weight: Tensor,
    buffer: Tensor,
    h: Tensor,
    found: Tensor | None,
    bar: Tensor,
    tables: LayerTables,
    table_bars: LayerTables,
    out: Tensor,
    work: Workspace,
) -> tuple[Tensor, Tensor]:
    """Cotangent of ``h``, into ``out``; returns the factors of what the matrices are asked for."""
    n, reads_bar = tables.early, table_bars.reads
    if found is None:
        shape = (*h.shape[:-1], 2 * h.shape[-1])
        h_bars = work.take("look", 0, h, shape)
        folded_read_backward(weight, buffer, bar, n, h_bars)
        dots(h_bars, h, reads_bar, work)
        weigh(h_bars, tables.reads, out)
        return spread(h, tables.reads, h_bars), bar
    by_weight, by_buffer = found.chunk(2, -1)
    reads_bar[..., 0, 0] = (by_weight * bar).sum(-1)
    reads_bar[:, :n, 1, 0] = (by_buffer[:, :n] * bar[:, :n]).sum(-1)
    reads_bar[:, n:, 1] = 0
    bars = spread(bar, tables.reads, work.take("look", 0, bar, tuple(found.shape)))
    by_weight, by_buffer = bars.chunk(2, -1)
    torch.bmm(by_weight, weight, out=out)
    out[:, :n].baddbmm_(by_buffer[:, :n], buffer)
    return bars, h


def folded_write(
    old: Matrices, new: Matrices, factor: Tensor, wide: Tensor, tables: LayerTables
) -> None:
    """As ``memory_scan.write``, where the weight of ``new`` is folded already."""
    start, _, fade = tables.moves
    left, left_buffer = factor.mT.chunk(2, 1)
    late = slice(wide.shape[1] - tables.recent, None)
    weight, buffer = new.parts
    if new is not old:
        torch.mul(old.parts[1], 1.0 if isinstance(fade, float) else fade, out=buffer)
    elif not isinstance(fade, float):
        buffer.mul_(fade)
    beta = fade if isinstance(fade, float) else 1.0
    if isinstance(start, float):
        weight.baddbmm_(left, wide, beta=start, alpha=-1)
    else:
        weight.mul_(start).baddbmm_(left, wide, alpha=-1)
    buffer.baddbmm_(left_buffer[..., late], wide[:, late], beta=beta, alpha=-1)


def folded_write_backward(
    weight: Tensor,
    buffer: Tensor,
    state_bar: Matrices,
    move_bars: Tensor,
) -> None:
    """Cotangents of what the folded weight and the buffer keep of themselves: (rows, 0 and 2)."""
    rows = len(weight)
    for part, matrix, place in ((0, weight, 0), (1, buffer, 2)):
        bar = state_bar.parts[part]
        if rows == 1:
            torch.dot(matrix.reshape(-1), bar.reshape(-1), out=move_bars[0, place])
        else:
            move_bars[:, place] = (matrix * bar).sum((-1, -2))


def folded_move_back(
    state: Matrices,
    bar: Matrices,
    tables: LayerTables,
    move_bars: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    written: bool,
) -> None:
    """The cotangent before a tile from that after it; ``left`` and ``right`` as asked by reads."""
    n, (start, kappa, fade) = tables.early, tables.moves
    by_weight, by_buffer = left.mT.chunk(2, 1)
    weight_bar, buffer_bar = bar.parts
    for part, scale, x, y in (
        (weight_bar, start, by_weight, right),
        (buffer_bar, fade, by_buffer[..., :n], right[:, :n]),
    ):
        if not written:
            part.baddbmm_(x, y, beta=0)
        elif isinstance(scale, float):
            part.baddbmm_(x, y, beta=scale)
        else:
            part.mul_(scale).baddbmm_(x, y)
    buffer = state.parts[1]
    if isinstance(kappa, float):
        torch.dot(buffer.reshape(-1), weight_bar.reshape(-1), out=move_bars[0, 1])
        buffer_bar.add_(weight_bar, alpha=kappa)
    else:
        move_bars[:, 1] = (buffer * weight_bar).sum((-1, -2))
        buffer_bar.addcmul_(weight_bar, kappa)
