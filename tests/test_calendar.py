"""Calendar features: chosen by frequency, counted in a time zone, with holidays."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.data.calendar import CALENDAR_FEATURES, calendar_names, calendar_values
from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import CalendarFeatures

ROWS = 17


def features(freq):
    return tuple(name.removesuffix("_sin") for name in calendar_names(freq)[::2])


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        ("s", ("second_of_minute", "minute_of_hour", "hour_of_day")),
        ("15min", ("minute_of_hour", "hour_of_day", "day_of_week", "day_of_year")),
        ("h", ("hour_of_day", "day_of_week", "day_of_year")),
        ("6h", ("hour_of_day", "day_of_week", "day_of_year")),
        ("D", ("day_of_week", "day_of_month", "day_of_year")),
        ("B", ("day_of_week", "day_of_month", "day_of_year")),
        ("W-MON", ("week_of_year",)),
        ("7D", ("week_of_year",)),
        ("MS", ("month_of_year",)),
        ("ME", ("month_of_year",)),
        ("M", ("month_of_year",)),  # of periods
        ("QS-FEB", ("month_of_year",)),
        ("YE", ()),
    ],
)
def test_features_are_chosen_by_how_far_apart_rows_are(freq, expected):
    assert features(freq) == expected
    assert calendar_names(freq)[1::2] == tuple(f"{name}_cos" for name in expected)


def test_features_that_are_named_come_in_that_order():
    assert calendar_names("h", ["day_of_week", "hour_of_day"]) == (
        "day_of_week_sin",
        "day_of_week_cos",
        "hour_of_day_sin",
        "hour_of_day_cos",
    )
    assert calendar_names(None) == ()
    assert calendar_names("h", ()) == ()


@pytest.mark.parametrize("wrong", ["hour", ["hour_of_day", "hour_of_day"], [5]])
def test_an_unknown_feature_gets_a_sentence(wrong):
    with pytest.raises(ParameterError, match="must be 'auto', or distinct ones of 'second_of_min"):
        calendar_names("h", wrong)


@pytest.mark.parametrize(
    ("feature", "stamp", "share"),
    [
        ("second_of_minute", "2024-02-29 18:45:30", 1 / 2),
        ("minute_of_hour", "2024-02-29 18:45:30", 91 / 120),
        ("hour_of_day", "2024-02-29 18:45:00", 25 / 32),
        ("day_of_week", "2024-02-29 18:45:30", 3 / 7),  # a Thursday
        ("day_of_month", "2024-02-29 18:45:30", 28 / 29),
        ("day_of_year", "2024-02-29 18:45:30", 59 / 366),
        ("day_of_year", "2023-12-31", 364 / 365),
        ("week_of_year", "2024-02-29 18:45:30", 8 / 53),  # the 9th
        ("month_of_year", "2024-02-29 18:45:30", 1 / 12),
    ],
)
def test_a_feature_goes_round_the_circle_once_in_its_period(feature, stamp, share):
    found = calendar_values(pd.DatetimeIndex([stamp]), calendar_names(None, feature))
    angle = 2 * np.pi * share
    np.testing.assert_allclose(found, [[np.sin(angle), np.cos(angle)]], atol=1e-12)


def test_the_last_hour_is_as_near_to_midnight_as_the_first():
    hours = pd.date_range("2024-01-01", periods=24, freq="h")
    circle = calendar_values(hours, calendar_names("h", "hour_of_day"))
    steps = np.linalg.norm(circle - np.roll(circle, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])


def test_hours_are_counted_in_the_zone_that_is_asked_for():
    index = pd.date_range("2024-03-30 12:00", periods=36, freq="h", tz="Europe/Berlin")
    names = calendar_names("h")
    local = calendar_values(index, names)
    np.testing.assert_array_equal(local, calendar_values(index.tz_localize(None), names))
    utc = index.tz_convert("UTC")
    np.testing.assert_array_equal(local, calendar_values(utc, names, tz="Europe/Berlin"))
    assert not np.array_equal(local, calendar_values(utc, names))
    with pytest.raises(DataError, match="in the time zone 'UTC', but the time stamps have none"):
        calendar_values(index.tz_localize(None), names, tz="UTC")


def test_a_period_counts_by_its_start():
    months = pd.period_range("2024-01", periods=5, freq="M")
    names = calendar_names("M")
    expected = calendar_values(months.to_timestamp(), names)
    np.testing.assert_array_equal(calendar_values(months, names), expected)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_feature_takes_stamps_of_every_unit(unit):
    index = pd.date_range("2024-02-27 22:10", periods=ROWS, freq="97min").as_unit(unit)
    names = calendar_names(None, tuple(CALENDAR_FEATURES))
    found = calendar_values(index, names)
    assert found.shape == (ROWS, 16)
    np.testing.assert_allclose(found[:, ::2] ** 2 + found[:, 1::2] ** 2, 1.0)


# -- holidays --------------------------------------------------------------------------------------


def test_holidays_are_those_of_the_country_on_its_own_days():
    pytest.importorskip("holidays", reason="the extra holidays is not installed")
    days = pd.date_range("2024-12-24 23:30", periods=4, freq="D", tz="UTC")
    assert calendar_values(days, (), holidays="DE")[:, 0].tolist() == [0, 1, 1, 0]
    in_berlin = calendar_values(days, (), tz="Europe/Berlin", holidays="DE")
    assert in_berlin[:, 0].tolist() == [1, 1, 0, 0]
    epiphany = pd.DatetimeIndex(["2024-01-06"])
    assert calendar_values(epiphany, (), holidays="DE").item() == 0
    assert calendar_values(epiphany, (), holidays="DE-BY").item() == 1


@pytest.mark.parametrize("wrong", ["Germany!", "XX", "DE-ZZ", "", 49, True])
def test_an_unknown_country_gets_a_sentence(wrong):
    pytest.importorskip("holidays", reason="the extra holidays is not installed")
    with pytest.raises(ParameterError, match="holidays must be a country such as 'DE'"):
        CalendarFeatures(holidays=wrong).fit(np.ones((3, 1)))


def test_holidays_without_the_library_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(ParameterError, match=r'pip install "titans-ts\[holidays\]"'):
        calendar_values(pd.DatetimeIndex(["2024-01-06"]), (), holidays="DE")


# -- the transformer -------------------------------------------------------------------------------


def hourly(tz=None):
    index = pd.date_range("2024-03-30", periods=ROWS, freq="h", tz=tz, name="time")
    return pd.DataFrame({"load": np.arange(float(ROWS))}, index=index)


def test_features_stand_behind_the_columns_of_the_table():
    X = hourly()
    calendar = CalendarFeatures()
    found = calendar.fit_transform(X)
    assert list(found.columns) == ["load", *calendar_names("h")]
    assert found.columns.tolist() == calendar.get_feature_names_out().tolist()
    pd.testing.assert_frame_equal(found[["load"]], X)
    np.testing.assert_array_equal(found.iloc[:, 1:], calendar_values(X.index, calendar.names_))


def test_features_alone_keep_the_index():
    X = hourly()
    calendar = CalendarFeatures(features=["hour_of_day"], append=False).fit(X)
    found = calendar.transform(X)
    assert found.columns.tolist() == ["hour_of_day_sin", "hour_of_day_cos"]
    assert calendar.get_feature_names_out().tolist() == found.columns.tolist()
    pd.testing.assert_index_equal(found.index, X.index)


def test_a_long_frame_keeps_its_rows_and_text():
    X = pd.DataFrame(
        {
            "unique_id": ["b", "a", "b", "a", "b"],
            "ds": pd.to_datetime(
                ["2024-01-03", "2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02"]
            ),
            "y": np.arange(5.0),
            "note": list("vwxyz"),
        },
        index=[3, 1, 4, 9, 5],
    )
    calendar = CalendarFeatures()
    found = calendar.fit_transform(X)
    assert calendar.names_ == calendar_names("D")
    pd.testing.assert_frame_equal(found[X.columns], X)
    polars = calendar.fit_transform(pl.from_pandas(X))
    assert polars.columns == found.columns.tolist()
    np.testing.assert_array_equal(polars[:, 4:].to_numpy(), found.iloc[:, 4:])


def test_a_series_becomes_a_frame():
    found = CalendarFeatures(features="hour_of_day").fit_transform(hourly()["load"])
    assert found.columns.tolist() == ["load", "hour_of_day_sin", "hour_of_day_cos"]


def test_hours_are_counted_in_the_zone_of_fit():
    X = hourly("Europe/Berlin")
    calendar = CalendarFeatures().fit(X)
    assert calendar.tz_ == "Europe/Berlin"
    found = calendar.transform(X.tz_convert("Asia/Tokyo"))
    np.testing.assert_array_equal(found, calendar.transform(X))
    with pytest.raises(DataError, match="the time stamps have none"):
        calendar.transform(X.tz_localize(None))
    with pytest.raises(DataError, match="the time stamps have none"):
        CalendarFeatures(tz="Europe/Berlin").fit(hourly())


@pytest.mark.parametrize(("then", "now"), [(None, "DE"), ("DE", None), ("DE", "FR")])
def test_holidays_are_those_of_fit(then, now):
    pytest.importorskip("holidays")
    X = pd.DataFrame({"load": np.ones(3)}, index=pd.date_range("2024-10-02", periods=3))
    calendar = CalendarFeatures(features="day_of_week", holidays=then).fit(X)
    expected = calendar.transform(X)
    pd.testing.assert_frame_equal(calendar.set_params(holidays=now).transform(X), expected)


def test_a_table_without_time_comes_out_as_it_is():
    array = np.ones((5, 2))
    assert CalendarFeatures().fit_transform(array) is array
    frame = pd.DataFrame({"y": [1.0, 2.0]})
    pd.testing.assert_frame_equal(CalendarFeatures().fit_transform(frame), frame)
    with pytest.raises(DataError, match="X has no time stamps, but CalendarFeatures was fitted on"):
        CalendarFeatures().fit(hourly()).transform(hourly().reset_index(drop=True))


def test_what_makes_no_sense_gets_a_sentence():
    with pytest.raises(ParameterError, match="tz must be a time zone such as 'Europe/Berlin'"):
        CalendarFeatures(tz="Berlin/Europe").fit(hourly())
    with pytest.raises(DataError, match="cannot be chosen for one time stamp per series"):
        CalendarFeatures().fit(hourly()[:1])
    again = CalendarFeatures(features="hour_of_day")
    with pytest.raises(DataError, match="X has a column 'hour_of_day_sin' already"):
        again.fit_transform(again.fit_transform(hourly()))
