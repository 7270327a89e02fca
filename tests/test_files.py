"""CSV files: read with their time as index, or refused with one sentence."""

import gzip

import numpy as np
import pandas as pd
import pytest
from good_tables import HOURS, ROWS, stamped

from titans_ts.data.csv import read_csv
from titans_ts.data.schema import read_table
from titans_ts.errors import DataError, DataFileError


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_with_its_time_as_index(tmp_path, zipped, newline):
    text = newline.join(["load %,date,OT", "1,1990/1/1 0:00,2.5", "3,1990/1/2 0:00,4", ""])
    path = written(tmp_path / "data.csv", gzip.compress(text.encode()) if zipped else text)
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
    path = written(tmp_path / "data.csv", "\ufeffa,b\n1,2\n3,4\n")
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


# -- what is refused -----------------------------------------------------------------------------


def file_refused(path, message, error=DataFileError, **options):
    with pytest.raises(error, match=message) as caught:
        read_csv(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
        pytest.param(b"a,b\n1,2\n1,2,3,4\n", "not a CSV file .* line 3", id="ragged"),
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
