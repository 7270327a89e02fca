"""A group of chunks, forward: what the scan does between two saved states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena, Workspace
from titans_ts.ops.memory_coarse import coarse_write
from titans_ts.ops.memory_fold import fold_weights, folded_answer, folded_look_up, folded_write
from titans_ts.ops.memory_net import bound_error, finish_read, output_error
from titans_ts.ops.memory_overlap import answer, overlap
from titans_ts.ops.memory_prepare import Group, Prepared, ScanOptions, to_tiles
from titans_ts.ops.memory_scan import LayerTables, Matrices, look_up, spread, write

__all__ = ["GroupWork", "State", "make_group_work", "remake_states", "run_group"]

State = list[Matrices]  # one entry a layer


class GroupWork(NamedTuple):
    """What a group's forward pass leaves for its backward pass.

    Lists of layers, each of shape (chunks or tiles, rows, tokens, ...). What is cheap to make
    again is not here.
    """

    before: list[Tensor]  # of errors: each layer's product, up to the last but one
    back: list[Tensor]  # of errors: what came back through the next layer
    error: Tensor  # of the last layer, before it was bounded
    output: Tensor | None  # of the last layer; with ``residual`` only
    read_before: list[Tensor]  # of reads: each layer's product, up to the last but one
    found: list[Tensor | None]  # of reads: what a narrowing layer's matrices answer
    scores: list[Tensor | None]  # of reads: inputs times hidden, from the second layer on
    read_output: Tensor | None  # with ``residual`` only
    states: list[list[Matrices]]  # of each tile and layer, before it; or before the first only


def make_group_work(
    group: Group, state: State, residual: bool, coarse: bool, arena: Arena, n: int | None
) -> GroupWork:
    """Room for a group's work; ``n`` chunks and tiles of it, None for all."""
    n_chunks, n_tiles = (group.n_chunks, group.n_tiles) if n is None else (n, n)
    like = state[0].stacked
    rows = len(like)
    sizes = [state[0].weight.shape[1], *(matrices.weight.shape[2] for matrices in state)]
    chunk = group.padded * (2 if coarse else 1)

    def room(count: int, tokens: int, width: int) -> Tensor:
        return arena.take(count, rows, tokens, width, dtype=like.dtype)

    def found(layer: int) -> Tensor | None:
        matrices = state[layer]
        if coarse or matrices.widening:
            return None
        return room(n_tiles, group.tile, len(matrices.parts) * sizes[layer + 1])

    def scores(layer: int) -> Tensor | None:
        return None if coarse or layer == 0 else room(n_tiles, group.tile, group.tile)

    inner, layers = sizes[1:-1], range(len(state))
    return GroupWork(
        [room(n_chunks, chunk, size) for size in inner],
        [room(n_chunks, group.padded, size) for size in inner],
        room(n_chunks, group.padded, sizes[-1]),
        room(n_chunks, chunk, sizes[-1]) if residual or coarse else None,
        [] if coarse else [room(n_tiles, group.tile, size) for size in inner],
        [found(layer) for layer in layers],
        [scores(layer) for layer in layers],
        room(n_tiles, group.tile, sizes[-1]) if residual and not coarse else None,
        [],
    )


class _Errors(NamedTuple):
    """The factors of a chunk's gradients."""

    inputs: list[Tensor]  # per layer, (rows, tokens, width_in)
    errors: list[Tensor]  # per layer, (rows, tokens, width_out)


