"""TitansSequenceModel and variant effects: what follows in DNA."""

import math
import pickle
import textwrap

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from genomics_problems import tiny_model
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from titans_ts.errors import DataError, DataTypeError, ParameterError
from titans_ts.plugins.genomics import TitansSequenceModel, reverse_complement, variant_effects
from titans_ts.plugins.genomics import sequence_model as module
from titans_ts.plugins.genomics.coding import LETTERS, encode_sequences
from titans_ts.plugins.genomics.pretraining import WordBatches, WordModule, cut_pieces
from titans_ts.plugins.genomics.settings import sequence_settings
from titans_ts.plugins.genomics.trunks import word_model
from titans_ts.plugins.genomics.words import to_words
from titans_ts.training.estimators import backbone_config, draw_seed

REPEAT = "ACGGTTA" * 200


@pytest.fixture(scope="module")
def fitted():
    return tiny_model(both_strands=False, max_epochs=20).fit([REPEAT])


def test_a_repeat_is_learnt(fitted):
    assert fitted.perplexity([REPEAT[3:300]]) < 1.6
    assert fitted.history_[0]["validation_loss"] > fitted.history_[-1]["validation_loss"]


def test_of_chance_the_perplexity_is_about_four():
    rng = np.random.default_rng(0)
    chance = ["".join(rng.choice(list("ACGT"), 3000)) for _ in range(2)]
    model = tiny_model(max_epochs=4).fit(chance[:1])
    assert model.perplexity(chance[1:]) == pytest.approx(4, rel=0.2)


def test_the_likelihood_of_a_sequence_is_the_sum_of_its_words(fitted):
    total = fitted.log_likelihood([REPEAT[:50]])
    assert fitted.score([REPEAT[:50]]) == pytest.approx(total[0] / 50)
    assert fitted.perplexity([REPEAT[:50]]) == pytest.approx(math.exp(-total[0] / 50))


def test_a_sequence_that_is_read_in_pieces_has_the_same_likelihood(fitted, monkeypatch):
    sequences = [REPEAT[:301], "ACGT", REPEAT[2:90] + "N" + REPEAT[:30]]
    whole, vectors = fitted.log_likelihood(sequences), fitted.embed(sequences)
    monkeypatch.setattr(module, "READ_AT_ONCE", 37)
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    np.testing.assert_allclose(fitted.log_likelihood(sequences), whole, rtol=1e-4)
    np.testing.assert_allclose(fitted.embed(sequences), vectors, atol=1e-4)


def test_words_are_made_piece_by_piece_as_they_are_made_at_once(fitted, monkeypatch):
    sequences = encode_sequences(["ACGTNACGTACGT", "AC", "GGTTAAC"])
    whole = to_words(sequences.padded(np.array([1, 2, 0])), np.array([2, 7, 13]), 1)
    monkeypatch.setattr(module, "READ_AT_ONCE", 5)
    pieces = [words for _, words, _ in fitted._read(sequences)]
    assert len(pieces) == 3
    for name in ("tokens", "targets", "inside", "known"):
        parts = [getattr(words, name) for words in pieces]
        assert torch.equal(torch.cat(parts, 1), getattr(whole, name))


def test_a_long_sequence_is_not_read_beside_many_short_ones(fitted):
    sequences = encode_sequences([REPEAT[:100]] * 40 + [REPEAT * 2, REPEAT[:90]])
    read = [(len(rows), words.inside.shape[1]) for rows, words, _ in fitted._read(sequences)]
    assert read == [(41, 100), (1, 1024), (1, 1024), (1, 752)]


def test_both_strands_count_alike():
    model = tiny_model(max_epochs=1).fit([REPEAT])
    turned = reverse_complement(REPEAT[:77])
    assert model.log_likelihood([REPEAT[:77]]) == pytest.approx(model.log_likelihood([turned]))
    np.testing.assert_allclose(model.embed([REPEAT[:77]]), model.embed([turned]), atol=1e-5)


