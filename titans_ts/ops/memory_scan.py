"""One chunk of the memory, forward and backward by hand: the inside of the scan over chunks.

Tokens are columns here, (rows, width, tokens), where a row is one head of one sequence: with the
weights as ``(width_in, width_out)`` every product then meets the CPU's fast kernels, while tokens
as rows would have half of them wait for a small transposed factor. README.md derives all of it.

Results go into buffers of a workspace, which the next chunk uses again: on a CPU, memory that was
never touched before costs more than the arithmetic on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_net import LAYER_NORM_EPS, layer_norm_backward
from titans_ts.ops.memory_tables import TileTables
from titans_ts.ops.workspace import Workspace

__all__ = [
    "ChunkErrors",
    "Layers",
    "ScanState",
    "Tile",
    "TileReads",
    "chunk_errors",
    "chunk_errors_backward",
    "read_at",
    "read_at_backward",
    "read_start",
    "tile_backward",
    "tile_read",
    "tile_write",
]

Layers = list[Tensor]


class ScanState(NamedTuple):
    """Weights and momentum buffer between two tiles, or cotangents of them."""

    weights: Layers  # per layer (rows, width_in, width_out)
    momentum: Any  # likewise a list; None where it is zero, or there is none

    def clone(self) -> ScanState:
        momentum = self.momentum
        return ScanState(
            [weight.clone() for weight in self.weights],
            None if momentum is None else [buffer.clone() for buffer in momentum],
        )

    def layer(self, layer: int) -> tuple[Tensor, Any]:
        """Matrices of one layer, the second one None where there is no buffer."""
        return self.weights[layer], None if self.momentum is None else self.momentum[layer]


class Tile(NamedTuple):
    """A tile's writes and their gates, or cotangents of them."""

    inputs: Layers  # per layer (rows, width_in, tokens)
    errors: Layers  # per layer (rows, width_out, tokens)
    tables: TileTables


class ChunkErrors(NamedTuple):
    """The factors of a chunk's gradients, and what their own derivative needs."""

    inputs: Layers  # per layer (rows, width_in, tokens)
    before: Layers  # per layer (rows, width_out, tokens): before SiLU; of the last, before LN
    errors: Layers  # per layer, same shapes
    back: Layers  # per layer but the last, same shapes: what came back through the next


class TileReads(NamedTuple):
    """What the derivative of a tile's reads needs."""

    hidden: Layers  # per layer (rows, width_in, tokens): what was multiplied with it
    before: Layers  # per layer (rows, width_out, tokens)
    scores: Layers  # per layer (rows, tokens, tokens), writes down, reads across
    products: list[Any]  # of narrowing layers W^T h and S^T h, else None


def finish(output: Tensor, queries: Tensor, *, residual: bool) -> Tensor:
    """As ``memory_net.finish_read``, for tokens as columns."""
    if not residual:
        return output
    normed = F.layer_norm(output.mT, output.shape[-2:-1], eps=LAYER_NORM_EPS)
    return queries + normed.mT


def finish_backward(output: Tensor, bar: Tensor, *, residual: bool) -> tuple[Tensor | None, Tensor]:
    """Cotangents of the queries (None: zero) and of the last layer's output."""
    if not residual:
        return None, bar
    return bar, layer_norm_backward(output.mT, bar.mT).mT.contiguous()


def chunk_errors(
    anchor: Layers, keys: Tensor, values: Tensor, work: Workspace, *, residual: bool
) -> ChunkErrors:
    """As ``memory_net.memory_errors``, for a chunk whose tokens are columns."""
    inputs, before = [keys], []
    last = len(anchor) - 1
    for layer in range(last):
        before.append(work.bmm("z", layer, anchor[layer].mT, inputs[-1]))
        inputs.append(work.silu("x", layer, before[-1]))
    error = work.take("e", last, values, values.shape)
    if residual:
        before.append(work.bmm("z", last, anchor[last].mT, inputs[last]))
        answer = finish(before[last], keys, residual=True)
        error.copy_(layer_norm_backward(before[last].mT, 2 * (answer - values).mT).mT)
    else:
        # 2 (f(k) - v) in one go.
        torch.baddbmm(values, anchor[last].mT, inputs[last], beta=-2, alpha=2, out=error)
    errors: Layers = [error]
    back: Layers = []
    for layer in range(last, 0, -1):
        back.insert(0, work.bmm("u", layer, anchor[layer], errors[0]))
        name = "e" if work.keep else "u"
        made = work.silu_backward(name, layer - work.keep, back[0], before[layer - 1])
        errors.insert(0, made)
    return ChunkErrors(inputs, before, errors, back)


