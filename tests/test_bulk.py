"""bulk_predict: over partitions, what predict gives on one machine."""

import sys
import threading
import time

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from bulk_panels import KEY, in_order, panel, rich_model

from titans_ts import DataError, ParameterError, RidgeForecaster, SavedModelError
from titans_ts.base import BaseForecaster
from titans_ts.bulk import bulk_predict, find_faults
from titans_ts.bulk.worker import load_once

# Sums of float32 are taken in another order where a batch holds other series.
TOLERANCE = {"rtol": 2e-5, "atol": 1e-6}


@pytest.fixture(autouse=True)
def in_this_process():
    load_once.cache_clear()
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """The folder of a TitansForecaster that reads everything, and the forecaster."""
    folder = tmp_path_factory.mktemp("rich") / "model"
    forecaster = rich_model(panel()[0])
    forecaster.save(folder)
    return folder, forecaster


@pytest.fixture
def plain(tmp_path):
    """The folder of a quick model of id, time and y, the forecaster, and its panel."""
    X = panel()[0][[*KEY, "y"]]
    forecaster = RidgeForecaster(horizon=5, context_length=24).fit(X)
    forecaster.save(tmp_path / "model")
    return tmp_path / "model", forecaster, X


def split(frame, n, seed=0):
    """Rows in random order, in n partitions."""
    return dd.from_pandas(frame.sample(frac=1, random_state=seed), npartitions=n, sort=False)


def by_series(frame, n):
    """n partitions of whole series."""
    names = np.array_split(frame["unique_id"].unique(), n)
    parts = [frame[frame["unique_id"].isin(some)] for some in names]
    return dd.from_map(lambda number: parts[number], range(n), meta=parts[0].iloc[:0])


def assert_same(bulk, local):
    pd.testing.assert_frame_equal(in_order(bulk), in_order(local), check_dtype=False, **TOLERANCE)


@pytest.mark.parametrize("n_partitions", [1, 3, 29])
def test_any_partitions_give_the_forecasts_of_predict_each_series_once(rich, n_partitions):
    folder, forecaster = rich
    X, future = panel()
    bulk = bulk_predict(
        folder, split(X, n_partitions), future=split(future, 2, seed=1), quantiles=[0.1, 0.9]
    )
    assert bulk.npartitions == n_partitions
    local = forecaster.predict(X, future=future, quantiles=[0.1, 0.9])
    assert list(bulk.columns) == list(local.columns) == [*KEY, "q0.1", "q0.9"]
    found = bulk.compute()
    assert found.dtypes.equals(bulk.dtypes)
    assert_same(found, local)


def test_whole_series_are_forecast_where_they_lie(rich):
    folder, forecaster = rich
    X, future = panel()
    bulk = bulk_predict(folder, by_series(X, 3), future=future, shuffle=False)
    of_second = bulk.partitions[1].compute()
    assert set(of_second["unique_id"]) == set(by_series(X, 3).partitions[1]["unique_id"])
    assert_same(bulk.compute(), forecaster.predict(X, future=future))


def test_a_future_that_lies_as_X_does_is_taken_where_it_lies(rich):
    folder, forecaster = rich
    X, future = panel()
    bulk = bulk_predict(folder, by_series(X, 3), future=by_series(future, 3), shuffle=False)
    assert_same(bulk.compute(), forecaster.predict(X, future=future))
    with pytest.raises(DataError, match="it has 2 partitions, and X has 3"):
        bulk_predict(folder, by_series(X, 3), future=by_series(future, 2), shuffle=False)


@pytest.mark.parametrize("dtype", ["int64", "int32", "category", "str", "object"])
def test_ids_keep_their_type_and_meet_those_of_future(rich, dtype):
    folder, forecaster = rich
    X, future = (
        t.assign(unique_id=t["unique_id"].str.removeprefix("meter ").astype("int64"))
        for t in panel()
    )
    if "int" not in dtype:
        X, future = (t.assign(unique_id="m" + t["unique_id"].astype(str)) for t in (X, future))
    typed = X.astype({"unique_id": dtype})
    bulk = bulk_predict(folder, split(typed, 3), future=split(future, 5))
    found = bulk.compute()
    assert found["unique_id"].dtype == bulk["unique_id"].dtype
    if dtype in ("int64", "int32", "category"):
        assert found["unique_id"].dtype == dtype
    local = forecaster.predict(X, future=future)
    assert_same(found.astype({"unique_id": X["unique_id"].dtype}), local)


