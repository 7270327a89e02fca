"""TitansSearchCV behaves like scikit-learn's searches, on folds that follow time."""

import io
import warnings
from contextlib import redirect_stderr
from functools import partial

import numpy as np
import optuna
import pandas as pd
import pytest
from fold_problems import naive, nights
from lightning.pytorch import Callback
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit
from sleeping import X, search
from tiny_fits import tiny, waves

from titans_ts import (
    LinearForecaster,
    RidgeForecaster,
    RollingOriginSplit,
    SeasonalNaiveForecaster,
    TitansForecaster,
    TitansSearchCV,
    forecast_scorer,
)
from titans_ts.datasets import make_transformer_station
from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import Difference

RIDGE = RidgeForecaster(horizon=5, context_length=20)


def seasons():
    return {"param_distributions": {"season_length": [2, 3, 4]}, "random_state": 0}


# -- results --------------------------------------------------------------------------------------


def test_results_have_the_keys_and_values_of_scikit_learn_s_searches():
    grid = {"context_length": [11, 13, 17]}
    folds = RollingOriginSplit(n_splits=2, horizon=7)
    theirs = GridSearchCV(RIDGE, grid, cv=folds, scoring=forecast_scorer("mae")).fit(waves())
    ours = TitansSearchCV(
        RIDGE,
        param_distributions=grid,
        cv=folds,
        n_trials=12,
        random_state=0,
        try_defaults=False,
        start_from=theirs.cv_results_["params"],
    ).fit(waves())
    assert set(theirs.cv_results_) <= set(ours.cv_results_)
    for i in range(3):  # those that were tried first, in this order
        for key in ("split0_test_score", "split1_test_score", "mean_test_score", "std_test_score"):
            assert ours.cv_results_[key][i] == pytest.approx(theirs.cv_results_[key][i])
        assert ours.cv_results_["params"][i] == theirs.cv_results_["params"][i]
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_)
    assert ours.n_splits_ == theirs.n_splits_ == 2
    assert ours.refit_time_ > 0
    np.testing.assert_allclose(ours.predict(), theirs.best_estimator_.predict())


FAILING = {"param_distributions": {"alpha": [1.0, -1.0]}, "n_trials": 4, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_a_failed_candidate_is_not_the_best_whatever_it_counts_as():
    found = TitansSearchCV(RIDGE, error_score=np.float32(0), **FAILING).fit(waves())
    assert set(found.cv_results_["trial_state"]) == {"complete", "failed"}
    assert found.best_params_ == {"alpha": 1.0}
    assert found.best_score_ < 0
    with pytest.raises(ParameterError, match="error_score must be a number or 'raise', got True"):
        TitansSearchCV(RIDGE, error_score=True, **FAILING).fit(waves())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_refit_chooses_among_finished_candidates():
    def choose_failed(results):
        return int(np.flatnonzero(results["trial_state"] == "failed")[0])

    with pytest.raises(ParameterError, match=r"refit returned \d, a candidate that is failed"):
        TitansSearchCV(RIDGE, refit=choose_failed, **FAILING).fit(waves())
    with pytest.raises(ParameterError, match=r"must return an index .* got True"):
        TitansSearchCV(RIDGE, refit=lambda results: True, **FAILING).fit(waves())


def test_a_study_whose_other_parameters_were_others_is_refused(tmp_path):
    def one(trial):
        return {"alpha": trial.suggest_float("alpha", 0.1, 9)}

    def two(trial):
        return one(trial) | {"context_length": trial.suggest_int("context_length", 2, 9)}

    options = {"storage": tmp_path / "study.log", "random_state": 0}
    TitansSearchCV(RIDGE, param_distributions=one, n_trials=1, **options).fit(waves())
    with pytest.raises(ParameterError, match="its context_length is 20, and here it is searched"):
        TitansSearchCV(RIDGE, param_distributions=two, n_trials=2, **options).fit(waves())


def test_without_a_refit_it_is_said_why_nothing_predicts():
    found = TitansSearchCV(RIDGE, refit=False, **FAILING | {"n_trials": 1}).fit(waves())
    for use in (found.predict, partial(found.score, waves())):
        with pytest.raises(NotFittedError, match="refit=False"):
            use()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_from": 5}, "start_from must be a list of mappings"),
        ({"start_from": {"alpha": 1}}, "start_from must be a list of mappings"),
        ({"random_state": "a"}, "random_state must be"),
        ({"random_state": -3}, "random_state must be"),
    ],
)
def test_starts_and_seeds_that_are_none_are_told(options, words):
    with pytest.raises(ParameterError, match=words):
        TitansSearchCV(RIDGE, **FAILING | options).fit(waves())


