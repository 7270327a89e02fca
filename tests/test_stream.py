"""Single tokens, one call each: writes that wait, states that are gone on from twice."""

import copy
import pickle
from dataclasses import replace

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


def test_errors_out_of_bounds_are_written_as_the_reference_writes_them():
    given = make_problem(time=17, loud=True, position=2)
    assert_same(flatten(*stream(given, range(17), given.state)), wanted(given, 17))


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


def with_momentum(given, value):
    """The same problem with one momentum for every token; ``value`` may be one for each."""
    momentum = torch.as_tensor(value, dtype=torch.float64).log().expand_as(given.gates.step_size)
    return replace(given, gates=given.gates._replace(log_momentum=momentum))


@pytest.mark.parametrize("masked", [False, True], ids=["all observed", "some masked"])
def test_a_short_momentum_goes_on_as_the_writes_it_remembers(masked):
    given = with_momentum(make_problem(time=42, masked=masked), 0.02)
    reads, state = stream(given, range(42), given.state)
    assert not state.momentum
    # What is older than ten tokens is less than the last digit; masked ones do not age it.
    assert 9 < state.pending.remembered() <= (30 if masked else 12)
    assert_same(flatten(reads, state), wanted(given, 42))


def test_a_long_momentum_goes_on_as_a_buffer():
    given = with_momentum(make_problem(time=42), 0.95)
    reads, state = stream(given, range(42), given.state)
    assert state.momentum
    assert_same(flatten(reads, state), wanted(given, 42))


def test_momentum_may_grow_long_and_short_again_in_mid_stream(monkeypatch):
    monkeypatch.setattr("titans_ts.ops.memory_pending.MOST_CARRIED", 12)
    monkeypatch.setattr("titans_ts.ops.memory_step.MOST_CARRIED", 12)
    momentum = torch.full((60,), 0.02)
    momentum[20:40] = 0.95
    given = with_momentum(make_problem(time=60), momentum)
    reads, state, is_buffer = [], given.state, []
    for start in range(0, 60, CHUNK):
        read, state = stream(given, range(start, start + CHUNK), state)
        reads.append(read)
        is_buffer.append(bool(state.momentum))
    assert is_buffer[2:4] == [False, False]
    assert is_buffer[5:8] == [True, True, True]
    assert not is_buffer[-1]
    assert_same(flatten(torch.cat(reads, -2), state), wanted(given, 60))


def test_two_streams_may_go_on_from_one_chunks_end():
    given = with_momentum(make_problem(time=14), 0.02)
    other = with_momentum(make_problem(time=14, seed=1), 0.02)
    first, state = stream(given, range(10), given.state)
    assert state.pending is not None
    stream(other, range(10, 14), state)
    rest, after = stream(given, range(10, 14), state)
    assert_same(flatten(torch.cat([first, rest], -2), after), wanted(given, 14))


def test_a_state_takes_the_same_room_at_each_chunks_end():
    given = with_momentum(make_problem(time=60), torch.linspace(0.001, 0.3, 60))
    sizes, carried, state = set(), set(), given.state
    for start in range(0, 60, CHUNK):
        _, state = stream(given, range(start, start + CHUNK), state)
        if start >= 4 * CHUNK:  # the buffer that it began with has faded
            sizes.add(
                (state.pending.factors.shape, state.pending.shares.shape, len(state.momentum))
            )
            carried.add(state.pending.remembered())
    assert len(carried) > 1
    assert len(sizes) == 1


def make_module():
    torch.manual_seed(0)
    return NeuralMemory(BackboneConfig(dim=12, chunk_size=5, n_heads=2)).double()


def change_in_place(module):
    module.qkv.weight.add_(1.0)


def replace_parameter(module):
    module.out.weight = torch.nn.Parameter(module.out.weight + 1.0)


def replace_data(module):
    module.gates.bias.data = module.gates.bias.data + 1.0


def load_weights(module):
    torch.manual_seed(1)
    other = NeuralMemory(BackboneConfig(dim=12, chunk_size=5, n_heads=2)).double()
    module.load_state_dict(other.state_dict())


def change_gain(module):
    module.read_norm.weight.mul_(2.0)


@pytest.mark.parametrize(
    "change", [change_in_place, replace_parameter, replace_data, load_weights, change_gain]
)
def test_a_step_multiplies_by_the_weights_of_today(change):
    module = make_module()
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    _, state = module(x[:, :3])
    before, _ = module(x[:, 3:], state)
    change(module)
    again, _ = module(x[:, 3:], state)
    assert not torch.allclose(again, before)
    together, _ = module(torch.cat([x[:, 3:], x[:, 3:]], 1), state)  # two tokens are no step
    torch.testing.assert_close(again, together[:, :1], rtol=0, atol=1e-12)


def test_a_module_made_in_inference_mode_streams_too():
    with torch.inference_mode():
        module = make_module()
        x = torch.randn(1, 4, 12, dtype=torch.float64)
        together, _ = module(x)
        _, state = module(x[:, :3])
        module.qkv.weight.mul_(1.0)
        apart, _ = module(x[:, 3:], state)
    torch.testing.assert_close(apart, together[:, 3:], rtol=0, atol=1e-12)


def test_a_copy_of_a_module_puts_its_own_weights_together():
    module = make_module()
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    _, state = module(x[:, :3])
    expected, _ = module(x[:, 3:], state)
    twin = copy.deepcopy(module)
    change_in_place(module)
    found, _ = twin(x[:, 3:], state)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("tokens", [4, 5, 7], ids=["in a chunk", "at its end", "in the next"])
def test_derivatives_may_be_asked_for_after_a_stream(tokens):
    module = make_module()
    x = torch.randn(1, tokens + 6, 12, dtype=torch.float64)
    state = None
    for token in range(tokens):
        _, state = module(x[:, token : token + 1], state)
    _, prefix = module(x[:, :tokens])

    def gradients(state):
        with torch.enable_grad():
            y, _ = module(x[:, tokens:], state)
            weights = [module.qkv.weight, module.gates.weight, module.conv.weight]
            return torch.autograd.grad(y.square().sum(), weights)

    for found, right in zip(gradients(state), gradients(prefix), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)
