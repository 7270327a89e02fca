"""The contract that every head keeps, as its own checks say it."""

import numpy as np
from genomics_problems import boxes, tiny_classifier, tiny_model

from titans_ts.testing import EstimatorCase, EstimatorContract, check_plugin


def ask_classifier(classifier, X, y):
    return classifier.predict(X), classifier.predict_proba(X), classifier.embed(X)


def ask_model(model, X):
    return model.log_likelihood(X), model.embed(X)


class TestClassifier(EstimatorContract):
    @classmethod
    def make_case(cls):
        sequences, labels = boxes(60)
        return EstimatorCase(
            make=lambda: tiny_classifier(max_epochs=1),
            fit=(np.array(sequences), labels),
            use=ask_classifier,
            bad_input={
                "a letter that is none": (["ACGT", "AC?T"], ["a", "b"]),
                "an empty sequence": (["ACGT", ""], ["a", "b"]),
                "no sequences": ([], []),
                "one class": (["ACGT", "GGCC"], ["a", "a"]),
                "numbers": (np.ones((5, 2)), [0, 1, 0, 1, 0]),
            },
            bad_parameters={"motif_length": 4, "reverse_complement": "maybe", "dim": 0},
        )


class TestModel(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: tiny_model(max_epochs=1),
            fit=(np.array(boxes(40)[0]),),
            use=ask_model,
            bad_input={
                "a letter that is none": (["ACGT", "AC?T"],),
                "one letter": (["A", "ACGT"],),
                "no sequences": ([],),
            },
            bad_parameters={"k": 0, "context_length": 1, "both_strands": 3},
        )


def test_the_plug_in_is_found_and_light():
    check_plugin("genomics")
