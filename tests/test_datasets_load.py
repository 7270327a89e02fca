"""Loading data sets: as published, or mended as the card says; and real ones, every one."""

import numpy as np
import pandas as pd
import pytest
from published_sets import TIDE, published, put_into_catalogue, write_copy

from titans_ts import SeasonalNaiveForecaster
from titans_ts.datasets import (
    Dataset,
    list_datasets,
    load,
    load_bike_sharing,
    load_epf_prices,
    load_national_illness,
)
from titans_ts.datasets.manifest import find_entry
from titans_ts.errors import DataFileError

NAN = float("nan")


@pytest.fixture(autouse=True)
def no_other_copies(monkeypatch, tmp_path):
    monkeypatch.delenv("TITANS_TS_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "empty-cache")


@pytest.fixture
def load_small(monkeypatch, tmp_path):
    """Load a set that is described by keywords and has this content."""

    def load_it(content, *, raw=False, **changes):
        entry = published("tide", content, **changes)
        put_into_catalogue(monkeypatch, tmp_path / "catalogue", entry)
        write_copy(tmp_path / "mine" / "tide.csv", content)
        return load("tide", local=tmp_path / "mine", raw=raw)

    return load_it


def days(*numbers):
    return pd.DatetimeIndex([f"1990-01-{n:02d}" for n in numbers])


# -- the object -----------------------------------------------------------------------------------


def test_a_data_set_says_what_is_known_of_it(load_small):
    data = load_small(TIDE)
    assert isinstance(data, Dataset)
    assert (data.name, data.freq, data.DESCR) == ("tide", "D", "# Tide\n")
    assert data.split == {"n_train": 2, "n_validation": 1, "n_test": 0}
    assert data.roles == {}
    assert data.future is None
    assert repr(data) == "Dataset('tide': 3 rows x 1 columns, every D)"


def test_a_data_set_opens_like_a_dict(load_small):
    data = load_small(TIDE)
    assert data["frame"] is data.frame
    assert dict(data)["licence"] == "CC0"
    with pytest.raises(KeyError, match="target_names"):
        data["target_names"]


def test_roles_are_the_reader_s_own(load_small):
    roles = {"target": ["level"]}
    first = load_small(TIDE, roles=roles)
    first.roles["target"].append("spoilt")
    assert roles == {"target": ["level"]}


# -- mending --------------------------------------------------------------------------------------


def test_raw_is_as_published(load_small):
    frame = load_small(TIDE, raw=True).frame
    assert frame["date"].tolist() == ["1990/1/1 0:00", "1990/1/2 0:00", "1990/1/3 0:00"]
    assert list(frame.columns) == ["date", "level"]


FAULTY = (
    b"date,level,flow\n1990/1/4 0:00,-9999,4\n1990/1/1 0:00,1,1\n1990/1/2 0:00,2,-9999\n"
    b"1990/1/2 0:00,3,5\n"
)


@pytest.mark.parametrize(
    ("mend", "index", "level", "flow"),
    [
        pytest.param(
            {"sort": True, "duplicates": "first", "grid": True},
            [1, 2, 3, 4],
            [1, 2, NAN, -9999],
            [1, -9999, NAN, 4],
            id="sorted, the first of two, the gap filled with missing rows",
        ),
        pytest.param(
            {"sort": True, "duplicates": "mean", "grid": True},
            [1, 2, 3, 4],
            [1, 2.5, NAN, -9999],
            [1, -4997, NAN, 4],
            id="the mean of two",
        ),
        pytest.param(
            {"missing_values": {"*": [-9999]}, "sort": True, "duplicates": "first", "grid": True},
            [1, 2, 3, 4],
            [1, 2, NAN, NAN],
            [1, NAN, NAN, 4],
            id="numbers that stand for missing, in every column",
        ),
        pytest.param(
            {
                "missing_values": {"flow": [-9999, 4]},
                "sort": True,
                "duplicates": "first",
                "grid": True,
            },
            [1, 2, 3, 4],
            [1, 2, NAN, -9999],
            [1, NAN, NAN, NAN],
            id="numbers that stand for missing, in one column",
        ),
    ],
)
def test_a_table_is_mended_as_the_manifest_says(load_small, mend, index, level, flow):
    expected = pd.DataFrame(
        {"level": np.array(level, float), "flow": np.array(flow, float)}, index=days(*index)
    )
    frame = load_small(FAULTY, mend=mend, rows=4).frame
    pd.testing.assert_frame_equal(frame.astype(float), expected, check_names=False, **LOOSE)


#: Resolution and frequency of the stamps are pandas' business.
LOOSE = {"check_index_type": False, "check_freq": False}


def test_time_is_made_from_its_parts(load_small):
    content = b"No,year,month,day,hour,pm\n1,1990,1,1,0,NA\n2,1990,1,1,1,129\n"
    read = {
        "format": "csv",
        "missing": ["", "NA"],
        "time": {"name": "time", "parts": ["year", "month", "day", "hour"]},
    }
    frame = load_small(content, read=read, freq="h", mend={"drop": ["No"]}).frame
    assert list(frame.columns) == ["pm"]
    assert frame.index.tolist() == list(pd.date_range("1990-01-01", periods=2, freq="h"))
    assert np.isnan(frame["pm"].iloc[0])


def test_time_is_made_from_a_start_where_there_is_none(load_small):
    read = {"format": "csv", "time": {"name": "time", "start": "2006-01-01", "freq": "10min"}}
    frame = load_small(b"a,b\n1,2\n3,4\n", read=read, freq="10min").frame
    assert frame.index.tolist() == list(pd.to_datetime(["2006-01-01 00:00", "2006-01-01 00:10"]))


def test_a_word_that_pandas_takes_for_missing_stays_a_word(load_small):
    frame = load_small(b"date,holiday\n1990/1/1 0:00,None\n1990/1/2 0:00,\n").frame
    assert frame["holiday"].tolist()[0] == "None"
    assert frame["holiday"].isna().tolist() == [False, True]


TSF = (
    "# A dash in Windows-1252: –\r\n@relation Tide\r\n@attribute series_name string\r\n"
    "@attribute city string\r\n@attribute start_timestamp date\r\n@frequency hourly\r\n@data\r\n"
    "T1:Kiel:2017-01-01 14-00-00:1,?,3\r\nT2:Husum:2017-03-01 00-00-01:5,7\r\n"
).encode("cp1252")


def test_the_format_of_the_monash_repository_is_read(load_small):
    read = {"format": "tsf", "time": {"name": "ds", "starts": "start_timestamp"}}
    roles = {"id_column": "unique_id", "time_column": "ds", "target": ["y"]}
    split = {"last": 1}
    frame = load_small(TSF, read=read, roles=roles, split=split, series=2, freq="h").frame
    assert list(frame.columns) == ["unique_id", "ds", "city", "y"]
    assert frame["unique_id"].tolist() == ["T1", "T1", "T1", "T2", "T2"]
    assert frame["city"].tolist()[2:4] == ["Kiel", "Husum"]
    assert frame["y"].tolist()[::2] == [1, 3, 7]
    assert np.isnan(frame["y"].iloc[1])
    # The second after midnight is gone.
    assert frame["ds"].tolist()[2:] == list(
        pd.to_datetime(["2017-01-01 16:00", "2017-03-01 00:00", "2017-03-01 01:00"])
    )


def test_a_series_with_too_few_attributes_is_refused(load_small):
    read = {"format": "tsf", "time": {"name": "ds", "starts": "start_timestamp"}}
    with pytest.raises(
        DataFileError, match=r"tide\.csv cannot be read as a tsf file \(a series ha"
    ):
        load_small(TSF + b"T3:1,2\r\n", read=read, freq="h")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n4\n1,2,3,4,5\n"])
def test_a_file_that_is_no_table_is_refused_in_a_sentence(load_small, content):
    with pytest.raises(DataFileError, match=r"tide\.csv cannot be read as a CSV file"):
        load_small(content)


def test_a_damaged_parquet_file_is_refused_in_a_sentence(load_small):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataFileError, match=r"cannot be read as a Parquet file"):
        load_small(TIDE, read={"format": "parquet", "time": {"name": "date"}})


