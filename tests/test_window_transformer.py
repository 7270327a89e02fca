"""WindowTransformer: windows as views, and the way back to the series."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import WindowTransformer

ROWS, CHANNELS = 23, 2


def counted(rows=ROWS, channels=CHANNELS):
    """Values that say where they are: row 7 of channel 1 is 71."""
    return 10.0 * np.arange(rows)[:, None] + np.arange(channels)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("channels", [1, 2])
def test_contexts_and_targets_hold_the_rows_that_they_should(stride, gap, channels):
    X = counted(channels=channels)
    windows = WindowTransformer(context_length=5, horizon=7, stride=stride, gap=gap).fit(X)
    contexts, targets = windows.split(X)
    starts = range(0, ROWS - 5 - gap - 7 + 1, stride)
    assert len(contexts) == len(targets) == len(starts)
    for number, start in enumerate(starts):
        np.testing.assert_array_equal(contexts[number], X[start : start + 5].ravel())
        after = start + 5 + gap
        np.testing.assert_array_equal(targets[number], X[after : after + 7].ravel())


def test_all_contexts_come_also_those_at_the_end():
    X = counted()
    found = WindowTransformer(context_length=5, horizon=7).fit_transform(X)
    assert found.shape == (19, 10)
    np.testing.assert_array_equal(found[-1], X[-5:].ravel())


@pytest.mark.parametrize("shape", [(ROWS, CHANNELS), (1, ROWS, CHANNELS)])
def test_windows_are_views_that_cannot_be_written_to(shape):
    X = counted().reshape(shape)
    windows = WindowTransformer(context_length=5, horizon=7, stride=2, gap=1).fit(X)
    for found in (windows.transform(X), *windows.split(X)):
        assert np.shares_memory(found, X)
        assert not found.flags.writeable
    assert X.flags.writeable


def test_a_million_windows_take_no_memory():
    X = np.zeros((1_000_000, 1))
    contexts, targets = WindowTransformer(context_length=512, horizon=96).fit(X).split(X)
    assert contexts.shape == (999_393, 512)
    assert contexts.base is not None
    assert np.shares_memory(contexts, X)
    assert np.shares_memory(targets, X)


def test_no_window_goes_over_from_one_series_to_the_next():
    X = np.stack([counted(), -1 - counted()])
    windows = WindowTransformer(context_length=5, horizon=2).fit(X)
    contexts, targets = windows.split(X)
    assert len(contexts) == 2 * (ROWS - 6)
    assert (np.sign(contexts + 0.5) == np.sign(contexts[:, :1] + 0.5)).all()
    np.testing.assert_array_equal(targets[ROWS - 6], X[1, 5:7].ravel())
    np.testing.assert_array_equal(windows.inverse_transform(windows.transform(X)), X.reshape(-1, 2))


def test_series_shorter_than_a_window_have_none():
    X = pd.DataFrame(
        {
            "unique_id": ["a"] * 3 + ["b"] * 7,
            "ds": [*range(3), *range(7)],
            "y": np.arange(10.0),
        }
    )
    windows = WindowTransformer(context_length=5).fit(X)
    assert windows.transform(X).tolist() == [[3, 4, 5, 6, 7], [4, 5, 6, 7, 8], [5, 6, 7, 8, 9]]
    assert windows.split(X)[1].tolist() == [[8], [9]]
    back = windows.inverse_transform(windows.transform(X))
    np.testing.assert_array_equal(back[:, 0], [np.nan] * 3 + list(range(3, 10)))


def test_changed_windows_are_averaged_where_they_overlap():
    X = counted(rows=4, channels=1)
    windows = WindowTransformer(context_length=3).fit(X)
    back = windows.inverse_transform([[0.0, 3.0, 5.0], [6.0, 7.0, 9.0]])
    assert back[:, 0].tolist() == [0.0, 4.5, 6.0, 9.0]


def test_names_say_how_far_back_a_value_lies():
    X = pd.DataFrame(counted(), columns=["OT", "HUFL"])
    windows = WindowTransformer(context_length=2).set_output(transform="pandas")
    found = windows.fit_transform(X)
    assert found.columns.tolist() == ["OT_t-1", "HUFL_t-1", "OT_t-0", "HUFL_t-0"]
    assert windows.get_feature_names_out().tolist() == found.columns.tolist()
    np.testing.assert_array_equal(found["OT_t-1"], X["OT"][:-1])
    in_polars = windows.set_output(transform="polars").transform(X)
    assert isinstance(in_polars, pl.DataFrame)
    assert in_polars.columns == found.columns.tolist()


def test_ids_and_time_are_no_part_of_a_window():
    X = pd.DataFrame(
        {"ds": pd.date_range("2024-01-01", periods=5), "unique_id": "a", "y": np.arange(5.0)}
    )
    windows = WindowTransformer(context_length=2).fit(X)
    assert windows.get_feature_names_out().tolist() == ["y_t-1", "y_t-0"]
    assert windows.transform(X).shape == (4, 2)


def test_a_regressor_of_scikit_learn_forecasts_a_season():
    season = np.sin(np.arange(240.0) * 2 * np.pi / 24)[:, None]
    windows = WindowTransformer(context_length=24, horizon=24).fit(season[:-24])
    contexts, targets = windows.split(season[:-24])
    model = Ridge(alpha=1e-6).fit(contexts, targets)
    forecast = model.predict(windows.transform(season[:-24])[-1:])
    np.testing.assert_allclose(forecast[0], season[-24:, 0], atol=1e-3)


def test_missing_values_stay_missing():
    X = counted(channels=1)
    X[3] = np.nan
    found = WindowTransformer(context_length=2).fit_transform(X)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [2, 3]


def test_what_cannot_be_cut_gets_a_sentence():
    X = counted()
    with pytest.raises(ParameterError, match="gap must be a whole number of at least 0, got -1"):
        WindowTransformer(gap=-1).fit(X)
    with pytest.raises(
        DataError, match=r"No window fits: the longest series has 23 rows.*needs 24"
    ):
        WindowTransformer(context_length=24).fit_transform(X)
    windows = WindowTransformer(context_length=5).fit(X)
    with pytest.raises(DataError, match=r"Expected windows of shape \(19, 10\).*got \(18, 10\)"):
        windows.inverse_transform(windows.transform(X)[1:])
    hours = pd.Series(np.arange(9.0), index=pd.date_range("2024-01-01", periods=9, freq="h"))
    with pytest.raises(DataError, match=r"FillGaps\(\) inserts missing rows"):
        windows.fit(hours.drop(hours.index[4]))