@pytest.mark.parametrize("dask_knows", ["nothing", "the first partition's"])
def test_ids_keep_their_names_where_dask_does_not_know_all_categories(plain, dask_knows):
    folder, forecaster, X = plain
    frame = by_series(X, 3).astype({"unique_id": "category"})
    if dask_knows != "nothing":  # as where it looks into the first of many files
        parts = [part.compute() for part in frame.partitions]
        frame = dd.from_map(lambda i: parts[i], range(3), meta=parts[0].iloc[:0])
    bulk = bulk_predict(folder, frame, shuffle=False)
    found = bulk.compute()
    assert {bulk["unique_id"].dtype.name, found["unique_id"].dtype.name} == {"category"}
    local = forecaster.predict(X)
    assert_same(found.astype({"unique_id": X["unique_id"].dtype}), local)
    bulk.to_parquet(folder.with_name("forecasts"), write_index=False)
    written = pd.read_parquet(folder.with_name("forecasts"))
    assert_same(written.astype({"unique_id": X["unique_id"].dtype}), local)


def test_ids_may_be_objects_of_python(plain):
    folder, forecaster, X = plain
    numbers = X["unique_id"].str.removeprefix("meter ").astype("int64")
    mixed = X.assign(unique_id=numbers.astype(object).where(numbers < 5, X["unique_id"]))
    with dask.config.set({"dataframe.convert-string": False}):
        for table in (X.astype({"unique_id": object}), mixed.astype({"unique_id": object})):
            bulk = bulk_predict(folder, by_series(table, 3), shuffle=False)
            assert bulk["unique_id"].dtype == object
            found, local = bulk.compute(), forecaster.predict(table)
            named = {"unique_id": str}
            assert_same(found.astype(named), local.astype(named))


@pytest.mark.parametrize("dtype", ["float32", "int64", "Float64"])
def test_numbers_have_the_type_that_predict_gives_them(plain, dtype):
    folder, forecaster, X = plain
    X = X.assign(y=X["y"].round().astype(dtype))
    bulk = bulk_predict(folder, split(X, 3))
    found, local = bulk.compute(), forecaster.predict(X)
    assert bulk["y"].dtype == found["y"].dtype == local["y"].dtype
    assert_same(found, local)


def test_time_may_be_the_index_text_or_steps(plain):
    folder, forecaster, X = plain
    indexed = bulk_predict(folder, split(X.set_index("ds"), 3))
    assert indexed.index.name == indexed.compute().index.name == "ds"
    assert_same(indexed.compute().reset_index()[X.columns], forecaster.predict(X))
    text = X.assign(ds=X["ds"].dt.strftime("%Y-%m-%d %H:%M"))
    assert_same(bulk_predict(folder, split(text, 3)).compute(), forecaster.predict(text))


def test_counted_steps_are_continued(tmp_path):
    X = panel()[0][[*KEY, "y"]]
    X["ds"] = X.groupby("unique_id").cumcount()
    forecaster = RidgeForecaster(horizon=5, context_length=24).fit(X)
    forecaster.save(tmp_path / "model")
    bulk = bulk_predict(tmp_path / "model", split(X, 3))
    assert_same(bulk.compute(), forecaster.predict(X))


def test_ids_may_be_the_index(plain):
    folder, forecaster, X = plain
    sorted_by_id = dd.from_pandas(X.set_index("unique_id"), npartitions=4)
    for shuffle in (True, False):
        bulk = bulk_predict(folder, sorted_by_id, shuffle=shuffle)
        assert_same(bulk.compute(), forecaster.predict(X))


