"""An ensemble forecasts the mean of its members, and is a forecaster like any other."""

import pickle

import numpy as np
import pandas as pd
import pytest
from ensembles import HORIZON, SHARES, frame, pair, ridge
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from tiny_fits import tiny, waves

from titans_ts import (
    DataError,
    EnsembleForecaster,
    LinearForecaster,
    ParameterError,
    RidgeForecaster,
    RollingOriginSplit,
    SeasonalNaiveForecaster,
    TrainingInterrupted,
    forecast_scorer,
)
from titans_ts.backtesting import long_horizon_protocol
from titans_ts.data.windows import WindowIndex
from titans_ts.pool import ForecastPool


def long_table(n=97):
    """Two series of different lengths, with gaps in one and a covariate known in advance."""
    parts = []
    for i, length in enumerate((n, n - 11)):
        time = pd.date_range("2024-01-01", periods=length, freq="h")
        part = pd.DataFrame({"unique_id": f"s{i}", "ds": time, "y": waves(length)[:, i]})
        parts.append(part.assign(price=np.arange(length) % 7.0))
    table = pd.concat(parts, ignore_index=True)
    table.loc[[13, 14, 60, n + 5], "y"] = np.nan
    return table


def mean_of(members, forecast):
    return sum(share * forecast(m) for share, m in zip(SHARES, members, strict=True))


# -- the mean -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda X: X, id="pandas"),
        pytest.param(lambda X: X.to_numpy(), id="array"),
        pytest.param(lambda X: np.stack([X, 2 * X]), id="three axes"),
        pytest.param(lambda X: X["OT"], id="Series"),
    ],
)
@pytest.mark.parametrize("rows", [pytest.param(60, id="enough"), pytest.param(21, id="few")])
def test_the_forecast_is_the_weighted_mean_of_the_members(convert, rows):
    X = convert(frame())
    later = X[:, -rows:] if np.ndim(X) == 3 else X[-rows:]
    ensemble = pair().fit(X)
    assert ensemble.predict().shape == ensemble.members_[0].predict().shape
    assert type(ensemble.predict()) is type(X)
    for given in (None, later):
        expected = mean_of(ensemble.members_, lambda m, X=given: np.asarray(m.predict(X)))
        np.testing.assert_allclose(np.asarray(ensemble.predict(given)), expected, rtol=1e-9)


def test_polars_comes_out_where_polars_went_in():
    polars = pytest.importorskip("polars")
    X = frame().reset_index()
    pair_ = pair(target=["OT", "HUFL"])
    ours, theirs = pair_.fit(polars.from_pandas(X)).predict(), clone(pair_).fit(X).predict()
    assert isinstance(ours, polars.DataFrame)
    np.testing.assert_allclose(ours[["OT", "HUFL"]].to_numpy(), theirs[["OT", "HUFL"]].to_numpy())


def test_without_weights_all_members_count_alike():
    X = frame()
    ensemble = pair().set_params(weights=None).fit(X)
    expected = np.mean([m.predict() for m in ensemble.members_], axis=0)
    np.testing.assert_allclose(ensemble.predict(), expected)


def test_a_member_is_forgotten_where_its_weight_is_nothing():
    X = frame()
    ensemble = pair().set_params(weights=np.array([0.0, 2.0])).fit(X)
    pd.testing.assert_frame_equal(ensemble.predict(), ensemble.members_[1].predict())


def test_at_every_origin_each_member_reads_its_own_context():
    X = frame()
    ensemble = pair().fit(X[:150])
    assert ensemble.context_length_ == 29
    series = ensemble.read_series(X)

    def forecasts(forecaster):
        first = np.array([ensemble.context_length_])
        windows = WindowIndex(series, forecaster.context_length_, HORIZON, first_origin=first)
        return np.concatenate([forecast for _, forecast in forecaster.iter_forecasts(windows)])

    expected = mean_of(ensemble.members_, forecasts)
    assert len(expected) == 211 - 29 - HORIZON + 1
    np.testing.assert_allclose(forecasts(ensemble), expected, rtol=1e-9)
    windows = WindowIndex(series, 29, HORIZON)
    target = np.concatenate([cut.target for cut, _ in ensemble.iter_forecasts(windows)])
    assert ensemble.score(X) == pytest.approx(-np.abs(expected - target).mean())


