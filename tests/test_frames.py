"""What goes in comes out: a forecast has the container, index, columns and dtypes of its table."""

import datetime
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.data.csv import read_csv
from titans_ts.data.schema import Layout, read_table
from titans_ts.errors import DataError, ParameterError, SavedModelError

ROWS, CHANNELS, HORIZON, SERIES = 17, 3, 5, 2
NAMES = ["HUFL", "OT", "MULL"]


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


def stamped(index, names=NAMES, dtype="float64"):
    return pd.DataFrame(numbers(len(index), len(names)), index=index, columns=names).astype(dtype)


def continuation(table, horizon=HORIZON, cut=None, **options):
    """Read all but the last rows of a table, and put those rows back as if they were a forecast."""
    rows = len(table) - horizon
    head = table.iloc[:rows] if hasattr(table, "iloc") else table[:rows]
    tail = table.iloc[rows:] if hasattr(table, "iloc") else table[rows:]
    _, layout = read_table(head, **options)
    # A saved and restored layout must do as well as the one that was read.
    layout = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    values, _ = read_table(tail, **{"freq": layout.freq, **options})
    return layout.forecast_table(values.values[None]), tail


# -- indices -------------------------------------------------------------------------------------

INDICES = {
    "15 minutes": pd.date_range("2016-07-01", periods=ROWS, freq="15min"),
    "hours, named": pd.date_range("2016-07-01", periods=ROWS, freq="h", name="date"),
    "odd seconds": pd.date_range("2016-07-01", periods=ROWS, freq="97s"),
    "two days": pd.date_range("2016-07-01", periods=ROWS, freq="2D"),
    "weeks from a Tuesday": pd.date_range("2002-01-01", periods=ROWS, freq="7D"),
    "business days": pd.date_range("2016-07-01", periods=ROWS, freq="B"),
    "month starts": pd.date_range("2016-01-01", periods=ROWS, freq="MS"),
    "month ends": pd.date_range("2016-01-31", periods=ROWS, freq="ME"),
    "quarter starts": pd.date_range("2016-02-01", periods=ROWS, freq="QS-FEB"),
    "year ends": pd.date_range("1990-12-31", periods=ROWS, freq="YE"),
    "seconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("s"),
    "milliseconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("ms"),
    "nanoseconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("ns"),
    "far future": pd.DatetimeIndex(
        np.datetime64("3016-07-01", "s") + np.arange(ROWS) * np.timedelta64(1, "h")
    ),
    "UTC": pd.date_range("2016-07-01", periods=ROWS, freq="15min", tz="UTC"),
    "fixed offset": pd.date_range("2016-07-01T00:00+05:30", periods=ROWS, freq="h"),
    # 17 rows: the forecast begins after row 12.
    "hours into summer time": pd.date_range(
        "2021-03-27 14:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "hours into winter time": pd.date_range(
        "2021-10-30 14:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "days over the change": pd.date_range("2021-10-17", periods=ROWS, freq="D", tz="Europe/Berlin"),
    "months over the change": pd.date_range(
        "2021-01-01", periods=ROWS, freq="MS", tz="America/New_York"
    ),
    "24 hours, not days": pd.date_range(
        "2021-10-25 22:00", periods=ROWS, freq="24h", tz="UTC"
    ).tz_convert("Europe/Berlin"),
    "periods": pd.period_range("2016-01", periods=ROWS, freq="M", name="month"),
    "quarters in pairs": pd.period_range("1990Q1", periods=ROWS, freq="2Q"),
    "range": pd.RangeIndex(ROWS),
    "range with step": pd.RangeIndex(11, 11 + 7 * ROWS, 7, name="step"),
    "integers": pd.Index(np.arange(ROWS) * 3 - 20, name="step"),
    "short integers": pd.Index(np.arange(ROWS, dtype=np.int16) + 2),
}


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_the_index_goes_on_where_it_ended(index):
    forecast, tail = continuation(stamped(index))
    pd.testing.assert_frame_equal(forecast, tail, check_freq=False)


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_a_series_goes_on_as_a_series(index):
    series = stamped(index)["OT"].rename("oil temperature")
    forecast, tail = continuation(series)
    pd.testing.assert_series_equal(forecast, tail, check_freq=False)


@pytest.mark.parametrize(
    ("index", "freq"),
    [
        ("15 minutes", "15min"),
        ("weeks from a Tuesday", "W-TUE"),
        ("business days", "B"),
        ("month ends", "ME"),
        ("year ends", "YE-DEC"),
        ("hours into winter time", "h"),
        ("days over the change", "D"),
        ("24 hours, not days", "24h"),
        ("periods", "M"),
        ("range with step", None),
    ],
)
def test_the_frequency_is_inferred_by_its_pandas_name(index, freq):
    assert read_table(stamped(INDICES[index]))[1].freq == freq


def test_the_future_index_carries_its_frequency():
    _, layout = read_table(stamped(INDICES["hours into winter time"]))
    assert layout.forecast_table(numbers(1, HORIZON, CHANNELS)).index.freqstr == "h"


def test_fifteen_minutes_in_local_time_run_through_both_changes_of_summer_time():
    year = pd.date_range("2021-01-01", "2022-01-01", freq="15min", tz="Europe/Berlin")
    _, layout = read_table(stamped(year[:-1], ["OT"]))
    assert (len(year), layout.freq) == (4 * 24 * 365 + 1, "15min")
    assert layout.forecast_table(numbers(1, 1, 1)).index[0] == year[-1]


@pytest.mark.parametrize(("old", "new"), [("H", "h"), ("15T", "15min"), ("D", "D")])
def test_older_names_of_frequencies_are_understood(old, new):
    index = pd.date_range("2024-01-01", periods=1, freq=new)
    assert read_table(stamped(index), freq=old)[1].freq == new


def test_the_old_name_of_month_ends_is_understood():
    index = pd.DatetimeIndex(["2024-01-31", "2024-02-29"])
    _, layout = read_table(stamped(index), freq="M")
    assert layout.forecast_table(numbers(1, 1, 3)).index[0] == pd.Timestamp("2024-03-31")


# -- time columns --------------------------------------------------------------------------------


def with_time_column(values, name="date", place=0):
    """A frame of three channels with a time column among them; numbers rows 0, 1... itself."""
    frame = pd.DataFrame(numbers(len(values), CHANNELS), columns=NAMES)
    frame.insert(place, name, values)
    return frame


HOURS = pd.date_range("2016-07-01 20:00", periods=ROWS, freq="h")
DAYS = pd.date_range("2016-07-01", periods=ROWS, freq="D")
TIME_COLUMNS = {
    "stamps": HOURS,
    "stamps in a zone": HOURS.tz_localize("Europe/Berlin"),
    "stamps in seconds": HOURS.as_unit("s"),
    "date objects": np.array(DAYS.date, dtype=object),
    "ISO text": HOURS.strftime("%Y-%m-%d %H:%M:%S"),
    "text with slashes": HOURS.strftime("%Y/%m/%d %H:%M"),
    "text, day first": DAYS.strftime("%d/%m/%Y"),
    "text, month first": DAYS.strftime("%m/%d/%Y"),
    "text with offset": [t.isoformat() for t in HOURS.tz_localize("UTC")],
    "periods": pd.period_range("2016-07", periods=ROWS, freq="M"),
}


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("times", [pytest.param(t, id=name) for name, t in TIME_COLUMNS.items()])
def test_a_time_column_stays_a_column_in_its_place(times, place):
    forecast, tail = continuation(with_time_column(times, place=place))
    pd.testing.assert_frame_equal(forecast, tail.reset_index(drop=True))


@pytest.mark.parametrize(
    "name", ["date", "DS", "Time", "TIMESTAMP", "DateTime", "date_time", "Date Time"]
)
def test_a_column_of_text_is_the_time_if_it_is_called_so(name):
    forecast, tail = continuation(with_time_column(TIME_COLUMNS["ISO text"], name))
    assert list(forecast[name]) == list(tail[name])


def test_a_column_of_stamps_is_the_time_whatever_it_is_called():
    assert read_table(with_time_column(HOURS, "when"))[1].channels == tuple(NAMES)


def test_of_two_columns_of_stamps_the_one_called_so_is_the_time():
    frame = with_time_column(HOURS, "timestamp").assign(received=HOURS)
    assert read_table(frame, target=NAMES)[1].time_label == "timestamp"


def test_integers_are_the_time_if_the_user_says_so():
    frame = with_time_column(np.arange(ROWS) * 7 + 2, "step")
    forecast, tail = continuation(frame, time_column="step")
    pd.testing.assert_frame_equal(forecast, tail.reset_index(drop=True))


def test_dates_of_which_day_and_month_could_be_swapped_are_read_so_that_steps_are_even():
    months = pd.date_range("2016-01-01", periods=13, freq="MS").strftime("%d/%m/%Y")
    _, layout = read_table(with_time_column(months))
    assert layout.freq == "MS"
    assert list(layout.forecast_table(numbers(1, 2, 3))["date"]) == ["01/02/2017", "01/03/2017"]


def test_the_time_column_may_have_become_the_index():
    frame = with_time_column(HOURS)
    _, layout = read_table(frame.set_index("date"), time_column="date")
    assert layout.forecast_table(numbers(1, 2, 3)).index.name == "date"


def test_a_datetime_index_wins_over_columns_of_time():
    frame = stamped(INDICES["15 minutes"]).assign(ds=HOURS)
    assert read_table(frame, target=NAMES)[1].freq == "15min"


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


# -- what follows --------------------------------------------------------------------------------


def check_followed(before, after):
    read_table(before)[1].check_followed_by(read_table(after)[1])


@pytest.mark.parametrize("index", [pytest.param(i, id=name) for name, i in INDICES.items()])
def test_rows_that_follow_are_told_from_rows_that_do_not(index):
    frame = stamped(index)
    check_followed(frame.iloc[:11], frame.iloc[11:])
    for wrong in (10, 12):  # one row too early, one too late
        with pytest.raises(DataError, match=r"^validation must start at .* one step after the la"):
            check_followed(frame.iloc[:11], frame.iloc[wrong:])


def test_time_may_be_a_column_before_and_the_index_after():
    frame = with_time_column(HOURS)
    check_followed(frame.iloc[:11], frame.iloc[11:].set_index("date"))


def test_rows_of_another_step_do_not_follow():
    hours = pd.date_range("2024-01-01", periods=5, freq="h")
    halves = pd.date_range("2024-01-01 05:00", periods=5, freq="30min")
    with pytest.raises(DataError, match="one row every h, as X has; its rows come every 30min"):
        check_followed(stamped(hours), stamped(halves))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (HOURS.tz_localize("UTC"), "time stamps in UTC"),
        (pd.RangeIndex(ROWS), "integers"),
        (pd.period_range("2016-01", periods=ROWS, freq="M"), "periods"),
    ],
)
def test_rows_labelled_otherwise_do_not_follow(other, words):
    with pytest.raises(DataError, match=f"time stamps without time zone; it has {words}"):
        check_followed(stamped(HOURS), stamped(other))


