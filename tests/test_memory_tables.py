"""The gates' tables and their derivative by hand, held to autograd through the recurrence."""

import pytest
import torch
from memory_problems import make_problem

from titans_ts.ops.memory_state import MemoryGates, mask_gates
from titans_ts.ops.memory_tables import GateTables, gate_tables

TILES = 2


def by_recurrence(gates: MemoryGates) -> GateTables:
    """Tables of one tile, token by token: what each write weighs, moved on with each token."""
    step, log_momentum, log_keep, observed = gates
    rows, layers, n = step.shape
    nothing = torch.zeros(rows, layers, n + 1, dtype=step.dtype)
    # Entry n stands for the momentum buffer at the start; the weights have a number of their own.
    in_weights, in_buffer = nothing, torch.nn.functional.one_hot(torch.tensor(n), n + 1) + nothing
    start, starts, writes, pushed = torch.ones_like(step[..., 0]), [], [], []
    for t in range(n):
        place = torch.nn.functional.one_hot(torch.tensor(t), n + 1)
        in_buffer = in_buffer * (0 if log_momentum is None else log_momentum[..., t, None].exp())
        in_buffer = in_buffer + place * step[..., t, None]
        keep = 1.0 if log_keep is None else log_keep[..., t, None].exp()
        seen = 1.0 if observed is None else observed[..., t, None].to(step.dtype)
        in_weights = keep * in_weights + seen * in_buffer
        start = start * (1.0 if log_keep is None else keep[..., 0])
        starts.append(start)
        writes.append(in_weights[..., :n])
        pushed.append(in_weights[..., n])

    def layers_first(x):
        return x.transpose(0, 1)[None]

    has = log_momentum is not None
    start_row = layers_first(torch.stack(starts, -1))[..., None, :]
    pushed_row = layers_first(torch.stack(pushed, -1))[..., None, :]
    table = layers_first(torch.stack(writes, -1))
    buffer = layers_first(in_buffer)[..., None, :]
    return GateTables(
        start_row,
        pushed_row if has else None,
        table,
        table[..., -1][..., None, :],
        buffer[..., :n] if has else None,
        start_row[..., -1:],
        pushed_row[..., -1:] if has else None,
        buffer[..., n:] if has else None,
    )


@pytest.mark.parametrize("shut", [1.0, 60.0], ids=["open gates", "gates that nearly close"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("tokens", [7, 96], ids=["whole", "in blocks"])
def test_tables_and_gradients_are_those_of_the_recurrence(tokens, momentum, forget, masked, shut):
    given = make_problem(
        time=TILES * tokens, momentum=momentum, forget=forget, masked=masked, batch=3, heads=1
    )

    def leaf(gate, scale=1.0):
        return None if gate is None else (scale * gate).detach().requires_grad_()

    step, log_momentum, log_keep, _ = given.gates
    raw = MemoryGates(leaf(step), leaf(log_momentum, shut), leaf(log_keep, shut))
    leaves = [gate for gate in raw[:3] if gate is not None]
    # What a masked token's gates hold reaches nobody, derivatives included.
    masked_gates = mask_gates(raw, given.observed)
    gates = MemoryGates(*(None if gate is None else gate[:, 0] for gate in masked_gates))
    parts = [
        by_recurrence(
            MemoryGates(
                *(None if g is None else g[..., i * tokens : (i + 1) * tokens] for g in gates)
            )
        )
        for i in range(TILES)
    ]
    expected = [None if x[0] is None else torch.cat(x) for x in zip(*parts, strict=True)]
    found = gate_tables(gates, n_tiles=TILES)
    generator = torch.Generator().manual_seed(0)
    total, wanted = 0.0, 0.0
    for name, table, right in zip(GateTables._fields, found, expected, strict=True):
        assert (table is None) == (right is None), name
        if table is None:
            continue
        assert table.shape == right.shape, name
        torch.testing.assert_close(
            table, right, rtol=1e-12, atol=1e-15, msg=lambda m, n=name: n + m
        )
        weight = torch.randn(table.shape, generator=generator, dtype=table.dtype)
        total, wanted = total + (weight * table).sum(), wanted + (weight * right).sum()
    gradients = [torch.autograd.grad(x, leaves, retain_graph=True) for x in (total, wanted)]
    for got, right in zip(*gradients, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-13)
