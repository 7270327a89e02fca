"""The linear memory, exactly: errors of many chunks at once, by one triangular solve.

With one layer and no residual an error is linear in the state that a tile starts from and in the
errors before it, so the chunks of a tile need not wait for each other: README.md derives it. Left
to a scan are a few products a tile, and its backward pass is written out here.

Tokens are rows, ``(rows, tokens, width)``, where a row of the batch is one head of one sequence:
here that spares transposed copies, and its products are no slower than those of columns. A tile's
keys and queries lie in one matrix, keys first: an error and a read are the same look-up, one of
the state before a token's chunk and one of the state after the token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena, Workspace, borrow, give_back
from titans_ts.ops.memory_linear_tiles import (
    Group,
    Prepared,
    from_tiles,
    gates_backward,
    plan_groups,
    prepare_group,
    to_tiles,
)
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.once import first_derivatives_only

__all__ = ["linear_memory"]

# Tokens of a tile, at most, where a chunk is not longer, and a multiple of the chunk: a matter of
# speed only. What a token and those of its tile have in common grows with it, calls get fewer.
MAX_TILE = 32
# Tokens, times rows, that are prepared together: so many that the calls to prepare them count for
# little, and so few that what is prepared takes bounded memory.
GROUP_TOKENS = 4096
# Calls cost a GPU more, against its arithmetic.
GPU_MAX_TILE, GPU_GROUP_TOKENS = 64, 32_768
# States of rows that are worked on at a time: a core's own cache holds them and what they meet.
CACHE_BYTES = 2**19
# Up to here the states between tiles are kept for the backward pass, beyond they are made again.
KEEP_BYTES = 2**27


class _Kept(NamedTuple):
    """What the forward pass of a group leaves for the backward pass."""

    errors: Tensor  # (tiles, rows, tokens, width)
    states: Tensor  # (tiles or 1, rows, halves width, width): before each tile, or the first


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
        Tokens that share one gradient point.
    need_state : bool
        False: return None for the state and spare the work of making it.

    Returns
    -------
    reads : Tensor of shape (rows, time, width)
    weights, momentum : Tensor of shape (rows, width, width) or None
        State after the last token; ``momentum`` is None without momentum gates.
    """
    has_momentum = gates.log_momentum is not None
    # Inside of apply gradients are always off.
    options = _Options(chunk_size, need_state, torch.is_grad_enabled())
    buffer = momentum if has_momentum else None
    reads, *state = _Linear.apply(
        options, gates.observed, queries, keys, values, *gates[:3], weights, buffer
    )
    weights_after = state[0] if need_state else None
    return reads, weights_after, state[1] if need_state and has_momentum else None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, options: _Options, observed: Tensor | None, *tensors: Any) -> Any:
        training = options.training and any(ctx.needs_input_grad)
        reads = tensors[0].new_empty(tensors[0].shape)
        size, kept, after = _rows_at_once(tensors[6]), [], []
        arena = borrow(reads.device)
        for first in range(0, len(reads), size):
            rows = slice(first, first + size)
            scan = _RowScan(options, observed, tensors, rows, arena)
            kept.append(scan.run(reads[rows], keep=training))
            after.append(scan.after)
            arena.release()
        give_back(arena)
        if training:
            ctx.options, ctx.size, ctx.kept = options, size, kept
            ctx.save_for_backward(observed, *tensors)
        if not options.need_state:
            return (reads,)
        joined = torch.cat(after) if len(after) > 1 else after[0]
        return (reads, *(half.contiguous() for half in joined.split(joined.shape[-1], 1)))

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, reads_bar: Tensor, *after_bars: Tensor) -> Any:
        observed, *tensors = ctx.saved_tensors
        bars = [None if x is None else x.new_empty(x.shape) for x in tensors]
        after_bar = torch.cat(after_bars, 1) if after_bars else None
        arena = borrow(reads_bar.device)
        for number, kept in enumerate(ctx.kept):
            rows = slice(number * ctx.size, (number + 1) * ctx.size)
            scan = _RowScan(ctx.options, observed, tensors, rows, arena)
            scan.run_backward(
                kept,
                reads_bar[rows],
                None if after_bar is None else after_bar[rows],
                [None if bar is None else bar[rows] for bar in bars],
            )
            arena.release()
        give_back(arena)
        return (None, None, *bars)


