"""TitansSequenceClassifier: what it learns, what it promises of strands, and what it refuses."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from genomics_problems import boxes, tiny_classifier, tiny_model
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.errors import DataError, ParameterError, SavedModelError
from titans_ts.plugins.genomics import TitansSequenceClassifier, reverse_complement
from titans_ts.plugins.genomics.coding import encode_sequences
from titans_ts.plugins.genomics.labels import hold_out, read_labels
from titans_ts.plugins.genomics.training import ClassifierModule, JudgedBatches
from titans_ts.plugins.genomics.trunks import MotifNorm, MotifTrunk


@pytest.fixture(scope="module")
def fitted():
    return tiny_classifier().fit(*boxes())


def test_a_motif_is_learnt_and_found_in_new_sequences(fitted):
    assert fitted.score(*boxes(seed=1)) > 0.85
    assert set(fitted.predict(boxes(seed=1)[0])) == {"box", "none"}


def test_probabilities_add_up_and_do_not_depend_on_the_other_sequences(fitted):
    sequences = [*boxes(seed=2)[0][:9], "ACG", "N" * 70]
    together = fitted.predict_proba(sequences)
    np.testing.assert_allclose(together.sum(1), 1)
    alone = np.concatenate([fitted.predict_proba([s]) for s in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_sequence_and_its_reverse_complement_mean_the_same_where_they_are_to():
    classifier = tiny_classifier(reverse_complement=True, max_epochs=2).fit(*boxes())
    sequences = boxes(seed=3)[0][:20]
    turned = [reverse_complement(s) for s in sequences]
    np.testing.assert_allclose(
        classifier.predict_proba(sequences), classifier.predict_proba(turned), atol=1e-5
    )
    np.testing.assert_allclose(classifier.embed(sequences), classifier.embed(turned), atol=1e-5)


def directed(n=240, seed=0):
    """Two classes that are each other's reverse complement: only a direction tells them."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACGT"), 31)) for _ in range(n)]
    words = ["AAGCTAC" if i % 2 else "GTAGCTT" for i in range(n)]
    return [s[:12] + w + s[19:] for s, w in zip(sequences, words, strict=True)], np.arange(n) % 2


def test_the_direction_is_read_where_validation_says_that_it_matters():
    classifier = tiny_classifier().fit(*directed())
    assert not classifier.reverse_complement_
    assert classifier.score(*directed(seed=1)) > 0.9


def test_strands_are_averaged_where_direction_says_nothing():
    def turned(n, seed):
        sequences, labels = boxes(n, seed=seed)
        rng = np.random.default_rng(5)
        return [reverse_complement(s) if rng.random() < 0.5 else s for s in sequences], labels

    # Many to judge by: both readings find the motif, and the choice shall not be one of chance.
    classifier = tiny_classifier(composition=0, max_epochs=16)
    classifier.fit(*turned(120, 0), validation=turned(800, 7))
    assert classifier.reverse_complement_
    assert classifier.score(*boxes(seed=1)) > 0.8


def test_words_are_a_coding_too():
    classifier = tiny_classifier(coding="kmers", k=2, composition=0, max_epochs=3)
    classifier.fit(*boxes())
    assert classifier.model_.trunk.model.n_tokens == 4**2 + 2
    # A last word that is cut, and a sequence shorter than a word.
    assert classifier.predict_proba(["ACG", "A"]).shape == (2, 2)


