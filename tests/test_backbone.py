"""What users of a backbone rely on: pieces equal the whole, no look-ahead, rows and masks apart."""

from __future__ import annotations

import pytest
import torch
from backbone_problems import (
    BATCH,
    CAUSAL,
    CHUNK,
    DIM,
    SEGMENT,
    SWITCHES,
    TIME,
    VARIANTS,
    close,
    leaves,
    make_backbone,
    make_observed,
    make_tokens,
    run_pieces,
    same_state,
    tensors,
)
from torch.func import functional_call

from titans_ts.ops.memory_chunked import TILE_SIZE

LONG = 2 * TILE_SIZE + 3
CUTS = {
    "each token alone": list(range(1, TIME)),
    "inside the tail of a convolution": [2, 4, 6, 9],
    "inside a segment": [SEGMENT + 3, 3 * SEGMENT - 1],
    "where segments start": [SEGMENT, 3 * SEGMENT],
    "inside a chunk": [CHUNK - 1, 5 * CHUNK + 1],
    "pieces of nothing": [0, 5, 5, TIME],
}

ANY = pytest.mark.parametrize("name", VARIANTS)
ANY_CAUSAL = pytest.mark.parametrize("name", CAUSAL)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["all observed", "some masked"])


@MASKED
@ANY_CAUSAL
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_pieces_equal_the_whole(name, cuts, masked):
    backbone, tokens = make_backbone(name), make_tokens()
    observed = make_observed() if masked else None
    expected, expected_state = backbone(tokens, None, observed)
    outputs, state = run_pieces(backbone, tokens, cuts, observed)
    close(torch.cat(outputs, 1), expected)
    same_state(state, expected_state)


@pytest.mark.parametrize("name", ["mac", "mag", "mal", "lmm"])
def test_attention_stands_in_every_so_many_th_block(name):
    backbone = make_backbone(name, depth=5, attention_every=2)
    has_attention = [hasattr(block, "attention") for block in backbone.blocks]
    assert has_attention == [name != "lmm" and place in (2, 4) for place in range(1, 6)]


@MASKED
@pytest.mark.parametrize("name", ["mac", "mag", "mal"])
def test_pieces_equal_the_whole_where_some_blocks_have_no_attention(name, masked):
    backbone, tokens = make_backbone(name, attention_every=2), make_tokens()
    observed = make_observed() if masked else None
    expected, expected_state = backbone(tokens, None, observed)
    outputs, state = run_pieces(backbone, tokens, CUTS["inside a chunk"], observed)
    close(torch.cat(outputs, 1), expected)
    same_state(state, expected_state)


@ANY_CAUSAL
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_pieces_equal_the_whole_with_every_switch(name, switch):
    backbone, tokens = make_backbone(name, **switch), make_tokens()
    observed = make_observed()
    expected, expected_state = backbone(tokens, None, observed)
    outputs, state = run_pieces(backbone, tokens, [1, 2, SEGMENT + 3, 17, 18, 29], observed)
    close(torch.cat(outputs, 1), expected)
    same_state(state, expected_state)


