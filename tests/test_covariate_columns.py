"""Covariates: columns of numbers, flags and categories beside what is forecast."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_tables import refused

from titans_ts.data.covariates import Covariate, CovariateSchema
from titans_ts.data.schema import Layout, read_table

ROWS = 11
HOURS = pd.date_range("2024-01-01", periods=ROWS, freq="h")
pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
ARROW_TEXT = pd.ArrowDtype(pa.large_string())
KINDS = {
    "integers": (np.arange(ROWS), Covariate("x", "numeric"), np.arange(ROWS)),
    "floats": (np.arange(ROWS) / 4, Covariate("x", "numeric"), np.arange(ROWS) / 4),
    "flags": (np.arange(ROWS) % 3 == 0, Covariate("x", "boolean"), np.arange(ROWS) % 3 == 0),
    "nullable flags": (
        pd.array([True, None, *[False] * (ROWS - 2)], dtype="boolean"),
        Covariate("x", "boolean"),
        np.array([1, np.nan, *[0] * (ROWS - 2)]),
    ),
    "flags and None": (
        np.array([True, None, *[False] * (ROWS - 2)], dtype=object),
        Covariate("x", "boolean"),
        np.array([1, np.nan, *[0] * (ROWS - 2)]),
    ),
    "text": (
        ["wet", "dry", None, *["wet"] * (ROWS - 3)],
        Covariate("x", "categorical", ("dry", "wet")),
        np.array([1, 0, np.nan, *[1] * (ROWS - 3)]),
    ),
    "text in arrow": (
        pd.array(["wet", "dry", None, *["wet"] * (ROWS - 3)], dtype=ARROW_TEXT),
        Covariate("x", "categorical", ("dry", "wet")),
        np.array([1, 0, np.nan, *[1] * (ROWS - 3)]),
    ),
    "text in arrow by a dictionary": (
        pd.array(
            ["wet", "dry", None, *["wet"] * (ROWS - 3)],
            dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())),
        ),
        Covariate("x", "categorical", ("dry", "wet")),
        np.array([1, 0, np.nan, *[1] * (ROWS - 3)]),
    ),
    "categories of numbers": (
        pd.Categorical([30, 7, *[30] * (ROWS - 2)], categories=[30, 11, 7]),
        Covariate("x", "categorical", (7, 30)),
        np.array([1, 0, *[1] * (ROWS - 2)]),
    ),
    "all missing": (np.full(ROWS, np.nan), Covariate("x", "numeric"), np.full(ROWS, np.nan)),
}


def wide(x, index=HOURS):
    return pd.DataFrame({"y": np.arange(ROWS) * 2.0, "x": x}, index)


def long(x, **columns):
    """Two series, of seven rows and four."""
    stamps = HOURS[:7].append(HOURS[2:6])
    ids = np.repeat(["a", "b"], [7, 4])
    return pd.DataFrame(
        {"unique_id": ids, "ds": stamps, "y": np.arange(ROWS) * 2.0, "x": x, **columns}
    )


@pytest.mark.parametrize("role", ["past", "known"])
@pytest.mark.parametrize("table", [wide, long])
@pytest.mark.parametrize("kind", KINDS)
def test_covariates_of_each_kind_become_numbers(kind, table, role):
    column, covariate, expected = KINDS[kind]
    parameter = {"past": "past_covariates", "known": "future_covariates"}[role]
    series, layout = read_table(table(column), **{parameter: "x"})
    assert layout.channels == ("y",)
    assert layout.covariates == CovariateSchema(**{role: (covariate,)})
    read = getattr(series, role)
    assert read.channels == ("x",)
    np.testing.assert_array_equal(read.observed[:, 0], ~np.isnan(np.asarray(expected, float)))
    np.testing.assert_array_equal(read.values[:, 0], np.nan_to_num(np.asarray(expected, float)))
    np.testing.assert_array_equal(read.lengths, series.lengths)


@pytest.mark.parametrize(
    ("column", "kind", "categories"),
    [
        (pl.Series(["b", "a", None, *"ab" * 4]), "categorical", ("a", "b")),
        (pl.Series(["b", "a", None, *"ab" * 4], dtype=pl.Categorical), "categorical", ("a", "b")),
        (
            pl.Series(["b", "a", None, *"ab" * 4], dtype=pl.Enum(["c", "b", "a"])),
            "categorical",
            ("a", "b"),
        ),
        (pl.Series([True, False, None, *[True] * 8]), "boolean", ()),
        (pl.Series([1, 0, None, *[1] * 8], dtype=pl.Int8), "numeric", ()),
    ],
    ids=["text", "categorical", "enum", "flags", "integers"],
)
def test_covariates_of_polars_are_read_alike(column, kind, categories):
    table = pl.DataFrame({"ds": list(HOURS.to_pydatetime()), "y": np.arange(11.0), "x": column})
    series, layout = read_table(table, past_covariates=["x"])
    assert layout.covariates.past == (Covariate("x", kind, categories),)
    assert series.past.observed[:, 0].tolist() == [True, True, False, *[True] * 8]
    assert series.past.values[:2, 0].tolist() == [1, 0]


def test_numbers_as_text_are_categories_where_that_is_meant():
    for column in (["1", "2"] * 5 + ["2"], pd.Categorical(["1.5", "2"] * 5 + ["2"])):
        schema = read_table(wide(column), past_covariates="x")[1].covariates
        assert schema.cardinalities("past") == (2,)


def test_static_covariates_are_one_number_per_series():
    region = ["north", None, *["north"] * 5, *["east"] * 4]
    size = [3.0] * 7 + [np.nan] * 4
    table = long(0.0, region=region, size=size, open=[True] * 7 + [False] * 4)
    names = ["region", "size", "open"]
    series, layout = read_table(table, target="y", static_covariates=names)
    np.testing.assert_array_equal(series.static, [[1, 3, 1], [0, np.nan, 0]])
    kinds = [covariate.kind for covariate in layout.covariates.static]
    assert kinds == ["categorical", "numeric", "boolean"]
    assert layout.covariates.cardinalities("static") == (2, 0, 0)
    series, _ = read_table(wide(7.0), static_covariates="x")
    np.testing.assert_array_equal(series.static, [[7.0]])


def test_static_covariates_that_change_are_refused():
    table = long(0.0, region=["n"] * 5 + ["s"] * 2 + ["e"] * 4)
    message = (
        r"static covariate in column 'region' must be the same in all rows of a series, got 'n' in "
        r"row 0 \(series 'a', 2024-01-01 00:00:00\) and 's' in row 5 \(series 'a', .* 05:00:00\)"
    )
    refused(table, message, target="y", static_covariates="region")
    refused(wide(np.arange(ROWS)), "got 0 in row 0 .* and 1 in row 1", static_covariates="x")


def test_covariates_keep_the_order_in_which_they_are_named():
    table = long(1.0, z=2.0)
    series, layout = read_table(table, target="y", future_covariates=["z", "x"])
    assert series.known.channels == ("z", "x")
    assert series.known.values[0].tolist() == [2.0, 1.0]
    assert [covariate.label for covariate in layout.covariates.known] == ["z", "x"]


def test_what_has_no_role_is_a_target_unless_targets_are_named():
    table = long(1.0, z=2.0)
    assert read_table(table, past_covariates="z")[1].channels == ("y", "x")
    assert read_table(table, past_covariates="z", target="x")[1].channels == ("x",)


def test_the_schema_of_fit_codes_later_tables():
    _, layout = read_table(long(list("ababababcbc")), future_covariates="x")
    schema = Layout.from_dict(json.loads(json.dumps(layout.to_dict()))).covariates
    assert schema == layout.covariates
    assert schema.cardinalities("known") == (3,)
    later = long(["c"] * ROWS)
    series, again = read_table(later, future_covariates="x", schema=schema)
    assert (series.known.values == 2).all()
    assert again.covariates == schema


def test_unseen_categories_are_refused_with_those_that_are_known():
    _, layout = read_table(long(list("ababababaab")), future_covariates="x")
    said = refused(
        long(list("ababababzzb")),
        r"covariate in column 'x' has the category 'z' in row 8 \(series 'b', 2024-01-01 "
        r"03:00:00\), which fit has not seen; it knows 'a', 'b'\.",
        future_covariates="x",
        schema=layout.covariates,
    )
    assert "fit again" in said


@pytest.mark.parametrize(
    ("fitted", "later", "message"),
    [
        (np.arange(ROWS), ["a"] * ROWS, "was numeric in fit, but is categorical .* value is 'a'"),
        (["a"] * ROWS, np.arange(ROWS), "was categorical in fit, but is numeric .* value is 0"),
        (np.arange(ROWS), np.arange(ROWS) > 3, "was numeric in fit, but is boolean"),
        (np.arange(ROWS) > 3, np.arange(ROWS), "was boolean in fit, but is numeric"),
    ],
)
def test_covariates_of_another_kind_than_in_fit_are_refused(fitted, later, message):
    _, layout = read_table(wide(fitted), past_covariates="x")
    refused(wide(later), message, past_covariates="x", schema=layout.covariates)
    # Without one value there is no kind to compare.
    empty = wide(np.full(ROWS, np.nan))
    series, _ = read_table(empty, past_covariates="x", schema=layout.covariates)
    assert not series.past.observed.any()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            np.where(np.arange(ROWS) == 4, np.inf, 0.0),
            r"in column 'x' has 1 infinite value \(inf\), the first in row 4 \(2024-01-01 04:",
        ),
        (HOURS + pd.Timedelta("1D"), r"numbers in column 'x', got datetime64\[.*past_covariates="),
        (HOURS - HOURS[0], "numbers in column 'x', got timedelta64"),
        (np.arange(ROWS) * 1j, "Complex data not supported"),
        ([1, "a"] * 5 + [2], "True and False, or text in column 'x', got mixed-integer values"),
        (["1,5", "2,25"] * 5 + ["7,0"], "looks like numbers with decimal commas, such as '1,5'"),
        (["1.5", None] * 5 + ["7.0"], r"text that looks like numbers, such as '1\.5'\. Convert"),
        ([(1, 2)] * ROWS, "True and False, or text in column 'x', got mixed values, the first"),
        (pd.Categorical([(1, 2)] * ROWS), r"categories in column 'x' must be text or numbers"),
    ],
)
def test_columns_that_are_no_covariates_are_refused(column, message):
    refused(wide(column), message, past_covariates="x")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            {"past_covariates": "x", "future_covariates": ["x"]},
            "future_covariates='x' is named in past_covariates, expected a column without another",
        ),
        ({"static_covariates": "x", "target": "x"}, "target='x' is named in static_covariates"),
        ({"past_covariates": "ds"}, "past_covariates='ds' is the time column"),
        ({"past_covariates": "unique_id"}, "past_covariates='unique_id' is the id column"),
        ({"target": "unique_id"}, "target='unique_id' is the id column"),
        ({"past_covariates": ["x", "x"]}, "past_covariates names the column 'x' twice"),
        ({"past_covariates": "X"}, "past_covariates='X' names no column .* Did you mean 'x'?"),
        (
            {"past_covariates": ["x", "y"]},
            "no column beside its time column 'ds' and its id column 'unique_id' and 'x' and 'y'",
        ),
        ({"id_column": "ds"}, "'ds' cannot be both the id column and the time column|no time"),
        ({"id_column": "ds", "time_column": "ds"}, "cannot be both the id column and the time"),
    ],
)
def test_roles_that_contradict_each_other_are_refused(roles, message):
    refused(long(1.0), message, **roles)


@pytest.mark.parametrize("role", ["past_covariates", "future_covariates", "static_covariates"])
def test_arrays_have_no_columns_to_name(role):
    message = f"{role}=.* names columns, but X is an array without names"
    refused(np.ones((5, 2)), message, **{role: ["x"]})
    assert read_table(np.ones((5, 2)), **{role: []})[1].channels == ("0", "1")
