"""Bad input gets one sentence: what was expected, what came, where, and what to do."""

import datetime
import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from titans_ts.data.csv import read_csv
from titans_ts.data.schema import read_table
from titans_ts.errors import DataError, DataFileError, ParameterError

ROWS = 11
HOURS = pd.date_range("2016-07-01 20:00", periods=ROWS, freq="h", name="date")


def frame(index=HOURS, **columns):
    """Two channels, HUFL and OT, of 11 hours from 20:00 on."""
    columns = {"HUFL": np.arange(ROWS) / 4, "OT": np.arange(ROWS) * 2.0, **columns}
    return pd.DataFrame({name: np.asarray(c)[: len(index)] for name, c in columns.items()}, index)


def with_date(times, **columns):
    """The same with its time in a column."""
    table = frame(pd.RangeIndex(len(times)), **columns)
    table.insert(0, "date", times)
    return table


def put(values, row, value, dtype=object):
    values = np.array(values, dtype=dtype)
    values[row] = value
    return values


def refused(X, message, error=DataError, **options):
    with pytest.raises(error, match=message) as caught:
        read_table(X, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith((".", "?"))
    return said


# -- what is in the columns ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "message"),
    [
        pytest.param(
            put(range(ROWS), 4, "n/a?"),
            r"numbers in column 'OT', got text in 1 row, the first 'n/a\?' in row 4 "
            r"\(2016-07-02 00:00:00\)\. Correct or drop it, or name .* target=",
            id="one word among numbers",
        ),
        pytest.param(
            put(range(ROWS), [4, 7], "bad"),
            "got text in 2 rows, the first 'bad' in row 4",
            id="two",
        ),
        pytest.param(["cold"] * ROWS, "got only text, the first 'cold' in row 0", id="only text"),
        pytest.param(
            pd.Categorical(["cold"] * ROWS), "got only text, the first 'cold'", id="categories"
        ),
        pytest.param(
            [f"{i}.5" for i in range(ROWS)],
            r"text that looks like numbers, the first '0\.5' in row 0 .* pandas\.to_numeric",
            id="numbers as text",
        ),
        pytest.param(
            put(range(ROWS), 3, "7"), "looks like numbers, the first '7' in row 3", id="one as text"
        ),
        pytest.param(
            HOURS.strftime("%Y-%m-%d %H:%M"),
            r"in column 'OT', got what look like time stamps, .* with time_column=",
            id="time stamps as text",
        ),
        pytest.param(HOURS, r"column 'OT', got datetime64\[.s\] values", id="time stamps"),
        pytest.param(
            HOURS - HOURS[0], r"column 'OT', got timedelta64\[.s\] values", id="durations"
        ),
        pytest.param(np.arange(ROWS) % 2 == 0, r"got True and False.* astype\(float\)", id="flags"),
        pytest.param(
            put(range(ROWS), slice(None), True), "in column 'OT', got True and False", id="objects"
        ),
        pytest.param(
            np.arange(ROWS) * 1j,
            r"^Complex data not supported: expected real numbers in column 'OT', got complex128",
            id="complex numbers",
        ),
        pytest.param(
            put(range(ROWS), 2, {"a": 1}),
            r"column 'OT', .* the first \{'a': 1\} in row 2",
            id="dict",
        ),
    ],
)
def test_a_column_that_holds_no_numbers_is_refused(column, message):
    refused(frame(OT=column), message)
    refused(frame(OT=column).set_index(HOURS.rename("other")), message)


