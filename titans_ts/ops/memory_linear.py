"""The linear memory, exactly: every token's error in its chunk's place, by one triangular solve.

With one layer and no residual an error is linear in the state a tile starts from *and* in the errors
before it, so the chunks of a tile need not wait for each other: README.md has the derivation. What
is left to a scan are a few products a tile, whose backward pass is written out here.

Tokens are rows, ``(rows, tokens, width)``, where a row of the batch is one head of one sequence.
A tile's keys and queries lie in one matrix, keys first: an error and a read are the same look-up,
of the state before a token's chunk and of the state after the token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from titans_ts.ops.memory_scan import Workspace
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import gate_tables

__all__ = ["linear_memory"]

# Tokens of a tile, at most, and a multiple of the chunk: a matter of speed only.
MAX_TILE = 64
# Tokens, times rows, that are prepared together: few enough for them to stay in a core's cache.
GROUP_TOKENS = 512
# States of rows that are worked on at a time, for the same reason.
CACHE_BYTES = 2**19
# Up to here the states between tiles are kept for the backward pass, beyond they are made again.
KEEP_BYTES = 2**27

Number = Tensor | float


class _Lookups(NamedTuple):
    """A tile's gates. Columns of ``mix`` and rows of ``start``, ``pushed``: keys, then queries.

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


class _Group(NamedTuple):
    """Neighbouring tiles, prepared together."""

    start: int  # first token
    stop: int
    n_tiles: int
    tile: int  # tokens of a tile; the last may have fewer

    def span(self, number: int) -> slice:
        first = self.start + number * self.tile
        return slice(first, min(first + self.tile, self.stop))


class _Prepared(NamedTuple):
    """All of a group that takes no state."""

    tokens: Tensor  # (tiles, rows, 2 tokens, width): keys, then queries
    values: Tensor  # (tiles, rows, tokens, width)
    gates: MemoryGates  # leaves of the graph of ``graph``, where that is wanted
    graph: _Lookups
    lookups: _Lookups  # the same without a graph
    scores: Tensor  # (tiles, rows, tokens, 2 tokens)
    weighted: Tensor  # same shape: times ``lookups.mix``
    solver: Tensor | None  # (tiles, rows, tokens, tokens): what makes errors of misses
    ends: tuple[list[Number], ...]  # start_end, and with momentum pushed_end, fade_end


class _Kept(NamedTuple):
    """What the forward pass of a group leaves for the backward pass."""

    errors: Tensor  # (tiles, rows, tokens, width)
    states: Tensor  # (tiles or 1, rows, width or 2 width, width): before each tile, or the first


class _Options(NamedTuple):
    chunk_size: int
    need_state: bool
    training: bool


