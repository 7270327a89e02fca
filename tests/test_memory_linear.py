"""The linear memory is the memory token by token: values, states and outer gradients."""

from __future__ import annotations

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem, results_and_gradients

from titans_ts.ops import memory_linear
from titans_ts.ops.memory_chunked import solves
from titans_ts.ops.memory_linear import linear_memory
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState, mask_gates

CHUNKS = [1, 3, 16, 64]
KINDS = [
    pytest.param({}, id="buffer at the start"),
    pytest.param({"buffer": False}, id="fresh"),
    pytest.param({"masked": True}, id="masked"),
    pytest.param({"forget": False, "masked": True}, id="no forgetting"),
    pytest.param({"momentum": False, "masked": True}, id="no momentum"),
    pytest.param({"momentum": False, "forget": False}, id="no momentum, no forgetting"),
    pytest.param({"batch": 1, "heads": 1, "masked": True}, id="one row"),
    pytest.param({"state_batch": 1}, id="shared state"),
]


def linear(state, queries, keys, values, gates, *, chunk_size, need_state=True):
    """``linear_memory`` for a problem: heads and sequences as rows."""
    batch, heads = keys.shape[:2]

    def rows(tensor):
        return (
            None if tensor is None else tensor.expand(batch, heads, *tensor.shape[2:]).flatten(0, 1)
        )

    reads, *after = linear_memory(
        rows(state.weights[0]),
        rows(state.momentum[0]) if state.momentum else None,
        *map(rows, (queries, keys, values)),
        MemoryGates(*map(rows, gates)),
        chunk_size=chunk_size,
        need_state=need_state,
    )
    weights, momentum = (() if x is None else (x.unflatten(0, (batch, heads)),) for x in after)
    return reads.unflatten(0, (batch, heads)), MemoryState(weights, momentum, weights, 0)


