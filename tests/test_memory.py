"""The plain memory is the paper's, by autograd; the fast one is the plain one."""

from __future__ import annotations

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem, results_and_gradients
from torch import Tensor

from titans_ts.ops.memory_chunked import TILE_SIZE, memory_chunked
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryState

GATES = [
    pytest.param({"momentum": momentum, "forget": forget}, id=name)
    for momentum, forget, name in [
        (True, True, "momentum and forgetting"),
        (True, False, "momentum only"),
        (False, True, "forgetting only"),
        (False, False, "neither"),
    ]
]

# Over hundreds of tokens a memory with LayerNorm amplifies round-off: two runs of the reference
# whose weights differ by 1e-15 end 1e-9 apart with steps of 0.03, and 1e-13 apart with these.
LONG_STEP = 0.002


def paper_memory(state, queries, keys, values, gates, *, chunk_size, residual=False):
    """Titans, eqs. 12-15, one vector at a time: inner gradients by autograd, gates as numbers.

    Shares no code with titans_ts. A masked token changes nothing.
    """

    def net(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
        y = x @ weights[0]
        for weight in weights[1:]:
            y = (y / (1 + torch.exp(-y))) @ weight
        if not residual:
            return y
        centred = y - y.mean()
        return x + centred / torch.sqrt((centred**2).mean() + 1e-5)

    def inner_loss(weights: tuple[Tensor, ...], key: Tensor, value: Tensor) -> Tensor:
        return ((net(weights, key) - value) ** 2).sum()

    def over_rows_and_heads(function):
        return torch.func.vmap(torch.func.vmap(function))

    gradient = over_rows_and_heads(torch.func.grad(inner_loss))
    read = over_rows_and_heads(net)
    n_batch, _, n_time, _ = keys.shape

    def per_row(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.expand(n_batch, *tensor.shape[1:]) for tensor in tensors)

    weights, anchor = per_row(state.weights), per_row(state.anchor)
    buffers = per_row(state.momentum or tuple(torch.zeros_like(w) for w in state.weights))
    theta = gates.step_size
    eta = torch.zeros_like(theta) if gates.log_momentum is None else torch.exp(gates.log_momentum)
    alpha = torch.zeros_like(theta) if gates.log_keep is None else 1 - torch.exp(gates.log_keep)
    reads = []
    for t in range(n_time):
        place = (state.position + t) % chunk_size
        anchor = weights if place == 0 else anchor
        moved, pushed = [], []
        for layer, g in enumerate(gradient(anchor, keys[:, :, t], values[:, :, t])):
            now = (slice(None), slice(None), layer, t, None, None)
            buffer = eta[now] * buffers[layer] - theta[now] * g
            weight = (1 - alpha[now]) * weights[layer] + buffer
            if gates.observed is not None:
                seen = gates.observed[:, 0, 0, t].reshape(-1, 1, 1, 1)
                buffer = torch.where(seen, buffer, buffers[layer])
                weight = torch.where(seen, weight, weights[layer])
            moved.append(weight)
            pushed.append(buffer)
        weights, buffers = tuple(moved), tuple(pushed)
        reads.append(read(weights, queries[:, :, t]))
    position = (state.position + n_time) % chunk_size
    anchor = anchor if position else weights
    return torch.stack(reads, 2), MemoryState(
        weights, buffers if gates.log_momentum is not None else (), anchor, position
    )


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("chunk_size", [1, 3], ids=["token by token", "from the chunk's start"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_reference_learns_by_the_gradient_that_autograd_takes(depth, chunk_size, residual, gates):
    problem = make_problem(time=5, depth=depth, position=chunk_size // 2, masked=True, **gates)
    options = {"chunk_size": chunk_size, "residual": residual}
    actual = results_and_gradients(problem, memory_reference, **options)
    assert_same(actual, results_and_gradients(problem, paper_memory, **options))


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_chunked_equals_reference_for_every_net_and_gate(depth, residual, gates):
    problem = make_problem(time=23, depth=depth, position=2, masked=True, **gates)
    options = {"chunk_size": 3, "residual": residual}
    actual = results_and_gradients(problem, memory_chunked, **options)
    assert_same(actual, results_and_gradients(problem, memory_reference, **options))


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 16, 89])
@pytest.mark.parametrize("time", [1, 2, 13, 71])
@pytest.mark.parametrize("begins", ["with a chunk", "inside a chunk"])
def test_chunked_equals_reference_for_every_length(chunk_size, time, begins):
    position = chunk_size // 2 if begins == "inside a chunk" else 0
    problem = make_problem(time=time, position=position)
    actual = results_and_gradients(problem, memory_chunked, chunk_size=chunk_size)
    assert_same(actual, results_and_gradients(problem, memory_reference, chunk_size=chunk_size))


@pytest.mark.parametrize("gates", GATES)
def test_chunked_equals_reference_over_several_tiles(gates):
    problem = make_problem(
        time=2 * TILE_SIZE + 3, position=3, masked=True, max_step=LONG_STEP, **gates
    )
    options = {"chunk_size": 4, "residual": True}
    actual = results_and_gradients(problem, memory_chunked, **options)
    assert_same(actual, results_and_gradients(problem, memory_reference, **options))


@pytest.mark.slow
@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk_size", [1, 5, 16, 64])
def test_chunked_equals_reference_on_long_sequences(chunk_size, depth, residual, gates):
    problem = make_problem(
        time=151,
        depth=depth,
        position=chunk_size - 1,
        masked=True,
        max_step=LONG_STEP,
        **gates,
    )
    options = {"chunk_size": chunk_size, "residual": residual}
    actual = results_and_gradients(problem, memory_chunked, **options)
    assert_same(actual, results_and_gradients(problem, memory_reference, **options))


@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
@pytest.mark.parametrize("gates", GATES)
def test_state_counts_its_place_in_the_chunk(form, gates):
    problem = make_problem(time=19, position=3, **gates)
    _, state = problem.solve(form, chunk_size=5)
    assert state.position == (3 + 19) % 5
    assert len(state.momentum) == (2 if gates["momentum"] else 0)


@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
def test_anchor_is_the_weights_themselves_where_a_chunk_starts(form):
    _, state = make_problem(time=17, position=3).solve(form, chunk_size=5)
    assert state.position == 0
    for anchor, weight in zip(state.anchor, state.weights, strict=True):
        assert torch.equal(anchor, weight)
        assert anchor.data_ptr() == weight.data_ptr()  # not held twice


@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
def test_anchor_handed_in_at_a_chunk_start_is_not_used(form):
    problem = make_problem(time=7)
    nonsense = tuple(torch.full_like(w, torch.nan) for w in problem.state.weights)
    other = problem.piece(slice(None), problem.state._replace(anchor=nonsense))
    expected = flatten(*problem.solve(form, chunk_size=3))
    assert_same(flatten(*other.solve(form, chunk_size=3)), expected, tolerance=0)


@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
def test_state_handed_in_is_left_as_it_was(form):
    problem = make_problem(time=TILE_SIZE + 7, position=2)
    before = {name: leaf.clone() for name, leaf in problem.leaves().items()}
    problem.solve(form, chunk_size=3)
    assert all(torch.equal(leaf, before[name]) for name, leaf in problem.leaves().items())


@pytest.mark.parametrize("time", [0, 13, TILE_SIZE + 7])
def test_chunked_spares_the_state_when_told_so_and_reads_the_same(time):
    problem = make_problem(time=time, position=2)
    reads, _ = problem.solve(memory_chunked, chunk_size=3)
    alone, nothing = problem.solve(memory_chunked, chunk_size=3, need_state=False)
    assert nothing is None
    assert torch.equal(alone, reads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
def test_results_keep_the_dtype_of_the_input(form, dtype):
    problem = make_problem(time=7)
    problem = problem.with_leaves({n: leaf.to(dtype) for n, leaf in problem.leaves().items()})
    results = flatten(*problem.solve(form, chunk_size=3))
    assert {tensor.dtype for tensor in results.values()} == {dtype}


@pytest.mark.parametrize(
    "state", [{"buffer": False}, {"buffer": True, "position": 2}], ids=["fresh", "mid-chunk"]
)
@pytest.mark.parametrize("time", [1, TILE_SIZE + 7])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_a_state_that_all_rows_share_is_that_state_given_to_each(state, time, residual):
    shared = make_problem(time=time, state_batch=1, masked=True, **state)
    options = {"chunk_size": 3, "residual": residual}
    n_batch = shared.keys.shape[0]
    each = shared.with_leaves(
        {
            name: leaf.expand(n_batch, *leaf.shape[1:]).clone()
            for name, leaf in shared.leaves().items()
        }
    )
    expected = results_and_gradients(each, memory_chunked, **options)
    for name, leaf in shared.leaves().items():
        if leaf.shape[0] == 1:
            summed = expected[f"gradient of {name}"].sum(0, keepdim=True)
            expected[f"gradient of {name}"] = summed
    assert_same(results_and_gradients(shared, memory_chunked, **options), expected)
    assert_same(results_and_gradients(shared, memory_reference, **options), expected)
