"""Other values in the same table: whatever else it holds stays as and where it was."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.data.rewrite import replace_values
from titans_ts.data.schema import read_rows

HOURS = pd.date_range("2024-01-01", periods=7, freq="h", name="date")


def panel():
    """Two series, rows shuffled, an index of its own, and a column that is no number."""
    frame = pd.DataFrame(
        {
            "note": list("abcdefghijk"),
            "unique_id": np.repeat(["n", "s"], [7, 4]),
            "y": np.arange(11.0),
            "ds": HOURS.append(HOURS[:4]),
            "z": np.arange(11, dtype=np.float32) * 2,
        },
        index=np.arange(11) * 3,
    )
    frame.loc[6, "y"] = np.nan
    return frame.sample(frac=1, random_state=5)


def doubled(X, names=None, **options):
    series, layout, order = read_rows(X, **options)
    values = np.concatenate([series.values * 2] * (1 if names is None else len(names)), axis=1)
    observed = None if names else series.observed
    if names is not None:
        values = values[:, : len(names)]
    return replace_values(X, layout, values, observed, order=order, names=names)


def test_a_panel_keeps_everything_but_its_targets():
    frame = panel()
    before = frame.copy(deep=True)
    expected = frame.assign(y=frame["y"] * 2, z=frame["z"] * 2)
    after = doubled(frame, target=["z", "y"])
    pd.testing.assert_frame_equal(after, expected)
    pd.testing.assert_frame_equal(frame, before)
    levels = frame.set_index(["unique_id", "ds"])
    after = doubled(levels, target=["z", "y"])
    pd.testing.assert_frame_equal(after, expected.set_index(["unique_id", "ds"]))


def test_a_polars_panel_has_null_where_values_are_missing():
    frame = pl.from_pandas(panel().reset_index(drop=True))
    after = doubled(frame, target=["y", "z"])
    assert after.schema == frame.schema
    assert after.equals(frame.with_columns(pl.col("y") * 2, pl.col("z") * 2))
    assert after["y"].null_count() == 1


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float32", "int64", "Int64", "object"])
def test_wide_frames_keep_their_float_dtypes(dtype):
    frame = pd.DataFrame({"a": np.arange(7), "b": list("abcdefg")}, index=HOURS)
    frame["a"] = frame["a"].astype(dtype)
    after = doubled(frame, target="a")
    expected = dtype if dtype.lower().startswith("float") else "float64"
    assert str(after["a"].dtype) == expected
    pd.testing.assert_frame_equal(after, frame.assign(a=pd.array(np.arange(7) * 2, dtype=expected)))


@pytest.mark.parametrize(
    "X",
    [
        np.arange(12.0).reshape(6, 2),
        np.arange(12.0).reshape(2, 3, 2),
        np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    ],
)
def test_arrays_keep_shape_and_dtype(X):
    after = doubled(X)
    assert after.dtype == X.dtype
    np.testing.assert_array_equal(after, X * 2)


def test_missing_values_of_arrays_come_out_as_nan():
    X = np.ma.masked_array(np.arange(6.0).reshape(3, 2), [[0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(doubled(X), [[0, 2], [np.nan, 6], [8, 10]])


def test_a_series_stays_a_series_unless_it_becomes_several():
    series = pd.Series(np.arange(7.0), HOURS, name="load")
    pd.testing.assert_series_equal(doubled(series), series * 2)
    frame = doubled(series, names=["low", "high"])
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"low": series * 2, "high": series * 2}))
    short = pl.Series("load", [1.0, None, 3.0])
    assert doubled(short).equals(pl.Series("load", [2.0, None, 6.0]), check_names=True)


def test_new_names_stand_where_the_first_target_stood():
    frame = panel()
    after = doubled(frame, names=["sine", "cosine"], target="y")
    assert list(after.columns) == ["note", "unique_id", "sine", "cosine", "ds", "z"]
    again = doubled(pl.from_pandas(frame), names=["sine", "cosine"], target="y")
    assert again.columns == list(after.columns)
    np.testing.assert_array_equal(after["cosine"], again["cosine"])
    after = doubled(frame, names=["one"], target=["z", "y"])
    assert list(after.columns) == ["note", "unique_id", "one", "ds"]
