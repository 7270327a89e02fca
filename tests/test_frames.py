"""What goes in comes out: a forecast has the container, columns and dtypes of its table."""

import datetime
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from good_tables import (
    CHANNELS,
    HORIZON,
    HOURS,
    INDICES,
    NAMES,
    ROWS,
    SERIES,
    TIME_COLUMNS,
    continuation,
    numbers,
    stamped,
    with_time_column,
)

from titans_ts.data.schema import Layout, read_table
from titans_ts.errors import SavedModelError

# -- columns and dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("float16", "float16"),
        ("int64", "float64"),
        ("uint8", "float64"),
        ("Float32", "Float32"),
        ("Int64", "float64"),
        ("object", "float64"),
    ],
)
def test_floats_keep_their_dtype_and_integers_become_float64(dtype, expected):
    frame = pd.DataFrame({"a": np.arange(7), "b": np.arange(7) / 2.0}).astype({"a": dtype})
    series, layout = read_table(frame)
    assert series.values.dtype == np.float64
    assert series.values[:, 0].tolist() == list(range(7))
    assert layout.forecast_table(numbers(1, 2, 2)).dtypes.astype(str).tolist() == [
        expected,
        "float64",
    ]


def test_decimals_are_numbers():
    from decimal import Decimal

    series, _ = read_table(pd.Series([Decimal("1.5"), Decimal("2.5"), Decimal(3)]))
    assert series.values.ravel().tolist() == [1.5, 2.5, 3.0]


def test_labels_need_not_be_text():
    frame = pd.DataFrame(numbers(7, 3), columns=pd.Index([10, 2.5, "OT"], name="sensor"))
    forecast, tail = continuation(frame, horizon=2)
    pd.testing.assert_frame_equal(forecast, tail)
    assert read_table(frame)[1].channels == ("10", "2.5", "OT")


@pytest.mark.parametrize(
    ("labels", "named"), [(["a", "b"], True), ([0, 1], False), (["a", 1], False)]
)
def test_only_text_counts_as_a_proper_name(labels, named):
    assert read_table(pd.DataFrame(numbers(7, 2), columns=labels))[1].named is named


def test_targets_are_forecast_in_the_order_asked_for():
    frame = with_time_column(HOURS, place=1)
    series, layout = read_table(frame, target=["MULL", "HUFL"])
    np.testing.assert_array_equal(series.values, frame[["MULL", "HUFL"]])
    forecast = layout.forecast_table(numbers(1, 2, 2))
    # The time column stood after HUFL only.
    assert list(forecast.columns) == ["MULL", "date", "HUFL"]
    _, layout = read_table(frame, target=["MULL", "OT"])
    assert list(layout.forecast_table(numbers(1, 2, 2)).columns) == ["date", "MULL", "OT"]


def test_one_target_by_name_gives_a_frame_of_one_column():
    forecast, tail = continuation(stamped(INDICES["15 minutes"]), target="OT")
    pd.testing.assert_frame_equal(forecast, tail[["OT"]], check_freq=False)


def test_columns_that_are_not_forecast_may_hold_anything():
    frame = with_time_column(HOURS).assign(note="cold", flag=True, gap=np.nan)
    assert read_table(frame, target="OT")[1].channels == ("OT",)


def test_a_series_without_a_name_stays_without_one():
    forecast, tail = continuation(pd.Series(numbers(7)), horizon=2)
    pd.testing.assert_series_equal(forecast, tail)
    assert forecast.name is None
    layout = read_table(pd.Series(numbers(7)))[1]
    assert (layout.channels, layout.named) == (("0",), False)


# -- quantiles -----------------------------------------------------------------------------------

LEVELS = (0.1, 0.5, 0.975, 0.99999)
SUFFIXES = ["q0.1", "q0.5", "q0.975", "q0.99999"]


