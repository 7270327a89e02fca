"""Bad input gets one sentence: what was expected, what came, where, and what to do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_tables import HOURS, ROWS, frame, put, refused, with_date
from scipy import sparse

from titans_ts.data.schema import read_table

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
    ("column", "missing"),
    [
        (put(range(ROWS), [4, 9], np.nan, float), [4, 9]),
        (pd.array(put(range(ROWS), 6, None), dtype="Int64"), [6]),
        (pd.array(put(range(ROWS), 6, None), dtype="Float32"), [6]),
        (put(range(ROWS), 6, None), [6]),
    ],
)
def test_missing_values_are_read_as_not_observed(column, missing):
    table = frame()
    table["OT"] = column
    series, _ = read_table(table)
    assert np.flatnonzero(~series.observed[:, 1]).tolist() == missing
    assert series.observed[:, 0].all()
    expected = np.where(np.isin(np.arange(ROWS), missing), 0, np.arange(ROWS))
    np.testing.assert_array_equal(series.values[:, 1], expected)


def test_a_target_without_any_value_is_refused():
    nothing = np.full(ROWS, np.nan)
    message = r"^Column 'OT' has no values: all of its 11 rows are missing \(NaN\)\. Drop it"
    refused(frame(OT=nothing), message)
    refused(frame(OT=put(range(ROWS), slice(None), None)), message)
    assert read_table(frame(OT=nothing), target="HUFL")[1].channels == ("HUFL",)
    refused(np.full((3, 2), np.nan), "^Column 0 has no values: all of its 3 rows are missing")


def test_infinities_in_other_columns_are_mentioned():
    bad = put(range(ROWS), 4, np.inf, float)
    message = r"'OT' has 1 infinite .* \(2 other columns have some too\), expected finite"
    refused(frame(OT=bad, MULL=bad, LUFL=bad), message)
    refused(frame(OT=bad, MULL=bad), r"\(1 other column has some too\)")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused_and_counted(value):
    values = put(range(ROWS), [3, 5], value, float)
    message = r"^Column 'OT' has 2 infinite values \(inf\), the first in row 3 .* finite numbers"
    refused(frame(OT=values), message)


def test_a_series_without_name_is_called_the_series():
    refused(pd.Series([1.0, np.inf]), "^The series has 1 infinite value .* row 1")
    refused(pd.Series([1.0, "x"]), "Expected numbers in the series, got text in 1 row")


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
        pytest.param(
            np.zeros((3, 2), dtype=[("a", "f8"), ("b", "i4")]),
            r"array of records with the fields 'a', 'b', .* pandas\.DataFrame\(X\)",
            id="records",
        ),
        pytest.param(None, "X is a NoneType, expected an array", id="None"),
        pytest.param(sparse.eye(3).tocsr(), r"Sparse data not supported.*toarray", id="sparse"),
    ],
)
def test_what_is_no_table_of_series_is_refused(X, message):
    refused(X, message)


def test_a_table_of_arrow_is_not_read_as_an_array_without_names():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"unique_id": [1, 1, 2], "y": [1.0, 2.0, 3.0]})
    refused(table, r"X is a Table of pyarrow, expected .*X\.to_pandas\(\), or polars\.from_arrow")


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
        (np.array([[1, np.inf]]), r"^Column 1 has 1 infinite value \(inf\), the first in row 0"),
    ],
)
def test_an_array_that_holds_no_finite_numbers_is_refused(X, message):
    refused(X, message)


def test_in_a_stack_of_series_the_place_names_series_and_row():
    stack = np.zeros((5, 7, 3))
    stack[3, 2, 1] = np.inf
    refused(
        stack, r"^Column 1 has 1 infinite value \(inf\), the first in series 3, row 2, expected"
    )


def test_masks_and_nan_of_arrays_are_read_as_not_observed():
    masked = np.ma.masked_array(np.arange(6.0).reshape(3, 2), [[0, 0], [0, 0], [0, 1]])
    series, _ = read_table(masked)
    assert series.observed.tolist() == [[True, True], [True, True], [True, False]]
    assert series.values.tolist() == [[0, 1], [2, 3], [4, 0]]
    stack = np.ones((2, 3, 1))
    stack[1, 0, 0] = np.nan
    series, _ = read_table(stack)
    assert series.observed.ravel().tolist() == [True, True, True, False, True, True]
    assert np.isnan(stack[1, 0, 0])


def test_a_target_by_name_needs_a_table_with_names():
    refused(np.zeros((7, 3)), "target='OT' names columns, but X is an array", target="OT")


# -- row numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", ""])
@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(np.arange(ROWS), id="counted"),
        pytest.param(np.arange(ROWS) + 50, id="the end of a table"),
        pytest.param(np.arange(ROWS) ** 2, id="selected"),
        pytest.param(np.arange(ROWS) % 4, id="several tables"),
    ],
)
def test_row_numbers_are_nothing_to_forecast(name, numbers):
    table = with_date(HOURS)
    table.insert(0, name, numbers)
    said = refused(
        table, f"^The column '{name}' of X holds {numbers[0]}, {numbers[1]}, .*: row num"
    )
    assert "index_col=0" in said
    assert "target=" in said
    refused(table.drop(columns="date"), "row numbers")
    assert read_table(table, target=[name, "OT"])[1].channels == (name, "OT")
    assert read_table(table, target="OT")[1].channels == ("OT",)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(np.arange(ROWS) % 2, id="a flag"),
        pytest.param(np.arange(ROWS) / 2, id="fractions"),
        pytest.param(np.arange(ROWS)[::-1].copy(), id="falling"),
        pytest.param(np.zeros(ROWS, dtype=int), id="constant"),
    ],
)
def test_a_column_without_a_name_that_numbers_no_rows_is_forecast(numbers):
    table = with_date(HOURS).drop(columns="HUFL")
    table.insert(0, "Unnamed: 0", numbers)
    assert read_table(table)[1].channels == ("Unnamed: 0", "OT")


def test_growing_numbers_under_a_name_are_forecast():
    assert "meter" in read_table(frame(meter=np.arange(ROWS)))[1].channels
