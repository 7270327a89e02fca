"""forecast_scorer: what it compares, and where it works."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from fold_problems import (
    CONTEXT,
    HORIZON,
    errors_by_hand,
    filled,
    long,
    naive,
    nights,
    ridge,
    splitter,
    wide,
)
from sklearn.base import clone
from sklearn.metrics import (
    median_absolute_error,
    r2_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tiny_fits import tiny

from titans_ts import (
    DataError,
    ParameterError,
    RollingOriginSplit,
    forecast_scorer,
)
from titans_ts.preprocessing import Difference, FillGaps, Impute, LogTransform, SeriesScaler

# -- what is compared ------------------------------------------------------------------------------


@pytest.mark.parametrize("context_length", [None, CONTEXT, 29])
@pytest.mark.parametrize("container", ["array", "pandas", "polars", "series", "no time"])
def test_every_origin_after_the_training_rows_is_compared(container, context_length):
    frame = wide()
    X = {
        "array": frame.to_numpy(),
        "pandas": frame,
        "polars": pl.from_pandas(frame.reset_index()),
        "series": frame["c0"],
        "no time": pl.from_pandas(frame),
    }[container]
    values = frame[["c0"]].to_numpy() if container == "series" else frame.to_numpy()
    cv = splitter(context_length=context_length)
    scores = cross_val_score(naive(), X, cv=cv, scoring=forecast_scorer("mae"))
    expected = [-np.abs(errors_by_hand(values, start, start + 11)).mean() for start in (109, 120)]
    np.testing.assert_allclose(scores, expected)


def test_context_in_the_fold_makes_the_forecasters_own_score_the_same():
    cv = splitter(context_length=CONTEXT)
    scores = cross_validate(
        ridge(), wide(), cv=cv, scoring={"ours": forecast_scorer()}, return_estimator=True
    )
    own = cross_val_score(ridge(), wide(), cv=cv)
    np.testing.assert_allclose(scores["test_ours"], own)
    assert {f.context_length_ for f in scores["estimator"]} == {CONTEXT}


def test_series_of_a_panel_count_by_their_values():
    frame = long()
    scores = cross_val_score(naive(), frame, cv=splitter(), scoring=forecast_scorer("mse"))
    times = np.sort(frame.ds.unique())
    squares = {109: [], 120: []}
    for _, one in frame.groupby("unique_id"):
        one = one.set_index("ds").y.sort_index().reindex(times).to_numpy()
        for start, found in squares.items():
            found.append(errors_by_hand(one, start, start + 11))
    # s1 and s2 end earlier: an origin counts where its whole target is there.
    expected = []
    for found in squares.values():
        whole = [e.reshape(-1, HORIZON) for e in found]
        kept = np.concatenate([e[~np.isnan(e).any(axis=1)] for e in whole])
        expected.append(-np.mean(kept**2))
    np.testing.assert_allclose(scores, expected)


def test_rows_of_the_gap_are_not_judged():
    values = wide().to_numpy()
    cv = splitter(gap=3)
    scorer = forecast_scorer("mae", gap=3)
    expected = [-np.abs(errors_by_hand(values, start, start + 11)).mean() for start in (109, 120)]
    for X in (wide(), values):
        np.testing.assert_allclose(cross_val_score(naive(), X, cv=cv, scoring=scorer), expected)


@pytest.mark.parametrize("context_length", [None, CONTEXT, 9, 8, 2])
def test_a_gap_is_counted_from_the_training_rows_where_the_fold_starts_inside_it(context_length):
    cv = splitter(1, gap=8, context_length=context_length)
    model = naive(context_length=2)  # as short as the shortest fold's
    expected = -np.abs(errors_by_hand(wide().to_numpy(), 120, 131)).mean()
    (score,) = cross_val_score(model, wide(), cv=cv, scoring=forecast_scorer("mae", gap=8))
    assert score == pytest.approx(expected)


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("container", ["array", "polars"])
def test_repeated_values_of_a_table_without_time_leave_the_score_of_its_frame(container, gap):
    frame = nights()
    model = naive(season_length=24, context_length=48)
    cv = RollingOriginSplit(3, horizon=24, gap=gap, context_length=48 + gap)
    scorer = forecast_scorer("mae", gap=gap)
    X = frame.to_numpy() if container == "array" else pl.from_pandas(frame)
    found, expected = (cross_val_score(model, t, cv=cv, scoring=scorer) for t in (X, frame))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("scorer", "value"),
    [
        (forecast_scorer("mse"), lambda t, e: -np.mean(e**2)),
        (forecast_scorer("rmse"), lambda t, e: -np.sqrt(np.mean(e**2))),
        (forecast_scorer("mean_absolute_error"), lambda t, e: -np.mean(np.abs(e))),
        (forecast_scorer("wape"), lambda t, e: -np.abs(e).sum() / np.abs(t).sum()),
        (forecast_scorer("smape"), lambda t, e: -np.mean(2 * abs(e) / (abs(t) + abs(t - e)))),
        (forecast_scorer(median_absolute_error), lambda t, e: -np.median(np.abs(e))),
        (forecast_scorer(r2_score), lambda t, e: r2_score(t, t - e)),
        (
            forecast_scorer(lambda t, p: np.max(t - p), greater_is_better=True),
            lambda t, e: e.max(),
        ),
    ],
    ids=["mse", "rmse", "mae", "wape", "smape", "median", "r2", "any function"],
)
def test_measures_are_those_of_all_values_at_once(scorer, value):
    values = wide(channels=1).to_numpy()
    (score,) = cross_val_score(naive(), values, cv=splitter(1), scoring=scorer)
    error = errors_by_hand(values, 120, 131).ravel()
    truth = np.concatenate([values[o : o + HORIZON] for o in range(120, 127)]).ravel()
    assert score == pytest.approx(value(truth, error))


def test_mase_is_free_of_units():
    X = wide()
    other = X * [1000.0, 0.001]
    cv = splitter(1, context_length=CONTEXT)
    scores = [
        cross_val_score(naive(), frame, cv=cv, scoring=forecast_scorer("mase", season_length=3))
        for frame in (X, other)
    ]
    np.testing.assert_allclose(*scores)
    fold = X.to_numpy()[120 - CONTEXT :]
    scale = np.abs(fold[3:] - fold[:-3]).mean(axis=0)
    expected = -np.mean(np.abs(errors_by_hand(X.to_numpy(), 120, 131)) / scale)
    assert scores[0] == pytest.approx(expected)


def test_quantiles_are_compared_at_their_levels():
    X = wide()
    (half,) = cross_val_score(
        ridge(), X, cv=splitter(1), scoring=forecast_scorer("pinball", quantiles=[0.5])
    )
    (three,) = cross_val_score(ridge(), X, cv=splitter(1), scoring=forecast_scorer("pinball"))
    (wql,) = cross_val_score(ridge(), X, cv=splitter(1), scoring=forecast_scorer("wql"))
    assert half < three < 0
    truth = np.concatenate([X.to_numpy()[o : o + HORIZON] for o in range(120, 127)])
    assert wql == pytest.approx(2 * three / np.abs(truth).mean())


def test_what_was_not_observed_is_not_judged():
    holed = wide(channels=1)
    holed.iloc[[123, 124, 129]] = np.nan
    (score,) = cross_val_score(naive(), holed, cv=splitter(1), scoring=forecast_scorer())
    values = holed.to_numpy()
    known = holed.ffill().to_numpy()
    errors = [values[o : o + HORIZON] - known[o - 1] for o in range(120, 127)]
    assert score == pytest.approx(-np.nanmean(np.abs(errors)))


# -- where it works --------------------------------------------------------------------------------


def test_a_grid_search_finds_what_is_best():
    rng = np.random.default_rng(0)
    seasonal = np.tile([1.0, 5.0, 2.0, 9.0, 4.0, 4.5, 0.0], 30)[:, None]
    seasonal = seasonal + 0.1 * rng.normal(size=seasonal.shape)
    search = GridSearchCV(
        naive(context_length=29),
        {"season_length": [1, 6, 7], "context_length": [7, 29]},
        cv=splitter(3),
        scoring=forecast_scorer("mae"),
    ).fit(seasonal[:-14])
    assert search.best_params_["season_length"] == 7
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # The search itself scores a later table, by the same scorer, through best_estimator_.
    direct = forecast_scorer("mae")(search.best_estimator_, seasonal[-29:])
    assert search.score(seasonal[-29:]) == direct


def test_candidates_of_any_context_length_are_judged_on_the_same_origins():
    frame = wide()
    scores = GridSearchCV(
        naive(), {"context_length": [3, CONTEXT, 31]}, cv=splitter(), scoring=forecast_scorer()
    ).fit(frame)
    # The last value is all that the naive forecast looks at.
    np.testing.assert_allclose(np.ptp(scores.cv_results_["mean_test_score"]), 0, atol=1e-12)


def test_randomized_search_and_several_scorers():
    search = RandomizedSearchCV(
        ridge(),
        {"alpha": [1e-4, 1e-2, 1.0]},
        n_iter=2,
        random_state=0,
        cv=splitter(),
        scoring={"mae": forecast_scorer("mae"), "rmse": forecast_scorer("rmse")},
        refit="mae",
    ).fit(long())
    for name in ("mae", "rmse"):
        assert (search.cv_results_[f"mean_test_{name}"] < 0).all()


def test_a_titans_forecaster_is_searched_too():
    search = GridSearchCV(
        tiny(horizon=HORIZON, context_length=32),
        {"variant": ["lmm", "mac"]},
        cv=splitter(2, horizon=HORIZON),
        scoring=forecast_scorer("mae"),
    ).fit(wide(211))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert isinstance(search.predict(wide()), pd.DataFrame)


def test_a_scorer_goes_to_another_process():
    scorer = pickle.loads(pickle.dumps(forecast_scorer("mase", gap=3, season_length=2)))
    assert vars(scorer) == vars(forecast_scorer("mase", gap=3, season_length=2))


def test_time_series_split_takes_its_context_from_what_fit_kept():
    X = wide()
    scores = cross_val_score(
        naive(), X, cv=TimeSeriesSplit(2, test_size=11), scoring=forecast_scorer()
    )
    expected = cross_val_score(naive(), X, cv=splitter(), scoring=forecast_scorer())
    np.testing.assert_allclose(scores, expected)


def test_time_series_split_with_a_gap_needs_contexts_in_the_fold():
    cv = TimeSeriesSplit(2, test_size=29, gap=3)
    (first, second) = cross_val_score(naive(), wide(), cv=cv, scoring=forecast_scorer())
    values = wide().to_numpy()
    starts = (131 - 2 * 29 + CONTEXT, 131 - 29 + CONTEXT)
    expected = [-np.abs(errors_by_hand(values, s, s + 29 - CONTEXT)).mean() for s in starts]
    np.testing.assert_allclose([first, second], expected)
    with pytest.raises(DataError, match=r"No origin.*context of 13 rows.*RollingOriginSplit"):
        cross_val_score(
            naive(),
            wide(),
            cv=TimeSeriesSplit(2, test_size=11, gap=3),
            scoring=forecast_scorer(),
            error_score="raise",
        )


# -- pipelines -------------------------------------------------------------------------------------


def test_a_pipeline_is_scored_in_the_data_s_own_units():
    pipeline = Pipeline([("fill", FunctionTransformer(filled)), ("forecast", naive())])
    scores = cross_val_score(pipeline, wide(), cv=splitter(), scoring=forecast_scorer())
    expected = cross_val_score(naive(), wide(), cv=splitter(), scoring=forecast_scorer())
    np.testing.assert_array_equal(scores, expected)


def test_values_that_a_pipeline_filled_in_are_not_judged():
    holed = wide(channels=1)
    holed.iloc[[123, 124, 129]] = np.nan
    pipeline = Pipeline([("fill", FunctionTransformer(filled)), ("forecast", naive())])
    scores = cross_val_score(pipeline, holed, cv=splitter(1), scoring=forecast_scorer())
    expected = cross_val_score(naive(), holed, cv=splitter(1), scoring=forecast_scorer())
    np.testing.assert_allclose(scores, expected)


@pytest.mark.parametrize("output", ["pandas", "default"])
def test_a_pipeline_that_changes_units_is_sent_to_target_transform(output):
    pipeline = Pipeline(
        [("scale", StandardScaler().set_output(transform=output)), ("forecast", naive())]
    )
    # With scikit-learn's own error_score: a search over nan would end with its first candidate.
    with pytest.raises(ValueError, match=r"StandardScaler.*own units.*target_transform="):
        cross_val_score(pipeline, wide(), cv=splitter(), scoring=forecast_scorer())
    fitted = pipeline.fit(wide()[:120])
    with pytest.raises(ParameterError, match=r"StandardScaler.*own units.*target_transform="):
        forecast_scorer()(fitted, wide()[100:])


def test_steps_that_turn_a_frame_into_an_array_keep_its_units():
    pipeline = Pipeline([("plain", FunctionTransformer(np.asarray)), ("forecast", naive())])
    scores = cross_val_score(pipeline, wide(), cv=splitter(), scoring=forecast_scorer())
    expected = cross_val_score(naive(), wide(), cv=splitter(), scoring=forecast_scorer())
    np.testing.assert_allclose(scores, expected)


@pytest.mark.parametrize("metric", ["mae", "rmse", "smape", "pinball", median_absolute_error])
def test_a_fold_without_observed_values_says_so(metric):
    frame = wide()
    frame.iloc[-11:] = np.nan
    with pytest.raises(DataError, match="Nothing to judge: every value of the test fold after"):
        cross_val_score(
            naive(),
            frame,
            cv=splitter(1, context_length=CONTEXT),
            scoring=forecast_scorer(metric),
            error_score="raise",
        )


def test_mase_leaves_out_a_channel_that_only_rounding_moves():
    frame = wide().assign(still=np.where(np.arange(131) % 2, 0.3, 0.1 + 0.2))
    assert frame["still"].nunique() == 2
    options = {"cv": splitter(), "scoring": forecast_scorer("mase")}
    expected = cross_val_score(naive(), wide(), **options)
    np.testing.assert_allclose(cross_val_score(naive(), frame, **options), expected)


def test_steps_and_nested_parameters_are_searched():
    search = GridSearchCV(
        Pipeline([("fill", FunctionTransformer(filled)), ("forecast", ridge())]),
        {"forecast__alpha": [1e-3, 1.0], "fill": ["passthrough", FunctionTransformer(filled)]},
        cv=splitter(),
        scoring=forecast_scorer("mae"),
    ).fit(wide())
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(wide()).shape == (HORIZON, 2)


def test_missing_rows_are_filled_in_front_and_not_judged():
    frame = wide(channels=1)
    kept = frame.drop(frame.index[[40, 41, 121, 125]])
    pipeline = Pipeline([("gaps", FillGaps()), ("forecast", naive())])
    # Of 127 rows, the last 9 are tested: those of the last 11 hours.
    cv = RollingOriginSplit(1, horizon=9, context_length=CONTEXT)
    (score,) = cross_val_score(pipeline, kept, cv=cv, scoring=forecast_scorer())
    holed = kept.reindex(frame.index)
    values, known = holed.to_numpy(), holed.ffill().to_numpy()
    errors = [values[o : o + HORIZON] - known[o - 1] for o in range(120, 127)]
    assert score == pytest.approx(-np.nanmean(np.abs(errors)))


def test_what_changes_units_behind_filled_rows_is_refused_and_what_fills_values_not_judged():
    frame = wide(channels=1)
    kept = frame.drop(frame.index[[40, 41, 121, 125]])
    cv = RollingOriginSplit(1, horizon=9, context_length=CONTEXT)
    options = {"cv": cv, "scoring": forecast_scorer(), "error_score": "raise"}
    scaled = Pipeline([("gaps", FillGaps()), ("scale", SeriesScaler()), ("forecast", naive())])
    with pytest.raises(ValueError, match=r"FillGaps, SeriesScaler.* change the values"):
        cross_val_score(scaled, kept, **options)
    alone = Pipeline([("gaps", FillGaps()), ("forecast", naive())])
    fill = Impute(method="forward")
    filled_in = Pipeline([("gaps", FillGaps()), ("fill", fill), ("forecast", naive())])
    scores = [cross_val_score(pipeline, kept, **options)[0] for pipeline in (alone, filled_in)]
    # A naive forecast is the last value known, whether a step fills it in or the forecaster does.
    assert scores[0] == pytest.approx(scores[1])


@pytest.mark.parametrize(
    "transform",
    [SeriesScaler(), Difference(lag=3), StandardScaler(), LogTransform(offset=100.0)],
    ids=lambda t: type(t).__name__,
)
def test_a_target_transform_leaves_the_score_in_the_data_s_own_units(transform):
    for X in (wide(), long()):
        search = GridSearchCV(
            ridge(alpha=1e-4),
            {"target_transform": [None, transform]},
            cv=splitter(),
            scoring=forecast_scorer("mae"),
        ).fit(X)
        plain, transformed = -search.cv_results_["mean_test_score"]
        assert plain == pytest.approx(transformed, rel=0.3)
        # Back from the grid, a new forecaster forecasts the same.
        best = clone(search.best_estimator_).fit(X)
        pd.testing.assert_frame_equal(best.predict(), search.predict(X))


def test_parameters_of_a_target_transform_are_searched():
    seasonal = wide(channels=1) * 0.01
    seasonal["c0"] += np.tile([1.0, 5.0, 2.0, 9.0, 4.0], 27)[:131]
    search = RandomizedSearchCV(
        naive(target_transform=Difference()),
        {"target_transform__lag": [1, 5, 7]},
        n_iter=3,
        random_state=0,
        cv=splitter(),
        scoring=forecast_scorer("mae"),
    ).fit(seasonal)
    assert search.best_params_ == {"target_transform__lag": 5}
    assert search.estimator.target_transform.lag == 1


# -- metadata --------------------------------------------------------------------------------------


def test_validation_and_quantiles_are_routed():
    train, later = wide()[:100], wide()[100:120]
    pipeline = Pipeline([("fill", FunctionTransformer(filled)), ("forecast", ridge(alpha=None))])
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.set_params(
            forecast=pipeline["forecast"]
            .set_fit_request(validation=True)
            .set_predict_request(quantiles=True, future=True)
        )
        pipeline.fit(train, validation=later)
        columns = pipeline.predict(train, quantiles=[0.1, 0.9]).columns
    assert list(columns) == ["c0_q0.1", "c0_q0.9", "c1_q0.1", "c1_q0.9"]
    direct = ridge(alpha=None).fit(train, validation=later)
    pd.testing.assert_frame_equal(pipeline.predict(train), direct.predict())
    assert pipeline["forecast"].alpha_ == direct.alpha_


def test_metadata_reach_the_forecaster_through_a_search():
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            ridge().set_fit_request(validation=True),
            {"alpha": [1e-3, 1.0]},
            cv=splitter(),
            scoring=forecast_scorer("mae"),
        ).fit(wide(), validation=17)
        copied = clone(search)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert copied.estimator.get_params() == search.estimator.get_params()
