"""Attention as short-term memory: plain softmax attention, at a cost that grows with the length."""

from __future__ import annotations

import math

import pytest
import torch
from backbone_oracle import turn
from backbone_problems import CAUSAL, close, make_backbone, make_tokens
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from titans_ts.nn.attention import SegmentAttention, SlidingWindowAttention
from titans_ts.ops.attention import Prefix, WindowPattern, attend, sliding_window_attention
from titans_ts.ops.constants import constant
from titans_ts.ops.memory_chunked import TILE_SIZE
from titans_ts.ops.rotary import rotate

BATCH, HEADS, WIDTH, PREFIX = 3, 2, 14, 5


@pytest.fixture(params=["plain", "fused"])
def form(request, monkeypatch):
    """Take one form of attention for all sizes."""
    take_form(monkeypatch, request.param)
    return request.param


def take_form(monkeypatch, form):
    enough = {"plain": 10**9, "fused": 0}[form]
    monkeypatch.setattr("titans_ts.ops.attention._FUSED_FROM", {"cpu": enough})
    monkeypatch.setattr("titans_ts.ops.attention._FUSED_QUERIES", 1)


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def make_problem(time, past, n_prefix=PREFIX, masked=True):
    """Arguments of ``sliding_window_attention`` without the window."""
    total = past + time
    generator = torch.Generator().manual_seed(1)
    seen = torch.rand(BATCH, total, generator=generator) > (0.4 if masked else -1.0)
    tokens = (draw(BATCH, HEADS, time, WIDTH), draw(BATCH, HEADS, total, WIDTH, seed=1))
    values = draw(BATCH, HEADS, total, WIDTH, seed=2)
    prefix = (draw(HEADS, n_prefix, WIDTH, seed=3), draw(HEADS, n_prefix, WIDTH, seed=4))
    return *tokens, values, seen, *prefix


def every_score(
    queries, keys, values, observed, prefix_keys, prefix_values, *, window, rotary=True
):
    """The same with all time x time scores, one query after another."""
    time, total = queries.shape[2], keys.shape[2]
    past = total - time
    turned = queries
    if rotary:
        turned, keys = turn(queries, list(range(time))), turn(keys, list(range(-past, time)))
    out = torch.zeros_like(queries)
    for row in range(BATCH):
        for head in range(HEADS):
            for i in range(time):
                own = past + i
                visible = [
                    j
                    for j in range(max(own - window + 1, 0), own + 1)
                    if observed[row, j] or j == own
                ]
                scores = torch.cat(
                    [
                        prefix_keys[head] @ queries[row, head, i],
                        keys[row, head, visible] @ turned[row, head, i],
                    ]
                )
                share = (scores / math.sqrt(WIDTH)).exp()
                seen = torch.cat([prefix_values[head], values[row, head, visible]])
                out[row, head, i] = share / share.sum() @ seen
    return out


def windowed(queries, keys, values, observed, prefix_keys, prefix_values, *, window, rotary=True):
    return sliding_window_attention(
        queries,
        keys,
        values,
        observed,
        window=window,
        prefix_keys=prefix_keys,
        prefix_values=prefix_values,
        rotary=rotary,
    )