def test_the_same_seed_gives_the_same_model_and_moves_no_global_state():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, two, three = (
        tiny_classifier(max_epochs=1, random_state=seed).fit(*boxes(60)).predict_proba(boxes(9)[0])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, three)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_pretrained_model_is_where_learning_starts():
    model = tiny_model(k=2, max_epochs=1).fit(boxes()[0])
    classifier = model.to_classifier(max_epochs=1, learning_rate=1e-9, random_state=0)
    classifier = clone(classifier).fit(*boxes())
    learnt, started = model.model_.state_dict(), classifier.model_.trunk.model.state_dict()
    for name, weight in learnt.items():
        torch.testing.assert_close(started[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [None, {"momentum": False, "dropout": 0.0}])
def test_a_classifier_that_was_pretrained_and_loaded_learns_the_same_network_again(
    tmp_path, options
):
    model = tiny_model(k=2, dim=12, max_epochs=1, segment_length=5, backbone_options=options)
    classifier = model.fit(boxes()[0]).to_classifier(max_epochs=1).fit(*boxes(40))
    classifier.save(tmp_path / "model")
    loaded = TitansSequenceClassifier.load(tmp_path / "model")
    assert (loaded.coding, loaded.k, loaded.backbone_options) == ("kmers", 2, options)
    again = clone(loaded).fit(*boxes(40))
    assert again.model_.config == classifier.model_.config
    assert again.model_.trunk.backbone_config == classifier.model_.trunk.backbone_config
    # What such a one is loaded as, is what it is loaded as again.
    loaded.save(tmp_path / "second")
    parameters = TitansSequenceClassifier.load(tmp_path / "second").get_params()
    assert parameters == loaded.get_params()


def test_a_pretrained_model_that_was_cleared_is_told_from_one_that_is_none():
    with pytest.raises(ParameterError, match="FrozenEstimator"):
        tiny_classifier(pretrained=tiny_model()).fit(*boxes(9))
    with pytest.raises(ParameterError, match="got a str"):
        tiny_classifier(pretrained=FrozenEstimator("folder")).fit(*boxes(9))


def test_errors_in_a_class_cost_what_its_weight_says():
    sequences, labels = boxes(120)
    favoured = [
        tiny_classifier(class_weight={label: 500.0}, max_epochs=6).fit(sequences, labels)
        for label in ("box", "none")
    ]
    shares = [np.mean(c.predict(boxes(seed=1)[0]) == "box") for c in favoured]
    assert shares[0] > 0.9
    assert shares[1] < 0.3


def test_the_validation_loss_does_not_depend_on_the_order_of_the_rows(monkeypatch):
    sequences, labels = boxes(40, seed=1)
    order = np.argsort(labels, kind="stable")

    def loss(rows, at_once):
        monkeypatch.setattr("titans_ts.plugins.genomics.classifier.READ_AT_ONCE", at_once)
        # A batch may weigh less than 1, and nothing.
        classifier = tiny_classifier(max_epochs=1, class_weight={"box": 0.0, "none": 0.25})
        judged = [sequences[i] for i in rows], labels[rows]
        return classifier.fit(*boxes(60), validation=judged).history_[0]["validation_loss"]

    together = loss(order, 64)
    assert loss(order, 20) == pytest.approx(together, rel=1e-4)
    assert loss(np.arange(40), 3) == pytest.approx(together, rel=1e-4)
    assert loss(order, 1) == pytest.approx(together, rel=1e-4)


def test_weights_that_are_all_alike_change_no_loss():
    plain, alike = (
        tiny_classifier(max_epochs=1, class_weight=weight).fit(*boxes(60)).history_
        for weight in (None, {"box": 1, "none": 1})
    )
    assert plain == alike


def test_rows_that_weigh_nothing_judge_nothing():
    sequences, labels = boxes(40)
    classifier = tiny_classifier(max_epochs=1, class_weight={"none": 0})
    with pytest.raises(DataError, match="In validation: class_weight makes all rows weigh 0"):
        classifier.fit(sequences, labels, validation=(["ACGT", "GG"], ["none", "none"]))
    # One box alone is learnt, and what is held out is of the other class.
    few = [sequences[1], *sequences[::2]], ["box", *labels[::2]]
    assert "validation_loss" not in classifier.fit(*few).history_[0]


def test_a_step_of_batches_that_weigh_nothing_teaches_nothing():
    classifier = tiny_classifier(
        class_weight={"none": 0},
        batch_size=2,
        max_epochs=1,
        trainer_kwargs={"accumulate_grad_batches": 2},
    )
    assert np.isfinite(classifier.fit(*boxes(60)).history_[0]["train_loss"])


def test_a_batch_of_a_class_that_weighs_nothing_teaches_nothing():
    classifier = tiny_classifier(class_weight={"none": 0}, batch_size=2, max_epochs=1)
    classifier.fit(*boxes(60))
    assert np.isfinite(classifier.history_[0]["train_loss"])
    assert set(classifier.predict(boxes(9)[0])) == {"box"}


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["a", "b"] * 10, dtype="string"),
        pd.Series(["a", "b"] * 10, dtype="category"),
        pd.Series([True, False] * 10, dtype="boolean"),
        pd.Series([1, 0] * 10, dtype="Int64"),
        [True, 0] * 10,
        [1, 0.0] * 10,
        np.array([1, 0] * 10, dtype=object),
        pd.Series([True, False] * 10, dtype=object),
    ],
)
def test_labels_come_in_any_column_that_misses_none(labels):
    classes, places = read_labels(labels, 20)
    assert list(classes[places]) == list(labels)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (pd.Series([True, False] * 10, dtype="boolean"), "b"),
        (pd.Series([2**53, 2**53 + 1] * 10, dtype="Int64"), "i"),
        (pd.Series([2**53, 2**53 + 1] * 10, dtype="int64[pyarrow]"), "i"),
        (pd.Series([True, False] * 10, dtype="bool[pyarrow]"), "b"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_labels_in_columns_with_types_of_their_own_stay_what_they_are(labels, kind):
    classes, places = read_labels(labels, 20)
    assert classes.dtype.kind == kind
    assert classes[places].tolist() == labels.tolist()


@pytest.mark.parametrize("dtype", ["boolean", "Int64"])
def test_a_frame_of_one_column_has_the_classes_of_its_column(dtype):
    column = pd.Series([1, 0] * 10, dtype=dtype)
    with pytest.warns(DataConversionWarning):
        classes, places = read_labels(column.to_frame(), 20)
    expected, same = read_labels(column, 20)
    assert classes.dtype == expected.dtype
    assert places.tolist() == same.tolist()


@pytest.mark.parametrize("coding", ["motifs", "kmers"])
def test_a_classifier_in_double_precision_is_saved_as_it_is(tmp_path, coding):
    sequences, labels = boxes(40)
    classifier = tiny_classifier(coding=coding, precision="64-true", max_epochs=1)
    classifier.fit(sequences, labels).save(tmp_path / "model")
    loaded = TitansSequenceClassifier.load(tmp_path / "model")
    expected = classifier.predict_proba(sequences)
    np.testing.assert_array_equal(loaded.predict_proba(sequences), expected)


def test_labels_that_look_like_known_ones_are_told_apart():
    with pytest.raises(DataError, match=r"The labels \[0, 1\] are none of .*\['0', '1'\]"):
        read_labels([0, 1], 2, classes=np.array(["0", "1"]))


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="came with NumPy 2.0")
def test_text_of_any_length_is_text(tmp_path):
    sequences, labels = boxes(60)
    classifier = tiny_classifier(max_epochs=1).fit(
        sequences, labels.astype(np.dtypes.StringDType())
    )
    classifier.save(tmp_path / "model")
    said = TitansSequenceClassifier.load(tmp_path / "model").predict(sequences)
    assert set(said) <= {"box", "none"}
    missing = np.array(["a", None], np.dtypes.StringDType(na_object=None))
    with pytest.raises(DataError, match="Label 1 is missing: None"):
        read_labels(missing, 2)


