"""A search may end with the mean of its best candidates."""

import numpy as np
import pytest
from sleeping import X, search
from tiny_fits import tiny, waves

from titans_ts import (
    EnsembleForecaster,
    ParameterError,
    RidgeForecaster,
    RollingOriginSplit,
    TitansSearchCV,
)
from titans_ts.preprocessing import Difference

RIDGE = RidgeForecaster(horizon=5, context_length=20)
CONTEXTS = [11, 13, 17, 20]


def of_contexts(**options):
    given = {"param_distributions": {"context_length": CONTEXTS}, "random_state": 0}
    return TitansSearchCV(RIDGE, **{"n_trials": 9, **given, **options}).fit(waves())


def test_the_best_candidates_are_the_members_each_once():
    found = of_contexts(ensemble_size=3)
    results = found.cv_results_
    assert len(results["params"]) == 9  # so some came twice
    by_score = dict(zip(results["param_context_length"], results["mean_test_score"], strict=True))
    best = sorted(by_score, key=by_score.get, reverse=True)[:3]
    assert [params["context_length"] for params in found.ensemble_params_] == best
    ensemble = found.best_estimator_
    assert isinstance(ensemble, EnsembleForecaster)
    assert [member.context_length for member in ensemble.members_] == best
    alone = [RidgeForecaster(horizon=5, context_length=c).fit(waves()).predict() for c in best]
    np.testing.assert_allclose(found.predict(), np.mean(alone, axis=0))


def test_what_is_best_stays_the_single_best_candidate():
    one, three = of_contexts(), of_contexts(ensemble_size=3)
    assert three.best_params_ == one.best_params_ == three.ensemble_params_[0]
    assert three.best_score_ == one.best_score_
    assert three.best_index_ == one.best_index_
    assert one.ensemble_params_ == [one.best_params_]
    assert isinstance(one.best_estimator_, RidgeForecaster)


def test_where_fewer_were_finished_there_are_fewer_members():
    def fails_below_zero(estimator, X, y=None):
        return -abs(estimator.value - 3.0) if estimator.value >= 0 else 1 / 0

    with pytest.warns(match="trials failed"):
        found = search(
            6, scoring=fails_below_zero, error_score=9.0, refit=True, ensemble_size=6
        ).fit(X)
    finished = (found.cv_results_["trial_state"] == "complete").sum()
    assert 0 < finished < 6
    values = [member.value for member in found.best_estimator_.members_]
    assert len(values) == finished
    assert min(values) >= 0


def test_the_estimator_s_own_parameters_are_a_member_whatever_their_score():
    found = search(5, ensemble_size=2).fit(X)
    scores = np.sort(found.cv_results_["mean_test_score"])[::-1]
    assert found.cv_results_["mean_test_score"][0] < scores[1]  # its own, tried first
    told = [-abs(params["value"] - 3) for params in found.ensemble_params_]
    assert told == [scores[0], -3.0]
    assert not hasattr(found, "best_estimator_")  # refit=False


def test_without_its_own_parameters_the_best_alone_are_members():
    found = search(5, ensemble_size=2, try_defaults=False).fit(X)
    scores = np.sort(found.cv_results_["mean_test_score"])[::-1]
    assert [-abs(p["value"] - 3) for p in found.ensemble_params_] == scores[:2].tolist()


def test_a_start_that_was_drawn_in_part_is_not_the_estimator_s_own():
    ridge = RidgeForecaster(horizon=5, context_length=20, alpha=1e9)
    found = TitansSearchCV(
        ridge,
        param_distributions={"context_length": [11, 13], "alpha": [1e-3, 1.0, 1e9]},
        n_trials=9,
        random_state=0,
        ensemble_size=2,
    ).fit(waves())
    assert found.cv_results_["params"][0]["alpha"] == 1e9  # with a context that was drawn
    assert [params["alpha"] < 1e9 for params in found.ensemble_params_] == [True, True]


def test_own_parameters_that_were_not_finished_are_no_member():
    def fails_at_first(estimator, X, y=None):
        return -abs(estimator.value - 3.0) if estimator.value else 1 / 0

    with pytest.warns(match="trials failed"):
        found = search(4, scoring=fails_at_first, ensemble_size=2).fit(X)
    assert 0.0 not in [params["value"] for params in found.ensemble_params_]
    assert len(found.ensemble_params_) == 2


def test_candidates_may_differ_in_transform_and_in_options_of_the_backbone():
    grid = {
        "backbone_options__dropout": [0.0, 0.3],
        "target_transform": [None, Difference(lag=2)],
    }
    made = TitansSearchCV(
        tiny(), param_distributions=grid, n_trials=4, random_state=0, ensemble_size=2
    )
    members = made.fit(waves()).best_estimator_.members_
    options = [(m.backbone_options, repr(m.target_transform)) for m in members]
    assert options == [
        (p["backbone_options"], repr(p["target_transform"])) for p in made.ensemble_params_
    ]
    assert options[0] != options[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble_size": 0}, "ensemble_size must be a whole number of at least 1"),
        ({"ensemble_size": 2, "latency": True}, "latency=True asks for another choice"),
        ({"ensemble_size": 2, "refit": len}, "refit=<built-in function len> asks for another"),
        (
            {"ensemble_size": 2, "param_distributions": {"season_length": [2], "horizon": [3, 4]}},
            "horizon cannot be searched with ensemble_size=2",
        ),
    ],
)
def test_what_does_not_go_with_an_ensemble_is_refused_before_the_search(options, message, tmp_path):
    notes = tmp_path / "notes"
    with pytest.raises(ParameterError, match=message):
        search(2, notes=notes, **options).fit(X)
    assert not notes.exists()


def test_an_ensemble_may_itself_be_searched():
    ensemble = EnsembleForecaster([("a", RIDGE), ("b", RidgeForecaster(horizon=5))])
    found = TitansSearchCV(
        ensemble,
        param_distributions={"a__context_length": CONTEXTS, "weights": [None, [1, 3]]},
        cv=RollingOriginSplit(2, horizon=11),
        n_trials=4,
        random_state=0,
    ).fit(waves())
    assert set(found.best_params_) == {"a__context_length", "weights"}
    members = dict(found.best_estimator_.forecasters)
    assert members["a"].context_length == found.best_params_["a__context_length"]