@pytest.mark.parametrize("rotary", [True, False], ids=["rotary", "no positions"])
@pytest.mark.parametrize("masked", [None, False, True], ids=["no mask", "all seen", "some masked"])
@pytest.mark.parametrize("n_prefix", [0, PREFIX], ids=["no prefix", "prefix"])
@pytest.mark.parametrize(
    ("time", "past", "window"),
    [
        pytest.param(23, 0, 7, id="no multiple of the window"),
        pytest.param(21, 6, 7, id="a multiple, a full past"),
        pytest.param(23, 3, 7, id="a past that is not full"),
        pytest.param(5, 2, 7, id="all inside one window"),
        pytest.param(5, 2, 1009, id="a window far longer than what there is"),
        pytest.param(5, 12, 13, id="fewer tokens than past"),
        pytest.param(1, 6, 7, id="one token"),
        pytest.param(1, 0, 7, id="one token and no past"),
        pytest.param(11, 0, 1, id="a window of one token"),
        pytest.param(11, 0, 2, id="a window of two tokens"),
        pytest.param(31, 0, 9, id="a window of a block and a token"),
        pytest.param(29, 8, 10, id="a past that is not full, and blocks"),
    ],
)
def test_sliding_window_attention_is_softmax_attention_over_a_band(
    time, past, window, n_prefix, masked, rotary, form
):
    queries, keys, values, observed, *prefix = make_problem(time, past, n_prefix, bool(masked))
    seen = None if masked is None else observed
    settings = {"window": window, "rotary": rotary}
    actual = windowed(queries, keys, values, seen, *prefix, **settings)
    expected = every_score(queries, keys, values, observed, *prefix, **settings)
    close(actual, expected, 1e-12)


@pytest.mark.parametrize("rotary", [True, False], ids=["rotary", "no positions"])
@pytest.mark.parametrize("masked", [None, True], ids=["no mask", "some masked"])
def test_gradients_of_sliding_window_attention_are_those_of_all_scores(masked, rotary, form):
    queries, keys, values, observed, *prefix = make_problem(29, 3, masked=bool(masked))
    inputs = [tensor.requires_grad_() for tensor in (queries, keys, values, *prefix)]
    results = []
    for function in (windowed, every_score):
        seen = None if masked is None and function is windowed else observed
        out = function(queries, keys, values, seen, *prefix, window=5, rotary=rotary)
        results.append(torch.autograd.grad((out * draw(*out.shape, seed=5)).sum(), inputs))
    for actual, expected in zip(*results, strict=True):
        close(actual, expected, 1e-12)


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "some masked"])
@pytest.mark.parametrize(
    ("time", "past"), [pytest.param(701, 0, id="start"), pytest.param(389, 299, id="full past")]
)
def test_a_window_of_several_blocks_is_the_same_in_both_forms(time, past, masked, monkeypatch):
    queries, keys, values, observed, *prefix = make_problem(time, past, masked=masked)
    seen = observed if masked else None
    inputs = [tensor.requires_grad_() for tensor in (queries, keys, values, *prefix)]
    weight, results = draw(*queries.shape, seed=5), []
    for form in ("plain", "fused"):
        take_form(monkeypatch, form)
        out = windowed(queries, keys, values, seen, *prefix, window=300)
        results.append([out, *torch.autograd.grad((out * weight).sum(), inputs)])
    for plain, fused in zip(*results, strict=True):
        close(fused, plain, 1e-12)
    row = every_score(
        queries[..., -1:, :], keys, values, observed, *prefix, window=300
    )  # its position is 0, and those of the keys follow
    close(results[0][0][..., -1:, :], row, 1e-12)


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "some masked"])
@pytest.mark.parametrize("past", [0, 3, 4])
@pytest.mark.parametrize("window", [1, 5])
def test_a_long_sequence_goes_stretch_by_stretch(window, past, masked, monkeypatch):
    past = min(past, window - 1)
    queries, keys, values, observed, *prefix = make_problem(101, past, masked=masked)
    inputs = [tensor.requires_grad_() for tensor in (queries, keys, values, *prefix)]
    weight, results = draw(*queries.shape, seed=5), []
    for stretch in (23, 8192):
        monkeypatch.setattr("titans_ts.ops.attention._STRETCH", stretch)
        seen = observed if masked else None
        out = windowed(queries, keys, values, seen, *prefix, window=window)
        results.append([out, *torch.autograd.grad((out * weight).sum(), inputs)])
    for cut, whole in zip(*results, strict=True):
        close(cut, whole, 1e-12)


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "some masked"])
def test_half_precision_stays_finite_and_near(masked, form):
    module, tokens = make_module(window=11), make_tokens(61)
    observed = torch.arange(61).expand(3, -1) >= torch.tensor([[0], [5], [43]]) if masked else None
    expected, _ = module(tokens, None, observed)
    module, tokens = module.float(), tokens.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        actual, state = module(tokens, None, observed)
    actual.float().square().sum().backward()
    assert torch.isfinite(tokens.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in module.parameters())
    assert state.keys.dtype == state.values.dtype == torch.float32
    seen = slice(None) if observed is None else observed
    close(actual.double()[seen], expected[seen], 0.03)


