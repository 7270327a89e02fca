"""target_transform: forecasts, quantiles and scores stay in the data's own units."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from tiny_fits import tiny

from titans_ts import RidgeForecaster, SeasonalNaiveForecaster, TitansForecaster
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError, ParameterError
from titans_ts.model_selection import RollingOriginSplit, forecast_scorer
from titans_ts.preprocessing import (
    BoxCoxTransform,
    Difference,
    Impute,
    LogTransform,
    SeriesScaler,
)

HORIZON, CONTEXT, LEVELS = 5, 32, [0.1, 0.5, 0.9]
QUICK = {"limit_train_batches": 2, "limit_val_batches": 1}


def panel(seed=0, missing=0.0):
    """Positive series of unlike size, two targets each."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, (n, size) in enumerate(((71, 2.0), (53, 3000.0))):
        wave = np.sin(np.arange(n) / 3) + 0.1 * rng.normal(size=n)
        part = pd.DataFrame({"unique_id": f"s{number}", "ds": np.arange(n)})
        part["y"], part["z"] = size * np.exp(wave), 100 + wave
        part.loc[rng.random(n) < missing, "y"] = np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


TRANSFORMS = {
    "standard": SeriesScaler(),
    "robust": SeriesScaler(method="robust"),
    "min-max": SeriesScaler(method="minmax"),
    "log": LogTransform(),
    "Box-Cox": BoxCoxTransform(),
    "difference": Difference(),
    "seasonal difference": Difference(lag=7),
    "two differences": Difference(order=2),
    "imputed": Impute(),
    "log of a difference": make_pipeline(LogTransform(), Difference(), SeriesScaler()),
    "sklearn's standard": StandardScaler(),
    "sklearn's robust": RobustScaler(),
    "sklearn's min-max": MinMaxScaler(),
    "sklearn's power": PowerTransformer(),
    "sklearn's quantiles": QuantileTransformer(n_quantiles=29),
    "both kinds": make_pipeline(LogTransform(), StandardScaler()),
}


def learners(transform):
    common = {"horizon": HORIZON, "context_length": CONTEXT, "target_transform": transform}
    return {
        "titans": tiny(**common, trainer_kwargs=QUICK, quantiles=LEVELS),
        "ridge": RidgeForecaster(**common),
    }


BY_TITANS = ["standard", "log", "difference", "imputed", "log of a difference", "sklearn's power"]
CASES = [(name, "ridge", missing) for name in TRANSFORMS for missing in (0.0, 0.2)]
CASES += [(name, "titans", 0.2) for name in BY_TITANS]


@pytest.mark.parametrize(("name", "learner", "missing"), CASES)
def test_every_transform_is_undone_in_forecasts_quantiles_and_scores(
    name, learner, missing, tmp_path
):
    table = panel(missing=missing)
    before = clone(TRANSFORMS[name])
    forecaster = learners(TRANSFORMS[name])[learner].fit(table)
    # Only a clone was fitted.
    assert repr(TRANSFORMS[name]) == repr(before)
    forecast = forecaster.predict()
    small, large = (forecast.loc[forecast["unique_id"] == i, "y"].abs() for i in ("s0", "s1"))
    assert small.max() < 20
    assert 200 < large.mean() < 20_000
    assert forecast["z"].between(90, 110).all()
    levels = forecaster.predict(quantiles=LEVELS)
    for target in ("y", "z"):
        by_level = levels[[f"{target}_q{level}" for level in LEVELS]].to_numpy()
        assert (np.diff(by_level, axis=1) >= 0).all()
        assert np.isfinite(by_level).all()
    if learner == "titans":
        np.testing.assert_allclose(levels["y_q0.5"], forecast["y"], rtol=1e-6)

    # A score is the error of the forecasts that predict makes.
    windows = WindowIndex(forecaster.read_series(table), forecaster.context_length_, HORIZON)
    ((cut, forecasts),) = forecaster.iter_forecasts(windows)
    series, origins = windows.locate(np.arange(len(windows)))
    for number in range(0, len(windows), 17):
        rows = table[table["unique_id"] == f"s{series[number]}"]
        alone = forecaster.predict(rows[: origins[number]])[["y", "z"]]
        # Where the row before a context is missing, a difference is one to a row further back.
        if not (missing and forecaster.target_transform_.context_rows):
            np.testing.assert_allclose(alone, forecasts[number], rtol=2e-5)
    errors = np.abs(forecasts - cut.target)[cut.target_observed]
    assert forecaster.score(table) == pytest.approx(-errors.mean())

    forecaster.save(tmp_path / "model")
    loaded = type(forecaster).load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(), forecast)
    pd.testing.assert_frame_equal(loaded.predict(table), forecast)
    pd.testing.assert_frame_equal(loaded.predict(quantiles=LEVELS), levels)
    assert loaded.score(table) == forecaster.score(table)
    assert b"pickle" not in (tmp_path / "model" / "forecaster.json").read_bytes()


