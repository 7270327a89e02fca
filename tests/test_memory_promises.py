"""What users of the memory rely on, whatever its form: cuts, causality, rows, masks, stability."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from memory_problems import assert_same, flatten, make_problem, results_and_gradients
from torch.nn import functional as F

from titans_ts.ops.memory_chunked import TILE_SIZE, memory_chunked
from titans_ts.ops.memory_net import (
    MOST_ERROR,
    bound_error,
    bound_error_backward,
    layer_norm_backward,
    read_memory,
    silu_backward,
)
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState, mask_gates

FORMS = pytest.mark.parametrize("form", [memory_reference, memory_chunked])
LONG = TILE_SIZE + 9


def in_pieces(form, cuts):
    """The same form, stopped at every cut and taken up again from the state."""

    def pieced(state, queries, keys, values, gates, **options):
        reads = []
        for start, stop in zip([0, *cuts], [*cuts, keys.shape[2]], strict=True):
            now = slice(start, stop)
            some = MemoryGates(*(None if gate is None else gate[..., now] for gate in gates))
            tokens = (tensor[:, :, now] for tensor in (queries, keys, values))
            read, state = form(state, *tokens, some, **options)
            reads.append(read)
        return torch.cat(reads, 2), state

    return pieced


@pytest.mark.parametrize(
    ("chunk_size", "residual", "state"),
    [
        pytest.param(1, False, {}, id="chunk 1"),
        pytest.param(4, True, {"position": 2}, id="chunk 4, residual, mid-chunk"),
        pytest.param(4, False, {"state_batch": 1, "buffer": False}, id="chunk 4, shared state"),
        pytest.param(97, True, {"position": 89}, id="chunk longer than a tile"),
    ],
)
def test_one_cut_anywhere_changes_nothing(chunk_size, residual, state):
    options = {"chunk_size": chunk_size, "residual": residual}
    problem = make_problem(time=13, masked=True, **state)
    expected = flatten(*problem.solve(memory_chunked, **options))
    for cut in range(14):
        actual = flatten(*problem.solve(in_pieces(memory_chunked, [cut]), **options))
        assert_same(actual, expected)


@FORMS
@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(range(1, LONG), id="token by token"),
        pytest.param([1, 2, 5, 6, 6, 17, 64, 65, LONG], id="uneven pieces and empty ones"),
        pytest.param(range(16, LONG, 16), id="whole chunks"),
    ],
)
def test_many_cuts_change_nothing_gradients_included(form, cuts):
    problem = make_problem(time=LONG, masked=True, position=1)
    options = {"chunk_size": 4, "residual": True}
    expected = results_and_gradients(problem, memory_chunked, **options)
    assert_same(results_and_gradients(problem, in_pieces(form, cuts), **options), expected)


@FORMS
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("moment", [1, 63, 64])
def test_a_later_token_never_changes_an_earlier_read(form, residual, moment):
    problem = make_problem(time=LONG, masked=True)
    options = {"chunk_size": 4, "residual": residual}
    later = {
        name: torch.cat([leaf[..., :moment], 0.5 * leaf[..., moment:]], -1)
        if name in MemoryGates._fields
        else torch.cat([leaf[:, :, :moment], leaf[:, :, moment:].flip(2)], 2)
        if name in ("queries", "keys", "values")
        else leaf
        for name, leaf in problem.leaves().items()
    }
    before, _ = problem.solve(form, **options)
    after, _ = problem.with_leaves(later).solve(form, **options)
    assert torch.equal(after[:, :, :moment], before[:, :, :moment])
    assert (after[:, :, moment] - before[:, :, moment]).abs().max() > 1e-6


@FORMS
def test_an_earlier_read_has_no_gradient_in_later_tokens(form):
    problem = make_problem(time=LONG)
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in problem.leaves().items()}
    reads, _ = problem.with_leaves(leaves).solve(form, chunk_size=4)
    tokens = ("queries", "keys", "values", "step_size", "log_momentum", "log_keep")
    gradients = torch.autograd.grad(reads[:, :, 40].sum(), [leaves[name] for name in tokens])
    for name, gradient in zip(tokens, gradients, strict=True):
        over_time = gradient.abs().movedim(-1 if name in MemoryGates._fields else 2, 0).flatten(1)
        assert over_time[41:].max() == 0
        assert over_time[40].max() > 0


@FORMS
def test_a_read_sees_the_write_of_its_own_token(form):
    problem = make_problem(time=13)
    before, _ = problem.solve(form, chunk_size=4)
    values = problem.values.clone()
    values[:, :, 6] += 1
    after, _ = replace(problem, values=values).solve(form, chunk_size=4)
    moved = (after - before).abs().amax((0, 1, 3))
    assert torch.all(moved[:6] == 0)
    assert torch.all(moved[6:] > 1e-6)


@FORMS
@pytest.mark.parametrize("state", [{"state_batch": 1}, {"position": 3}], ids=["shared", "own"])
def test_a_row_never_learns_from_another(form, state):
    problem = make_problem(time=LONG, masked=True, **state)
    disturbed = problem.with_leaves(
        {
            name: torch.cat([leaf[:2], 0.7 * leaf[2:3], leaf[3:]]) if leaf.shape[0] > 1 else leaf
            for name, leaf in problem.leaves().items()
        }
    )
    before, after = (flatten(*p.solve(form, chunk_size=4)) for p in (problem, disturbed))
    others = [0, 1, 3, 4]
    assert_same({n: t[others] for n, t in after.items()}, {n: t[others] for n, t in before.items()})
    assert (after["reads"][2] - before["reads"][2]).abs().max() > 1e-3


@FORMS
def test_rows_in_another_order_give_the_same_in_that_order(form):
    problem = make_problem(time=LONG, masked=True, position=2)
    order = [3, 0, 4, 1, 2]
    turned = problem.with_leaves({n: leaf[order] for n, leaf in problem.leaves().items()})
    turned = replace(turned, observed=problem.observed[order])
    expected = flatten(*problem.solve(form, chunk_size=4))
    actual = flatten(*turned.solve(form, chunk_size=4))
    assert_same(actual, {name: tensor[order] for name, tensor in expected.items()})


@FORMS
def test_heads_are_memories_of_their_own(form):
    problem = make_problem(time=13, position=2)
    expected = flatten(*problem.solve(form, chunk_size=4))
    alone = problem.with_leaves({n: leaf[:, 1:2] for n, leaf in problem.leaves().items()})
    actual = flatten(*alone.solve(form, chunk_size=4))
    assert_same(actual, {name: tensor[:, 1:2] for name, tensor in expected.items()})


@FORMS
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_a_masked_stretch_leaves_the_memory_exactly_as_it_was(form, chunk_size):
    problem = make_problem(time=LONG)
    gates = mask_gates(problem.gates, torch.zeros(problem.keys.shape[0], LONG, dtype=torch.bool))
    tokens = (problem.queries, problem.keys, problem.values)
    reads, state = form(problem.state, *tokens, gates, chunk_size=chunk_size)
    for name in ("weights", "momentum"):
        before, after = getattr(problem.state, name), getattr(state, name)
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    expected = read_memory(problem.state.weights, problem.queries, residual=False)
    torch.testing.assert_close(reads, expected, rtol=0, atol=1e-12)


@FORMS
def test_masked_tokens_of_token_by_token_memory_might_as_well_not_exist(form):
    problem = make_problem(time=LONG, masked=True)
    problem = replace(problem, observed=problem.observed[:1].expand(problem.keys.shape[0], -1))
    seen = problem.observed[0]
    expected = flatten(*replace(problem.piece(seen, problem.state), observed=None).solve(
        form, chunk_size=1
    ))  # fmt: skip
    actual = flatten(*problem.solve(form, chunk_size=1))
    actual["reads"] = actual["reads"][:, :, seen]
    assert_same(actual, expected)


@FORMS
def test_what_a_masked_token_holds_has_no_influence(form):
    problem = make_problem(time=LONG, masked=True)
    hidden = ~problem.observed[:, None, :, None]
    other = replace(
        problem,
        keys=problem.keys.masked_fill(hidden, 3.0),
        values=problem.values.masked_fill(hidden, -5.0),
    )
    expected = flatten(*problem.solve(form, chunk_size=4))
    assert_same(flatten(*other.solve(form, chunk_size=4)), expected)


def test_gates_without_a_mask_are_handed_back_untouched():
    gates = make_problem(time=5).gates
    assert mask_gates(gates, None) is gates


@FORMS
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_step_size_zero_makes_a_static_network(form, residual):
    problem = make_problem(time=LONG, forget=False, buffer=False, max_step=0.0)
    reads, state = problem.solve(form, chunk_size=4, residual=residual)
    first, second = problem.state.weights
    expected = F.silu(problem.queries @ first) @ second
    if residual:
        expected = problem.queries + F.layer_norm(expected, expected.shape[-1:])
    torch.testing.assert_close(reads, expected, rtol=0, atol=1e-12)
    assert_same(flatten(reads, state), flatten(expected, problem.state._replace(
        momentum=tuple(torch.zeros_like(w) for w in problem.state.weights), anchor=state.weights
    )))  # fmt: skip


@FORMS
@pytest.mark.parametrize("depth", [1, 3])
def test_forgetting_everything_leaves_nothing_but_the_newest_write(form, depth):
    """With alpha close to 1 the old weights vanish: W = S = -theta G, G taken at the old ones."""
    problem = make_problem(time=1, depth=depth, momentum=False)
    gates = problem.gates._replace(log_keep=torch.full_like(problem.gates.log_keep, -80.0))
    _, state = replace(problem, gates=gates).solve(form, chunk_size=1)
    kept = problem.gates._replace(log_keep=None)
    _, added = replace(problem, gates=kept).solve(form, chunk_size=1)
    expected = tuple(a - w for a, w in zip(added.weights, problem.state.weights, strict=True))
    for weight, wanted in zip(state.weights, expected, strict=True):
        torch.testing.assert_close(weight, wanted, rtol=0, atol=1e-13)


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", ["log_keep", "log_momentum", "both"])
def test_two_hundred_strongly_forgetting_tokens_give_finite_values_and_gradients(
    form, decay, dtype
):
    problem = make_problem(time=211, position=1, batch=2)
    strong = {
        name: torch.full_like(getattr(problem.gates, name), -20.0)
        for name in ("log_keep", "log_momentum")
        if decay in (name, "both")
    }
    problem = problem.with_leaves(
        {name: leaf.to(dtype) for name, leaf in (problem.leaves() | strong).items()}
    )
    results = results_and_gradients(problem, form, chunk_size=16)
    assert all(torch.isfinite(tensor).all() for tensor in results.values())
    if dtype == torch.float64 and form is memory_chunked:
        assert_same(results, results_and_gradients(problem, memory_reference, chunk_size=16))


@FORMS
def test_strong_forgetting_loses_no_token_of_a_linear_memory(form):
    """Each token's own read depends on its value, however little is left of all earlier ones."""
    problem = make_problem(time=211, depth=1, momentum=False)
    faded = torch.full_like(problem.gates.log_keep, -20.0)
    leaves = problem.leaves() | {"log_keep": faded}
    gradients = results_and_gradients(problem.with_leaves(leaves), form, chunk_size=16)
    assert gradients["gradient of values"].abs().amax((0, 1, 3)).min() > 1e-6


