"""The scan over chunks as one autograd function: what to keep, what to make again.

A chunk's errors are taken at the state it starts from; its reads and writes follow in tiles of at
most ``MAX_TILE`` tokens. Of long sequences the states between chunks are kept at the start of every
group of chunks only; the backward pass takes the groups in reverse and writes the others anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena, Workspace, borrow, give_back
from titans_ts.ops.memory_group import GroupWork, State, make_group_work, run_group
from titans_ts.ops.memory_group_backward import GroupBackward
from titans_ts.ops.memory_prepare import Group, Prepared, ScanOptions, prepare_group
from titans_ts.ops.memory_scan import Matrices
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.once import first_derivatives_only

__all__ = ["ScanOptions", "scan_chunks"]

# Longer tiles are fewer and larger products; shorter ones attend over less.
MAX_TILE = 128
# Coarse reads attend to nothing, so that a longer tile only means fewer writes.
MAX_COARSE_TILE = 1024


def plan_groups(n_tokens: int, options: ScanOptions) -> list[Group]:
    """Cut a scan into groups of chunks."""
    size = options.chunk_size
    most = MAX_COARSE_TILE if options.coarse else MAX_TILE

    def group(start: int, n_chunks: int, length: int) -> Group:
        n_tiles = -(-length // most)
        return Group(start, n_chunks, length, -(-length // n_tiles))

    groups, start = [], 0
    if options.position:
        start = min(size - options.position, n_tokens)
        groups.append(group(0, 1, start))
    n_full, rest = divmod(n_tokens - start, size)
    every = options.save_every or -(-GROUP_TOKENS // size)
    groups.extend(
        group(start + first * size, min(every, n_full - first), size)
        for first in range(0, n_full, max(every, 1))
    )
    if rest:
        groups.append(group(start + n_full * size, 1, rest))
    return groups


# States of tiles are kept for the backward pass up to here, and what takes no state where there is
# room for all of it: they would cost time to make again.
KEEP_BYTES = 5 * 2**24
# Of a group: enough for its tables to be made in one go, and few enough for them to stay cached.
GROUP_TOKENS = 512


def scan_chunks(
    weights: list[Tensor],
    momentum: list[Tensor],
    anchor: list[Tensor],
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    options: ScanOptions,
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Scan tokens, chunk after chunk.

    Parameters
    ----------
    weights, momentum, anchor : list of Tensor of shape (rows, width_in, width_out)
        The state; ``momentum`` empty where it is zero, ``anchor`` empty at a chunk's start.
    queries, keys, values : Tensor of shape (rows, time, width)
    gates : MemoryGates
        Of shapes (rows, layers, time), and (rows, 1, time) for ``observed``.
    options : ScanOptions

    Returns
    -------
    reads : Tensor of shape (rows, time, width)
    weights, momentum : list of Tensor
        State after the last token; empty unless ``options.need_state``.
    anchor : list of Tensor
        Where the open chunk started, if that was after the first token; else empty.
    """
    step, log_momentum, log_keep, observed = gates
    # Inside of apply gradients are always off.
    training = torch.is_grad_enabled()
    out = _Scan.apply(
        options,
        training,
        observed,
        queries,
        keys,
        values,
        step,
        log_momentum,
        log_keep,
        *weights,
        *momentum,
        *anchor,
    )
    reads, state = out[0], list(out[1:])
    n = options.n_layers
    n_momentum = n if options.need_state and log_momentum is not None else 0
    return reads, state[:n], state[n : n + n_momentum], state[n + n_momentum :]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: ScanOptions, training: bool, observed: Tensor | None, *tensors: Any
    ) -> Any:
        training = training and any(ctx.needs_input_grad)
        reads = torch.empty(tensors[0].shape, dtype=tensors[0].dtype, device=tensors[0].device)
        weights = list(tensors[6 : 6 + options.n_layers])
        plan = _plan(reads.shape[1], weights, options, training=training)
        arena, parts, size = borrow(reads.device), [], _rows_at_once(weights)
        for first in range(0, len(reads), size):
            rows = slice(first, first + size)
            scan = _RowScan(plan, options, _Inputs.cut(options, observed, tensors, rows), arena)
            parts.append(scan)
            scan.run(reads[rows])
        after = [
            torch.cat(x) if len(x) > 1 else x[0]
            for x in zip(*(scan.after for scan in parts), strict=True)
        ]
        if training:
            ctx.options, ctx.size, ctx.parts, ctx.arena = options, size, parts, arena
            ctx.save_for_backward(observed, *tensors)
            for scan in parts:
                scan.forget_inputs()
        else:
            give_back(arena)
        return (reads, *after)

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Any) -> Any:
        options: ScanOptions = ctx.options
        observed, *tensors = ctx.saved_tensors
        bars: list[Any] = [
            None if x is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
            for x in tensors
        ]
        if ctx.parts is None:
            raise RuntimeError(
                "The memory's backward pass uses up what its forward pass kept, and was asked for "
                "a second time. Run the forward pass again instead of retain_graph=True."
            )
        parts, ctx.parts = ctx.parts, None
        for number, scan in enumerate(parts):
            rows = slice(number * ctx.size, (number + 1) * ctx.size)
            scan.inputs = _Inputs.cut(options, observed, tensors, rows)
            found = scan.run_backward(
                reads_bar[rows],
                [bar[rows] for bar in after_bars],
                [None if bar is None else bar[rows] for bar in bars[:6]],
            )
            for bar, part in zip(bars[6:], found, strict=True):
                bar[rows] = part
        arena, ctx.arena = ctx.arena, None
        give_back(arena)
        return (None, None, None, *bars)


