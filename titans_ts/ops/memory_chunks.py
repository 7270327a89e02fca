"""The scan over chunks as one autograd function: what to keep, what to make again.

A chunk's errors are taken at the state it starts from; its reads and writes follow in tiles of at
most ``MAX_TILE`` tokens. The states between chunks are kept at the start of every group of chunks
only; the backward pass takes the groups in reverse and makes each anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.memory_group import (
    Group,
    GroupWork,
    ScanOptions,
    Slots,
    run_group,
    run_group_backward,
)
from titans_ts.ops.memory_scan import ScanState
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.workspace import Workspace

__all__ = ["ScanOptions", "scan_chunks"]

MAX_TILE = 64


def plan_groups(n_tokens: int, chunk_bytes: int, options: ScanOptions) -> tuple[list[Group], bool]:
    """Groups of a scan, and whether their work is kept for the backward pass.

    ``chunk_bytes`` is what the work of a full chunk takes.
    """
    size = options.chunk_size

    def group(start: int, n_chunks: int, length: int) -> Group:
        n_tiles = -(-length // MAX_TILE)
        return Group(start, n_chunks, length, -(-length // n_tiles))

    groups, start = [], 0
    if options.position:
        start = min(size - options.position, n_tokens)
        groups.append(group(0, 1, start))
    n_full, rest = divmod(n_tokens - start, size)
    every = options.save_every
    keep = every is None and n_full * chunk_bytes <= KEEP_BYTES
    if every is None:
        every = -(-GROUP_TOKENS // size)
        if not keep:
            # About as many groups as chunks in a group, so that neither outgrows the other.
            every = max(round(n_full**0.5), every)
    groups.extend(
        group(start + first * size, min(every, n_full - first), size)
        for first in range(0, n_full, max(every, 1))
    )
    if rest:
        groups.append(group(start + n_full * size, 1, rest))
    return groups, keep


# Up to here everything is kept: making it again would cost time, and memory is no question yet.
KEEP_BYTES = 2**28
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


def _work_bytes(weights: list[Tensor], chunk_size: int) -> int:
    """About what a chunk's work takes: two states, and six vectors a token and layer."""
    per_row = sum(
        2 * weight[0].numel() + 6 * chunk_size * max(weight.shape[1:]) for weight in weights
    )
    return len(weights[0]) * per_row * weights[0].element_size()


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: ScanOptions, training: bool, observed: Tensor | None, *tensors: Any
    ) -> Any:
        training = training and any(ctx.needs_input_grad)
        reads = torch.empty_like(tensors[0])
        n_rows, parts = len(reads), []
        size = _rows_at_once(tensors[6 : 6 + options.n_layers])
        for first in range(0, n_rows, size):
            rows = slice(first, first + size)
            scan = _RowScan(options, _Inputs.cut(options, observed, tensors, rows), training)
            parts.append(scan)
            scan.run(reads[rows])
        after = [
            torch.cat(x) if len(x) > 1 else x[0]
            for x in zip(*(s.after for s in parts), strict=True)
        ]
        if training:
            ctx.options, ctx.size, ctx.parts = options, size, parts
            ctx.save_for_backward(observed, *tensors)
            for scan in parts:
                del scan.inputs
        return (reads, *after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Any) -> Any:
        options: ScanOptions = ctx.options
        observed, *tensors = ctx.saved_tensors
        bars: list[Any] = [None if x is None else torch.empty_like(x) for x in tensors]
        for number, scan in enumerate(ctx.parts):
            rows = slice(number * ctx.size, (number + 1) * ctx.size)
            scan.inputs = _Inputs.cut(options, observed, tensors, rows)
            found = scan.run_backward(
                reads_bar[rows],
                [bar[rows] for bar in after_bars],
                [None if bar is None else bar[rows] for bar in bars[:6]],
            )
            for bar, part in zip(bars[6:], found, strict=True):
                bar[rows] = part
        ctx.parts = None
        return (None, None, None, *bars)


# Of the states that are worked on at a time. A core's own cache holds them and what they meet;
# rows (heads and sequences) that fit go together, others one after the other.
CACHE_BYTES = 2**19


