"""FillGaps and Resample: the rows that a table should have."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import FillGaps, Resample

NAN = np.nan
ROWS = 11


def stamped(index):
    return pd.DataFrame(
        {"a": np.arange(len(index), dtype="float32"), "b": np.arange(len(index))}, index=index
    )


INDICES = {
    "15 minutes": pd.date_range("2024-01-01", periods=ROWS, freq="15min", name="t"),
    "into summer time": pd.date_range(
        "2024-03-30 20:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "into winter time": pd.date_range(
        "2024-10-26 20:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "local days": pd.date_range("2024-03-26", periods=ROWS, freq="D", tz="Europe/Berlin"),
    "days": pd.date_range("2024-03-26", periods=ROWS, freq="D").as_unit("s"),
    "days from one without a midnight": pd.date_range("2024-09-08", periods=ROWS).tz_localize(
        "America/Santiago", nonexistent="shift_forward"
    ),
    "business days": pd.date_range("2024-03-26", periods=ROWS, freq="B"),
    "month ends": pd.date_range("2024-01-31", periods=ROWS, freq="ME"),
    "periods": pd.period_range("2024-01", periods=ROWS, freq="M", name="month"),
    "integers": pd.Index(np.arange(ROWS) * 7 + 3, name="step"),
}


@pytest.mark.parametrize("name", INDICES)
def test_missing_rows_are_inserted_on_the_clock(name):
    X = stamped(INDICES[name])
    # pandas names no frequency of the days that one without a midnight is among.
    freq = getattr(X.index, "freqstr", None) if name != "periods" else None
    found = FillGaps(freq=freq).fit_transform(X.drop(X.index[[3, 4, 8]]))
    expected = X.astype({"b": "float64"})
    expected.iloc[[3, 4, 8]] = NAN
    pd.testing.assert_frame_equal(found, expected, check_freq=bool(freq))


@pytest.mark.parametrize("freq", ["YS-JAN", "QE-DEC", "MS", "15min"])
def test_a_short_table_with_a_gap_has_the_step_of_its_calendar(freq):
    X = pd.DataFrame({"y": np.arange(9.0)}, index=pd.date_range("2003-01-01", periods=9, freq=freq))
    fill = FillGaps().fit(X.drop(X.index[5]))
    assert fill.freq_ == freq
    pd.testing.assert_index_equal(fill.transform(X.drop(X.index[5])).index, X.index)


def test_the_frequency_is_learnt_in_fit():
    X = stamped(INDICES["15 minutes"])
    fill = FillGaps().fit(X.drop(X.index[5]))
    assert fill.freq_ == "15min"
    assert len(fill.transform(X.iloc[[0, 10]])) == ROWS
    assert FillGaps().fit(np.ones((3, 1))).freq_ is None


def long_table():
    return pd.DataFrame(
        {
            "unique_id": ["b", "b", "b", "a", "a"],
            "ds": pd.to_datetime(
                ["2024-01-04", "2024-01-02", "2024-01-01", "2024-01-09", "2024-01-07"]
            ),
            "y": [4, 2, 1, 9, 7],
            "kind": ["big", "big", "big", "small", "small"],
            "note": list("vwxyz"),
        }
    )


def as_polars(X):
    return pl.from_pandas(X.astype({"unique_id": str, "kind": str, "note": str}))


EXPECTED = {
    "unique_id": ["b"] * 4 + ["a"] * 3,
    "ds": [f"2024-01-0{day}" for day in (1, 2, 3, 4, 7, 8, 9)],
    "y": [1.0, 2.0, None, 4.0, 7.0, None, 9.0],
    "kind": ["big"] * 4 + ["small"] * 3,
    "note": ["x", "w", None, "v", "z", None, "y"],
}


def test_each_series_of_a_long_frame_is_filled_by_itself():
    fill = FillGaps(freq="D", carry="kind", target="y")
    found = fill.fit_transform(long_table())
    assert found["ds"].dt.strftime("%Y-%m-%d").tolist() == EXPECTED["ds"]
    for name in ("unique_id", "kind"):
        assert found[name].tolist() == EXPECTED[name]
    np.testing.assert_array_equal(found["y"], np.array(EXPECTED["y"], dtype=float))
    assert found["note"].fillna("").tolist() == [note or "" for note in EXPECTED["note"]]
    assert found.columns.tolist() == fill.get_feature_names_out().tolist()

    # What is carried is no target, whether one is named or not.
    plain = long_table().drop(columns="note")
    named = fill.fit_transform(plain)
    assert FillGaps(freq="D", carry=["kind"]).fit_transform(plain).equals(named)
    resampled = Resample(freq="D", carry="kind").fit_transform(plain)
    assert resampled["kind"].tolist() == EXPECTED["kind"]

    X = as_polars(long_table())
    polars = fill.fit_transform(X)
    assert polars.schema == {**X.schema, "y": pl.Float64}
    assert polars["ds"].dt.strftime("%Y-%m-%d").to_list() == EXPECTED["ds"]
    for name in ("unique_id", "y", "kind", "note"):
        assert polars[name].to_list() == EXPECTED[name]


@pytest.mark.parametrize(
    ("times", "third"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-04"], "2024-01-03"),
        (["30/01/2024", "31/01/2024", "02/02/2024"], "01/02/2024"),
        ([datetime.date(2024, 1, day) for day in (1, 2, 4)], datetime.date(2024, 1, 3)),
    ],
    ids=["ISO text", "day first", "dates"],
)
def test_times_are_written_as_they_were(times, third):
    X = pd.DataFrame({"date": times, "y": [1.0, 2.0, 4.0]})
    assert FillGaps(freq="D").fit_transform(X)["date"][2] == third


@pytest.mark.parametrize("transformer", [FillGaps(freq="6h"), Resample(freq="36h")], ids=repr)
@pytest.mark.parametrize(
    ("days", "what"),
    [
        (["2024-01-01", "2024-01-04"], "times such as '2024-01-01'"),
        ([datetime.date(2024, 1, 1), datetime.date(2024, 1, 4)], "days"),
    ],
    ids=["text", "dates"],
)
def test_hours_are_not_written_as_days(transformer, days, what):
    X = pd.DataFrame({"date": days, "y": [1.0, 2.0]})
    with pytest.raises(DataError, match=f"Column 'date' holds {what}, in which 2024-01-0. .*:00"):
        transformer.fit_transform(X)
    with pytest.raises(DataError, match="Convert it to time stamps before"):
        transformer.fit_transform(pl.from_pandas(X))
    assert transformer.fit_transform(X.assign(date=pd.to_datetime(X["date"])))["date"].is_unique


def test_two_levels_of_index_and_categories_stay():
    X = long_table()[["unique_id", "ds", "y"]].astype({"unique_id": "category"})
    assert FillGaps(freq="D").fit_transform(X)["unique_id"].dtype == "category"
    levels = FillGaps(freq="D").fit_transform(X.set_index(["unique_id", "ds"]))
    assert levels.index.names == ["unique_id", "ds"]
    assert levels.index.get_level_values(0).tolist() == EXPECTED["unique_id"]


def test_a_series_and_tables_without_time():
    X = stamped(INDICES["15 minutes"])["a"]
    found = FillGaps().fit_transform(X.drop(X.index[5]))
    assert (found.name, found.dtype, len(found)) == ("a", "float32", ROWS)
    array = np.arange(6.0).reshape(3, 2)
    for transformer in (FillGaps(), Resample()):
        np.testing.assert_array_equal(transformer.fit_transform(array), array)


@pytest.mark.parametrize(
    ("transformer", "X", "error", "message"),
    [
        (FillGaps(freq="often"), long_table(), ParameterError, "freq must be a pandas frequency"),
        (FillGaps(target="y"), long_table()[:1], DataError, "from one time stamp per series"),
        (
            FillGaps(freq="2D", target="y"),
            long_table(),
            DataError,
            r"step of 2D from 2024-01-01 00:00:00 on, but 2 rows came between, .* in row 1",
        ),
        (
            FillGaps(freq="D", target="y"),
            pd.concat([long_table(), long_table()[2:3]]),
            DataError,
            r"1 duplicate, the first 2024-01-01 00:00:00 in row \d.*Resample\(\)",
        ),
        (
            FillGaps(carry="sort", target="y"),
            long_table(),
            DataError,
            "carry='sort' names no column of X",
        ),
        (
            FillGaps(freq="D"),
            stamped(INDICES["periods"]),
            DataError,
            "labelled with periods of 'M', which no step of D fits",
        ),
        (
            FillGaps(freq="D"),
            stamped(INDICES["integers"]),
            DataError,
            "labelled with integers, which no step of D fits",
        ),
        (FillGaps(), long_table(), DataError, "Expected numbers in column 'kind'"),
        (FillGaps(carry="y", target="y"), long_table(), DataError, "is a column of numbers too"),
        (Resample(freq="fast"), long_table(), ParameterError, "freq must be a pandas frequency"),
        (Resample(method="mode"), long_table(), ParameterError, "method must be one of 'mean'"),
        (
            Resample(freq="D"),
            stamped(INDICES["periods"]),
            DataError,
            r"labelled with periods. Convert them, for example with X.index.to_timestamp\(\)",
        ),
    ],
)
def test_what_has_no_grid_gets_a_sentence(transformer, X, error, message):
    with pytest.raises(error, match=message):
        transformer.fit(X).transform(X)


def test_a_step_of_stamps_does_not_count_integers_and_the_other_way_round():
    stamps, integers = stamped(INDICES["15 minutes"]), stamped(INDICES["integers"])
    for one, other in ((stamps, integers), (integers, stamps)):
        with pytest.raises(DataError, match="fit on rows like these"):
            FillGaps().fit(one).transform(other)
    quarters = stamped(pd.period_range("2024-01", periods=ROWS, freq="Q"))
    assert len(FillGaps(freq="2QE").fit_transform(quarters[::2].drop(index="2024Q3"))) == 6


# -- Resample --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", [2.0, NAN, 6.0]),
        ("sum", [4.0, NAN, 12.0]),
        ("min", [1.0, NAN, 5.0]),
        ("max", [3.0, NAN, 7.0]),
        ("median", [2.0, NAN, 6.0]),
        ("first", [1.0, NAN, 5.0]),
        ("last", [3.0, NAN, 7.0]),
    ],
)
def test_rows_at_odd_times_come_to_one_frequency(method, expected):
    times = ["02:30", "00:00", "00:59:59", "02:30", "02:31"]
    index = pd.DatetimeIndex([f"2024-01-01 {time}" for time in times], name="t")
    X = pd.DataFrame({"y": [5.0, 1.0, 3.0, 7.0, NAN]}, index=index).astype("float32")
    found = Resample(freq="h", method=method).fit_transform(X)
    hours = pd.date_range("2024-01-01", periods=3, freq="h", name="t").as_unit(index.unit)
    pd.testing.assert_frame_equal(found, pd.DataFrame({"y": np.float32(expected)}, index=hours))


@pytest.mark.parametrize("freq", ["2h", "D", "W-MON", "ME", "QS"])
@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_spans_and_their_names_are_those_of_pandas(freq, tz):
    index = pd.date_range("2024-01-05 03:00", periods=101, freq="31h", tz=tz)
    X = pd.DataFrame({"y": np.arange(101.0)}, index=index)
    origin = {"origin": pd.Timestamp("2000-01-01", tz=tz)} if freq == "2h" else {}
    expected = X.resample(freq, **origin).sum(min_count=1)
    found = Resample(freq=freq, method="sum").fit_transform(X)
    pd.testing.assert_frame_equal(found, expected, check_freq=False)


@pytest.mark.parametrize("freq", ["7h", "2D", "2W", "3ME"])
def test_each_series_is_resampled_by_itself(freq):
    transformer = Resample(freq=freq, target="y", method="last")
    X = long_table()
    alone = transformer.fit_transform(X[X["unique_id"] == "a"])
    together = transformer.fit_transform(X)
    together = together[together["unique_id"] == "a"].reset_index(drop=True)
    pd.testing.assert_frame_equal(together, alone)


@pytest.mark.parametrize("library", [pd.DataFrame, as_polars], ids=["pandas", "polars"])
def test_other_columns_are_carried_or_left_out(library):
    X = library(long_table())
    resample = Resample(freq="2D", carry=["kind"], target="y", method="sum").fit(X)
    found = resample.transform(X)
    assert list(found.columns) == ["unique_id", "ds", "y", "kind"]
    assert resample.get_feature_names_out().tolist() == list(found.columns)
    found = found if isinstance(found, pd.DataFrame) else found.to_pandas()
    assert found["unique_id"].tolist() == ["b", "b", "a", "a"]
    assert found["ds"].dt.day.tolist() == [1, 3, 7, 9]
    assert found["kind"].tolist() == ["big", "big", "small", "small"]
    assert found["y"].tolist() == [3.0, 4.0, 7.0, 9.0]


def test_a_finer_frequency_leaves_rows_to_fill():
    X = pd.Series([1.0, 2.0], index=pd.date_range("2024-01-01", periods=2, freq="h"))
    found = Resample(freq="30min").fit_transform(X)
    np.testing.assert_array_equal(found, [1.0, NAN, 2.0])