@pytest.mark.parametrize("transform", [Difference(), make_pipeline(Difference(), StandardScaler())])
def test_a_difference_lets_a_ramp_go_on(transform):
    ramp = 1000.0 + 3.0 * np.arange(101)[:, None]
    forecaster = SeasonalNaiveForecaster(
        horizon=7, season_length=1, target_transform=transform
    ).fit(ramp)
    np.testing.assert_allclose(forecaster.predict()[:, 0], 1303.0 + 3.0 * np.arange(7))
    assert forecaster.score(ramp) == pytest.approx(0, abs=1e-9)


def test_a_difference_in_a_panel_goes_on_from_the_end_of_each_series():
    forecaster = RidgeForecaster(horizon=2, context_length=8, target_transform=Difference())
    ramps = pd.DataFrame(
        {
            "unique_id": np.repeat(["a", "b"], [41, 29]),
            "ds": [*range(41), *range(29)],
            "y": [*range(41), *range(1000, 1058, 2)],
        }
    )
    forecast = forecaster.fit(ramps).predict()
    np.testing.assert_allclose(forecast["y"], [41, 42, 1058, 1060], rtol=1e-3)


def test_values_that_were_filled_in_are_not_learnt_from():
    """A line to the next value would tell a context what comes after it."""
    table = panel(missing=0.3)
    with_filling, without = (learners(t)["titans"].fit(table) for t in (Impute(), None))
    assert with_filling.history_ == without.history_
    assert with_filling.score(table) == without.score(table)


def test_a_context_of_predict_is_as_long_as_one_of_score():
    """The first rows of a difference are none, so predict reads some rows more."""
    transform = make_pipeline(Difference(lag=7), Difference())
    table = panel()[["unique_id", "ds", "y"]]
    forecaster = learners(transform)["titans"].fit(table)
    windows = WindowIndex(forecaster.read_series(table), forecaster.context_length_, HORIZON)
    ((_, forecasts),) = forecaster.iter_forecasts(windows)
    one = table[table["unique_id"] == "s1"][:-HORIZON]
    np.testing.assert_allclose(forecaster.predict(one)["y"], forecasts[-1, :, 0], rtol=2e-5)


def test_forecasts_of_a_log_stay_positive():
    values = np.exp(np.random.default_rng(0).normal(size=(151, 2)).cumsum(axis=0) / 3)
    forecaster = RidgeForecaster(
        horizon=HORIZON, context_length=16, target_transform=LogTransform()
    )
    assert (forecaster.fit(values).predict() > 0).all()


@pytest.mark.parametrize("scale", ["standard", "robust", "minmax"])
def test_scaling_every_series_makes_units_of_no_account(scale):
    table = panel()
    other = table.assign(y=table["y"] * 1e4 - 7, z=table["z"] / 128)
    forecasters = [
        RidgeForecaster(
            horizon=HORIZON, context_length=CONTEXT, target_transform=SeriesScaler(method=scale)
        ).fit(X)
        for X in (table, other)
    ]
    first, second = (forecaster.predict() for forecaster in forecasters)
    np.testing.assert_allclose(second["y"], first["y"] * 1e4 - 7, rtol=1e-6)
    np.testing.assert_allclose(second["z"], first["z"] / 128, rtol=1e-6)


