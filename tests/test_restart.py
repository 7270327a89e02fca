"""Rows of a batch that start anew: as if alone, gradients included."""

from __future__ import annotations

import pytest
import torch

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.nn.backbone import TitansBackbone
from titans_ts.nn.restart import detach, restart


def backbone_of(variant, **options):
    torch.manual_seed(0)
    config = BackboneConfig(
        variant=variant, dim=12, depth=2, dropout=0.0, chunk_size=4, segment_length=8, **options
    )
    return TitansBackbone(config).double()


@pytest.mark.parametrize(
    "options",
    [{"n_persistent": 0}, {"n_persistent": 3}, {"attention_every": 2}, {"attention_conv": True}],
    ids=[
        "no persistent tokens",
        "persistent tokens",
        "attention in every second block",
        "convolutions of attention",
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_that_starts_anew_reads_as_if_nothing_came_before(variant, options):
    backbone = backbone_of(variant, **options)
    before, after = torch.randn(2, 3, 24, 12, dtype=torch.float64)
    rows = torch.tensor([False, True, False])
    _, state = backbone(before)
    mixed, mixed_state = backbone(after, restart(backbone, state, rows))
    carried, _ = backbone(after, state)
    fresh, fresh_state = backbone(after)
    torch.testing.assert_close(mixed[1], fresh[1])
    torch.testing.assert_close(mixed[[0, 2]], carried[[0, 2]])
    later = torch.randn(3, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(
        backbone(later, mixed_state)[0][1], backbone(later, fresh_state)[0][1]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_a_row_that_starts_anew_reach_the_initial_memory(variant):
    backbone = backbone_of(variant)
    before, after = torch.randn(2, 1, 24, 12, dtype=torch.float64)
    weights = [p for n, p in backbone.named_parameters() if "initial" in n or "persistent" in n]
    with torch.no_grad():
        _, state = backbone(before)
    mixed, _ = backbone(after, restart(backbone, detach(state), torch.tensor([True])))
    alone, _ = backbone(after)
    factor = torch.randn_like(alone)
    expected = torch.autograd.grad((alone * factor).sum(), weights)
    got = torch.autograd.grad((mixed * factor).sum(), weights)
    for one, other in zip(got, expected, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("variant", "n_read"), [pytest.param("mac", 12, id="mac"), pytest.param("lmm", 6, id="lmm")]
)
def test_a_start_in_the_middle_of_a_chunk_is_refused_in_words(variant, n_read):
    backbone = backbone_of(variant)
    _, state = backbone(torch.randn(1, n_read, 12, dtype=torch.float64))
    with pytest.raises(ValueError, match="a sequence can start anew"):
        restart(backbone, state, torch.tensor([True]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stream_restarts_too(variant):
    backbone = backbone_of(variant)
    before, after = torch.randn(2, 1, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        _, state = backbone(before[:, :1])
        for i in range(1, 8):
            _, state = backbone(before[:, i : i + 1], state)
        mixed, _ = backbone(after, restart(backbone, state, torch.tensor([True])))
        alone, _ = backbone(after)
    torch.testing.assert_close(mixed, alone)
