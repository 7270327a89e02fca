"""Time goes on where the rows ended: indices, time columns, frequencies, and what follows."""

import numpy as np
import pandas as pd
import pytest
from good_tables import (
    CHANNELS,
    HORIZON,
    HOURS,
    INDICES,
    NAMES,
    ROWS,
    TIME_COLUMNS,
    continuation,
    numbers,
    stamped,
    with_time_column,
)

from titans_ts.data.schema import read_table
from titans_ts.errors import DataError

# -- indices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_the_index_goes_on_where_it_ended(index):
    forecast, tail = continuation(stamped(index))
    pd.testing.assert_frame_equal(forecast, tail, check_freq=False)


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_a_series_goes_on_as_a_series(index):
    series = stamped(index)["OT"].rename("oil temperature")
    forecast, tail = continuation(series)
    pd.testing.assert_series_equal(forecast, tail, check_freq=False)


@pytest.mark.parametrize(
    ("index", "freq"),
    [
        ("15 minutes", "15min"),
        ("weeks from a Tuesday", "W-TUE"),
        ("business days", "B"),
        ("month ends", "ME"),
        ("year ends", "YE-DEC"),
        ("hours into winter time", "h"),
        ("days over the change", "D"),
        ("24 hours, not days", "24h"),
        ("24 hours up to the change", "24h"),
        ("half months", "SME-15"),
        ("every other business day", "2B"),
        ("periods", "M"),
        ("range with step", None),
    ],
)
def test_the_frequency_is_inferred_by_its_pandas_name(index, freq):
    assert read_table(stamped(INDICES[index]))[1].freq == freq


def test_a_frequency_that_forgets_its_holidays_by_its_name_is_inferred():
    offset = pd.offsets.CustomBusinessDay(holidays=["2024-01-10"])
    frame = stamped(pd.date_range("2024-01-01", periods=7, freq=offset))
    assert read_table(frame)[1].freq == "B"
    frame = stamped(pd.date_range("2024-01-01", periods=13, freq=offset))
    with pytest.raises(DataError, match="1 gap"):
        read_table(frame)


def test_the_future_index_carries_its_frequency():
    _, layout = read_table(stamped(INDICES["hours into winter time"]))
    assert layout.forecast_table(numbers(1, HORIZON, CHANNELS)).index.freqstr == "h"


def test_fifteen_minutes_in_local_time_run_through_both_changes_of_summer_time():
    year = pd.date_range("2021-01-01", "2022-01-01", freq="15min", tz="Europe/Berlin")
    _, layout = read_table(stamped(year[:-1], ["OT"]))
    assert (len(year), layout.freq) == (4 * 24 * 365 + 1, "15min")
    assert layout.forecast_table(numbers(1, 1, 1)).index[0] == year[-1]


@pytest.mark.parametrize(("old", "new"), [("H", "h"), ("15T", "15min"), ("D", "D")])
def test_older_names_of_frequencies_are_understood(old, new):
    index = pd.date_range("2024-01-01", periods=1, freq=new)
    assert read_table(stamped(index), freq=old)[1].freq == new


def test_the_old_name_of_month_ends_is_understood():
    index = pd.DatetimeIndex(["2024-01-31", "2024-02-29"])
    _, layout = read_table(stamped(index), freq="M")
    assert layout.forecast_table(numbers(1, 1, 3)).index[0] == pd.Timestamp("2024-03-31")


# -- time columns --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("times", [pytest.param(t, id=name) for name, t in TIME_COLUMNS.items()])
def test_a_time_column_stays_a_column_in_its_place(times, place):
    forecast, tail = continuation(with_time_column(times, place=place))
    pd.testing.assert_frame_equal(forecast, tail.reset_index(drop=True))


@pytest.mark.parametrize(
    "name", ["date", "DS", "Time", "TIMESTAMP", "DateTime", "date_time", "Date Time"]
)
def test_a_column_of_text_is_the_time_if_it_is_called_so(name):
    forecast, tail = continuation(with_time_column(TIME_COLUMNS["ISO text"], name))
    assert list(forecast[name]) == list(tail[name])


@pytest.mark.parametrize("times", [pytest.param(t, id=name) for name, t in TIME_COLUMNS.items()])
def test_a_time_column_of_categories_is_read_as_what_these_are(times):
    plain = with_time_column(times)
    found, layout = read_table(plain.astype({"date": "category"}))
    expected, other = read_table(plain)
    np.testing.assert_array_equal(found.values, expected.values)
    assert layout == other


def test_integers_of_a_time_column_may_be_categories():
    plain = with_time_column(np.arange(ROWS) * 7 + 2, "step")
    found = read_table(plain.astype({"step": "category"}), time_column="step")[1]
    assert found == read_table(plain, time_column="step")[1]


