"""Folds and scorers that compare the wrong rows are refused, also inside scikit-learn."""

import threading
import warnings

import joblib
import numpy as np
import pytest
import sklearn
from fold_problems import HORIZON, filled, long, naive, nights, wide
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    get_scorer,
    make_scorer,
    mean_absolute_error,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from titans_ts import (
    DataError,
    ParameterError,
    RollingOriginSplit,
    forecast_scorer,
)

# -- what is refused -------------------------------------------------------------------------------


def stacked(n_series=3, rows=131):
    return long(n_series, rows).sort_values(["unique_id", "ds"]).reset_index(drop=True)


def searches(estimator, X, cv, groups=None):
    """Each way through which scikit-learn scores, as a call."""
    scorer = forecast_scorer("mae")
    grid = {"horizon": [HORIZON]}
    return {
        "grid": lambda: GridSearchCV(estimator, grid, cv=cv, scoring=scorer).fit(X, groups=groups),
        "several": lambda: GridSearchCV(
            estimator, grid, cv=cv, scoring={"a": scorer}, refit="a"
        ).fit(X, groups=groups),
        "score": lambda: cross_val_score(estimator, X, cv=cv, scoring=scorer, groups=groups),
        "validate": lambda: cross_validate(estimator, X, cv=cv, scoring=scorer, groups=groups),
        "raise": lambda: cross_val_score(
            estimator, X, cv=cv, scoring=scorer, groups=groups, error_score="raise"
        ),
        "threads": lambda: cross_val_score(
            estimator, X, cv=cv, scoring=scorer, groups=groups, n_jobs=2
        ),
    }


@pytest.mark.parametrize("way", ["grid", "several", "score", "validate", "raise", "threads"])
def test_folds_across_series_stop_the_search_with_a_sentence(way):
    X = stacked()
    calls = searches(naive(), X, GroupKFold(3), X.unique_id)
    message = r"cut across series.*RollingOriginSplit\(horizon=...\)"
    before = set(threading.enumerate())
    with joblib.parallel_config("threading"), pytest.raises(ValueError, match=message):
        calls[way]()
    # A thread that still scores another fold would set the filters of warnings in the next test.
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)


@pytest.mark.parametrize(
    ("X", "cv", "message"),
    [
        pytest.param(wide(), KFold(3), "no row later than the training rows", id="first fold"),
        pytest.param(wide().to_numpy(), KFold(3), "Nothing shows.*RollingOriginSplit", id="array"),
        pytest.param(
            wide().to_numpy(),
            KFold(3, shuffle=True, random_state=0),
            "Nothing shows.*RollingOriginSplit",
            id="shuffled array",
        ),
        pytest.param(
            wide(), KFold(3, shuffle=True, random_state=0), "time stamps", id="shuffled frame"
        ),
        pytest.param(
            np.random.default_rng(0).normal(size=(6, 61, 2)),
            KFold(2),
            "3-D array.*across series, not by time.*long table",
            id="three axes",
        ),
        pytest.param(
            wide().to_numpy(),
            TimeSeriesSplit(3),
            "Nothing shows.*frame with time stamps",
            id="array without common rows",
        ),
        pytest.param(stacked(), KFold(3), "cut across series", id="blocks of a long table"),
        pytest.param(
            nights().to_numpy(),
            KFold(3),
            r"values repeat, so that its first 1 or 2 rows may be .* at least 13,",
            id="array that begins as it ends",
        ),
        pytest.param(
            nights().to_numpy(),
            RollingOriginSplit(3, horizon=24),
            r"values repeat, so that its first 1 or 2 rows may be .* at least 13,",
            id="array with too few common rows",
        ),
    ],
)
def test_folds_that_do_not_follow_time_are_refused(X, cv, message):
    with warnings.catch_warnings():
        # Where fit itself refuses, scikit-learn warns before it stops.
        warnings.simplefilter("ignore", sklearn.exceptions.FitFailedWarning)
        with pytest.raises(ValueError, match=message):
            cross_val_score(naive(), X, cv=cv, scoring=forecast_scorer())


def test_a_scorer_called_by_hand_raises_our_error():
    fitted = naive().fit(wide()[:100])
    with pytest.raises(DataError, match="no row later than the training rows, which go from 2024"):
        forecast_scorer()(fitted, wide()[40:90])
    assert forecast_scorer()(fitted, wide()[100:]) < 0


def test_a_fold_shorter_than_the_horizon_is_refused():
    with pytest.raises(DataError, match=r"No origin .* has 3 rows after .* a horizon of 5 needs"):
        forecast_scorer()(naive().fit(wide()[:100]), wide()[100:103])


@pytest.mark.parametrize("name", ["neg_mean_absolute_error", "r2"])
def test_scorers_of_scikit_learn_are_never_given_a_forecast_to_compare(name):
    X = wide(channels=1)
    y = X["c0"]
    fitted = naive().fit(X[:100])
    # As many rows as the horizon: scikit-learn would compare them without a word.
    with pytest.raises(DataError, match=r"5 steps after them.*forecast_scorer\('mae'\)"):
        get_scorer(name)(fitted, X[100 : 100 + HORIZON], y[100 : 100 + HORIZON])
    pipeline = Pipeline([("fill", FunctionTransformer(filled)), ("forecast", naive())])
    for estimator in (naive(), pipeline):
        cv = TimeSeriesSplit(2, test_size=HORIZON)
        with pytest.raises(DataError, match="scikit-learn's scorers compare"):
            cross_val_score(estimator, X, y, cv=cv, scoring=name, error_score="raise")
        # Without "raise", scikit-learn makes a warning of it.
        with pytest.warns(UserWarning, match="scikit-learn's scorers compare"):
            assert np.isnan(cross_val_score(estimator, X, y, cv=cv, scoring=name)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forecast_scorer("mea"), "metric must be one of 'mae', .*got 'mea'"),
        (lambda: forecast_scorer("neg_mean_absolute_error"), "sign is turned here: give 'mae'"),
        (lambda: forecast_scorer(get_scorer("r2")), "got the scorer .*Give the function"),
        (lambda: forecast_scorer(make_scorer(mean_absolute_error)), "got the scorer"),
        (lambda: forecast_scorer(3), "a name or a function .* got 3"),
        (lambda: forecast_scorer(max), "Is more of 'max' better.*greater_is_better="),
        (lambda: forecast_scorer("mae", quantiles=[0.5]), "go with metric='pinball' or 'wql'"),
        (lambda: forecast_scorer("pinball", quantiles=[0.5, 0.1]), "increasing fractions"),
        (lambda: forecast_scorer("mae", gap=-1), "gap must be"),
    ],
)
def test_metrics_without_sense_are_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_other_estimators_are_refused():
    model = LinearRegression().fit(np.zeros((7, 2)), np.zeros(7))
    with pytest.raises(ParameterError, match=r"forecaster of titans_ts.*got LinearRegression"):
        forecast_scorer()(model, wide())