@FORMS
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("gates", [True, False], ids=["all gates", "step size only"])
def test_outer_gradients_match_finite_differences(form, residual, gates):
    problem = make_problem(
        time=3, position=1, batch=1, heads=1, width=2, hidden=(3,), momentum=gates, forget=gates
    )
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in problem.leaves().items()}

    def outputs(*tensors):
        given = problem.with_leaves(dict(zip(leaves, tensors, strict=True)))
        return tuple(flatten(*given.solve(form, chunk_size=2, residual=residual)).values())

    # Chunks of 2, the first half read: the anchor given, then one made of the first write.
    assert torch.autograd.gradcheck(outputs, tuple(leaves.values()))


@pytest.mark.parametrize("leaf", ["keys", "step_size"])
@pytest.mark.parametrize(
    ("depth", "chunk_size", "time"),
    [
        pytest.param(1, 1, 2 * LONG, id="solved"),
        pytest.param(1, 1, 32, id="solved, few tokens"),
        pytest.param(1, 16, 2 * LONG, id="linear, in chunks"),
        pytest.param(2, 16, 2 * LONG, id="deep"),
    ],
)
def test_second_derivatives_are_refused_and_not_left_out(depth, chunk_size, time, leaf):
    problem = make_problem(time=time, depth=depth)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in problem.leaves().items()}
    reads, _ = problem.with_leaves(leaves).solve(memory_chunked, chunk_size=chunk_size)
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(reads.sum(), leaves[leaf], create_graph=True)


