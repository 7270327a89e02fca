"""TitansSearchCV with estimators that learn from examples, as those of plug-ins do."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from titans_ts import TitansSearchCV
from titans_ts.errors import DataError, DataTypeError, ParameterError
from titans_ts.tuning.data import read_data

LETTERS = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]] * 5)
CLASSES = np.array(["low", "low", "low", "high", "high", "high"] * 5)


class Nearest(ClassifierMixin, BaseEstimator):
    """A classifier that wants to be searched; with a wrong sign it is always wrong."""

    def __init__(self, n=1, sign=1):
        self.n, self.sign = n, sign

    def fit(self, X, y):
        self.seen_ = len(X)
        self.own_ = KNeighborsClassifier(self.n).fit(np.asarray(X), y)
        self.classes_ = self.own_.classes_
        return self

    def predict(self, X):
        return self.own_.predict(self.sign * np.asarray(X))

    def default_search_space(self):
        return {"sign": [1, -1]}


def search(estimator=None, **options):
    options = {"n_trials": 3, "random_state": 0} | options
    return TitansSearchCV(Nearest(sign=-1) if estimator is None else estimator, **options)


def test_labels_are_learnt_and_scored_by_what_the_estimator_finds_worth_varying():
    found = search().fit(LETTERS, CLASSES)
    assert found.best_params_ == {"sign": 1}
    assert found.best_score_ == 1.0
    assert set(found.cv_results_["mean_test_score"]) == {0.5, 1.0}
    assert found.best_estimator_.seen_ == 30  # all of them
    assert found.predict([[1.5], [11.5]]).tolist() == ["low", "high"]
    assert found.score(LETTERS[:6], CLASSES[:6]) == 1.0


@pytest.mark.parametrize("examples", ["ACGT" * 9, b"ACGT", {"a": "text"}, {"one", "two"}])
def test_what_is_no_list_of_examples_is_refused(examples):
    with pytest.raises(DataTypeError, match="needs examples as a list, got a"):
        search().fit(examples, CLASSES)
    with pytest.raises(DataTypeError, match=r"y is a list_iterator.* Give list\(y\)"):
        search().fit(LETTERS, iter(CLASSES.tolist()))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "needs y, a label for each"),
        ([*CLASSES[:-1], None], "Label 29 is missing"),
        ([np.nan, *range(29)], "Label 0 is missing"),
    ],
)
def test_labels_that_are_missing_are_told_as_such(labels, words):
    with pytest.raises(DataError, match=words):
        search().fit(LETTERS, labels)


def test_a_fifth_of_each_class_is_judged_on_and_the_same_by_all():
    rows = search().fit(LETTERS, CLASSES).study_.user_attrs
    again = search().fit(LETTERS, CLASSES).study_.user_attrs
    assert rows == again
    data = read_data(search().estimator, LETTERS, CLASSES, cv=None, scoring=None)
    assert [(len(train), len(test)) for train, test in data.folds] == [(24, 6)]


@pytest.mark.parametrize("as_given", [list, tuple, pd.DataFrame, iter])
def test_examples_may_come_in_any_container(as_given):
    assert search().fit(as_given(LETTERS.tolist()), CLASSES).best_params_ == {"sign": 1}


def test_folds_and_scores_are_those_of_scikit_learn():
    found = search(cv=KFold(3), scoring="f1_macro").fit(LETTERS, CLASSES)
    assert found.n_splits_ == 3
    assert found.best_score_ == 1.0
    assert search(cv=5).fit(LETTERS, CLASSES).n_splits_ == 5
    assert search(cv=1).fit(LETTERS, CLASSES).n_splits_ == 1


@pytest.mark.parametrize(
    ("options", "X", "y", "error", "words"),
    [
        pytest.param({}, LETTERS, CLASSES[:9], DataError, "30 examples and y has 9", id="labels"),
        pytest.param({}, LETTERS[:1], CLASSES[:1], DataError, "given 1 example", id="one"),
        pytest.param({}, 3, None, DataError, "given 3", id="a number"),
        pytest.param({"cv": 99}, LETTERS, CLASSES, ParameterError, "cv=99.*99", id="folds"),
        pytest.param({"scoring": "no"}, LETTERS, CLASSES, ParameterError, "'no'", id="score"),
        pytest.param({"latency": True}, LETTERS, CLASSES, ParameterError, "latency", id="latency"),
        pytest.param(
            {"ensemble_size": 2}, LETTERS, CLASSES, ParameterError, "ensemble_size=2", id="ensemble"
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(options, X, y, error, words):
    with pytest.raises(error, match=words):
        search(**options).fit(X, y)


def test_a_pipeline_is_refused():
    with pytest.raises(ParameterError, match=r"default_search_space.*Pipeline"):
        search(make_pipeline(Nearest())).fit(LETTERS, CLASSES)