def test_a_series_without_values_is_forecast_as_among_others(plain):
    folder, forecaster, X = plain
    X = X.assign(y=X["y"].where(X["unique_id"] != "meter 4"))
    bulk = bulk_predict(folder, by_series(X, X["unique_id"].nunique()), shuffle=False)
    assert_same(bulk.compute(), forecaster.predict(X))


def test_series_of_a_single_row_and_missing_values_are_forecast_as_by_predict(plain):
    folder, forecaster, X = plain
    first = X.groupby("unique_id").cumcount() == 0
    X = X[first | (X["unique_id"] != "meter 2")].copy()
    X.loc[X.index[5::7], "y"] = np.nan
    assert_same(bulk_predict(folder, split(X, 5)).compute(), forecaster.predict(X))


def test_columns_that_no_forecast_needs_are_not_moved(rich, monkeypatch):
    folder, forecaster = rich
    X, future = (table.assign(note="read me") for table in panel())
    local, seen = forecaster.predict(X, future=future), []
    read = type(forecaster)._read_like_fit

    def watched(self, table, **options):
        seen.append(list(table.columns))
        return read(self, table, **options)

    bulk = bulk_predict(folder, split(X, 3), future=split(future, 3))
    monkeypatch.setattr(type(forecaster), "_read_like_fit", watched)
    assert_same(bulk.compute(), local)
    assert seen == [["unique_id", "ds", "price", "kind", "y"]] * len(seen)


def test_nothing_is_computed_before_it_is_asked_for(plain):
    folder, _, X = plain

    def read(part):
        raise AssertionError("a row was read")

    lazy = dd.from_map(read, range(4), meta=X.iloc[:0])
    for shuffle in (True, False):
        bulk_predict(folder, lazy, shuffle=shuffle, quantiles=None)
        find_faults(folder, lazy, shuffle=shuffle)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_process_loads_the_model_once_and_forecasts_one_partition_at_a_time(
    plain, scheduler, monkeypatch
):
    folder, _, X = plain
    loads, at_once, running = [], [], threading.Semaphore(0)
    load, forecast = BaseForecaster.load.__func__, RidgeForecaster._continue

    def counted(cls, path, **options):
        loads.append(path)
        return load(cls, path, **options)

    def watched(self, *arguments):
        running.release()
        at_once.append(running._value)
        time.sleep(0.01)
        running.acquire()
        return forecast(self, *arguments)

    bulk = bulk_predict(folder, split(X, 7))
    again = bulk_predict(folder, split(X, 3))
    monkeypatch.setattr(BaseForecaster, "load", classmethod(counted))
    monkeypatch.setattr(RidgeForecaster, "_continue", watched)
    bulk.compute(scheduler=scheduler)
    again.compute(scheduler=scheduler)
    assert len(loads) == 1
    assert len(at_once) >= 5
    assert set(at_once) == {1}


# -- what cannot be ---------------------------------------------------------------------------


def with_faults(X):
    """A gap in meter 3, an infinite value in meter 8."""
    X = X.reset_index(drop=True)
    rows = {name: part.index for name, part in X.groupby("unique_id")}
    X.loc[rows["meter 8"][9], "y"] = np.inf
    return X.drop(index=rows["meter 3"][[20, 21]])


def test_a_failure_names_the_partition_and_the_series(plain):
    folder, _, X = plain
    bulk = bulk_predict(folder, by_series(with_faults(X), 3), shuffle=False)
    with pytest.raises(DataError, match=r"^Partition 0 of 3: series 'meter 3': .* 1 gap"):
        bulk.partitions[0].compute()
    with pytest.raises(DataError, match=r"^Partition 1 of 3: series 'meter 8': .* infinite value"):
        bulk.partitions[1].compute()
    assert len(bulk.partitions[2].compute()) == 4 * 5


