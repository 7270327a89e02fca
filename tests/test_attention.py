"""Attention as short-term memory: plain softmax attention, at a cost that grows with the length."""

from __future__ import annotations

import math

import pytest
import torch
from backbone_oracle import turn
from backbone_problems import CAUSAL, close, make_backbone, make_tokens
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from titans_ts.nn.attention import SlidingWindowAttention
from titans_ts.ops.attention import Prefix, WindowPattern, attend, sliding_window_attention
from titans_ts.ops.memory_chunked import TILE_SIZE
from titans_ts.ops.rotary import rotate

BATCH, HEADS, WIDTH, PREFIX = 3, 2, 14, 5


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


def every_score(queries, keys, values, observed, prefix_keys, prefix_values, *, window):
    """The same with all time x time scores, one query after another."""
    time, total = queries.shape[2], keys.shape[2]
    past = total - time
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


def windowed(queries, keys, values, observed, prefix_keys, prefix_values, *, window):
    return sliding_window_attention(
        queries,
        keys,
        values,
        observed,
        window=window,
        prefix_keys=prefix_keys,
        prefix_values=prefix_values,
    )


@pytest.mark.parametrize("masked", [False, True], ids=["all observed", "some masked"])
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
    ],
)
def test_sliding_window_attention_is_softmax_attention_over_a_band(
    time, past, window, n_prefix, masked
):
    problem = make_problem(time, past, n_prefix, masked)
    close(windowed(*problem, window=window), every_score(*problem, window=window), 1e-12)


def test_gradients_of_sliding_window_attention_are_those_of_all_scores():
    queries, keys, values, observed, *prefix = make_problem(13, 3)
    inputs = [tensor.requires_grad_() for tensor in (queries, keys, values, *prefix)]
    results = []
    for function in (windowed, every_score):
        out = function(queries, keys, values, observed, *prefix, window=5)
        results.append(torch.autograd.grad((out * draw(*out.shape, seed=5)).sum(), inputs))
    for actual, expected in zip(*results, strict=True):
        close(actual, expected, 1e-12)


def test_masked_keys_may_hold_anything_finite():
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

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.made.append(tensor.numel())
        return result


def sizes_of(function):
    with torch.no_grad():
        function()  # what depends on sizes alone is made once
        with Sizes() as sizes:
            function()
    return sizes.made


@pytest.mark.parametrize("masked", [False, True], ids=["all observed", "some masked"])
@pytest.mark.parametrize("window", [11, 131], ids=["plain", "fused"])
def test_each_further_block_costs_the_same(window, masked):
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
    scores = BATCH * HEADS * 12 * block * (2 * (block + PREFIX))
    assert max(twelve) <= 1.1 * scores


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

    one, two, three = cost(1), cost(2), cost(3)
    # Not quite exactly: a memory's first tile has no momentum yet.
    assert three - two == pytest.approx(two - one, rel=5e-3)


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
