"""The contract of an estimator: ours keep it, and each check catches the flaw that it is for."""

import inspect
import os
import sys

import means
import numpy as np
import pytest
from fake_packages import plugin_text
from tiny_fits import tiny, waves

from titans_ts import LinearForecaster, RidgeForecaster, SeasonalNaiveForecaster
from titans_ts.heads import HeadPlugin, registry
from titans_ts.testing import (
    ESTIMATOR_CHECKS,
    EstimatorCase,
    EstimatorContract,
    check_estimator,
    check_plugin,
)
from titans_ts.testing.case import identical
from titans_ts.testing.saving import check_save_and_load

X = np.random.default_rng(0).normal(size=(11, 3))


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    """The classes of :mod:`means` as estimators of an installed head."""
    classes = {n: f"means:{n}" for n, c in vars(means).items() if inspect.isclass(c)}
    plugin = HeadPlugin(name="means", summary="Predict a mean.", estimators=classes)
    found, get = registry.survey, registry.get_head
    head = registry.FoundHead("means", "tests", "1", plugin)
    monkeypatch.setattr(registry, "survey", lambda: (*found(), head))
    monkeypatch.setattr(registry, "get_head", lambda n: plugin if n == "means" else get(n))


def case_of(cls, **changes):
    bad = X.copy()
    bad[4, 1] = np.nan
    fields = {"bad_input": {"a missing value": (bad,)}, "bad_parameters": {"scale": -1.0}}
    return EstimatorCase(make=cls, fit=(X.copy(),), **(fields | changes))


def test_an_estimator_that_keeps_the_contract_passes():
    check_estimator(case_of(means.Mean))


@pytest.mark.parametrize(
    ("flawed", "check", "sentence"),
    [
        (means.TakesPositions, "check_parameters", "takes 'scale' otherwise than by keyword"),
        (means.Converts, "check_parameters", "stores something else as 'options'"),
        (means.SetsMore, "check_parameters", r"__init__ sets \['ready'\]"),
        (means.ReturnsNothing, "check_fit", "must return self"),
        (means.ChangesAParameter, "check_fit", "changes a parameter"),
        (means.NamesBadly, "check_fit", r"sets \['rows'\]: names of what was learnt"),
        (means.AnswersUnfitted, "check_unfitted", "can be used before fit"),
        (means.ChangesData, "check_data_untouched", "changes the data it is given"),
        (means.DrawsGlobally, "check_repeatable", "global random generator"),
        (means.Seeds, "check_repeatable", "global random generator"),
        (means.Forgets, "check_repeatable", "answer differently; make every draw come from"),
        (means.Counts, "check_repeatable", "asked twice answers differently"),
        (means.GoesOn, "check_refit", "fitted twice answers otherwise"),
        (means.Prints, "check_silent", "prints while it is fitted and used: 'fitting"),
        (means.PrintsBelowPython, "check_silent", "prints while it is fitted and used: 'fitting"),
        (means.Warns, "check_silent", "warns while .*UserWarning: careful"),
        (means.LeavesAFile, "check_silent", r"writes files into the working folder .*log\.txt"),
        (means.CannotBePickled, "check_copies", "cannot be pickled"),
        (means.LosesInPickles, "check_copies", "was pickled answers differently"),
        (means.TakesNaN, "check_bad_input", r"bad data \(a missing value\) is accepted"),
        (means.RaisesValueError, "check_bad_input", "raises ValueError .* no TitansError"),
        (means.SaysLittle, "check_bad_input", "refused with 'bad X', which is no sentence"),
        (means.FitsHalf, "check_bad_input", "is fitted all the same"),
        (means.NamesNoParameter, "check_bad_parameters", "does not name 'scale'"),
        (means.SavesRounded, "check_save_and_load", "answers differently than the saved one"),
        (means.LoadsAnything, "check_damaged_folders", "is loaded, and answers differently"),
        (means.LoadsAndFallsLater, "check_damaged_folders", "raises ValueError .*broadcast"),
        (means.BelievesItsValues, "check_damaged_folders", "n_columns=None raises DataError"),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)
def test_a_check_catches_the_flaw_that_it_is_for(flawed, check, sentence):
    (found,) = (c for c in ESTIMATOR_CHECKS if c.__name__ == check)
    with pytest.raises(AssertionError, match=sentence):
        found(case_of(flawed))
    found(case_of(means.Mean))


def test_every_check_has_a_flaw_that_it_catches():
    marks = test_a_check_catches_the_flaw_that_it_is_for.pytestmark
    (rows,) = (mark.args[1] for mark in marks if mark.name == "parametrize")
    assert {check for _, check, _ in rows} == {check.__name__ for check in ESTIMATOR_CHECKS}


def test_an_estimator_that_no_head_lists_is_told_so():
    class Unlisted(means.Mean):
        pass

    with pytest.raises(AssertionError, match=r"cannot be loaded by titans_ts\.load_model"):
        check_save_and_load(case_of(Unlisted))


@pytest.mark.parametrize("empty", ["bad_input", "bad_parameters"])
def test_a_case_without_mistakes_is_refused(empty):
    with pytest.raises(AssertionError, match=f"names no {empty}"):
        check_estimator(case_of(means.Mean, **{empty: {}}))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (np.zeros(2), np.zeros(2), True),
        (np.zeros(2), np.zeros(2, np.float32), False),
        (np.array([np.nan]), np.array([np.nan]), True),
        ({"a": [1, (2.0,)]}, {"a": [1, (2.0,)]}, True),
        ({"a": [1, (2.0,)]}, {"a": [1, (2.5,)]}, False),
        ([1], [1, 2], False),
        (1, 1.0, False),
        ("a", "b", False),
    ],
)
def test_answers_are_compared_to_the_last_bit(one, other, same):
    assert identical(one, other) is same