def test_all_series_at_fault_are_found_at_once_with_their_reasons(plain):
    folder, _, X = plain
    for frame, shuffle in [(split(with_faults(X), 4), True), (by_series(with_faults(X), 2), False)]:
        faults = find_faults(folder, frame, shuffle=shuffle)
        found = faults.compute().sort_values("unique_id", ignore_index=True)
        assert found.dtypes.equals(faults.dtypes)
        assert found["unique_id"].tolist() == ["meter 3", "meter 8"]
        assert "1 gap" in found["fault"][0]
        assert "infinite value" in found["fault"][1]
    left = X[~X["unique_id"].isin(found["unique_id"])]
    assert find_faults(folder, split(left, 4)).compute().empty


def test_a_fault_of_no_single_series_is_told_with_the_partition(plain):
    folder, _, X = plain
    nameless = pd.concat([X, X.tail(1).assign(unique_id=None)], ignore_index=True)
    message = "Partition 0 of 1: Column 'unique_id' has 1 missing id"
    with pytest.raises(DataError, match=f"^{message}"):
        bulk_predict(folder, split(nameless, 1)).compute()
    others = pd.concat([with_faults(X), nameless.tail(1)], ignore_index=True)
    faults = find_faults(folder, split(others, 1)).compute()
    assert faults["unique_id"].isna().tolist() == [False, False, True]
    assert faults["fault"].iloc[2].startswith(message)


def test_a_model_that_knows_no_frequency_says_so_and_takes_one(tmp_path):
    stamped, folder = panel()[0][[*KEY, "y"]], tmp_path / "model"
    wide = (np.arange(60.0) % 7)[:, None]
    RidgeForecaster(horizon=2, context_length=12).fit(wide).save(folder)
    with pytest.raises(DataError, match=r"fitted on rows without time stamps.*freq='h'"):
        bulk_predict(folder, split(stamped, 2))
    local = RidgeForecaster(horizon=2, context_length=12, freq="h").fit(wide)
    local.save(folder)
    bulk = bulk_predict(folder, split(stamped, 2)).compute()
    assert_same(bulk, local.predict(stamped))


@pytest.mark.parametrize("written", ["stamps", "local stamps", "text", "arrow"])
@pytest.mark.parametrize("freq", ["ME", "QS-FEB", "W-TUE", "B", "2D"])
def test_steps_of_the_calendar_are_forecast(tmp_path, freq, written):
    X = panel(n_series=3, shortest=31)[0][[*KEY, "y"]]
    days = pd.date_range("2001-02-28", periods=33, freq=freq)
    X["ds"] = days[X.groupby("unique_id").cumcount()]
    if written == "local stamps":
        X["ds"] = X["ds"].dt.tz_localize("Europe/Berlin")
    elif written == "text":
        X["ds"] = X["ds"].dt.strftime("%Y-%m-%d")
    elif written == "arrow":
        X["ds"] = X["ds"].astype("timestamp[us][pyarrow]")
    forecaster = RidgeForecaster(horizon=2, context_length=12).fit(X)
    forecaster.save(tmp_path / "model")
    found = bulk_predict(tmp_path / "model", split(X, 2)).compute()
    assert_same(found, forecaster.predict(X))


def test_ids_may_not_be_called_what_reasons_are(plain, tmp_path):
    X = plain[2].rename(columns={"unique_id": "fault"})
    RidgeForecaster(horizon=2, context_length=12, id_column="fault").fit(X).save(tmp_path / "model")
    lazy = split(X, 2)
    assert len(bulk_predict(tmp_path / "model", lazy).compute()) == 2 * X["fault"].nunique()
    with pytest.raises(DataError, match=r"ids is called .fault.*Rename it in X"):
        find_faults(tmp_path / "model", lazy)


def test_a_missing_step_of_the_future_names_its_series(rich):
    folder, _ = rich
    X, future = panel()
    lacking = future[(future["unique_id"] != "meter 5") | (future["ds"].dt.hour % 2 == 0)]
    bulk = bulk_predict(folder, split(X, 3), future=lacking)
    with pytest.raises(DataError, match=r"Partition \d of 3: series 'meter 5': future lacks"):
        bulk.compute()
    faults = find_faults(folder, split(X, 3), future=lacking).compute()
    assert faults["unique_id"].tolist() == ["meter 5"]