def _rows_at_once(weights: Tensor) -> int:
    if weights.device.type != "cpu":
        return len(weights)
    per_row = 2 * weights[0].numel() * weights.element_size()
    return torch.get_num_threads() * max(CACHE_BYTES // per_row, 1)


class _RowScan:
    """The scan of some rows, forward or backward."""

    def __init__(
        self, options: _Options, observed: Tensor | None, tensors: Any, rows: slice, arena: Arena
    ) -> None:
        cut: list[Any] = [None if tensor is None else tensor[rows] for tensor in tensors]
        self.options = options
        self.queries, self.keys, self.values = cut[:3]
        step, log_momentum, log_keep = cut[3:6]
        observed = None if observed is None else observed[rows]
        self.gates = MemoryGates(step, log_momentum, log_keep, observed)
        self.weights, self.momentum = cut[6:]
        self.halves = 1 if self.gates.log_momentum is None else 2
        self.after = self.weights
        self._work = Workspace(arena)
        n_rows, time, self.width = self.keys.shape
        on_cpu = self.keys.device.type == "cpu"
        self.groups = plan_groups(
            n_rows,
            time,
            chunk_size=options.chunk_size,
            max_tile=MAX_TILE if on_cpu else GPU_MAX_TILE,
            group_tokens=GROUP_TOKENS if on_cpu else GPU_GROUP_TOKENS,
        )
        n_tiles = sum(group.n_tiles for group in self.groups)
        state_bytes = self.halves * self.weights.numel() * self.weights.element_size()
        self.keep_states = n_tiles * state_bytes <= KEEP_BYTES

    def take(self, name: str, *shape: int) -> Tensor:
        return self._work.take(name, 0, self.keys, shape)

    def run(self, reads: Tensor, *, keep: bool) -> list[_Kept]:
        """Write the reads; the state comes to lie in ``after``."""
        kept = []
        if self.halves == 1:
            state = self.weights.clone(memory_format=torch.contiguous_format)
        else:
            buffer = torch.zeros_like(self.weights) if self.momentum is None else self.momentum
            state = torch.cat((self.weights, buffer), 1)
        for group in self.groups:
            made = self._prepare(group, graph=False)
            n, shape = group.n_tiles, made.values.shape
            errors = made.values.new_empty(shape) if keep else self.take("errors", *shape)
            if keep and self.keep_states:
                states = state.new_empty(n, *state.shape)
                states[0] = state
                slots = [*states.unbind(), state]
            else:
                states = state.clone()[None] if keep else state[None]
                slots = [state] * (n + 1)
            write_last = self.options.need_state or group is not self.groups[-1]
            from_tiles(self._run_group(made, slots, errors, write_last=write_last), group, reads)
            if keep:
                kept.append(_Kept(errors, states))
        self.after = state
        return kept

    def _run_group(
        self, made: Prepared, slots: list[Tensor], errors: Tensor, *, write_last: bool
    ) -> Tensor:
        """Write the errors and the states, and return the reads, tile by tile."""
        tile, last = made.tile, len(errors) - 1
        answers = self.take("answers", *made.tokens.shape)
        solver = None if made.solver is None else made.solver.unbind()
        looked, values, error = made.looked.unbind(), made.values.unbind(), errors.unbind()
        writer = _Writer(made, slots, error)
        for i, answer in enumerate(answers.unbind()):
            torch.bmm(looked[i], slots[i], out=answer)
            misses = answer[:, :tile]
            if solver is None:
                torch.sub(misses, values[i], out=error[i]).mul_(2)
            else:
                torch.bmm(solver[i], misses.sub_(values[i]), out=error[i])
            if write_last or i < last:
                writer.write(i)
        reads = self.take("reads", *errors.shape)
        torch.baddbmm(
            answers[..., tile:, :].flatten(0, 1),
            made.weighted[..., tile:].mT.flatten(0, 1),
            errors.flatten(0, 1),
            alpha=-1,
            out=reads.flatten(0, 1),
        )
        return reads

    def run_backward(
        self,
        kept: list[_Kept],
        reads_bar: Tensor,
        after_bar: Tensor | None,
        bars: list[Any],
    ) -> None:
        """Write the cotangents of queries, keys, values, gates, weights and momentum."""
        first = kept[0].states[0]
        state_bar = torch.zeros_like(first) if after_bar is None else after_bar.clone()
        for group, (errors, states) in zip(reversed(self.groups), reversed(kept), strict=True):
            made = self._prepare(group, graph=True)
            if len(states) < group.n_tiles:
                start, states = states, self.take("states", group.n_tiles, *first.shape)
                states[0] = start[0]
                writer = _Writer(made, list(states.unbind()), errors.unbind())
                for i in range(group.n_tiles - 1):
                    writer.write(i)
            self._group_backward(group, made, errors, states, reads_bar, state_bar, bars)
        for bar, part in zip(bars[6:], state_bar.split(self.width, 1), strict=False):
            if bar is not None:
                bar.copy_(part)

    def _prepare(self, group: Group, *, graph: bool) -> Prepared:
        return prepare_group(
            group,
            (self.queries, self.keys, self.values),
            self.gates,
            self._work,
            chunk_size=self.options.chunk_size,
            graph=graph,
        )

    def _group_backward(
        self,
        group: Group,
        made: Prepared,
        errors: Tensor,
        states: Tensor,
        reads_bar: Tensor,
        state_bar: Tensor,
        bars: list[Any],
    ) -> None:
        """Move ``state_bar`` from after a group to before it; write the others into ``bars``."""
        tile, lookups = group.tile, made.lookups
        # Cotangents of what the look-ups found; of misses for keys, of reads for queries.
        found_bar = self.take("found bar", *made.tokens.shape)
        to_tiles(reads_bar, group, found_bar[..., tile:, :])
        # Of errors, to begin with: what the reads of their own tile ask of them.
        error_bar = self.take("error bar", *errors.shape)
        torch.bmm(
            made.weighted[..., tile:].flatten(0, 1),
            found_bar[..., tile:, :].flatten(0, 1),
            out=error_bar.flatten(0, 1),
        )
        looked_bar = self.take("looked bar", *made.looked.shape)
        factor_bar = self.take("factor bar", *made.factors.shape)
        dots = self.take("dots", *errors.shape[:2], self.halves, self.halves)
        self._scan_backward(
            made, errors, states, state_bar, found_bar, error_bar, looked_bar, factor_bar, dots
        )
        token_bar = self.take("token bar", *made.tokens.shape)
        lookup_bars = [None if x is None else torch.empty_like(x) for x in lookups]
        self._scaling_backward(made, looked_bar, factor_bar.neg_(), token_bar, lookup_bars)
        for bar, (i, j) in zip(lookup_bars[5:], ((0, 0), (0, 1), (1, 1)), strict=True):
            if bar is not None:
                bar.copy_(dots[..., i : i + 1, j : j + 1])
        # The scores', of both kinds.
        flat, flat_bar = made.tokens.flatten(0, 1), token_bar.flatten(0, 1)
        score_bar = self.take("score bar", *made.scores.shape)
        flat_score_bar = score_bar.flatten(0, 1)
        torch.bmm(errors.flatten(0, 1), found_bar.flatten(0, 1).mT, out=flat_score_bar).neg_()
        torch.mul(score_bar, made.scores, out=lookup_bars[2])
        score_bar.mul_(lookups.mix.detach())
        flat_bar.baddbmm_(flat_score_bar.mT, flat[:, :tile])
        key_bar = self.take("key bar", *errors.shape)
        torch.bmm(flat_score_bar, flat, out=key_bar.flatten(0, 1))
        token_bar[..., :tile, :].add_(key_bar)
        from_tiles(token_bar[..., tile:, :], group, bars[0])
        from_tiles(token_bar[..., :tile, :], group, bars[1])
        from_tiles(found_bar[..., :tile, :].neg_(), group, bars[2])
        gates_backward(group, made, lookup_bars, bars[3:6])

    def _scan_backward(
        self,
        made: Prepared,
        errors: Tensor,
        states: Tensor,
        state_bar: Tensor,
        found_bar: Tensor,
        error_bar: Tensor,
        looked_bar: Tensor,
        factor_bar: Tensor,
        dots: Tensor,
    ) -> None:
        halves = state_bar.split(self.width, 1)
        flat_bar = state_bar.view(len(state_bar), self.halves, -1)
        flat_states = states.view(len(states), *flat_bar.shape).mT.unbind()
        state, looked, looked_mT = states.mT.unbind(), looked_bar.unbind(), made.looked.mT.unbind()
        factors, factor, error = made.factors.unbind(), factor_bar.unbind(), errors.unbind()
        found, miss = found_bar.unbind(), found_bar[..., : made.tile, :].unbind()
        solver = None if made.solver is None else made.solver.mT.unbind()
        bar, dot, state_bar_mT = error_bar.unbind(), dots.unbind(), state_bar.mT
        solved = self.take("solved", *error[0].shape)
        for i in range(len(error) - 1, -1, -1):
            bar[i].baddbmm_(factors[i], state_bar)
            if solver is None:
                torch.mul(bar[i], -2, out=miss[i])
            else:
                torch.neg(torch.bmm(solver[i], bar[i], out=solved), out=miss[i])
            torch.bmm(error[i], state_bar_mT, out=factor[i])
            torch.bmm(flat_bar, flat_states[i], out=dot[i])
            if self.halves == 2:
                halves[1].mul_(made.ends[2][i])
                halves[1].addcmul_(halves[0], made.ends[1][i])
            halves[0].mul_(made.ends[0][i])
            state_bar.baddbmm_(looked_mT[i], found[i])
            torch.bmm(found[i], state[i], out=looked[i])

    def _scaling_backward(
        self,
        made: Prepared,
        looked_bar: Tensor,
        factor_bar: Tensor,
        token_bar: Tensor,
        lookup_bars: list[Any],
    ) -> None:
        """Backward of ``looked`` and ``factors``, products of tokens and gates."""
        tokens, keys = made.tokens, made.tokens[..., : made.tile, :]
        key_bar = token_bar[..., : made.tile, :]
        product = self.take("product", *tokens.shape)
        key_product = product[..., : made.tile, :]
        start, pushed, _, weights, buffer, *_ = (
            None if x is None else x.detach() for x in made.lookups
        )
        pairs = zip(
            looked_bar.split(self.width, -1),
            factor_bar.split(self.width, -1),
            (start, pushed),
            (weights, buffer),
            (lookup_bars[0], lookup_bars[1]),
            (lookup_bars[3], lookup_bars[4]),
            strict=False,
        )
        for half, (looked, factor, scale, share, scale_bar, share_bar) in enumerate(pairs):
            torch.sum(torch.mul(looked, tokens, out=product), -1, keepdim=True, out=scale_bar)
            torch.sum(torch.mul(factor, keys, out=key_product), -1, keepdim=True, out=share_bar)
            if half:
                token_bar.addcmul_(looked, scale)
            else:
                torch.mul(looked, scale, out=token_bar)
            key_bar.addcmul_(factor, share)


class _Writer:
    """Writes of a group's tiles; a state may come to lie where the one before it was."""

    def __init__(self, made: Prepared, slots: list[Tensor], errors: tuple[Tensor, ...]) -> None:
        width = made.tokens.shape[-1]
        self._ends, self._errors = made.ends, errors
        self._factors = made.factors.mT.unbind()
        self._slots = [(slot, *slot.split(width, 1)) for slot in slots]

    def write(self, i: int) -> None:
        (_, *old), (joint, *new) = self._slots[i : i + 2]
        # The weights first: they want the buffer from before.
        torch.mul(old[0], self._ends[0][i], out=new[0])
        if len(old) > 1:
            new[0].addcmul_(old[1], self._ends[1][i])
            torch.mul(old[1], self._ends[2][i], out=new[1])
        joint.baddbmm_(self._factors[i], self._errors[i], alpha=-1)
