"""The rows to forecast: laid out, compared with what a user has, and read."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.data.future import future_frame, missing_future, read_future
from titans_ts.data.schema import Layout, read_table
from titans_ts.errors import DataError

HOURS = pd.date_range("2024-01-01", periods=23, freq="h")
HORIZON = 5
ENDS = {"b": 11, "a": 7}  # rows of each series


def panel(stamps=HOURS, **columns):
    """Series b and a, and the five rows after the end of each."""
    parts = []
    for name, n in ENDS.items():
        rows = np.arange(n + HORIZON)
        part = pd.DataFrame(
            {"unique_id": name, "ds": pd.Series(stamps).iloc[rows], "y": rows * 1.0}
        )
        part["x"] = rows + (100.0 if name == "a" else 0.0)
        part["future"] = rows >= n
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True).assign(**columns)
    is_future = frame.pop("future")
    return frame[~is_future].reset_index(drop=True), frame[is_future].reset_index(drop=True)


def wide(index=HOURS[:11]):
    return pd.DataFrame({"y": np.arange(11.0), "x": np.arange(11.0)}, index)


def fitted(X, **options):
    _, layout = read_table(X, **{"target": "y", "future_covariates": "x", **options})
    return Layout.from_dict(json.loads(json.dumps(layout.to_dict())))


def refused(future, layout, message, horizon=HORIZON, **options):
    with pytest.raises(DataError, match=message) as caught:
        read_future(future, layout, horizon, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


# -- laid out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamps",
    [
        HOURS,
        HOURS.tz_localize("Europe/Berlin"),
        pd.date_range("2024-01-01", periods=23, freq="ME"),
        HOURS.strftime("%d.%m.%Y %H:%M"),
        pd.period_range("2024-01", periods=23, freq="M"),
        np.arange(23) * 7,
    ],
)
def test_the_future_of_a_panel_has_ids_and_times_only(stamps):
    head, tail = panel(stamps)
    keys = ["unique_id", "ds"]
    pd.testing.assert_frame_equal(future_frame(fitted(head), HORIZON), tail[keys])
    # Whatever the order of the columns was.
    other = head[["y", "ds", "x", "unique_id"]]
    pd.testing.assert_frame_equal(future_frame(fitted(other), HORIZON), tail[keys[::-1]])


def test_the_future_of_an_index_is_an_index():
    head, tail = panel()
    keys = ["unique_id", "ds"]
    frame = future_frame(fitted(head.set_index(keys)), HORIZON)
    pd.testing.assert_frame_equal(frame, tail.set_index(keys)[[]], check_column_type=False)
    frame = future_frame(fitted(wide()), HORIZON)
    assert list(frame.columns) == []
    pd.testing.assert_index_equal(frame.index, HOURS[11 : 11 + HORIZON])
    series = wide()["y"]
    frame = future_frame(read_table(series)[1], HORIZON)
    assert isinstance(frame, pd.DataFrame)
    pd.testing.assert_index_equal(frame.index, HOURS[11 : 11 + HORIZON])


def test_the_future_of_a_time_column_is_a_time_column():
    table = wide().rename_axis("when").reset_index()
    expected = pd.DataFrame({"when": HOURS[11 : 11 + HORIZON]})
    pd.testing.assert_frame_equal(future_frame(fitted(table), HORIZON), expected)
    frame = future_frame(fitted(pl.from_pandas(table)), HORIZON)
    assert frame.equals(pl.from_pandas(expected))


def test_polars_panels_have_a_polars_future():
    head, tail = panel()
    frame = future_frame(fitted(pl.from_pandas(head)), HORIZON)
    assert frame.equals(pl.from_pandas(tail[["unique_id", "ds"]]))


def test_tables_without_time_have_no_future_table():
    with pytest.raises(DataError, match="Arrays have no time"):
        future_frame(read_table(np.ones((7, 2)))[1], 3)
    with pytest.raises(DataError, match="X had no time column"):
        future_frame(read_table(pl.DataFrame({"y": [1.0, 2.0]}))[1], 3)


# -- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars", "levels"])
def test_rows_of_the_future_are_found_whatever_their_order(library):
    head, tail = panel()
    tail = tail.drop(columns="y").sample(frac=1, random_state=7)
    if library == "levels":
        head, tail = (part.set_index(["unique_id", "ds"]) for part in (head, tail))
    if library == "polars":
        head, tail = pl.from_pandas(head), pl.from_pandas(tail)
    series = read_future(tail, fitted(head), HORIZON)
    assert series.channels == ("x",)
    assert series.ids == ("b", "a")
    assert series.lengths.tolist() == [HORIZON, HORIZON]
    expected = [*range(11, 16), *range(107, 112)]
    assert series.values.ravel().tolist() == expected
    assert series.observed.all()


def test_what_is_not_asked_for_is_not_looked_at():
    head, tail = panel()
    stranger = tail[:HORIZON].assign(unique_id="z", x=np.inf)
    everything = pd.concat([stranger, head.assign(x=np.inf), tail], ignore_index=True)
    series = read_future(everything, fitted(head), 3)
    assert series.values.ravel().tolist() == [11, 12, 13, 107, 108, 109]
    # A panel that was put together of other series.
    layout = fitted(head).select(np.array([1]))
    assert read_future(tail, layout, 2).values.ravel().tolist() == [107, 108]


def test_missing_values_of_the_future_are_not_observed():
    head, tail = panel()
    tail.loc[3, "x"] = np.nan
    series = read_future(tail, fitted(head), HORIZON)
    assert np.flatnonzero(~series.observed.ravel()).tolist() == [3]
    assert series.values[3, 0] == 0


@pytest.mark.parametrize("index", [pd.RangeIndex(11), pd.Index(np.arange(11) * 3 - 4), HOURS[:11]])
def test_the_future_of_one_series_is_found_by_its_index(index):
    layout = fitted(wide(index))
    future = future_frame(layout, HORIZON).assign(x=np.arange(20.0, 25.0))
    series = read_future(future[::-1], layout, HORIZON)
    assert series.values.ravel().tolist() == [20, 21, 22, 23, 24]


def test_the_future_without_time_is_the_first_rows():
    layout = fitted(pl.DataFrame({"y": np.arange(7.0), "x": np.arange(7.0)}))
    future = pl.DataFrame({"x": [5.0, 6.0, 7.0, 8.0]})
    assert read_future(future, layout, 3).values.ravel().tolist() == [5, 6, 7]
    refused(future, layout, "future has 4 rows, expected 5: one for each step", 5)


def test_times_in_another_zone_or_unit_are_the_same_times():
    head, tail = panel(HOURS.tz_localize("Europe/Berlin"))
    tail["ds"] = tail["ds"].dt.tz_convert("UTC").dt.as_unit("s")
    series = read_future(tail, fitted(head), HORIZON)
    assert series.values[:2, 0].tolist() == [11, 12]


def test_text_is_read_as_the_table_wrote_it():
    days = pd.date_range("2024-01-27", periods=23).strftime("%d/%m/%Y")
    head, tail = panel(days)
    # Of 02/03 and 01/03 alone nobody could tell that these are days of March.
    assert read_future(tail.iloc[::-1], fitted(head), HORIZON).values[0, 0] == 11


def test_categories_of_the_future_are_coded_as_in_fit():
    head, tail = panel(x=np.tile(["dry", "wet"], 14))
    layout = fitted(head)
    series = read_future(tail, layout, HORIZON)
    np.testing.assert_array_equal(series.values[:, 0], tail["x"] == "wet")
    message = (
        r"column 'x' has the category 'fog' in row 6 \(series 'a', 2024-01-01 08:00:00\), which "
        "fit has not seen; it knows 'dry', 'wet'"
    )
    tail.loc[6, "x"] = "fog"
    refused(tail, layout, message)


# -- refused -------------------------------------------------------------------------------------


def test_missing_steps_are_named_with_their_series():
    head, tail = panel()
    refused(
        tail.drop([2, 5, 6, 7, 8, 9]),
        fitted(head),
        r"^future lacks 6 of the 10 rows to forecast \(5 for each series\): series 'b' at "
        r"2024-01-01 13:00:00; series 'a' all of 2024-01-01 07:00:00, 2024-01-01 08:00:00, "
        r"2024-01-01 09:00:00, \.\.\. 2024-01-01 11:00:00\. make_future_dataframe\(X\) gives",
    )
    layout = fitted(wide())
    future = wide(HOURS[11:22])
    refused(
        future.drop(HOURS[[12, 14]]),
        layout,
        "^future lacks 2 of the 5 steps to forecast: 2024-01-01 12:00:00, 2024-01-01 14:00:00",
    )


def test_of_many_series_that_lack_rows_some_are_named():
    frame = pd.concat(
        [wide().rename_axis("ds").reset_index().assign(item_id=f"s{i}") for i in range(9)]
    )
    layout = fitted(frame)
    future = future_frame(layout, HORIZON).assign(x=1.0)
    later = future[future["item_id"] > "s7"]
    refused(later, layout, r"lacks 40 .* series 's2' .*; and 5 other series \('s3', 's4', 's5', ")


def test_ids_of_another_kind_are_pointed_at():
    head, tail = panel()
    codes = {"a": 1, "b": 2}
    layout = fitted(head.assign(unique_id=head["unique_id"].map(codes)))
    strangers = tail.assign(unique_id=tail["unique_id"].map({"a": "1", "b": "2"}))
    refused(strangers, layout, r"None of its ids \('2', '1'\) is one of X's\.")


def test_rows_between_two_steps_are_refused():
    head, tail = panel()
    tail.loc[3, "ds"] += pd.Timedelta("20min")
    refused(
        tail,
        fitted(head),
        r"^future has 1 row between two steps, the first in row 3 \(series 'b', 2024-01-01 "
        r"14:20:00\); expected one every h, the next at 2024-01-01 15:00:00\.",
    )
    half = wide(pd.date_range(HOURS[11], periods=11, freq="30min"))
    refused(half, fitted(wide()), "has 4 rows between two steps, the first in row 1 ")


def test_the_same_step_twice_is_refused():
    head, tail = panel()
    twice = pd.concat([tail, tail.iloc[[6]]], ignore_index=True)
    message = r"1 duplicate: the first is row 10 \(series 'a', 2024-01-01 08:00:00\); expected one"
    refused(twice, fitted(head), message)
    future = wide(HOURS[11:22])
    refused(
        pd.concat([future, future.iloc[[2]]]),
        fitted(wide()),
        r"1 duplicate: the first is row 11 \(2024-01-01 13:00:00\); expected one row per time",
    )


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            HOURS[11:22].tz_localize("UTC"),
            "with time stamps without time zone; it has time stamps in UTC",
        ),
        (pd.RangeIndex(11), "with time stamps without time zone; it has integers"),
        (HOURS[11:22].to_period("h"), "with time stamps without time zone; it has periods"),
    ],
)
def test_time_of_another_kind_is_refused(index, message):
    refused(wide(index), fitted(wide()), f"future must be labelled as X is, {message}")


def test_periods_of_another_length_are_refused():
    months = pd.period_range("2024-01", periods=22, freq="M")
    layout = fitted(wide(months[:11]))
    refused(wide(months[11:].asfreq("D")), layout, r"holds periods of 'D', expected 'M'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="x"), "future_covariates='x' names no column of future, which"),
        (
            lambda t: t.drop(columns="unique_id"),
            r"future has no ids of series: its columns are 'ds'",
        ),
        (lambda t: t.drop(columns="ds"), "future has the ids of series in column 'unique_id', but"),
        (lambda t: t.assign(x="wet"), "column 'x' was numeric in fit, but is categorical here"),
        (lambda t: t.assign(x=np.inf), r"'x' has 10 infinite values \(inf\), the first in row 0 "),
        (lambda t: t.iloc[:0], "future has no rows, expected one for each step"),
        (lambda t: t.to_numpy(), "future is a ndarray, expected a DataFrame like X"),
        (lambda t: t.assign(unique_id=[None, *t["unique_id"][1:]]), "1 missing id, the first in "),
        (lambda t: t.assign(ds=[pd.NaT, *t["ds"][1:]]), r"1 missing time stamp \(NaT\), .* row 0"),
        (lambda t: pl.from_pandas(t).lazy(), r"future is a lazy frame.* Give future\.collect"),
    ],
)
def test_a_future_that_is_no_such_table_is_refused(change, message):
    head, tail = panel()
    refused(change(tail.drop(columns="y")), fitted(head), message)


# -- compared ------------------------------------------------------------------------------------


def test_missing_rows_are_those_that_were_left_out():
    head, tail = panel()
    layout = fitted(head)
    lacking = [1, 6, 9]
    missing = missing_future(tail.drop(lacking).sample(frac=1, random_state=1), layout, HORIZON)
    expected = tail.loc[lacking, ["unique_id", "ds"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(missing, expected)
    assert len(missing_future(tail, layout, HORIZON)) == 0
    polars = missing_future(pl.from_pandas(tail.drop(lacking)), layout, HORIZON)
    pd.testing.assert_frame_equal(polars, expected)


def test_missing_rows_of_polars_and_of_an_index_have_their_form():
    head, tail = panel()
    keys = ["unique_id", "ds"]
    layout = fitted(pl.from_pandas(head))
    missing = missing_future(pl.from_pandas(tail[1:]), layout, HORIZON)
    assert missing.equals(pl.from_pandas(tail.loc[[0], keys]))
    layout = fitted(head.set_index(keys))
    missing = missing_future(tail[1:].set_index(keys), layout, HORIZON)
    assert missing.index.tolist() == [("b", HOURS[11])]
    missing = missing_future(wide(HOURS[12:23]), fitted(wide()), HORIZON)
    assert missing.index.tolist() == [HOURS[11]]