@pytest.mark.parametrize("sequences", [["NACGT"], ["NAC"], ["ACGTNCA", "ACGTA", "NNN"]])
def test_a_sequence_and_its_other_strand_have_one_score_whatever_is_judged_in_either(sequences):
    model = tiny_model(k=2, max_epochs=1).fit([REPEAT])
    turned = [reverse_complement(s) for s in sequences]
    assert model.score(sequences) == pytest.approx(model.score(turned))
    assert model.score(sequences) == pytest.approx(-math.log(model.perplexity(turned)))


def test_the_score_is_a_mean_over_the_bases_that_are_judged_on_both_strands():
    model = tiny_model(k=2, max_epochs=1).fit([REPEAT])
    # As it is written no whole word is known; on the other strand GT is.
    total = 2 * model.log_likelihood(["NAC"]).item()
    assert total < 0
    assert model.score(["NAC"]) == pytest.approx(total / 2)
    assert model.score(["NAC"] * 3) == pytest.approx(total / 2)


def test_ambiguous_letters_are_read_and_not_judged(fitted):
    assert fitted.log_likelihood(["N"]) == pytest.approx(0)
    with pytest.raises(DataError, match="Nothing can be judged"):
        fitted.score(["NNN"])


def test_vectors_go_on_in_a_pipeline():
    X, y = [REPEAT[:40], REPEAT[1:41], "T" * 40, "T" * 39] * 3, [0, 0, 1, 1] * 3
    pipeline = make_pipeline(tiny_model(max_epochs=1), LogisticRegression()).fit(X, y)
    assert pipeline.score(X, y) == 1


def test_what_was_learnt_is_saved(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    loaded = TitansSequenceModel.load(tmp_path / "model")
    assert loaded.log_likelihood([REPEAT[:99]]) == fitted.log_likelihood([REPEAT[:99]])


def test_long_sequences_are_cut_and_pieces_held_out():
    chance = "".join(np.random.default_rng(0).choice(list("ACGT"), 1400))
    pieces = cut_pieces(encode_sequences([chance, "ACG"]), 100, 0.2, seed=0)
    assert sum(part.inner.sum() for part in pieces) == 13
    training, judged = (part.sequences for part in pieces)
    assert len(training) + len(judged) == 14 + 1
    assert training.lengths.sum() + judged.lengths.sum() == 1403
    assert len(judged) == 3
    assert max(*training.lengths, *judged.lengths) == 100


@pytest.mark.parametrize("either_strand", [False, True])
def test_no_piece_is_judged_that_has_been_learnt(either_strand):
    rng = np.random.default_rng(0)
    reads = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(10)]
    whole = encode_sequences([*reads * 3, *map(reverse_complement, reads)])
    pieces = cut_pieces(whole, 50, 0.3, seed=0, either_strand=either_strand)
    training, judged = (part.sequences for part in pieces)
    assert len(training) + len(judged) == 40
    assert len(judged) == (12 if either_strand else pytest.approx(12, abs=6))
    learnt, met = ({part[i].tobytes() for i in range(len(part))} for part in (training, judged))
    assert met
    assert not learnt & met
    if either_strand:
        turned = training.reverse_complements()
        assert not {turned[i].tobytes() for i in range(len(turned))} & met


