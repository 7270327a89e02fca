"""Time that is missing, out of order, irregular or unclear is refused with one sentence."""

import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from bad_tables import HOURS, ROWS, frame, put, refused, with_date

from titans_ts.data.schema import read_table
from titans_ts.errors import DataError, ParameterError


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
    refused(frame(pd.DatetimeIndex(HOURS[:n_rows], freq=None)), message)
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


# -- clocks that change ----------------------------------------------------------------------------


def local(start, end, freq="h"):
    """Stamps as a clock on a wall in Berlin shows them."""
    return pd.date_range(start, end, freq=freq, tz="Europe/Berlin").tz_localize(None)


def values(index):
    return pd.Series(np.arange(len(index)) * 1.0, index=index)


SPRING, AUTUMN = ("2024-03-28", "2024-04-03"), ("2024-10-24", "2024-10-30")


@pytest.mark.parametrize("freq", ["h", "15min"])
def test_the_hour_that_summer_time_skips_is_no_row_to_insert(freq):
    index = local(*SPRING, freq)
    refused(values(index), r"1 gap .* If it is the hour that .* tz_localize\('Europe/Berlin'\)\.$")
    # What is advised is enough.
    assert read_table(values(index.tz_localize("Europe/Berlin")))[1].freq == freq


@pytest.mark.parametrize("freq", ["h", "15min"])
def test_the_hour_that_comes_twice_is_told_apart_by_a_zone(freq):
    index = local(*AUTUMN, freq)
    hint = r"tz_localize\('Europe/Berlin', ambiguous='infer'\)\.$"
    refused(values(index), hint)
    refused(values(index.sort_values()), f"duplicate.* {hint}")
    zoned = index.tz_localize("Europe/Berlin", ambiguous="infer")
    assert read_table(values(zoned))[1].freq == freq


def test_each_series_of_a_panel_may_have_the_hour_twice():
    index = local(*AUTUMN)
    parts = [values(index).rename("y").rename_axis("ds").reset_index() for _ in "ab"]
    panel = pd.concat([part.assign(unique_id=name) for part, name in zip(parts, "ab", strict=True)])
    refused(panel, r"have 2 duplicates.* tz_localize\('Europe/Berlin', ambiguous='infer'\)\.$")


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(local(*SPRING).delete(30), id="another gap too"),
        pytest.param(local(*SPRING).delete(74), id="two hours"),
        pytest.param(local(*SPRING) + pd.Timedelta(1, "D"), id="a Monday"),
        pytest.param(local(*SPRING) + pd.Timedelta(9, "h"), id="noon"),
        pytest.param(local(*SPRING) + pd.Timedelta(12 * 7, "D"), id="June"),
        pytest.param(local(*AUTUMN).insert(0, local(*AUTUMN)[0]), id="another duplicate too"),
        pytest.param(local(*AUTUMN).sort_values().repeat(2), id="all twice"),
        pytest.param(local(*AUTUMN)[::-1], id="newest first"),
        pytest.param(local(*SPRING).tz_localize("UTC"), id="a zone already"),
    ],
)
def test_other_gaps_and_duplicates_are_not_of_a_clock(index):
    assert "tz_localize" not in refused(values(index), "gap|duplicate|sorted")


# -- a time that nobody named ----------------------------------------------------------------------

TEXT = HOURS.strftime("%Y-%m-%d %H:%M:%S")


def unnamed(times, name="Zeitpunkt"):
    return pd.DataFrame({name: times, "kW": np.arange(len(times)) * 1.0})


@pytest.mark.parametrize("options", [{}, {"target": "kW"}])
@pytest.mark.parametrize("name", ["Zeitpunkt", "Datetime (UTC)", "utc_timestamp", "Local time"])
def test_text_that_looks_like_time_is_never_left_out_without_a_word(name, options):
    message = (
        rf"but {re.escape(repr(name))} holds text that looks like time stamps, the first "
        r"'2016-07-0\d .*time_column="
    )
    for times in (TEXT, TEXT[::-1], TEXT.delete([3, 4])):
        said = refused(unnamed(times, name), f"^X has no column .* {message}", **options)
        assert "target=" not in said  # which leads back here
    refused(pl.from_pandas(unnamed(TEXT, name)), message, **options)
    refused(unnamed(pd.Categorical(TEXT), name), message, **options)
    # Rows that were selected keep their numbers, which are no time.
    refused(unnamed(TEXT, name)[::2], message, **options)
    assert read_table(unnamed(TEXT, name), time_column=name, **options)[1].freq == "h"


def test_a_stray_text_among_many_times_does_not_hide_them():
    many = pd.date_range("2016-07-01", periods=201, freq="h").strftime("%d.%m.%Y %H:%M")
    for row in (0, 100, 200):
        refused(unnamed(put(many, row, "total")), "looks like time stamps", target="kW")