def chunk_errors_backward(
    anchor: Layers,
    keys: Tensor,
    values: Tensor,
    made: ChunkErrors,
    input_bars: Layers,
    error_bars: Layers,
    anchor_bars: Layers | None,
    work: Workspace,
    *,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Cotangents of keys and values; those of the anchor are added to ``anchor_bars`` in place.

    ``input_bars`` and ``error_bars`` are used up. ``anchor_bars=None``: the anchor is a constant.
    """
    last = len(anchor) - 1
    before_bars: Layers = []
    for layer in range(last):
        z, bar = made.before[layer], error_bars[layer]
        # Second derivative of x g(x), with g' = g (1 - g): g' (2 + x (1 - 2 g)).
        gate = torch.sigmoid(z, out=work.take("gate", layer, z, z.shape))
        bend = torch.addcmul(z, z, gate, value=-2, out=work.take("bend", layer, z, z.shape))
        bend.add_(2).mul_(gate.addcmul_(gate, gate, value=-1))
        before_bars.append(bend.mul_(made.back[layer]).mul_(bar))
        back_bar = work.silu_backward("back bar", layer, bar, z)
        error_bars[layer + 1].baddbmm_(anchor[layer + 1].mT, back_bar)
        if anchor_bars is not None:
            anchor_bars[layer + 1].baddbmm_(back_bar, made.errors[layer + 1].mT)
    key_bar = None
    if residual:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (made.before[last], keys, values)]
            answer = finish(leaves[0], leaves[1], residual=True)
            error = layer_norm_backward(leaves[0].mT, 2 * (answer - leaves[2]).mT).mT
            output_bar, key_bar, value_bar = torch.autograd.grad(error, leaves, error_bars[last])
    else:
        output_bar = error_bars[last].mul_(2)
        value_bar = -output_bar
    before_bars.append(output_bar)
    for layer in range(last, -1, -1):
        bar = before_bars[layer]
        if anchor_bars is not None:
            anchor_bars[layer].baddbmm_(made.inputs[layer], bar.mT)
        input_bars[layer].baddbmm_(anchor[layer], bar)
        if layer:
            z = made.before[layer - 1]
            before_bars[layer - 1] += work.silu_backward("z bar", layer, input_bars[layer], z)
    return input_bars[0] if key_bar is None else input_bars[0] + key_bar, value_bar


def read_start(state: ScanState, queries: Tensor, tables: TileTables, work: Workspace) -> Tensor:
    """What the state at a tile's start answers in the first layer.

    Apart from the rest of a read, since it needs no errors: asked first, it finds the first
    layer's matrices in the cache, where the write before has left them.
    """
    return _layer_start(state, 0, queries, tables, work)[0]


def _layer_start(
    state: ScanState, layer: int, h: Tensor, tables: TileTables, work: Workspace
) -> tuple[Tensor, tuple[Tensor, Tensor | None] | None]:
    """``start W^T h + pushed S^T h``, and the two products where a derivative needs them."""
    weight, start, buffer = state.weights[layer], tables.start[layer], None
    if state.momentum is not None:
        buffer, pushed = state.momentum[layer], tables.pushed[layer]
    if weight.shape[1] <= weight.shape[2]:  # Scale whichever side is narrower.
        answer = work.bmm("zq", layer, weight.mT, work.mul("h start", layer, h, start))
        if buffer is not None:
            answer.baddbmm_(buffer.mT, work.mul("h pushed", layer, h, pushed))
        return answer, None
    by_weight, by_buffer = work.bmm("W h", layer, weight.mT, h), None
    answer = work.mul("zq", layer, by_weight, start)
    if buffer is not None:
        by_buffer = work.bmm("S h", layer, buffer.mT, h)
        answer.addcmul_(by_buffer, pushed)
    return answer, (by_weight, by_buffer)


def tile_read(
    state: ScanState,
    queries: Tensor,
    started: Tensor,
    tile: Tile,
    work: Workspace,
    *,
    residual: bool,
) -> tuple[Tensor, TileReads]:
    """Read after each token of a tile.

    ``started`` is what :func:`read_start` made; it is used up.
    """
    h, hidden, before, scores = queries, [], [], []
    products: list[Any] = []
    last = len(state.weights) - 1
    for layer in range(last + 1):
        hidden.append(h)
        product = None
        if layer:
            started, product = _layer_start(state, layer, h, tile.tables, work)
        products.append(product)
        scores.append(work.bmm("scores", layer, tile.inputs[layer].mT, h))
        weighted = work.mul("weighted", layer, scores[-1], tile.tables.writes[layer])
        before.append(started.baddbmm_(tile.errors[layer], weighted, alpha=-1))
        if layer < last:
            h = work.silu("h" if work.keep else "zq", layer, started)
    out = finish(before[-1], queries, residual=residual)
    return out, TileReads(hidden, before, scores, products)


def read_at(
    weights: Layers, queries: Tensor, work: Workspace, *, residual: bool
) -> tuple[Tensor, TileReads]:
    """Read a memory of fixed weights."""
    h, hidden, before = queries, [], []
    last = len(weights) - 1
    for layer, weight in enumerate(weights):
        hidden.append(h)
        before.append(work.bmm("zq", layer, weight.mT, h))
        if layer < last:
            h = work.silu("h", layer, before[-1])
    return finish(before[-1], queries, residual=residual), TileReads(hidden, before, [], [])


def read_at_backward(
    weights: Layers,
    made: TileReads,
    bar: Tensor,
    weight_bars: Layers,
    work: Workspace,
    *,
    residual: bool,
) -> Tensor:
    """Cotangent of the queries; those of the weights are added to ``weight_bars``."""
    query_bar, bar = finish_backward(made.before[-1], bar, residual=residual)
    for layer in range(len(weights) - 1, -1, -1):
        weight_bars[layer].baddbmm_(made.hidden[layer], bar.mT)
        h_bar = work.bmm("back", layer, weights[layer], bar)
        if layer:
            bar = work.silu_backward("zq bar", layer, h_bar, made.before[layer - 1])
    return h_bar if query_bar is None else h_bar + query_bar


def tile_write(state: ScanState, tile: Tile, work: Workspace) -> ScanState:
    """State after a tile, in buffers of ``work``; they may be those of the state before."""
    tables = tile.tables
    weights: Layers = []
    momentum: Layers = []
    # The last layer's matrices were read last and are still cached, the first's are read next.
    for layer in range(len(state.weights) - 1, -1, -1):
        x, e = tile.inputs[layer], tile.errors[layer]
        weight, old = state.layer(layer)
        widening = weight.shape[1] <= weight.shape[2]
        factors = _scaled_factors(x, e, tables.weights[layer], widening, work)
        weight = work.fade("W", layer, weight, tables.start_end[layer], *factors)
        if old is not None:
            _add_scaled(weight, old, tables.pushed_end[layer])
        weights.insert(0, weight)
        if tables.buffer is None:
            continue
        factors = _scaled_factors(x, e, tables.buffer[layer], widening, work)
        if old is None:
            momentum.insert(0, work.bmm("S", layer, *factors).neg_())
        else:
            momentum.insert(0, work.fade("S", layer, old, tables.fade_end[layer], *factors))
    return ScanState(weights, momentum or None)


def _add_scaled(total: Tensor, more: Tensor, scale: Tensor | float) -> None:
    """Add ``scale * more`` in place; ``scale`` has one number a row."""
    if isinstance(scale, float):
        total.add_(more, alpha=scale)
    else:
        total.addcmul_(more, scale)


def _scaled_factors(
    x: Tensor, e: Tensor, share: Tensor, widening: bool, work: Workspace
) -> tuple[Tensor, Tensor]:
    if widening:
        return work.mul("factor", 0, x, share), e.mT
    return x, work.mul("factor", 1, e, share).mT


def tile_backward(
    state: ScanState,
    tile: Tile,
    reads: TileReads | None,
    reads_bar: Tensor,
    state_bars: ScanState | None,
    bars: Tile,
    work: Workspace,
    *,
    residual: bool,
) -> tuple[Tensor | None, ScanState]:
    """Backward of :func:`tile_write` and, before it, :func:`tile_read`.

    Layer by layer both, so that a layer's matrices come from memory once.

    Parameters
    ----------
    state : ScanState
        Before the tile.
    tile : Tile
    reads : TileReads or None
        None: the tile was not read.
    reads_bar : Tensor of shape (rows, width, tokens)
        Cotangent of the reads.
    state_bars : ScanState or None
        Cotangents of the state after the tile; used up. None: zero.
    bars : Tile
        Cotangents of ``tile``: of inputs and errors, to be added to; of tables, zeros, of which
        those that are reached are written.
    work : Workspace
    residual : bool

    Returns
    -------
    query_bar : Tensor of shape (rows, width, tokens) or None
    state_bars : ScanState
        Cotangents of ``state``.
    """
    query_bar, bar = None, reads_bar
    if reads is not None:
        query_bar, bar = finish_backward(reads.before[-1], reads_bar, residual=residual)
    before = ScanState([], None if state.momentum is None else [])
    for layer in range(len(state.weights) - 1, -1, -1):
        if state_bars is None:
            w_bar = work.zeros("W bar", layer, state.weights[layer])
            s_bar = None
            if state.momentum is not None:
                s_bar = work.zeros("S bar", layer, state.momentum[layer])
        else:
            w_bar, s_bar = state_bars.layer(layer)
            _write_backward(layer, state, tile, w_bar, s_bar, bars, work)
        before.weights.insert(0, w_bar)
        if before.momentum is not None:
            before.momentum.insert(0, s_bar)
        if reads is not None:
            h_bar = _read_backward(layer, state, tile, reads, bar, w_bar, s_bar, bars, work)
            if layer:
                bar = work.silu_backward("zq bar", layer, h_bar, reads.before[layer - 1])
            else:
                query_bar = h_bar if query_bar is None else h_bar + query_bar
    return query_bar, before


def _write_backward(
    layer: int,
    state: ScanState,
    tile: Tile,
    w_bar: Tensor,
    s_bar: Any,
    bars: Tile,
    work: Workspace,
) -> None:
    """One layer of :func:`tile_write`; ``w_bar`` and ``s_bar`` move from after to before it."""
    weight, buffer = state.layer(layer)
    x, e, tables = tile.inputs[layer], tile.errors[layer], tile.tables
    pairs = [(w_bar, tables.weights[layer], bars.tables.weights[layer])]
    if tables.buffer is not None:
        pairs.append((s_bar, tables.buffer[layer], bars.tables.buffer[layer]))
    for bar, share, share_bar in pairs:
        if weight.shape[1] <= weight.shape[2]:
            x_bar = work.bmm("narrow", layer, bar, e)
            bars.errors[layer].baddbmm_(bar.mT, work.mul("factor", 0, x, share), alpha=-1)
            _column_dots(x_bar, x, share_bar, work).neg_()
            bars.inputs[layer].addcmul_(x_bar, share, value=-1)
        else:
            e_bar = work.bmm("narrow", layer, bar.mT, x)
            bars.inputs[layer].baddbmm_(bar, work.mul("factor", 1, e, share), alpha=-1)
            _column_dots(e_bar, e, share_bar, work).neg_()
            bars.errors[layer].addcmul_(e_bar, share, value=-1)
    _dot(w_bar, weight, bars.tables.start_end[layer])
    if buffer is not None:
        _dot(w_bar, buffer, bars.tables.pushed_end[layer])
        _dot(s_bar, buffer, bars.tables.fade_end[layer])
        s_bar.mul_(tables.fade_end[layer])
        _add_scaled(s_bar, w_bar, tables.pushed_end[layer])
    w_bar.mul_(tables.start_end[layer])


def _read_backward(
    layer: int,
    state: ScanState,
    tile: Tile,
    reads: TileReads,
    bar: Tensor,
    w_bar: Tensor,
    s_bar: Any,
    bars: Tile,
    work: Workspace,
) -> Tensor:
    """One layer of :func:`tile_read`: cotangent of what was multiplied with the layer."""
    weight, buffer = state.layer(layer)
    x, e, tables = tile.inputs[layer], tile.errors[layer], tile.tables
    h, scores, writes = reads.hidden[layer], reads.scores[layer], tables.writes[layer]
    start = tables.start[layer]
    weighted = work.mul("weighted", layer, scores, writes)
    bars.errors[layer].baddbmm_(bar, weighted.mT, alpha=-1)
    overlap_bar = work.bmm("overlap bar", layer, e.mT, bar).neg_()
    torch.mul(overlap_bar, scores, out=bars.tables.writes[layer])
    overlap_bar *= writes
    bars.inputs[layer].baddbmm_(h, overlap_bar.mT)
    if reads.products[layer] is None:
        back = work.bmm("back", layer, weight, bar)
        _column_dots(back, h, bars.tables.start[layer], work)
        h_bar = back.mul_(start)
        w_bar.baddbmm_(work.mul("h scaled", layer, h, start), bar.mT)
        if buffer is not None:
            pushed = tables.pushed[layer]
            back = work.bmm("back by buffer", layer, buffer, bar)
            _column_dots(back, h, bars.tables.pushed[layer], work)
            h_bar.addcmul_(back, pushed)
            s_bar.baddbmm_(work.mul("h scaled", layer, h, pushed), bar.mT)
    else:
        by_weight, by_buffer = reads.products[layer]
        _column_dots(bar, by_weight, bars.tables.start[layer], work)
        scaled = work.mul("bar scaled", layer, bar, start)
        h_bar = work.bmm("back", layer, weight, scaled)
        w_bar.baddbmm_(h, scaled.mT)
        if buffer is not None:
            pushed = tables.pushed[layer]
            _column_dots(bar, by_buffer, bars.tables.pushed[layer], work)
            scaled = work.mul("bar scaled", layer, bar, pushed)
            h_bar.baddbmm_(buffer, scaled)
            s_bar.baddbmm_(h, scaled.mT)
    return h_bar.baddbmm_(x, overlap_bar)


def _column_dots(left: Tensor, right: Tensor, out: Tensor, work: Workspace) -> Tensor:
    """Dot products of columns, one a token."""
    return torch.sum(work.mul("product", 0, left, right), -2, keepdim=True, out=out)


def _dot(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Dot products of matrices, one a row."""
    rows = len(left)
    torch.bmm(left.reshape(rows, 1, -1), right.reshape(rows, -1, 1), out=out)