def test_the_best_candidate_is_fitted_to_all_rows_and_forecasts():
    frame = make_transformer_station(300, freq="h", random_state=0)
    found = TitansSearchCV(SeasonalNaiveForecaster(horizon=4), n_trials=3, **seasons()).fit(frame)
    expected = SeasonalNaiveForecaster(horizon=4, **found.best_params_).fit(frame).predict()
    pd.testing.assert_frame_equal(found.predict(), expected)
    assert found.best_index_ == found.cv_results_["rank_test_score"].argmin()
    assert found.cv_results_["params"][found.best_index_] == found.best_params_


def test_score_is_of_rows_that_follow_those_of_fit():
    values = waves()
    found = TitansSearchCV(RIDGE, param_distributions={"alpha": [1.0, 5.0]}, n_trials=2)
    found.fit(values[:350])
    best = RidgeForecaster(horizon=5, context_length=20, **found.best_params_).fit(values[:350])
    assert found.score(values) == forecast_scorer("mae")(best, values)


def test_the_search_minimises_and_the_same_seed_finds_the_same():
    found = search(25).fit(X)
    assert abs(found.best_params_["value"] - 3) < 0.5
    assert found.best_score_ == -abs(found.best_params_["value"] - 3)
    again = search(25).fit(X)
    assert found.cv_results_["params"] == again.cv_results_["params"]
    other = search(25, random_state=1).fit(X)
    assert found.cv_results_["params"] != other.cv_results_["params"]


def test_the_estimator_s_own_parameters_come_first_then_known_good_ones():
    found = search(4, start_from=[{"value": 2.5}, {"value": -1.0}]).fit(X)
    assert list(found.cv_results_["param_value"])[:3] == [0.0, 2.5, -1.0]
    without = search(4, try_defaults=False, start_from=[{"value": 2.5}]).fit(X)
    assert without.cv_results_["param_value"][0] == 2.5


def test_what_was_found_is_where_the_next_search_may_start():
    grid = {"backbone_options__dropout": FloatDistribution(0.0, 0.5), "dim": [8, 16]}
    made = TitansSearchCV(tiny(), param_distributions=grid, n_trials=2, random_state=0)
    found = made.fit(waves())
    assert set(found.best_params_) == {"backbone_options", "dim"}
    TitansForecaster(horizon=7, **found.best_params_)
    again = clone(made).set_params(n_trials=1, try_defaults=False, start_from=[found.best_params_])
    assert again.fit(waves()).best_params_ == found.best_params_


def test_options_that_the_estimator_has_anyway_may_stand_beside_those_that_were_found():
    estimator = tiny(backbone_options={"memory_expansion": 2})
    grid = {"backbone_options__dropout": [0.0, 0.1], "trainer_kwargs__gradient_clip_val": [1.0]}
    made = TitansSearchCV(estimator, param_distributions=grid, n_trials=1, random_state=0)
    found = made.set_params(start_from=[{"backbone_options__dropout": 0.1}], try_defaults=False)
    best = found.fit(waves()).best_params_
    assert best["backbone_options"] == {"memory_expansion": 2, "dropout": 0.1}
    assert set(best["trainer_kwargs"]) == {"limit_train_batches", "gradient_clip_val"}
    assert clone(made).set_params(start_from=[best]).fit(waves()).best_params_ == best
    other = clone(made).set_params(estimator__backbone_options={"memory_expansion": 3})
    with pytest.raises(ParameterError, match=r"'backbone_options__memory_expansion'.*not searched"):
        other.set_params(start_from=[best]).fit(waves())