def test_a_column_of_text_may_be_there_if_it_is_not_forecast():
    assert read_table(frame(note=["cold"] * ROWS), target=["OT"])[0].values.shape == (ROWS, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (put(range(ROWS), [4, 9], np.nan, float), r"2 missing values \(NaN\), the first in row 4 "),
        (pd.array(put(range(ROWS), 6, None), dtype="Int64"), "1 missing value .* row 6"),
        (pd.array(put(range(ROWS), 6, None), dtype="Float32"), "1 missing value .* row 6"),
        (put(range(ROWS), 6, None), "1 missing value .* row 6"),
        (put(range(ROWS), slice(None), None), "11 missing values .* row 0"),
    ],
)
def test_missing_values_are_refused_and_counted(column, message):
    table = frame()
    table["OT"] = column
    said = refused(table, rf"^Column 'OT' has {message}")
    assert "not supported yet" in said
    assert "Fill them" in said


def test_missing_values_in_other_columns_are_mentioned():
    gaps = put(range(ROWS), 4, np.nan, float)
    message = r"'OT' has 1 missing .* \(2 other columns have some too\), expected none"
    refused(frame(OT=gaps, MULL=gaps, LUFL=gaps), message)
    refused(frame(OT=gaps, MULL=gaps), r"\(1 other column has some too\)")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused_and_counted(value):
    values = put(range(ROWS), [3, 5], value, float)
    message = r"^Column 'OT' has 2 infinite values \(inf\), the first in row 3 .* finite numbers"
    refused(frame(OT=values), message)


def test_a_series_without_name_is_called_the_series():
    refused(pd.Series([1.0, np.nan]), "^The series has 1 missing value .* row 1")
    refused(pd.Series([1.0, "x"]), "Expected numbers in the series, got text in 1 row")


# -- time ----------------------------------------------------------------------------------------


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
    assert "asfreq('h')" in said


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
    assert "a column of its own" in said


def test_a_long_frame_is_told_to_spread_its_series_over_columns():
    long = pd.DataFrame(
        {
            "unique_id": np.repeat(["a", "b", "c"], ROWS),
            "ds": np.tile(HOURS, 3),
            "y": np.arange(3.0 * ROWS),
        }
    )
    pivot = r"X\.pivot\(index='ds', columns='unique_id', values='y'\)"
    refused(long, rf"'ds' have 22 duplicates: the first is row 11 .* {pivot}")
    refused(long.sort_values("ds"), rf"'ds' have 22 duplicates: the first is row 1 .* {pivot}")
    table = pl.DataFrame({"id": ["a", "b"], "ds": [datetime.date(2016, 7, 1)] * 2, "y": [1.0, 2.0]})
    refused(table, r"1 duplicate.* X\.pivot\('id', index='ds', values='y'\)")


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


def test_a_frequency_that_is_none_is_a_wrong_parameter():
    refused(frame(), "freq must be a pandas frequency such as .*'foo'", ParameterError, freq="foo")


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
        ([("a", i) for i in range(ROWS)], "index of 2 levels, expected one level of time stamps"),
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


# -- which columns -------------------------------------------------------------------------------


def test_no_such_column_lists_what_is_there_and_guesses():
    refused(
        frame(),
        r"^target='HUFFL' names no column of X, which has 'HUFL', 'OT'\. Did you mean 'HUFL'\?",
        target="HUFFL",
    )
    refused(frame(), r"has 'HUFL', 'OT'\. Did you mean 'OT'\?", target=["HUFL", "ot"])
    refused(
        frame(), r"target='price' names no column of X, which has 'HUFL', 'OT'\.$", target="price"
    )
    refused(
        with_date(HOURS),
        r"^time_column='dates' names no column .* Did you mean 'date'\?",
        time_column="dates",
    )
    refused(frame()["OT"], "target='HUFL' names no column of X, which has 'OT'", target="HUFL")


def test_a_table_with_very_many_columns_lists_only_some():
    wide = pd.DataFrame(np.zeros((3, 300)), columns=[f"c{i}" for i in range(300)])
    said = refused(wide, "target='price' names no column", target="price")
    assert len(said) < 300


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([], "target is empty, expected at least one column of X, which has 'date', 'HUFL', 'OT'"),
        ("date", "target='date' is the time column"),
        (["OT", "OT"], "target names the column 'OT' twice"),
    ],
)
def test_targets_that_make_no_sense_are_refused(target, message):
    refused(with_date(HOURS), message, target=target)