def test_any_other_failure_says_where_it_was(plain, monkeypatch):
    folder, _, X = plain

    def fail(self, *arguments):
        raise RuntimeError("out of luck")

    bulk = bulk_predict(folder, by_series(X, 3), shuffle=False)
    monkeypatch.setattr(RidgeForecaster, "_continue", fail)
    with pytest.raises(RuntimeError, match=r"^out of luck") as failure:
        bulk.partitions[2].compute()
    (note,) = failure.value.__notes__
    assert note.startswith("This was Partition 2 of 3, with the series 'meter 9', 'meter 10'")


def test_rows_of_a_series_in_several_partitions_are_refused_where_they_stay(plain):
    folder, _, X = plain
    # In order, and cut in the middle of series: what large writers leave.
    cut = dd.from_pandas(X, npartitions=3, sort=False)
    message = (
        r"those of 2 lie in several: 'meter 4', 'meter 8'; the first in partitions 0, 1\. Leave"
    )
    with pytest.raises(DataError, match=message):
        bulk_predict(folder, cut, shuffle=False).compute()


def test_a_model_saved_anew_in_between_is_noticed(plain):
    folder, _, X = plain
    bulk = bulk_predict(folder, split(X, 3))
    RidgeForecaster(horizon=5, context_length=12).fit(X).save(folder)
    with pytest.raises(SavedModelError, match=r"^Partition \d of 3: Another model was saved to"):
        bulk.compute()


def test_a_model_that_a_worker_does_not_find_is_told_in_a_sentence(plain):
    folder, _, X = plain
    bulk = bulk_predict(folder, split(X, 3))
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(SavedModelError, match="on shared storage"):
        bulk.compute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.compute(), r"X is a DataFrame of pandas, expected a DataFrame of Dask"),
        (lambda X: X["y"], r"X is a Series of dask, expected"),
        (lambda X: X.rename(columns={"unique_id": "meter"}), "no column 'unique_id' or 'item_id'"),
        (
            lambda X: X.rename(columns={"y": "z"}),
            r"do not fit the model, .*has the columns \['z'\]",
        ),
        (lambda X: X.assign(y="a"), "do not fit the model, .*Expected numbers in column 'y'"),
        (lambda X: X.drop(columns="ds"), "do not fit the model, .*but no time"),
        (lambda X: X[["unique_id", "ds", "y", "y"]], "X has several columns named 'y'"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_at_once(plain, change, message):
    folder, _, X = plain
    with pytest.raises(DataError, match=message):
        bulk_predict(folder, change(split(X, 3)))


def test_a_forecaster_in_the_place_of_its_folder_is_refused(plain):
    _, forecaster, X = plain
    with pytest.raises(ParameterError, match=r"got a RidgeForecaster\. Save it"):
        bulk_predict(forecaster, split(X, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda future: None, r"predict needs future="),
        (lambda future: 3, "future is a int, expected a DataFrame of Dask or pandas"),
        (lambda future: future.drop(columns="price"), "future has no column 'price'"),
        (lambda future: future.drop(columns="unique_id"), "future has no column 'unique_id'"),
        (lambda future: future.assign(unique_id=3), "are (str|string) in X and int64 in future"),
    ],
)
def test_a_future_that_cannot_be_joined_is_refused_at_once(rich, change, message):
    X, future = panel()
    with pytest.raises(DataError, match=message):
        bulk_predict(rich[0], split(X, 3), future=change(future))


def test_a_future_that_no_covariate_needs_is_refused_at_once(plain):
    folder, _, X = plain
    with pytest.raises(DataError, match="no future_covariates"):
        bulk_predict(folder, split(X, 3), future=panel()[1])


def test_without_dask_one_is_told_what_to_install(plain, monkeypatch):
    folder, _, X = plain
    frame = split(X, 3)
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(ImportError, match=r"pip install 'titans-ts\[bulk\]'"):
        bulk_predict(folder, frame)
