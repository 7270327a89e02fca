"""The scan over chunks and the step of a stream, held to the token-by-token reference."""

from dataclasses import replace

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem, results_and_gradients

from titans_ts.ops.arena import Arena
from titans_ts.ops.memory_chunked import memory_chunked
from titans_ts.ops.memory_fold import make_fold
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import make_tables

KINDS = {
    "everything": {},
    "a state per sequence and an open chunk": {"position": 3, "masked": True},
    "shared weights": {"state_batch": 1, "buffer": False},
    "one layer": {"depth": 1, "masked": True, "position": 2},
    "three layers, no forgetting": {"depth": 3, "forget": False, "masked": True},
    "four layers, no momentum": {"depth": 4, "momentum": False},
    "neither momentum nor forgetting": {"momentum": False, "forget": False, "masked": True},
    # With one row, the gates that act on whole matrices are plain numbers.
    "one row": {"batch": 1, "heads": 1, "masked": True},
    "one row and an open chunk": {"batch": 1, "heads": 1, "position": 3, "depth": 3},
    "errors out of bounds": {"loud": True, "masked": True, "position": 2},
    "one layer, which knows no bounds": {"loud": True, "depth": 1},
    "one row, no momentum": {"batch": 1, "heads": 1, "momentum": False, "position": 2},
}
# Chunk and time: whole chunks, a ragged end, one open chunk, and chunks of several tiles.
LENGTHS = [(7, 35), (7, 23), (41, 29), (23, 61)]


@pytest.fixture(autouse=True)
def always_by_scan(monkeypatch):
    """Short sequences, and memories of one layer, go another way unless told not to."""
    monkeypatch.setattr("titans_ts.ops.memory_chunked.SHORT", 0)
    monkeypatch.setattr("titans_ts.ops.memory_chunked.TILE_SIZE", 0)
    monkeypatch.setattr("titans_ts.ops.memory_chunks.MAX_TILE", 11)
    monkeypatch.setattr("titans_ts.ops.memory_chunks.MAX_COARSE_TILE", 11)


def problem(kind, chunk, time):
    options = dict(KINDS[kind])
    options["position"] = min(options.get("position", 0), chunk - 1)
    return make_problem(time=time, max_step=0.03 * min(1, 16 / chunk), **options)


