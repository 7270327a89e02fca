"""Training stays finite whatever the series: no NaN in losses, weights or forecasts."""

import numpy as np
import pytest
import torch

from titans_ts import TitansForecaster

ROWS = 211
TIME = np.arange(ROWS)


def _spikes() -> np.ndarray:
    rows = np.zeros(ROWS)
    rows[[17, 59, 101, 149, 199]] = [1e6, -1e3, 1e9, 1.0, -1e6]
    return rows


NOISE = np.random.default_rng(0).normal(size=ROWS)
SMOOTH = np.sin(TIME / 7)
SERIES = {
    "smooth": SMOOTH,
    "constant": np.full(ROWS, 3.7),
    "zero": np.zeros(ROWS),
    "spiky": _spikes(),
    "one step": (TIME > 120).astype(float),
    "tiny": 1e-12 * (SMOOTH + 0.1 * NOISE),
    "huge": 1e12 * (SMOOTH + 0.1 * NOISE),
    "offset": 1e9 + SMOOTH + 0.1 * NOISE,
    "random walk": NOISE.cumsum(),
}


def fitted(rows: np.ndarray, **options) -> TitansForecaster:
    settings = {"horizon": 7, "context_length": 64, "max_epochs": 3, "dim": 8, "random_state": 0}
    return TitansForecaster(**{**settings, "accelerator": "cpu", **options}).fit(rows[:, None])


def assert_finite(forecaster: TitansForecaster) -> None:
    losses = [value for epoch in forecaster.history_ for value in epoch.values()]
    assert np.isfinite(losses).all()
    assert all(torch.isfinite(weight).all() for weight in forecaster.model_.state_dict().values())
    assert np.isfinite(forecaster.predict()).all()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", SERIES)
def test_training_stays_finite(name, precision):
    assert_finite(fitted(SERIES[name], precision=precision))


@pytest.mark.parametrize("loss", ["mse", "huber", "student_t"])
@pytest.mark.parametrize("name", ["spiky", "constant", "huge"])
def test_training_stays_finite_with_every_loss(name, loss):
    assert_finite(fitted(SERIES[name], loss=loss))


@pytest.mark.parametrize("name", ["smooth", "spiky", "offset"])
@pytest.mark.parametrize("variant", ["mag", "mal", "lmm"])
def test_training_stays_finite_in_every_variant(variant, name):
    assert_finite(fitted(SERIES[name], variant=variant, precision="bf16-mixed"))


def test_a_long_fit_with_large_steps_stays_finite_on_smooth_series():
    # Smooth series give a chunk of nearly equal keys, where inner steps can add up and blow up.
    forecaster = fitted(SMOOTH, max_epochs=20, patience=20, learning_rate=1e-2, memory_depth=4)
    assert_finite(forecaster)


def test_a_constant_series_is_forecast_as_it_is():
    np.testing.assert_allclose(fitted(SERIES["constant"]).predict(), 3.7, rtol=1e-6)


def test_an_offset_of_a_billion_costs_no_digits_of_the_signal():
    signal = SMOOTH + 0.1 * NOISE
    plain = fitted(signal).predict()
    np.testing.assert_allclose(fitted(1e9 + signal).predict() - 1e9, plain, atol=1e-2)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(scale):
    signal = SMOOTH + 0.1 * NOISE
    plain = fitted(signal).predict()
    np.testing.assert_allclose(fitted(scale * signal).predict() / scale, plain, atol=1e-2)