def test_column_names_must_be_distinct():
    table = frame()
    table.columns = ["OT", "OT"]
    refused(table, "X has several columns named 'OT', expected distinct names")
    table.columns = [1, "1"]
    refused(table, "X has several columns named '1'")


def test_column_names_must_be_text_or_numbers_of_one_level():
    table = frame()
    table.columns = list(HOURS[:2])
    refused(table, r"The name Timestamp\('2016-07-01 20:00:00'\) .* expected text or a number")
    table.columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    refused(table, "X has column names of 2 levels, expected one level")


# -- what is no table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "message"),
    [
        pytest.param(frame()[[]], "X has no columns, expected at least one", id="no columns"),
        pytest.param(
            with_date(HOURS)[["date"]], "no column beside its time column 'date'", id="only time"
        ),
        pytest.param(
            frame().iloc[:0], r"X has no rows \(its columns are 'HUFL', 'OT'\)", id="no rows"
        ),
        pytest.param(pl.DataFrame(), "X has no columns", id="polars without columns"),
        pytest.param(pl.DataFrame({"a": []}), "X has no rows", id="polars without rows"),
        pytest.param(pd.Series([], dtype=float), "X has no rows", id="empty series"),
        pytest.param(
            pl.LazyFrame({"a": [1.0]}), r"X is a lazy frame.* Give X\.collect\(\)", id="lazy"
        ),
        pytest.param(
            np.zeros(7),
            r"shape \(time, channels\) .*, got shape \(7,\)\. "
            r"Reshape your data with X\.reshape\(-1, 1\) for a single channel\.$",
            id="1-D",
        ),
        pytest.param(np.float64(7), r"got a single value, .*7\.0", id="0-D"),
        pytest.param(np.zeros((2, 3, 5, 7)), r"got shape \(2, 3, 5, 7\)", id="4-D"),
        pytest.param(
            np.zeros((0, 3)), r"X has no rows: its shape is \(0, 3\)", id="array without rows"
        ),
        pytest.param(
            np.zeros((2, 0, 3)), r"X has no rows: its shape is \(2, 0, 3\)", id="3-D without rows"
        ),
        pytest.param(
            np.zeros((5, 0)),
            r"0 feature\(s\) \(shape=\(5, 0\)\) while a minimum of 1 is required: expected at",
            id="array without columns",
        ),
        pytest.param(
            [[1.0, 2.0], [3.0]], r"X is a list that makes no array of shape", id="ragged list"
        ),
        pytest.param("ETTm1.csv", r"X is a str, expected an array, .* pandas\.read_csv", id="path"),
        pytest.param({"a": [1.0]}, "X is a dict, expected an array, or a Series", id="dict"),
        pytest.param(None, "X is a NoneType, expected an array", id="None"),
        pytest.param(sparse.eye(3).tocsr(), r"Sparse data not supported.*toarray", id="sparse"),
    ],
)
def test_what_is_no_table_of_series_is_refused(X, message):
    refused(X, message)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.full((7, 3), "x"),
            "Expected numbers in column 0, got only text, the first 'x' in row 0",
        ),
        (np.array([[1.0, 2.0], [3.0, "x"]], object), "in column 1, got text in 1 row, .* in row 1"),
        (np.ones((7, 3)) * 1j, "^Complex data not supported: expected real numbers in column 0"),
        (np.ones((7, 3), bool), "Expected numbers in column 0, got True and False"),
        (np.ones((7, 3), "M8[s]"), r"Expected numbers in column 0, got datetime64\[s\] values"),
        (np.ones((7, 3), "m8[s]"), r"Expected numbers in column 0, got timedelta64\[s\] values"),
        (
            np.ma.masked_array(np.ones((3, 2)), [[0, 0], [0, 0], [0, 1]]),
            r"^Column 1 has 1 missing value \(NaN\), the first in row 2",
        ),
        (np.array([[1, np.inf]]), r"^Column 1 has 1 infinite value \(inf\), the first in row 0"),
    ],
)
def test_an_array_that_holds_no_finite_numbers_is_refused(X, message):
    refused(X, message)