def test_series_with_gaps_covariates_and_a_calendar_are_read_as_by_the_members():
    roles = {"future_covariates": "price", "calendar": True, "context_length": 32}
    members = [("narrow", tiny(**roles)), ("wide", tiny(dim=16, loss="mse", **roles))]
    X = long_table()
    ensemble = EnsembleForecaster(members, weights=SHARES).fit(X)
    future = ensemble.make_future_dataframe().assign(price=3.0)
    forecast = ensemble.predict(future=future)
    expected = mean_of(ensemble.members_, lambda m: m.predict(future=future)["y"].to_numpy())
    np.testing.assert_allclose(forecast["y"], expected, rtol=1e-6)
    assert list(forecast["unique_id"].unique()) == ["s0", "s1"]
    with pytest.raises(DataError, match="predict needs future="):
        ensemble.predict()


# -- quantiles ------------------------------------------------------------------------------------


def test_quantiles_are_the_means_of_the_members_quantiles():
    ensemble = pair().fit(frame())
    levels = (0.1, 0.5, 0.9)
    forecast = ensemble.predict(quantiles=levels)
    expected = mean_of(ensemble.members_, lambda m: m.predict(quantiles=levels))
    pd.testing.assert_frame_equal(forecast, expected)
    assert "OT_q0.1" in forecast


def test_quantiles_that_a_member_cannot_give_are_refused_as_by_that_member():
    ensemble = EnsembleForecaster(
        [("any", RidgeForecaster(horizon=7, context_length=20)), ("none", tiny())]
    ).fit(waves())
    with pytest.raises(ParameterError) as alone:
        ensemble.members_[1].predict(quantiles=(0.1, 0.9))
    with pytest.raises(ParameterError) as together:
        ensemble.predict(quantiles=(0.1, 0.9))
    assert str(together.value) == f"Of the member 'none': {alone.value}"


def test_scorers_are_told_the_levels_that_members_have_learnt():
    any_level = ("any", RidgeForecaster(horizon=7, context_length=20))
    learnt = ("some", tiny(quantiles=(0.2, 0.5)))
    assert EnsembleForecaster([any_level, learnt]).quantiles == (0.2, 0.5)
    assert EnsembleForecaster([any_level]).quantiles is None
    others = ("others", tiny(quantiles=(0.3, 0.5)))
    assert EnsembleForecaster([learnt, others]).quantiles is None


# -- scikit-learn ---------------------------------------------------------------------------------


def test_members_are_copied_and_stay_as_they_are():
    ensemble = pair()
    given = ensemble.forecasters
    ensemble.fit(frame())
    assert ensemble.forecasters is given
    for (_, forecaster), member in zip(given, ensemble.members_, strict=True):
        assert forecaster is not member
        with pytest.raises(NotFittedError):
            forecaster.predict()


def test_parameters_of_members_are_got_and_set_by_name():
    ensemble = pair()
    copy = clone(ensemble).set_params(long__context_length=11, weights=[1, 1])
    assert ensemble.get_params()["long__context_length"] == 29
    assert copy.get_params()["long__context_length"] == 11
    assert copy.set_params(short=ridge(7)).get_params()["short__context_length"] == 7
    with pytest.raises(AttributeError, match=r"set_params\(NAME__horizon=\.\.\.\)"):
        copy.horizon = 3


def test_scikit_learn_scores_and_searches_ensembles():
    X, folds = frame(), RollingOriginSplit(n_splits=2, horizon=HORIZON)
    scores = cross_val_score(pair(), X, cv=folds, scoring=forecast_scorer("mae"))
    grid = {"weights": [[1, 3], [1, 0]], "long__context_length": [29, 13]}
    search = GridSearchCV(pair(), grid, cv=folds, scoring=forecast_scorer("mae")).fit(X)
    table = pd.DataFrame(search.cv_results_)
    same = table["params"].map(lambda p: p == {"weights": [1, 3], "long__context_length": 29})
    assert table.loc[same, "mean_test_score"].item() == pytest.approx(scores.mean())
    assert table["mean_test_score"].nunique() == 4
    assert search.best_estimator_.predict().shape == (HORIZON, 2)


def test_a_pickled_ensemble_forecasts_the_same():
    ensemble = pair().fit(frame())
    again = pickle.loads(pickle.dumps(ensemble))
    pd.testing.assert_frame_equal(again.predict(), ensemble.predict())


