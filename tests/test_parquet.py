"""Parquet files are read as the frame that they make together, however they are cut."""

import gc
import pickle
import sys
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from titans_ts import ParquetFolder, RidgeForecaster, SeasonalNaiveForecaster
from titans_ts.data.parquet import files as parquet_files
from titans_ts.data.schema import read_table
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError, DataFileError

pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LENGTHS = {"west": 29, "east": 41, "a lone one": 1, "north": 37}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """So few rows at a time that every file is several batches, which series straddle."""
    monkeypatch.setattr(parquet_files, "BATCH_ROWS", 7)


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch, tmp_path_factory):
    """A place for temporary files that is empty again after each test."""
    place = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    gc.collect()
    assert not list(place.iterdir())


def panel(stamps="h", *, lengths=LENGTHS, start="2024-02-27"):
    """A long frame of series of unequal length, with two targets, one whole and one with holes."""
    rng = np.random.default_rng(0)
    parts = []
    for i, (name, n) in enumerate(lengths.items()):
        time = (
            stamps(i, n)
            if callable(stamps)
            else pd.date_range(start, periods=n + i, freq=stamps)[i:]
        )
        parts.append(pd.DataFrame({"unique_id": name, "ds": time, "y": rng.normal(size=n)}))
    frame = pd.concat(parts, ignore_index=True)
    frame["load"] = np.where(rng.random(len(frame)) < 0.2, np.nan, rng.normal(size=len(frame)))
    return frame


def by_time(frame):
    return frame.sort_values("ds", kind="stable", ignore_index=True)


def write(frame, folder, n_files=3, **options):
    """Cut a frame into files; a RangeIndex is not written."""
    folder.mkdir(exist_ok=True)
    edges = np.linspace(0, len(frame), n_files + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(edges)):
        frame.iloc[start:stop].to_parquet(folder / f"part-{number}.parquet", **options)
    return ParquetFolder(folder)


def same(one, other):
    """Hold two results of read_table together."""
    series, layout = one
    others, other_layout = other
    assert layout == other_layout
    assert series.ids == others.ids
    for part in ("past", "known", None):
        a, b = (s if part is None else getattr(s, part) for s in (series, others))
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert a.channels == b.channels
        np.testing.assert_array_equal(a.lengths, b.lengths)
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.observed, b.observed)
    assert (series.static is None) == (others.static is None)
    if series.static is not None:
        np.testing.assert_array_equal(series.static, others.static)


def berlin(freq):
    return lambda i, n: pd.date_range("2024-03-20", periods=n, freq=freq, tz="Europe/Berlin")


def days_at(i, n, *, hours):
    """Days across summer time, whose first hour begins at three."""
    wall = pd.date_range("2024-03-20", periods=n, freq="D") + pd.Timedelta(hours, "h")
    return wall.tz_localize("Europe/Berlin", nonexistent="shift_forward")


def days_in_santiago(i, n):
    """Days from one on that summer time lets begin at one o'clock, or from the next."""
    wall = pd.date_range("2024-09-08", periods=n, freq="D") + pd.Timedelta(i, "D")
    return wall.tz_localize("America/Santiago", nonexistent="shift_forward")


STAMPS = {
    "hours": "h",
    "97 seconds": "97s",
    "days": "D",
    "two days": "2D",
    "business days": "B",
    "weeks": "W-WED",
    "months' ends": "ME",
    "quarters": "QS",
    "hours across summer time": berlin("h"),
    "days across summer time": berlin("D"),
    "days at half past two, which one day lacks": lambda i, n: days_at(i, n, hours=2.5),
    "days from one without a midnight": days_in_santiago,
    "days that begin at different hours": lambda i, n: days_at(i, n, hours=2 * i),
    "milliseconds": lambda i, n: pd.date_range("2024-01-01", periods=n, freq="h").as_unit("ms"),
    "nanoseconds": lambda i, n: pd.date_range("2024-01-01", periods=n, freq="h").as_unit("ns"),
    "integers": lambda i, n: np.arange(10 * i, 10 * i + 3 * n, 3),
    "short integers": lambda i, n: np.arange(i, i + n, dtype="int16"),
    "dates": lambda i, n: pd.date_range("2024-01-01", periods=n, freq="D").date,
    "text": lambda i, n: pd.date_range("2024-01-01", periods=n, freq="h").strftime(
        "%Y/%m/%d %H:%M"
    ),
    "text with offset": lambda i, n: [
        t.isoformat() for t in pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC")
    ],
}


