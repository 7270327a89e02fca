"""Time that is missing, out of order, irregular or unclear is refused with one sentence."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_tables import HOURS, ROWS, frame, put, refused, with_date

from titans_ts.data.schema import read_table
from titans_ts.errors import ParameterError


def times(*changes):
    """The 11 hours, with rows dropped or moved by (row, hours)."""
    stamps = list(HOURS)
    for row, hours in changes:
        stamps[row] += pd.Timedelta(hours, "h")
    return stamps


def both(stamps):
    """The same stamps in an index and in a column, with words for where they are."""
    index = pd.DatetimeIndex(stamps)
    return [
        (frame(index), "the index", r"X\.sort_index\(\)"),
        (frame(index.rename("ds")), "the index 'ds'", r"X\.sort_index\(\)"),
        (with_date(index), "column 'date'", r"X\.sort_values\('date'\)"),
        (
            pl.DataFrame({"date": list(index.to_pydatetime()), "OT": np.arange(len(index)) * 1.0}),
            "column 'date'",
            r"X\.sort\('date'\)",
        ),
    ]


@pytest.mark.parametrize("case", range(4))
def test_gaps_are_counted_and_the_first_is_named(case):
    table, where, _ = both([s for i, s in enumerate(HOURS) if i not in (3, 7, 8)])[case]
    said = refused(
        table,
        rf"^The time stamps in {where} have 2 gaps \(3 missing rows\), the first after "
        r"2016-07-01 22:00:00, where 2016-07-02 00:00:00 follows; expected one row every h\.",
    )
    assert "FillGaps()" in said


def test_gaps_are_seen_against_a_frequency_that_is_given():
    table = frame(pd.date_range("2016-07-01", periods=ROWS, freq="h").delete([3, 5]))
    refused(table, "have 2 gaps .* expected one row every h", freq="h")
    refused(table, "expected one row every 30min", freq="30min")


@pytest.mark.parametrize(
    ("freq", "n_rows", "drop"), [("MS", 29, 17), ("B", 29, 17), ("W-TUE", 29, 17), ("D", 29, 3)]
)
def test_gaps_in_calendar_frequencies_are_seen_as_gaps(freq, n_rows, drop):
    index = pd.date_range("2016-07-05", periods=n_rows, freq=freq)
    table = pd.Series(np.arange(n_rows - 1.0), index=index.delete(drop))
    message = rf"1 gap \(1 missing row\), the first after {index[drop - 1]}.*every {freq}\."
    refused(table, message)


def test_a_gap_in_local_time_is_not_the_change_to_summer_time():
    hours = pd.date_range("2021-03-27", periods=97, freq="h", tz="Europe/Berlin")
    read_table(pd.Series(np.arange(97.0), index=hours))
    refused(
        pd.Series(np.arange(96.0), index=hours.delete(61)),
        r"1 gap \(1 missing row\), the first after 2021-03-29 13:00:00\+02:00",
    )


def test_a_long_gap_in_a_short_table_is_a_gap():
    index = HOURS[:6].append(HOURS[:5] + pd.Timedelta(3652, "D"))
    refused(frame(index), r"have 1 gap \(87,642 missing rows\)")


@pytest.mark.parametrize("case", range(4))
def test_duplicate_stamps_are_counted_with_a_word_on_several_series(case):
    table, where, _ = both(times((5, -1), (8, -1)))[case]
    said = refused(
        table,
        rf"^The time stamps in {where} have 2 duplicates: the first is row 5 "
        r"\(2016-07-02 00:00:00\); expected one row per time stamp\.",
    )
    assert "several series, name the column that tells these apart" in said


def test_a_long_frame_with_other_names_is_told_to_name_its_ids():
    long = pd.DataFrame(
        {
            "station": np.repeat(["a", "b", "c"], ROWS),
            "ds": np.tile(HOURS, 3),
            "y": np.arange(3.0 * ROWS),
        }
    )
    hint = r"these apart, such as id_column='station'\."
    refused(long, rf"'ds' have 22 duplicates: the first is row 11 .* {hint}", target="y")
    refused(long.sort_values("ds"), rf"'ds' have 22 duplicates: .* row 1 .* {hint}", target="y")
    table = pl.DataFrame({"id": ["a", "b"], "ds": [datetime.date(2016, 7, 1)] * 2, "y": [1.0, 2.0]})
    refused(table, r"1 duplicate.* id_column='id'\.", target="y")


@pytest.mark.parametrize("case", range(4))
def test_stamps_out_of_order_are_told_to_sort(case):
    table, where, sort = both(times((4, -3)))[case]
    refused(
        table,
        rf"^The time stamps in {where} are not sorted: row 4 \(2016-07-01 21:00:00\) comes after "
        rf"row 3 \(2016-07-01 23:00:00\); expected the oldest row first\. Sort with {sort}\.$",
    )
    table, where, sort = both(list(HOURS[::-1]))[case]
    refused(table, rf"{where} are not sorted: row 1 .* Sort with {sort}\.$")


@pytest.mark.parametrize("case", range(4))
def test_irregular_stamps_are_refused_at_the_first_that_is_off(case):
    table, where, _ = both(times((6, 0.25)))[case]
    refused(
        table,
        rf"^The time stamps in {where} are irregular: expected one row every h, but row 6 "
        r"\(2016-07-02 02:15:00\) comes 0 days 01:15:00 after row 5 \(2016-07-02 01:00:00\)\.",
    )


def test_missing_stamps_are_refused():
    refused(
        frame(pd.DatetimeIndex(put(HOURS, [2, 5], None))),
        r"^The index has 2 missing time stamps \(NaT\), the first in row 2; expected one in every",
    )
    text = put(HOURS.strftime("%Y-%m-%d %H:%M"), 5, None)
    refused(with_date(text), r"^Column 'date' has 1 missing time stamp \(NaT\), the first in row 5")
    refused(
        pl.DataFrame({"date": [None, *HOURS[1:].to_pydatetime()], "OT": np.arange(11.0)}),
        r"^Column 'date' has 1 missing time stamp \(NaT\), the first in row 0",
    )


@pytest.mark.parametrize("n_rows", [1, 2])
def test_too_few_rows_to_tell_the_frequency_ask_for_it(n_rows):
    words = "1 time stamp" if n_rows == 1 else "2 time stamps"
    message = (
        rf"cannot be inferred from {words} in the index 'date': expected at least 3\. .* freq="
    )
    refused(frame(HOURS[:n_rows]), message)
    assert read_table(frame(HOURS[:n_rows]), freq="h")[1].freq == "h"


def test_two_rows_that_do_not_fit_the_given_frequency_are_refused():
    refused(
        frame(HOURS[:2]),
        r"freq='15min' was given, but 2016-07-01 20:00:00 and 2016-07-01 21:00:00 .* do not fit "
        r"it: expected 2016-07-01 20:00:00 and 2016-07-01 20:15:00",
        freq="15min",
    )
    refused(frame(HOURS[:1]), "freq='ME' was given, but .* do not fit it", freq="ME")


def test_a_frequency_that_contradicts_the_rows_is_refused():
    refused(
        frame(),
        r"freq='15min' was given, but the time stamps in the index 'date' come every h \(the first "
        r"two are 2016-07-01 20:00:00 and 2016-07-01 21:00:00\)\. Give freq='h', leave it out",
        freq="15min",
    )
    months = pd.period_range("2016-01", periods=ROWS, freq="M")
    refused(frame(months), "freq='D' was given, but the index holds periods of 'M'", freq="D")
    read_table(frame(months), freq="M")


def test_a_frequency_for_rows_without_time_is_refused():
    message = "freq='h' was given, but X has no time"
    refused(frame(pd.RangeIndex(ROWS)), f"{message} stamps: the index holds integers", freq="h")
    refused(pl.DataFrame({"OT": [1.0, 2.0]}), f"{message} column: its columns are 'OT'", freq="h")


def test_a_column_of_time_with_other_text_is_refused_at_the_first():
    text = put(HOURS.strftime("%Y-%m-%d %H:%M"), [4, 6], "yesterday")
    message = r"stamps in column 'date', but 2 values cannot .* the first 'yesterday' in row 4"
    refused(with_date(text), message)
    no_time = with_date(["cold"] * ROWS)
    refused(no_time, "1 value|11 values", time_column="date")
    # Not told otherwise, a column named date that starts with no date is taken for data.
    refused(no_time, "Expected numbers in column 'date', got only text")


def test_a_column_of_time_with_other_things_is_refused():
    refused(with_date(np.arange(ROWS) / 2), "got float64 values, the first 0.0", time_column="date")
    mixed = put(HOURS.date, 3, 7.5)
    refused(with_date(mixed), "Expected time stamps in column 'date', got object values")


def test_dates_that_make_sense_both_ways_ask_which():
    text = pd.date_range("2016-01-01", periods=ROWS, freq="MS").strftime("%d/%m/%Y")
    refused(with_date(text), r"'01/01/2016' in column 'date' make sense with .* dayfirst=True")


def test_several_columns_of_time_ask_which():
    table = with_date(HOURS).assign(read=HOURS).rename(columns={"date": "sent"})
    message = r"2 columns of X could be its time: 'sent', 'read'\. Say which with time_column="
    refused(table, message)
    text = HOURS.strftime("%Y-%m-%d %H:%M")
    refused(with_date(text).assign(time=text), "could be its time: 'date', 'time'")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (HOURS.strftime("%Y-%m-%d %H:%M"), r"index of \w+ values, the first '2016-07-01 20:00'"),
        (np.arange(ROWS) / 2, "index of float64 values, the first 0.0; expected time stamps"),
        (HOURS - HOURS[0], r"index of timedelta64\[.s\] values"),
        ([("a", i, 0) for i in range(ROWS)], r"index of 3 levels, expected two \(id of the series"),
    ],
)
def test_an_index_that_is_no_time_is_refused(index, message):
    refused(frame(pd.Index(index)), f"^X has an {message}")


def test_integer_labels_must_be_evenly_spaced():
    labels = np.arange(ROWS) * 3
    refused(
        frame(pd.Index(np.delete(labels, [4, 7]))),
        r"^The labels in the index have 2 gaps, the first after 9, where 15 follows; expected a "
        r"step of 3 units\. .* X\.reset_index\(drop=True\)",
    )
    refused(frame(pd.RangeIndex(ROWS)[::-1]), "the index are not sorted: row 1 ")
    refused(
        frame(pd.Index(put(labels, 3, 6, int))), "the index have 1 duplicate: the first is row 3"
    )


def test_periods_must_be_evenly_spaced():
    months = pd.period_range("2016-01", periods=ROWS, freq="M")
    refused(
        frame(months.delete(4)),
        "1 gap, the first after 2016-04, where 2016-06 follows; expected a step of M",
    )


@pytest.mark.parametrize("freq", ["", "foo", "0h", "-1D", 5.5, ["h"]])
def test_a_frequency_that_is_none_is_refused(freq):
    with pytest.raises(ParameterError, match=r"freq must be a pandas frequency such as .*, got"):
        read_table(frame(), freq=freq)
