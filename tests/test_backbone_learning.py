"""Every part of a backbone counts, learns, and stays finite in the precisions that are used."""

from __future__ import annotations

import pytest
import torch
from backbone_problems import (
    SEGMENT,
    SWITCHES,
    VARIANTS,
    close,
    make_backbone,
    make_observed,
    make_tokens,
    run_pieces,
    same_state,
    tensors,
)

from titans_ts.config import BackboneConfig
from titans_ts.nn.attention import SlidingWindowAttention
from titans_ts.nn.backbone import TitansBackbone
from titans_ts.nn.memory import NeuralMemory

ANY = pytest.mark.parametrize("name", VARIANTS)


def with_weights_of(source, name, **changes):
    """Another configuration with the weights of ``source`` as far as it has the same."""
    backbone = make_backbone(name, **changes)
    own = backbone.state_dict()
    given = {k: w for k, w in source.state_dict().items() if k in own and w.shape == own[k].shape}
    backbone.load_state_dict(own | given)
    return backbone


@ANY
@pytest.mark.parametrize(
    "switch",
    [switch for key, switch in SWITCHES.items() if key != "default"]
    + [{"chunk_size": 4}, {"max_step_size": 0.5}],
    ids=str,
)
def test_every_switch_changes_the_function(name, switch):
    backbone, tokens = make_backbone(name, depth=1), make_tokens()
    other = with_weights_of(backbone, name, depth=1, **switch)
    assert (other(tokens)[0] - backbone(tokens)[0])[:, -1].abs().max() > 1e-6


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("mac", {"segment_length": 6}),
        ("mac", {"mac_mode": "literal"}),
        ("mag", {"window": 10}),
        ("mal", {"window": 10}),
        ("mal", {"memory_skip": True}),
        ("mag", {"rotary": False}),
    ],
)
def test_lengths_and_modes_of_a_variant_change_its_function(name, switch):
    backbone, tokens = make_backbone(name), make_tokens()
    other = with_weights_of(backbone, name, **switch)
    assert (other(tokens)[0] - backbone(tokens)[0]).abs().max() > 1e-6


@ANY
def test_a_memory_that_is_off_is_one_of_step_size_zero_that_forgets_nothing(name):
    off, tokens = make_backbone(name, memory_writes=False), make_tokens()
    still = with_weights_of(off, name, max_step_size=0, forgetting=False)
    expected, state = off(tokens)
    close(still(tokens)[0], expected, 1e-13)
    for place, tensor in tensors(state).items():
        if "memory.weights" in place or "memory.anchor" in place:
            block, layer = int(place.split(".")[2]), int(place.split(".")[-1])
            start = off.blocks[block].memory.initial_weights[layer]
            close(tensor, start.expand_as(tensor).detach(), 1e-13, place)


@ANY
def test_memory_is_carried_over_more_than_attention_sees(name):
    """A first token far outside every window still counts, and with the memory off it does not."""
    tokens = make_tokens(5 * SEGMENT + 1)
    other = tokens.clone()
    other[:, 0] = make_tokens(1, seed=1)[:, 0]
    effects = {}
    for writes in (True, False):
        backbone = make_backbone(name, depth=1, memory_writes=writes)
        effects[writes] = (backbone(other)[0] - backbone(tokens)[0])[:, -1].abs().max()
    assert effects[True] > 1e-6
    assert effects[False] < 1e-13


@ANY
@pytest.mark.parametrize("place", ["attention.persistent", "memory.persistent"])
def test_persistent_tokens_change_outputs(name, place):
    backbone, tokens = make_backbone(name), make_tokens()
    before, _ = backbone(tokens)
    held = [weight for key, weight in backbone.named_parameters() if key.endswith(place)]
    has = {"lmm": ["memory"], "mac": ["attention"]}.get(name.split()[0], ["attention", "memory"])
    assert len(held) == (2 if place.split(".")[0] in has else 0)
    if held:
        with torch.no_grad():
            held[0][1] += 1.0
        assert (backbone(tokens)[0] - before)[:, -1].abs().max() > 1e-6


@ANY
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_every_parameter_gets_a_gradient_from_the_last_output(name, switch):
    """None at all would stop training on several devices; an empty parameter never gets one."""
    backbone = make_backbone(name, depth=1, **switch)
    vectors, _ = backbone(make_tokens(), need_state=False)
    (vectors[:, -1] * make_tokens(1, seed=1)[:, 0]).sum().backward()
    off = not backbone.config.memory_writes
    for place, weight in backbone.named_parameters():
        assert weight.numel(), place
        assert weight.grad is not None, place
        # Nothing is written, so nothing is learnt about how to write.
        if not (off and ("memory.gates" in place or "memory.persistent" in place)):
            assert weight.grad.abs().max() > 1e-12, place


@ANY
def test_gates_learn_for_every_head_and_layer(name):
    backbone = make_backbone(name)
    vectors, _ = backbone(make_tokens())
    (vectors[:, -1] * make_tokens(1, seed=1)[:, 0]).sum().backward()
    for block in backbone.blocks:
        assert block.memory.gates.weight.grad.abs().amax(1).min() > 1e-12
        assert block.memory.qkv.weight.grad.abs().amax(1).min() > 1e-12