def steady_problem(*, eta: float, chunk_size: int, share: float, time: int = 4096, **sizes):
    """One and the same pair at every token; step size ``share * (1 - eta) / chunk_size``."""
    problem = make_problem(time=time, forget=False, buffer=False, batch=1, heads=2, **sizes)
    step_size = torch.full_like(problem.gates.step_size, share * (1 - eta) / chunk_size)
    log_momentum = torch.full_like(step_size, eta).log()
    return replace(
        problem,
        queries=problem.keys[:, :, :1].expand_as(problem.keys),
        keys=problem.keys[:, :, :1].expand_as(problem.keys),
        values=F.normalize(problem.values[:, :, :1], dim=-1).expand_as(problem.values),
        gates=MemoryGates(step_size, log_momentum, None),
    )


@pytest.mark.parametrize(
    "chunk_size", [*(pytest.param(size, marks=pytest.mark.slow) for size in (1, 4)), 16, 64]
)
@pytest.mark.parametrize("eta", [0.5, 0.9])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_constant_series_is_learnt_without_blowing_up(depth, eta, chunk_size):
    problem = steady_problem(depth=depth, eta=eta, chunk_size=chunk_size, share=0.9)
    reads, _ = problem.solve(memory_chunked, chunk_size=chunk_size)
    assert reads.abs().max() < 10
    torch.testing.assert_close(reads[:, :, -1], problem.values[:, :, -1], rtol=0, atol=1e-3)