def padded_time(chunk_size):
    """More than two tiles, the last of them short; whole chunks."""
    return {1: 131, 3: 141, 16: 144, 64: 192}[chunk_size]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_values_states_and_gradients_are_those_of_the_recurrence(chunk_size, kind):
    problem = make_problem(depth=1, time=padded_time(chunk_size), **kind)
    actual = results_and_gradients(problem, linear, chunk_size=chunk_size)
    expected = results_and_gradients(problem, memory_reference, chunk_size=chunk_size)
    assert_same(actual, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_groups_and_rows_one_after_the_other_and_states_made_again_change_nothing(
    monkeypatch, chunk_size, kind
):
    monkeypatch.setattr(memory_linear, "GROUP_TOKENS", 2 * 32 * 2)
    monkeypatch.setattr(memory_linear, "CACHE_BYTES", 2 * 2 * 7 * 7 * 8)  # two rows
    monkeypatch.setattr(memory_linear, "KEEP_BYTES", 0)
    problem = make_problem(depth=1, time=3 * padded_time(chunk_size), **kind)
    actual = results_and_gradients(problem, linear, chunk_size=chunk_size)
    monkeypatch.undo()
    assert_same(actual, results_and_gradients(problem, linear, chunk_size=chunk_size))


@pytest.mark.parametrize("max_tile", [3, 7, 16, 48])
@pytest.mark.parametrize("chunk_size", [1, 3])
def test_the_tile_is_a_matter_of_speed_only(monkeypatch, chunk_size, max_tile):
    problem = make_problem(depth=1, time=159, masked=True)
    expected = results_and_gradients(problem, linear, chunk_size=chunk_size)
    monkeypatch.setattr(memory_linear, "MAX_TILE", max_tile)
    assert_same(results_and_gradients(problem, linear, chunk_size=chunk_size), expected)


def test_the_chunk_is_part_of_the_model():
    problem = make_problem(depth=1, time=48)
    one, sixteen = (problem.solve(linear, chunk_size=size)[0] for size in (1, 16))
    torch.testing.assert_close(one[..., 0, :], sixteen[..., 0, :], rtol=0, atol=1e-12)
    assert (one - sixteen).abs().max() > 1e-4


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_pieces_equal_the_whole(chunk_size):
    problem = make_problem(depth=1, time=159, masked=True)
    reads, state = [], problem.state
    for time in (slice(0, 69), slice(69, 72), slice(72, 159)):
        piece, state = problem.piece(time, state).solve(linear, chunk_size=chunk_size)
        reads.append(piece)
    whole = problem.solve(linear, chunk_size=chunk_size)
    assert_same(flatten(torch.cat(reads, 2), state), flatten(*whole))


@pytest.mark.parametrize("momentum", [True, False])
def test_without_a_state_the_reads_and_their_gradients_stay(momentum):
    problem = make_problem(depth=1, time=141, momentum=momentum, masked=True)
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in problem.leaves().items()}
    found = []
    for need_state in (True, False):
        reads, state = problem.with_leaves(leaves).solve(
            linear, chunk_size=3, need_state=need_state
        )
        assert bool(state.weights) == need_state
        assert bool(state.momentum) == (need_state and momentum)
        gradients = torch.autograd.grad(
            reads.square().sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        found.append({"reads": reads.detach()} | dict(zip(leaves, gradients, strict=True)))
    assert_same(found[1], found[0])


def test_gradients_of_the_state_alone_are_those_of_the_recurrence():
    problem = make_problem(depth=1, time=131, masked=True)

    def state_only(form):
        def run(*args, **options):
            reads, state = form(*args, **options)
            return torch.zeros_like(reads), state

        return results_and_gradients(problem, run, chunk_size=1)

    assert_same(state_only(linear), state_only(memory_reference))


def test_what_is_given_is_left_untouched():
    problem = make_problem(depth=1, time=131, masked=True)
    before = {name: leaf.clone() for name, leaf in problem.leaves().items()}
    results_and_gradients(problem, linear, chunk_size=1)
    assert_same(problem.leaves(), before, tolerance=0)


def test_a_gradient_may_be_taken_twice():
    problem = make_problem(depth=1, time=131)
    keys = problem.keys.clone().requires_grad_()
    reads, _ = linear(
        problem.state, problem.queries, keys, problem.values, problem.gates, chunk_size=1
    )
    first, second = (
        torch.autograd.grad(reads.square().sum(), keys, retain_graph=True)[0] for _ in range(2)
    )
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_with_single_chunks_and_no_momentum_it_is_the_gated_delta_rule():
    # The rule fades before it reads the error, so its values are fade times ours.
    problem = make_problem(depth=1, time=151, batch=1, heads=1, momentum=False)
    keys, values, queries = problem.keys[0, 0], problem.values[0, 0], problem.queries[0, 0]
    weight = problem.state.weights[0][0, 0]
    expected = []
    for t in range(151):
        keep = problem.gates.log_keep[0, 0, 0, t].exp()
        strength = 2 * problem.gates.step_size[0, 0, 0, t] / keep
        faded = keep * weight
        new_value = keep * values[t]
        old_value = keys[t] @ faded
        weight = faded + strength * torch.outer(keys[t], new_value - old_value)
        expected.append(queries[t] @ weight)
    reads, state = problem.solve(linear, chunk_size=1)
    torch.testing.assert_close(reads[0, 0], torch.stack(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(state.weights[0][0, 0], weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 16])
def test_float32_stays_close_over_a_long_sequence(chunk_size):
    problem = make_problem(depth=1, time=4096, batch=1, heads=2, width=13, masked=True)
    single = problem.with_leaves({name: x.float() for name, x in problem.leaves().items()})
    actual = results_and_gradients(single, linear, chunk_size=chunk_size)
    expected = results_and_gradients(problem, linear, chunk_size=chunk_size)
    assert_same({name: x.double() for name, x in actual.items()}, expected, tolerance=1e-4)


def test_strong_forgetting_and_faint_momentum_leave_no_nan():
    problem = make_problem(depth=1, time=131)
    gates = problem.gates._replace(
        log_momentum=torch.full_like(problem.gates.log_momentum, -40.0),
        log_keep=torch.full_like(problem.gates.log_keep, -40.0),
    )
    problem = type(problem)(
        problem.state, problem.queries, problem.keys, problem.values, gates, None
    )
    actual = results_and_gradients(problem, linear, chunk_size=1)
    assert_same(actual, results_and_gradients(problem, memory_reference, chunk_size=1))


def test_masked_tokens_leave_weights_and_buffer_as_they_are():
    problem = make_problem(depth=1, time=66)
    nothing = torch.zeros(5, 66, dtype=torch.bool)
    gates = mask_gates(problem.gates, nothing)
    _, state = linear(
        problem.state, problem.queries, problem.keys, problem.values, gates, chunk_size=3
    )
    torch.testing.assert_close(state.weights[0], problem.state.weights[0], rtol=0, atol=0)
    torch.testing.assert_close(state.momentum[0], problem.state.momentum[0], rtol=0, atol=0)


def test_only_what_needs_a_gradient_may_ask_for_one():
    problem = make_problem(depth=1, time=33)
    values = problem.values.clone().requires_grad_()
    reads, _ = linear(
        problem.state, problem.queries, problem.keys, values, problem.gates, chunk_size=3
    )
    (actual,) = torch.autograd.grad(reads.sum(), values)
    expected_reads, _ = memory_reference(
        problem.state, problem.queries, problem.keys, values, problem.gates, chunk_size=3
    )
    (expected,) = torch.autograd.grad(expected_reads.sum(), values)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_short_calls_are_solved_from_sixteen_chunks_on_and_never_in_a_graph(monkeypatch):
    plain = {"residual": False, "coarse": False, "first_order": False}
    assert solves(64, 4, 1, **plain)
    assert not solves(63, 4, 1, **plain)
    assert not solves(64, 1, 2, **plain)
    assert not solves(64, 1, 1, **plain | {"coarse": True})
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not solves(64, 4, 1, **plain)