def test_only_pieces_from_within_a_sequence_go_on_with_a_memory():
    pieces, _ = cut_pieces(encode_sequences([REPEAT, *["ACGTTG"] * 40]), 16, 0.0, seed=0)
    n_inner = [int(pieces.take(np.array([i])).inner[0]) for i in range(len(pieces.inner))]
    assert sum(n_inner) == -(-len(REPEAT) // 16) - 1
    drawn = [batch.goes_on for batch in WordBatches(pieces, 1, 1, seed=0)]
    assert 0.6 * sum(n_inner) < sum(map(int, drawn)) < 0.9 * sum(n_inner)
    short = pieces.take(np.flatnonzero(~pieces.inner))
    assert not any(batch.goes_on.any() for batch in WordBatches(short, 1, 8, seed=0))
    assert not any(batch.goes_on.any() for batch in WordBatches(pieces, 1, 8, seed=None))


@pytest.mark.parametrize("variant", ["mac", "mag", "lmm"])
def test_a_piece_that_goes_on_is_read_as_the_rest_of_what_was_read_before(variant):
    model = tiny_model(variant=variant, backbone_options={"dropout": 0.0})
    network = word_model(backbone_config(model), 1).eval()
    training = WordModule(network, sequence_settings(model), carries=True)
    codes = encode_sequences([REPEAT[:64], "GATTACA" * 9 + "G"]).padded(np.arange(2))
    whole, first, second = (
        to_words(part, np.full(2, part.shape[1]), 1) for part in (codes, *np.split(codes, 2, 1))
    )
    with torch.no_grad():
        alone = network.log_probabilities(second.tokens, second.targets)[0]
        read_on = network.log_probabilities(whole.tokens, whole.targets)[0][:, 32:]
        assert not torch.allclose(read_on, alone, atol=1e-3)
        training.training_loss(first)
        loss = training.training_loss(second._replace(goes_on=torch.tensor([True, False])))
        assert float(loss) == pytest.approx(-float((read_on[0] + alone[1]).mean()) / 2, abs=1e-5)
        judged = training.validation_loss(second._replace(goes_on=torch.tensor([True, True])))
    assert float(judged) == pytest.approx(-float(alone.mean()), abs=1e-5)


def test_a_pipeline_names_what_the_model_makes(fitted):
    table = fitted.set_output(transform="pandas").transform([REPEAT[:40]])
    fitted.set_output(transform="default")
    assert list(table.columns) == [f"titanssequencemodel{i}" for i in range(8)]


def test_pieces_without_a_word_are_neither_learnt_nor_judged():
    # Of 1,003 bases, 3 are left over; of N, there is no word.
    sequences = encode_sequences([REPEAT[:1003], "N" * 200])
    training, judged = cut_pieces(sequences, 100, 0.2, seed=0, k=5)
    assert len(training.inner) + len(judged.inner) == 10
    with pytest.raises(DataError, match="No sequence holds 5 letters"):
        cut_pieces(encode_sequences(["ACGTNACGTN"]), 100, 0.2, seed=0, k=5)


def test_losses_are_means_over_words_however_they_lie_in_batches():
    sequences = [REPEAT[:64], *["N" * 60 + REPEAT[: 4 + i] for i in range(9)]]
    model = tiny_model(k=1, context_length=64, batch_size=4, validation_fraction=0.9)
    losses = model.set_params(max_epochs=1, both_strands=False).fit(sequences).history_[0]
    _, pieces = cut_pieces(encode_sequences(sequences), 64, 0.9, draw_seed(model.random_state), k=1)
    judged = pieces.sequences
    letters = dict(zip(LETTERS.values(), LETTERS, strict=True))
    texts = ["".join(letters[code] for code in judged[i]) for i in range(len(judged))]
    n_words = sum(letter != "N" for text in texts for letter in text)
    total = model.log_likelihood(texts).sum()
    assert losses["validation_loss"] == pytest.approx(-total / n_words, rel=1e-4)


def test_a_sequence_shorter_than_two_words_is_refused():
    with pytest.raises(DataError, match="Sequence 0 has 5 letters; expected at least 6"):
        tiny_model(k=3).fit(["ACGTA"])
    with pytest.raises(ParameterError, match="k must be at most 8"):
        tiny_model(k=9).fit(["ACGT"])


def test_a_variant_that_breaks_a_repeat_is_unlikely_and_one_that_mends_it_likely(fitted):
    broken = REPEAT[:100] + ("A" if REPEAT[100] != "A" else "C") + REPEAT[101:200]
    wrong = fitted_effect(fitted, REPEAT, (101, REPEAT[100], broken[100]))
    right = fitted_effect(fitted, broken, (101, broken[100], REPEAT[100]))
    assert wrong < -1
    assert right == pytest.approx(-wrong, rel=0.2)


def fitted_effect(model, reference, variant):
    return variant_effects(model, reference, [variant])["log_likelihood_ratio"].item()


def test_no_change_has_no_effect_and_insertions_and_deletions_have_one(fitted):
    table = variant_effects(fitted, REPEAT, [(50, "A", "A"), (50, "A", "AC"), (50, "AC", "A")])
    assert table["log_likelihood_ratio"][0] == pytest.approx(0, abs=1e-4)
    assert (table["log_likelihood_ratio"][1:] < 0).all()


def test_a_model_of_longer_words_judges_substitutions_alone():
    model = tiny_model(k=2, max_epochs=1).fit([REPEAT])
    assert np.isfinite(fitted_effect(model, REPEAT, (50, "AC", "TT")))
    for variant in ((50, "A", "AC"), (50, "AC", "A")):
        with pytest.raises(DataError, match=r"Variant 0, .* is an insertion or a deletion"):
            variant_effects(model, REPEAT, [variant])


@pytest.fixture(scope="module")
def longer_words():
    return tiny_model(k=6, both_strands=False, max_epochs=3).fit([REPEAT])


HUNDRED = REPEAT[:101]
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


def substitution(reference, position, length=1):
    ref = reference[position - 1 : position - 1 + length]
    return position, ref, "".join(OTHER[letter] for letter in ref)


@pytest.mark.parametrize(
    ("position", "length", "starts"),
    [
        # Before a later start, the first letter stands in no word.
        (1, 1, [0]),
        (50, 1, range(6)),
        (96, 1, range(6)),
        # From the first letter on, the last five fill no word.
        (97, 1, range(1, 6)),
        (99, 1, range(3, 6)),
        (101, 1, [5]),
        # All that is changed, or a part of the variant would be judged.
        (95, 5, range(3, 6)),
    ],
)
def test_a_variant_is_judged_wherever_words_may_start(longer_words, position, length, starts):
    variant = substitution(HUNDRED, position, length)
    changed = HUNDRED[: position - 1] + variant[2] + HUNDRED[position - 1 + length :]
    effect = mean_effect(longer_words, changed, [slice(start, start + 96) for start in starts])
    assert fitted_effect(longer_words, HUNDRED, variant) == pytest.approx(effect)
    assert abs(effect) > 1e-3


def mean_effect(model, changed, windows):
    with_alt = model.log_likelihood([changed[window] for window in windows])
    with_ref = model.log_likelihood([HUNDRED[window] for window in windows])
    return (with_alt - with_ref).mean()


def test_a_variant_has_one_effect_whichever_strand_is_written(longer_words):
    both = pickle.loads(pickle.dumps(longer_words)).set_params(both_strands=True)
    for position in (2, 40, 100):
        _, ref, alt = variant = substitution(HUNDRED, position)
        turned = (102 - position, reverse_complement(ref), reverse_complement(alt))
        for context in (20, 21, 512):
            one, other = (
                variant_effects(both, *pair, context=context)["log_likelihood_ratio"].item()
                for pair in ((HUNDRED, [variant]), (reverse_complement(HUNDRED), [turned]))
            )
            assert one == pytest.approx(other, abs=1e-4)
            assert abs(one) > 1e-2


@pytest.mark.parametrize("position", [1, 49, 51, 52, 56, 95, 99, 101])
def test_a_variant_is_judged_in_one_known_word_on_either_strand(
    longer_words, monkeypatch, position
):
    reference, read = HUNDRED[:49] + "N" + HUNDRED[50:], []
    keep_what_is_read(longer_words, monkeypatch, read)
    variant_effects(longer_words, reference, [substitution(reference, position)])
    assert read
    for strand in (read, [reverse_complement(window) for window in read]):
        for pair in zip(strand[::2], strand[1::2], strict=True):
            without, behind = (textwrap.wrap(window, 6) for window in pair)
            (word,) = (i for i, (a, b) in enumerate(zip(without, behind, strict=True)) if a != b)
            assert len(behind[word]) == 6
            assert "N" not in behind[word]


def keep_what_is_read(model, monkeypatch, read):
    def log_likelihood(X):
        read.extend(X)
        return np.zeros(len(X))

    monkeypatch.setattr(model, "log_likelihood", log_likelihood)


def test_a_variant_beside_an_unknown_letter_has_an_effect_on_both_strands(longer_words):
    both = pickle.loads(pickle.dumps(longer_words)).set_params(both_strands=True)
    reference = HUNDRED[:49] + "N" + HUNDRED[50:]
    table = variant_effects(both, reference, [substitution(reference, p) for p in (49, 51, 52)])
    assert (table["log_likelihood_ratio"].abs() > 1e-3).all()


def test_a_variant_that_no_word_holds_is_named(longer_words):
    reference = HUNDRED[:46] + "N" + HUNDRED[47:51] + "N" + HUNDRED[52:]
    variants = [substitution(reference, 40), substitution(reference, 49)]
    with pytest.raises(DataError, match=r"Variant 1 cannot be judged: around position 49 of the"):
        variant_effects(longer_words, reference, variants)
    # No change has no effect, and needs no word.
    same = (49, reference[48], reference[48])
    assert fitted_effect(longer_words, reference, same) == 0


@pytest.mark.parametrize("alt", ["A", "C"])
def test_a_reference_shorter_than_a_word_is_told_by_the_variant(longer_words, alt):
    with pytest.raises(DataError, match=r"Variant 0 .* of 'chr2' no words of 6 .* stands 'ACG'"):
        variant_effects(longer_words, {"chr1": REPEAT, "chr2": "ACG"}, [("chr2", 1, "A", alt)])


def test_a_letter_around_a_variant_that_stands_for_no_base_is_told_by_the_variant(fitted):
    with pytest.raises(DataError, match=r"Variant 1 .*: the window .* letter 'X'"):
        variant_effects(fitted, REPEAT + "ACGX", [(5, "T", "G"), (1401, "A", "G")])


@pytest.mark.parametrize("several", [False, True])
def test_a_line_end_behind_the_reference_is_no_letter(longer_words, monkeypatch, several):
    read = []
    keep_what_is_read(longer_words, monkeypatch, read)
    reference, variant = HUNDRED[:95] + "\n", substitution(HUNDRED, 50)
    if several:
        reference, variant = {"chr1": reference}, ("chr1", *variant)
    variant_effects(longer_words, reference, [variant])
    # 95 letters are 15 words of 6, and 5 more.
    assert read[::2] == [HUNDRED[start : start + 90] for start in range(6)]


def test_white_space_around_a_reference_shifts_no_position_and_inside_it_is_refused(fitted):
    variant = substitution(HUNDRED, 50)
    effect = fitted_effect(fitted, HUNDRED, variant)
    assert fitted_effect(fitted, "\n" + HUNDRED + " ", variant) == effect
    with pytest.raises(DataError, match="white space behind its letter 60"):
        variant_effects(fitted, HUNDRED[:60] + "\n" + HUNDRED[60:], [variant])


def test_a_window_is_wide_enough_for_the_words_of_a_long_variant(longer_words):
    variant = substitution(HUNDRED, 40, 11)
    effect = variant_effects(longer_words, HUNDRED, [variant], context=12)["log_likelihood_ratio"]
    changed = HUNDRED[:39] + variant[2] + HUNDRED[50:]
    starts_and_ends = [(34, 52), (35, 53), (36, 54), (37, 55), (38, 50), (39, 51)]
    windows = [slice(*places) for places in starts_and_ends]
    assert effect.item() == pytest.approx(mean_effect(longer_words, changed, windows))


def test_a_column_of_variants_that_is_there_twice_or_on_levels_is_refused(fitted):
    frame = pd.DataFrame([[52, "A", "G", "C"]], columns=["position", "ref", "alt", "alt"])
    with pytest.raises(DataError, match="more than one column of the name 'alt'"):
        variant_effects(fitted, REPEAT, frame)
    frame.columns = pd.MultiIndex.from_tuples([(name, "") for name in ("position", *"abc")])
    with pytest.raises(DataError, match=r"lacks the columns \['position', 'ref', 'alt'\]"):
        variant_effects(fitted, REPEAT, frame)


def test_ambiguous_letters_may_stand_around_a_variant(fitted):
    assert np.isfinite(fitted_effect(fitted, "NN" + REPEAT, (52, "A", "G")))


def test_variants_are_judged_by_a_fitted_model():
    with pytest.raises(NotFittedError):
        variant_effects(tiny_model(), REPEAT, [(1, "A", "C")])


def test_variants_are_a_table_of_several_sequences_and_keep_their_columns(fitted):
    frame = pd.DataFrame(
        {"id": ["v"], "sequence": ["chr2"], "position": [1], "ref": ["t"], "alt": ["A"]}, index=[7]
    )
    table = variant_effects(fitted, {"chr1": REPEAT, "chr2": "TTTT"}, frame)
    assert list(table) == [*frame, "log_likelihood_ratio"]
    assert table.index.tolist() == [7]


def test_variants_are_a_table_of_any_library(fitted):
    columns = {"position": [5, 7], "ref": ["t", "A"], "alt": ["A", "A"]}
    columns["ref"][1] = REPEAT[6]
    expected = variant_effects(fitted, REPEAT, pd.DataFrame(columns))
    for table in (pl.DataFrame(columns), pa.table(columns)):
        pd.testing.assert_frame_equal(variant_effects(fitted, REPEAT, table), expected)


def test_no_variants_give_an_empty_table(fitted):
    assert len(variant_effects(fitted, REPEAT, [])) == 0


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ((1, "C", "T"), "says that 'C' stands at position 1 of the reference, but 'A' does"),
        ((0, "A", "T"), "position 0, expected a whole number from 1 to 1400"),
        ((1401, "A", "T"), "position 1401"),
        ((1.5, "A", "T"), "position 1.5"),
        ((np.inf, "A", "T"), "position inf"),
        ((np.nan, "A", "T"), "position nan"),
        ((1, "A", ""), "has the alt ''"),
        ((1, "A", "N"), "has the alt 'N', expected A, C, G, T or U"),
        ((1, "R", "A"), "has the ref 'R', expected A, C, G, T or U"),
        ((1, "A", "T", "x"), r"expected a tuple \(position, ref, alt\)"),
    ],
)
def test_a_variant_that_does_not_fit_the_reference_is_named(fitted, variant, words):
    with pytest.raises(DataError, match=words):
        variant_effects(fitted, REPEAT, [variant])


