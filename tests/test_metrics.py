"""Metrics: values one can redo on paper, the observed mask, and sentences for wrong shapes."""

import numpy as np
import pandas as pd
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