def test_a_column_of_stamps_is_the_time_whatever_it_is_called():
    assert read_table(with_time_column(HOURS, "when"))[1].channels == tuple(NAMES)


def test_of_two_columns_of_stamps_the_one_called_so_is_the_time():
    frame = with_time_column(HOURS, "timestamp").assign(received=HOURS)
    assert read_table(frame, target=NAMES)[1].time_label == "timestamp"


def test_integers_are_the_time_if_the_user_says_so():
    frame = with_time_column(np.arange(ROWS) * 7 + 2, "step")
    forecast, tail = continuation(frame, time_column="step")
    pd.testing.assert_frame_equal(forecast, tail.reset_index(drop=True))


def test_dates_of_which_day_and_month_could_be_swapped_are_read_so_that_steps_are_even():
    months = pd.date_range("2016-01-01", periods=13, freq="MS").strftime("%d/%m/%Y")
    _, layout = read_table(with_time_column(months))
    assert layout.freq == "MS"
    assert list(layout.forecast_table(numbers(1, 2, 3))["date"]) == ["01/02/2017", "01/03/2017"]


def test_the_time_column_may_have_become_the_index():
    frame = with_time_column(HOURS)
    _, layout = read_table(frame.set_index("date"), time_column="date")
    assert layout.forecast_table(numbers(1, 2, 3)).index.name == "date"


def test_a_datetime_index_wins_over_columns_of_time():
    frame = stamped(INDICES["15 minutes"]).assign(ds=HOURS)
    assert read_table(frame, target=NAMES)[1].freq == "15min"


# -- what follows --------------------------------------------------------------------------------


def check_followed(before, after):
    read_table(before)[1].check_followed_by(read_table(after)[1])


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_rows_that_follow_are_told_from_rows_that_do_not(index):
    frame = stamped(index)
    check_followed(frame.iloc[:11], frame.iloc[11:])
    for wrong in (10, 12):  # one row too early, one too late
        with pytest.raises(DataError, match=r"^validation must start at .* one step after the la"):
            check_followed(frame.iloc[:11], frame.iloc[wrong:])


def test_time_may_be_a_column_before_and_the_index_after():
    frame = with_time_column(HOURS)
    check_followed(frame.iloc[:11], frame.iloc[11:].set_index("date"))


def test_rows_of_another_step_do_not_follow():
    hours = pd.date_range("2024-01-01", periods=5, freq="h")
    halves = pd.date_range("2024-01-01 05:00", periods=5, freq="30min")
    with pytest.raises(DataError, match="one row every h, as X has; its rows come every 30min"):
        check_followed(stamped(hours), stamped(halves))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (HOURS.tz_localize("UTC"), "time stamps in UTC"),
        (pd.RangeIndex(ROWS), "integers"),
        (pd.period_range("2016-01", periods=ROWS, freq="M"), "periods"),
    ],
)
def test_rows_labelled_otherwise_do_not_follow(other, words):
    with pytest.raises(DataError, match=f"time stamps without time zone; it has {words}"):
        check_followed(stamped(HOURS), stamped(other))


def test_for_arrays_nothing_is_said_about_what_follows():
    check_followed(numbers(ROWS, CHANNELS), stamped(HOURS))
    check_followed(stamped(HOURS), numbers(ROWS, CHANNELS))


# -- clocks of twelve hours ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        "%m/%d/%Y %I:%M:%S %p",
        "%d/%m/%Y %I:%M %p",
        "%Y-%m-%d %I:%M:%S%p",
        "%d.%m.%Y, %I %p",
        "%I:%M %p %m/%d/%Y",
        "%Y-%m-%d %I:%M:%S.%f %p",
    ],
)
@pytest.mark.parametrize("start", ["2024-02-25 00:00", "2024-02-25 12:00", "2024-02-25 15:00"])
def test_times_of_a_clock_of_twelve_hours_are_read_and_written(how, start):
    index = pd.date_range(start, periods=201, freq="h")
    table = pd.DataFrame({"date": index.strftime(how), "OT": np.arange(201) / 4})
    series, layout = read_table(table[:-2])
    assert layout.freq == "h"
    assert layout.time.index_of(np.array(layout.time.first))[0] == index[0]
    forecast = layout.forecast_table(series.values[None, :2])
    assert forecast["date"].tolist() == table["date"][-2:].tolist()
    lower = table.assign(date=table["date"].str.lower())
    assert read_table(lower, time_column="date")[1].freq == "h"


def test_twelve_hours_with_the_day_or_the_month_first_are_refused_where_nothing_tells():
    times = [f"{day} 01:00 PM" for day in ("01/01/2024", "02/02/2024", "05/06/2024")]
    table = pd.DataFrame({"date": times, "OT": [1.0, 2.0, 4.0]})
    with pytest.raises(DataError, match="make sense with the day first and with the month first"):
        read_table(table)