def test_masked_keys_may_hold_anything_finite(form):
    queries, keys, values, observed, *prefix = make_problem(23, 3)
    before = windowed(queries, keys, values, observed, *prefix, window=7)
    hidden = ~observed[:, None, :, None]
    loud = windowed(
        queries,
        torch.where(hidden, 1e6, keys),
        torch.where(hidden, 1e6, values),
        observed,
        *prefix,
        window=7,
    )
    mine = observed[:, None, 3:].expand(-1, HEADS, -1)
    assert torch.equal(loud[mine], before[mine])


class Sizes(TorchDispatchMode):
    """Elements of every tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []
        self.typed: list[tuple[int, torch.dtype]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.made.append(tensor.numel())
                self.typed.append((tensor.numel(), tensor.dtype))
        return result


def sizes_of(function):
    with torch.no_grad():
        function()  # what depends on sizes alone is made once
        with Sizes() as sizes:
            function()
    return sizes.made


@pytest.mark.parametrize("masked", [False, True], ids=["all observed", "some masked"])
@pytest.mark.parametrize("window", [11, 131])
def test_each_further_block_costs_the_same(window, masked, form):
    block = 8 * -(-(window - 1) // (8 * -(-(window - 1) // 128)))

    def cost(n):
        queries, keys, values, observed, *prefix = make_problem(n * block, 0)
        return sizes_of(
            lambda: windowed(
                queries, keys, values, observed if masked else None, *prefix, window=window
            )
        )

    four, eight, twelve = cost(4), cost(8), cost(12)
    assert len(twelve) == len(eight)
    assert sum(twelve) - sum(eight) == pytest.approx(sum(eight) - sum(four), rel=0.01)
    assert max(twelve) - max(eight) <= 1.01 * (max(eight) - max(four))


def test_without_a_mask_no_block_has_one_of_its_own(form):
    def bools(time):
        queries, keys, values, _, *prefix = make_problem(time, 0)
        with Sizes() as sizes:
            windowed(queries, keys, values, None, *prefix, window=12)
        return max((size for size, dtype in sizes.typed if dtype is torch.bool), default=0)

    assert max(bools(16 * 7), bools(16 * 23)) <= 32 * 48 < BATCH * HEADS * 16 * 23 * 16


def test_a_token_pays_for_the_window_there_is_not_for_the_longest_there_could_be():
    def largest(past, window):
        problem = make_problem(1, past)
        return max(sizes_of(lambda: windowed(*problem, window=window)))

    assert largest(0, 10_007) == largest(0, 1)
    assert largest(100, 101) <= BATCH * HEADS * 101 * WIDTH


@pytest.mark.parametrize("name", CAUSAL)
def test_a_whole_backbone_costs_the_same_for_each_further_stretch_of_tokens(name):
    """Stretches of a memory tile, which is whole windows, segments and chunks."""
    sizes = {"chunk_size": 16, "segment_length": 16, "window": 16, "n_persistent": 16}
    backbone, stretch = make_backbone(name, depth=1, memory_depth=1, **sizes), TILE_SIZE

    def cost(n):
        tokens = make_tokens(n * stretch, batch=1)
        return sum(sizes_of(lambda: backbone(tokens)))

    # Short sequences take another form of the memory; MAC's segments are short at any length.
    few = 1 if name.startswith("mac") else 8
    cost(3 * few)  # buffers that later calls use again count once, where they are made
    one, two, three = cost(few), cost(2 * few), cost(3 * few)
    # Not quite exactly: a first tile has no momentum yet, and a last one may be short.
    assert three - two == pytest.approx(two - one, rel=5e-3 if few == 1 else 0.05)


def make_module(**changes):
    config = make_backbone("mag", depth=1, **changes).config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SlidingWindowAttention(config).double()


@pytest.mark.parametrize(("window", "kept"), [(1, 0), (2, 1), (11, 10), (1009, 31)])
def test_the_state_is_what_the_next_token_can_still_see(window, kept):
    module, tokens = make_module(window=window), make_tokens(31)
    _, state = module(tokens)
    assert state.keys.shape == state.values.shape == (3, 2, kept, 10)
    assert state.observed.shape == (3, kept)
    _, longer = module(make_tokens(5, seed=1), state)
    assert longer.keys.shape[2] == min(kept + 5, window - 1)


@pytest.mark.parametrize("rotary", [True, False], ids=["rotary", "no positions"])
def test_a_graph_of_attention_takes_batches_of_any_size(rotary, form):
    module, tokens = make_module(window=11, rotary=rotary), make_tokens(9, batch=5)
    with torch.no_grad():
        batch = ({0: torch.export.Dim("batch")},)
        graph = torch.export.export(module, (tokens[:3],), dynamic_shapes=batch, strict=False)
        close(graph.module()(tokens)[0], module(tokens)[0], 1e-14)


@pytest.mark.parametrize("window", [1, 5])
def test_a_token_sees_exactly_its_window(window):
    module, tokens = make_module(window=window), make_tokens(17)
    tokens.requires_grad_()
    out, _ = module(tokens)
    (gradient,) = torch.autograd.grad(out[:, 11].sum(), tokens)
    reached = gradient.abs().amax((0, 2)) > 0
    assert reached.nonzero().flatten().tolist() == list(range(12 - window, 12))


def test_rotating_multiplies_complex_numbers():
    x = draw(BATCH, HEADS, 7, WIDTH)
    close(rotate(x, -3), turn(x, list(range(-3, 4))), 1e-14)
    assert torch.equal(rotate(x[..., :1, :], 0), x[..., :1, :])
    close(rotate(x, 10_007).norm(dim=-1), x.norm(dim=-1), 1e-14)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        pytest.param(torch.float32, 2e-6, id="float32"),
        pytest.param(torch.float64, 1e-9, id="float64"),
    ],
)
@pytest.mark.parametrize("far", [-8, 1_000, 2_000_003])
def test_only_differences_of_positions_matter(far, dtype, tolerance):
    queries, keys = (draw(BATCH, HEADS, 13, WIDTH, seed=s, dtype=dtype) for s in (0, 1))
    near_scores = rotate(queries, 0) @ rotate(keys, -5).mT
    far_scores = rotate(queries, far) @ rotate(keys, far - 5).mT
    close(far_scores, near_scores, tolerance)
    moved = rotate(queries, far + 1) @ rotate(keys, far - 5).mT
    assert (moved - near_scores).abs().max() > 0.1


def test_a_far_position_is_exact_in_float32():
    x = draw(1, 1, 3, WIDTH)
    exact = turn(x, [2_000_003, 2_000_004, 2_000_005])
    close(rotate(x.float(), 2_000_003).double(), exact, 1e-6)


def test_a_prefix_is_seen_from_every_position_alike():
    """Beside the prefix there are only keys and values of zeros, of which each query sees three."""
    queries, first = draw(BATCH, HEADS, 11, WIDTH), draw(HEADS, 7, WIDTH, seed=3)
    nothing = torch.zeros(BATCH, HEADS, 11, WIDTH, dtype=torch.float64)
    near, far = (
        attend(
            rotate(queries, position),
            nothing,
            nothing,
            WindowPattern(11, 11, 3),
            prefix=Prefix.meet(queries, first, first),
        )
        for position in (0, 101)
    )
    scores = (queries @ first.mT / math.sqrt(WIDTH)).exp()
    seen = torch.arange(11).add(1).clamp(max=3)[:, None]
    close(near, scores / (scores.sum(-1, keepdim=True) + seen) @ first, 1e-13)
    assert torch.equal(near, far)


def test_a_scale_multiplies_what_was_turned():
    x = draw(BATCH, HEADS, 7, WIDTH)
    for first in (-3, 20_011):
        close(rotate(x, first, scale=0.5), 0.5 * rotate(x, first), 1e-14)


def test_tables_made_in_inference_mode_serve_training():
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64)
    with torch.inference_mode():
        expected = rotate(x, 3, base=9_973.0)
    x.requires_grad_()
    turned = rotate(x, 3, base=9_973.0)
    turned.square().sum().backward()
    assert torch.equal(turned.detach(), expected)
    close(x.grad, 2 * x.detach(), 1e-12)


def test_a_constant_is_made_once_and_never_more_than_a_few_are_kept():
    made = []

    def ask(key):
        def make():
            made.append(key)
            return (torch.zeros(2),)

        return constant(("test", key), make)

    assert ask(0) is ask(0)
    assert made == [0]
    for key in range(1, 1_000):
        ask(key)
    ask(0)
    assert len(made) == 1_001
    ask(999)
    assert len(made) == 1_001


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "some masked"])
@pytest.mark.parametrize("mode", ["causal", "literal"])
@pytest.mark.parametrize("time", [5, 7, 21, 26])
def test_segments_prepared_together_are_those_of_one_call_each(time, mode, masked, form):
    config = make_backbone("mac", depth=1, mac_mode=mode).config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SegmentAttention(config).double()
    tokens, reads = make_tokens(time), make_tokens(time, seed=1)
    seen = torch.rand(3, time, generator=torch.Generator().manual_seed(2)) > 0.3
    inputs = [tokens.requires_grad_(), reads.requires_grad_(), *module.parameters()]
    cuts = [slice(start, start + 7) for start in range(0, time, 7)]
    prepared, _ = module.prepare(tokens, seen if masked else None)
    together = [
        module.attend(segment, module.see(segment, reads[:, now]))
        for segment, now in zip(prepared, cuts, strict=True)
    ]
    alone = [
        module(tokens[:, now], reads[:, now], seen[:, now] if masked else None) for now in cuts
    ]
    weight = make_tokens(time, seed=3)
    gradients = []
    for outputs in (together, alone):
        out = torch.cat(outputs, dim=1)
        gradients.append([out, *torch.autograd.grad((out * weight).sum(), inputs)])
    for actual, expected in zip(*gradients, strict=True):
        close(actual, expected, 1e-12)


@pytest.mark.parametrize("rotary", [True, False], ids=["positions", "no positions"])
@pytest.mark.parametrize("masked", [(), (0, 1), (0,), (1,)], ids=str)
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_segment_that_is_cut_goes_on_where_it_was(cut, masked, rotary, form):
    """``masked``: which of its two parts come with a mask."""
    config = make_backbone("mac", depth=1, rotary=rotary, attention_conv=True).config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SegmentAttention(config).double()
    tokens, reads = make_tokens(7), make_tokens(7, seed=1)
    seen = torch.rand(3, 7, generator=torch.Generator().manual_seed(2)) > 0.3
    parts = [slice(None, cut), slice(cut, None)]
    for number in {0, 1} - set(masked):
        seen[:, parts[number]] = True
    (whole,), expected_tail = module.prepare(tokens, seen if masked else None)
    expected = module.attend(whole, module.see(whole, reads))
    before, tail, outputs = None, None, []
    for number, now in enumerate(parts):
        (part,), tail = module.prepare(
            tokens[:, now],
            seen[:, now] if number in masked else None,
            tail,
            n_before=cut if number else 0,
        )
        before = module.see(part, reads[:, now], before)
        outputs.append(module.attend(part, before))
        before = before.carried()
    close(torch.cat(outputs, dim=1), expected, 1e-12)
    close(tail, expected_tail, 1e-12)