def test_it_works_in_a_pipeline_a_grid_and_cross_validation():
    sequences, labels = boxes(90)
    upper = FunctionTransformer(lambda xs: [x.upper() for x in xs])
    pipeline = make_pipeline(upper, tiny_classifier(max_epochs=1))
    scores = cross_val_score(pipeline, np.array([s.lower() for s in sequences]), labels, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    grid = GridSearchCV(tiny_classifier(max_epochs=1), {"composition": [0, 2]}, cv=2)
    assert grid.fit(sequences, labels).best_estimator_.classes_.tolist() == ["box", "none"]


@pytest.mark.parametrize(
    "labels", [np.array(["b", "a", "c"] * 20), np.arange(60) % 3, np.arange(60) % 2 == 0]
)
def test_labels_keep_their_type_through_saving(tmp_path, labels):
    sequences = boxes(60)[0]
    classifier = tiny_classifier(max_epochs=1).fit(sequences, labels)
    classifier.save(tmp_path / "model")
    loaded = TitansSequenceClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.classes_, classifier.classes_)
    assert loaded.classes_.dtype == classifier.classes_.dtype
    said = classifier.predict_proba(sequences)
    np.testing.assert_array_equal(loaded.predict_proba(sequences), said)
    assert (loaded.get_params(), loaded.history_) == (classifier.get_params(), classifier.history_)


def test_labels_of_objects_stay_objects(tmp_path, fitted):
    classifier = clone(fitted).set_params(max_epochs=1)
    classifier.fit(boxes(60)[0], boxes(60)[1].astype(object)).save(tmp_path / "model")
    assert TitansSequenceClassifier.load(tmp_path / "model").classes_.dtype == object


def test_a_damaged_folder_is_refused(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SavedModelError, match="checksum"):
        TitansSequenceClassifier.load(tmp_path / "model")