@ANY
@pytest.mark.parametrize("sizes", [{}, {"chunk_size": 16, "segment_length": 67, "window": 71}])
def test_pieces_longer_than_a_memory_tile_equal_the_whole(name, sizes):
    backbone, tokens = make_backbone(name, **sizes), make_tokens(LONG)
    observed = make_observed(LONG)
    expected, expected_state = backbone(tokens, None, observed)
    segment = backbone.config.segment_length
    cuts = [segment, segment * (TILE_SIZE // segment + 1)]
    if name in CAUSAL:
        cuts = [3, TILE_SIZE - 1, TILE_SIZE + 5]
    outputs, state = run_pieces(backbone, tokens, cuts, observed)
    close(torch.cat(outputs, 1), expected)
    same_state(state, expected_state)


@pytest.mark.parametrize(
    ("switch", "cuts"),
    [
        *(pytest.param({}, cuts, id=name) for name, cuts in CUTS.items()),
        *(
            pytest.param(switch, [2, SEGMENT + 3, 3 * SEGMENT - 1], id=name)
            for name, switch in SWITCHES.items()
        ),
    ],
)
def test_literal_segments_completed_after_a_cut_equal_the_whole(switch, cuts):
    """An open segment's outputs are provisional; in one block, nothing builds on them."""
    backbone = make_backbone("mac literal", depth=1, **switch)
    tokens, observed = make_tokens(), make_observed()
    expected, expected_state = backbone(tokens, None, observed)
    outputs, state = run_pieces(backbone, tokens, cuts, observed)
    same_state(state, expected_state)
    n_final = 0
    for start, stop, output in zip([0, *cuts], [*cuts, TIME], outputs, strict=True):
        final = TIME if stop == TIME else stop - stop % SEGMENT
        n = max(final - start, 0)
        close(output[:, :n], expected[:, start : start + n])
        n_final += n
    assert n_final > 0


@pytest.mark.parametrize("switch", [{"depth": 2}, {"depth": 4, "attention_every": 2}])
def test_literal_blocks_on_others_go_on_at_whole_segments_only(switch):
    backbone, tokens = make_backbone("mac literal", **switch), make_tokens()
    with pytest.raises(ValueError, match=rf"of {SEGMENT} tokens only, and {SEGMENT + 2} have been"):
        run_pieces(backbone, tokens, [SEGMENT + 2])
    expected, expected_state = backbone(tokens)
    outputs, state = run_pieces(backbone, tokens, [SEGMENT, 3 * SEGMENT])
    close(torch.cat(outputs, 1), expected)
    same_state(state, expected_state)
    # Nothing stands on a literal block that is the last.
    last = make_backbone("mac literal", depth=2, attention_every=2)
    run_pieces(last, tokens, [SEGMENT + 2])


def test_literal_outputs_of_an_open_segment_are_provisional():
    backbone, tokens = make_backbone("mac literal", depth=1), make_tokens()
    expected, _ = backbone(tokens)
    (first, _), _ = run_pieces(backbone, tokens, [SEGMENT + 2])
    assert (first - expected[:, : SEGMENT + 2])[:, SEGMENT:].abs().max() > 1e-6


@ANY_CAUSAL
def test_a_mask_may_come_with_some_pieces_and_not_with_others(name):
    backbone, tokens = make_backbone(name), make_tokens()
    observed = make_observed()
    observed[:, 10:19] = True
    expected, expected_state = backbone(tokens, None, observed)
    first, state = backbone(tokens[:, :10], None, observed[:, :10])
    second, state = backbone(tokens[:, 10:19], state)
    third, state = backbone(tokens[:, 19:], state, observed[:, 19:])
    close(torch.cat([first, second, third], 1), expected)
    same_state(state, expected_state)


@ANY
def test_nothing_read_is_no_state_change(name):
    backbone, tokens = make_backbone(name), make_tokens()
    vectors, state = backbone(tokens[:, :0])
    assert vectors.shape == (BATCH, 0, DIM)
    assert state.position == 0
    expected, before = backbone(tokens)
    close(backbone(tokens, state)[0], expected)
    vectors, after = backbone(tokens[:, :0], before)
    assert vectors.shape == (BATCH, 0, DIM)
    same_state(after, before, tolerance=0)


@ANY
def test_a_state_is_left_as_it_was_by_whoever_continues_from_it(name):
    backbone, tokens = make_backbone(name), make_tokens()
    cut = 2 * SEGMENT if name == "mac literal" else 19  # which goes on at whole segments only
    _, state = backbone(tokens[:, :cut])
    copies = {place: tensor.clone() for place, tensor in tensors(state).items()}
    first, _ = backbone(tokens[:, cut:], state)
    second, _ = backbone(tokens[:, cut:], state)
    assert torch.equal(first, second)
    assert all(torch.equal(tensor, copies[place]) for place, tensor in tensors(state).items())


@ANY
def test_sparing_the_state_changes_no_output(name):
    backbone, tokens = make_backbone(name), make_tokens(LONG // SEGMENT * SEGMENT)
    expected, state = backbone(tokens)
    actual, none = backbone(tokens, need_state=False)
    assert none is None
    close(actual, expected)
    again, none = backbone(tokens, state, need_state=False)
    assert none is None
    close(again, backbone(tokens, state)[0])
    with torch.no_grad():  # where a single token goes another way
        single, none = backbone(tokens[:, :1], state, need_state=False)
        assert none is None
        assert all(
            block(tokens[:, :1], s, need_state=False)[1] is None
            for block, s in zip(backbone.blocks, state.blocks, strict=True)
        )
        close(single, backbone(tokens[:, :1], state)[0])


@MASKED
@ANY_CAUSAL
@pytest.mark.parametrize("moment", [1, SEGMENT - 1, SEGMENT, 20, TIME - 1])
def test_a_later_token_never_changes_an_earlier_output(name, moment, masked):
    backbone, tokens = make_backbone(name), make_tokens()
    observed = make_observed() if masked else None
    other = tokens.clone()
    other[:, moment:] = make_tokens(TIME - moment, seed=1)
    before, _ = backbone(tokens, None, observed)
    after, _ = backbone(other, None, observed)
    close(after[:, :moment], before[:, :moment], 1e-13)
    assert (after - before)[:, moment:].abs().amax((1, 2)).min() > 1e-6


@pytest.mark.parametrize("moment", [1, SEGMENT - 1, SEGMENT, 20])
def test_literal_mode_looks_ahead_to_its_segments_end_and_no_further(moment):
    backbone, tokens = make_backbone("mac literal"), make_tokens()
    other = tokens.clone()
    other[:, moment:] = make_tokens(TIME - moment, seed=1)
    before, _ = backbone(tokens)
    after, _ = backbone(other)
    start = moment - moment % SEGMENT
    close(after[:, :start], before[:, :start], 1e-13)
    if moment > start:
        assert (after - before)[:, start:moment].abs().amax((0, 2)).min() > 1e-6


@ANY
def test_rows_of_a_batch_never_mix(name):
    backbone, tokens = make_backbone(name), make_tokens()
    observed = make_observed()
    expected, expected_state = backbone(tokens, None, observed)
    other = tokens.clone()
    other[1] = make_tokens(batch=1, seed=1)[0]
    actual, state = backbone(other, None, observed)
    keep = [0, 2]
    close(actual[keep], expected[keep], 1e-13)
    assert (actual - expected)[1].abs().max() > 1e-6
    expected_tensors = tensors(expected_state)
    for place, tensor in tensors(state).items():
        close(tensor[keep].double(), expected_tensors[place][keep].double(), 1e-13, place)


@ANY
def test_the_order_of_rows_does_not_matter(name):
    backbone, tokens = make_backbone(name), make_tokens()
    observed, order = make_observed(), [2, 0, 1]
    expected, _ = run_pieces(backbone, tokens, [SEGMENT * 2], observed)
    actual, _ = run_pieces(backbone, tokens[order], [SEGMENT * 2], observed[order])
    close(torch.cat(actual, 1), torch.cat(expected, 1)[order], 1e-12)


@ANY
@pytest.mark.parametrize("held", [1e6, torch.nan, torch.inf], ids=str)
def test_what_a_masked_token_holds_changes_nothing_else(name, held):
    backbone, tokens, observed = make_backbone(name), make_tokens(), make_observed()
    expected, expected_state = backbone(tokens, None, observed)
    other = torch.where(observed[..., None], tokens, torch.full_like(tokens, held))
    actual, state = backbone(other, None, observed)
    assert torch.equal(actual[observed], expected[observed])
    same_state(state, expected_state, tolerance=0)


@ANY
def test_a_masked_token_is_not_one_that_holds_zeros(name):
    """The mask keeps it out of memory and attention; a row of zeros takes part in both."""
    backbone, tokens, observed = make_backbone(name), make_tokens(), make_observed()
    zeros = torch.where(observed[..., None], tokens, torch.zeros_like(tokens))
    masked, _ = backbone(zeros, None, observed)
    taken, _ = backbone(zeros)
    assert (masked - taken)[observed].abs().max() > 1e-6


@ANY
def test_fully_masked_tokens_leave_weights_and_momentum_as_they_were(name):
    backbone, tokens = make_backbone(name), make_tokens(5 * SEGMENT)
    nothing = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    _, before = backbone(tokens)
    vectors, after = backbone(tokens, before, nothing)
    assert torch.isfinite(vectors).all()
    held = {
        place: tensor
        for place, tensor in tensors(before).items()
        if "memory.weights" in place or "memory.momentum" in place
    }
    assert len(held) == 8  # two blocks, two layers
    for place, tensor in held.items():
        assert torch.equal(tensors(after)[place], tensor), place


@ANY
def test_a_sequence_that_starts_with_nothing_but_masked_tokens_is_finite(name):
    backbone, tokens = make_backbone(name), make_tokens()
    vectors, state = backbone(tokens, None, torch.zeros(tokens.shape[:2], dtype=torch.bool))
    assert torch.isfinite(vectors).all()
    assert all(torch.isfinite(tensor).all() for tensor in tensors(state).values())


@ANY
def test_outer_gradients_match_finite_differences(name):
    """With respect to tokens and all weights, through a state that is passed on."""
    sizes = {"dim": 4, "depth": 1, "segment_length": 3, "chunk_size": 2, "window": 3}
    backbone = make_backbone(name, n_persistent=2, conv_width=2, **sizes)
    weights = {place: weight.detach() for place, weight in backbone.named_parameters()}
    observed = torch.tensor([[True, False, True, True, True, True, True]] * 2)
    tokens = make_tokens(7, batch=2, dim=4, requires_grad=True)

    def outputs(tokens, *values):
        named = dict(zip(weights, values, strict=True))
        first, state = functional_call(backbone, named, (tokens[:, :4], None, observed[:, :4]))
        second, state = functional_call(backbone, named, (tokens[:, 4:], state, observed[:, 4:]))
        floating = [leaf for leaf in tensors(state).values() if leaf.requires_grad]
        return first, second, *floating

    inputs = (tokens, *(weight.requires_grad_() for weight in weights.values()))
    assert torch.autograd.gradcheck(outputs, inputs, fast_mode=True)


def state_size(state):
    """Numbers held, and bytes of the storages behind them."""
    storages = {leaf.untyped_storage().data_ptr(): leaf for leaf in tensors(state).values()}
    n_bytes = sum(leaf.untyped_storage().nbytes() for leaf in storages.values())
    return sum(leaf.numel() for leaf in tensors(state).values()), n_bytes


@ANY
def test_a_state_is_as_large_after_a_thousand_tokens_as_after_a_hundred(name):
    """At the same place in segment and chunk (7 * 3 tokens); views would hold the whole input."""
    backbone = make_backbone(name, depth=1)
    cycle = SEGMENT * CHUNK
    with torch.no_grad():
        _, early = backbone(make_tokens(100))
        _, late = backbone(make_tokens(100 + 43 * cycle))
    assert late.blocks is not early.blocks
    assert late.position == 1003
    assert state_size(late) == state_size(early)
    assert [place for place, _ in leaves(late)] == [place for place, _ in leaves(early)]


@ANY
def test_a_state_that_is_passed_on_from_token_to_token_never_outgrows_a_cycle(name):
    backbone, tokens = make_backbone(name, depth=1), make_tokens(3 * SEGMENT * CHUNK)
    sizes, state = [], None
    with torch.no_grad():
        for t in range(tokens.shape[1]):
            _, state = backbone(tokens[:, t : t + 1], state)
            sizes.append(state_size(state)[0])
    cycle = SEGMENT * CHUNK
    # How momentum is kept depends on how long it is just now, so not every cycle is alike.
    assert max(sizes[2 * cycle :]) <= max(sizes[cycle : 2 * cycle])
