"""bulk_predict on a cluster of processes: from Parquet files to Parquet files."""

import os
import signal
import time

import dask.dataframe as dd
import pandas as pd
import pytest
from bulk_panels import in_order, panel, rich_model
from distributed import Client, LocalCluster

from titans_ts import DataError
from titans_ts.bulk import bulk_predict

TOLERANCE = {"rtol": 2e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers, each a process of one thread."""
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        local_directory=str(tmp_path_factory.mktemp("workers")),
    )
    with cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with a model, readings in files cut anywhere, and prices; the forecast to expect."""
    folder = tmp_path_factory.mktemp("shared")
    X, future = panel(23)
    forecaster = rich_model(X)
    forecaster.save(folder / "model")
    rows = X.sample(frac=1, random_state=0)
    (folder / "readings").mkdir()
    (folder / "prices").mkdir()
    for number in range(7):
        rows[number::7].to_parquet(folder / "readings" / f"{number}.parquet", index=False)
    for number in range(2):
        future[number::2].to_parquet(folder / "prices" / f"{number}.parquet", index=False)
    return folder, forecaster.predict(X, future=future, quantiles=[0.1, 0.9])


def loads():
    """How often this process has loaded a model, and how often it had it already."""
    from titans_ts.bulk.worker import load_once

    return load_once.cache_info()[:2]


def score(folder):
    readings, prices = dd.read_parquet(folder / "readings"), dd.read_parquet(folder / "prices")
    return bulk_predict(folder / "model", readings, future=prices, quantiles=[0.1, 0.9])


def assert_same(found, local):
    pd.testing.assert_frame_equal(in_order(found), in_order(local), check_dtype=False, **TOLERANCE)


@pytest.mark.slow
def test_two_processes_write_the_forecasts_of_one_and_load_the_model_once_each(
    client, stored, tmp_path
):
    folder, local = stored
    forecast = score(folder)
    assert forecast.npartitions == 7
    forecast.to_parquet(tmp_path / "forecasts", write_index=False)
    files = [pd.read_parquet(file) for file in (tmp_path / "forecasts").glob("*.parquet")]
    assert len(files) == 7
    assert_same(pd.concat(files), local)
    counts = client.run(loads)
    assert len(counts) == 2
    assert {loaded for _, loaded in counts.values()} == {1}
    # A partition in which no series fell needs no model.
    assert sum(again for again, _ in counts.values()) == sum(map(bool, map(len, files))) - 2
    assert set(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == {"1"}


@pytest.mark.slow
def test_a_failure_in_another_process_arrives_with_partition_and_series(client, stored):
    folder, _ = stored
    readings = dd.read_parquet(folder / "readings")
    gap = (readings["unique_id"] != "meter 7") | (readings["ds"] != pd.Timestamp("2024-03-02"))
    prices = dd.read_parquet(folder / "prices")
    forecast = bulk_predict(folder / "model", readings[gap], future=prices)
    with pytest.raises(DataError, match=r"^Partition \d of 7: series 'meter 7': .* 1 gap"):
        forecast.compute()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_series_and_doubles_none(client, stored, tmp_path):
    folder, local = stored
    forecasts = tmp_path / "forecasts"
    writing = client.compute(score(folder).to_parquet(forecasts, write_index=False, compute=False))
    victim = next(iter(client.run(os.getpid).values()))
    time.sleep(0.1)
    assert not writing.done()
    os.kill(victim, signal.SIGKILL)
    writing.result(timeout=120)
    client.wait_for_workers(2, timeout=60)
    assert victim not in client.run(os.getpid).values()
    assert_same(pd.read_parquet(forecasts), local)
