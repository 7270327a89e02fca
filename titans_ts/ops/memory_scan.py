"""One chunk of the memory, forward and backward by hand: the inside of the scan over chunks.

Tokens are columns here, (rows, width, tokens), where a row is one head of one sequence: with the
weights as ``(width_in, width_out)`` every product then meets the CPU's fast kernels, while tokens
as rows would have half of them wait for a small transposed factor. README.md derives all of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import LAYER_NORM_EPS, layer_norm_backward, silu_bend
from titans_ts.ops.memory_tables import GateTables

__all__ = [
    "ChunkErrors",
    "ScanState",
    "TileReads",
    "chunk_errors",
    "chunk_errors_backward",
    "read_at",
    "read_at_backward",
    "tile_read",
    "tile_read_backward",
    "tile_write",
    "tile_write_backward",
]

silu_backward = torch.ops.aten.silu_backward


class ScanState(NamedTuple):
    """Weights and momentum buffer between two tiles, or cotangents of them."""

    weights: list[Tensor]  # per layer (rows, width_in, width_out)
    momentum: list[Tensor] | None  # same shapes; None where it is zero, or there is none


class ChunkErrors(NamedTuple):
    """The factors of a chunk's gradients, and what their own derivative needs."""

    inputs: list[Tensor]  # per layer (rows, width_in, tokens)
    before: list[Tensor]  # per layer (rows, width_out, tokens): before SiLU
    errors: list[Tensor]  # same shapes
    back: list[Tensor]  # per layer but the last, same shapes: what came back through the next


class TileReads(NamedTuple):
    """What the derivative of a tile's reads needs."""

    hidden: list[Tensor]  # per layer (rows, width_in, tokens): what was multiplied with it
    before: list[Tensor]  # per layer (rows, width_out, tokens)
    scores: list[Tensor]  # per layer (rows, tokens, tokens), writes down, reads across
    products: list[tuple[Tensor, Tensor | None] | None]  # W^T h and S^T h, of narrowing layers


def finish(output: Tensor, queries: Tensor, *, residual: bool) -> Tensor:
    """As ``memory_net.finish_read``, for tokens as columns."""
    if not residual:
        return output
    normed = F.layer_norm(output.mT, output.shape[-2:-1], eps=LAYER_NORM_EPS)
    return queries + normed.mT


def chunk_errors(
    anchor: list[Tensor], keys: Tensor, values: Tensor, *, residual: bool
) -> ChunkErrors:
    """As ``memory_net.memory_errors``, for a chunk whose tokens are columns."""
    inputs, before = [keys], []
    for weight in anchor:
        before.append(torch.bmm(weight.mT, inputs[-1]))
        inputs.append(F.silu(before[-1]))
    inputs.pop()
    error = (finish(before[-1], keys, residual=residual) - values).mul_(2)
    if residual:
        error = layer_norm_backward(before[-1].mT, error.mT).mT
    errors, back = [error], []
    for layer in range(len(anchor) - 1, 0, -1):
        back.insert(0, torch.bmm(anchor[layer], errors[0]))
        errors.insert(0, silu_backward(back[0], before[layer - 1]))
    return ChunkErrors(inputs, before, errors, back)