def run_group(
    group: Group,
    options: ScanOptions,
    made: Prepared,
    state: State,
    anchor: State | None,
    reads: Tensor,
    work: GroupWork,
    spare: list[State],
    scratch: Workspace,
    *,
    keep_states: bool,
    write_last: bool,
) -> State:
    """Chunks of a group, one after the other.

    Parameters
    ----------
    made : Prepared
    state : list of Matrices
        Before the group.
    anchor : list of Matrices, optional
        Where the group's chunk takes its gradients; None: at its start.
    reads : Tensor of shape (rows, padded time, width)
        Written.
    work : GroupWork
        Written; a group that is not kept has room for one chunk and tile, which all share.
    spare : list of states
        Where the states after the tiles go, in turn; one of them may be ``state`` itself. One for
        the last tile, too, whether or not it is written.
    keep_states : bool
        Whether there is one in ``spare`` for each tile, and ``work`` is to list them.
    write_last : bool
        Whether the last tile's writes are wanted.

    Returns
    -------
    list of Matrices
        State after the group.
    """
    keys, values = (to_tiles(x, group.padded).unbind() for x in (made.keys, made.values))
    queries, out = (to_tiles(x, group.tile).unbind() for x in (made.queries, reads))
    factors = made.factors.unbind()
    space, writer = _Space(work), _writer(made)
    last = len(state) - 1
    for c in range(group.n_chunks):
        errors: _Errors | None = None
        for j in range(group.tiles_per_chunk):
            t, span = c * group.tiles_per_chunk + j, group.span(j)
            if errors is None:
                at = anchor or state
                if made.both is None:
                    errors = _errors(space, c, at, keys[c], values[c], options, scratch)
                else:
                    read = reads[:, c * group.padded : (c + 1) * group.padded]
                    errors = _errors_and_reads(space, c, at, made.both[c], values[c], read, scratch,
                                               residual=options.residual)  # fmt: skip
            x, e = _cut(errors, span, group)
            tables, after = made.tables[t], spare[t % len(spare)]
            if made.fold is not None:
                for old, new, table in zip(state, after, tables, strict=True):
                    fold_weights(old, new, table.moves[1])
            if made.both is None:
                _read(space, t, state, after, x, e, made, queries[t], out[t], scratch,
                      residual=options.residual)  # fmt: skip
            if keep_states:
                work.states.append(state)
            if write_last or t < group.n_tiles - 1:
                # The last layer's matrices were read last and are still cached, the first's are
                # read next.
                for layer in range(last, -1, -1):
                    narrow, wide = _sides(state[layer], x[layer], e[layer])
                    factor = factors[t] if layer == 0 else _factor(narrow, tables[layer], scratch)
                    writer(state[layer], after[layer], factor, wide, tables[layer])
                state = after
    return state


def remake_states(
    group: Group,
    made: Prepared,
    inputs: list[Tensor],
    errors: list[Tensor],
    states: list[State],
    scratch: Workspace,
) -> None:
    """Write the group's tiles once more: ``states[0]`` is given, and the others are filled."""
    factors, writer = made.factors.unbind(), _writer(made)
    xs, es = ([_tile_views(x, group) for x in factors_of] for factors_of in (inputs, errors))
    for t in range(group.n_tiles - 1):
        for layer, old in enumerate(states[t]):
            if made.fold is not None:
                fold_weights(old, states[t + 1][layer], made.tables[t][layer].moves[1])
            narrow, wide = _sides(old, xs[layer][t], es[layer][t])
            tables = made.tables[t][layer]
            factor = factors[t] if layer == 0 else _factor(narrow, tables, scratch)
            writer(old, states[t + 1][layer], factor, wide, tables)


def _tile_views(chunks: Tensor, group: Group) -> list[Tensor]:
    """(chunks, rows, padded length, width) as a list of (rows, tile, width)."""
    return [tile for chunk in chunks.unbind() for tile in chunk.split(group.tile, 1)]


class _Space:
    """Where the results of a chunk and of a tile go: a :class:`GroupWork`, by number."""

    def __init__(self, work: GroupWork) -> None:
        self._work = work
        lists = (work.before, work.back, work.read_before, work.found, work.scores)
        self._views = [[None if x is None else x.unbind() for x in layers] for layers in lists]

    def _at(self, which: int, layer: int, number: int) -> Any:
        views: Any = self._views[which][layer]
        return None if views is None else views[number % len(views)]

    def before(self, layer: int, chunk: int) -> Any:
        return self._at(0, layer, chunk)

    def back(self, layer: int, chunk: int) -> Any:
        return self._at(1, layer, chunk)

    def read_before(self, layer: int, tile: int, reads: Tensor) -> Any:
        """Of the last layer, the reads themselves."""
        if layer < len(self._views[2]):
            return self._at(2, layer, tile)
        output = self._work.read_output
        return reads if output is None else output[tile % len(output)]

    def found(self, layer: int, tile: int) -> Any:
        return self._at(3, layer, tile)

    def scores(self, layer: int, tile: int) -> Any:
        return self._at(4, layer, tile)

    def error(self, chunk: int) -> Tensor:
        return self._work.error[chunk % len(self._work.error)]

    def output(self, chunk: int) -> Tensor:
        assert self._work.output is not None
        return self._work.output[chunk % len(self._work.output)]


def _errors(
    space: _Space,
    c: int,
    anchor: State,
    keys: Tensor,
    values: Tensor,
    options: ScanOptions,
    scratch: Workspace,
) -> _Errors:
    """As ``memory_net.memory_errors``."""
    x, last = keys, len(anchor) - 1
    inputs = [x]
    for layer in range(last):
        x = _silu(
            "x", layer, torch.bmm(x, anchor[layer].weight, out=space.before(layer, c)), scratch
        )
        inputs.append(x)
    error = space.error(c)
    if options.residual:
        output = torch.bmm(x, anchor[last].weight, out=space.output(c))
        error.copy_(output_error(output, keys, values, residual=True))
    else:
        # 2 (f(k) - v) in one go.
        torch.baddbmm(values, x, anchor[last].weight, beta=-2, alpha=2, out=error)
        error = bound_error(error) if last else error
    return _Errors(inputs, _errors_from(space, c, anchor, error, None, scratch))