@pytest.mark.parametrize("semantics", [{}, {"coarse": True}, {"first_order": True}], ids=str)
@pytest.mark.parametrize(("chunk", "time"), LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_reads_states_and_all_gradients_are_those_of_the_reference(kind, chunk, time, semantics):
    given = problem(kind, chunk, time)
    expected = results_and_gradients(given, memory_reference, chunk_size=chunk, **semantics)
    actual = results_and_gradients(given, memory_chunked, chunk_size=chunk, **semantics)
    assert_same(actual, expected)


@pytest.mark.parametrize(("chunk", "time"), [(7, 35), (41, 29), (23, 61)])
@pytest.mark.parametrize("kind", ["everything", "one row and an open chunk", "one layer"])
def test_long_tiles_that_go_by_halves_give_the_same(kind, chunk, time, monkeypatch):
    monkeypatch.setattr("titans_ts.ops.memory_overlap.LONG_TILE", 2)
    given = problem(kind, chunk, time)
    expected = results_and_gradients(given, memory_reference, chunk_size=chunk)
    assert_same(results_and_gradients(given, memory_chunked, chunk_size=chunk), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_without_derivatives_the_results_are_the_same(kind):
    given = problem(kind, 7, 23)
    with torch.no_grad():
        actual = flatten(*given.solve(memory_chunked, chunk_size=7))
    assert_same(actual, flatten(*given.solve(memory_reference, chunk_size=7)))


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("chunk", [7, 13])
def test_a_residual_memory_too(coarse, chunk):
    given = make_problem(time=23, max_step=0.01, position=3, masked=True)
    options = {"chunk_size": chunk, "residual": True, "coarse": coarse}
    expected = results_and_gradients(given, memory_reference, **options)
    assert_same(results_and_gradients(given, memory_chunked, **options), expected)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("kind", ["a state per sequence and an open chunk", "one row"])
@pytest.mark.parametrize("save_every", [None, 1, 2, 5])
def test_work_that_is_made_again_gives_the_same_gradients(save_every, kind, coarse, monkeypatch):
    monkeypatch.setattr("titans_ts.ops.memory_chunks.KEEP_BYTES", 0)
    given = problem(kind, 5, 41)
    expected = results_and_gradients(given, memory_reference, chunk_size=5, coarse=coarse)
    options = {"chunk_size": 5, "save_every": save_every, "coarse": coarse}
    assert_same(results_and_gradients(given, memory_chunked, **options), expected)


def test_rows_go_in_sets_without_a_trace_of_it(monkeypatch):
    given = problem("everything", 7, 23)
    together = results_and_gradients(given, memory_chunked, chunk_size=7)
    # Room for two of 15 rows of 2 * (7 * 11 + 11 * 7) float64 values.
    monkeypatch.setattr("titans_ts.ops.memory_chunks.CACHE_BYTES", 2 * 2464)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert_same(results_and_gradients(given, memory_chunked, chunk_size=7), together, 1e-12)


def test_what_is_given_is_left_as_it_was():
    given = problem("a state per sequence and an open chunk", 7, 23)
    before = {name: leaf.clone() for name, leaf in given.leaves().items()}
    results_and_gradients(given, memory_chunked, chunk_size=7)
    with torch.no_grad():
        given.solve(memory_chunked, chunk_size=7)
    assert all(torch.equal(leaf, before[name]) for name, leaf in given.leaves().items())


def test_gradients_do_not_need_the_state_to_be_asked_for():
    given = problem("everything", 7, 23)
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in given.leaves().items()}
    found = []
    for need_state in (True, False):
        reads, state = given.with_leaves(leaves).solve(
            memory_chunked, chunk_size=7, need_state=need_state
        )
        assert (state is None) is not need_state
        found.append(
            torch.autograd.grad(
                reads.square().sum(),
                list(leaves.values()),
                allow_unused=True,
                materialize_grads=True,
            )
        )
    for with_state, without in zip(*found, strict=True):
        torch.testing.assert_close(without, with_state, rtol=0, atol=1e-12)


def test_gates_that_nearly_close_stay_exact_and_finite():
    given = make_problem(time=61, seed=3)
    shut = given.gates._replace(
        log_keep=30 * given.gates.log_keep, log_momentum=30 * given.gates.log_momentum
    )
    given = type(given)(given.state, given.queries, given.keys, given.values, shut, given.observed)
    expected = results_and_gradients(given, memory_reference, chunk_size=11)
    assert_same(results_and_gradients(given, memory_chunked, chunk_size=11), expected)


def test_single_precision_stays_near_double_over_4096_tokens():
    given = make_problem(time=4096, batch=1, heads=1, width=16, hidden=(32,), max_step=0.01)
    exact, _ = given.solve(memory_chunked, chunk_size=16)
    single = type(given)(
        given.state._replace(
            weights=tuple(w.float() for w in given.state.weights),
            momentum=tuple(w.float() for w in given.state.momentum),
            anchor=tuple(w.float() for w in given.state.anchor),
        ),
        *(x.float() for x in (given.queries, given.keys, given.values)),
        type(given.gates)(*(None if g is None else g.float() for g in given.gates)),
        None,
    )
    reads, _ = single.solve(memory_chunked, chunk_size=16)
    assert (reads - exact).abs().max() < 1e-4 * exact.abs().max()


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_single_tokens_ends_where_one_call_does(kind, residual, coarse):
    given = problem(kind, 5, 13)
    options = {"chunk_size": 5, "residual": residual, "coarse": coarse}
    expected = flatten(*given.solve(memory_reference, **options))
    state, reads = given.state, []
    with torch.no_grad():
        for token in range(13):
            piece = given.piece(slice(token, token + 1), state)
            read, state = piece.solve(memory_chunked, **options)
            reads.append(read)
    assert_same(flatten(torch.cat(reads, dim=-2), state), expected, 1e-10)


def test_a_step_of_a_stream_takes_no_more_memory_later(monkeypatch):
    given = make_problem(time=50, batch=1)
    state = given.state
    sizes = set()
    with torch.no_grad():
        for token in range(50):
            _, state = given.piece(slice(token, token + 1), state).solve(
                memory_chunked, chunk_size=5
            )
            tensors = (*state.weights, *state.momentum, *state.anchor)
            storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
            if token > 5:
                sizes.add(sum(s.nbytes() for s in storages.values()) // 1000)
    assert len(sizes) <= 2  # at a chunk's start, and inside of one


def test_a_memory_that_faded_to_next_to_nothing_is_empty_and_no_denormal_number():
    given = make_problem(time=1201, batch=1, heads=1, max_step=0.0)
    gates = given.gates._replace(log_keep=torch.full_like(given.gates.log_keep, -0.06))
    single = type(given)(
        given.state._replace(
            weights=tuple(w.float() for w in given.state.weights),
            momentum=(),
            anchor=tuple(w.float() for w in given.state.anchor),
        ),
        *(x.float() for x in (given.queries, given.keys, given.values)),
        type(gates)(*(None if g is None else g.float() for g in gates)),
        None,
    )
    reads, state = single.solve(memory_chunked, chunk_size=16)
    # Faded by exp(-72): without zeros, 1e-33 and products of it.
    assert all((w == 0).all() for w in state.weights)
    assert (reads[:, :, -1] == 0).all()
    assert (reads[:, :, 100] != 0).all()


@pytest.mark.parametrize("keep_bytes", [2**26, 0], ids=["states kept", "states made again"])
@pytest.mark.parametrize("chunk", [100, 230])
@pytest.mark.parametrize(
    "kind",
    [
        {"batch": 1, "heads": 1, "masked": True},
        {"batch": 2, "heads": 2, "masked": True},
        {"batch": 1, "heads": 1, "depth": 3, "position": 3, "forget": False},
        {"batch": 2, "heads": 1, "depth": 1},
    ],
    ids=str,
)
def test_momentum_that_is_spent_within_a_tile_is_folded_into_the_weights(
    kind, chunk, keep_bytes, monkeypatch
):
    monkeypatch.setattr("titans_ts.ops.memory_chunks.MAX_TILE", 128)
    monkeypatch.setattr("titans_ts.ops.memory_chunks.KEEP_BYTES", keep_bytes)
    folds = []

    def spied(*given):
        folds.append(make_fold(*given))
        return folds[-1]

    monkeypatch.setattr("titans_ts.ops.memory_prepare.make_fold", spied)
    given = make_problem(time=311, max_step=0.002, **kind)
    brief = 2.5 * given.gates.log_momentum - 1.5
    given = replace(given, gates=given.gates._replace(log_momentum=brief))
    expected = results_and_gradients(given, memory_reference, chunk_size=chunk)
    assert_same(results_and_gradients(given, memory_chunked, chunk_size=chunk), expected)
    assert any(fold is not None and fold.early < 64 for fold in folds)


def test_forgetting_that_outruns_momentum_is_not_folded(monkeypatch):
    given = make_problem(time=128, batch=1, heads=1)
    gates = MemoryGates(*(None if gate is None else gate[:, 0] for gate in given.gates))
    work = make_tables(gates, n_tiles=1, arena=Arena(torch.device("cpu")))[1]
    brief = gates._replace(log_momentum=gates.log_momentum - 2.0)
    assert make_fold(brief, work, 1) is not None
    assert make_fold(gates._replace(log_momentum=0.001 * gates.log_momentum), work, 1) is None
    assert make_fold(brief._replace(log_keep=brief.log_momentum - 1.0), work, 1) is None
