"""The head keeps the contract of titans_ts, and recognises what it should."""

import numpy as np
import pandas as pd
import pytest
import torch
from titans_activity.classifier import TitansActivityClassifier
from titans_activity.network import WindowClassifier
from titans_activity.recordings import make_recordings

import titans_ts
from titans_ts.config import BackboneConfig
from titans_ts.testing import (
    EstimatorCase,
    EstimatorContract,
    SequenceCase,
    SequenceContract,
    check_plugin,
)


class TestEstimator(EstimatorContract):
    @classmethod
    def make_case(cls):
        X, y = make_recordings(40, n_steps=32, random_state=0)
        gap = X.copy()
        gap[3, 7, 1] = np.nan
        return EstimatorCase(
            make=lambda: TitansActivityClassifier(dim=8, max_epochs=2, random_state=0),
            fit=(X, y),
            use=lambda classifier, X, y: (classifier.predict_proba(X), classifier.predict(X)),
            bad_input={
                "a missing value": (gap, y),
                "one window alone": (X[0], y[:1]),
                "a label too few": (X, y[1:]),
                "one class": (X, np.full(len(X), "walking")),
                "a missing label": (X, np.array([None, *y[1:]], dtype=object)),
                "a missing number": (X, np.array([np.nan, *np.arange(len(X) - 1) % 2])),
            },
            bad_parameters={"max_epochs": 0, "variant": "mad", "patch_length": 33},
        )


class TestNetwork(SequenceContract):
    @classmethod
    def make_case(cls):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = WindowClassifier(
                BackboneConfig(dim=8), n_channels=3, n_classes=4, patch_length=2
            )
            return SequenceCase(network, torch.randn(2, 31, 6))


def test_the_installed_head_is_found_whole():
    check_plugin("activity")


def test_new_recordings_are_recognised(tmp_path):
    classifier = TitansActivityClassifier(random_state=0)
    classifier.fit(*make_recordings(240, random_state=0))
    X, y = make_recordings(200, random_state=1)
    assert classifier.score(X, y) > 0.9  # one in four by chance
    classifier.save(tmp_path / "model")
    loaded = titans_ts.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))


def test_windows_of_another_length_are_refused():
    X, y = make_recordings(40, n_steps=32, random_state=0)
    classifier = TitansActivityClassifier(dim=8, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(titans_ts.DataError, match=r"of shape \(31, 3\), expected \(32, 3\)"):
        classifier.predict(X[:, 1:])


def test_labels_may_be_a_column_of_pandas(tmp_path):
    X, y = make_recordings(40, n_steps=32, random_state=0)
    plain = TitansActivityClassifier(dim=8, max_epochs=1, random_state=0).fit(X, y)
    column = pd.Series(y.astype(object), index=range(3, 43))
    classifier = TitansActivityClassifier(dim=8, max_epochs=1, random_state=0).fit(X, column)
    np.testing.assert_array_equal(classifier.predict(X), plain.predict(X))
    classifier.save(tmp_path / "model")
    assert titans_ts.load_model(tmp_path / "model").classes_.tolist() == sorted(set(y))


def test_parameters_may_be_of_any_kind_of_number(tmp_path):
    X, y = make_recordings(40, n_steps=32, random_state=0)
    two = np.int64(2)
    classifier = TitansActivityClassifier(
        dim=8, max_epochs=two, batch_size=two, patience=two, patch_length=two, learning_rate=1
    )
    classifier.fit(X, y).save(tmp_path / "model")
    loaded = titans_ts.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), classifier.predict(X))


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ({"patch_length": 4.0}, "patch_length must be a whole number of at least 1, got 4.0"),
        ({"patch_length": 33}, "patch_length must be at most the 32 steps of a window, got 33"),
        ({"learning_rate": 0}, "learning_rate must be a number strictly between 0 and 10"),
        ({"validation_fraction": 1}, "validation_fraction must be a number strictly between"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_told_in_a_sentence(parameter, words):
    X, y = make_recordings(40, n_steps=32, random_state=0)
    with pytest.raises(titans_ts.ParameterError, match=words):
        TitansActivityClassifier(dim=8, **parameter).fit(X, y)