def _errors_and_reads(
    space: _Space,
    c: int,
    anchor: State,
    both: Tensor,
    values: Tensor,
    reads: Tensor,
    scratch: Workspace,
    *,
    residual: bool,
) -> _Errors:
    """Errors, and reads of the same fixed weights: keys and queries in one product each."""
    x, last, n = both, len(anchor) - 1, values.shape[1]
    inputs = [x[:, :n]]
    for layer in range(last):
        x = _silu(
            "x", layer, torch.bmm(x, anchor[layer].weight, out=space.before(layer, c)), scratch
        )
        inputs.append(x[:, :n])
    output = torch.bmm(x, anchor[last].weight, out=space.output(c))
    answer, read = output[:, :n], output[:, n:]
    error = space.error(c)
    if residual:
        error.copy_(output_error(answer, both[:, :n], values, residual=True))
        reads.copy_(finish_read(read, both[:, n:], residual=True))
    else:
        torch.sub(answer, values, out=error).mul_(2)
        error = bound_error(error) if last else error
        reads.copy_(read)
    return _Errors(inputs, _errors_from(space, c, anchor, error, n, scratch))


def _errors_from(
    space: _Space,
    c: int,
    anchor: State,
    error: Tensor,
    n: int | None,
    scratch: Workspace,
) -> list[Tensor]:
    """From the last layer's error back to the first's; ``n`` tokens of what was kept are keys."""
    errors = [error]
    for layer in range(len(anchor) - 1, 0, -1):
        back = torch.bmm(errors[0], anchor[layer].weight_t, out=space.back(layer - 1, c))
        before = space.before(layer - 1, c)[:, :n]
        made = scratch.take("e", layer, back, tuple(back.shape))
        errors.insert(0, torch.ops.aten.silu_backward.grad_input(back, before, grad_input=made))
    return errors


def _read(
    space: _Space,
    t: int,
    state: State,
    after: State,
    inputs: list[Tensor],
    errors: list[Tensor],
    made: Prepared,
    queries: Tensor,
    reads: Tensor,
    scratch: Workspace,
    *,
    residual: bool,
) -> None:
    """Read after each token of a tile; where momentum is folded, the weights are in ``after``."""
    last, tables = len(state) - 1, made.tables[t]
    assert made.looked is not None
    assert made.weighted is not None
    y = space.read_before(0, t, reads)
    if made.fold is None:
        torch.bmm(made.looked[t], state[0].stacked, out=y)
    else:
        folded_answer(after[0].parts[0], state[0].parts[1], made.looked[t], made.fold.early, y)
    answer(made.weighted[t], errors[0], y)
    for layer in range(1, last + 1):
        h = _silu("h", layer, y, scratch)
        y = space.read_before(layer, t, reads)
        table, found = tables[layer], space.found(layer, t)
        if made.fold is None:
            look_up(state[layer], h, table.reads, y, found, scratch)
        else:
            weight, buffer = after[layer].parts[0], state[layer].parts[1]
            folded_look_up(weight, buffer, h, table, y, found, scratch)
        overlap(inputs[layer], h, errors[layer], table.writes, space.scores(layer, t), y, scratch)
    if residual:
        reads.copy_(finish_read(y, queries, residual=True))


def _writer(made: Prepared) -> Callable[..., None]:
    if made.both is not None:
        return coarse_write
    return write if made.fold is None else folded_write


def _sides(matrices: Matrices, x: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """The narrow and the wide vectors of a layer's writes."""
    return (x, error) if matrices.widening else (error, x)


def _factor(narrow: Tensor, tables: LayerTables, scratch: Workspace) -> Tensor:
    n_parts = tables.ends.shape[-2]
    shape = (*narrow.shape[:-1], n_parts * narrow.shape[-1])
    return spread(narrow, tables.ends, scratch.take("factor", 0, narrow, shape))


def _cut(errors: _Errors, span: slice, group: Group) -> tuple[list[Tensor], list[Tensor]]:
    if group.tiles_per_chunk == 1:
        return errors.inputs, errors.errors
    inputs, outer = ([x[:, span] for x in xs] for xs in errors)
    return inputs, outer


def _silu(name: str, layer: int, x: Tensor, scratch: Workspace) -> Tensor:
    return torch.ops.aten.silu.out(x, out=scratch.take(name, layer, x, tuple(x.shape)))
