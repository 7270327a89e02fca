"""A panel forecast on several devices: every row once, in order, and as on one."""

import os
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

from titans_ts import ParameterError
from titans_ts import pool as pool_module
from titans_ts.pool import ForecastPool


def long_panel(n_series=5, n=140):
    """Series whose names are not in alphabetical order."""
    index = pd.date_range("2026-01-01", periods=n, freq="h")
    rows = waves(n, n_series)
    return pd.concat(
        pd.DataFrame({"unique_id": f"s{(3 * i) % n_series}", "ds": index, "y": rows[:, i] + 10 * i})
        for i in range(n_series)
    ).reset_index(drop=True)


@pytest.fixture(scope="module")
def forecaster():
    return tiny(context_length=48, quantiles=(0.1, 0.5)).fit(long_panel())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.parametrize("n", [2, 3, 7])
def test_two_processes_give_every_row_once_and_in_order(forecaster, n):
    panel = long_panel()
    with ForecastPool(forecaster, n, start_method="fork") as pool:
        for options in ({}, {"quantiles": [0.1, 0.5]}):
            expected = forecaster.predict(panel, **options)
            found = pool.predict(panel, **options)
            pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
        pd.testing.assert_frame_equal(pool.predict(), forecaster.predict(), rtol=1e-5)
        assert pool.score(panel) == pytest.approx(forecaster.score(panel), rel=1e-6)


@pytest.mark.slow
def test_spawned_processes_do_the_same(forecaster):
    with ForecastPool(forecaster, ["cpu", "cpu"]) as pool:
        found = pool.predict(long_panel())
    pd.testing.assert_frame_equal(found, forecaster.predict(long_panel()), rtol=1e-5)


@pytest.mark.parametrize("devices", [0, [], "cuda:0", True, 2.0, None])
def test_devices_that_make_no_sense_are_refused(forecaster, devices):
    with pytest.raises(ParameterError, match="devices must be a positive number of processes"):
        ForecastPool(forecaster, devices)


def test_a_way_to_start_that_there_is_not_is_refused(forecaster):
    with pytest.raises(ParameterError, match=r"start_method must be one of .*; got 'thread'"):
        ForecastPool(forecaster, 2, start_method="thread")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_a_device_that_there_is_not_is_told_to_whoever_asks_and_to_nobody_else(forecaster, capfd):
    with (
        ForecastPool(forecaster, ["abacus"], start_method="fork") as pool,
        pytest.raises(ParameterError, match="device='abacus' cannot be used here"),
    ):
        pool.predict()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_a_process_that_dies_is_explained(forecaster, monkeypatch):
    monkeypatch.setattr(pool_module, "_start", lambda *_: os._exit(1))
    with (
        ForecastPool(forecaster, np.int64(1), start_method="fork") as pool,
        pytest.raises(BrokenProcessPool) as failure,
    ):
        pool.predict()
    assert '__name__ == "__main__"' in failure.value.__notes__[0]


def test_a_pool_that_is_closed_says_so(forecaster):
    with ForecastPool(forecaster, 1) as pool:
        pass  # no process has started yet
    with pytest.raises(RuntimeError, match="This ForecastPool is closed"):
        pool.predict()


def test_a_forecaster_that_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError):
        ForecastPool(tiny(), 2)


def test_an_array_of_one_series_is_forecast_too():
    fitted = tiny(context_length=48).fit(waves())
    if hasattr(os, "fork"):
        with ForecastPool(fitted, 2, start_method="fork") as pool:
            np.testing.assert_allclose(pool.predict(), fitted.predict(), rtol=1e-6)