def chunk_errors_backward(
    anchor: list[Tensor],
    keys: Tensor,
    values: Tensor,
    made: ChunkErrors,
    input_bars: list[Tensor],
    error_bars: list[Tensor],
    anchor_bars: list[Tensor] | None,
    *,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Cotangents of keys and values; those of the anchor are added to ``anchor_bars`` in place.

    ``input_bars`` and ``error_bars`` are used up. ``anchor_bars=None``: the anchor is a constant.
    """
    last = len(anchor) - 1
    before_bars: list[Tensor] = []
    for layer in range(last):
        z, bar = made.before[layer], error_bars[layer]
        before_bars.append(silu_bend(z).mul_(made.back[layer]).mul_(bar))
        back_bar = silu_backward(bar, z)
        error_bars[layer + 1].baddbmm_(anchor[layer + 1].mT, back_bar)
        if anchor_bars is not None:
            anchor_bars[layer + 1].baddbmm_(back_bar, made.errors[layer + 1].mT)
    if residual:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (made.before[last], keys, values)]
            output, k, v = leaves
            error = layer_norm_backward(
                output.mT, 2 * (finish(output, k, residual=True) - v).mT
            ).mT
            output_bar, key_bar, value_bar = torch.autograd.grad(error, leaves, error_bars[last])
    else:
        output_bar = error_bars[last].mul_(2)
        key_bar, value_bar = None, -output_bar
    before_bars.append(output_bar)
    for layer in range(last, -1, -1):
        bar = before_bars[layer]
        if anchor_bars is not None:
            anchor_bars[layer].baddbmm_(made.inputs[layer], bar.mT)
        input_bars[layer].baddbmm_(anchor[layer], bar)
        if layer:
            before_bars[layer - 1] += silu_backward(input_bars[layer], made.before[layer - 1])
    return input_bars[0] if key_bar is None else input_bars[0] + key_bar, value_bar


def tile_read(
    state: ScanState,
    queries: Tensor,
    inputs: list[Tensor],
    errors: list[Tensor],
    tables: GateTables,
    *,
    residual: bool,
) -> tuple[Tensor, TileReads]:
    """Read after each token of a tile; ``inputs`` and ``errors`` are the tile's own.

    ``tables`` are those of this tile: its tensors lack the dimension of tiles.
    """
    hidden, before, scores = [queries], [], []
    products: list[tuple[Tensor, Tensor | None] | None] = []
    assert tables.writes is not None
    for layer, weight in enumerate(state.weights):
        h, start = hidden[-1], tables.start[:, layer]
        buffer = None if state.momentum is None else state.momentum[layer]
        if weight.shape[1] <= weight.shape[2]:  # Scale whichever side is narrower.
            answer = torch.bmm(weight.mT, start * h)
            if buffer is not None:
                answer.baddbmm_(buffer.mT, tables.pushed[:, layer] * h)
            products.append(None)
        else:
            by_weight, by_buffer = torch.bmm(weight.mT, h), None
            answer = by_weight * start
            if buffer is not None:
                by_buffer = torch.bmm(buffer.mT, h)
                answer.addcmul_(by_buffer, tables.pushed[:, layer])
            products.append((by_weight, by_buffer))
        scores.append(torch.bmm(inputs[layer].mT, h))
        answer.baddbmm_(errors[layer], scores[-1] * tables.writes[:, layer], alpha=-1)
        before.append(answer)
        hidden.append(F.silu(answer))
    hidden.pop()
    out = finish(before[-1], queries, residual=residual)
    return out, TileReads(hidden, before, scores, products)


def tile_read_backward(
    state: ScanState,
    queries: Tensor,
    inputs: list[Tensor],
    errors: list[Tensor],
    tables: GateTables,
    made: TileReads,
    bar: Tensor,
    input_bars: list[Tensor],
    error_bars: list[Tensor],
    state_bars: ScanState,
    table_bars: GateTables,
    *,
    residual: bool,
) -> Tensor:
    """Cotangent of the queries; all others are added to, or written into, what is given."""
    query_bar, bar = _finish_backward(made.before[-1], queries, bar, residual=residual)
    for layer in range(len(state.weights) - 1, -1, -1):
        weight, h = state.weights[layer], made.hidden[layer]
        buffer = None if state.momentum is None else state.momentum[layer]
        writes, product = tables.writes[:, layer], made.products[layer]
        error_bars[layer].baddbmm_(bar, (made.scores[layer] * writes).mT, alpha=-1)
        overlap_bar = torch.bmm(errors[layer].mT, bar).neg_()
        torch.mul(overlap_bar, made.scores[layer], out=table_bars.writes[:, layer])
        overlap_bar *= writes
        input_bars[layer].baddbmm_(h, overlap_bar.mT)
        start = tables.start[:, layer]
        pushed = None if buffer is None else tables.pushed[:, layer]
        if product is None:
            back = torch.bmm(weight, bar)
            table_bars.start[:, layer] = (back * h).sum(-2, keepdim=True)
            h_bar = back.mul_(start)
            state_bars.weights[layer].baddbmm_(start * h, bar.mT)
            if buffer is not None:
                back = torch.bmm(buffer, bar)
                table_bars.pushed[:, layer] = (back * h).sum(-2, keepdim=True)
                h_bar.addcmul_(back, pushed)
                state_bars.momentum[layer].baddbmm_(pushed * h, bar.mT)
        else:
            table_bars.start[:, layer] = (bar * product[0]).sum(-2, keepdim=True)
            scaled = bar * start
            h_bar = torch.bmm(weight, scaled)
            state_bars.weights[layer].baddbmm_(h, scaled.mT)
            if buffer is not None:
                table_bars.pushed[:, layer] = (bar * product[1]).sum(-2, keepdim=True)
                scaled = bar * pushed
                h_bar.baddbmm_(buffer, scaled)
                state_bars.momentum[layer].baddbmm_(h, scaled.mT)
        h_bar.baddbmm_(inputs[layer], overlap_bar)
        if layer:
            bar = silu_backward(h_bar, made.before[layer - 1])
    return h_bar if query_bar is None else h_bar + query_bar


def read_at(
    weights: list[Tensor], queries: Tensor, *, residual: bool
) -> tuple[Tensor, TileReads]:
    """Read a memory of fixed weights."""
    hidden, before = [queries], []
    for weight in weights:
        before.append(torch.bmm(weight.mT, hidden[-1]))
        hidden.append(F.silu(before[-1]))
    hidden.pop()
    return finish(before[-1], queries, residual=residual), TileReads(hidden, before, [], [])


def read_at_backward(
    weights: list[Tensor],
    queries: Tensor,
    made: TileReads,
    bar: Tensor,
    weight_bars: list[Tensor],
    *,
    residual: bool,
) -> Tensor:
    """Cotangent of the queries; those of the weights are added to ``weight_bars``."""
    query_bar, bar = _finish_backward(made.before[-1], queries, bar, residual=residual)
    for layer in range(len(weights) - 1, -1, -1):
        weight_bars[layer].baddbmm_(made.hidden[layer], bar.mT)
        h_bar = torch.bmm(weights[layer], bar)
        if layer:
            bar = silu_backward(h_bar, made.before[layer - 1])
    return h_bar if query_bar is None else h_bar + query_bar


def _finish_backward(
    output: Tensor, queries: Tensor, bar: Tensor, *, residual: bool
) -> tuple[Tensor | None, Tensor]:
    if not residual:
        return None, bar
    return bar, layer_norm_backward(output.mT, bar.mT).mT.contiguous()


def tile_write(
    state: ScanState,
    inputs: list[Tensor],
    errors: list[Tensor],
    tables: GateTables,
    *,
    in_place: bool,
) -> ScanState:
    """State after a tile; ``in_place`` uses up the one before."""
    weights, momentum = [], []
    for layer, weight in enumerate(state.weights):
        x, e = inputs[layer], errors[layer]
        old = None if state.momentum is None else state.momentum[layer]
        beta = tables.start_end[:, layer]
        weight = weight.mul_(beta) if in_place else weight * beta
        if old is not None:
            weight.addcmul_(old, tables.pushed_end[:, layer])
        widening = weight.shape[1] <= weight.shape[2]
        a = tables.weights[:, layer]
        weight.baddbmm_(*((x * a, e.mT) if widening else (x, (e * a).mT)), alpha=-1)
        weights.append(weight)
        if tables.buffer is None:
            continue
        r = tables.buffer[:, layer]
        factors = (x * r, e.mT) if widening else (x, (e * r).mT)
        if old is None:
            momentum.append(torch.bmm(*factors).neg_())
            continue
        rho = tables.fade_end[:, layer]
        old = old.mul_(rho) if in_place else old * rho
        momentum.append(old.baddbmm_(*factors, alpha=-1))
    return ScanState(weights, momentum or None)


def tile_write_backward(
    state: ScanState,
    inputs: list[Tensor],
    errors: list[Tensor],
    tables: GateTables,
    after_bars: ScanState,
    input_bars: list[Tensor],
    error_bars: list[Tensor],
    table_bars: GateTables,
) -> ScanState:
    """Cotangents of the state before the tile; ``after_bars`` are used up."""
    weight_bars, momentum_bars = [], []
    for layer, weight in enumerate(state.weights):
        x, e = inputs[layer], errors[layer]
        old = None if state.momentum is None else state.momentum[layer]
        widening = weight.shape[1] <= weight.shape[2]
        pairs = [(after_bars.weights[layer], tables.weights, table_bars.weights)]
        if tables.buffer is not None:
            pairs.append((after_bars.momentum[layer], tables.buffer, table_bars.buffer))
        for bar, share, share_bar in pairs:
            share = share[:, layer]
            if widening:
                x_bar = torch.bmm(bar, e)
                error_bars[layer].baddbmm_(bar.mT, x * share, alpha=-1)
                share_bar[:, layer] = (x_bar * x).sum(-2, keepdim=True).neg_()
                input_bars[layer].addcmul_(x_bar, share, value=-1)
            else:
                e_bar = torch.bmm(bar.mT, x)
                input_bars[layer].baddbmm_(bar, e * share, alpha=-1)
                share_bar[:, layer] = (e_bar * e).sum(-2, keepdim=True).neg_()
                error_bars[layer].addcmul_(e_bar, share, value=-1)
        bar = after_bars.weights[layer]
        _dot(bar, weight, table_bars.start_end[:, layer])
        if old is not None:
            _dot(bar, old, table_bars.pushed_end[:, layer])
            momentum_bar = after_bars.momentum[layer]
            _dot(momentum_bar, old, table_bars.fade_end[:, layer])
            momentum_bar.mul_(tables.fade_end[:, layer])
            momentum_bars.append(momentum_bar.addcmul_(bar, tables.pushed_end[:, layer]))
        weight_bars.append(bar.mul_(tables.start_end[:, layer]))
    return ScanState(weight_bars, momentum_bars or None)


def _dot(left: Tensor, right: Tensor, out: Tensor) -> None:
    rows = len(left)
    out.copy_(torch.bmm(left.reshape(rows, 1, -1), right.reshape(rows, -1, 1)))