def test_a_callable_refit_chooses_among_the_candidates():
    found = search(5, refit=lambda results: int(np.argmin(results["mean_test_score"]))).fit(X)
    assert found.best_score_ == found.cv_results_["mean_test_score"].min()
    with pytest.raises(ParameterError, match="an index of cv_results_, from 0 to 4; got 99"):
        search(5, refit=lambda results: 99).fit(X)


def test_without_refit_there_is_a_best_candidate_and_no_forecast():
    found = search(3).fit(X)
    assert "value" in found.best_params_
    with pytest.raises(NotFittedError):
        found.predict()


def test_score_and_latency_are_searched_together():
    found = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3), n_trials=4, latency=True, **seasons()
    ).fit(waves())
    results = found.cv_results_
    assert (results["mean_predict_time"] > 0).all()
    front = results["pareto_front"]
    assert front[found.best_index_]
    quickest = results["mean_predict_time"].argmin()
    assert front[quickest]
    assert len(found.study_.directions) == 2


def test_a_table_of_candidates_is_in_order_and_names_what_was_searched():
    table = search(6).fit(X).results_table()
    assert table["score"].is_monotonic_decreasing
    assert {"trial", "score", "score_std", "state", "fit_seconds", "value"} <= set(table.columns)
    assert len(table) == 6
    assert table["value"].dtype == float


def test_optuna_s_plots_take_the_study():
    found = search(6).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = optuna.visualization.matplotlib.plot_optimization_history(found.study_)
    assert axes.has_data()


def test_clone_and_parameters_are_scikit_learn_s():
    made = search(6)
    assert clone(made).get_params()["n_trials"] == 6
    assert made.set_params(estimator__horizon=2).estimator.horizon == 2


# -- folds ----------------------------------------------------------------------------------------


def test_the_last_fifth_is_judged_unless_a_splitter_says_otherwise():
    seen = []

    def rows(estimator, X, y=None):
        seen.append((len(estimator.context_.values), len(X)))
        return -1.0

    frame = pd.DataFrame(waves(200), pd.date_range("2024", periods=200, freq="h"))
    search(1, cv=None, scoring=rows).fit(frame)
    assert seen[-1][1] == 40 + 1  # with a row of context
    search(1, cv=4, scoring=rows).fit(frame)
    assert [n for _, n in seen[-4:]] == [10 + 1] * 4


@pytest.mark.parametrize("cv", [None, 2])
def test_a_search_over_an_array_is_one_over_its_frame_where_values_repeat(cv):
    forecaster = naive(horizon=12, context_length=48)
    grid = {
        "season_length": [12, 24],
        "context_length": [36, 60],
        "target_transform": [None, Difference(lag=24)],
    }
    frame, found, expected = nights(), [], []
    for table, scores in ((frame, expected), (frame.to_numpy(), found)):
        made = TitansSearchCV(
            forecaster, param_distributions=grid, n_trials=6, cv=cv, random_state=0
        ).fit(table)
        scores.extend(made.cv_results_["mean_test_score"])
    assert found == pytest.approx(expected)