@ANY
def test_gradients_flow_back_through_a_state_that_is_passed_on(name):
    backbone, tokens = make_backbone(name), make_tokens().requires_grad_()
    (whole,) = torch.autograd.grad(backbone(tokens)[0][:, -1].sum(), tokens)
    outputs, _ = run_pieces(backbone, tokens, [SEGMENT, 3 * SEGMENT])
    (pieces,) = torch.autograd.grad(outputs[-1][:, -1].sum(), tokens)
    close(pieces, whole)
    assert whole[:, : 3 * SEGMENT].abs().amax((1, 2)).min() > 1e-9


INPUTS = {
    "zeros": torch.zeros_like,
    "constant": torch.ones_like,
    "spikes of a million": lambda x: torch.where(x > 2, 1e6 * x, x),
}


@ANY
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16 autocast"])
@pytest.mark.parametrize("kind", INPUTS)
def test_outputs_states_and_gradients_are_finite_and_at_least_float32(name, half, kind):
    backbone = make_backbone(name).float()
    tokens = INPUTS[kind](make_tokens().float()).requires_grad_()
    cut = SEGMENT + 2 * (name != "mac literal")  # which goes on at whole segments only
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        outputs, state = run_pieces(backbone, tokens, [cut], make_observed())
    vectors = torch.cat(outputs, 1)
    vectors.square().sum().backward()
    assert vectors.dtype == torch.float32
    assert torch.isfinite(vectors).all()
    for place, tensor in tensors(state).items():
        assert tensor.dtype in (torch.float32, torch.bool), place
        assert torch.isfinite(tensor).all(), place
    for place, weight in backbone.named_parameters():
        assert torch.isfinite(weight.grad).all(), place
    assert torch.isfinite(tokens.grad).all()


@ANY
def test_the_state_is_float64_where_the_tokens_are(name):
    backbone = make_backbone(name)
    _, state = backbone(make_tokens(), None, make_observed())
    assert {tensor.dtype for tensor in tensors(state).values()} <= {torch.float64, torch.bool}


@ANY
def test_half_precision_stays_near_full_precision(name):
    backbone, tokens = make_backbone(name).float(), make_tokens().float()
    expected, expected_state = backbone(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, state = backbone(tokens)
        pieces, _ = run_pieces(backbone, tokens, [SEGMENT, 3 * SEGMENT])
        # What a layer in half precision hands on is not rounded a second time.
        rounded, _ = backbone(tokens.bfloat16())
    close(whole, expected, 0.05)
    close(torch.cat(pieces, 1), whole, 0.02)
    same_state(state, expected_state, 0.1)
    assert rounded.dtype == torch.float32


@ANY
def test_dropout_is_for_training_alone(name):
    backbone, tokens = make_backbone(name, dropout=0.5), make_tokens()
    assert torch.equal(backbone(tokens)[0], backbone(tokens)[0])
    with torch.random.fork_rng():
        backbone.train()
        assert not torch.equal(backbone(tokens)[0], backbone(tokens)[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_defaults_make_a_backbone_that_remembers(name):
    """With the shipped sizes too, stopping the writes changes the last of 32 tokens."""
    config = {**VARIANTS[name], "dropout": 0.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = TitansBackbone(BackboneConfig(**config)).eval()
    off = TitansBackbone(BackboneConfig(**config, memory_writes=False)).eval()
    off.load_state_dict(backbone.state_dict())
    tokens = make_tokens(32, dim=BackboneConfig.dim).float()
    assert (backbone(tokens)[0] - off(tokens)[0])[:, -1].abs().max() > 1e-3


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_memory_starts_with_the_momentum_that_was_asked_for(share):
    memory = NeuralMemory(BackboneConfig(dim=8, n_heads=2, initial_momentum=share))
    _, momentum, _ = torch.sigmoid(memory.gates.bias).unflatten(0, (3, -1))
    torch.testing.assert_close(momentum, torch.full_like(momentum, share))


@pytest.mark.parametrize("module", [NeuralMemory, SlidingWindowAttention])
@pytest.mark.parametrize("conv_width", [2, 4])
def test_recall_starts_with_the_query_of_a_token_as_the_next_ones_key(module, conv_width):
    options = {"attention_conv": True, "recall": True, "conv_width": conv_width}
    projecting, x = module(BackboneConfig(dim=16, n_heads=2, **options)), torch.randn(2, 9, 16)
    queries, keys, *_ = projecting._project(x, None)
    torch.testing.assert_close(keys[..., 1:, :], queries[..., :-1, :])
    other = module(BackboneConfig(dim=16, n_heads=2, **options | {"recall": False}))
    queries, keys, *_ = other._project(x, None)
    assert (keys[..., 1:, :] - queries[..., :-1, :]).abs().max() > 0.1


def test_attention_that_starts_as_recall_finds_what_followed():
    torch.manual_seed(0)
    options = {"attention_conv": True, "recall": True, "rotary": False, "n_persistent": 0}
    attention = SlidingWindowAttention(BackboneConfig(dim=64, n_heads=2, window=200, **options))
    story = torch.randn(1, 150, 64)
    # A stretch comes again: its last token is answered with what stood behind it at first.
    x = torch.cat([story, story[:, 60:70]], 1)
    queries, keys, _, _ = attention._project(x, None)
    weights = (queries @ keys.mT * queries.shape[-1] ** -0.5)[0, :, -1].softmax(-1)
    assert (weights.argmax(-1) == 70).all()
    assert (weights[:, 70] > 0.2).all()