def test_a_step_that_ignores_chunk_and_momentum_blows_up():
    """Why the step size is divided: this one is stable with chunk 1 (bound 1.9) and not with 16."""
    problem = steady_problem(depth=1, eta=0.9, chunk_size=1, share=0.9, time=512)
    small, _ = problem.solve(memory_chunked, chunk_size=1)
    large, _ = problem.solve(memory_chunked, chunk_size=16)
    assert small.abs().max() < 10
    assert large.abs().max() > 1e6


@pytest.mark.parametrize(
    ("residual", "forget"),
    [
        pytest.param(False, 0.05, id="plain"),
        # A LayerNorm whose input keeps fading is chaotic from about alpha = 0.005 on: README.md.
        pytest.param(True, 0.001, id="residual"),
    ],
)
def test_float32_stays_close_to_float64_over_four_thousand_tokens(residual, forget):
    exact = make_problem(time=4099, batch=2, width=13, hidden=(29,), buffer=False)
    log_keep = torch.full_like(exact.gates.log_keep, 1 - forget).log()
    exact = replace(exact, gates=exact.gates._replace(log_keep=log_keep))
    rough = exact.with_leaves({name: leaf.float() for name, leaf in exact.leaves().items()})
    options = {"chunk_size": 16, "residual": residual}
    expected = flatten(*exact.solve(memory_chunked, **options))
    actual = {n: t.double() for n, t in flatten(*rough.solve(memory_chunked, **options)).items()}
    assert_same(actual, expected, tolerance=1e-4)


@FORMS
def test_linear_memory_is_the_delta_rule(form):
    """S <- S + beta (v - S k) k^T, as in DeltaNet; our step size multiplies a factor 2."""
    problem = make_problem(time=LONG, depth=1, momentum=False, forget=False)
    beta = torch.linspace(0.1, 1.0, LONG, dtype=torch.float64)
    step_size = (beta / 2).expand_as(problem.gates.step_size)
    reads, state = replace(problem, gates=MemoryGates(step_size, None, None)).solve(
        form, chunk_size=1
    )
    matrix = problem.state.weights[0].mT  # (batch, heads, value, key)
    for t in range(LONG):
        key, value = problem.keys[:, :, t, :, None], problem.values[:, :, t, :, None]
        matrix = matrix + beta[t] * (value - matrix @ key) @ key.mT
        wanted = (matrix @ problem.queries[:, :, t, :, None])[..., 0]
        torch.testing.assert_close(reads[:, :, t], wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.weights[0], matrix.mT, rtol=0, atol=1e-12)


@FORMS
def test_linear_memory_that_forgets_is_the_gated_delta_rule(form):
    """S <- keep S (I - beta k k^T) + beta v k^T; it fades before it reads the error, we after.

    The two agree with 2 theta = keep * beta, and values divided by keep.
    """
    problem = make_problem(time=LONG, depth=1, momentum=False)
    keep = problem.gates.log_keep.exp()
    beta = torch.linspace(0.1, 1.0, LONG, dtype=torch.float64)
    ours = replace(
        problem,
        values=problem.values / keep[:, :, 0, :, None],
        gates=problem.gates._replace(step_size=keep * beta / 2),
    )
    reads, state = ours.solve(form, chunk_size=1)
    matrix = problem.state.weights[0].mT
    identity = torch.eye(matrix.shape[-1], dtype=torch.float64)
    for t in range(LONG):
        key, value = problem.keys[:, :, t, :, None], problem.values[:, :, t, :, None]
        fade = keep[:, :, 0, t, None, None]
        matrix = fade * matrix @ (identity - beta[t] * key @ key.mT) + beta[t] * value @ key.mT
        wanted = (matrix @ problem.queries[:, :, t, :, None])[..., 0]
        torch.testing.assert_close(reads[:, :, t], wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.weights[0], matrix.mT, rtol=0, atol=1e-12)