def test_a_sequence_that_is_not_there_and_a_column_that_is_missing_are_named(fitted):
    with pytest.raises(DataError, match="no name of the reference"):
        variant_effects(fitted, {"a": REPEAT}, [("b", 1, "A", "C")])
    with pytest.raises(DataError, match=r"lacks the columns \['alt'\]"):
        variant_effects(fitted, REPEAT, pd.DataFrame({"position": [1], "ref": ["A"]}))


def test_u_is_t_in_a_variant_as_in_a_sequence(fitted):
    as_dna = variant_effects(fitted, REPEAT[:70], [(4, "G", "T")])
    as_rna = variant_effects(fitted, REPEAT[:70].replace("T", "U"), [(4, "G", "U")])
    assert as_dna["log_likelihood_ratio"].equals(as_rna["log_likelihood_ratio"])
    at = REPEAT.index("T") + 1
    assert len(variant_effects(fitted, REPEAT[:70].replace("T", "U"), [(at, "T", "G")])) == 1


@pytest.mark.parametrize(
    ("reference", "variants", "words"),
    [([REPEAT], [(1, "A", "C")], "must be a str, or a dict"), (REPEAT, 5, "list of tuples")],
)
def test_what_is_no_reference_or_no_table_of_variants_is_told(fitted, reference, variants, words):
    with pytest.raises(DataTypeError, match=words):
        variant_effects(fitted, reference, variants)