def test_parquet_without_its_reader_says_what_to_install(load_small, monkeypatch):
    def missing(*_, **__):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(DataFileError, match="pip install pyarrow"):
        load_small(TIDE, read={"format": "parquet", "time": {"name": "date"}})


# -- what comes with the package ------------------------------------------------------------------


def test_a_forecaster_takes_what_comes_with_the_package():
    bikes = load_bike_sharing()
    forecaster = SeasonalNaiveForecaster(horizon=24, target=bikes.roles["target"])
    forecast = forecaster.fit(bikes.frame).predict()
    assert list(forecast.columns) == ["users"]
    assert forecast.index[0] == pd.Timestamp("2013-01-01 00:00")


def test_prices_come_with_the_covariates_of_the_next_day():
    prices = load_epf_prices()
    assert set(prices.future["unique_id"]) == set(prices.frame["unique_id"])
    ends = prices.frame.groupby("unique_id")["ds"].max()
    starts = prices.future.groupby("unique_id")["ds"].min()
    assert (starts - ends == pd.Timedelta("1h")).all()
    known = {"unique_id", "ds", *prices.roles["future_covariates"]}
    assert set(prices.future.columns) == known
    assert prices.split == {"n_train": 1176, "n_validation": 168, "n_test": 336}


def test_illness_is_the_published_table():
    illness = load_national_illness()
    assert illness.frame.shape == (966, 7)
    assert illness.frame.index.freqstr == "W-TUE"
    assert load_national_illness(raw=True).frame.shape == (966, 8)


