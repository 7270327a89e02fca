"""A tile written and read piece by piece is the memory written and read token by token."""

from __future__ import annotations

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem, results_and_gradients

from titans_ts.ops.memory_chunked import memory_chunked, slice_gates
from titans_ts.ops.memory_net import read_memory
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState, mask_gates
from titans_ts.ops.memory_tile import close_tile, open_tile, read_tile, tile_length, write_tile

TIME = 23
STATES = [
    pytest.param({"position": 0}, id="at a chunk's start"),
    pytest.param({"position": 3}, id="mid-chunk"),
    pytest.param({"position": 0, "state_batch": 1, "buffer": False}, id="shared and fresh"),
    pytest.param({"position": 3, "momentum": False}, id="no momentum"),
    pytest.param({"position": 3, "forget": False}, id="no forgetting"),
    pytest.param({"position": 3, "loud": True}, id="errors out of bounds"),
]
OPTIONS = [
    pytest.param({"chunk_size": 1, "residual": False}, id="chunk 1"),
    pytest.param({"chunk_size": 4, "residual": True}, id="chunk 4, residual"),
    pytest.param({"chunk_size": 97, "residual": False}, id="chunk longer than the tile"),
]


def heads_first(tensor):
    return tensor.transpose(0, 1)


def write(tile, problem, start, stop, options):
    """Write tokens start .. stop - 1 of a problem."""
    now = slice(start, stop)
    return write_tile(
        tile,
        heads_first(problem.keys)[:, :, now],
        heads_first(problem.values)[:, :, now],
        slice_gates(mask_gates(problem.gates, problem.observed), now),
        **options,
    )


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("stops", [range(1, TIME + 1), [0, 2, 3, 3, 11, 17, TIME], [TIME]])
def test_writes_in_several_calls_are_the_writes_in_one(stops, state, options):
    if options["chunk_size"] == 1:
        state = state | {"position": 0}
    problem = make_problem(time=TIME, masked=True, **state)
    expected = problem.solve(memory_reference, **options)
    tile, reads, start = open_tile(problem.state), [], 0
    for stop in stops:
        tile = write(tile, problem, start, stop, options)
        queries = heads_first(problem.queries)[:, :, start:stop]
        if stop > start:
            rows = range(start, stop)
            reads.append(read_tile(tile, queries, rows, residual=options["residual"]))
        start = stop
    assert tile_length(tile) == TIME
    actual = flatten(
        heads_first(torch.cat(reads, 2)), close_tile(tile, chunk_size=options["chunk_size"])
    )
    assert_same(actual, flatten(*expected))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("state", STATES)
def test_a_tile_closes_after_any_token(state, options):
    if options["chunk_size"] == 1:
        state = state | {"position": 0}
    problem = make_problem(time=TIME, masked=True, **state)
    for n in (0, 1, 2, 5, 8, 17):  # before, at and after the ends of chunks
        tile = write(open_tile(problem.state), problem, 0, n, options)
        after = close_tile(tile, chunk_size=options["chunk_size"])
        piece = problem.piece(slice(0, n), problem.state)
        reads, expected = piece.solve(memory_reference, **options)
        assert after.position == expected.position
        if n == 0:  # A buffer of zeros stays unspoken until a token comes.
            expected = expected._replace(momentum=problem.state.momentum)
        assert_same(flatten(reads, after), flatten(reads, expected))


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("state", STATES)
def test_one_row_serves_all_queries(state, residual):
    """As MAC asks: a whole segment reads the memory as it stood at one moment."""
    options = {"chunk_size": 4, "residual": residual}
    problem = make_problem(time=TIME, masked=True, **state)
    tile = write(open_tile(problem.state), problem, 0, TIME, options)
    queries = heads_first(problem.queries)
    for moment in (0, 7, TIME - 1):
        _, then = problem.piece(slice(0, moment + 1), problem.state).solve(
            memory_reference, **options
        )
        expected = read_memory(then.weights, problem.queries, residual=residual)
        actual = read_tile(tile, queries, range(moment, moment + 1), residual=residual)
        torch.testing.assert_close(heads_first(actual), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("n_written", [0, 5])
def test_no_row_reads_the_memory_as_it_was_opened(n_written, residual):
    problem = make_problem(time=TIME, position=2)
    options = {"chunk_size": 4, "residual": residual}
    tile = write(open_tile(problem.state), problem, 0, n_written, options)
    actual = read_tile(tile, heads_first(problem.queries), None, residual=residual)
    expected = read_memory(problem.state.weights, problem.queries, residual=residual)
    torch.testing.assert_close(heads_first(actual), expected, rtol=0, atol=1e-12)


def test_a_tile_that_was_written_to_can_still_be_written_another_way():
    """Writing returns a new tile, so that a partial patch can be read without committing it."""
    problem = make_problem(time=TIME, position=2)
    options = {"chunk_size": 4, "residual": False}
    first = write(open_tile(problem.state), problem, 0, 11, options)
    before = flatten(problem.queries, close_tile(first, chunk_size=4))
    write(first, problem, 11, TIME, options)
    assert tile_length(first) == 11
    after = flatten(problem.queries, close_tile(first, chunk_size=4))
    assert_same(after, before, tolerance=0)


@pytest.mark.parametrize("chunk_size", [1, 4, 97])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_a_coarse_memory_takes_one_step_a_chunk_in_tiles_too(state, masked, chunk_size):
    state = state | {"position": min(state["position"], chunk_size - 1)}
    problem = make_problem(time=TIME, masked=masked, **state)
    options = {"chunk_size": chunk_size, "coarse": True}
    assert_same(
        results_and_gradients(problem, memory_chunked, **options),
        results_and_gradients(problem, memory_reference, **options),
    )


def test_a_coarse_tile_may_be_written_in_several_calls():
    problem = make_problem(time=TIME, masked=True, position=3)
    options = {"chunk_size": 4, "residual": False, "coarse": True}
    _, expected = problem.solve(memory_reference, **options)
    tile, start = open_tile(problem.state), 0
    for stop in (2, 3, 11, 17, TIME):
        tile = write(tile, problem, start, stop, options)
        start = stop
    after = close_tile(tile, chunk_size=4)
    assert_same(flatten(problem.queries, after), flatten(problem.queries, expected))


def test_a_coarse_chunk_moves_on_once_on_paper():
    """A memory of one number: two chunks of two tokens, with key and value 1."""
    ones = torch.ones(1, 1, 4, 1, dtype=torch.float64)
    half = torch.full((1, 1, 1, 4), 0.5, dtype=torch.float64)
    gates = MemoryGates(0.25 * half, half.log(), half.log())
    weight = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    state = MemoryState((weight,), (), (weight,), 0)
    # Step size 1/8, gradient 2 (w - 1): the first chunk takes -1/8 * 2 * -1 twice at w = 0, so that
    # S = W = 1/2; the second, at w = 1/2, S = 1/4 + 1/4 and W = 1/4 + 1/2.
    reads, after = memory_chunked(state, ones, ones, ones, gates, chunk_size=2, coarse=True)
    assert reads.flatten().tolist() == pytest.approx([0, 0, 0.5, 0.5])
    assert after.momentum[0].item() == pytest.approx(0.5)
    assert after.weights[0].item() == pytest.approx(0.75)