@pytest.mark.parametrize("order", ["by id", "by time"])
@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS.keys())
def test_files_are_read_as_the_frame_they_make_together(tmp_path, stamps, order):
    frame = panel(stamps)
    frame = by_time(frame) if order == "by time" else frame
    same(read_table(write(frame, tmp_path)), read_table(frame))


KINDS = {
    "short floats": lambda f: f.astype({"y": "float32", "load": "float32"}),
    "half floats": lambda f: f.astype({"y": "float16"}),
    "whole numbers": lambda f: f.assign(y=np.arange(len(f)) * 10**9),
    "whole numbers with holes": lambda f: f.assign(y=pd.array([*range(len(f) - 1), None], "Int32")),
    "ids of whole numbers": lambda f: f.assign(unique_id=pd.factorize(f["unique_id"])[0] * 10),
    "a first file without values": lambda f: f.assign(load=f["load"].where(f.index > len(f) // 2)),
    "other names": lambda f: f.rename(columns={"unique_id": "item_id", "ds": "timestamp"}),
    "other order of columns": lambda f: f[["load", "ds", "y", "unique_id"]],
    "times of categories": lambda f: f.astype({"ds": "category"}),
    "an index of two levels": lambda f: f.set_index(["unique_id", "ds"]),
    "an index of times": lambda f: f.set_index("ds"),
    "rows numbered at random": lambda f: f.set_index(np.random.default_rng(3).permutation(len(f))),
}


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS.keys())
def test_types_names_and_indices_are_read_as_in_a_frame(tmp_path, change):
    frame = change(panel())
    same(read_table(write(frame, tmp_path)), read_table(pd.read_parquet(tmp_path)))


@pytest.mark.parametrize("dtype", ["int64", "int16"])
def test_an_index_of_named_integers_is_the_time_as_in_a_frame(tmp_path, dtype):
    weeks = pd.Index(np.arange(60) * 7 + 3, dtype=dtype, name="week")
    frame = pd.DataFrame({"y": np.arange(60.0)}, index=weeks)
    folder = write(frame, tmp_path)
    same(read_table(folder), read_table(frame))
    forecaster = SeasonalNaiveForecaster(horizon=3, season_length=2, context_length=5)
    expected = forecaster.fit(frame).predict()
    pd.testing.assert_frame_equal(forecaster.fit(folder).predict(), expected)


def test_an_index_of_named_integers_is_no_channel_beside_a_time_column(tmp_path):
    for place, frame in (("wide", panel(lengths={"west": 29})[["ds", "y"]]), ("long", panel())):
        frame.index = pd.Index(np.arange(len(frame)), name="row")
        same(read_table(write(frame, tmp_path / place)), read_table(frame))


def test_an_index_of_named_integers_is_the_time_of_series_with_ids(tmp_path):
    frame = panel(lambda i, n: np.arange(i, i + 3 * n, 3)).rename(columns={"ds": "week"})
    expected = read_table(frame[["week", "unique_id", "y", "load"]], time_column="week")
    same(read_table(write(frame.set_index("week"), tmp_path)), expected)


def test_integers_of_files_have_the_step_of_fit(tmp_path):
    frame = pd.DataFrame({"y": np.arange(40.0)}, index=pd.Index(np.arange(0, 400, 10), name="t"))
    forecaster = SeasonalNaiveForecaster(horizon=3, season_length=2, context_length=5).fit(frame)
    cache = tmp_path / "cache"
    folder = write(frame[-1:], tmp_path / "row", n_files=1)
    for table in (folder, ParquetFolder(tmp_path / "row", cache=cache)):
        assert list(forecaster.predict(table).index) == [400, 410, 420]
        other = forecaster.fit(frame.set_axis(frame.index // 2)).predict(table)
        assert list(other.index) == [395, 400, 405]
        forecaster.fit(frame)
    with pytest.raises(DataError, match="a step of 10, but those in the index 't' come every 20"):
        forecaster.predict(write(frame[::2], tmp_path / "half", n_files=1))


def test_row_numbers_keep_their_name(tmp_path):
    frame = pd.DataFrame({"y": np.arange(60.0)}, index=pd.RangeIndex(60, name="week"))
    same(read_table(write(frame, tmp_path, n_files=1)), read_table(frame))


@pytest.mark.parametrize("index", [True, False], ids=["time index", "no time"])
def test_a_wide_table_is_one_series(tmp_path, index):
    time = pd.date_range("2024-01-01", periods=43, freq="15min", name="date", tz="Asia/Tokyo")
    frame = pd.DataFrame({"a": np.arange(43.0), "b": np.arange(43) % 5}, index=time)
    frame = frame if index else frame.reset_index(drop=True)
    same(read_table(write(frame, tmp_path)), read_table(frame))


def test_categories_as_ids_stay_categories(tmp_path):
    frame = panel().astype({"unique_id": "category"})
    _, layout = read_table(write(frame, tmp_path))
    assert layout.id_column.dtype == "category"
    assert layout.ids == tuple(LENGTHS)


def test_numbers_that_are_categories_stay_categories(tmp_path):
    frame = panel()
    shops = pd.factorize(frame["unique_id"])[0] * 100 + 205
    frame = frame.assign(shop=pd.Categorical(shops), rate=pd.Categorical(np.arange(108) % 3 / 2))
    names = {"past_covariates": ["shop", "rate"]}
    table = write(frame, tmp_path / "covariates")
    same(read_table(table, **names), read_table(frame, **names))
    _, layout = read_table(table, **names)
    assert [c.kind for c in layout.covariates.past] == ["categorical"] * 2
    same(
        read_table(table, schema=layout.covariates, **names),
        read_table(frame, schema=layout.covariates, **names),
    )
    ids = frame.drop(columns=["shop", "rate"]).assign(unique_id=pd.Categorical(shops))
    _, layout = read_table(write(ids, tmp_path / "ids"))
    assert layout.id_column.dtype == "category"
    assert layout.ids == (205, 305, 405, 505)


@pytest.mark.parametrize("target", [None, "y"])
def test_an_index_that_is_no_time_is_refused_as_in_a_frame(tmp_path, target):
    frame = pd.DataFrame({"y": np.arange(60.0)})
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    indices = (hours.astype(str), pd.Index(np.arange(60) / 2), pd.Index(hours.date))
    for number, index in enumerate(indices):
        table = write(frame.set_axis(index, axis=0).sample(frac=1.0), tmp_path / str(number))
        with pytest.raises(DataError, match=r"The Parquet files have an index of .* values, the f"):
            read_table(table, target=target)


def test_periods_are_refused_in_column_and_index(tmp_path):
    periods = pd.period_range("2024-01-01", periods=40, freq="h", name="ds")
    frame = pd.DataFrame({"y": np.arange(40.0)}, index=periods)
    levels = frame.assign(unique_id="a").set_index("unique_id", append=True).swaplevel()
    for number, table in enumerate((frame, frame.reset_index(), levels)):
        with pytest.raises(DataError, match=r"Expected time stamps in column 'ds', got object val"):
            read_table(write(table, tmp_path / str(number)))


def test_ids_that_differ_in_spaces_are_refused_however_many_there_are(tmp_path):
    lengths = {f"s{i}": 30 for i in range(18)} | {"s0 ": 11}
    with pytest.raises(DataError, match="ids that differ only in their type or in spaces, such as"):
        read_table(write(panel(lengths=lengths), tmp_path))


def test_folders_named_after_ids_give_the_ids(tmp_path):
    frame = panel()
    for name, part in frame.groupby("unique_id", sort=False):
        place = tmp_path / f"unique_id={name.replace(' ', '%20')}"
        place.mkdir()
        part.drop(columns="unique_id").to_parquet(place / "data.parquet", index=False)
    (tmp_path / "_SUCCESS.parquet").write_text("no table")
    series, layout = read_table(ParquetFolder(tmp_path))
    assert layout.ids == tuple(sorted(LENGTHS))
    assert dict(zip(layout.ids, series.lengths.tolist(), strict=True)) == LENGTHS


@pytest.mark.parametrize("pattern", ["*/*.parquet", "**/*.parquet", "unique_id=*/data.parquet"])
def test_folders_that_a_pattern_names_give_the_ids_too(tmp_path, pattern):
    frame = panel()
    for name, part in frame.groupby("unique_id"):
        place = tmp_path / "year=2024" / f"unique_id={name}"
        place.mkdir(parents=True)
        part.drop(columns="unique_id").to_parquet(place / "data.parquet", index=False)
    (tmp_path / "year=2024" / "_temporary").mkdir()
    (tmp_path / "year=2024" / "_temporary" / "data.parquet").write_text("no table")
    series, layout = read_table(ParquetFolder(f"{tmp_path}/year=2024/{pattern}"))
    assert layout.channels == ("y", "load")
    assert dict(zip(layout.ids, series.lengths.tolist(), strict=True)) == LENGTHS


def test_names_that_begin_with_a_line_are_read_where_a_pattern_has_one(tmp_path):
    panel().to_parquet(tmp_path / "_part-0.parquet", index=False)
    panel(lengths={"south": 11}).to_parquet(tmp_path / "part-1.parquet", index=False)
    assert read_table(ParquetFolder(f"{tmp_path}/*.parquet"))[1].ids == ("south",)
    assert read_table(ParquetFolder(f"{tmp_path}/_*.parquet"))[1].ids == tuple(LENGTHS)


@pytest.mark.parametrize("pick", ["folder", "file", "pattern"])
def test_a_folder_a_file_and_a_pattern_name_the_same_table(tmp_path, pick):
    frame = panel()
    write(frame, tmp_path, n_files=1)
    path = {
        "folder": tmp_path,
        "file": tmp_path / "part-0.parquet",
        "pattern": f"{tmp_path}/p*.parquet",
    }
    same(read_table(ParquetFolder(path[pick])), read_table(frame))


def with_covariates():
    frame = panel()
    rng = np.random.default_rng(1)
    n = len(frame)
    return frame.assign(
        wind=np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        holiday=rng.choice(["none", "easter", "may day"], n),
        open=rng.random(n) < 0.5,
        level=rng.integers(0, 9, n).astype("int8"),
        region=frame["unique_id"].map({"west": "W", "east": "E", "north": "N"}),
        area=frame["unique_id"].map(len) / 3,
    )


ROLES = {
    "past_covariates": "wind",
    "future_covariates": ["holiday", "open", "level"],
    "static_covariates": ["region", "area"],
}


@pytest.mark.parametrize("order", ["by id", "by time"])
def test_covariates_are_read_as_in_a_frame(tmp_path, order):
    frame = with_covariates()
    frame = by_time(frame) if order == "by time" else frame
    ours = read_table(write(frame, tmp_path), **ROLES)
    same(ours, read_table(frame, **ROLES))
    assert ours[0].known.channels == ("holiday", "open", "level")
    assert np.isnan(ours[0].static).any()  # of the series without a region


def test_a_later_table_is_held_against_the_covariates_of_fit(tmp_path):
    frame = with_covariates()
    _, layout = read_table(write(frame, tmp_path / "fit"), **ROLES)
    later = frame[frame["unique_id"] == "west"].replace({"holiday": {"none": "easter"}})
    table = write(later, tmp_path / "later")
    expected = {**ROLES, "schema": layout.covariates}
    same(read_table(table, **expected), read_table(later, **expected))
    strange = write(later.assign(holiday="carnival"), tmp_path / "strange")
    with pytest.raises(DataError, match=r"'holiday' has the category 'carnival' in the Parquet"):
        read_table(strange, **expected)


@pytest.mark.parametrize("forecaster", [SeasonalNaiveForecaster, RidgeForecaster])
def test_forecasts_are_those_of_the_frame(tmp_path, forecaster):
    frame = panel(lengths={"west": 67, "east": 83}).drop(columns="load")
    table = write(by_time(frame), tmp_path)
    make = {"horizon": 3, "context_length": 11}
    ours, theirs = forecaster(**make).fit(table), forecaster(**make).fit(frame)
    pd.testing.assert_frame_equal(ours.predict(), theirs.predict())
    pd.testing.assert_frame_equal(ours.predict(table), theirs.predict(frame))
    assert ours.score(table) == pytest.approx(theirs.score(frame), rel=1e-12)


def test_windows_cut_from_a_row_file_are_those_of_the_frame(tmp_path):
    frame = with_covariates()
    cuts = []
    for table in (write(frame, tmp_path), frame):
        series, _ = read_table(table, **ROLES)
        cuts.append(WindowIndex(series, 13, 5).cut(np.array([40, 3, 17])))
    for ours, theirs in zip(*cuts, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def move(frame, row, to):
    rows = list(range(len(frame)))
    rows.insert(to, rows.pop(row))
    return frame.iloc[rows].reset_index(drop=True)


def put(frame, row, column, value):
    frame = frame.astype({column: object}) if isinstance(value, str) else frame.copy()
    frame.loc[row, column] = value
    return frame


BAD_ROWS = {
    "rows out of order": (
        lambda f: move(f, 40, 50),
        r"Series 'east' is not sorted by time: 2024-02-27 12:00:00 in part-1.parquet comes after "
        r"2024-02-27 22:00:00; expected the oldest row first, over the files .* Sort",
    ),
    "a row twice": (
        lambda f: pd.concat([f.iloc[:41], f.iloc[40:]], ignore_index=True),
        r"Series 'east' has two rows for 2024-02-27 12:00:00 in column 'ds', the second in "
        r"part-1.parquet; expected one row per time stamp",
    ),
    "a row lacks": (
        lambda f: f.drop(index=[90]).reset_index(drop=True),
        r"'north' have 1 gap \(1 missing row\), the first after 2024-02-27 21:00:00, where "
        r"2024-02-27 23:00:00 follows; expected one row every h",
    ),
    "half an hour between": (
        lambda f: put(f, 71, "ds", pd.Timestamp("2024-02-27 02:30")),
        r"'north' are irregular: expected one row every h",
    ),
    "no id": (
        lambda f: put(f, 53, "unique_id", None),
        r"Column 'unique_id' has a missing id in row 17 of part-1.parquet, expected one in every",
    ),
    "no time": (
        lambda f: put(f, 53, "ds", pd.NaT),
        r"Column 'ds' has a missing time stamp in row 17 of part-1.parquet, expected one in every",
    ),
    "an infinite value": (
        lambda f: put(f, 53, "y", np.inf),
        r"Column 'y' has an infinite value \(inf\) in series 'east' at 2024-02-28 01:00:00 "
        r"\(part-1.parquet\), expected finite numbers",
    ),
    "text among the values": (
        lambda f: put(f.astype({"y": str}), 0, "y", "n/a"),
        r"Expected numbers in column 'y', got text",
    ),
    "flags as a target": (
        lambda f: f.assign(y=f["y"] > 0),
        r"Expected numbers in column 'y', got True and False",
    ),
    "a target without values": (
        lambda f: f.assign(load=np.nan),
        r"Column 'load' has no values: all of its 108 rows are missing \(NaN\)",
    ),
    "a static covariate that changes": (
        lambda f: put(f.assign(load="x"), 61, "load", "z"),
        r"static covariate in column 'load' must be the same in all rows of a series, got 'z' in "
        r"series 'east' at 2024-02-28 09:00:00 \(part-1.parquet\)",
    ),
    "no rows": (lambda f: f.iloc[:0], r"The Parquet files have no rows \(their columns are"),
}


@pytest.mark.parametrize(("change", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_rows_that_cannot_be_used_are_named(tmp_path, change, message):
    table = write(change(panel()), tmp_path)
    static = {"static_covariates": "load"} if "static" in message else {}
    with pytest.raises(DataError, match=message):
        read_table(table, **static)


def test_a_gap_far_down_is_named_with_its_series_and_stamp(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "BATCH_ROWS", 1024)
    frame = panel("min", lengths={"west": 2503})
    table = write(frame.drop(index=[2400]), tmp_path, n_files=1)
    message = r"Series 'west' has a gap or is irregular: 2024-02-28 16:01:00 in part-0.parquet "
    with pytest.raises(DataError, match=message + r"follows 2024-02-28 15:59:00, expected one row"):
        read_table(table)


def test_another_frequency_than_said_is_refused(tmp_path):
    table = write(panel(), tmp_path)
    with pytest.raises(DataError, match=r"come every h .* but freq='15min' was given"):
        read_table(table, freq="15min")


BAD_FILES = {
    "cut short": (
        lambda p: p.write_bytes(p.read_bytes()[:-9]),
        r"cannot be read as Parquet: .*damaged, cut short",
    ),
    "empty": (lambda p: p.write_bytes(b""), r"cannot be read as Parquet: .*damaged, cut short"),
    "text": (
        lambda p: p.write_text("ds,y\n1,2\n" * 9),
        r"part-1.parquet' cannot be read as Parquet",
    ),
    "a column more": (
        lambda p: pd.read_parquet(p).assign(extra=1).to_parquet(p),
        r"part-1.parquet has the column 'extra', and part-0.parquet has not; expected files with",
    ),
    "a column less": (
        lambda p: pd.read_parquet(p).drop(columns="load").to_parquet(p),
        r"part-0.parquet has the column 'load', and part-1.parquet has not; expected files with",
    ),
    "another type": (
        lambda p: pd.read_parquet(p).astype({"y": str}).to_parquet(p),
        r"The Parquet files differ in a column's type: .*y.*Write them with one type",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_cannot_be_used_are_named(tmp_path, damage, message):
    table = write(panel(), tmp_path)
    damage(tmp_path / "part-1.parquet")
    with pytest.raises((DataError, DataFileError), match=message):
        read_table(table)


def test_damaged_pages_are_told_from_a_damaged_footer(tmp_path):
    table = write(panel(), tmp_path, n_files=1, compression="gzip")
    path = tmp_path / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=r"part-0.parquet' cannot be read as Parquet"):
        read_table(table)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", r"nowhere' is neither a file nor a folder, expected a folder of Parquet files"),
        ("*.pq", r"There is no file for this pattern: .*\*.pq"),
        ("", r"There is no file that ends in .parquet or .pq: "),
    ],
)
def test_a_path_without_files_is_refused(tmp_path, name, message):
    with pytest.raises(DataFileError, match=message):
        read_table(ParquetFolder(tmp_path / name))


def test_columns_that_do_not_exist_are_refused_as_in_a_frame(tmp_path):
    table = write(panel(), tmp_path)
    with pytest.raises(DataError, match=r"target='Y' names no column of X.* Did you mean 'y'\?"):
        read_table(table, target="Y")


# -- row files ------------------------------------------------------------------------------------


def test_row_files_last_as_long_as_what_was_read_from_them(tmp_path, temporary_files):
    table = write(panel(), tmp_path)
    series, _ = read_table(table)
    del table
    gc.collect()
    assert series.values.shape == (108, 2)
    assert len(list(temporary_files.iterdir())) == 1
    del series
    gc.collect()
    assert not list(temporary_files.iterdir())


def test_closing_removes_row_files_at_once(tmp_path, temporary_files):
    with write(panel(), tmp_path) as table:
        series, _ = read_table(table)
        assert list(temporary_files.iterdir())
    assert not list(temporary_files.iterdir())
    assert series.n_series == 4


def test_a_refused_table_leaves_no_file(tmp_path, temporary_files):
    table = write(put(panel(), 100, "y", np.inf), tmp_path / "files")
    cached = ParquetFolder(tmp_path / "files", cache=tmp_path / "cache")
    for folder in (table, cached):
        with pytest.raises(DataError, match="infinite"):
            read_table(folder)
    assert not list(temporary_files.iterdir())
    assert not list((tmp_path / "cache").iterdir())


def test_reading_again_in_one_process_takes_the_same_row_files(tmp_path, temporary_files):
    table = write(panel(), tmp_path)
    first, layout = read_table(table)
    again, _ = read_table(table, freq="h", schema=layout.covariates)
    assert again.store == first.store
    other, _ = read_table(table, target="load")
    assert other.store != first.store


def test_a_cache_is_reused_by_a_later_run(tmp_path, monkeypatch):
    frame = with_covariates()
    write(frame, tmp_path / "files")
    first = read_table(ParquetFolder(tmp_path / "files", cache=tmp_path / "cache"), **ROLES)
    # It reads footers only.
    monkeypatch.setattr(parquet_files.ParquetFiles, "batches", None)
    again = read_table(ParquetFolder(tmp_path / "files", cache=tmp_path / "cache"), **ROLES)
    same(again, first)
    assert again[0].store == first[0].store
    same(again, read_table(frame, **ROLES))


def test_a_cache_is_written_anew_when_files_or_roles_change(tmp_path):
    frame = panel()
    cache = tmp_path / "cache"
    write(frame, tmp_path / "files")
    read_table(ParquetFolder(tmp_path / "files", cache=cache))
    changed = frame.assign(y=frame["y"] + 1)
    write(changed, tmp_path / "files")
    same(read_table(ParquetFolder(tmp_path / "files", cache=cache)), read_table(changed))
    assert len(list(cache.iterdir())) == 1  # rows of files that are no more are removed
    ours = read_table(ParquetFolder(tmp_path / "files", cache=cache), target="load")
    same(ours, read_table(changed, target="load"))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("file", ["target.rows", "table.json", "series.npz"])
def test_a_damaged_cache_is_written_anew(tmp_path, file):
    frame = panel()
    write(frame, tmp_path / "files")
    read_table(ParquetFolder(tmp_path / "files", cache=tmp_path / "cache"))
    (kept,) = (tmp_path / "cache").glob("*")
    (kept / file).write_bytes((kept / file).read_bytes()[:-3])
    same(read_table(ParquetFolder(tmp_path / "files", cache=tmp_path / "cache")), read_table(frame))


def test_files_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    table = write(panel(), tmp_path)
    prints = iter([[["a", 1, 1]], [["a", 1, 2]]])
    monkeypatch.setattr(parquet_files.ParquetFiles, "fingerprint", lambda self: next(prints))
    with pytest.raises(DataFileError, match="changed while they were read"):
        read_table(table)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    table = write(panel(), tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(
        DataFileError, match=r"has 0.0 GB of free space, and the rows take .*cache="
    ):
        read_table(table)


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    write(panel(), tmp_path / "files")
    (tmp_path / "a file").write_text("")
    with pytest.raises(DataFileError, match=r"cache='.*a file' cannot be written to"):
        read_table(ParquetFolder(tmp_path / "files", cache=tmp_path / "a file"))


def test_a_folder_is_pickled_without_its_row_files(tmp_path):
    table = write(panel(), tmp_path)
    read_table(table)
    same(read_table(pickle.loads(pickle.dumps(table))), read_table(table))
    assert repr(table) == f"ParquetFolder({str(tmp_path)!r})"
    assert len(table) == 108


def test_without_pyarrow_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow.* pip install 'titans-ts\[parquet\]'"):
        ParquetFolder("anywhere")


# -- memory ---------------------------------------------------------------------------------------


def peak_of_reading(folder, monkeypatch):
    """The most that Python and, between batches, pyarrow held, in bytes."""
    batches, held = parquet_files.ParquetFiles.batches, []

    def watched(self, columns):
        for batch in batches(self, columns):
            held.append(pa.total_allocated_bytes())
            yield batch

    monkeypatch.setattr(parquet_files.ParquetFiles, "batches", watched)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    series, _ = read_table(ParquetFolder(folder))
    WindowIndex(series, 53, 11).cut(np.arange(17))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + max(held) - before


@pytest.mark.parametrize("order", ["by id", "by time"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path, monkeypatch, order):
    monkeypatch.setattr(parquet_files, "BATCH_ROWS", 1024)
    peaks = []
    for n in (20_000, 100_000):
        frame = panel("min", lengths={"west": n, "east": n}).drop(columns="load")
        frame = by_time(frame) if order == "by time" else frame
        # A row group a file, of which no more than some pages are in memory.
        write(frame, tmp_path / f"{n}", n_files=2, data_page_size=65536, use_dictionary=False)
        del frame
        peaks.append(peak_of_reading(tmp_path / f"{n}", monkeypatch))
    assert peaks[1] < peaks[0] + 200_000  # 3.8 MB is what the rows more take


def test_row_files_are_read_without_holding_them(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "BATCH_ROWS", 1024)
    table = write(panel("min", lengths={"west": 50_021}), tmp_path, n_files=1)
    series, _ = read_table(table)
    tracemalloc.start()
    total = sum(block.values.sum() for block in series.blocks(max_rows=1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == pytest.approx(series.values.sum())
    assert peak < 100_000  # 800,336 bytes are in the file


def test_path_objects_and_text_name_the_same_folder(tmp_path):
    frame = panel()
    write(frame, tmp_path)
    same(read_table(ParquetFolder(str(tmp_path))), read_table(ParquetFolder(Path(tmp_path))))


@pytest.mark.parametrize("cached", [False, True], ids=["in one run", "from run to run"])
def test_what_a_model_knew_of_a_folder_is_not_what_a_fit_finds_in_it(tmp_path, cached):
    """Categories that only the model has seen, and a frequency that only it could tell."""
    cache = tmp_path / "cache" if cached else None
    more = panel(lengths={"west": 29, "east": 30}).assign(kind=lambda t: t.index % 3)
    more["kind"] = more["kind"].map({0: "a", 1: "b", 2: "c"})
    few = more[more["kind"] != "c"].assign(ds=_regular)
    write(few, tmp_path / "files")
    table = ParquetFolder(tmp_path / "files", cache=cache)
    roles = {"target": "y", "past_covariates": "kind"}
    _, model = read_table(more, **roles)
    read_table(table, freq="h", schema=model.covariates, **roles)
    if cached:
        table = ParquetFolder(tmp_path / "files", cache=cache)
    same(read_table(table, **roles), read_table(few, **roles))
    # What a fit has found serves those who ask for just that.
    _, found = read_table(table, **roles)
    n_kept = len(table._read)
    read_table(table, freq="h", schema=found.covariates, **roles)
    assert len(table._read) == n_kept


def _regular(table):
    """Hours, one after another, in each series."""
    place = table.groupby("unique_id").cumcount()
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(place, unit="h")


def test_a_column_that_died_after_fit_is_read(tmp_path):
    table = panel(lengths={"west": 41})
    naive = SeasonalNaiveForecaster(horizon=3, season_length=1, target=["y", "load"]).fit(table)
    later = table.tail(24).assign(load=np.nan)
    read = naive.predict(write(later, tmp_path / "files"))
    pd.testing.assert_frame_equal(read, naive.predict(later))
    with pytest.raises(DataError, match=r"no values: all of its 24 rows .* something was observed"):
        naive.predict(write(later.assign(y=np.nan), tmp_path / "none"))
