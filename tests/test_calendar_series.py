"""Calendar features of every row of a set, and of the rows to forecast."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titans_ts.data.calendar import calendar_names, calendar_values
from titans_ts.data.calendar_series import calendar_series
from titans_ts.data.schema import read_table
from titans_ts.errors import DataError

HORIZON = 5


def stamps_of(frequency, n=29, tz=None, start="2024-03-20"):
    return pd.date_range(start, periods=n, freq=frequency, tz=tz)


def panel(index, lengths, ends=None):
    """Series that are stretches of one index."""
    ends = [len(index)] * len(lengths) if ends is None else ends
    parts = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": index[end - n : end], "y": np.arange(1.0 * n)})
        for i, (n, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def features(table, reference=None, horizon=HORIZON, names="auto", tail=None, **options):
    series, layout = read_table(table)
    fitted = layout if reference is None else read_table(reference)[1]
    if tail is not None:
        series = series.tail(np.full(series.n_series, tail))
    return calendar_series(series, layout, fitted, horizon, features=names, **options)


@pytest.mark.parametrize("tz", [None, "UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize(
    "frequency", ["15min", "h", "6h", "D", "B", "W-WED", "MS", "ME", "2D", "QS"]
)
def test_features_are_those_of_each_row_and_of_the_rows_after_it(frequency, tz):
    index = stamps_of(frequency, n=29 + HORIZON, tz=tz)
    ends, lengths = [29, 29, 21, 25], [29, 7, 13, 1]
    table = panel(index[:29], lengths, ends)
    names = calendar_names(frequency, "auto")
    found = features(table)
    assert found.channels == names
    assert found.lengths.tolist() == [n + HORIZON for n in lengths]
    expected = calendar_values(index, names)
    for number, (n, end) in enumerate(zip(lengths, ends, strict=True)):
        one = found.select(np.array([number]))
        np.testing.assert_allclose(one.values, expected[end - n : end + HORIZON], atol=1e-12)
        assert one.observed.all()


@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
@pytest.mark.parametrize("n", range(33, 42))
def test_business_hours_are_those_of_each_row_whatever_hour_is_the_last(n, tz):
    index = stamps_of("bh", n=n + HORIZON, tz=tz)
    table = pd.DataFrame({"y": np.arange(1.0 * n)}, index[:n])
    expected = calendar_values(index, calendar_names("bh", "auto"))
    for tail in (n, 17, 16, 1):
        found = features(table, tail=tail).values
        np.testing.assert_allclose(found, expected[n - tail :], atol=1e-12)


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_any_stretches_of_an_index_have_their_own_features(data):
    n = data.draw(st.integers(1, 5))
    lengths = data.draw(st.lists(st.integers(1, 19), min_size=n, max_size=n))
    ends = [data.draw(st.integers(length, 29)) for length in lengths]
    tail = data.draw(st.integers(1, 23))
    index = stamps_of("h", n=29 + HORIZON, tz="Europe/Berlin", start="2024-03-30 12:00")
    table = panel(index[:29], [*lengths, 29], [*ends, 29])
    found = features(table, tail=tail)
    expected = calendar_values(index, found.channels)
    for number, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        one = found.select(np.array([number]))
        rows = slice(end - min(length, tail), end + HORIZON)
        np.testing.assert_allclose(one.values, expected[rows], atol=1e-12)


def test_periods_count_by_their_start():
    index = pd.period_range("2023-11", periods=17 + HORIZON, freq="M")
    table = pd.DataFrame({"y": np.arange(17.0)}, index=index[:17])
    found = features(table)
    assert found.channels == ("month_of_year_sin", "month_of_year_cos")
    np.testing.assert_allclose(found.values, calendar_values(index, found.channels))


def test_hours_are_those_of_the_fitted_zone():
    index = stamps_of("h", n=41, tz="Europe/Berlin", start="2024-03-30 12:00")
    berlin = pd.DataFrame({"y": np.arange(41.0)}, index=index)
    names = ["hour_of_day"]
    expected = features(berlin, names=names).values
    found = features(berlin.tz_convert("Asia/Tokyo"), reference=berlin, names=names)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    tokyo = features(berlin.tz_convert("Asia/Tokyo"), names=names)
    assert np.abs(tokyo.values - expected).max() > 1


def test_many_series_that_end_together_share_one_table():
    index = stamps_of("D", n=97)
    found = features(panel(index, [97, 96, 50] * 7))
    assert found.store.store.values.shape == (97 + HORIZON, len(found.channels))


def test_holidays_are_one_more_column():
    pytest.importorskip("holidays")
    index = pd.date_range("2023-12-20", periods=6)
    table = pd.DataFrame({"y": np.arange(6.0)}, index=index)
    found = features(table, names=["day_of_week"], holidays="DE")
    assert found.channels == ("day_of_week_sin", "day_of_week_cos", "holiday")
    # Christmas is in the last row, the second day after it.
    assert found.values[:, 2].tolist() == [0.0] * 5 + [1.0, 1.0] + [0.0] * 4


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(np.zeros((17, 1)), id="array"),
        pytest.param(pd.DataFrame({"y": np.arange(17.0)}), id="counted rows"),
        pytest.param(
            pd.DataFrame({"unique_id": "a", "ds": np.arange(17), "y": 1.0}), id="counted steps"
        ),
    ],
)
def test_a_table_without_time_stamps_has_no_calendar(table):
    with pytest.raises(DataError, match=r"calendar= needs time stamps, but X has none"):
        features(table)


def test_stamps_with_and_without_zone_do_not_mix():
    index = stamps_of("h", tz="Europe/Berlin")
    berlin = pd.DataFrame({"y": np.arange(29.0)}, index=index)
    naive = berlin.tz_localize(None)
    with pytest.raises(DataError, match=r"without time zone.*in Europe/Berlin"):
        features(naive, reference=berlin)
    with pytest.raises(DataError, match=r"in Europe/Berlin.*without time zone"):
        features(berlin, reference=naive)