def test_a_long_table_is_cut_by_time():
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    long = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": days, "y": np.tile([1.0, 5.0, 2.0], 20) + i})
            for i, name in enumerate("ab")
        ]
    )
    found = TitansSearchCV(SeasonalNaiveForecaster(horizon=4), n_trials=4, **seasons()).fit(long)
    assert found.best_params_ == {"season_length": 3}
    assert found.best_score_ == 0
    assert len(found.predict()) == 8


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        pytest.param(KFold(3), "Fold 0 of cv does not follow time", id="KFold"),
        pytest.param(KFold(3, shuffle=True, random_state=0), "does not follow time", id="shuffled"),
        pytest.param(0, "at least 1 fold, got 0", id="no fold"),
        pytest.param("time", "cv must be a number of folds", id="a word"),
        pytest.param([], "cv has no fold", id="an empty list"),
        pytest.param([(np.arange(5), [])], "neither of them empty", id="an empty fold"),
        pytest.param(RollingOriginSplit(2, horizon=2), "a horizon of at least", id="too short"),
    ],
)
def test_folds_that_cannot_serve_are_refused_before_anything_is_fitted(cv, message, tmp_path):
    with pytest.raises(ParameterError, match=message):
        search(2, cv=cv, notes=tmp_path / "notes").fit(X)
    assert not (tmp_path / "notes").exists()


def test_scikit_learn_s_split_by_time_serves_for_frames():
    frame = pd.DataFrame({"y": waves()[:, 0]}, pd.date_range("2024", periods=401, freq="h"))
    found = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3), n_trials=2, cv=TimeSeriesSplit(3), **seasons()
    ).fit(frame)
    assert found.n_splits_ == 3


# -- failures -------------------------------------------------------------------------------------


def test_a_candidate_that_fails_is_told_and_the_others_go_on():
    grid = {"season_length": [3, 10_000]}
    made = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3, season_length=3),
        param_distributions=grid,
        n_trials=2,
        start_from=[{"season_length": 10_000}],
    )
    with pytest.warns(FitFailedWarning, match=r"1 of 2 trials failed.*10000.*DataError"):
        found = made.fit(waves())
    assert found.best_params_ == {"season_length": 3}
    assert list(found.cv_results_["trial_state"]) == ["complete", "failed"]
    with pytest.raises(DataError, match="season"):
        made.set_params(error_score="raise").fit(waves())


@pytest.mark.parametrize(
    ("refusal", "state"), [(optuna.TrialPruned(), "pruned"), (KeyError("odd"), "failed")]
)
def test_a_function_may_refuse_what_it_drew_and_the_others_count(refusal, state):
    def draw(trial):
        season_length = trial.suggest_int("season_length", 2, 5)
        if season_length % 2:
            raise refusal
        return {"season_length": season_length}

    made = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3, season_length=4),
        param_distributions=draw,
        n_trials=9,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitFailedWarning)
        results = made.fit(waves()).cv_results_
    odd = results["param_season_length"].astype(int) % 2 == 1
    assert 0 < odd.sum() < 9
    np.testing.assert_array_equal(results["trial_state"] == state, odd)


def test_where_all_fail_the_first_reason_is_given():
    made = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3, season_length=9_000),
        param_distributions={"season_length": [9_000, 10_000]},
        n_trials=2,
    )
    with pytest.raises(ParameterError, match=r"None of 2 trials was finished; 2 failed.*DataError"):
        made.fit(waves())


def test_a_score_of_nan_is_a_failure():
    with pytest.raises(ParameterError, match="the score of fold 0 is nan"):
        search(2, scoring=lambda estimator, X, y=None: np.nan).fit(X)


def spoil(pl_module):
    for parameter in pl_module.parameters():
        parameter.data.fill_(float("nan"))


class Diverge(Callback):
    """Weights that are no numbers after the first step."""

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        spoil(pl_module)


class DivergeWhereJudged(Callback):
    """Weights that are no numbers while they are judged; training has its own back afterwards."""

    def on_validation_batch_start(self, trainer, pl_module, *arguments):
        spoil(pl_module)


class DivergeWhereJudgedOnce(DivergeWhereJudged):
    """So in the second epoch only."""

    def on_validation_batch_start(self, trainer, pl_module, *arguments):
        if trainer.current_epoch == 1:
            super().on_validation_batch_start(trainer, pl_module, *arguments)


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (Diverge, "The training loss is nan in epoch 0, batch 1"),
        (DivergeWhereJudged, "loss of the validation data is nan"),
        (DivergeWhereJudgedOnce, "training diverged: no finite validation loss in epoch 1"),
    ],
)
def test_a_training_that_diverges_is_stopped_and_named(callback, words):
    made = TitansSearchCV(
        tiny(max_epochs=50, trainer_kwargs={"callbacks": [callback()]}),
        param_distributions={"dim": [8]},
        n_trials=1,
    )
    with pytest.raises(ParameterError, match=words):
        made.fit(waves())


