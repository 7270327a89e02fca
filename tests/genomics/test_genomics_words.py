"""Words beside the network: which of them stand at which place, and in which reading they count."""

import numpy as np
import torch
from genomics_problems import tiny_classifier

from titans_ts.plugins.genomics import TitansSequenceClassifier, reverse_complement
from titans_ts.plugins.genomics.coding import encode_sequences
from titans_ts.plugins.genomics.network import PLACE_GAIN, PlacedWords, WordShares
from titans_ts.plugins.genomics.training import WORD_DECAY

LETTERS = "ACGT"


def placed_sum(module, sequence):
    """What ``module`` says of a sequence, word by word."""
    total = torch.zeros(module.n_classes)
    for k, weight in enumerate(module.weights, 1):
        for place in range(min(len(sequence) - k + 1, module.n_places)):
            word = sequence[place : place + k]
            if set(word) <= set(LETTERS):
                number = sum(4**i * LETTERS.index(x) for i, x in enumerate(reversed(word)))
                total += PLACE_GAIN * weight[place * 4**k + number]
    return total


def test_each_base_above_five_halves_what_a_word_says():
    module = WordShares(8, n_classes=1)
    sequence = encode_sequences(["ACGT" * 30])
    codes, lengths = torch.from_numpy(sequence.padded(np.arange(1))).long(), torch.tensor([120])
    said = []
    for k, weight in enumerate(module.weights, 1):
        torch.nn.init.constant_(weight, 1.0)
        said.append(float(module(codes, lengths).detach()) / (120 - k + 1) ** 0.5)
        torch.nn.init.constant_(weight, 0.0)
    np.testing.assert_allclose(
        np.divide(said, said[0]), [1, 1, 1, 1, 1, 0.5, 0.25, 0.125], rtol=1e-5
    )


def test_words_forget_and_the_network_decays_as_it_is_told_to(monkeypatch):
    groups = []

    class Recorded(torch.optim.AdamW):
        def __init__(self, params, **options):
            groups.extend(params)
            super().__init__(groups, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    model = tiny_classifier(max_epochs=1).fit(["ACGT", "GGCA"] * 8, [0, 1] * 8).model_
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decays) == sum(len(group["params"]) for group in groups)
    for name, parameter in model.named_parameters():
        usual = 0.05 if parameter.ndim > 1 else 0.0
        assert decays.pop(id(parameter)) == (WORD_DECAY if "words" in name else usual), name
    assert not decays


def test_words_count_where_they_stand_and_unknown_ones_do_not():
    module = PlacedWords(3, n_places=9, n_classes=2)
    torch.manual_seed(0)
    for weight in module.weights:
        torch.nn.init.normal_(weight)
    sequences = ["ACGTACGTTGCA", "ANGTCRGT", "GT", "T"]  # longer than known places, and shorter
    coded = encode_sequences(sequences)
    found = module(torch.from_numpy(coded.padded(np.arange(4))).long())
    torch.testing.assert_close(found, torch.stack([placed_sum(module, s) for s in sequences]))


def sites(n=400, seed=0):
    """GT stands at place 9 in one class, a place later in the other: counts of words are alike."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    sequences = []
    for label in labels:
        letters = rng.choice(list("ACGT"), 24)
        letters[[9 + label, 10 + label]] = ["G", "T"]
        letters[9 if label else 11] = rng.choice(list("AC"))
        sequences.append("".join(letters))
    return sequences, labels


def test_a_place_tells_classes_that_have_the_same_words():
    # As good as no network: one motif of one base, for tokens of the whole sequence.
    options = {"motifs": 1, "motif_length": 1, "pool": 24, "composition": 0, "max_epochs": 4}
    with_places, without = (
        tiny_classifier(placement=placement, **options).fit(*sites()).score(*sites(seed=1))
        for placement in (2, 0)
    )
    assert with_places > 0.95
    assert without < 0.75


def test_places_say_nothing_where_both_strands_mean_the_same():
    classifier = tiny_classifier(reverse_complement=True, max_epochs=1).fit(*sites(60))
    for weight in classifier.model_.placed_words.weights:
        torch.nn.init.normal_(weight)
    sequences = sites(20)[0]
    np.testing.assert_allclose(
        classifier.predict_proba(sequences),
        classifier.predict_proba([reverse_complement(s) for s in sequences]),
        atol=1e-5,
    )


def test_a_model_from_before_words_had_places_is_loaded_as_it_was():
    classifier = tiny_classifier(placement=0, max_epochs=1).fit(*sites(60))
    values, arrays = classifier._fitted_state()
    del values["network"]["placement"]
    loaded = TitansSequenceClassifier()
    loaded._restore_state(values, arrays)
    sequences = sites(20)[0]
    np.testing.assert_array_equal(
        loaded.predict_proba(sequences), classifier.predict_proba(sequences)
    )


def test_words_weigh_nothing_in_a_reading_in_which_none_is_counted():
    options = {"composition": 0, "max_epochs": 1, "validation_fraction": 0.0}
    for symmetric, share in ((True, 0.0), (False, 0.5)):
        classifier = tiny_classifier(reverse_complement=symmetric, **options).fit(*sites(60))
        assert classifier.word_share_ == share
    judged = tiny_classifier(reverse_complement=True, composition=0, max_epochs=1)
    assert judged.fit(*sites(60)).word_share_ == 0.0
