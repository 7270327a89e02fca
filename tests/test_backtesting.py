"""The long-horizon protocol: rows, windows and units exactly as its docstring says."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError

from titans_ts import (
    DataError,
    LinearForecaster,
    ParameterError,
    RidgeForecaster,
    SeasonalNaiveForecaster,
)
from titans_ts.backtesting import ETT_SPLITS, fraction_split, long_horizon_protocol
from titans_ts.data.csv import read_csv

SPLIT = {"n_train": 211, "n_validation": 53, "n_test": 61}


def walk(n=340, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, channels)).cumsum(axis=0) * [1.0, 50.0, 1e-4]


def last_value(horizon=5):
    return SeasonalNaiveForecaster(horizon=horizon, context_length=7, season_length=1)


def test_errors_equal_a_plain_loop_over_every_test_window():
    X, horizon = walk(), 5
    result = long_horizon_protocol({"naive": last_value(horizon)}, X, **SPLIT)
    Z = (X - X[:211].mean(axis=0)) / X[:211].std(axis=0)
    origins = range(211 + 53, 211 + 53 + 61 - horizon + 1)
    errors = np.array([Z[o : o + horizon] - Z[o - 1] for o in origins])
    naive = result.forecasters["naive"]
    assert naive.n_windows == len(origins) == 57
    assert naive.mse == pytest.approx((errors**2).mean())
    assert naive.mae == pytest.approx(np.abs(errors).mean())
    np.testing.assert_allclose(naive.channel_mse, (errors**2).mean(axis=(0, 1)))
    np.testing.assert_allclose(naive.channel_mae, np.abs(errors).mean(axis=(0, 1)))


def test_units_of_the_channels_change_nothing():
    X = walk()
    one, other = (
        long_horizon_protocol({"r": RidgeForecaster(horizon=5, context_length=17)}, x, **SPLIT)
        for x in (X, X * [1e-9, 1e3, 1e7] + [0.0, 1e5, -3.0])
    )
    assert one.forecasters["r"].mse == pytest.approx(other.forecasters["r"].mse, rel=1e-6)


def test_a_masked_array_is_one_with_holes():
    X = walk()
    hidden = np.random.default_rng(1).random(X.shape) < 0.1
    holed, masked = np.where(hidden, np.nan, X), np.ma.MaskedArray(np.where(hidden, 1e6, X), hidden)
    one, other = (
        long_horizon_protocol({"r": RidgeForecaster(horizon=5, context_length=17)}, x, **SPLIT)
        for x in (holed, masked)
    )
    assert one.forecasters["r"].mse == other.forecasters["r"].mse


def test_fit_sees_no_test_row_and_validates_on_the_rows_before_them():
    X = walk()
    spoilt = X.copy()
    spoilt[211 + 53 :] = 1e6
    asked, free = (RidgeForecaster(horizon=5, context_length=17) for _ in range(2))
    long_horizon_protocol({"asked": asked}, spoilt, **SPLIT)
    long_horizon_protocol({"free": free}, spoilt, **SPLIT, validation="default")
    by_hand = RidgeForecaster(horizon=5, context_length=17).fit(X[:264], validation=53)
    np.testing.assert_array_equal(asked.coef_, by_hand.coef_)
    np.testing.assert_array_equal(asked.error_quantiles_, by_hand.error_quantiles_)
    by_default = RidgeForecaster(horizon=5, context_length=17).fit(X[:264])
    np.testing.assert_array_equal(free.error_quantiles_, by_default.error_quantiles_)
    assert not np.array_equal(free.error_quantiles_, asked.error_quantiles_)


def test_rows_past_the_split_stay_unused():
    X = walk()
    spoilt = X.copy()
    spoilt[211 + 53 + 61 :] = 1e9
    clean, other = (
        long_horizon_protocol({"naive": last_value()}, x, **SPLIT).table()[["mse", "mae"]]
        for x in (X, spoilt)
    )
    pd.testing.assert_frame_equal(clean, other)


def test_every_container_gives_the_same_figures():
    X = walk()
    time = pd.date_range("2024-03-01", periods=len(X), freq="h", name="time")
    frame = pd.DataFrame(X, columns=list("abc"), index=time)
    tables = [
        X,
        np.stack([X, X]),
        frame,
        frame.reset_index(),
        pl.from_pandas(frame.reset_index()),
    ]
    results = [long_horizon_protocol({"n": last_value()}, table, **SPLIT) for table in tables]
    assert len({round(r.forecasters["n"].mse, 12) for r in results}) == 1
    assert [r.forecasters["n"].n_windows for r in results] == [57, 114, 57, 57, 57]
    assert results[3].channels == ("a", "b", "c")


def test_tables_have_a_row_per_forecaster_and_per_channel():
    forecasters = {"last": last_value(), "ridge": RidgeForecaster(horizon=5, context_length=17)}
    result = long_horizon_protocol(forecasters, walk(), **SPLIT)
    table = result.table()
    assert list(table.index) == ["last", "ridge"]
    assert list(table.columns) == ["mse", "mae", "n_windows", "fit_seconds", "forecast_seconds"]
    assert (table["fit_seconds"] > 0).all()
    by_channel = result.channel_table()
    assert by_channel.shape == (6, 2)
    assert by_channel.loc["ridge", "mse"].mean() == pytest.approx(table.loc["ridge", "mse"])


def test_fitted_forecasters_are_judged_as_they_are():
    X = walk()
    ridge = RidgeForecaster(horizon=5, context_length=17).fit(X[:264], validation=53)
    coef = ridge.coef_.copy()
    fitted = long_horizon_protocol({"r": ridge}, X, **SPLIT, fit=False).forecasters["r"]
    fresh = long_horizon_protocol(
        {"r": RidgeForecaster(horizon=5, context_length=17)}, X, **SPLIT
    ).forecasters["r"]
    assert fitted.mse == fresh.mse
    assert np.isnan(fitted.fit_seconds)
    np.testing.assert_array_equal(ridge.coef_, coef)
    with pytest.raises(NotFittedError):
        long_horizon_protocol({"r": RidgeForecaster(horizon=5)}, X, **SPLIT, fit=False)


def test_a_channel_that_stands_still_in_training_keeps_its_unit():
    X = np.column_stack([walk()[:, 0], np.full(340, 0.1 + 1e9)])
    X[300:, 1] += 2.0
    naive = long_horizon_protocol({"n": last_value()}, X, **SPLIT).forecasters["n"]
    # 2 above the forecast in 1 to 5 steps of the 5 windows around row 300.
    assert naive.channel_mae[1] == pytest.approx(2 * (5 + 4 + 3 + 2 + 1) / (57 * 5))


def test_progress_counts_the_windows_of_each_forecaster():
    calls = []
    long_horizon_protocol(
        {"a": last_value(), "b": last_value()}, walk(), **SPLIT, progress=lambda *c: calls.append(c)
    )
    assert calls == [("a", 0, 57), ("a", 57, 57), ("b", 0, 57), ("b", 57, 57)]


def test_published_splits():
    assert ETT_SPLITS["ETTh2"] == (8640, 2880, 2880)
    assert ETT_SPLITS["ETTm1"] == (34_560, 11_520, 11_520)
    assert fraction_split(52_696) == (36_887, 5_270, 10_539)  # Weather
    assert sum(fraction_split(101)) == 101


@pytest.mark.parametrize(
    ("forecasters", "change", "error", "message"),
    [
        pytest.param({}, {}, ParameterError, "dict of at least one forecaster", id="none"),
        pytest.param(
            {"a": object()}, {}, ParameterError, r"forecasters\['a'\] must be", id="a stranger"
        ),
        pytest.param(
            {"a": last_value(5), "b": last_value(7)},
            {},
            ParameterError,
            "different horizons",
            id="horizons",
        ),
        pytest.param(
            {"a": last_value()},
            {"n_test": 3},
            ParameterError,
            "n_test=3 rows hold no whole target of horizon=5",
            id="short test",
        ),
        pytest.param(
            {"a": last_value()},
            {"n_test": 90},
            DataError,
            "X has 340 rows, but the split needs 354",
            id="short table",
        ),
        pytest.param(
            {"a": last_value()},
            {"validation": 7},
            ParameterError,
            "validation must be one of 'split', 'default'",
            id="validation",
        ),
    ],
)
def test_wrong_input_gets_a_sentence(forecasters, change, error, message):
    with pytest.raises(error, match=message):
        long_horizon_protocol(forecasters, walk(), **{**SPLIT, **change})


def test_forecasters_of_different_columns_are_not_compared():
    X = pd.DataFrame(walk(), columns=list("abc"))
    forecasters = {
        "all": RidgeForecaster(horizon=5, context_length=17),
        "one": RidgeForecaster(horizon=5, context_length=17, target=["a"]),
    }
    with pytest.raises(ParameterError, match=r"'one' forecasts the columns \['a'\]"):
        long_horizon_protocol(forecasters, X, **SPLIT)


@pytest.mark.real_data
def test_ridge_reaches_its_published_figure_on_ettm1(real_data):
    X = read_csv(real_data / "forecasting" / "ETTm1.csv.gz")
    forecasters = {
        "naive": SeasonalNaiveForecaster(horizon=96),
        "ridge": RidgeForecaster(horizon=96, context_length=336),
    }
    result = long_horizon_protocol(forecasters, X, **ETT_SPLITS["ETTm1"]._asdict())
    table = result.table()
    assert table["n_windows"].tolist() == [11_425, 11_425]
    assert table.loc["ridge", "mse"] == pytest.approx(0.3005, abs=0.002)
    assert forecasters["naive"].season_length_ == 96
    assert table.loc["naive", "mse"] == pytest.approx(0.4227, abs=0.002)


@pytest.mark.slow
@pytest.mark.real_data
def test_the_linear_map_trained_on_absolute_error_beats_ridge_on_ettm1(real_data):
    X = read_csv(real_data / "forecasting" / "ETTm1.csv.gz")
    linear = LinearForecaster(horizon=96, context_length=336, random_state=0)
    result = long_horizon_protocol({"linear": linear}, X, **ETT_SPLITS["ETTm1"]._asdict())
    assert 0.290 < result.forecasters["linear"].mse < 0.298