def test_an_unseen_series_is_forecast_in_its_own_units():
    forecaster = learners(SeriesScaler())["titans"].fit(panel())
    new = panel(seed=4).query("unique_id == 's1'").assign(unique_id="new")
    forecast = forecaster.predict(new)
    assert forecast["y"].between(10, 60_000).all()
    both = forecaster.predict(pd.concat([panel(), new]))
    np.testing.assert_allclose(both["y"][-HORIZON:], forecast["y"], rtol=1e-6)


def test_a_search_chooses_among_transforms_by_parameters_of_theirs():
    values = np.exp(np.sin(np.arange(151) / 3)[:, None] + 5)
    pipeline = make_pipeline(SeriesScaler(), Difference())
    search = GridSearchCV(
        RidgeForecaster(horizon=HORIZON, context_length=16, target_transform=pipeline),
        {
            "target_transform__difference__lag": [1, 3],
            "target_transform__seriesscaler": [SeriesScaler(), "passthrough"],
        },
        cv=RollingOriginSplit(n_splits=2, horizon=HORIZON, context_length=16),
        scoring=forecast_scorer("mae"),
        error_score="raise",
    ).fit(values)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["target_transform__difference__lag"] in (1, 3)
    assert np.isfinite(search.predict(values)).all()
    single = RidgeForecaster(target_transform=Difference())
    assert single.set_params(target_transform__lag=3).target_transform.lag == 3


def test_a_transform_without_a_way_back_is_refused_before_training():
    from sklearn.preprocessing import Normalizer

    with pytest.raises(ParameterError, match=r"inverse_transform"):
        RidgeForecaster(target_transform=Normalizer()).fit(panel())


def test_a_log_of_what_is_negative_is_refused_with_a_sentence():
    log = LogTransform(offset=0)
    with pytest.raises(DataError, match=r"that LogTransform cannot take.*values above 0"):
        RidgeForecaster(horizon=HORIZON, target_transform=log).fit(-np.ones((67, 1)))


def test_a_transform_that_cannot_be_saved_is_refused_when_saving(tmp_path):
    from sklearn.preprocessing import FunctionTransformer

    transform = FunctionTransformer(np.sqrt, np.square)
    forecaster = RidgeForecaster(horizon=HORIZON, target_transform=transform).fit(panel())
    assert np.isfinite(forecaster.predict()["y"]).all()
    with pytest.raises(ParameterError, match=r"cannot be saved"):
        forecaster.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_covariates_are_not_transformed():
    table = panel()
    table["price"] = np.random.default_rng(0).normal(size=len(table))
    options = {"horizon": HORIZON, "context_length": CONTEXT, "trainer_kwargs": QUICK}
    forecaster = tiny(**options, future_covariates="price", target_transform=StandardScaler())
    forecaster.fit(table, validation=HORIZON)
    last = table.groupby("unique_id").cumcount(ascending=False) < HORIZON
    mean = forecaster.model_.head.covariates.known.mean
    assert mean.item() == pytest.approx(table.loc[~last, "price"].mean())
    assert isinstance(forecaster, TitansForecaster)


def test_a_series_without_a_name_is_none_of_those_that_have_one():
    """It is scaled as all rows of fit together would be, not as the series that is called 0."""
    rng = np.random.default_rng(0)
    several = np.stack([rng.normal(size=(90, 1)), 1000 * rng.normal(size=(90, 1)) + 5000])
    naive = SeasonalNaiveForecaster(
        horizon=3,
        context_length=8,
        season_length=1,
        target_transform=SeriesScaler(),
        validation_fraction=0,
    ).fit(several)
    named = naive.predict(quantiles=(0.1, 0.9))
    widths = (named[..., 1] - named[..., 0]).mean(axis=(1, 2))
    found = naive.predict(several[1], quantiles=(0.1, 0.9))
    pooled = np.std(several)
    assert (found[..., 1] - found[..., 0]).mean() == pytest.approx(
        widths[0] * pooled / np.std(several[0])
    )
    alone = SeriesScaler().fit(several).transform(several[1])
    np.testing.assert_allclose(alone, (several[1] - several.mean()) / pooled)
