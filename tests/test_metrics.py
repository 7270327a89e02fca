"""Metrics: values one can redo on paper, the observed mask, and sentences for wrong shapes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts import DataError, ParameterError, RidgeForecaster
from titans_ts import metrics as m


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        pytest.param(m.mean_absolute_error, 2.0, id="MAE of 1, 2, 3"),
        pytest.param(m.mean_squared_error, 14 / 3, id="MSE of 1, 2, 3"),
        pytest.param(m.root_mean_squared_error, np.sqrt(14 / 3), id="RMSE of 1, 2, 3"),
        # 2*1/(1+0), 2*2/(4+2), 2*3/(3+0)
        pytest.param(m.smape, (2 + 2 / 3 + 2) / 3, id="sMAPE"),
    ],
)
def test_point_metrics_give_values_worked_out_by_hand(metric, expected):
    assert metric([1.0, 4.0, -3.0], [0.0, 2.0, 0.0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric", [m.mean_absolute_error, m.mean_squared_error, m.root_mean_squared_error, m.smape]
)
def test_what_was_not_observed_counts_for_nothing(metric):
    rng = np.random.default_rng(0)
    truth, forecast = rng.normal(size=(2, 3, 5, 7))
    observed = rng.random((3, 5, 7)) < 0.6
    expected = metric(truth[observed], forecast[observed])
    truth[~observed], forecast[~observed] = np.nan, np.inf
    assert metric(truth, forecast, observed=observed) == pytest.approx(expected)


def test_metrics_take_frames():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert m.mean_absolute_error(frame, frame + 2) == 2.0


def test_smape_of_zero_forecast_as_zero_is_zero():
    assert m.smape([0.0, 0.0], [0.0, 0.0]) == 0.0


def test_mase_of_repeating_the_last_value_is_about_one():
    walk = np.random.default_rng(0).normal(size=(20_000, 2)).cumsum(axis=0) * [1.0, 1e6]
    history, later = walk[:10_000], walk[10_000:]
    assert m.mase(later[1:], later[:-1], history=history) == pytest.approx(1, abs=0.03)


def test_mase_weighs_channels_by_their_own_scale_and_season():
    history = np.array([[0.0, 0.0], [5.0, 10.0], [2.0, 40.0], [7.0, 50.0]])
    # Two rows apart, channel 0 moves by 2 and channel 1 by 40.
    value = m.mase([[1.0, 20.0]], [[2.0, 0.0]], history=history, season_length=2)
    assert value == pytest.approx((1 / 2 + 20 / 40) / 2)


def test_mase_leaves_out_channels_whose_history_stands_still():
    history = np.array([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    assert m.mase([[1.0, 9.0]], [[2.0, 0.0]], history=history) == 0.5
    with pytest.raises(DataError, match="repeats itself exactly in every observed channel"):
        m.mase([[9.0]], [[0.0]], history=history[:, 1:])


@pytest.mark.parametrize(
    ("history", "season_length", "message"),
    [
        pytest.param(np.ones((5, 3)), 1, r"\(1, 2\) and \(5, 3\)", id="other channels"),
        pytest.param(np.ones((2, 2)), 2, "2 rows, expected more than season_length=2", id="short"),
        pytest.param(np.full((5, 2), np.nan), 1, "history has 10 NaN", id="unknown"),
    ],
)
def test_mase_says_what_is_wrong_with_the_history(history, season_length, message):
    with pytest.raises(DataError, match=message):
        m.mase(np.ones((1, 2)), np.ones((1, 2)), history=history, season_length=season_length)


def test_pinball_loss_punishes_the_side_that_the_level_says():
    # Level 0.1: 2 too low costs 0.1 * 2. Level 0.9: 4 too high costs 0.1 * 4.
    assert m.pinball_loss([10.0], [[8.0, 14.0]], (0.1, 0.9)) == pytest.approx((0.2 + 0.4) / 2)
    assert m.pinball_loss([10.0], [[13.0]], (0.1,)) == pytest.approx(0.9 * 3)


def test_one_value_alone_has_a_loss_by_quantiles_as_by_its_size():
    assert m.mean_absolute_error(10.0, 8.0) == 2.0
    assert m.pinball_loss(10.0, [8.0, 14.0], [0.25, 0.75]) == pytest.approx(0.75)
    assert m.weighted_quantile_loss(10.0, [8.0, 14.0], [0.25, 0.75]) == pytest.approx(0.15)
    with pytest.raises(DataError, match=r"y_pred has the shape \(\), expected \(1,\)"):
        m.pinball_loss(10.0, 8.0, [0.5])


def test_pinball_loss_at_the_median_is_half_the_mean_absolute_error():
    truth, forecast = np.random.default_rng(0).normal(size=(2, 5, 7))
    observed = np.arange(35).reshape(5, 7) % 3 > 0
    loss = m.pinball_loss(truth, forecast[..., None], [0.5], observed=observed)
    assert loss == pytest.approx(m.mean_absolute_error(truth, forecast, observed=observed) / 2)


def test_pinball_loss_is_least_at_the_true_quantile():
    sample = np.random.default_rng(0).normal(size=20_000)
    losses = {q: m.pinball_loss(sample, np.full((20_000, 1), q), [0.9]) for q in (0.8, 1.28, 1.8)}
    assert min(losses, key=losses.get) == 1.28


def test_weighted_quantile_loss_has_no_unit_and_is_mae_over_size_at_the_median():
    truth, forecast = np.array([[1.0, -3.0], [4.0, 0.0]]), np.array([[2.0, -3.0], [2.0, 1.0]])
    for unit in (1.0, 1e9):
        loss = m.weighted_quantile_loss(truth * unit, forecast[..., None] * unit, [0.5])
        assert loss == pytest.approx((1 + 0 + 2 + 1) / (1 + 3 + 4 + 0))
    with pytest.raises(DataError, match="Every observed value of y_true is 0"):
        m.weighted_quantile_loss([0.0], [[1.0]], [0.5])


def test_coverage_counts_the_bounds_in_and_the_missing_out():
    truth, low, high = np.arange(5.0), np.full(5, 1.0), np.full(5, 3.0)
    assert m.coverage(truth, low, high) == 3 / 5
    assert m.coverage(truth, low, high, observed=truth > 0) == 3 / 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda: m.mean_squared_error(np.ones((2, 3)), np.ones(3)),
            DataError,
            r"y_pred has the shape \(3,\), expected \(2, 3\)",
            id="no broadcasting",
        ),
        pytest.param(
            lambda: m.coverage(np.ones(3), np.ones(3), np.ones(2)),
            DataError,
            r"upper has the shape \(2,\), expected \(3,\)",
            id="the bound is named",
        ),
        pytest.param(
            lambda: m.mean_absolute_error([1.0, np.nan], [1.0, 2.0]),
            DataError,
            r"y_true has 1 NaN or infinite values that count, the first at index \(1,\)",
            id="NaN that counts",
        ),
        pytest.param(
            lambda: m.mean_absolute_error([1.0], [1.0], observed=[False]),
            DataError,
            "Not one value is observed",
            id="nothing observed",
        ),
        pytest.param(
            lambda: m.mean_absolute_error([1.0], [1.0], observed=[1]),
            DataError,
            r"observed must be True or False .* of shape \(1,\)",
            id="mask of numbers",
        ),
        pytest.param(
            lambda: m.mean_absolute_error(["a"], [1.0]),
            DataError,
            "y_true must be an array of numbers",
            id="text",
        ),
        pytest.param(
            lambda: m.pinball_loss(np.ones((2, 3)), np.ones((2, 3)), [0.1, 0.9]),
            DataError,
            r"shape \(2, 3\), expected \(2, 3, 2\)",
            id="quantiles need an axis",
        ),
        pytest.param(
            lambda: m.pinball_loss([1.0], [[1.0]], None),
            ParameterError,
            "quantiles must be increasing fractions",
            id="no levels",
        ),
    ],
)
def test_wrong_input_gets_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("what", ["columns", "index"])
def test_tables_in_another_order_are_refused(what):
    true = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, index=[7, 8, 9])
    other = true[["b", "a"]] if what == "columns" else true[::-1]
    assert m.mean_absolute_error(true, true + 1) == 1.0
    with pytest.raises(DataError, match=rf"y_pred has the {what} of y_true in another order"):
        m.mean_absolute_error(true, other)
    # Other names altogether say nothing: bounds are called after their quantiles.
    assert m.mean_absolute_error(true, true.set_axis([1, 2], axis=1).reset_index(drop=True)) == 0.0


@pytest.mark.parametrize("as_true", ["frame", "series", "unnamed series"])
def test_quantiles_in_a_table_are_those_of_an_array(as_true):
    rows = pd.date_range("2024", periods=30, freq="h")
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), rows, ["a", "b"])
    if as_true != "frame":
        table = table["a"].rename(None if as_true == "unnamed series" else "a")
    forecaster = RidgeForecaster(horizon=4, context_length=4).fit(table[:26])
    known, levels = table[26:], (0.1, 0.5, 0.9)
    found = forecaster.predict(quantiles=levels)
    expected = found.to_numpy().reshape(*known.shape, 3)
    for metric in (m.pinball_loss, m.weighted_quantile_loss):
        assert metric(known, found, levels) == metric(known.to_numpy(), expected, levels)
    with pytest.raises(DataError, match="index of y_true in another order"):
        m.pinball_loss(known, found[::-1], levels)
    with pytest.raises(DataError, match="expected"):
        m.pinball_loss(known, found[found.columns[::-1]], levels)


@pytest.mark.parametrize("truth", [pd.Series([1.0, 2.0], name="a"), np.array([1.0, 2.0])])
@pytest.mark.parametrize("names", [["a_q0.05", "a_q0.95"], ["a_q0.9", "a_q0.1"], ["q0.9", "q0.1"]])
def test_quantiles_of_other_levels_are_refused(truth, names):
    table = pd.DataFrame([[0.0, 4.0], [1.0, 5.0]], columns=names)
    with pytest.raises(DataError, match=rf"y_pred has .*{names[0]}|expected .*q0.1"):
        m.pinball_loss(truth, table, (0.1, 0.9))
    named = table.set_axis(["a_q0.1", "a_q0.9"], axis=1)
    assert m.pinball_loss(truth, named, (0.1, 0.9)) > 0
    # Quarters of a year are no levels.
    for others in (["low", "high"], ["sales_q1", "sales_q3"]):
        assert m.pinball_loss(truth, table.set_axis(others, axis=1), (0.1, 0.9)) > 0


# -- tables that would be compared with the wrong rows or columns ----------------------------------


def hours(start="2024-03-30", **options):
    return pd.date_range(start, periods=3, freq="h", **options)


def a_table(index=None):
    return pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [4.0, 5.0, 7.0]}, index=index)


@pytest.mark.parametrize(
    ("ours", "theirs", "row"),
    [
        pytest.param(hours(), hours("2024-05-01"), 0, id="another month"),
        pytest.param(hours(), hours().shift(1), 0, id="an hour later"),
        pytest.param(hours(), hours()[[0, 1]].append(hours()[[2]] + pd.Timedelta("1h")), 2, id="2"),
        pytest.param(hours().to_period("h"), hours().shift(1).to_period("h"), 0, id="periods"),
        pytest.param(hours(tz="UTC"), hours(tz="Asia/Tokyo"), 0, id="wall clocks of two zones"),
        pytest.param(
            pd.MultiIndex.from_product([["s"], hours()]),
            pd.MultiIndex.from_product([["s"], hours().shift(1)]),
            0,
            id="ids and times",
        ),
    ],
)
def test_a_forecast_of_other_times_is_refused(ours, theirs, row):
    true, forecast = a_table(ours), a_table(theirs)
    assert m.mean_absolute_error(true, forecast.set_axis(ours) + 1) == 1.0
    assert m.mean_absolute_error(true.to_numpy(), forecast + 1) == 1.0
    for other in (forecast, forecast["a"]):
        known = true if other is forecast else true["a"]
        with pytest.raises(DataError, match=f"y_pred is of other times than y_true: row {row} is"):
            m.mean_absolute_error(known, other)
    with pytest.raises(DataError, match="upper is of other times"):
        m.coverage(true, true, forecast)
    with pytest.raises(DataError, match="y_pred is of other times"):
        m.pinball_loss(true["a"], forecast[["a"]].set_axis(["a_q0.5"], axis=1), [0.5])


def test_the_same_times_in_another_zone_or_unit_are_the_same():
    true = a_table(hours(tz="UTC"))
    elsewhere = true.tz_convert("Asia/Tokyo").set_axis(true.index.as_unit("s"))
    assert m.mean_absolute_error(true, elsewhere) == 0.0


def test_row_numbers_are_no_times():
    assert m.mean_absolute_error(a_table([7, 8, 9]), a_table()) == 0.0


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_a_column_that_stands_elsewhere_is_refused(container):
    true, other = container({"a": [1.0], "b": [2.0]}), container({"b": [1.0], "c": [2.0]})
    with pytest.raises(DataError, match="y_pred has the columns of y_true in another order"):
        m.mean_absolute_error(true, other)
    with pytest.raises(DataError, match="history has the columns of y_true in another order"):
        m.mase(true, true, history=container({"b": [1.0, 2.0], "a": [3.0, 9.0]}))


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    ("name", "values", "holds"),
    [
        pytest.param("unique_id", [1, 2, 3], "ids", id="numbers as ids"),
        pytest.param("item_id", ["r", "s", "t"], "ids", id="text as ids"),
        pytest.param("ds", hours(), "times", id="times"),
    ],
)
def test_ids_and_times_are_not_compared_as_values(container, name, values, holds):
    table = container({name: list(values), "y": [1.0, 2.0, 4.0]})
    with pytest.raises(DataError, match=f"y_true has a column {name!r}, which holds {holds}"):
        m.mean_absolute_error(table, table)
    assert m.mean_absolute_error(table[["y"]], table[["y"]]) == 0.0


@pytest.mark.parametrize(
    "times", [hours(), pd.Series(hours()), hours().to_numpy(), hours() - hours()[0]]
)
def test_times_are_no_numbers(times):
    with pytest.raises(DataError, match="y_true must be an array of numbers"):
        m.mean_absolute_error(times, times)


@pytest.mark.parametrize(
    "true",
    [
        pytest.param(np.ma.masked_array([1.0, 1e9, 4.0], [False, True, False]), id="masked"),
        pytest.param(pd.Series([1, None, 4], dtype="Int64"), id="NA of pandas"),
        pytest.param(pl.Series([1, None, 4]), id="null of polars"),
    ],
)
def test_what_a_table_holds_as_missing_is_missing(true):
    with pytest.raises(DataError, match="y_true has 1 NaN or infinite values that count"):
        m.mean_absolute_error(true, [1.0, 2.0, 2.0])
    assert m.mean_absolute_error(true, [1.0, 2.0, 2.0], observed=[True, False, True]) == 1.0


def test_missing_values_of_one_column_leave_the_others_alone():
    true = pd.DataFrame({"a": pd.Series([1, None], dtype="Int64"), "b": [2.0, 5.0]})
    assert m.mean_absolute_error(true, np.zeros((2, 2)), observed=true.notna()) == 8 / 3


def test_mase_of_a_series_is_that_of_a_table_of_one_column():
    history, true = pd.Series([1.0, 3.0, 2.0, 4.0]), pd.Series([5.0, 6.0], index=[4, 5])
    expected = m.mase(true.to_frame(), true.to_frame() - 1, history=history.to_frame())
    assert m.mase(true, true - 1, history=history) == expected == pytest.approx(3 / 5)


def test_mase_takes_no_rounding_noise_for_a_scale():
    noise = np.array([0.3, 0.1 + 0.2, 0.3, 0.3])
    assert noise.std() > 0
    history = np.stack([noise, [1.0, 3.0, 5.0, 7.0]], axis=1)
    assert m.mase([[0.9, 9.0]], [[0.3, 8.0]], history=history) == 0.5


def test_mase_says_what_helps_where_the_history_has_gaps():
    with pytest.raises(DataError, match=r"history has 1 NaN.* Fill them in.*Impute"):
        m.mase([[1.0]], [[1.0]], history=[[1.0], [np.nan], [2.0]])


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(DataError, match="lower is above upper in all of the 2 values"):
        m.coverage([1.0, 2.0], [3.0, 3.0], [0.0, 0.0])
    # Quantiles that cross at some step are those of the forecaster.
    assert m.coverage([1.0, 2.0], [0.0, 3.0], [2.0, 0.0]) == 0.5


def test_a_mask_that_is_masked_itself_hides_what_it_masks():
    observed = np.ma.masked_array([True, True, False], [False, True, False])
    errors = m.mean_absolute_error([1.0, 2.0, 3.0], [2.0, 9.0, 9.0], observed=observed)
    assert errors == 1.0