# -- every real one -------------------------------------------------------------------------------

NOT_BESIDE_THE_PROJECT = {"electricity", "traffic"}
#: Missing values after mending.
MISSING = {
    "weather": 81 + 9 * 21,
    "pjm_east": 30,
    "beijing_pm25": 2_067,
    "air_quality_valencia": 13_262,
    "ilinet": 1_735 + 4 * 11,
    # The faults of temp and rain_1h; eight columns in each of the hours put in.
    "metro_traffic": 11 + 8 * (52_551 - 40_575),
    "m5_small": 1_057,
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", [n for n in list_datasets() if n not in NOT_BESIDE_THE_PROJECT])
def test_a_real_set_is_what_its_entry_says(real_data, name):
    entry = find_entry(name)
    if entry.read["format"] == "parquet":
        pytest.importorskip("pyarrow")
    data = load(name, local=real_data)
    frame = data.frame
    listed = [
        n for role in data.roles.values() for n in ([role] if isinstance(role, str) else role)
    ]
    assert set(listed) <= set(frame.columns)
    assert len(listed) == len(set(listed))
    assert int(frame.isna().sum().sum()) == MISSING.get(name, 0)
    if entry.series == 1:
        assert frame.index.is_unique
        assert frame.index.is_monotonic_increasing
        assert frame.index.freqstr == data.freq
        assert sum(data.split.values()) <= len(frame)
    else:
        ids, time = frame[data.roles["id_column"]], frame[data.roles["time_column"]]
        assert ids.nunique() == entry.series
        assert not pd.DataFrame({"id": ids.to_numpy(), "time": time.to_numpy()}).duplicated().any()
        shortest = ids.value_counts().min()
        assert sum(data.split.values()) <= shortest


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", [n for n in list_datasets() if n not in {*NOT_BESIDE_THE_PROJECT, "kdd_cup_2018"}]
)
def test_a_real_set_as_published_has_the_rows_and_columns_of_its_entry(real_data, name):
    if find_entry(name).read["format"] == "parquet":
        pytest.importorskip("pyarrow")
    data = load(name, local=real_data, raw=True)
    assert data.frame.shape == (find_entry(name).rows, find_entry(name).columns)
    assert data.roles == {}


@pytest.mark.real_data
def test_mending_weather_leaves_the_published_test_period_alone(real_data):
    mended, raw = load("weather", local=real_data), load("weather", local=real_data, raw=True)
    n_test = mended.split["n_test"]
    assert raw.split == {"n_train": 36_887, "n_validation": 5_270, "n_test": n_test}
    assert sum(mended.split.values()) == len(mended.frame) == 366 * 144
    period = raw.frame.tail(n_test + raw.split["n_validation"])
    same = mended.frame.tail(len(period))
    assert same.index.equals(pd.DatetimeIndex(pd.to_datetime(period["date"])))
    values = period.drop(columns="date").to_numpy()
    np.testing.assert_array_equal(same.to_numpy(), np.where(values == -9999, np.nan, values))


@pytest.mark.real_data
def test_m4_series_are_the_training_rows_and_then_the_test_rows(real_data):
    data = load("m4_hourly", local=real_data)
    train = load("m4_hourly", local=real_data, raw=True)
    series = data.frame[data.frame["unique_id"] == "H414"]
    assert series["ds"].tolist() == list(range(1, len(series) + 1))
    row, test = train.frame.iloc[-1], train.future.iloc[-1]
    assert row["V1"] == test["V1"] == "H414"
    assert series["y"].tolist()[:-48] == row.iloc[1:].dropna().tolist()
    assert series["y"].tolist()[-48:] == test.iloc[1:].tolist()