class _Plan(NamedTuple):
    groups: list[Group]
    training: bool
    keep_states: bool  # of every tile, for the backward pass; otherwise of every group
    keep_prepared: bool  # what takes no state, likewise; otherwise it is made again


def _plan(n_tokens: int, weights: list[Tensor], options: ScanOptions, *, training: bool) -> _Plan:
    """What to keep: everything while that is little, else no states but those of groups."""
    size, element = options.chunk_size, weights[0].element_size()
    n_tiles = -(-n_tokens // min(size, MAX_TILE))
    state_bytes = sum(2 * weight.numel() for weight in weights) * element
    keep = training and options.save_every is None and n_tiles * state_bytes <= KEEP_BYTES
    # Of a token: its work, its factors, and its lines in the tables.
    width, total = weights[0].shape[1], sum(weight.shape[2] for weight in weights)
    per_token = 4 * total + 8 * width + (4 * len(weights) + 2) * min(size, MAX_TILE)
    all_bytes = n_tiles * state_bytes + n_tokens * len(weights[0]) * per_token * element
    return _Plan(plan_groups(n_tokens, options), training, keep, keep and all_bytes <= KEEP_BYTES)


# Of the states that are worked on at a time. A core's own cache holds most of them and of what
# they meet; rows (heads and sequences) that fit go together, others one after the other. Half of
# it makes products so small that calling them costs an eighth more; twice of it is no faster.
CACHE_BYTES = 2**20


def _rows_at_once(weights: list[Tensor]) -> int:
    if weights[0].device.type != "cpu":
        return len(weights[0])
    per_row = sum(2 * weight[0].numel() * weight.element_size() for weight in weights)
    return torch.get_num_threads() * max(CACHE_BYTES // per_row, 1)


class _Inputs(NamedTuple):
    """Arguments of a scan, of some of its rows."""

    tokens: tuple[Tensor, Tensor, Tensor]  # queries, keys, values
    gates: MemoryGates
    weights: list[Tensor]
    momentum: list[Tensor] | None
    anchor: list[Tensor] | None

    @classmethod
    def cut(
        cls, options: ScanOptions, observed: Tensor | None, tensors: Any, rows: slice
    ) -> _Inputs:
        observed = None if observed is None else observed[rows]
        cut: list[Any] = [None if tensor is None else tensor[rows] for tensor in tensors]
        n = options.n_layers
        weights, rest = cut[6 : 6 + n], cut[6 + n :]
        momentum = rest[:n] if options.has_momentum else None
        anchor = rest[-n:] if options.position else None
        step, log_momentum, log_keep = cut[3:6]
        gates = MemoryGates(step, log_momentum, log_keep, observed)
        return cls((cut[0], cut[1], cut[2]), gates, weights, momentum, anchor)


class _RowScan:
    """The scan of some rows: forward, and once more backward."""

    def __init__(self, plan: _Plan, options: ScanOptions, inputs: _Inputs, arena: Arena) -> None:
        self.plan, self.options, self.arena = plan, options, arena
        self.inputs: Any = inputs
        self.n_parts = 1 if inputs.gates.log_momentum is None else 2
        self.kept: list[tuple[GroupWork, Prepared | None]] = []
        self.after: list[Tensor] = []

    def forget_inputs(self) -> None:
        """They are with autograd's context, and saved twice they would live too long."""
        self.inputs, self.after = None, []

    def _matrices(self, weights: list[Tensor], n_parts: int) -> State:
        """Room for matrices of these layers."""
        state = []
        for layer, weight in enumerate(weights):
            rows, n_in, n_out = weight.shape
            # The first layer counts as widening: what it is asked is known before the scan.
            widening = layer == 0 or n_in <= n_out
            narrow, wide = (n_in, n_out) if widening else (n_out, n_in)
            stacked = self.arena.take(rows, n_parts * narrow, wide, dtype=weight.dtype)
            state.append(Matrices(stacked, n_parts, widening))
        return state

    def _filled(self, weights: list[Tensor], momentum: Any, n_parts: int) -> State:
        """Matrices of these weights; ``momentum=None``: zeros."""
        state = self._matrices(weights, n_parts)
        for layer, matrices in enumerate(state):
            matrices.parts[0].copy_(matrices.oriented(weights[layer]))
            if n_parts == 2:
                if momentum is None:
                    matrices.parts[1].zero_()
                else:
                    matrices.parts[1].copy_(matrices.oriented(momentum[layer]))
        return state

    def _prepare(self, group: Group) -> Prepared:
        inputs = self.inputs
        return prepare_group(
            group, self.options, inputs.tokens, inputs.gates, self.arena,
            n_parts=self.n_parts,
        )  # fmt: skip

    def _anchor(self, group: Group) -> State | None:
        """Where an open chunk, which is the first group, takes its gradients."""
        if group.start or self.inputs.anchor is None:
            return None
        return self._filled(self.inputs.anchor, None, 1)

    def run(self, reads: Tensor) -> None:
        """Write the reads, shape (rows, time, width); the state comes to lie in ``after``."""
        options, inputs, arena, plan = self.options, self.inputs, self.arena, self.plan
        state = self._filled(inputs.weights, inputs.momentum, self.n_parts)
        shared: State | None = None if plan.keep_states else state
        opened: list[Tensor] = []
        lasting = arena.mark()
        for group in plan.groups:
            is_last = group is plan.groups[-1]
            _empty_faded(state)
            if is_last and group.start and (group.stop + options.position) % options.chunk_size:
                opened = [_own(matrices.weight) for matrices in state]
            spare = (
                [shared]
                if shared is not None
                else [self._matrices(inputs.weights, self.n_parts) for _ in range(group.n_tiles)]
            )
            work = make_group_work(
                group, state, options.residual, options.coarse, arena,
                None if plan.training else 1,
            )  # fmt: skip
            made = self._prepare(group) if plan.keep_prepared else None
            if plan.training:
                if not plan.keep_states:
                    work.states.append(self._copied(state))
                self.kept.append((work, made))
                lasting = arena.mark()
            out = reads[:, group.start : group.stop]
            if group.padded > group.length:
                rows, _, width = reads.shape
                out = arena.take(rows, group.n_chunks * group.padded, width, dtype=reads.dtype)
            state = run_group(
                group, options, made or self._prepare(group), state, self._anchor(group), out,
                work, spare, Workspace(arena), keep_states=plan.keep_states,
                write_last=options.need_state or not is_last,
            )  # fmt: skip
            if group.padded > group.length:
                chunks = out.unflatten(1, (group.n_chunks, group.padded))[:, :, : group.length]
                reads[:, group.start : group.stop] = chunks.flatten(1, 2)
            arena.release(lasting)
        if options.need_state:
            parts = range(self.n_parts)
            after = [_own(m.oriented(m.parts[part])) for part in parts for m in state]
            self.after = [*after, *opened]

    def _copied(self, state: State) -> State:
        copies = self._matrices([m.weight for m in state], self.n_parts)
        for copy, matrices in zip(copies, state, strict=True):
            copy.stacked.copy_(matrices.stacked)
        return copies

    def run_backward(
        self, reads_bar: Tensor, after_bars: list[Tensor], bars: list[Any]
    ) -> list[Tensor]:
        """Cotangents of the state; those of tokens and gates are written into ``bars``."""
        options, inputs, n, arena = self.options, self.inputs, self.options.n_layers, self.arena
        first = arena.mark()
        opened_bars: State | None = None
        if options.need_state:
            momentum_bars = after_bars[n : 2 * n] if self.n_parts == 2 else None
            state_bars = self._filled(after_bars[:n], momentum_bars, self.n_parts)
            if opened := after_bars[self.n_parts * n :]:
                opened_bars = self._filled(opened, None, 1)
        else:
            state_bars = self._matrices(inputs.weights, self.n_parts)
        anchor_bars: State | None = None
        if inputs.anchor is not None:
            anchor_bars = self._matrices(inputs.anchor, 1)
            for bar in anchor_bars:
                bar.stacked.zero_()
        lasting = arena.mark()
        for group in reversed(self.plan.groups):
            is_last = group is self.plan.groups[-1]
            work, made = self.kept.pop()
            GroupBackward(
                group, options, made or self._prepare(group), work,
                self._anchor(group), reads_bar, state_bars, arena,
                written=options.need_state or not is_last,
            ).run(
                bars[:3],
                bars[3:],
                # What the open chunk's start is asked for besides comes in with its group.
                None if group.start else anchor_bars,
                opened_bars if is_last else None,
            )  # fmt: skip
            arena.release(lasting)
        found = [m.oriented(m.parts[0]).clone() for m in state_bars]
        if options.has_momentum:
            # Without momentum gates, a buffer that was given has no part in anything.
            unused = self.n_parts == 1
            momentum = (m.oriented(m.parts[-1]) for m in state_bars)
            found += [torch.zeros_like(x) if unused else x.clone() for x in momentum]
        found += [m.oriented(m.parts[0]).clone() for m in anchor_bars or ()]
        arena.release(first)
        return found


def _own(matrix: Tensor) -> Tensor:
    """A copy that lies apart from the buffers."""
    return matrix.clone(memory_format=torch.contiguous_format)


def _empty_faded(state: State) -> None:
    """Put zeros for matrices that have faded to next to nothing.

    Their products would underflow, which takes a CPU ten times as long as any others. A forget
    rate above the step size lets a memory fade so far; what it then reads is nothing anyway.
    """
    if state[0].stacked.device.type != "cpu":
        return
    # Products of two such numbers are what underflows.
    least = torch.finfo(state[0].stacked.dtype).tiny ** 0.45
    for matrices in state:
        for part in matrices.parts:
            low, high = torch.aminmax(part)
            if -least < low and high < least:
                part.zero_()
