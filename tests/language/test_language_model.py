"""TitansLanguageModel: learning, scoring, and text that comes out."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from titans_ts.config import VARIANTS
from titans_ts.errors import (
    CheckpointError,
    DataError,
    DataTypeError,
    NonFiniteLossError,
    ParameterError,
)
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import tensors_of
from titans_ts.plugins.language.generate import Sampling
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.plugins.language.presets import PRESETS, preset
from titans_ts.plugins.language.reading import read_on
from titans_ts.plugins.language.streams import RepeatedBatches, segments_of, whole_documents
from titans_ts.plugins.language.texts import read_corpus, set_documents_aside
from titans_ts.plugins.language.tokenizer import BPETokenizer, ByteTokenizer
from titans_ts.plugins.language.training import StreamModule

RHYME = "Eins, zwei, Polizei, drei, vier, Grenadier. "
TINY = {
    "dim": 16,
    "depth": 1,
    "n_heads": 1,
    "chunk_size": 4,
    "segment_length": 8,
    "context_length": 32,
    "batch_size": 4,
    "max_epochs": 2,
    "learning_rate": 1e-2,
    "random_state": 0,
    "accelerator": "cpu",
}


@pytest.fixture(scope="module")
def fitted():
    return TitansLanguageModel(**TINY).fit([RHYME * 5] * 12)


def test_learning_brings_the_perplexity_down(fitted):
    losses = [epoch["validation_loss"] for epoch in fitted.history_]
    assert losses[-1] < losses[0] < math.log(257)
    assert fitted.perplexity([RHYME * 5]) < 64


def test_the_constructor_only_stores():
    model = TitansLanguageModel(dim=-3, tokenizer=5)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.generate("a")
    with pytest.raises(NotFittedError):
        model.score(["a"])


def test_score_perplexity_and_bits_are_one_number(fitted):
    texts = [RHYME, "", "zwei " * 30, "ä"]
    score = fitted.score(texts)
    assert fitted.perplexity(texts) == pytest.approx(math.exp(-score))
    assert fitted.bits_per_byte(texts) == pytest.approx(-score / math.log(2))
    logs = np.concatenate([fitted.log_probabilities(text) for text in texts if text])
    assert logs.mean() == pytest.approx(score, rel=1e-5)
    assert len(fitted.log_probabilities("ä")) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_text_is_scored_as_the_model_says_token_by_token(variant):
    model = TitansLanguageModel(**{**TINY, "variant": variant, "max_epochs": 1})
    model.fit([RHYME] * 12)
    text = (RHYME * 3)[:97]
    logs = model.log_probabilities(text)
    tokens = torch.tensor([[256, *text.encode()]])
    state, one_by_one = None, []
    with torch.no_grad():
        for i in range(tokens.shape[1] - 1):
            logits, state = model.model_(tokens[:, i : i + 1], state)
            one_by_one.append(logits[0, -1].log_softmax(-1)[tokens[0, i + 1]].item())
    np.testing.assert_allclose(logs, one_by_one, atol=2e-4)


def test_pieces_of_reading_change_nothing(fitted, monkeypatch):
    texts = [RHYME * 4, "kurz", RHYME]
    whole = fitted.score(texts)
    monkeypatch.setattr("titans_ts.plugins.language.model.READ_TOKENS", 16)
    assert fitted.score(texts) == pytest.approx(whole, rel=1e-5)
    generated = fitted.generate(RHYME * 4, max_new_tokens=5, temperature=0)
    monkeypatch.setattr("titans_ts.plugins.language.model.READ_TOKENS", 4096)
    assert fitted.generate(RHYME * 4, max_new_tokens=5, temperature=0) == generated


def test_what_could_be_fitted_can_be_scored(fitted, monkeypatch):
    monkeypatch.setattr("titans_ts.plugins.language.model.READ_TOKENS", 64)
    sizes, read = [], TokenModel.log_probabilities

    def measured(self, tokens, *more, **options):
        sizes.append(tokens.numel())
        return read(self, tokens, *more, **options)

    monkeypatch.setattr(TokenModel, "log_probabilities", measured)
    fitted.score([RHYME * 20] * 7)
    fitted.score([RHYME * 20])
    # Segments are MAC's, and say nothing of windows that slide.
    options = {"variant": "mag", "segment_length": 63, "max_epochs": 1}
    TitansLanguageModel(**{**TINY, **options}).fit([RHYME * 5] * 12).score([RHYME * 20] * 7)
    assert max(sizes) == 4 * 32


def test_a_seed_makes_text_repeatable_and_touches_nothing_global(fitted):
    before = torch.get_rng_state()
    first = fitted.generate("Eins", max_new_tokens=30, seed=7)
    assert fitted.generate("Eins", max_new_tokens=30, seed=7) == first
    assert fitted.generate("Eins", max_new_tokens=30, seed=8) != first
    fitted.generate("Eins", max_new_tokens=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stream_gives_the_same_text_in_pieces(fitted):
    whole = fitted.generate("Eins", max_new_tokens=40, seed=1)
    stream = fitted.generate("Eins", max_new_tokens=40, seed=1, stream=True)
    assert next(stream) == whole[:1]
    assert "".join(stream) == whole[1:]


def test_an_empty_prompt_starts_a_document(fitted):
    assert isinstance(fitted.generate(max_new_tokens=3, seed=0), str)
    assert fitted.generate("Eins", max_new_tokens=0) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "temperature must be a number between 0 and 100"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"top_k": 0}, "top_k must be a whole number"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": 1.5}, "top_p must be a number between"),
        ({"max_new_tokens": -1}, "max_new_tokens must be"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_makes_no_sense_is_refused_at_once(fitted, options, words, stream):
    with pytest.raises(ParameterError, match=words):
        fitted.generate("Eins", stream=stream, **options)


def test_a_prompt_that_is_no_text_is_refused_in_words(fitted):
    with pytest.raises(DataTypeError, match="prompt is a bytes"):
        fitted.generate(b"Eins")
    with pytest.raises(DataError, match="half of a surrogate"):
        fitted.generate("\udc80")


def drawn(logits, **options):
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(**options)
    return {sampling.draw(torch.tensor(logits), generator) for _ in range(300)}


def test_sampling_keeps_to_what_is_asked():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().tolist()
    assert drawn(logits) == {0, 1, 2, 3}
    assert drawn(logits, temperature=0) == {1}
    assert drawn(logits, temperature=1e-8) == {1}
    assert drawn(logits, top_k=2) == {1, 3}
    assert drawn(logits, top_p=0.7) == {1, 3}
    assert drawn(logits, top_p=0.01) == {1}
    assert drawn(logits, top_k=3, top_p=0.99) == {1, 2, 3}
    assert drawn(logits, top_k=99, top_p=1.0) == {0, 1, 2, 3}


def test_a_temperature_next_to_nothing_takes_the_most_likely():
    logits, generator = torch.tensor([1.0, 3.0, 2.0]), torch.Generator()
    for options in ({}, {"top_k": 2}, {"top_p": 0.9}):
        assert Sampling(temperature=1e-310, **options).draw(logits, generator) == 1


def test_temperature_is_what_logits_are_divided_by():
    generator, sampling = torch.Generator().manual_seed(0), Sampling(temperature=2.0)
    logits = torch.tensor([0.0, 2 * math.log(3)])
    share = np.mean([sampling.draw(logits, generator) for _ in range(4000)])
    assert share == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context_length": 30}, "context_length must be a multiple of chunk_size=4.*Take 32"),
        ({"variant": "mac", "context_length": 36}, "multiple of segment_length=8"),
        ({"variant": "rnn"}, "variant must be one of"),
        (
            {"variant": "mac", "backbone_options": {"mac_mode": "literal"}},
            "mac_mode='literal' lets a token see the end of its segment",
        ),
        ({"vocabulary_size": 100}, "vocabulary_size must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"backbone_options": {"dim": 3}}, r"backbone_options\['dim'\] is a parameter of its own"),
        ({"backbone_options": 3}, "backbone_options must be a mapping"),
        ({"random_state": "seven"}, "random_state must be"),
        ({"tokenizer": "words"}, "tokenizer must be 'bytes'"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_bad_parameters_are_refused_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        TitansLanguageModel(**{**TINY, **options}).fit([RHYME])


def test_a_budget_of_tokens_is_kept():
    model = TitansLanguageModel(**{**TINY, "max_epochs": 3, "validation_fraction": 0})
    model.set_params(max_tokens=4 * 32 * 6)
    assert model._n_steps(model_corpus(), 4, 3) == 2
    model.set_params(max_tokens=None)
    assert model._n_steps(model_corpus(), 4, 3) == 20


@pytest.mark.parametrize(("n_steps", "n_epochs"), [(2, 2), (14, 7), (31, 8)])
def test_a_budget_that_epochs_do_not_divide_is_kept(monkeypatch, n_steps, n_epochs):
    n_tokens = []
    training_loss = StreamModule.training_loss
    monkeypatch.setattr(
        StreamModule,
        "training_loss",
        lambda self, batch: n_tokens.append(batch.n_targets) or training_loss(self, batch),
    )
    options = {**TINY, "max_epochs": np.int64(10), "max_tokens": np.int64(n_steps * 4 * 32)}
    model = TitansLanguageModel(**options, validation_fraction=0).fit(["x" * 31] * 40)
    assert len(model.history_) == n_epochs
    assert sum(n_tokens) == pytest.approx(n_steps * 4 * 32, rel=0.05)


def model_corpus():
    return read_corpus(["x" * (32 * 10 - 1)], ByteTokenizer())


@pytest.mark.slow
def test_memory_that_is_carried_helps_at_the_start_of_a_segment():
    rng = np.random.default_rng(0)
    options = {
        **TINY,
        "variant": "lmm",
        "dim": 32,
        "context_length": 48,
        "batch_size": 8,
        "max_epochs": 6,
    }
    model = TitansLanguageModel(**options).fit([repeated(rng) for _ in range(80)])
    judged = [repeated(rng) for _ in range(20)]
    carried = np.mean([model.log_probabilities(text)[48:56] for text in judged])
    afresh = np.mean([model.log_probabilities(text[48:])[:8] for text in judged])
    assert carried > afresh + 0.3


def repeated(rng):
    """A few letters of its own, over and over."""
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 3, replace=False)
    return "".join(rng.choice(letters, 192))


def test_a_saved_model_says_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = TitansLanguageModel.load(tmp_path / "model")
    assert again.get_params() == fitted.get_params()
    assert again.history_ == fitted.history_
    assert again.score([RHYME]) == fitted.score([RHYME])
    assert again.generate("Eins", seed=3) == fitted.generate("Eins", seed=3)


def test_a_saved_model_with_byte_pairs_brings_its_tokenizer(tmp_path):
    pytest.importorskip("tokenizers", reason="needs the extra text")
    model = TitansLanguageModel(
        **{**TINY, "max_epochs": 1}, tokenizer="bpe", vocabulary_size=280
    ).fit([RHYME] * 12)
    assert model.model_.n_tokens == 280
    model.save(tmp_path / "model")
    again = TitansLanguageModel.load(tmp_path / "model")
    assert again.generate("Eins", seed=3) == model.generate("Eins", seed=3)
    assert model.bits_per_byte([RHYME]) < -model.score([RHYME]) / math.log(2)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"variant": "mag"}, id="mag"),
        pytest.param({"variant": "mac"}, id="mac"),
        # No multiple of segments, which say nothing where windows slide.
        pytest.param({"variant": "mag", "context_length": 24, "segment_length": 16}, id="windows"),
    ],
)
@pytest.mark.parametrize("short", [False, True])
def test_a_fit_that_was_killed_ends_as_if_it_had_not_been(tmp_path, monkeypatch, sizes, short):
    # Short texts end within a segment, where MAC has written nothing yet.
    texts = [RHYME[i : i + 3 + i % 3] for i in range(24)] if short else [RHYME * 5] * 12
    options = {**TINY, "max_epochs": 2, **sizes}
    dies_at = 9 if short else 27
    whole = TitansLanguageModel(**options).fit(texts)
    monkeypatch.setattr("titans_ts.training.resume.SAVE_EVERY", 0.0)
    loss_of, n_losses = StreamModule.training_loss, []

    def dies(self, batch):
        n_losses.append(1)
        if len(n_losses) == dies_at:
            raise OSError("killed")
        return loss_of(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(StreamModule, "training_loss", dies)
        with pytest.raises(OSError, match="killed"):
            TitansLanguageModel(**options).fit(texts, checkpoint=tmp_path / "progress")
    again = TitansLanguageModel(**options).fit(texts, checkpoint=tmp_path / "progress")
    assert again.history_ == whole.history_
    for one, other in zip(
        again.model_.state_dict().values(), whole.model_.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_a_fit_without_a_seed_goes_on_with_that_of_its_record(tmp_path, monkeypatch):
    """Its documents for validation too, which the seed draws."""
    options = {**TINY, "max_epochs": 2, "random_state": None}
    texts = [RHYME[i:] * 2 for i in range(24)]
    monkeypatch.setattr("titans_ts.training.resume.SAVE_EVERY", 0.0)
    loss_of, n_losses = StreamModule.training_loss, []

    def dies(self, batch):
        n_losses.append(1)
        if len(n_losses) == 9:
            raise OSError("killed")
        return loss_of(self, batch)

    judged = []

    def set_aside(*given):
        learnt, aside = set_documents_aside(*given)
        judged.append(aside.fingerprint())
        return learnt, aside

    monkeypatch.setattr("titans_ts.plugins.language.model.set_documents_aside", set_aside)
    with monkeypatch.context() as patch:
        patch.setattr(StreamModule, "training_loss", dies)
        with pytest.raises(OSError, match="killed"):
            TitansLanguageModel(**options).fit(texts, checkpoint=tmp_path / "progress")
    again = TitansLanguageModel(**options).fit(texts, checkpoint=tmp_path / "progress")
    assert len(again.history_) == 2
    assert judged[0] == judged[1]
    # Another fit draws another seed, and other documents: of 24, two are drawn.
    for number in range(5):
        TitansLanguageModel(**options).fit(texts, checkpoint=tmp_path / f"{number}")
    assert len(set(judged)) > 1


def test_a_fit_of_other_options_is_another_whatever_mapping_holds_them(tmp_path):
    def fit(**options):
        held = MappingProxyType(options)
        model = TitansLanguageModel(**{**TINY, "max_epochs": 1, "backbone_options": held})
        return model.fit([RHYME * 5] * 4, checkpoint=tmp_path / "progress")

    model = fit(max_step_size=0.2)
    with pytest.raises(CheckpointError, match="backbone_options was"):
        fit(max_step_size=0.9)
    model.save(tmp_path / "model")
    again = TitansLanguageModel.load(tmp_path / "model")
    assert again.backbone_options == {"max_step_size": 0.2}


def test_a_fit_that_has_ended_comes_back_in_its_precision(tmp_path):
    options = {**TINY, "max_epochs": 1, "precision": "64-true"}
    first, again = (
        TitansLanguageModel(**options).fit([RHYME * 5] * 4, checkpoint=tmp_path) for _ in range(2)
    )
    assert first.model_.embedding.weight.dtype == torch.float64
    assert again.score([RHYME]) == first.score([RHYME])


def test_a_refit_that_fails_leaves_the_model_where_it_was(tmp_path, fitted, monkeypatch):
    fitted.save(tmp_path / "model")
    model = TitansLanguageModel.load(tmp_path / "model", device="cpu")
    monkeypatch.setattr(StreamModule, "training_loss", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.fit([RHYME * 5] * 12)
    assert model.device_ == "cpu"
    assert model.score([RHYME]) == fitted.score([RHYME])


def test_the_words_of_a_text_are_no_names_of_files(tmp_path, fitted, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("something else", encoding="utf-8")
    assert len(fitted.log_probabilities("notes.txt")) == len("notes.txt")


def diverging(places):
    """A loss that is no number at some steps."""
    read, n_steps = StreamModule._read, []

    def loss_at(self, *arguments):
        loss, after = read(self, *arguments)
        if not self.training:
            return loss, after
        n_steps.append(1)
        return (loss * math.nan if len(n_steps) in places else loss), after

    return loss_at


def test_a_segment_in_which_the_memory_diverges_is_passed_over(monkeypatch):
    monkeypatch.setattr(StreamModule, "_read", diverging({3, 17}))
    model = TitansLanguageModel(**TINY).fit([RHYME * 5] * 12)
    assert all(math.isfinite(epoch["train_loss"]) for epoch in model.history_)
    assert model.history_[1]["train_loss"] < model.history_[0]["train_loss"]


def test_training_ends_where_every_segment_diverges(monkeypatch):
    monkeypatch.setattr(StreamModule, "_read", diverging(range(5, 99)))
    with pytest.raises(NonFiniteLossError, match="max_step_size"):
        TitansLanguageModel(**TINY).fit([RHYME * 5] * 12)


def no_number_in_validation(places):
    read, n_read = StreamModule._read, []

    def loss_at(self, *arguments):
        loss, after = read(self, *arguments)
        if self.training:
            return loss, after
        n_read.append(1)
        return (loss * math.nan if len(n_read) in places else loss), after

    return loss_at


def test_an_epoch_whose_validation_is_no_number_is_not_the_best(monkeypatch):
    monkeypatch.setattr(StreamModule, "_read", no_number_in_validation(range(1, 3)))
    model = TitansLanguageModel(**{**TINY, "max_epochs": 3}).fit(["x" * 31] * 12)
    assert model.best_epoch_ == 2


def test_validation_that_is_never_a_number_is_said_in_words(monkeypatch):
    monkeypatch.setattr(StreamModule, "_read", no_number_in_validation(range(99)))
    with pytest.raises(
        NonFiniteLossError, match=r"loss of the validation data is nan.*max_step_size"
    ):
        TitansLanguageModel(**TINY).fit([RHYME * 5] * 12)


def test_a_memory_that_diverges_in_reading_is_said_in_words(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    broken = TitansLanguageModel.load(tmp_path / "model")
    with torch.no_grad():
        broken.model_.embedding.weight.fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="memory diverged"):
        broken.generate("Eins")
    with pytest.raises(NonFiniteLossError, match="memory diverged"):
        broken.score(["Eins"])
    with pytest.raises(NonFiniteLossError, match="memory diverged"):
        broken.log_probabilities("Eins")


def test_what_is_wrong_with_validation_is_said_of_validation():
    with pytest.raises(DataTypeError, match=r"validation\[1\] is a int"):
        TitansLanguageModel(**TINY).fit([RHYME], validation=["a", 5])


def test_validation_documents_may_be_given():
    model = TitansLanguageModel(**{**TINY, "max_epochs": 1})
    other = ["something else entirely " * 4]
    model.fit([RHYME] * 4, validation=other)
    # The end of a text is a target of learning, and not of a score.
    assert model.history_[0]["validation_loss"] == pytest.approx(-model.score(other), rel=0.02)
    model = TitansLanguageModel(**{**TINY, "max_epochs": 1, "validation_fraction": 0.0})
    assert model.fit([RHYME] * 4).best_epoch_ is None


def test_validation_reads_on_where_training_starts_anew():
    options = {"batch_size": 1, "max_epochs": 8, "carried_segments": 1, "patience": 8}
    text = RHYME * 30
    model = TitansLanguageModel(**{**TINY, **options}).fit([RHYME] * 4, validation=[text])
    judged = model.history_[model.best_epoch_]["validation_loss"]
    anew = -model.score([text[i : i + 32] for i in range(0, len(text), 32)])
    assert judged == pytest.approx(-model.score([text]), rel=0.02)
    assert anew > 1.1 * judged


PAPER = [name for name in PRESETS if name.startswith("paper-")]


@pytest.mark.parametrize("name", PAPER)
def test_the_recipes_of_the_paper_are_parameters_of_a_model(name):
    model = TitansLanguageModel(**preset(name))
    assert model.batch_size * model.context_length == 2**19
    assert model._config().window == 2048
    assert model._settings().learning_rate == 4e-4


@pytest.mark.parametrize(
    ("name", "millions"), [("paper-170m", 161), ("paper-340m", 514), ("paper-760m", 1117)]
)
def test_the_recipes_have_as_many_weights_as_is_said(name, millions):
    with torch.device("meta"):
        model = TokenModel(32_000, TitansLanguageModel(**preset(name))._config())
    assert round(model.n_parameters / 1e6) == millions


def test_the_small_recipe_is_the_best_model_of_the_comparison():
    from benchmarks.language.contenders import make

    model = TitansLanguageModel(**preset("bytes-1m"))
    config = model._config()
    with torch.device("meta"):
        compared = make("titans-mal", 257, 900_000, config.depth).backbone.config
    assert config.mlp_expansion == pytest.approx(compared.mlp_expansion, abs=0.01)
    # Segments are MAC's.
    alike = {"mlp_expansion": 1.0, "segment_length": 1}
    assert replace(config, **alike) == replace(compared, **alike)


def test_a_change_of_a_recipe_is_a_change_of_this_one_alone():
    changed = preset("paper-170m", backbone_options={"momentum": False})["backbone_options"]
    assert changed["window"] == 2048
    assert changed["momentum"] is False
    changed["window"] = 64
    for name in PAPER:
        assert preset(name)["backbone_options"]["window"] == 2048
        assert "momentum" not in preset(name)["backbone_options"]


def test_a_preset_that_is_not_there_is_refused_in_words():
    with pytest.raises(ParameterError, match="Did you mean 'paper-170m'"):
        preset("paper-17m")
    with pytest.raises(ParameterError, match=r"backbone_options must be a mapping.*got 3"):
        preset("bytes-1m", backbone_options=3)


def test_generation_carries_a_state_of_fixed_size(fitted):
    def size(n):
        tokens = np.zeros(n, np.uint8)
        start = read_on(fitted.model_, tokens, end=256, length=64, weights="")
        return sum(x.numel() for x in tensors_of(start.state))

    assert size(127) == size(1023)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_read_once_is_gone_on_from_as_often_as_is_wanted(variant):
    model = TitansLanguageModel(**{**TINY, "variant": variant, "max_epochs": 1})
    model.fit([RHYME * 5] * 4)
    text, rest = RHYME * 3, "Eins, zwei, Pol"
    book = model.read(text[:50])
    book = model.read(text[50:], after=book)
    whole = model.read(text + rest)
    assert (book.n_tokens, whole.n_tokens) == (len(text), len(text + rest))
    on = model.read(rest, after=book)
    torch.testing.assert_close(on.logits, whole.logits, rtol=1e-4, atol=1e-5)
    same = model.read("", after=on)
    assert (same.n_tokens, same.last) == (on.n_tokens, on.last)
    assert torch.equal(same.logits, on.logits)
    said = [model.generate(rest, after=book, temperature=0, max_new_tokens=9) for _ in range(2)]
    assert said == [model.generate(text + rest, temperature=0, max_new_tokens=9)] * 2
    assert model.generate(after=on, temperature=0, max_new_tokens=9) == said[0]


def test_a_reading_of_another_model_is_refused_in_words(fitted):
    other = TitansLanguageModel(**{**TINY, "max_epochs": 1}).fit([RHYME] * 4)
    with pytest.raises(ParameterError, match=r"after comes of another model.*model\.read"):
        fitted.generate("zwei", after=other.read("Eins"))
    with pytest.raises(ParameterError, match=r"after must be what read.* got str"):
        fitted.read("zwei", after="Eins")
    with pytest.raises(DataTypeError, match="text is a bytes"):
        fitted.read(b"Eins")
    with pytest.raises(NotFittedError):
        TitansLanguageModel().read("Eins")


def test_a_reading_goes_with_its_weights_wherever_they_are(fitted, tmp_path):
    book = fitted.read(RHYME)
    said = fitted.generate("Eins", after=book, seed=1)
    model, packed = pickle.loads(pickle.dumps((fitted, book)))
    assert model.generate("Eins", after=packed, seed=1) == said
    fitted.save(tmp_path / "model")
    assert TitansLanguageModel.load(tmp_path / "model").generate("Eins", after=book, seed=1) == said
    # Its size is that of a state: no weights are in it.
    n_numbers = sum(tensor.numel() for tensor in (*tensors_of(book.state), book.logits))
    assert len(pickle.dumps(book)) < 4 * n_numbers + 20_000
    model.fit([RHYME] * 4)
    with pytest.raises(ParameterError, match="before it was fitted again"):
        model.generate("Eins", after=packed)


def test_a_stream_goes_on_with_the_model_that_it_was_asked_of():
    pytest.importorskip("tokenizers", reason="needs the extra text")
    model = TitansLanguageModel(**{**TINY, "max_epochs": 1, "tokenizer": "bpe"})
    model.set_params(vocabulary_size=280).fit([RHYME] * 4)
    said = model.generate("Eins", seed=2, max_new_tokens=20)
    stream = model.generate("Eins", seed=2, max_new_tokens=20, stream=True)
    model.set_params(tokenizer="bytes").fit([RHYME] * 4)
    assert "".join(stream) == said


def test_bits_of_bytes_that_a_tokenizer_loses_are_refused(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    own = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"?": 0, "zwei,": 1, "</s>": 2}, unk_token="?")
    )
    own.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    own.save(str(tmp_path / "tokenizer.json"))
    model = TitansLanguageModel(
        **{**TINY, "max_epochs": 1, "tokenizer": str(tmp_path / "tokenizer.json")}
    ).fit([RHYME * 3] * 4)
    assert model.perplexity([RHYME]) > 1
    assert math.isnan(model.evaluate([RHYME]).bits_per_byte)
    with pytest.raises(ParameterError, match="loses something of these texts"):
        model.bits_per_byte([RHYME])
    # What it has words for costs what it costs.
    assert model.bits_per_byte(["zwei, zwei,"]) == model.evaluate(["zwei, zwei,"]).bits_per_byte > 0


@pytest.mark.parametrize("given", [{"devices": 2}, {"devices": [0, 1]}, {"num_nodes": 2}])
def test_more_than_one_device_is_refused_before_any_is_started(given):
    with pytest.raises(ParameterError, match=r"on one device, and trainer_kwargs has .* Leave it"):
        TitansLanguageModel(**TINY, trainer_kwargs=given).fit([RHYME])


def test_a_fit_of_large_batches_says_so_when_it_is_loaded(tmp_path):
    model = TitansLanguageModel(**{**TINY, "max_epochs": 1, "batch_size": 1500})
    model.fit([RHYME] * 4).save(tmp_path / "model")
    loaded = TitansLanguageModel.load(tmp_path / "model")
    assert loaded.batch_size_ == model.batch_size_ == 1500
    assert loaded.score([RHYME]) == model.score([RHYME])


def test_batches_to_judge_by_are_cut_alike_each_time():
    corpus = read_corpus([RHYME, RHYME[:30]], ByteTokenizer())
    parts = whole_documents(corpus)
    batches = RepeatedBatches(lambda: segments_of(corpus, iter(parts), rows=2, length=16, end=256))
    first, again = list(batches), list(batches)
    assert len(batches) == len(first) == len(again) > 2
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert one.stretches == other.stretches


def test_sampling_takes_any_real_number():
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=Fraction(1, 2), top_p=Fraction(1, 2))
    assert sampling.draw(torch.tensor([0.0, 9.0]), generator) == 1


def test_no_space_is_lost_between_what_was_read_and_what_comes(monkeypatch):
    pytest.importorskip("tokenizers", reason="needs the extra text")
    model = TitansLanguageModel(**{**TINY, "max_epochs": 1, "tokenizer": "bpe"})
    model.set_params(vocabulary_size=280).fit(["être ou ne pas être " * 9] * 4)
    book = model.read("être ou")
    said = model.generate("", after=book, seed=3, max_new_tokens=30)
    assert said == model.generate("être ou", seed=3, max_new_tokens=30)
    assert said == "".join(model.generate(after=book, seed=3, max_new_tokens=30, stream=True))
    # Llama's decoder takes the first space away, where nothing says that it is not the first.
    streams, stream_of = [], BPETokenizer.stream
    monkeypatch.setattr(
        BPETokenizer,
        "stream",
        lambda self, before=(): streams.append(list(before)) or stream_of(self, before),
    )
    model.generate("", after=book, seed=3, max_new_tokens=1)
    assert streams == [model.tokenizer_.encode("être ou").tolist()]