def test_the_protocol_judges_an_ensemble_beside_its_members():
    X = frame()
    members = dict(pair().forecasters)
    split = {"n_train": 130, "n_validation": 30, "n_test": 51}
    result = long_horizon_protocol({**members, "both": pair()}, X, **split).forecasters
    assert {row.n_windows for row in result.values()} == {51 - HORIZON + 1}
    # A mean is never worse than the same mean of its members' errors.
    assert result["both"].mae < 0.25 * result["long"].mae + 0.75 * result["short"].mae
    alone = EnsembleForecaster([("long", ridge(29))])
    assert long_horizon_protocol({"alone": alone}, X, **split).forecasters["alone"].mse == (
        pytest.approx(result["long"].mse)
    )


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forecasters", "weights", "message"),
    [
        ([], None, "a list of names and forecasters"),
        ([ridge()], None, r"such as \[\('ridge', RidgeForecaster\(horizon=24\)\)"),
        ([("a", "ridge")], None, "a list of names and forecasters"),
        ([("a__b", ridge())], None, "'a__b' cannot name a forecaster"),
        ([("weights", ridge())], None, "'weights' cannot name a forecaster"),
        ([("a", ridge()), ("a", ridge())], None, "Two forecasters are called 'a'"),
        ([("a", ridge()), ("b", RidgeForecaster(horizon=6))], None, "same horizon; 'b' has 6"),
        ([("a", ridge()), ("b", ridge(target="OT"))], None, "target; 'b' has 'OT', and 'a' has No"),
        ([("a", ridge()), ("b", tiny(horizon=5, calendar=True))], None, "same calendar"),
        ([("a", ridge()), ("b", tiny(horizon=5, past_covariates="p"))], None, "past_covariates"),
        ([("a", ridge())], [1, 2], "a number for each of the 1 forecasters, or None"),
        ([("a", ridge())], 1, "a number for each of the 1 forecasters, or None"),
        ([("a", ridge())], [-1], r"weights\[0\] must be a number between 0"),
        ([("a", ridge()), ("b", ridge())], [0, 0], "sum larger than 0"),
        ([("a", ridge()), ("b", ridge(alpha=-1))], None, "alpha must be"),
    ],
)
def test_what_makes_no_ensemble_is_told_before_anything_is_fitted(
    forecasters, weights, message, monkeypatch
):
    monkeypatch.setattr(RidgeForecaster, "_fit_windows", None)
    with pytest.raises(ParameterError, match=message):
        EnsembleForecaster(forecasters, weights=weights).fit(frame())


def test_one_column_by_its_name_or_in_a_list_is_the_same_role():
    members = [("a", ridge(target="OT")), ("b", ridge(19, target=["OT"]))]
    forecast = EnsembleForecaster(members).fit(frame()).predict()
    assert list(forecast.columns) == ["OT"]


def test_a_fit_of_which_one_member_fails_leaves_nothing_fitted():
    too_long = SeasonalNaiveForecaster(horizon=HORIZON, season_length=9999)
    ensemble = pair().fit(frame())
    ensemble.set_params(short=too_long)
    with pytest.raises(DataError, match="A season of 9999 steps"):
        ensemble.fit(frame())
    with pytest.raises(NotFittedError):
        ensemble.predict()


def test_ctrl_c_in_a_member_leaves_no_ensemble_and_says_so(monkeypatch):
    def stopped(self, windows):
        raise TrainingInterrupted("Training was stopped")

    ensemble = pair()
    monkeypatch.setattr(RidgeForecaster, "_fit_windows", stopped)
    with pytest.raises(KeyboardInterrupt, match="'long' was trained; the ensemble is not") as error:
        ensemble.fit(frame())
    # Which would say that it is fitted.
    assert not isinstance(error.value, TrainingInterrupted)
    with pytest.raises(NotFittedError):
        ensemble.predict()


def test_a_pool_of_devices_refuses_an_ensemble():
    with pytest.raises(ParameterError, match="got EnsembleForecaster"):
        ForecastPool(pair().fit(frame()), 2)


# -- after fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": [1, 2, 3]}, "weights must be a number for each of the 2 forecasters"),
        ({"forecasters": [("one", ridge())]}, "forecasters had 2 members in fit and has 1 now"),
        ({"long__horizon": 9, "short__horizon": 9}, "horizon was 5 in fit and is 9 now"),
    ],
    ids=str,
)
def test_what_cannot_change_after_fit_is_refused_before_anything_is_written(
    changes, sentence, tmp_path
):
    ensemble = pair().fit(frame())
    if "forecasters" in changes:
        ensemble.set_params(weights=None)
    ensemble.set_params(**changes)
    for ask in (
        ensemble.predict,
        lambda: ensemble.predict(frame()),
        lambda: ensemble.save(tmp_path / "model"),
    ):
        with pytest.raises(ParameterError, match=sentence):
            ask()
    assert not list(tmp_path.iterdir())


def test_a_fit_leaves_the_random_state_of_a_member_as_it_is():
    state = np.random.RandomState(0)
    member = LinearForecaster(horizon=4, context_length=9, max_epochs=1, random_state=state)
    ensemble = EnsembleForecaster([("linear", member)])
    first, second = (ensemble.fit(waves(60)).predict() for _ in range(2))
    np.testing.assert_array_equal(first, second)
