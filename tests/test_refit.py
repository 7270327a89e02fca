"""A second fit replaces the first as a whole, or leaves nothing that looks fitted."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from titans_ts import RidgeForecaster


def test_a_failed_refit_leaves_no_half_of_the_first_fit(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(211, 2)).cumsum(axis=0)
    forecaster = RidgeForecaster(horizon=5, context_length=23).fit(rows)

    def interrupted(windows):
        raise KeyboardInterrupt

    monkeypatch.setattr(forecaster, "_fit_windows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(rows[:, :1])
    with pytest.raises(NotFittedError):
        forecaster.predict()


def test_validation_rows_too_few_to_show_a_frequency_take_that_of_x():
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2026-01-01", periods=120, freq="h")
    frame = pandas.DataFrame({"load": np.sin(np.arange(120.0))}, index=index)
    forecaster = RidgeForecaster(horizon=2, context_length=23)
    forecaster.fit(frame[:-2], validation=frame[-2:])
    assert forecaster.predict(frame).index[0] == index[-1] + pandas.Timedelta("1h")