def test_a_fitted_classifier_is_pickled(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    sequences = boxes(seed=4)[0][:5]
    np.testing.assert_array_equal(again.predict_proba(sequences), fitted.predict_proba(sequences))


def test_copies_of_a_sequence_are_judged_together_or_not_at_all():
    sequences = boxes(60)[0] * 3
    training, held = hold_out(encode_sequences(sequences), np.arange(180) % 2, 0.2, seed=0)
    assert sorted([*training, *held]) == list(range(180))
    assert {sequences[i] for i in training}.isdisjoint(sequences[i] for i in held)
    assert 20 <= len(held) <= 50


def test_copies_that_contradict_each_other_go_together_too():
    once = boxes(12)[0]
    sequences, labels = once + once[:2], np.array([0] * 12 + [1] * 2)
    for seed in range(40):
        training, held = hold_out(encode_sequences(sequences), labels, 0.4, seed=seed)
        assert {sequences[i] for i in training}.isdisjoint(sequences[i] for i in held)
        assert set(labels[training]) == {0, 1}


@pytest.mark.parametrize(("strands", "apart"), [(True, True), ("auto", True), (False, False)])
def test_a_sequence_and_its_other_strand_are_judged_together(monkeypatch, strands, apart):
    once = boxes(60)[0]
    sequences = once + [reverse_complement(s) for s in once]
    parts = []

    def see(*arguments, **options):
        parts.extend(hold_out(*arguments, **options))
        return parts

    monkeypatch.setattr("titans_ts.plugins.genomics.classifier.hold_out", see)
    classifier = tiny_classifier(max_epochs=1, reverse_complement=strands)
    classifier.fit(sequences, np.arange(120) % 2)
    learnt, judged = ({int(row) % 60 for row in part} for part in parts)
    assert judged
    assert learnt.isdisjoint(judged) == apart


@pytest.mark.parametrize(
    ("fraction", "n_rare", "n_held"), [(0.1, 5, 1), (0.1, 2, 1), (0.1, 1, 0), (0.0, 5, 0)]
)
def test_a_rare_class_is_judged_too_where_it_has_two_sequences(fraction, n_rare, n_held):
    labels = np.array([0] * 60 + [1] * n_rare)
    sequences = encode_sequences(boxes(60 + n_rare)[0])
    training, held = hold_out(sequences, labels, fraction, seed=0)
    assert (labels[held] == 1).sum() == n_held
    assert (labels[held] == 0).sum() == 60 * fraction
    assert set(labels[training]) == {0, 1}


def test_without_validation_the_written_strand_is_read_and_words_weigh_half():
    classifier = tiny_classifier(max_epochs=1, validation_fraction=0.0).fit(*boxes(20))
    assert (classifier.reverse_complement_, classifier.word_share_) == (False, 0.5)


def test_validation_reads_sequences_of_like_length_together(monkeypatch):
    shapes = []
    judge = ClassifierModule.validation_loss

    def kept(module, batch):
        shapes.append(tuple(batch.codes.shape))
        return judge(module, batch)

    monkeypatch.setattr(ClassifierModule, "validation_loss", kept)
    monkeypatch.setattr("titans_ts.plugins.genomics.classifier.MOST_BASES", 400)
    long = ["ACGT" * 250, *["ACGTAACGTA"] * 90]
    tiny_classifier(max_epochs=1).fit(*boxes(40), validation=(long, ["box", *["none"] * 90]))
    assert shapes == [(40, 10), (40, 10), (10, 10), (1, 1000)]


def test_validation_rows_may_be_given_and_their_labels_must_be_known():
    classifier = tiny_classifier(max_epochs=1)
    assert "validation_loss" in classifier.fit(*boxes(40), validation=boxes(20)).history_[0]
    with pytest.raises(DataError, match=r"In validation: The labels \['other'\]"):
        classifier.fit(*boxes(40), validation=(["ACGT"], ["other"]))
    for none in (0.2, (["ACGT"],)):
        with pytest.raises(ParameterError, match="must be a pair"):
            classifier.fit(*boxes(40), validation=none)


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ((["ACGX"], ["box"]), "In validation: Sequence 0 has the letter 'X'"),
        ((["ACG"], ["box", "none"]), "In validation: There are 1 sequences and 2 labels"),
        (([], []), "In validation: No sequences were given"),
        ((["ACG"], [None]), "In validation: Label 0 is missing"),
        (([1], ["box"]), "In validation: Sequence 0 is a int"),
    ],
)
def test_what_is_wrong_with_validation_rows_is_said_to_be_theirs(validation, words):
    with pytest.raises(DataError, match=words):
        tiny_classifier().fit(*boxes(9), validation=validation)