def test_quantiles_of_a_frame_are_columns_all_of_one_channel_first():
    _, layout = read_table(with_time_column(HOURS, place=1))
    forecast = numbers(1, HORIZON, CHANNELS, len(LEVELS))
    table = layout.forecast_table(forecast, LEVELS)
    expected = [f"{name}_{q}" for name in NAMES for q in SUFFIXES]
    assert [c for c in table.columns if c != "date"] == expected
    assert list(table.columns).index("date") == len(LEVELS)
    np.testing.assert_array_equal(table["OT_q0.975"], forecast[0, :, 1, 2])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("OT", [f"OT_{q}" for q in SUFFIXES]), (None, SUFFIXES), (7, [f"7_{q}" for q in SUFFIXES])],
)
def test_quantiles_of_a_series_make_a_frame(name, expected):
    series = pd.Series(numbers(ROWS), index=HOURS, name=name, dtype="float32")
    forecast = numbers(1, HORIZON, 1, len(LEVELS))
    table = read_table(series)[1].forecast_table(forecast, LEVELS)
    assert list(table.columns) == expected
    assert table.index[0] == HOURS[-1] + pd.Timedelta("1h")
    np.testing.assert_array_equal(table.to_numpy(), forecast[0, :, 0].astype("float32"))


def test_quantiles_of_arrays_are_one_more_axis():
    _, layout = read_table(numbers(SERIES, ROWS, CHANNELS))
    forecast = numbers(SERIES, HORIZON, CHANNELS, len(LEVELS))
    assert layout.forecast_table(forecast, LEVELS).shape == forecast.shape
    _, layout = read_table(numbers(ROWS, CHANNELS))
    np.testing.assert_array_equal(layout.forecast_table(forecast[:1], LEVELS), forecast[0])


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float64", "float64"), ("float32", "float32"), ("int32", "float64")]
)
def test_arrays_give_arrays_of_their_dimensions(dtype, expected):
    two = (numbers(ROWS, CHANNELS) * 100).astype(dtype)
    series, layout = read_table(two)
    np.testing.assert_array_equal(series.values, two)
    forecast = layout.forecast_table(numbers(1, HORIZON, CHANNELS))
    assert (forecast.shape, forecast.dtype) == ((HORIZON, CHANNELS), expected)

    three = (numbers(SERIES, ROWS, CHANNELS) * 100).astype(dtype)
    series, layout = read_table(three)
    assert series.n_series == SERIES
    for read, given in zip(series, three, strict=True):
        np.testing.assert_array_equal(read, given)
    # Another number of series than was read is fine: ids are only positions.
    forecast = layout.forecast_table(numbers(7, HORIZON, CHANNELS))
    assert (forecast.shape, forecast.dtype) == ((7, HORIZON, CHANNELS), expected)


@pytest.mark.parametrize("shape", [(ROWS, CHANNELS), (SERIES, ROWS, CHANNELS)])
def test_arrays_of_float64_are_not_copied(shape):
    array = numbers(*shape)
    series, _ = read_table(array)
    assert np.shares_memory(series.values, array)
    assert series.observed.all()


def test_lists_and_what_becomes_an_array_are_read_as_arrays():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return np.arange(6.0).reshape(3, 2)

    for given in ([[0, 1], [2, 3], [4, 5]], Wrapped(), np.arange(6).reshape(3, 2).astype(object)):
        series, layout = read_table(given)
        assert series.values.tolist() == [[0, 1], [2, 3], [4, 5]]
        assert layout.container == "numpy2d"


def test_arrays_say_nothing_about_time_so_frequency_and_time_column_do_not_matter():
    _, layout = read_table(numbers(ROWS, CHANNELS), freq="h", time_column="date")
    assert (layout.freq, layout.time, layout.named) == (None, None, False)


# -- polars --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(
            pl.datetime_range(
                datetime.datetime(2016, 7, 1), datetime.datetime(2016, 7, 1, 16), "1h", eager=True
            ),
            id="stamps",
        ),
        pytest.param(
            pl.datetime_range(
                datetime.datetime(2021, 10, 30, 14),
                datetime.datetime(2021, 10, 31, 5),
                "1h",
                time_unit="ms",
                time_zone="Europe/Berlin",
                eager=True,
            ),
            id="winter time begins",
        ),
        pytest.param(
            pl.date_range(datetime.date(2016, 1, 1), datetime.date(2017, 5, 1), "1mo", eager=True),
            id="dates",
        ),
        pytest.param(pl.Series(list(HOURS.strftime("%Y-%m-%d %H:%M"))), id="text"),
    ],
)
def test_polars_frames_come_out_as_polars_frames(times):
    assert len(times) == ROWS
    frame = pl.DataFrame(numbers(ROWS, CHANNELS), schema=NAMES).with_columns(
        pl.col("OT").cast(pl.Float32), times.alias("date")
    )
    forecast, tail = continuation(frame)
    assert forecast.equals(tail)
    assert forecast.schema == frame.schema