def test_data_that_cannot_be_read_stop_the_search_at_once():
    values = np.array(X)
    values[7] = np.inf
    with pytest.raises(DataError, match="inf"):
        search(2).fit(values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": 0}, "n_trials must be a whole number of at least 1"),
        ({"n_trials": None}, "would never end"),
        ({"timeout": -1}, "timeout must be a number"),
        ({"refit": "mae"}, "refit must be"),
        ({"latency": "yes"}, "latency must be one of"),
        ({"error_score": "nan"}, "error_score must be"),
        ({"scoring": "neg_mae"}, "give 'mae'"),
        ({"scoring": 3}, "scoring must be the name of a metric"),
        ({"sampler": "tpe"}, "sampler must be a sampler of Optuna"),
        ({"pruner": "median"}, "pruner must be a pruner of Optuna"),
        ({"study_name": ""}, "study_name must be a name"),
        ({"worker_timeout": 0}, "worker_timeout must be a number"),
        ({"estimator": KFold()}, r"or have a method default_search_space\(\), got KFold"),
        ({"start_from": [3]}, "a list of mappings"),
        ({"start_from": [{"value": 99.0}]}, r"value=99.0, which the search space does not hold"),
        ({"start_from": [{"horizon": 2}]}, "'horizon', which is not searched"),
        ({"storage": "study.txt"}, "ends in .log or .journal"),
        ({"storage": 3}, "storage must be"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_in_a_sentence(options, message):
    with pytest.raises(ParameterError, match=message):
        search(3).set_params(**options).fit(X)


# -- budgets and pruning --------------------------------------------------------------------------


def test_a_time_budget_ends_the_search_and_leaves_at_least_one_result():
    found = search(None, timeout=0.5, seconds=0.05).fit(X)
    assert 2 <= len(found.cv_results_["params"]) <= 11
    hurried = search(None, timeout=0).fit(X)
    assert list(hurried.cv_results_["param_value"]) == [0.0]


def test_a_fit_is_stopped_at_the_end_of_an_epoch_when_time_is_up(tmp_path):
    made = TitansSearchCV(
        tiny(max_epochs=3000, patience=3000),
        param_distributions={"max_epochs": [1, 3000]},
        n_trials=2,
        timeout=1.5,
        try_defaults=False,
        start_from=[{"max_epochs": 1}, {"max_epochs": 3000}],
        storage=tmp_path / "study.log",
        refit=False,
    )
    found = made.fit(waves())
    assert found.cv_results_["params"] == [{"max_epochs": 1}]
    waiting = found.study_.get_trials(states=(optuna.trial.TrialState.WAITING,))
    assert [trial.params for trial in waiting] == [{"max_epochs": 3000}]  # for the next session


class AfterTwoEpochs(optuna.pruners.BasePruner):
    """Prune every trial but the first."""

    def prune(self, study, trial):
        return trial.number > 0 and len(trial.intermediate_values) == 2


def test_a_hopeless_candidate_is_stopped_after_its_epoch():
    found = TitansSearchCV(
        tiny(max_epochs=4),
        param_distributions={"learning_rate": loguniform(1e-4, 1e-2)},
        n_trials=2,
        pruner=AfterTwoEpochs(),
        random_state=0,
    ).fit(waves())
    assert list(found.cv_results_["trial_state"]) == ["complete", "pruned"]
    first, second = found.study_.trials
    assert (len(first.intermediate_values), len(second.intermediate_values)) == (4, 2)
    assert np.isnan(found.cv_results_["mean_test_score"][1])
    assert found.best_index_ == 0
    assert found.best_estimator_.trainer_kwargs == {"limit_train_batches": 3}  # nobody looks on now


def test_losses_of_different_units_are_not_compared():
    trials = {}

    class Note(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            trials[trial.params["loss"]] = [t.params["loss"] for t in study.trials]
            return False

    TitansSearchCV(
        tiny(),
        param_distributions={"loss": ["mae", "mse"]},
        n_trials=2,
        pruner=Note(),
        start_from=[{"loss": "mse"}],
        refit=False,
    ).fit(waves())
    assert trials == {"mae": ["mae"], "mse": ["mse"]}


class AfterAFold(optuna.pruners.BasePruner):
    """Prune every trial but the first after a fold, and note what there is to compare by then."""

    def __init__(self):
        self.seen = []

    def prune(self, study, trial):
        if max(trial.intermediate_values) < 10_000 or not trial.number:
            return False
        self.seen.append([t.intermediate_values for t in study.trials])
        return True


def test_between_folds_scores_are_compared_and_not_losses():
    pruner = AfterAFold()
    found = TitansSearchCV(
        tiny(),
        param_distributions={"loss": ["mae", "mse"]},
        cv=2,
        n_trials=2,
        pruner=pruner,
        start_from=[{"loss": "mse"}],
        refit=False,
    ).fit(waves())
    assert list(found.cv_results_["trial_state"]) == ["complete", "pruned"]
    first, second = (trial.user_attrs["scores"] for trial in found.study_.trials)
    assert (len(first), len(second)) == (2, 1)
    # Another loss, and one fold of both.
    assert pruner.seen == [[{10_000: first[0]}, {10_000: second[0]}]]
    assert np.isnan(found.cv_results_["mean_test_score"][1])


def test_forecasters_without_epochs_are_pruned_between_folds():
    found = search(3, cv=3, pruner=optuna.pruners.ThresholdPruner(lower=-2.0)).fit(X)
    states = found.cv_results_["trial_state"]
    near = np.abs(found.cv_results_["param_value"].astype(float) - 3) <= 2
    np.testing.assert_array_equal(states == "complete", near)


def test_a_fold_is_enough_for_the_default_pruner():
    found = search(12, cv=2).fit(X)
    pruned = found.cv_results_["trial_state"] == "pruned"
    distance = np.abs(found.cv_results_["param_value"].astype(float) - 3)
    assert pruned.any()
    assert distance[pruned].min() > distance[~pruned].min()


def test_a_function_may_refuse_the_lowest_values_and_those_of_the_estimator():
    def draw(trial):
        value = trial.suggest_float("value", -10, 10)
        if value < 1:  # 0 is the estimator's own
            raise optuna.TrialPruned
        return {"value": value}

    made = search(9, param_distributions=draw)
    found = made.fit(X)
    assert found.best_params_["value"] >= 1
    assert "pruned" in found.cv_results_["trial_state"]
    with pytest.raises(ParameterError, match=r"start_from has {'value': 0.5}, which .* refuses"):
        clone(made).set_params(start_from=[{"value": 0.5}]).fit(X)


# -- spaces that come along -----------------------------------------------------------------------


@pytest.mark.parametrize("cls", [TitansForecaster, RidgeForecaster, LinearForecaster])
def test_forecasters_come_with_a_space(cls):
    options = {"max_epochs": 1} if cls is not RidgeForecaster else {}
    found = TitansSearchCV(cls(horizon=3, **options), n_trials=2, random_state=0, refit=False).fit(
        waves(300, channels=1)
    )
    longest = found.cv_results_["param_context_length"][0]
    assert longest == (240 - 3) // 2  # the default, as far as the rows of the fold allow


def test_a_transformer_may_be_among_the_choices():
    found = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3, season_length=3),
        param_distributions={"target_transform": [None, Difference(lag=2)]},
        n_trials=2,
        start_from=[{"target_transform": Difference(lag=2)}],
    ).fit(waves())
    assert {repr(p["target_transform"]) for p in found.cv_results_["params"]} == {
        "None",
        "Difference(lag=2)",
    }


# -- quiet ----------------------------------------------------------------------------------------


def test_nothing_is_printed_and_optuna_is_left_as_it_was(capfd):
    level = optuna.logging.get_verbosity()
    search(3).fit(X)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level


def test_one_bar_shows_trials_and_the_best_score_when_asked():
    with redirect_stderr(io.StringIO()) as shown:
        search(3, verbose=1).fit(X)
    assert "3/3" in shown.getvalue()
    assert "best score -" in shown.getvalue()


# -- studies in a storage -------------------------------------------------------------------------


def test_a_study_of_another_search_is_refused(tmp_path):
    storage = tmp_path / "study.journal"
    search(2, storage=storage).fit(X)
    for options in (
        {"param_distributions": {"value": FloatDistribution(-5, 5)}},
        {"latency": True},
        {"scoring": "mae"},
        {"estimator__season_length": 4},
    ):
        with pytest.raises(ParameterError, match=r"of another search: its \w+ is .*study_name"):
            search(2, storage=storage).set_params(**options).fit(X)
    # Of as many rows, but other ones; or of the same, in other folds.
    for options, rows in (({}, X + 1), ({"cv": 2}, X)):
        with pytest.raises(ParameterError, match="of other data, or of other folds"):
            search(2, storage=storage).set_params(**options).fit(rows)
    search(2, storage=storage, study_name="second", cv=2).fit(X)


def test_options_of_a_metric_tell_searches_apart(tmp_path):
    def pinball(alpha):
        return forecast_scorer(partial(mean_pinball_loss, alpha=alpha), greater_is_better=False)

    storage = tmp_path / "study.journal"
    # With all rows that a candidate keeps: X repeats itself.
    cv = RollingOriginSplit(1, horizon=9, context_length=24)
    for i, (one, other) in enumerate(
        [
            (forecast_scorer("mase"), forecast_scorer("mase", season_length=3)),
            (
                forecast_scorer("wql", quantiles=[0.1, 0.9]),
                forecast_scorer("wql", quantiles=[0.5]),
            ),
            (forecast_scorer("mae"), forecast_scorer("mae", gap=2)),
            (pinball(0.1), pinball(0.9)),
        ]
    ):
        options = {"storage": storage, "study_name": str(i), "cv": cv}
        search(1, scoring=one, **options).fit(X)
        search(1, scoring=one, **options).fit(X)
        with pytest.raises(ParameterError, match="its scoring is "):
            search(1, scoring=other, **options).fit(X)


def test_a_study_that_titans_ts_did_not_make_is_refused(tmp_path):
    path = str(tmp_path / "study.journal")
    backend = optuna.storages.journal.JournalFileBackend(path)
    theirs = optuna.create_study(
        study_name="titans-ts",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
    )
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ParameterError, match="was not made by titans-ts"):
        search(2, storage=path).fit(X)


def test_a_larger_budget_goes_on(tmp_path):
    storage = tmp_path / "study.log"
    search(2, storage=storage, notes=tmp_path / "notes").fit(X)
    found = search(5, storage=storage, notes=tmp_path / "notes").fit(X)
    assert len(found.cv_results_["params"]) == 5
    assert (tmp_path / "notes").read_text().count("done") == 5
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "study.log"}


def test_optuna_s_own_storages_are_taken():
    storage = optuna.storages.InMemoryStorage()
    search(2, storage=storage).fit(X)
    assert len(search(4, storage=storage).fit(X).cv_results_["params"]) == 4


def test_a_space_of_optuna_s_kinds_keeps_its_kinds(tmp_path):
    grid = {"season_length": CategoricalDistribution([2, 3])}
    found = TitansSearchCV(
        SeasonalNaiveForecaster(horizon=3),
        param_distributions=grid,
        n_trials=2,
        storage=tmp_path / "a.log",
    ).fit(waves())
    assert isinstance(found.best_params_["season_length"], int)