@pytest.mark.parametrize("dtype", ["M8[ns]", "m8[s]"])
@pytest.mark.parametrize("container", [np.asarray, pd.Series])
def test_labels_that_no_saved_model_could_write_down_are_refused(dtype, container):
    sequences, labels = boxes(40)
    moments = container(np.where(labels == "box", 1, 2).astype(dtype))
    with pytest.raises(DataError, match="expected text, numbers, or True and False"):
        tiny_classifier(max_epochs=1).fit(sequences, moments)


def test_the_network_alone_is_judged_where_words_say_nothing():
    sequences, labels = boxes(60)
    judged = boxes(30, seed=5)
    classifier = tiny_classifier(composition=0, reverse_complement=True, patience=9)
    classifier.fit(sequences, labels, validation=judged)
    places = np.searchsorted(classifier.classes_, judged[1])
    loss = -classifier.predict_log_proba(judged[0])[np.arange(30), places].mean()
    best = classifier.history_[classifier.best_epoch_]
    assert best["validation_loss"] == pytest.approx(loss, abs=1e-4)


def test_what_motifs_are_divided_by_is_what_was_seen_of_them():
    norm = MotifNorm(3).requires_grad_(False)
    batches = [torch.randn(8, 3, 50, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    batches = [0.1 * batch + 2 for batch in batches]
    untrained = norm.eval()(batches[0])
    torch.testing.assert_close(untrained, batches[0] / (1 + norm.eps) ** 0.5)
    norm.train()
    for batch in batches:
        norm(batch)
    said = norm.eval()(torch.cat(batches))
    assert said.mean().abs() < 0.05
    assert said.std() == pytest.approx(1, abs=0.05)
    # torch's own, where nothing is left of the beginning.
    own = torch.nn.BatchNorm1d(3).requires_grad_(False)
    for layer in (norm.train(), own.train()):
        for _ in range(200):
            layer(batches[0])
    torch.testing.assert_close(norm.eval()(batches[1]), own.eval()(batches[1]))


def test_what_is_usual_for_a_motif_does_not_depend_on_filling():
    backbone = BackboneConfig(dim=8, depth=1, chunk_size=4)
    trunk = MotifTrunk(backbone, motifs=6, motif_length=5, pool=4, n_positions=8).train()
    lengths = torch.tensor([3, 30, 17])
    codes = torch.from_numpy(encode_sequences(["ACG", "ACGTT" * 6, "G" * 17]).padded(np.arange(3)))
    found, means = [], []
    for filling in (0, 200):
        trunk.motif_norm.reset_running_stats()
        found.append(trunk(F.pad(codes.long(), (0, filling)), lengths)[2])
        means.append(trunk.motif_norm.running_mean.clone())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(means[0], means[1])
    # One base alone has no spread to be divided by.
    assert trunk(codes[:1, :1].long(), lengths[:1] - 2)[2].isfinite().all()


def test_a_batch_weighs_what_its_classes_do():
    sequences, labels = encode_sequences(["ACGT", "GG", "TTA"]), np.array([0, 1, 1])
    (batch,) = JudgedBatches(sequences, labels, [np.arange(3)])
    module = ClassifierModule(
        torch.nn.Linear(1, 1),
        None,
        readings={},
        class_weights=torch.tensor([0.25, 20.0]),
        mask_fraction=0.0,
        label_smoothing=0.0,
    )
    assert float(module.n_targets(batch)) == 40.25


def test_so_few_rows_that_none_can_be_held_out_are_learnt_nevertheless():
    classifier = tiny_classifier(max_epochs=1).fit(["ACGT", "TTTT"], [0, 1])
    assert "validation_loss" not in classifier.history_[0]


def test_nothing_is_predicted_before_fit():
    with pytest.raises(NotFittedError):
        tiny_classifier().predict(["ACGT"])


def break_reading(monkeypatch, error):
    """Let a fit end after its training, where strands are chosen."""

    def fail(*_):
        raise error

    monkeypatch.setattr(TitansSequenceClassifier, "_choose_reading", fail)


def break_training(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("titans_ts.training.run_training", fail)


BREAKS = pytest.mark.parametrize("broken", [break_training, break_reading])


@BREAKS
def test_a_refit_that_fails_leaves_what_was_learnt_before_whole(monkeypatch, fitted, broken):
    classifier = pickle.loads(pickle.dumps(fitted))
    classifier._to_device("cpu")
    before, sequences = dict(vars(classifier)), boxes(9)[0]
    broken(monkeypatch, RuntimeError("no memory"))
    with pytest.raises(RuntimeError, match="no memory"):
        classifier.fit(boxes(60)[0], np.arange(60) % 3)
    assert vars(classifier) == before
    assert set(classifier.predict(sequences)) <= {"box", "none"}
    np.testing.assert_array_equal(
        classifier.predict_proba(sequences), fitted.predict_proba(sequences)
    )


@BREAKS
def test_a_first_fit_that_is_interrupted_leaves_nothing_fitted(monkeypatch, broken):
    classifier = tiny_classifier()
    broken(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(*boxes(20))
    with pytest.raises(NotFittedError):
        classifier.predict(["ACGT"])


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (["ACGT", "GG"], ["a", "a"], "All 2 labels are of one class, 'a'"),
        (["ACGT", "GG"], ["a"], "2 sequences and 1 labels"),
        (["ACGT", "GG"], None, "requires y to be passed"),
        (["ACGT", "GG"], ["a", None], "Label 1 is missing: None"),
        (["ACGT", "GG"], [np.nan, "a"], "Label 0 is missing: nan"),
        (["ACGT", "GG"], [1, np.nan], "Label 1 is missing"),
        (["ACGT", "GG"], [1, np.inf], "infinity"),
        (["ACGT", "GG"] * 2, ["a", None, "b", None], r"Label 1 \(and 1 more\) is missing"),
        (["ACGT", "GG"], pd.Series(["a", None], dtype="string"), "Label 1 is missing: <NA>"),
        (["ACGT", "GG"], pd.Series([1, None], dtype="Int64"), "Label 1 is missing: <NA>"),
        (["ACGT", "GG"], pd.Series(["a", None], dtype="category"), "Label 1 is missing: nan"),
        (["ACGT", "GG"], ["a", 1], "several types.*: label 0 is 'a', label 1 is 1"),
        (["ACGT", "GG"], np.array(["a", 1], dtype=object), "several types"),
        (["ACGT", "GG"], ["a", b"b"], "several types"),
        (["ACGT", "GG"], [b"a", b"b"], "labels are bytes, such as b'a'.* Decode them"),
        (["ACGT", "GG"], np.array([b"a", b"b"]), "labels are bytes, such as .*b'a'.* Decode"),
        (["ACGT", "GG"], np.array([0.5, 1.7], dtype=object), "Unknown label type"),
        (["ACGT", "GG"], [0.5, 1.7], "Unknown label type"),
        (["ACGT", "GG"], [[0, 1], [1, 0]], "cannot be used"),
        (["ACGT", "JJ"], [0, 1], "Sequence 1 has the letter 'J'"),
        ([], [], "No sequences"),
    ],
)
def test_data_that_cannot_be_learnt_are_refused_in_a_sentence(X, y, words):
    with pytest.raises(DataError, match=words):
        tiny_classifier().fit(X, y)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reverse_complement": "maybe"}, "reverse_complement must be one of"),
        ({"coding": "bytes"}, "coding must be one of"),
        ({"k": 9}, "k must be at most 8"),
        ({"motif_length": 8}, "motif_length must be odd"),
        ({"class_weight": "even"}, "class_weight must be 'balanced'"),
        ({"class_weight": {"x": 1}}, r"class_weight names \['x'\]"),
        ({"class_weight": {"box": -1}}, "at least 0"),
        ({"class_weight": {"box": "2"}}, "class_weight must be numbers"),
        ({"class_weight": {"box": 0, "none": 0}}, "not all 0"),
        ({"class_weight": np.ones(2)}, "class_weight must be 'balanced'"),
        ({"backbone_options": {"dim": 3}}, "is a parameter of its own"),
        ({"backbone_options": {"dimm": 3}}, "is unknown"),
        ({"backbone_options": 3}, "must be a mapping"),
        ({"dim": 7}, "dim must be a multiple"),
        ({"mask_fraction": 1}, "mask_fraction must be a number"),
        ({"random_state": "seed"}, "random_state must be"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ParameterError, match=words):
        tiny_classifier(**options).fit(*boxes(9))


def test_a_fit_says_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_classifier(max_epochs=1).fit(*boxes(40))
    assert capfd.readouterr() == ("", "")
