"""A group of chunks, backward: derived in README.md, tile by tile and layer by layer in reverse."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena, Workspace
from titans_ts.ops.memory_coarse import (
    CoarseTables,
    CoarseWork,
    coarse_tables_backward,
    coarse_write_backward,
)
from titans_ts.ops.memory_fold import (
    fold_backward,
    fold_weights,
    folded_look_up_backward,
    folded_move_back,
    folded_read_backward,
    folded_write_backward,
)
from titans_ts.ops.memory_group import GroupWork, State
from titans_ts.ops.memory_net import bound_error_backward, layer_norm_backward, output_error
from titans_ts.ops.memory_overlap import answer_backward, overlap_backward
from titans_ts.ops.memory_prepare import Group, Prepared, ScanOptions, padded, to_tiles
from titans_ts.ops.memory_remake import remake_group
from titans_ts.ops.memory_scan import (
    LayerTables,
    Matrices,
    dots,
    look_up_backward,
    move_back,
    spread,
    weigh,
    write_backward,
)
from titans_ts.ops.memory_tables import GateTables, tables_backward

__all__ = ["GroupBackward"]

_silu_backward = torch.ops.aten.silu_backward.grad_input


class _FirstLayer(NamedTuple):
    """What takes no state in the first layer, and its cotangents; of all tiles, or of one."""

    looked: Any  # None, as are the next and their cotangents: reads are coarse
    weighted: Any
    factors: Any
    looked_bar: Any
    weighted_bar: Any
    factors_bar: Any


class GroupBackward:
    """Cotangents of a group's tokens, gates and start from those of its reads and its end.

    Parameters
    ----------
    group : Group
    options : ScanOptions
    made : Prepared
    work : GroupWork
        What the forward pass kept.
    anchor : list of Matrices, optional
        Where the group's chunk took its gradients; None: at its start.
    reads_bar : Tensor of shape (rows, time, width)
        Of all tokens of the scan.
    state_bars : list of Matrices
        Of the state after the group; moved to before it.
    written : bool
        Whether the last tile's writes were wanted; if not, ``state_bars`` hold nothing yet.
    arena : Arena
        What is taken from it is of no use after :meth:`run`.
    """

    def __init__(
        self,
        group: Group,
        options: ScanOptions,
        made: Prepared,
        work: GroupWork,
        anchor: State | None,
        reads_bar: Tensor,
        state_bars: State,
        arena: Arena,
        *,
        written: bool,
    ) -> None:
        self.group, self.options, self.made, self.work = group, options, made, work
        self.anchor, self.state_bars, self.written = anchor, state_bars, written
        self.arena, self.scratch = arena, Workspace(arena)
        self.last = len(state_bars) - 1
        self.reads_bar = padded(reads_bar[:, group.start : group.stop], group, arena)
        self.remade = remake_group(
            group, made, work, arena, self.scratch, bounded=self.last > 0 and not options.residual
        )
        self.queries_bar, self.keys_bar, self.values_bar = (
            self._room(group.n_chunks, group.padded, x.shape[-1])
            for x in (made.queries, made.keys, made.values)
        )
        self._make_table_bars()
        self.first = _FirstLayer(
            made.looked,
            made.weighted,
            made.factors,
            None if made.looked is None else self._like(made.looked),
            None if made.weighted is None else self._like(made.weighted),
            self._like(made.factors),
        )

    def _room(self, *shape: int) -> Tensor:
        number, *others = shape
        like = self.made.keys
        return self.arena.take(number, len(like), *others, dtype=like.dtype)

    def _like(self, x: Tensor) -> Tensor:
        return self.arena.take(*x.shape, dtype=x.dtype)

    def _make_table_bars(self) -> None:
        made, group, n_layers = self.made, self.group, self.last + 1
        # Not everything is reached: a last tile may not be written.
        self.ends_bar = self._like(made.ends).zero_()
        lead = group.n_tiles, n_layers, len(made.keys)
        self.moves_bar = self.arena.take(*lead, 3, dtype=made.ends.dtype).zero_()
        self.reads_table_bar: Any = None
        self.writes_bar: Any = None
        self.summed_bar: Any = None
        split: list[Any] = [[None] * (group.n_tiles * n_layers)] * 2
        if made.reads is not None:
            self.reads_table_bar = self._like(made.reads)
            # The table of writes lies below the row of what was pushed, as tables_backward wants.
            n_rows = group.tile + (made.ends.shape[-2] > 1)
            self.summed_bar = self.arena.take(*lead, n_rows, group.tile, dtype=made.ends.dtype)
            self.writes_bar = self.summed_bar[..., -group.tile :, :]
            split = [self.reads_table_bar.flatten(0, 1).unbind()]
            split.append(self.writes_bar.flatten(0, 1).unbind())
        bars = (*split, self.ends_bar.flatten(0, 1).unbind(), self.moves_bar.flatten(0, 1).unbind())
        flat = list(map(LayerTables, *bars))
        self.table_bars = [flat[i : i + n_layers] for i in range(0, len(flat), n_layers)]

    # -- the chunks in reverse -----------------------------------------------------------------

    def run(
        self,
        token_bars: list[Tensor],
        gate_bars: list[Tensor | None],
        anchor_bars: State | None,
        opened_bars: State | None,
    ) -> None:
        """Write the cotangents.

        Parameters
        ----------
        token_bars : list of Tensor of shape (rows, time, width)
            Of queries, keys and values, of the whole scan; written for the group's tokens.
        gate_bars : list of Tensor, or None where there is no such gate
            Likewise.
        anchor_bars : list of Matrices, optional
            Of an anchor that was given; added to.
        opened_bars : list of Matrices, optional
            Added to the cotangents of the state before the last chunk, where it starts.
        """
        group, made, n_layers = self.group, self.made, self.last + 1
        sizes = [made.keys.shape[-1], *(e.shape[-1] for e in self.remade.errors)]
        key_chunks = to_tiles(made.keys, group.padded).unbind()
        first = [None if x is None else x.unbind() for x in self.first]
        y_bars = to_tiles(self.reads_bar, group.tile).unbind()
        written = self.written
        for c in range(group.n_chunks - 1, -1, -1):
            x_bars = [
                None if layer == 0 else self.scratch.take("x bar", layer, made.keys, shape)
                for layer in range(n_layers)
                for shape in [(len(made.keys), group.padded, sizes[layer])]
            ]
            e_bars = [
                self.scratch.take("e bar", layer, made.keys, (len(made.keys), group.padded, size))
                for layer, size in enumerate(sizes[1:])
            ]
            for j in range(group.tiles_per_chunk - 1, -1, -1):
                t = c * group.tiles_per_chunk + j
                of_first = _FirstLayer(*(None if views is None else views[t] for views in first))
                self._tile(
                    c, j, key_chunks[c], y_bars[t], of_first, x_bars, e_bars, written=written
                )
                written = True
            anchor = self.anchor or self.remade.states[c * group.tiles_per_chunk]
            at_start = self.state_bars if self.anchor is None else anchor_bars
            assert at_start is not None
            if opened_bars is not None and c == group.n_chunks - 1:
                for bar, more in zip(self.state_bars, opened_bars, strict=True):
                    bar.parts[0].add_(more.parts[0])
            self._chunk_errors(c, key_chunks[c], anchor, at_start, x_bars, e_bars)
        self._first_layer()
        found = self.queries_bar, self.keys_bar, self.values_bar
        for total, found_bar in zip(token_bars, found, strict=True):
            tokens = found_bar.transpose(0, 1).flatten(1, 2)
            if group.padded > group.length:
                chunks = tokens.unflatten(1, (group.n_chunks, group.padded))
                tokens = chunks[:, :, : group.length].flatten(1, 2)
            total[:, group.start : group.stop] = tokens
        self._gates(gate_bars)

    def _tile(
        self,
        c: int,
        j: int,
        keys: Tensor,
        bar: Tensor,
        first: _FirstLayer,
        x_bars: list[Any],
        e_bars: list[Tensor],
        *,
        written: bool,
    ) -> None:
        """A tile's writes and, before them, its reads; what is asked of the chunk's factors."""
        group, scratch, coarse = self.group, self.scratch, self.options.coarse
        t, span = c * group.tiles_per_chunk + j, group.span(j)
        tables, bars = self.made.tables[t], self.table_bars[t]
        if not coarse and self.options.residual:
            self.queries_bar[c][:, span] = bar
            assert self.work.read_output is not None
            bar = layer_norm_backward(self.work.read_output[t], bar)
        folded = self._folded(t)
        for layer in range(self.last, -1, -1):
            state, state_bar = self.remade.states[t][layer], self.state_bars[layer]
            e, e_bar = self.remade.errors[layer][c][:, span], e_bars[layer][:, span]
            x = self.remade.inputs[layer - 1][c][:, span] if layer else keys[:, span]
            x_bar: Any = x_bars[layer][:, span] if layer else None
            self._write(layer, state, state_bar, x, e, x_bar, e_bar, tables[layer], bars[layer],
                        first, written=written)  # fmt: skip
            if folded and written:
                folded_write_backward(folded[layer], state.parts[1], state_bar, bars[layer].moves)
            if coarse:
                if not written:
                    move_back(state_bar, None, None, None)
                continue
            moves = tables[layer].moves if written else None
            if layer == 0:
                if self.made.fold is None:
                    torch.bmm(bar, state.stacked_t, out=first.looked_bar)
                    move_back(state_bar, moves, first.looked, bar)
                else:
                    folded_read_backward(folded[0], state.parts[1], bar, tables[0].early,
                                         first.looked_bar)  # fmt: skip
                    folded_move_back(state, state_bar, tables[0], bars[0].moves, first.looked, bar,
                                     written=written)  # fmt: skip
                answer_backward(first.weighted, e, bar, e_bar, first.weighted_bar)
                continue
            h, y = self.remade.hidden[layer - 1][t], self.work.read_before[layer - 1][t]
            h_bar = scratch.take("h bar", layer, h, tuple(h.shape))
            all_found, scores = self.work.found[layer], self.work.scores[layer]
            found = None if all_found is None else all_found[t]
            assert scores is not None
            if self.made.fold is None:
                look_up_backward(state, h, found, bar, tables[layer]._replace(moves=moves),
                                 bars[layer], state_bar, h_bar, scratch)  # fmt: skip
            else:
                left, right = folded_look_up_backward(
                    folded[layer], state.parts[1], h, found, bar, tables[layer], bars[layer],
                    h_bar, scratch,
                )  # fmt: skip
                folded_move_back(state, state_bar, tables[layer], bars[layer].moves, left, right,
                                 written=written)  # fmt: skip
            overlap_backward(x, h, e, scores[t], bar, tables[layer].writes, bars[layer].writes,
                             x_bar, h_bar, e_bar, scratch)  # fmt: skip
            bar = _silu_backward(h_bar, y, grad_input=h_bar)

    def _folded(self, t: int) -> list[Tensor]:
        """A tile's weights with its momentum folded in, per layer; none where it is not."""
        if self.made.fold is None:
            return []
        made = []
        for layer, state in enumerate(self.remade.states[t]):
            weight = state.parts[0]
            out = self.scratch.take("folded", layer, weight, tuple(weight.shape))
            fold_weights(
                state, Matrices(out, 1, state.widening), self.made.tables[t][layer].moves[1]
            )
            made.append(out)
        return made

    def _write(
        self,
        layer: int,
        state: Matrices,
        state_bar: Matrices,
        x: Tensor,
        e: Tensor,
        x_bar: Any,
        e_bar: Tensor,
        tables: LayerTables,
        bars: LayerTables,
        first: _FirstLayer,
        *,
        written: bool,
    ) -> None:
        factors, factors_bar = first.factors, first.factors_bar
        if not written:
            e_bar.zero_()
            (factors_bar if x_bar is None else x_bar).zero_()
            return
        narrow, wide = (x, e) if state.widening else (e, x)
        narrow_bar, wide_bar = (x_bar, e_bar) if state.widening else (e_bar, x_bar)
        if layer:
            shape = (*narrow.shape[:-1], tables.ends.shape[-2] * narrow.shape[-1])
            factors = spread(narrow, tables.ends, self.scratch.take("factor", 0, narrow, shape))
            factors_bar = self.scratch.take("factor bar", 0, narrow, shape)
        given = factors, wide
        if self.options.coarse:
            coarse_write_backward(state, state_bar, *given, tables.moves, bars.moves, factors_bar,
                                  wide_bar, self.scratch)  # fmt: skip
        else:
            moves = bars.moves if self.made.fold is None else None
            write_backward(state, state_bar, *given, tables.recent, moves, factors_bar,
                           wide_bar)  # fmt: skip
        if layer:
            dots(factors_bar, narrow, bars.ends, self.scratch)
            weigh(factors_bar, tables.ends, narrow_bar)

    def _chunk_errors(
        self,
        c: int,
        keys: Tensor,
        anchor: State,
        anchor_bars: State,
        x_bars: list[Any],
        e_bars: list[Tensor],
    ) -> None:
        """The errors' own derivative; with coarse reads, theirs too."""
        last, n = self.last, self.group.padded
        learns_anchor = not self.options.first_order
        z_bars = []
        for layer in range(last):
            bar, z = e_bars[layer], self.work.before[layer][c][:, :n]
            z_bars.append(self.remade.bends[layer][c].mul_(bar))
            back_bar = _silu_backward(bar, z, grad_input=bar)
            e_bars[layer + 1].baddbmm_(back_bar, anchor[layer + 1].weight)
            if learns_anchor:
                anchor_bars[layer + 1].add_product(back_bar, self.remade.errors[layer + 1][c])
        key_bar = None
        if self.options.residual:
            key_bar, self.values_bar[c], output_bar = self._residual(c, keys, e_bars[last])
        else:
            error = self.work.error
            if self.remade.errors[last] is not error:
                e_bars[last] = bound_error_backward(error[c], e_bars[last])
            output_bar = e_bars[last].mul_(2)
            torch.neg(output_bar, out=self.values_bar[c])
        z_bars.append(output_bar)
        if self.options.coarse:
            self._coarse_reads(c, anchor, anchor_bars)
        for layer in range(last, 0, -1):
            bar = z_bars[layer]
            if learns_anchor:
                anchor_bars[layer].add_product(self.remade.inputs[layer - 1][c][:, :n], bar)
            x_bar = x_bars[layer].baddbmm_(bar, anchor[layer].weight_t)
            z = self.work.before[layer - 1][c][:, :n]
            z_bars[layer - 1] += _silu_backward(x_bar, z, grad_input=x_bar)
        if learns_anchor:
            anchor_bars[0].add_product(keys, z_bars[0])
        torch.bmm(z_bars[0], anchor[0].weight_t, out=self.keys_bar[c])
        if key_bar is not None:
            self.keys_bar[c] += key_bar

    def _coarse_reads(self, c: int, anchor: State, anchor_bars: State) -> None:
        """Reads of the chunk's anchor."""
        n, both = self.group.padded, self.made.both
        assert both is not None
        bar = to_tiles(self.reads_bar, n)[c]
        first = bar
        if self.options.residual:
            assert self.work.output is not None
            bar = layer_norm_backward(self.work.output[c][:, n:], bar)
        for layer in range(self.last, -1, -1):
            h = (self.remade.inputs[layer - 1] if layer else both)[c][:, n:]
            anchor_bars[layer].add_product(h, bar)
            h_bar = self.scratch.take("h bar", layer, h, tuple(h.shape))
            torch.bmm(bar, anchor[layer].weight_t, out=h_bar)
            if layer:
                z = self.work.before[layer - 1][c][:, n:]
                bar = _silu_backward(h_bar, z, grad_input=h_bar)
        self.queries_bar[c] = h_bar + first if self.options.residual else h_bar

    def _residual(self, c: int, keys: Tensor, bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cotangents of keys, values and the last layer's output, by autograd."""
        assert self.work.output is not None
        n = self.group.padded
        output = self.work.output[c][:, :n]
        values = to_tiles(self.made.values, n)[c]
        with torch.enable_grad():
            output, keys, values = (x.detach().requires_grad_() for x in (output, keys, values))
            error = output_error(output, keys, values, residual=True)
            output_bar, key_bar, value_bar = torch.autograd.grad(error, (output, keys, values), bar)
        return key_bar, value_bar, output_bar

    # -- what takes no state -------------------------------------------------------------------

    def _first_layer(self) -> None:
        """The first layer's factors and scores, of all tiles at once."""
        group, made = self.group, self.made
        looked_bar: Any = self.first.looked_bar
        weighted_bar: Any = self.first.weighted_bar
        factors_bar = self.first.factors_bar
        keys = to_tiles(made.keys, group.tile)
        dots(factors_bar, keys, self.ends_bar[:, 0], self.scratch)
        more = self._like(keys)
        self._add_tiles(self.keys_bar, weigh(factors_bar, made.ends[:, 0], more))
        if looked_bar is None:
            return
        writes: Any = made.writes
        reads: Any = made.reads
        scores: Any = made.scores
        queries = to_tiles(made.queries, group.tile)
        dots(looked_bar, queries, self.reads_table_bar[:, 0], self.scratch)
        torch.mul(weighted_bar, scores, out=self.writes_bar[:, 0])
        scores_bar = weighted_bar.mul_(writes[:, 0])
        self._add_tiles(self.keys_bar, torch.matmul(scores_bar, queries, out=more))
        torch.matmul(scores_bar.mT, keys, out=more)
        weigh(looked_bar, reads[:, 0], more, add=True)
        self._add_tiles(self.queries_bar, more, new=not self.options.residual)

    def _add_tiles(self, chunks: Tensor, tiles: Tensor, *, new: bool = False) -> None:
        """Add (tiles, rows, tile, width) to (chunks, rows, padded length, width)."""
        group = self.group
        into = chunks.unflatten(2, (group.tiles_per_chunk, group.tile)).transpose(1, 2)
        tiles = tiles.unflatten(0, (group.n_chunks, group.tiles_per_chunk))
        if new:
            into.copy_(tiles)
        else:
            into.add_(tiles)

    def _gates(self, gate_bars: list[Tensor | None]) -> None:
        made = self.made

        def part(bar: Tensor, number: int) -> Any:
            """Back to (tiles, layers, rows, 1, tokens)."""
            return None if number == bar.shape[-2] else bar[..., number, :].mT

        moves = [self.moves_bar[..., i, None, None] for i in range(3)]
        work, reads, ends = made.table_work, self.reads_table_bar, self.ends_bar
        if isinstance(work, CoarseWork):
            found = coarse_tables_backward(work, CoarseTables(ends, *moves))
            self._write_gates(gate_bars, found)
            return
        bars = GateTables(
            part(reads, 0), part(reads, 1), self.writes_bar, part(ends, 0), part(ends, 1), *moves
        )
        more: Any = None
        if made.fold is not None:
            # Folded, the buffer at the start has no part in the tables but these.
            start_bar, more = fold_backward(made.fold, work, reads[..., 1, 0], moves[1])
            bars = bars._replace(
                start=bars.start + start_bar[..., None, :],
                pushed=torch.zeros_like(bars.start),
                pushed_end=torch.zeros_like(bars.start_end),
            )
        found = tables_backward(work, bars, self.summed_bar, self.arena)
        if more is not None:
            step_bar, momentum_bar, keep_bar = found
            assert momentum_bar is not None
            found = [step_bar, momentum_bar + more, None if keep_bar is None else keep_bar - more]
        self._write_gates(gate_bars, found)

    def _write_gates(self, gate_bars: list[Tensor | None], found: list[Tensor | None]) -> None:
        group = self.group
        for total, bar in zip(gate_bars, found, strict=True):
            if total is not None and bar is not None:
                chunks = bar.unflatten(-1, (group.n_chunks, group.padded))[..., : group.length]
                total[..., group.start : group.stop] = chunks.flatten(-2)