def test_polars_frames_without_time_are_counted_rows():
    frame = pl.DataFrame({"a": range(7), "b": numbers(7)})
    series, layout = read_table(frame)
    assert layout.time is None
    assert series.values[:, 0].tolist() == list(range(7))
    forecast = layout.forecast_table(numbers(1, 2, 2))
    assert forecast.schema == {"a": pl.Float64, "b": pl.Float64}


def test_polars_frames_take_integers_as_time_if_told():
    frame = pl.DataFrame({"step": pl.Series(range(4, 11), dtype=pl.Int32), "OT": numbers(7)})
    forecast, tail = continuation(frame, horizon=2, time_column="step")
    assert forecast.equals(tail)
    assert forecast.schema == frame.schema


def test_quantiles_of_polars_tables_are_columns():
    frame = pl.DataFrame({"ds": list(HOURS.to_pydatetime()), "OT": numbers(ROWS)})
    forecast = numbers(1, HORIZON, 1, len(LEVELS))
    table = read_table(frame)[1].forecast_table(forecast, LEVELS)
    assert table.columns == ["ds", *(f"OT_{q}" for q in SUFFIXES)]
    table = read_table(frame["OT"])[1].forecast_table(forecast, LEVELS)
    assert table.columns == [f"OT_{q}" for q in SUFFIXES]
    np.testing.assert_array_equal(table.to_numpy(), forecast[0, :, 0])


@pytest.mark.parametrize("name", ["OT", ""])
def test_polars_series_come_out_as_polars_series(name):
    series = pl.Series(name, numbers(7).astype("float32"))
    forecast, tail = continuation(series, horizon=2)
    assert isinstance(forecast, pl.Series)
    assert forecast.equals(tail, check_dtypes=True, check_names=True)


# -- the layout itself ---------------------------------------------------------------------------


def test_a_layout_holds_no_values():
    secret = 123456789.25
    frame = with_time_column(HOURS).assign(OT=secret)
    assert str(secret) not in json.dumps(read_table(frame)[1].to_dict())


@pytest.mark.parametrize("damage", [{"containerr": "numpy2d"}, {"time": {"kind": "stamps"}}])
def test_a_damaged_layout_is_refused(damage):
    saved = {**read_table(stamped(HOURS))[1].to_dict(), **damage}
    with pytest.raises(SavedModelError, match="description of the training table cannot be read"):
        Layout.from_dict(saved)


def test_reading_and_writing_leaves_the_table_alone():
    frame = with_time_column(TIME_COLUMNS["ISO text"])
    before = frame.copy(deep=True)
    forecast = read_table(frame)[1].forecast_table(numbers(1, 2, 3))
    forecast.iloc[:, 1:] = 0.0
    pd.testing.assert_frame_equal(frame, before)


def test_reading_arrays_and_pandas_loads_neither_polars_nor_torch():
    program = (
        "import sys, numpy, pandas; before = set(sys.modules);"
        "from titans_ts.data.schema import read_table;"
        "import titans_ts.data.csv;"
        "read_table(numpy.ones((5, 2))); read_table(pandas.DataFrame({'a': [1.0, 2.0]}));"
        "new = set(sys.modules) - before;"  # pandas loads pyarrow itself where there is one
        "print(*[m for m in ('torch', 'polars', 'pyarrow', 'lightning') if m in new])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int32, pl.Int64, pl.Int128])
def test_integers_of_polars_with_holes_become_float64_too(dtype):
    frame = pl.DataFrame({"a": pl.Series([None, *range(6)], dtype=dtype)})
    series, layout = read_table(frame)
    assert layout.forecast_table(numbers(1, 2, 1)).schema == {"a": pl.Float64}
    assert series.values[1:, 0].tolist() == list(range(6))
    assert series.observed[:, 0].tolist() == [False] + [True] * 6
