"""The long-horizon protocol on long tables: the rows of each series, wherever they stand."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts import (
    DataError,
    ParquetFolder,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)
from titans_ts.backtesting import first_rows, long_horizon_protocol

SPLIT = {"n_train": 83, "n_validation": 23, "n_test": 29}
ROWS = sum(SPLIT.values())


def panel(lengths=(ROWS, ROWS + 17, ROWS + 5), channels=("y",)) -> pd.DataFrame:
    """Series of unequal length that begin at different times."""
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(f"2024-01-0{i + 1}", periods=n, freq="h"),
                **{c: 10 * i + rng.normal(size=n).cumsum() for c in channels},
            }
        )
        for i, (name, n) in enumerate(zip("abc", lengths, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def last_value(horizon=5, **parameters):
    return SeasonalNaiveForecaster(horizon=horizon, context_length=7, season_length=1, **parameters)


def test_errors_equal_a_plain_loop_over_every_series():
    long, horizon = panel(), 5
    arrays = [rows["y"].to_numpy() for _, rows in long.groupby("unique_id")]
    scale = np.concatenate([a[:83] for a in arrays]).std()
    origins = range(83 + 23, ROWS - horizon + 1)
    errors = [(a[o : o + horizon] - a[o - 1]) / scale for a in arrays for o in origins]
    naive = long_horizon_protocol({"n": last_value(horizon)}, long, **SPLIT).forecasters["n"]
    assert naive.n_windows == len(errors) == 3 * 25
    assert naive.mae == pytest.approx(np.abs(errors).mean())
    assert naive.mse == pytest.approx(np.square(errors).mean())


def test_series_of_one_length_give_the_figures_of_a_3d_array():
    long = panel((ROWS, ROWS, ROWS))
    X = np.stack([rows[["y"]].to_numpy() for _, rows in long.groupby("unique_id")])
    ridges = [RidgeForecaster(horizon=5, context_length=17) for _ in range(2)]
    of_frame, of_array = (
        long_horizon_protocol({"r": ridge}, table, **SPLIT)
        for ridge, table in zip(ridges, (long, X), strict=True)
    )
    assert of_frame.forecasters["r"].mse == pytest.approx(of_array.forecasters["r"].mse, rel=1e-9)
    np.testing.assert_allclose(ridges[0].coef_, ridges[1].coef_, rtol=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda long: long.sample(frac=1, random_state=3), id="shuffled"),
        pytest.param(lambda long: long.sort_values(["ds", "unique_id"]), id="by time"),
        pytest.param(lambda long: long.set_index(["unique_id", "ds"]), id="two levels"),
        pytest.param(lambda long: long.set_index("ds"), id="time as index"),
        pytest.param(pl.from_pandas, id="polars"),
        pytest.param(
            lambda long: long.rename(columns={"unique_id": "shop", "ds": "when"}), id="names"
        ),
    ],
)
def test_order_of_rows_and_container_change_nothing(change):
    names = {"id_column": "shop", "time_column": "when"}
    long = panel()
    expected = long_horizon_protocol({"n": last_value()}, long, **SPLIT).table()
    changed = change(long)
    parameters = names if "shop" in getattr(changed, "columns", ()) else {}
    result = long_horizon_protocol({"n": last_value(**parameters)}, changed, **SPLIT).table()
    exact = ["mse", "mae", "n_windows"]
    pd.testing.assert_frame_equal(result[exact], expected[exact], rtol=1e-12)


def test_fit_sees_no_test_row_of_any_series():
    clean, spoilt = panel(), panel()
    place = spoilt.groupby("unique_id").cumcount()
    spoilt.loc[place >= 83 + 23, "y"] = 1e6
    ridges = [RidgeForecaster(horizon=5, context_length=17) for _ in range(2)]
    for ridge, table in zip(ridges, (clean, spoilt), strict=True):
        long_horizon_protocol({"r": ridge}, table, **SPLIT)
    np.testing.assert_array_equal(ridges[0].coef_, ridges[1].coef_)
    np.testing.assert_array_equal(ridges[0].error_quantiles_, ridges[1].error_quantiles_)
    kept = dict.fromkeys("abc", 83 + 23)
    assert first_rows(clean, 83 + 23)["unique_id"].value_counts().to_dict() == kept


def test_rows_past_the_split_of_a_longer_series_stay_unused():
    clean, spoilt = panel(), panel()
    place = spoilt.groupby("unique_id").cumcount()
    spoilt.loc[place >= ROWS, "y"] = 1e9
    exact = ["mse", "mae"]
    figures = [
        long_horizon_protocol({"n": last_value()}, table, **SPLIT).table()[exact]
        for table in (clean, spoilt)
    ]
    pd.testing.assert_frame_equal(*figures)


def test_missing_values_of_the_test_rows_are_not_judged():
    long = panel((ROWS, ROWS, ROWS))
    long.loc[(long["unique_id"] == "b") & (long.groupby("unique_id").cumcount() > 100), "y"] = None
    naive = long_horizon_protocol({"n": last_value()}, long, **SPLIT).forecasters["n"]
    arrays = [rows["y"].to_numpy() for name, rows in long.groupby("unique_id") if name != "b"]
    scale = long[long.groupby("unique_id").cumcount() < 83]["y"].std(ddof=0)
    origins = range(106, ROWS - 5 + 1)
    errors = [(a[o : o + 5] - a[o - 1]) / scale for a in arrays for o in origins]
    assert naive.mae == pytest.approx(np.abs(errors).mean())


def test_covariates_and_calendar_are_read_from_the_table():
    long = panel((ROWS, ROWS + 3, ROWS), channels=("y", "plan"))
    long["kind"] = long["unique_id"].map({"a": "shop", "b": "mill", "c": "shop"})
    titans = TitansForecaster(
        horizon=5,
        context_length=13,
        target="y",
        future_covariates="plan",
        static_covariates="kind",
        calendar=True,
        max_epochs=1,
        accelerator="cpu",
        random_state=0,
    )
    forecasters = {"naive": last_value(target="y"), "titans": titans}
    table = long_horizon_protocol(forecasters, long, **SPLIT).table()
    assert table["n_windows"].tolist() == [75, 75]
    assert np.isfinite(table["mae"]).all()
    # The plan is read from the table that is judged.
    moved = long.assign(plan=long["plan"] + 3.0)
    fitted = {"titans": titans}
    again, other = (
        long_horizon_protocol(fitted, X, **SPLIT, fit=False).forecasters["titans"].mae
        for X in (long, moved)
    )
    assert again == pytest.approx(table.loc["titans", "mae"])
    assert other != pytest.approx(again, rel=1e-6)


def test_a_series_that_is_shorter_than_the_split_is_named():
    with pytest.raises(DataError, match=r"Series 'b' has 91 rows, but the split needs 135 from "):
        long_horizon_protocol({"n": last_value()}, panel((ROWS, 91, ROWS)), **SPLIT)
    with pytest.raises(DataError, match=r"Series 'b' has 91 rows \(and 1 other series are too s"):
        long_horizon_protocol({"n": last_value()}, panel((ROWS, 91, 90)), **SPLIT)


def test_test_rows_without_any_value_are_refused():
    long = panel((ROWS, ROWS, ROWS))
    long.loc[long.groupby("unique_id").cumcount() >= 106, "y"] = None
    with pytest.raises(DataError, match=r"Nothing to judge: every value of the 29 test rows is m"):
        long_horizon_protocol({"n": last_value()}, long, **SPLIT)


def test_rows_on_disk_are_judged_with_fitted_forecasters_only(tmp_path):
    long = panel()
    long.to_parquet(tmp_path / "panel.parquet")
    naive = last_value().fit(first_rows(long, 106))
    fitted = {"n": naive}
    expected = long_horizon_protocol(fitted, long, **SPLIT, fit=False).forecasters["n"].mae
    with ParquetFolder(tmp_path) as folder:
        result = long_horizon_protocol(fitted, folder, **SPLIT, fit=False)
        assert result.forecasters["n"].mae == pytest.approx(expected)
        with pytest.raises(DataError, match=r"rows of a ParquetFolder cannot be cut.*fit=False"):
            long_horizon_protocol(fitted, folder, **SPLIT)


def test_the_first_rows_of_a_wide_table_are_its_first_rows():
    wide = pd.DataFrame({"a": range(7)}, index=pd.date_range("2024-01-01", periods=7))
    assert first_rows(wide, 3)["a"].tolist() == [0, 1, 2]
    assert first_rows(wide["a"], 3).tolist() == [0, 1, 2]
    assert first_rows(pl.DataFrame({"a": range(7)}), 3)["a"].to_list() == [0, 1, 2]
    assert first_rows(np.zeros((2, 7, 3)), 5).shape == (2, 5, 3)