@FORMS
def test_numbers_that_one_can_redo_on_paper(form):
    """One weight of 1, key and query 1, value 3: G = 2 (1 - 3) = -4, then 2 (W - 3) again.

    theta 1/4, eta 1/2, alpha 1/2: S = 1, W = 1/2 + 1 = 3/2; then G = -3,
    S = 1/2 + 3/4 = 5/4, W = 3/4 + 5/4 = 2.
    """
    one, half = torch.ones(1, 1, 2, 1), torch.full((1, 1, 1, 2), 0.5)
    start = MemoryState((torch.ones(1, 1, 1, 1),), (), (torch.ones(1, 1, 1, 1),), 0)
    gates = MemoryGates(half / 2, half.log(), half.log())
    reads, state = form(start, one, one, 3 * one, gates, chunk_size=1)
    assert reads.flatten().tolist() == pytest.approx([1.5, 2.0])
    assert state.weights[0].item() == pytest.approx(2.0)
    assert state.momentum[0].item() == pytest.approx(1.25)


def test_layer_norm_gradient_is_the_one_autograd_takes():
    generator = torch.Generator().manual_seed(0)
    x, cotangent = (
        torch.randn(3, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    x.requires_grad_()
    (expected,) = torch.autograd.grad(F.layer_norm(x, (7,)), x, cotangent)
    torch.testing.assert_close(layer_norm_backward(x, cotangent), expected, rtol=0, atol=1e-13)


def test_silu_gradient_and_its_gradient_are_those_autograd_takes():
    x = torch.linspace(-9, 9, 37, dtype=torch.float64, requires_grad=True)
    cotangent = torch.linspace(-2, 3, 37, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(F.silu(x), x, cotangent)
    torch.testing.assert_close(silu_backward(cotangent, x), expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(silu_backward, (cotangent, x))


# -- a memory whose steps overshoot -------------------------------------------------------------


def errors_of_all_sizes():
    torch.manual_seed(0)
    sizes = torch.logspace(-2, 4, 25, dtype=torch.float64)[:, None]
    return sizes * torch.nn.functional.normalize(torch.randn(25, 7, dtype=torch.float64), dim=-1)


def test_an_error_of_usual_size_is_left_alone():
    error = torch.full((3, 4), MOST_ERROR)
    assert bound_error(error) is error


def test_the_larger_an_error_beyond_the_bound_the_less_of_it_is_written():
    error = errors_of_all_sizes()
    bounded = bound_error(error)
    size, left = (x.square().mean(-1).sqrt() for x in (error, bounded))
    within = size <= MOST_ERROR
    assert 5 < within.sum() < 20
    torch.testing.assert_close(bounded[within], error[within], rtol=0, atol=0)
    torch.testing.assert_close(left[~within], MOST_ERROR**2 / size[~within])
    assert (left[~within].diff() < 0).all()


def test_the_bounds_derivative_is_autograds():
    error = errors_of_all_sizes().requires_grad_()
    bar = torch.randn_like(error)
    (expected,) = torch.autograd.grad(bound_error(error), error, bar)
    found = bound_error_backward(error.detach(), bar)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_an_error_of_zero_has_a_derivative_beside_one_out_of_bounds():
    # That of a masked token is zero, and elsewhere than on a CPU the bound is not passed over.
    error = torch.tensor([[0.0, 0.0], [100.0, 100.0]], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(bound_error(error)[0].sum(), error)
    assert torch.equal(found, torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("form", [memory_reference, memory_chunked])
def test_steps_that_overshoot_do_not_grow_past_all_numbers(form, monkeypatch):
    problem = make_problem(time=400, batch=1, heads=1, momentum=False, forget=False)
    # A smooth series: all keys alike, so that the steps of a chunk add up to one of eight.
    same = problem.keys[:, :, :1].expand_as(problem.keys)
    steps = torch.full_like(problem.gates.step_size, 2.0)
    problem = replace(problem, keys=same, gates=problem.gates._replace(step_size=steps))
    reads, state = problem.solve(form, chunk_size=4)
    assert reads.abs().max() < 1e6
    assert all(weight.abs().max() < 1e6 for weight in state.weights)
    monkeypatch.setattr("titans_ts.ops.memory_net.MOST_ERROR", float("inf"))
    assert problem.solve(form, chunk_size=4)[0].abs().max() > 1e30
