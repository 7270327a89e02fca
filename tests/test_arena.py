"""Buffers that are used again."""

import pytest
import torch
from memory_problems import make_problem

from titans_ts.ops import arena as arenas
from titans_ts.ops.arena import Arena, borrow, give_back
from titans_ts.ops.memory_chunked import memory_chunked

CPU = torch.device("cpu")


@pytest.fixture
def none_idle(monkeypatch):
    monkeypatch.setattr(arenas, "_idle", [])


def test_pieces_do_not_overlap_and_are_taken_back_in_reverse():
    arena = Arena(CPU)
    first = arena.take(3, 5, dtype=torch.float32).fill_(1)
    mark = arena.mark()
    second = arena.take(7, dtype=torch.float64).fill_(2)
    assert (first == 1).all()
    arena.release(mark)
    third = arena.take(7, dtype=torch.float64).fill_(3)
    assert (second == 3).all()
    assert (first == 1).all()
    assert third.data_ptr() % 64 == 0


def test_a_piece_larger_than_a_block_gets_a_block_of_its_own(monkeypatch):
    monkeypatch.setattr(arenas, "BLOCK_BYTES", 256)
    arena = Arena(CPU)
    small, large = arena.take(8, dtype=torch.float32), arena.take(100, dtype=torch.float32)
    small.fill_(1)
    large.fill_(2)
    assert (small == 1).all()
    assert arena.n_bytes == 256 + 448


def test_what_is_given_back_is_what_the_next_call_gets(none_idle):
    arena = borrow(CPU)
    where = arena.take(11, dtype=torch.float32).data_ptr()
    give_back(arena)
    again = borrow(CPU)
    assert again is arena
    assert again.take(11, dtype=torch.float32).data_ptr() == where
    assert borrow(CPU) is not arena  # while one call has it, another gets its own


def test_no_more_than_a_little_is_kept_idle(none_idle, monkeypatch):
    monkeypatch.setattr(arenas, "BLOCK_BYTES", 100)
    monkeypatch.setattr(arenas, "IDLE_BYTES", 250)
    arena, other = Arena(CPU), Arena(CPU)
    for _ in range(4):
        arena.take(100, dtype=torch.uint8)
        other.take(100, dtype=torch.uint8)
    give_back(arena)
    give_back(other)
    assert sum(idle.n_bytes for idle in arenas._idle) <= 250


def test_memory_of_a_call_in_inference_mode_serves_one_with_gradients(none_idle):
    given = make_problem(time=200, batch=1)
    with torch.inference_mode():
        given.solve(memory_chunked, chunk_size=20)
    keys = given.keys.clone().requires_grad_()
    reads, _ = type(given)(given.state, given.queries, keys, given.values, given.gates, None).solve(
        memory_chunked, chunk_size=20
    )
    reads.sum().backward()
    assert keys.grad.isfinite().all()


def test_two_graphs_at_a_time_have_memory_of_their_own(none_idle):
    """Forward, forward, backward, backward, as with two losses."""
    problems = [make_problem(time=150, seed=seed, batch=1) for seed in (0, 1)]

    def forward(given):
        keys = given.keys.clone().requires_grad_()
        problem = type(given)(
            given.state, given.queries, keys, given.values, given.gates, given.observed
        )
        return keys, problem.solve(memory_chunked, chunk_size=15)[0]

    apart = []
    for given in problems:
        keys, reads = forward(given)
        apart.append(torch.autograd.grad(reads.square().sum(), keys)[0])
    both = [forward(given) for given in problems]
    for (keys, reads), expected in zip(both, apart, strict=True):
        torch.testing.assert_close(
            torch.autograd.grad(reads.square().sum(), keys)[0], expected, rtol=0, atol=1e-13
        )


def test_a_second_backward_pass_is_refused_with_a_sentence():
    given = make_problem(time=150, batch=1)
    keys = given.keys.clone().requires_grad_()
    reads, _ = type(given)(given.state, given.queries, keys, given.values, given.gates, None).solve(
        memory_chunked, chunk_size=15
    )
    loss = reads.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="Run the forward pass again instead of retain_graph"):
        loss.backward()