def linear_memory(
    weights: Tensor,
    momentum: Tensor | None,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    need_state: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Write whole chunks into memories of one layer and read them after each token.

    The same as ``memory_reference`` with one layer and without ``residual``. Not for half
    precision: the solve wants float32 or float64.

    Parameters
    ----------
    weights : Tensor of shape (rows, width, width)
        Memory before the first token, (in, out).
    momentum : Tensor of the same shape, optional
        None: zero. Ignored where ``gates.log_momentum`` is None.
    queries, keys, values : Tensor of shape (rows, time, width)
        ``time`` a positive multiple of ``chunk_size``.
    gates : MemoryGates
        Of shape (rows, 1, time).
    chunk_size : int
        Tokens that share one gradient point, 1 to ``MAX_TILE``.
    need_state : bool
        False: return None for the state and spare the work of making it.

    Returns
    -------
    reads : Tensor of shape (rows, time, width)
    weights, momentum : Tensor of shape (rows, width, width) or None
        State after the last token; ``momentum`` is None without momentum gates.
    """
    step, log_momentum, log_keep, observed = gates
    has_momentum = log_momentum is not None
    # Inside of apply gradients are always off.
    options = _Options(chunk_size, need_state, torch.is_grad_enabled())
    reads, *state = _Linear.apply(
        options,
        observed,
        queries,
        keys,
        values,
        step,
        log_momentum,
        log_keep,
        weights,
        momentum if has_momentum else None,
    )
    weights_after = state[0] if need_state else None
    return reads, weights_after, state[1] if need_state and has_momentum else None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: _Options, observed: Tensor | None, *tensors: Any) -> Any:
        training = options.training and any(ctx.needs_input_grad)
        reads = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
        size, kept, after = _rows_at_once(tensors[6]), [], []
        for first in range(0, len(reads), size):
            rows = slice(first, first + size)
            scan = _RowScan(options, observed, tensors, rows)
            kept.append(scan.run(reads[rows], keep=training))
            after.append(scan.after)
        if training:
            ctx.options, ctx.size, ctx.kept = options, size, kept
            ctx.save_for_backward(observed, *tensors)
        if not options.need_state:
            return (reads,)
        joined = torch.cat(after) if len(after) > 1 else after[0]
        return (reads, *(x.contiguous() for x in joined.split(joined.shape[-1], 1)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Tensor) -> Any:
        observed, *tensors = ctx.saved_tensors
        bars = [
            None if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)
            for x in tensors
        ]
        after_bar = torch.cat(after_bars, 1) if after_bars else None
        for number, kept in enumerate(ctx.kept):
            rows = slice(number * ctx.size, (number + 1) * ctx.size)
            scan = _RowScan(ctx.options, observed, tensors, rows)
            scan.run_backward(
                kept,
                reads_bar[rows],
                None if after_bar is None else after_bar[rows],
                [None if bar is None else bar[rows] for bar in bars],
            )
        return (None, None, *bars)


def _rows_at_once(weights: Tensor) -> int:
    if weights.device.type != "cpu":
        return len(weights)
    per_row = 2 * weights[0].numel() * weights.element_size()
    return torch.get_num_threads() * max(CACHE_BYTES // per_row, 1)


class _RowScan:
    """The scan of some rows, forward or backward."""

    def __init__(
        self, options: _Options, observed: Tensor | None, tensors: Any, rows: slice
    ) -> None:
        cut = [None if tensor is None else tensor[rows] for tensor in tensors]
        self.options = options
        self.queries, self.keys, self.values = cut[:3]
        self.gates = MemoryGates(*cut[3:6], None if observed is None else observed[rows])
        self.weights, self.momentum = cut[6:]
        self.has_momentum = self.gates.log_momentum is not None
        self.work = Workspace()
        self.after = self.weights
        n_rows, time, self.width = self.keys.shape
        chunk = options.chunk_size
        # Tiles as long as they may be, and then as equal as they can be.
        n_tiles = -(-time // (max(MAX_TILE // chunk, 1) * chunk))
        tile = -(-time // (n_tiles * chunk)) * chunk
        n_tiles = -(-time // tile)
        at_once = max(GROUP_TOKENS // (tile * n_rows), 1)
        self.groups = [
            _Group(i * tile, min((i + at_once) * tile, time), min(at_once, n_tiles - i), tile)
            for i in range(0, n_tiles, at_once)
        ]
        per_tile = (2 if self.has_momentum else 1) * self.weights.numel()
        self.keep_states = n_tiles * per_tile * self.weights.element_size() <= KEEP_BYTES

    def run(self, reads: Tensor, *, keep: bool) -> list[_Kept]:
        """Write the reads; the state comes to lie in ``after``."""
        kept = []
        state = self._start()
        for group in self.groups:
            made = self._prepare(group, graph=False)
            n = group.n_tiles
            shape = made.values.shape
            errors = state.new_empty(shape) if keep else self._take("errors", shape)
            if keep and self.keep_states:
                states = state.new_empty(n, *state.shape)
                states[0] = state
                slots = [*states.unbind(), state]
            else:
                states = state.clone()[None] if keep else state[None]
                slots = [state] * (n + 1)
            halves = [slot.split(self.width, 1) for slot in slots]
            is_last = group is self.groups[-1]
            for i in range(n):
                self._read(group, made, i, slots[i], errors[i], reads)
                if self.options.need_state or not is_last or i < n - 1:
                    self._write(made, i, halves[i], errors[i], halves[i + 1])
            if keep:
                kept.append(_Kept(errors, states))
        self.after = state
        return kept

    def run_backward(
        self,
        kept: list[_Kept],
        reads_bar: Tensor,
        after_bar: Tensor | None,
        bars: list[Tensor | None],
    ) -> None:
        """Write the cotangents of queries, keys, values, gates, weights and momentum."""
        state_bar = torch.zeros_like(kept[0].states[0]) if after_bar is None else after_bar.clone()
        for group, (errors, states) in zip(reversed(self.groups), reversed(kept), strict=True):
            made = self._prepare(group, graph=True)
            n = group.n_tiles
            if len(states) < n:
                before = states
                states = self._take("states", (n, *before.shape[1:]))
                states[0] = before[0]
                halves = [state.split(self.width, 1) for state in states.unbind()]
                for i in range(n - 1):
                    self._write(made, i, halves[i], errors[i], halves[i + 1])
            _GroupBackward(self, group, made, errors, states).run(reads_bar, state_bar, bars)
        for bar, part in zip(bars[6:], state_bar.split(self.width, 1), strict=False):
            if bar is not None:
                bar.copy_(part)

    def _start(self) -> Tensor:
        """Weights, and with momentum the buffer below them: (rows, width or 2 width, width)."""
        if not self.has_momentum:
            return self.weights.clone(memory_format=torch.contiguous_format)
        momentum = torch.zeros_like(self.weights) if self.momentum is None else self.momentum
        return torch.cat((self.weights, momentum), 1)

    def _take(self, name: str, shape: Any) -> Tensor:
        return self.work.take(name, 0, self.keys, tuple(shape))

    def _prepare(self, group: _Group, *, graph: bool) -> _Prepared:
        n_tiles, tile, rows = group.n_tiles, group.tile, len(self.keys)
        tokens = self._take("tokens", (n_tiles, rows, 2 * tile, self.width))
        values = self._take("values", (n_tiles, rows, tile, self.width))
        for cut, source in (
            (tokens[..., :tile, :], self.keys),
            (tokens[..., tile:, :], self.queries),
            (values, self.values),
        ):
            _to_tiles(source, group, cut)
        gates = _cut_gates(self.gates, group)
        if graph:
            leaves = (None if x is None else x.detach().requires_grad_() for x in gates[:3])
            gates = MemoryGates(*leaves, gates.observed)
        with torch.set_grad_enabled(graph):
            drawn = _lookups(gates, n_tiles, self.options.chunk_size)
        lookups = _Lookups(*(None if x is None else x.detach() for x in drawn))
        flat = tokens.flatten(0, 1)
        scores = self._take("scores", (n_tiles, rows, tile, 2 * tile))
        torch.bmm(flat[:, :tile], flat.mT, out=scores.flatten(0, 1))
        weighted = torch.mul(scores, lookups.mix, out=self._take("weighted", scores.shape))
        solver = None
        if self.options.chunk_size < tile:
            # E + 2 L E = 2 miss, L strictly lower: 2 (I + 2 L)^-1 of all tiles in one solve.
            lower = 2 * weighted[..., :tile].mT
            twice = 2 * torch.eye(tile, dtype=lower.dtype, device=lower.device)
            solver = torch.linalg.solve_triangular(
                lower, twice.expand_as(lower), upper=False, unitriangular=True
            )
        ends = [x for x in lookups[5:] if x is not None]
        as_numbers = rows == 1 and self.keys.device.type == "cpu"
        numbers = tuple(x.flatten().tolist() if as_numbers else list(x.unbind()) for x in ends)
        return _Prepared(tokens, values, gates, drawn, lookups, scores, weighted, solver, numbers)

    def looked_up(self, made: _Prepared, i: int) -> Tensor:
        """What the state is multiplied with: (rows, 2 tokens, width or 2 width)."""
        x, start, pushed = made.tokens[i], made.lookups.start[i], made.lookups.pushed
        if pushed is None:
            return torch.mul(x, start, out=self._take("looked up", x.shape))
        out = self._take("looked up", (*x.shape[:2], 2 * self.width))
        torch.mul(x, start, out=out[..., : self.width])
        torch.mul(x, pushed[i], out=out[..., self.width :])
        return out

    def _read(
        self, group: _Group, made: _Prepared, i: int, state: Tensor, error: Tensor, reads: Tensor
    ) -> None:
        """Errors of a tile, into ``error``, and its reads, into ``reads``."""
        tile, span = group.tile, group.span(i)
        n = span.stop - span.start
        answer = self.work.bmm("answer", 0, self.looked_up(made, i), state)
        miss = answer[:, :tile]
        if made.solver is None:
            torch.sub(miss, made.values[i], out=error).mul_(2)
        else:
            torch.bmm(made.solver[i], miss.sub_(made.values[i]), out=error)
        torch.baddbmm(
            answer[:, tile : tile + n],
            made.weighted[i][..., tile : tile + n].mT,
            error,
            alpha=-1,
            out=reads[:, span],
        )

    def _write(
        self,
        made: _Prepared,
        i: int,
        before: tuple[Tensor, ...],
        error: Tensor,
        after: tuple[Tensor, ...],
    ) -> None:
        """State after a tile; ``before`` and ``after`` may be the same."""
        keys = made.tokens[i][:, : error.shape[1]]
        shares = [made.lookups.weights[i]]
        if made.lookups.buffer is not None:
            shares.append(made.lookups.buffer[i])
        # The weights first: they want the buffer from before.
        for half, share in enumerate(shares):
            factor = self.work.mul("factor", 0, keys, share).mT
            keep = made.ends[2 * half][i]
            old, new = before[half], after[half]
            if isinstance(keep, float):
                torch.baddbmm(old, factor, error, beta=keep, alpha=-1, out=new)
            else:
                torch.mul(old, keep, out=new).baddbmm_(factor, error, alpha=-1)
            if half == 0 and len(shares) > 1:
                _add_scaled(new, before[1], made.ends[1][i])


class _GroupBackward:
    """The backward pass of one group."""

    def __init__(
        self, scan: _RowScan, group: _Group, made: _Prepared, errors: Tensor, states: Tensor
    ) -> None:
        self.scan, self.group, self.made = scan, group, made
        self.errors, self.states, self.work = errors, states, scan.work
        self.token_bars = scan._take("token bars", made.tokens.shape)
        self.value_bars = scan._take("value bars", made.values.shape)
        self.bars = _Lookups(
            *(
                None if x is None else scan._take(f"{name} bar", x.shape)
                for name, x in made.lookups._asdict().items()
            )
        )

    def run(self, reads_bar: Tensor, state_bar: Tensor, bars: list[Tensor | None]) -> None:
        """Move ``state_bar`` from after the group to before it; write the others' cotangents."""
        made, group, tile = self.made, self.group, self.group.tile
        look_bars = self.scan._take("look bars", made.tokens.shape)
        _to_tiles(reads_bar, group, look_bars[..., tile:, :])
        for i in range(group.n_tiles - 1, -1, -1):
            self._error_bar(i, look_bars[i], state_bar)
            self._write_backward(i, state_bar)
            self._look_backward(i, look_bars[i], state_bar)
        self._scores_backward(look_bars)
        torch.neg(look_bars[..., :tile, :], out=self.value_bars)
        for bar, cut in (
            (bars[0], self.token_bars[..., tile:, :]),
            (bars[1], self.token_bars[..., :tile, :]),
            (bars[2], self.value_bars),
        ):
            _from_tiles(cut, group, bar)
        self._gates_backward(bars[3:6])

    def _error_bar(self, i: int, look_bar: Tensor, state_bar: Tensor) -> None:
        """Cotangent of the answers to keys, into the first half of ``look_bar``."""
        made, tile = self.made, self.group.tile
        bar = self.work.bmm("error bar", 0, made.weighted[i][..., tile:], look_bar[:, tile:])
        keys = made.tokens[i][:, :tile]
        for share, half in zip(self._shares(i), state_bar.split(self.scan.width, 1), strict=True):
            bar.baddbmm_(self.work.mul("factor", 0, keys, share), half)
        out = look_bar[:, :tile]
        if made.solver is None:
            torch.mul(bar, -2, out=out)
        else:
            torch.baddbmm(out, made.solver[i].mT, bar, beta=0, alpha=-1, out=out)

    def _shares(self, i: int) -> list[Tensor]:
        lookups = self.made.lookups
        shares = [lookups.weights[i]]
        return shares if lookups.buffer is None else [*shares, lookups.buffer[i]]

    def _write_backward(self, i: int, state_bar: Tensor) -> None:
        """Backward of ``_RowScan._write`` but for the errors; starts ``token_bars``."""
        made, bars, width = self.made, self.bars, self.scan.width
        keys = made.tokens[i][:, : self.group.tile]
        key_bar = self.token_bars[i][:, : self.group.tile]
        halves = state_bar.split(width, 1)
        before = self.states[i].split(width, 1)
        share_bars = [bars.weights] if bars.buffer is None else [bars.weights, bars.buffer]
        factor_bar = self.work.bmm("factor bar", 0, self.errors[i], state_bar.mT)
        for half, (share, share_bar) in enumerate(zip(self._shares(i), share_bars, strict=True)):
            bar = factor_bar[..., half * width : (half + 1) * width]
            self._row_dots(bar, keys, share_bar[i]).neg_()
            if half:
                key_bar.addcmul_(bar, share, value=-1)
            else:
                torch.mul(bar, share, out=key_bar).neg_()
        self._dot(halves[0], before[0], bars.start_end[i])
        if bars.pushed_end is not None:
            assert bars.fade_end is not None
            self._dot(halves[0], before[1], bars.pushed_end[i])
            self._dot(halves[1], before[1], bars.fade_end[i])
            halves[1].mul_(made.ends[2][i])
            _add_scaled(halves[1], halves[0], made.ends[1][i])
        halves[0].mul_(made.ends[0][i])

    def _look_backward(self, i: int, look_bar: Tensor, state_bar: Tensor) -> None:
        """Backward of the product with the state, keys and queries at once."""
        made, bars, tile, width = self.made, self.bars, self.group.tile, self.scan.width
        x, x_bar = made.tokens[i], self.token_bars[i]
        state_bar.baddbmm_(self.scan.looked_up(made, i).mT, look_bar)
        back = self.work.bmm("back", 0, look_bar, self.states[i].mT)
        by_start = back[..., :width]
        self._row_dots(by_start, x, bars.start[i])
        start = made.lookups.start[i]
        x_bar[:, :tile].addcmul_(by_start[:, :tile], start[:, :tile])
        torch.mul(by_start[:, tile:], start[:, tile:], out=x_bar[:, tile:])
        if bars.pushed is not None:
            assert made.lookups.pushed is not None
            by_pushed = back[..., width:]
            self._row_dots(by_pushed, x, bars.pushed[i])
            x_bar.addcmul_(by_pushed, made.lookups.pushed[i])

    def _scores_backward(self, look_bars: Tensor) -> None:
        """Backward of the scores, all tiles at once."""
        made, tile = self.made, self.group.tile
        errors, x, x_bar = (t.flatten(0, 1) for t in (self.errors, made.tokens, self.token_bars))
        bar = self.work.bmm("score bar", 0, errors, look_bars.flatten(0, 1).mT).neg_()
        bar = bar.view_as(made.scores)
        torch.mul(bar, made.scores, out=self.bars.mix)
        score_bar = bar.mul_(made.lookups.mix).flatten(0, 1)
        x_bar.baddbmm_(score_bar.mT, x[:, :tile])
        x_bar[:, :tile].baddbmm_(score_bar, x)

    def _gates_backward(self, bars: list[Tensor | None]) -> None:
        made, group = self.made, self.group
        pairs = [
            (x, bar)
            for x, bar in zip(made.graph, self.bars, strict=True)
            if x is not None and x.requires_grad
        ]
        found = torch.autograd.grad(
            [x for x, _ in pairs],
            [gate for gate in made.gates[:3] if gate is not None],
            [bar for _, bar in pairs],
        )
        wanted = [bar for bar in bars if bar is not None]
        for bar, part in zip(wanted, found, strict=True):
            bar[..., group.start : group.stop] = part[..., : group.stop - group.start]

    def _row_dots(self, left: Tensor, right: Tensor, out: Tensor) -> Tensor:
        """Dot products of tokens."""
        product = self.scan._take("product", left.shape)
        return torch.sum(torch.mul(left, right, out=product), -1, keepdim=True, out=out)

    def _dot(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        """Dot products of matrices, one a row."""
        product = self.scan._take("matrix product", left.shape)
        torch.sum(torch.mul(left, right, out=product), (-2, -1), keepdim=True, out=out)


def _add_scaled(total: Tensor, more: Tensor, scale: Number) -> None:
    """Add ``scale * more`` in place; ``scale`` has one number a row."""
    if isinstance(scale, float):
        total.add_(more, alpha=scale)
    else:
        total.addcmul_(more, scale)


def _to_tiles(source: Tensor, group: _Group, out: Tensor) -> None:
    """Tokens of a group, (rows, time, width), as (tiles, rows, tokens, width); filled up with 0."""
    whole = (group.stop - group.start) // group.tile
    cut = source[:, group.start : group.start + whole * group.tile]
    out[:whole] = cut.unflatten(1, (whole, group.tile)).transpose(0, 1)
    if whole < group.n_tiles:
        rest = source[:, group.start + whole * group.tile : group.stop]
        out[whole, :, : rest.shape[1]] = rest
        out[whole, :, rest.shape[1] :] = 0


def _from_tiles(cut: Tensor, group: _Group, out: Tensor) -> None:
    """The way back."""
    for i in range(group.n_tiles):
        span = group.span(i)
        out[:, span] = cut[i][:, : span.stop - span.start]


def _cut_gates(gates: MemoryGates, group: _Group) -> MemoryGates:
    """Gates of a group, filled up with masked tokens where its last tile is short."""
    step, momentum, keep, observed = (
        None if gate is None else gate[..., group.start : group.stop] for gate in gates
    )
    assert step is not None
    short = group.n_tiles * group.tile - step.shape[-1]
    if short:
        if observed is None:
            observed = torch.ones(step.shape, dtype=torch.bool, device=step.device)
        step, momentum, keep, observed = (
            None if gate is None else F.pad(gate, (0, short))
            for gate in (step, momentum, keep, observed)
        )
    return MemoryGates(step, momentum, keep, observed)


def _lookups(gates: MemoryGates, n_tiles: int, chunk_size: int) -> _Lookups:
    """Gates of equally long tiles, by the closed form of ``gate_tables``."""
    tables = gate_tables(gates, n_tiles=n_tiles)
    start, pushed, writes, weights, buffer, *ends = (
        None if table is None else table.flatten(0, 1) for table in tables
    )
    assert start is not None and writes is not None and weights is not None

    def with_before(table: Tensor, first: float) -> Tensor:
        """Columns of the state before each token's chunk, then those after each token."""
        chunks = table.unflatten(-1, (-1, chunk_size))[..., :-1, -1:]
        before = chunks.expand(*chunks.shape[:-1], chunk_size).flatten(-2)
        return torch.cat((F.pad(before, (chunk_size, 0), value=first), table), -1)

    return _Lookups(
        with_before(start, 1.0).mT,
        None if pushed is None else with_before(pushed, 0.0).mT,
        with_before(writes, 0.0),
        weights.mT,
        None if buffer is None else buffer.mT,
        *ends,
    )
