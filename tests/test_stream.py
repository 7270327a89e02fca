"""Single tokens, one call each: writes that wait, states that are gone on from twice."""

import copy
import pickle

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem

from titans_ts.config import BackboneConfig
from titans_ts.nn.memory import NeuralMemory
from titans_ts.ops.memory_chunked import memory_chunked
from titans_ts.ops.memory_reference import memory_reference

CHUNK = 5


@pytest.fixture(autouse=True)
def without_derivatives():
    with torch.no_grad():
        yield


def stream(given, times, state):
    """Read tokens one by one; return the reads and the state after them."""
    reads = []
    for token in times:
        piece = given.piece(slice(token, token + 1), state)
        read, state = piece.solve(memory_chunked, chunk_size=CHUNK)
        reads.append(read)
    return torch.cat(reads, -2), state


def wanted(given, stop):
    return flatten(
        *given.piece(slice(0, stop), given.state).solve(memory_reference, chunk_size=CHUNK)
    )


def test_two_streams_may_go_on_from_one_state():
    given, other = make_problem(time=9), make_problem(time=9, seed=1)
    # The same tokens up to the second, and others from there on.
    first_two, state = stream(given, range(2), given.state)
    reads, after = stream(given, range(2, 9), state)
    other_reads, _ = stream(other, range(2, 9), state)
    again, after_again = stream(given, range(2, 9), state)
    assert not torch.allclose(other_reads, reads)
    torch.testing.assert_close(again, reads, rtol=0, atol=1e-13)
    assert_same(flatten(torch.cat([first_two, reads], -2), after), wanted(given, 9))
    assert_same(flatten(torch.cat([first_two, again], -2), after_again), wanted(given, 9))


def test_a_step_leaves_the_state_that_it_was_given_as_it_was():
    given = make_problem(time=9)
    _, state = stream(given, range(3), given.state)
    before = flatten(given.queries, copy.deepcopy(state))
    stream(given, range(3, 9), state)
    assert_same(flatten(given.queries, state), before, 0.0)


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_longer_piece_may_follow_a_stream_and_a_stream_a_piece(cut):
    given = make_problem(time=11, position=2, masked=True)
    expected = flatten(*given.solve(memory_reference, chunk_size=CHUNK))
    reads, state = stream(given, range(cut), given.state)
    rest, after = given.piece(slice(cut, 11), state).solve(memory_chunked, chunk_size=CHUNK)
    assert_same(flatten(torch.cat([reads, rest], -2), after), expected)
    reads, state = given.piece(slice(0, cut), given.state).solve(memory_chunked, chunk_size=CHUNK)
    rest, after = stream(given, range(cut, 11), state)
    assert_same(flatten(torch.cat([reads, rest], -2), after), expected)


def test_a_chunk_longer_than_what_may_wait_is_added_up_on_the_way(monkeypatch):
    monkeypatch.setattr("titans_ts.ops.memory_step.MOST_PENDING", 2)
    given = make_problem(time=9)
    reads, state = stream(given, range(9), given.state)
    assert state.pending is None  # after eight
    assert_same(flatten(reads, state), wanted(given, 9))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_state_in_the_middle_of_a_chunk_goes_on_by_itself(copied):
    given, other = make_problem(time=9), make_problem(time=9, seed=1)
    reads, state = stream(given, range(3), given.state)
    twin = copied(state)
    stream(other, range(3, 5), state)
    rest, after = stream(given, range(3, 9), twin)
    assert_same(flatten(torch.cat([reads, rest], -2), after), wanted(given, 9))


@pytest.mark.parametrize("options", [{}, {"n_memory_heads": 2}, {"coarse_memory": True}], ids=str)
def test_a_long_sequence_goes_through_a_module_in_stretches(options, monkeypatch):
    config = BackboneConfig(dim=12, chunk_size=5, n_heads=2, n_persistent=3, **options)
    torch.manual_seed(0)
    module = NeuralMemory(config).double()
    x, mask = torch.randn(2, 331, 12, dtype=torch.float64), torch.rand(2, 331) > 0.1
    whole, after = module(x, observed=mask)
    monkeypatch.setattr("titans_ts.nn.memory.STRETCH_TOKENS", 2 * 70)
    pieces, after_pieces = module(x, observed=mask)
    torch.testing.assert_close(pieces[mask], whole[mask], rtol=0, atol=1e-12)
    for got, right in zip(after_pieces.memory.weights, after.memory.weights, strict=True):
        torch.testing.assert_close(got, right, rtol=0, atol=1e-12)
    _, nothing = module(x, observed=mask, need_state=False)
    assert nothing is None


def test_settling_changes_nothing_but_the_form():
    given = make_problem(time=9)
    _, state = stream(given, range(3), given.state)
    assert state.pending is not None
    plain = state.settled()
    assert plain.pending is None
    assert plain.settled() is plain
    _, expected = given.piece(slice(0, 3), given.state).solve(memory_reference, chunk_size=CHUNK)
    assert_same(flatten(given.queries, plain), flatten(given.queries, expected))


@pytest.mark.parametrize("observed", [False, True], ids=["all observed", "some masked"])
@pytest.mark.parametrize(
    "options",
    [
        {"memory_heads": 2},
        {"conv_width": 0, "memory_residual": True},
        {"momentum": False, "memory_depth": 3},
        {"forgetting": False, "memory_depth": 1},
        {"coarse_memory": True},
        {"memory_writes": False},
    ],
    ids=str,
)
def test_a_module_reads_tokens_one_by_one_as_it_reads_them_together(options, observed):
    options = dict(options)
    n_memory_heads = options.pop("memory_heads", 1)
    config = BackboneConfig(
        dim=12, chunk_size=5, n_memory_heads=n_memory_heads, n_heads=2, **options
    )
    torch.manual_seed(0)
    module = NeuralMemory(config).double()
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(3, 17, 12, dtype=torch.float64)
    mask = torch.rand(3, 17) > 0.3 if observed else None
    together, _ = module(x, observed=mask)
    reads, state = [], None
    for token in range(17):
        now = slice(token, token + 1)
        read, state = module(x[:, now], state, None if mask is None else mask[:, now])
        reads.append(read)
    apart = torch.cat(reads, 1)
    seen = slice(None) if mask is None else mask
    torch.testing.assert_close(apart[seen], together[seen], rtol=0, atol=1e-12)