def test_text_that_is_no_time_is_left_out_where_a_target_is_named():
    for text in (
        ["cold"] * ROWS,
        put(["cold"] * ROWS, 0, "2016-07-01 20:00"),
        put(TEXT, slice(0, None, 2), "later"),
        [f"{year}" for year in range(2001, 2001 + ROWS)],
        [f"201607{day:02}" for day in range(1, ROWS + 1)],
        [f"{hour}:00" for hour in range(ROWS)],
        [None] * ROWS,
    ):
        _, layout = read_table(unnamed(pd.Series(text, dtype=object)), target="kW")
        assert layout.channels == ("kW",)
        assert layout.freq is None


def test_text_that_looks_like_time_may_stand_beside_a_time_or_have_a_role():
    table = unnamed(TEXT)
    assert read_table(table.set_index(HOURS), target="kW")[1].freq == "h"
    assert read_table(table.assign(date=HOURS), target="kW")[1].freq == "h"
    counted = table.set_index(pd.Index(range(5, 5 + ROWS), name="step"))
    assert read_table(counted, target="kW")[1].time.first == (5,)
    assert read_table(table, target="kW", past_covariates="Zeitpunkt")[1].freq is None
    panel = table.assign(unique_id="a", ds=range(ROWS))
    assert read_table(panel, target="kW")[1].ids == ("a",)
    # The way out that the sentence names.
    assert read_table(table.drop(columns="Zeitpunkt"))[1].freq is None


# -- series that nobody told apart -----------------------------------------------------------------


@pytest.mark.parametrize("after", [pd.Timedelta(9, "D"), -pd.Timedelta(9, "D")])
def test_series_that_do_not_overlap_are_told_to_name_their_ids(after):
    times = HOURS.append(HOURS + after)
    stations = ["a"] * ROWS + ["b"] * ROWS
    table = pd.DataFrame({"date": times, "y": 1.0, "station": stations})
    hint = r"of several series, .* such as id_column='station'\.$"
    refused(table, hint)
    assert read_table(table, id_column="station")[1].ids == ("a", "b")
    weather = ["dry", "wet"] * ROWS
    assert "id_column" not in refused(table.assign(station=weather), "gap|sorted")


# -- an index of text ------------------------------------------------------------------------------


def test_an_index_with_several_offsets_is_told_to_become_utc():
    index = pd.date_range("2024-10-26", "2024-10-29", freq="h", tz="Europe/Berlin")
    table = values(pd.Index([str(stamp) for stamp in index]))
    said = refused(table, r"X\.index = pandas\.to_datetime\(X\.index, utc=True\)")
    assert "values, the first" in said
    table.index = pd.to_datetime(table.index, utc=True)
    assert read_table(table)[1].freq == "h"
    # As pandas.read_csv of pandas 2 reads them.
    dates = values(pd.Index([pd.Timestamp(str(stamp)) for stamp in index], dtype=object))
    refused(dates, r"to_datetime\(X\.index, utc=True\)")
    plain = refused(values(pd.Index(TEXT)), r"to_datetime\(X\.index\)")
    assert "utc" not in plain


@pytest.mark.parametrize("how", ["%d.%m.%y", "%m/%d/%y", "%b %Y"])
@pytest.mark.parametrize("name", ["date", "Time_Stamp"])
def test_a_time_by_its_name_that_cannot_be_read_is_never_left_out(name, how):
    days = pd.date_range("2016-07-01", periods=ROWS, freq="MS").strftime(how)
    for table in (unnamed(days, name), pl.from_pandas(unnamed(days, name))):
        refused(
            table,
            rf"X has a column '{name}', but it holds text that is read as time in no known way, "
            rf"the first {days[0]!r}\. Convert it with pandas.to_datetime",
            target="kW",
        )
    assert read_table(unnamed(days, name), target="kW", past_covariates=name)[1].freq is None
    assert read_table(unnamed(["noon"] * ROWS, name), target="kW")[1].freq is None


def test_text_of_arrow_that_looks_like_time_is_never_left_out():
    text = pd.Series(TEXT, dtype=pd.ArrowDtype(pa.string()))
    refused(unnamed(text), "holds text that looks like time stamps", target="kW")
    coded = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    refused(unnamed(text.astype(coded)), "holds text that looks like time stamps", target="kW")


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(lambda t: t.strftime("%Y-%m-%d"), id="text"),
        pytest.param(lambda t: t.date, id="dates"),
    ],
)
def test_days_in_which_hours_cannot_be_written_are_refused(days):
    stamps = pd.DatetimeIndex(["2016-07-03"])
    rows = pd.DataFrame({"date": days(stamps), "OT": [1.0]})
    _, layout = read_table(rows, freq="h")
    message = r"time column 'date' holds .*, in which 2016-07-03 01:00:00 cannot be written"
    with pytest.raises(DataError, match=message):
        layout.forecast_table(np.zeros((1, 3, 1)))
    _, layout = read_table(pd.concat([rows.assign(unique_id=name) for name in "ab"]), freq="h")
    with pytest.raises(DataError, match=message):
        layout.forecast_table(np.zeros((2, 3, 1)))
    _, layout = read_table(rows, freq="D")
    assert len(layout.forecast_table(np.zeros((1, 3, 1)))["date"].unique()) == 3