def test_for_arrays_nothing_is_said_about_what_follows():
    check_followed(numbers(ROWS, CHANNELS), stamped(HOURS))
    check_followed(stamped(HOURS), numbers(ROWS, CHANNELS))


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
        "import sys, numpy, pandas; from titans_ts.data.schema import read_table;"
        "import titans_ts.data.csv;"
        "read_table(numpy.ones((5, 2))); read_table(pandas.DataFrame({'a': [1.0, 2.0]}));"
        "print(*[m for m in ('torch', 'polars', 'pyarrow', 'lightning') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == ""


# -- files ---------------------------------------------------------------------------------------


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_with_its_time_as_index(tmp_path, zipped, newline):
    import gzip

    text = newline.join(["load %,date,OT", "1,1990/1/1 0:00,2.5", "3,1990/1/2 0:00,4", ""])
    path = tmp_path / "data.csv"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    expected = pd.DataFrame(
        {"load %": [1, 3], "OT": [2.5, 4.0]},
        index=pd.DatetimeIndex(["1990-01-01", "1990-01-02"], name="date"),
    )
    pd.testing.assert_frame_equal(read_csv(path), expected, check_index_type=False)
    pd.testing.assert_frame_equal(
        read_csv(str(path), time_column="date"), expected, check_index_type=False
    )