def test_in_a_stack_of_series_the_place_names_series_and_row():
    stack = np.zeros((5, 7, 3))
    stack[3, 2, 1] = np.nan
    refused(stack, r"^Column 1 has 1 missing value \(NaN\), the first in series 3, row 2, expected")


def test_a_target_by_name_needs_a_table_with_names():
    refused(np.zeros((7, 3)), "target='OT' names columns, but X is an array", target="OT")


# -- files ---------------------------------------------------------------------------------------


def file_refused(path, message, error=DataFileError, **options):
    with pytest.raises(error, match=message) as caught:
        read_csv(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_missing_file_names_those_nearby(tmp_path):
    written(tmp_path / "ETTm1.csv.gz", b"")
    path = tmp_path / "ETTm1.csv"
    said = file_refused(path, r"Did you mean ETTm1\.csv\.gz\?$")
    assert said.startswith(f"No file {path}.")
    file_refused(tmp_path / "price.xlsx", r"price\.xlsx\.$")
    file_refused(tmp_path / "none" / "price.csv", "There is no folder .*none either")
    # The builtin that a caller would expect.
    with pytest.raises(OSError, match="No file"):
        read_csv(path)


def test_a_folder_is_not_a_file(tmp_path):
    written(tmp_path / "load.csv", "a\n1\n")
    file_refused(tmp_path, r"is a folder, expected a CSV file\. It holds load\.csv\.$")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty, expected a CSV file with column names and rows", id="empty"),
        pytest.param(b"\n  \n", "is empty", id="blank"),
        pytest.param(gzip.compress(b""), "is empty", id="empty inside gzip"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a binary file", id="picture"),
        pytest.param(gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "is damaged: its gzip", id="cut gzip"),
        pytest.param(b"date,OT (\xb0C)\n2016,1\n", r"not text in UTF-8 \(byte 9 is", id="Latin-1"),
        pytest.param(b"a,b\n1,2\n1,2,3,4\n", "not a CSV file .* line 3", id="ragged"),
        pytest.param(
            b"a;b\n1,5;2\n", "separates its columns by ';', expected commas", id="semicolons"
        ),
        pytest.param(b"a\tb\n1\t2\n", r"separates its columns by '\\t'", id="tabs"),
    ],
)
def test_a_file_that_is_no_csv_is_refused(tmp_path, content, message):
    path = written(tmp_path / "data.csv", content)
    assert str(path) in file_refused(path, message)


def test_a_file_of_column_names_only_is_refused(tmp_path):
    path = written(tmp_path / "data.csv", "date,OT\n")
    file_refused(path, "has column names but no rows", DataError)


def test_a_file_without_the_column_asked_for_is_refused(tmp_path):
    path = written(tmp_path / "data.csv", "date,OT\n2016-07-01,1\n")
    message = r"time_column='dates' names no column of .*data\.csv, .* Did you mean 'date'\?"
    file_refused(path, message, DataError, time_column="dates")


def test_a_file_with_a_time_that_cannot_be_read_is_refused(tmp_path):
    path = written(tmp_path / "data.csv", "date,OT\n2016-07-01,1\nsoon,2\n")
    message = r"stamps in column 'date' of .*data\.csv, but 1 value .* 'soon' in row 1"
    file_refused(path, message, DataError)


def test_reading_a_file_leaves_nothing_behind(tmp_path):
    path = written(tmp_path / "data.csv", "date,OT\n2016-07-01,1\n2016-07-02,2\n")
    read_csv(path)
    assert list(tmp_path.iterdir()) == [path]
