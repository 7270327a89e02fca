"""BackboneConfig refuses what makes no sense, and derives what follows."""

from __future__ import annotations

import dataclasses
import re

import pytest

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.errors import ParameterError

NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variant": "max"}, "variant must be one of 'mac', 'mag', 'mal', 'lmm'; got 'max'."),
        ({"variant": None}, "variant must be one of 'mac', 'mag', 'mal', 'lmm'; got None."),
        ({"mac_mode": "Causal"}, "mac_mode must be one of 'causal', 'literal'; got 'Causal'."),
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0."),
        ({"dim": 64.0}, "dim must be a whole number of at least 1, got 64.0."),
        ({"dim": "64"}, "dim must be a whole number of at least 1, got '64'."),
        (
            {"dim": 62, "n_heads": 2},
            "dim must be a multiple of 2 * n_heads (rotary positions turn pairs), "
            "got dim=62 and n_heads=2.",
        ),
        ({"depth": 0}, "depth must be a whole number of at least 1, got 0."),
        ({"depth": True}, "depth must be a whole number of at least 1, got True."),
        ({"n_heads": -2}, "n_heads must be a whole number of at least 1, got -2."),
        ({"memory_depth": 0}, "memory_depth must be a whole number of at least 1, got 0."),
        ({"memory_depth": 5}, "memory_depth must be one of 1, 2, 3, 4; got 5."),
        ({"memory_depth": 2.0}, "memory_depth must be a whole number of at least 1, got 2.0."),
        ({"memory_expansion": 0}, "memory_expansion must be a whole number of at least 1, got 0."),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1, got 0."),
        ({"segment_length": 0}, "segment_length must be a whole number of at least 1, got 0."),
        ({"window": 0}, "window must be a whole number of at least 1, or None, got 0."),
        ({"window": 7.5}, "window must be a whole number of at least 1, or None, got 7.5."),
        ({"n_persistent": -1}, "n_persistent must be a whole number of at least 0, got -1."),
        ({"conv_width": None}, "conv_width must be a whole number of at least 0, got None."),
        (
            {"attention_every": 0},
            "attention_every must be a whole number of at least 1, got 0.",
        ),
        (
            {"variant": "mac", "attention_every": 3, "depth": 2},
            "attention_every must be at most depth, or no block has attention; got "
            "attention_every=3 and depth=2. For memory alone use variant='lmm'.",
        ),
        (
            {"recall": True, "conv_width": 1},
            "recall=True needs conv_width of 2 or more, since a convolution makes a key of the "
            "token before; got 1. Use a wider one, or recall=False.",
        ),
        ({"rotary": 0.5}, "rotary must be one of True, False; got 0.5."),
        ({"max_step_size": 1.01}, "max_step_size must be a number between 0 and 1, got 1.01."),
        ({"max_step_size": NAN}, "max_step_size must be a number between 0 and 1, got nan."),
        (
            {"initial_momentum": 1},
            "initial_momentum must be a number between 0.001 and 0.999, got 1.",
        ),
        ({"mlp_expansion": 0.1}, "mlp_expansion must be a number between 0.25 and 64, got 0.1."),
        ({"dropout": 1.0}, "dropout must be a number between 0 and 0.95, got 1.0."),
        ({"dropout": "0.1"}, "dropout must be a number between 0 and 0.95, got '0.1'."),
        ({"momentum": 0.9}, "momentum must be one of True, False; got 0.9."),
        ({"forgetting": None}, "forgetting must be one of True, False; got None."),
        ({"memory_writes": "off"}, "memory_writes must be one of True, False; got 'off'."),
        (
            {"dim": 20, "n_memory_heads": 3},
            "dim must be a multiple of n_memory_heads, got dim=20 and n_memory_heads=3.",
        ),
        (
            {"n_memory_heads": 0},
            "n_memory_heads must be a whole number of at least 1, or None, got 0.",
        ),
        ({"memory_residual": 2}, "memory_residual must be one of True, False; got 2."),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_what_was_expected(changes, sentence):
    with pytest.raises(ParameterError, match=f"^{re.escape(sentence)}$"):
        BackboneConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 2, "n_heads": 1},
        {"memory_depth": 1},
        {"memory_depth": 4},
        {"window": 1},
        {"n_persistent": 0, "conv_width": 0},
        {"max_step_size": 0},
        {"max_step_size": 1},
        {"initial_momentum": 0.001},
        {"initial_momentum": 0.999},
        {"dropout": 0},
        {"chunk_size": 1, "segment_length": 1},
        {"variant": "mal", "attention_every": 2, "depth": 2},
        {"variant": "mac", "attention_every": 2, "depth": 2},
        {"variant": "lmm", "attention_every": 3, "depth": 2},  # which has no attention anyway
        *({"variant": variant} for variant in VARIANTS),
    ],
    ids=str,
)
def test_values_at_the_edge_are_taken(changes):
    config = BackboneConfig(**changes)
    assert all(getattr(config, name) == value for name, value in changes.items())


def test_a_config_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BackboneConfig().dim = 7


def test_a_config_is_made_again_from_its_fields():
    config = BackboneConfig(variant="mal", dim=20, window=7)
    assert BackboneConfig(**dataclasses.asdict(config)) == config
    assert hash(BackboneConfig(**dataclasses.asdict(config))) == hash(config)


def test_attention_sees_two_segments_unless_told_otherwise():
    assert BackboneConfig(segment_length=7).attention_window == 14
    assert BackboneConfig(segment_length=7, window=11).attention_window == 11
    assert BackboneConfig(segment_length=7, window=1).attention_window == 1


@pytest.mark.parametrize("n_heads", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("factor", [1, 2, 31, 32, 33, 64, 97, 128, 250, 512])
def test_memory_heads_are_at_most_64_wide_and_as_few_as_that_allows(factor, n_heads):
    config = BackboneConfig(dim=2 * n_heads * factor, n_heads=n_heads)
    heads = config.memory_heads
    allowed = [
        h for h in range(n_heads, config.dim + 1) if config.dim % h == 0 and config.dim // h <= 64
    ]
    assert heads == min(allowed)


def test_memory_heads_by_example():
    assert BackboneConfig(dim=64, n_heads=2).memory_heads == 2
    assert BackboneConfig(dim=256, n_heads=2).memory_heads == 4
    assert BackboneConfig(dim=512, n_heads=16).memory_heads == 16
    assert BackboneConfig(dim=128, n_heads=4, n_memory_heads=1).memory_heads == 1
    # 134 is 2 * 67, so the next head that fits is 2 wide.
    assert BackboneConfig(dim=134, n_heads=1).memory_heads == 67


def test_defaults_give_a_context_of_32_tokens_four_segments_and_eight_chunks():
    config = BackboneConfig()
    assert 32 // config.segment_length >= 4
    assert 32 // config.chunk_size >= 8
    assert config.segment_length % config.chunk_size == 0
    assert config.attention_window >= 2 * config.segment_length