@pytest.mark.parametrize("index", [HOURS, pd.RangeIndex(ROWS), HOURS.rename("when")])
def test_what_pandas_writes_is_read_back(tmp_path, index):
    frame = stamped(index)
    frame.to_csv(tmp_path / "data.csv")
    name = index.name
    read = read_csv(tmp_path / "data.csv", time_column=name)
    pd.testing.assert_frame_equal(read, frame, check_index_type=False, check_freq=False)


def test_a_file_without_time_gives_numbered_rows(tmp_path):
    path = write(tmp_path / "data.csv", "\ufeffa,b\n1,2\n3,4\n")
    pd.testing.assert_frame_equal(read_csv(path), pd.DataFrame({"a": [1, 3], "b": [2, 4]}))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rows", "channels", "freq", "following"),
    [
        ("ETTm1", 69_680, 7, "15min", "2018-06-26 20:00"),
        ("ETTh1", 17_420, 7, "h", "2018-06-26 20:00"),
        ("exchange_rate", 7_588, 8, "D", "2010-10-11"),
        ("national_illness", 966, 7, "W-TUE", "2020-07-07"),
        ("electricity_6_of_321", 26_304, 6, "h", "2019-07-02 02:00"),
    ],
)
def test_published_sets_are_read(real_data, name, rows, channels, freq, following):
    frame = read_csv(real_data / "forecasting" / f"{name}.csv.gz")
    series, layout = read_table(frame)
    assert series.values.shape == (rows, channels)
    assert layout.freq == freq
    np.testing.assert_array_equal(series.values, frame.to_numpy())
    forecast = layout.forecast_table(series.values[None, :2])
    assert list(forecast.columns) == list(frame.columns)
    assert forecast.index[0] == pd.Timestamp(following)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weather", r"the index 'date' have 1 duplicate: the first is row 19044 \(2020-05-12 06:0"),
        ("PJME_hourly", r"not sorted: row 24 \(2002-12-30 01:00:00\) comes after row 23"),
        ("ILINet", r"have 4 gaps \(4 missing rows\), the first after 2001-12-30 .* every W-SUN"),
        ("metro_interstate_traffic_volume", "have 7,629 duplicates"),
        ("air_quality_valencia", r"'so2' has 1,836 missing values .* \(9 other columns have some"),
        ("bike_sharing_dataset_clean", "numbers in column 'weather', got only text, .* 'clear'"),
    ],
)
def test_published_sets_that_need_mending_are_refused_with_the_reason(real_data, name, message):
    frame = read_csv(real_data / "forecasting" / f"{name}.csv.gz")
    with pytest.raises(DataError, match=message):
        read_table(frame)


@pytest.mark.real_data
def test_a_set_with_two_columns_of_time_asks_which(real_data):
    path = real_data / "forecasting" / "vic_electricity.csv.gz"
    with pytest.raises(DataError, match=r"could be its time: 'Time', 'Date'\. Say which"):
        read_csv(path)
    _, layout = read_table(read_csv(path, time_column="Time"), target=["Demand", "Temperature"])
    assert (layout.freq, layout.time.tz) == ("30min", "UTC")


@pytest.mark.parametrize("freq", ["", "foo", "0h", "-1D", 5.5, ["h"]])
def test_a_frequency_that_is_none_is_refused(freq):
    with pytest.raises(ParameterError, match=r"freq must be a pandas frequency such as .*, got"):
        read_table(stamped(HOURS), freq=freq)
