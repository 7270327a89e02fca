"""Transformers take any table, and give back the same one with other numbers."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import (
    BoxCoxTransform,
    Difference,
    Impute,
    LogTransform,
    SeriesScaler,
)

ROWS, SERIES, CHANNELS = 11, 3, 2


def values(*shape):
    return np.random.default_rng(0).uniform(1.0, 5.0, size=shape)


def wide():
    index = pd.date_range("2024-03-30 20:00", periods=ROWS, freq="h", tz="Europe/Berlin", name="t")
    return pd.DataFrame(values(ROWS, CHANNELS), columns=["OT", "HUFL"], index=index)


DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="D")


def long(dtype=None):
    ids = np.repeat(["b", "a", "c"], ROWS)
    frame = pd.DataFrame({"unique_id": ids}).astype({"unique_id": dtype or "object"})
    frame["ds"] = np.tile(DAYS, SERIES)
    frame["y"] = values(SERIES * ROWS)
    return frame.sample(frac=1, random_state=0)


TABLES = {
    "array": values(ROWS, CHANNELS),
    "array of series": values(SERIES, ROWS, CHANNELS),
    "float32": values(ROWS, CHANNELS).astype("float32"),
    "Series": wide()["OT"],
    "Series without name": wide()["OT"].rename(None),
    "wide": wide(),
    "wide with time column": wide().reset_index(),
    "wide with numbers as names": wide().set_axis([7, 3], axis=1),
    "float32 frame": wide().astype("float32"),
    "nullable": wide().astype("Float64"),
    "periods": wide().set_axis(pd.period_range("2024-01", periods=ROWS, freq="M")),
    "long": long(),
    "long with categories": long("category"),
    "long with index": long().set_index("ds"),
    "two levels": long().set_index(["unique_id", "ds"]),
    "polars": pl.DataFrame({"when": DAYS, "OT": values(ROWS)}),
    "polars Series": pl.Series("OT", values(ROWS)),
    "polars long": pl.from_pandas(long().astype({"unique_id": str}).reset_index(drop=True)),
    "polars float32": pl.DataFrame({"OT": values(ROWS).astype("float32")}),
}
TRANSFORMERS = [
    SeriesScaler(),
    LogTransform(),
    BoxCoxTransform(),
    Difference(),
    Impute(),
]


def assert_same_but_for_numbers(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    elif isinstance(one, pl.DataFrame):
        assert one.schema == other.schema
        rest = pl.exclude(pl.Float64, pl.Float32)
        assert one.select(rest).equals(other.select(rest))
    elif isinstance(one, pl.Series):
        assert (one.name, one.dtype, len(one)) == (other.name, other.dtype, len(other))
    elif isinstance(one, pd.Series):
        assert (one.name, one.dtype) == (other.name, other.dtype)
        pd.testing.assert_index_equal(one.index, other.index, exact=True)
    else:
        pd.testing.assert_index_equal(one.index, other.index, exact=True)
        pd.testing.assert_index_equal(one.columns, other.columns, exact=True)
        assert one.dtypes.equals(other.dtypes)
        rest = one.select_dtypes(exclude="number")
        pd.testing.assert_frame_equal(rest, other.select_dtypes(exclude="number"))


def numbers(table):
    if isinstance(table, (pl.Series, pl.DataFrame)):
        table = table.to_pandas() if isinstance(table, pl.DataFrame) else table.to_numpy()
    if isinstance(table, pd.DataFrame):
        table = table.select_dtypes("number")
    return np.asarray(table, dtype=float)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_the_same_kind_of_table_comes_out_and_comes_back(transformer, name):
    X = TABLES[name]
    fitted = clone(transformer).fit(X)
    there = fitted.transform(X)
    assert_same_but_for_numbers(there, X)
    back = fitted.inverse_transform(there)
    assert_same_but_for_numbers(back, X)
    np.testing.assert_allclose(numbers(back), numbers(X), rtol=1e-5 if "32" in name else 1e-12)


@pytest.mark.parametrize("name", [n for n in TABLES if not n.startswith("array of")])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_names_the_columns_of_any_table(name, library):
    scaler = SeriesScaler().set_output(transform=library)
    found = scaler.fit_transform(TABLES[name])
    assert isinstance(found, {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library])
    expected = scaler.get_feature_names_out().tolist()
    if name == "wide with numbers as names":  # which are no names in scikit-learn's sense
        expected = [7, 3] if library == "pandas" else ["7", "3"]
    elif name == "Series without name" and library == "polars":
        expected = ["x0"]
    assert list(found.columns) == expected
    if library == "pandas" and isinstance(TABLES[name], (pd.DataFrame, pd.Series)):
        pd.testing.assert_index_equal(found.index, TABLES[name].index)


def test_set_output_has_no_frame_for_an_array_of_series():
    scaler = SeriesScaler().set_output(transform="pandas")
    with pytest.raises(DataError, match=r"shape \(3, 11, 2\) makes no frame of pandas"):
        scaler.fit_transform(TABLES["array of series"])
    with pytest.raises(ParameterError, match="transform must be one of 'default', 'pandas'"):
        scaler.set_output(transform="arrow")


def test_whole_numbers_become_floats_and_other_columns_stay():
    X = long().assign(count=lambda X: X["y"].round().astype("int32"), note="as it was")
    found = SeriesScaler(target="count").fit_transform(X)
    assert found["count"].dtype == "float64"
    pd.testing.assert_frame_equal(found.drop(columns="count"), X.drop(columns="count"))


def test_the_table_that_is_given_stays_as_it_was():
    for X in (wide(), values(ROWS, CHANNELS), long()):
        before = X.copy()
        fitted = Difference().fit(X)
        fitted.inverse_transform(fitted.transform(X))
        np.testing.assert_array_equal(np.asarray(X), np.asarray(before))


def test_ids_and_time_are_named_where_they_are_not_recognised():
    X = long().rename(columns={"unique_id": "shop", "ds": "week"})
    named = SeriesScaler(id_column="shop", time_column="week").fit_transform(X)
    expected = SeriesScaler().fit_transform(long())
    np.testing.assert_array_equal(named["y"], expected["y"])
    assert list(named.columns) == ["shop", "week", "y"]


def test_transformers_work_in_pipelines_and_column_transformers():
    X = wide()
    pipeline = make_pipeline(LogTransform(), SeriesScaler(), Difference(lag=2)).fit(X)
    np.testing.assert_allclose(pipeline.inverse_transform(pipeline.transform(X)), X, rtol=1e-12)
    columns = ColumnTransformer([("scale", SeriesScaler(), ["OT"])], remainder="passthrough")
    found = columns.set_output(transform="pandas").fit_transform(X)
    assert list(found.columns) == ["scale__OT", "remainder__HUFL"]
    pd.testing.assert_index_equal(found.index, X.index)


def test_missing_values_stay_missing():
    X = wide()
    X.iloc[3, 0] = np.nan
    for transformer in (SeriesScaler(), LogTransform(), BoxCoxTransform(), Difference()):
        found = transformer.fit_transform(X)
        assert np.isnan(found.iloc[3, 0])
        assert found.isna().to_numpy().sum() == 1
    polars = pl.DataFrame({"y": [1.0, None, 3.0]})
    assert SeriesScaler().fit_transform(polars)["y"].is_null().to_list() == [False, True, False]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], r"Expected X of shape \(time, channels\).* Reshape your data"),
        (np.ones((2, 3, 4, 5)), r"got shape \(2, 3, 4, 5\)"),
        (np.ones((0, 3)), "X has no rows"),
        (np.ones((3, 0)), r"X has 0 feature\(s\)"),
        (pd.DataFrame(index=range(3)), r"X has 0 feature\(s\)"),
        (pd.DataFrame({"y": []}), "X has no rows"),
        (
            np.array([[1.0], [np.inf]]),
            "Column '0' has 1 value that are infinite, the first inf in row 1",
        ),
        (pd.DataFrame({"y": ["1,5", "2,5"]}), "Expected numbers in column 'y'"),
        ("table.csv", "X is a str, expected an array"),
        (
            pd.DataFrame({"y": [1.0, 2.0]}, index=pd.DatetimeIndex(["2024-01-01", None])),
            "The index has 1 missing time stamps .NaT., the first in row 1",
        ),
        (
            pd.DataFrame({"unique_id": ["a", None], "ds": [1, 2], "y": [1.0, 2.0]}),
            "missing id",
        ),
        (pd.DataFrame({"unique_id": ["a"], "ds": [1]}), "no column beside"),
    ],
)
def test_a_table_that_cannot_be_used_gets_a_sentence(X, message):
    with pytest.raises(DataError, match=message):
        SeriesScaler().fit(X)


def test_another_table_than_in_fit_gets_a_sentence():
    scaler = SeriesScaler().fit(wide())
    with pytest.raises(ValueError, match="feature names should match"):
        scaler.transform(wide().rename(columns={"OT": "TO"}))
    with pytest.raises(ValueError, match="expecting 2 features"):
        SeriesScaler().fit(values(ROWS, 2)).transform(values(ROWS, 3))
    with pytest.raises(NotFittedError):
        SeriesScaler().transform(wide())
    with pytest.raises(DataError, match="target='TO' names no column of X"):
        SeriesScaler(target="TO").fit(wide())