def _rows_at_once(weights: tuple[Tensor, ...]) -> int:
    if weights[0].device.type != "cpu":
        return len(weights[0])
    per_row = sum(2 * weight[0].numel() * weight.element_size() for weight in weights)
    return torch.get_num_threads() * max(CACHE_BYTES // per_row, 1)


class _Inputs(NamedTuple):
    """Arguments of a scan, of some of its rows."""

    tokens: tuple[Tensor, Tensor, Tensor]  # queries, keys, values
    gates: MemoryGates
    state: ScanState
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
        state = ScanState(weights, momentum)
        step, log_momentum, log_keep = cut[3:6]
        gates = MemoryGates(step, log_momentum, log_keep, observed)
        return cls((cut[0], cut[1], cut[2]), gates, state, anchor)


class _RowScan:
    """The scan of some rows: forward, and once more backward."""

    def __init__(self, options: ScanOptions, inputs: _Inputs, training: bool) -> None:
        self.options, self.inputs = options, inputs
        keys, weights = inputs.tokens[1], inputs.state.weights
        work = _work_bytes(weights, options.chunk_size)
        self.groups, keep = plan_groups(keys.shape[1], work, options)
        self.training, self.keep = training, keep and training
        self.kept: list[GroupWork] = []
        self.starts: list[ScanState] = []
        self.after: list[Tensor] = []

    def run(self, reads: Tensor) -> None:
        """Write the reads, shape (rows, time, width); the state comes to lie in ``after``."""
        options, inputs = self.options, self.inputs
        state, slots = inputs.state, Slots(reuse=not self.keep)
        for group in self.groups:
            is_last = group is self.groups[-1]
            if self.training and not self.keep:
                if group.start:
                    state = state.clone()  # Its buffers are about to be used again.
                self.starts.append(state)
            opened: list[Tensor] = []
            if is_last and group.start and (group.stop + options.position) % options.chunk_size:
                opened = [weight.clone() for weight in state.weights]
            state, work = run_group(
                group,
                options,
                state,
                None if group.start else inputs.anchor,
                inputs.tokens,
                inputs.gates,
                reads,
                slots,
                keep=self.keep,
                write_last=options.need_state or not is_last,
            )
            slots.next_group()
            if work is not None:
                self.kept.append(work)
        if options.need_state:
            if self.keep:
                state = state.clone()
            self.after = [*state.weights, *(state.momentum or ()), *opened]

    def run_backward(
        self, reads_bar: Tensor, after_bars: list[Tensor], bars: list[Any]
    ) -> list[Tensor]:
        """Cotangents of the state; those of tokens and gates are written into ``bars``."""
        options, inputs, n = self.options, self.inputs, self.options.n_layers
        state_bars, opened_bars = None, None
        if options.need_state:
            own = [bar.clone() for bar in after_bars]
            n_momentum = 0 if inputs.gates.log_momentum is None else n
            state_bars = ScanState(own[:n], own[n : n + n_momentum] or None)
            opened_bars = own[n + n_momentum :] or None
        open_bars = [torch.zeros_like(weight) for weight in inputs.anchor or ()]
        reads = torch.empty_like(inputs.tokens[0])  # Made again, and not wanted.
        slots, scratch = Slots(reuse=True, apart=True), Workspace(keep=True)
        for index in range(len(self.groups) - 1, -1, -1):
            group = self.groups[index]
            anchor = None if group.start else inputs.anchor
            work = self.kept.pop() if self.keep else None
            if work is None:
                _, work = run_group(
                    group,
                    options,
                    self.starts.pop(),
                    anchor,
                    inputs.tokens,
                    inputs.gates,
                    reads,
                    slots,
                    keep=True,
                    write_last=False,
                )
                slots.next_group()
            assert work is not None
            state_bars = run_group_backward(
                group,
                options,
                work,
                reads_bar,
                state_bars,
                # What the open chunk's start is asked for besides comes in with its group.
                opened_bars if index == len(self.groups) - 1 else None,
                None if anchor is None else open_bars,
                bars[:3],
                bars[3:],
                scratch,
            )
        assert state_bars is not None
        momentum_bars = (state_bars.momentum or []) if options.has_momentum else []
        return [*state_bars.weights, *momentum_bars, *open_bars]
