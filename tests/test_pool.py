"""A panel forecast on several devices: every row once, in order, and as on one."""

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

from titans_ts import ParameterError
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


@pytest.mark.parametrize("devices", [0, [], "cuda:0", True])
def test_devices_that_make_no_sense_are_refused(forecaster, devices):
    with pytest.raises(ParameterError, match="devices must be a positive number of processes"):
        ForecastPool(forecaster, devices)


def test_a_forecaster_that_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError):
        ForecastPool(tiny(), 2)


def test_an_array_of_one_series_is_forecast_too():
    fitted = tiny(context_length=48).fit(waves())
    if hasattr(os, "fork"):
        with ForecastPool(fitted, 2, start_method="fork") as pool:
            np.testing.assert_allclose(pool.predict(), fitted.predict(), rtol=1e-6)