# -- our own ----------------------------------------------------------------------------------

SHARED = {
    "bad_input": {
        "text": (np.array([["a"], ["b"]]),),
        "infinity": (np.full((60, 2), np.inf),),
        "no rows": (np.empty((0, 2)),),
    },
    "bad_parameters": {"horizon": 0, "validation_fraction": 2},
}


class TestRidgeForecaster(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: RidgeForecaster(horizon=3, context_length=11), fit=(waves(),), **SHARED
        )


class TestLinearForecaster(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: LinearForecaster(
                horizon=3, context_length=11, max_epochs=1, random_state=0
            ),
            fit=(waves(),),
            **SHARED,
        )


class TestSeasonalNaiveForecaster(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: SeasonalNaiveForecaster(horizon=3, context_length=11),
            fit=(waves(),),
            **SHARED,
        )


class TestTitansForecaster(EstimatorContract):
    @classmethod
    def make_case(cls):
        return EstimatorCase(
            make=lambda: tiny(max_epochs=1, random_state=0),
            fit=(waves(),),
            use=lambda f, X: (f.predict(), f.predict(X[:-7])),
            bad_input=SHARED["bad_input"],
            bad_parameters={**SHARED["bad_parameters"], "learning_rate": -1.0, "variant": "mad"},
        )


# -- plug-ins ---------------------------------------------------------------------------------


def test_our_own_head_is_a_plugin_that_keeps_the_contract():
    check_plugin("forecast")


@pytest.mark.parametrize(
    ("model", "described", "sentence"),
    [
        ("class Ohce: pass", "{model}:Echo", "cannot be imported"),
        ("class Ohce: pass\nEcho = Ohce", "{model}:Echo", "is a class called 'Ohce'"),
        ("class Echo: pass", "{model}:Echo", "no subclass of sklearn.base.BaseEstimator"),
        (
            "from sklearn.base import BaseEstimator\nclass Echo(BaseEstimator): 'x'",
            "{model}:Echo",
            "cannot be saved; derive it from SaveLoadMixin",
        ),
        (
            "from means import Mean\nclass Echo(Mean): pass",
            "{model}:Echo",
            "has no docstring",
        ),
    ],
)
def test_a_plugin_with_a_flaw_is_told_so(fake_packages, model, described, sentence):
    place = described.format(model=fake_packages.module(model))
    fake_packages.head("echo", plugin_text(place))
    with pytest.raises(AssertionError, match=sentence):
        check_plugin("echo")


def test_a_plugin_whose_description_is_heavy_is_told_so(fake_packages, monkeypatch):
    model = "from means import Mean\nclass Echo(Mean):\n    'Echoes.'"
    text = "import sklearn\n" + plugin_text(f"{fake_packages.module(model)}:Echo")
    fake_packages.head("echo", text)
    # A new Python finds both the fake package and ours.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (fake_packages.folder, *sys.path))))
    with pytest.raises(AssertionError, match=r"imports .*sklearn, and so would titans-ts --help"):
        check_plugin("echo")
