"""The language head keeps what every head promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.testing import (
    EstimatorCase,
    EstimatorContract,
    SequenceCase,
    check_plugin,
    check_sequence,
)

TEXTS = ["Eins, zwei, Polizei, drei, vier, Grenadier. "] * 12


def test_the_plugin_is_whole():
    check_plugin("language")


class TestLanguageModel(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: TitansLanguageModel(
                dim=8,
                depth=1,
                n_heads=1,
                chunk_size=4,
                segment_length=8,
                context_length=16,
                batch_size=4,
                max_tokens=16 * 4 * 3,
                max_epochs=1,
                accelerator="cpu",
                random_state=0,
            ),
            fit=(TEXTS,),
            use=lambda model, texts: [
                model.log_probabilities(texts[0]),
                model.evaluate(texts).bits_per_byte,
                model.generate("Eins", max_new_tokens=9, seed=0),
            ],
            bad_input={
                "one text": ("Eins",),
                "nothing": ([],),
                "empty texts": (["", ""],),
                "bytes": ([b"Eins"],),
                "half a character": (["\ud83d"],),
                "a file that is not there": ([Path("not there.txt")],),
            },
            bad_parameters={
                "tokenizer": "words",
                "context_length": 18,
                "carried_segments": 0,
                "variant": "rnn",
                "dim": 0,
                "max_tokens": -1,
                "batch_size": 0,
                "validation_fraction": 1.5,
                "learning_rate": 0,
                "backbone_options": {"width": 3},
            },
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_token_model_reads_as_a_sequence_module_must(variant, tied):
    torch.manual_seed(0)
    config = BackboneConfig(variant=variant, dim=8, dropout=0.0)
    # A multiple of MAC's segments, where its state holds no open one.
    tokens = torch.randint(11, (2, 32))
    check_sequence(SequenceCase(TokenModel(11, config, tied=tied), tokens))
