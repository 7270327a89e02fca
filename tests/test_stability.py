"""Training is never unstable: awkward series, scales and offsets, in float32 and bfloat16."""

import numpy as np
import pytest
import torch
from tiny_fits import tiny, waves

from titans_ts import TitansForecaster
from titans_ts.config import VARIANTS

ROWS = 331
STEPS = np.arange(ROWS)


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=ROWS)


def spiky():
    x = 0.1 * noise()
    x[::37] += 1e6
    return x


def eighths():
    """A noisy wave in whole eighths, which stay exact under a level of 1e9."""
    return np.round(8 * (np.sin(STEPS / 4) + 0.3 * noise())) / 8


SERIES = {
    "smooth": np.sin(STEPS / 50),
    "a ramp": STEPS.astype(float),
    "a parabola": STEPS**2 * 1.0,
    "zeros": np.zeros(ROWS),
    "a constant": np.full(ROWS, 273.15),
    "a negative constant": np.full(ROWS, -1e9 - 0.1),
    "spikes": spiky(),
    "one spike": np.where(STEPS == 200, 1e9, 0.0),
    "a step": np.where(STEPS < 170, 0.0, 1.0),
    "a step from far": np.where(STEPS < 170, 1e12, 1e12 + 1e3),
    "a late step": np.where(STEPS < 325, 5.0, 6.0),
    "steps": np.floor(STEPS / 40) % 2,
    "two values": (noise() > 0).astype(float),
    "zeros, then huge": np.where(STEPS < 150, 0.0, 1e12 * (1 + 0.1 * noise())),
    "zeros, then tiny": np.where(STEPS < 150, 0.0, 1e-12 * (1 + 0.1 * noise())),
    "scale 1e-12": 1e-12 * eighths(),
    "scale 1e12": 1e12 * eighths(),
    "level 1e9": 1e9 + eighths(),
    "growing": np.exp(STEPS / 12),
    "dying": np.exp(-STEPS / 6),
    "a rounded wave": np.round(np.sin(STEPS / 30)),
}


def assert_finite(forecaster, X):
    losses = [v for epoch in forecaster.history_ for v in epoch.values()]
    assert np.isfinite(losses).all(), losses
    for name, weights in forecaster.model_.named_parameters():
        assert torch.isfinite(weights).all(), name
    assert np.isfinite(forecaster.predict()).all()
    assert np.isfinite(forecaster.score(X))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_awkward_series_together_leave_everything_finite(variant, normalisation, precision):
    X = np.stack(list(SERIES.values()), axis=1)
    forecaster = tiny(variant=variant, normalisation=normalisation, precision=precision)
    assert_finite(forecaster.set_params(learning_rate=1e-2).fit(X), X)


@pytest.mark.parametrize("name", SERIES)
def test_an_awkward_series_alone_leaves_everything_finite(name):
    X = SERIES[name][:, None]
    assert_finite(tiny(variant="mac", context_length=48, learning_rate=1e-2).fit(X), X)


@pytest.mark.parametrize("options", [{"loss": "mse"}, {"loss": "huber"}, {"quantiles": (0.1, 0.9)}])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_loss_takes_awkward_series(options, precision):
    X = np.stack(list(SERIES.values()), axis=1)
    assert_finite(tiny(**options, precision=precision, learning_rate=1e-2).fit(X), X)


@pytest.mark.parametrize("highway", [True, False])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_likelihood_takes_awkward_series(highway, precision):
    X = np.stack(list(SERIES.values()), axis=1)
    forecaster = tiny(loss="student_t", highway=highway, precision=precision, learning_rate=1e-2)
    assert_finite(forecaster.fit(X), X)
    assert np.isfinite(forecaster.predict(quantiles=(0.01, 0.99))).all()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_awkward_series_leave_everything_finite_after_a_full_training(variant, precision):
    X = np.stack(list(SERIES.values()), axis=1)
    forecaster = TitansForecaster(
        horizon=7, variant=variant, precision=precision, max_epochs=3, random_state=0
    )
    assert_finite(forecaster.set_params(learning_rate=1e-2).fit(X), X)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SERIES)
def test_an_awkward_series_alone_is_learnt_without_a_nan(name, variant):
    X = SERIES[name][:, None]
    forecaster = TitansForecaster(horizon=7, variant=variant, max_epochs=2, random_state=0)
    assert_finite(forecaster.set_params(learning_rate=1e-2).fit(X), X)


# -- what must come out exactly -----------------------------------------------------------------


@pytest.mark.parametrize("value", [273.15, -1e9 - 0.1, 1e-12, 1e12])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_constant_goes_on_as_it_is(value, variant):
    """Beside a series that teaches the model to move, and alone."""
    both = np.stack([np.full(ROWS, value), eighths()], axis=1)
    for X in (both, both[:, :1]):
        forecaster = tiny(variant=variant, context_length=48, learning_rate=1e-2).fit(X)
        np.testing.assert_allclose(forecaster.predict()[:, 0], value, rtol=1e-6)


@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_level_of_a_billion_leaves_the_forecast_of_the_signal(variant, normalisation):
    X = eighths()[:, None]
    options = {"variant": variant, "normalisation": normalisation, "learning_rate": 1e-2}
    plain = tiny(**options, max_epochs=2).fit(X)
    raised = tiny(**options, max_epochs=2).fit(X + 1e9)
    np.testing.assert_allclose(raised.predict() - 1e9, plain.predict(), atol=1e-3)
    assert raised.score(X + 1e9) == pytest.approx(plain.score(X), abs=1e-4)
    assert np.ptp(plain.predict()) > 0.05  # not merely the level


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_forecasts_follow_the_scale_of_the_data(scale):
    X = waves(ROWS)
    plain = tiny(variant="mac").fit(X).predict()
    scaled = tiny(variant="mac").fit(scale * X).predict()
    np.testing.assert_allclose(scaled / scale, plain, atol=1e-3)
