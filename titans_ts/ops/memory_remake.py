"""What a group's backward pass makes again: passes over what was kept cost less than keeping it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Arena, Workspace
from titans_ts.ops.memory_group import GroupWork, State, remake_states
from titans_ts.ops.memory_net import bound_error
from titans_ts.ops.memory_prepare import Group, Prepared, to_tiles
from titans_ts.ops.memory_scan import Matrices

__all__ = ["Remade", "remake_group"]


class Remade(NamedTuple):
    """Of all chunks or tiles of a group at once; lists have an entry a layer."""

    # (chunks, rows, tokens, width_in), from the second layer on; coarse: of queries, too, behind.
    inputs: list[Tensor]
    errors: list[Tensor]  # (chunks, rows, tokens, width_out)
    bends: list[Tensor]  # same shapes: SiLU's second derivative, times what came back
    hidden: list[Tensor]  # (tiles, rows, tokens, width_in), from the second layer on: of reads
    states: list[State]  # before each tile


def remake_group(
    group: Group,
    made: Prepared,
    work: GroupWork,
    arena: Arena,
    scratch: Workspace,
    *,
    bounded: bool,
) -> Remade:
    """Everything that a group's backward pass needs besides what was kept.

    ``bounded``: whether the last layer's errors were bounded before they were written.
    """

    def like(x: Tensor) -> Tensor:
        return arena.take(*x.shape, dtype=x.dtype)

    def silu(x: Tensor) -> Tensor:
        return torch.ops.aten.silu.out(x, out=like(x))

    n = group.padded  # of coarse work, tokens after these are queries
    inputs = [silu(z) for z in work.before]
    errors, bends = [], []
    for z, x, back in zip(work.before, inputs, work.back, strict=True):
        z, x = z[:, :, :n], x[:, :, :n]
        errors.append(torch.ops.aten.silu_backward.grad_input(back, z, grad_input=like(back)))
        bends.append(_bend(z, x, back, like(back), like(back)))
    errors.append(bound_error(work.error) if bounded else work.error)
    states = list(work.states)
    if len(states) < group.n_tiles:
        (start,) = states
        states.extend(
            [Matrices(like(m.stacked), len(m.parts), m.widening) for m in start]
            for _ in range(group.n_tiles - 1)
        )
        all_inputs = [to_tiles(made.keys, n), *(x[:, :, :n] for x in inputs)]
        remake_states(group, made, all_inputs, errors, states, scratch)
    return Remade(inputs, errors, bends, [silu(y) for y in work.read_before], states)


def _bend(z: Tensor, x: Tensor, back: Tensor, gate: Tensor, out: Tensor) -> Tensor:
    """``g (1 - g) (2 + z - 2 x) back`` with g the sigmoid of z, and x = z g; uses ``gate`` up."""
    torch.sigmoid(z, out=gate)
    torch.sub(z, x, alpha=2, out=out).add_(2).mul_(back)
    return out.mul_(gate.addcmul_(gate, gate, value=-1))
