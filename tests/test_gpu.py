"""What only a CUDA device can show; ``make test-gpu`` runs these."""

import pickle

import numpy as np
import pytest
import torch

from titans_ts import TitansForecaster
from titans_ts.training import uses_cuda

SMALL = {"horizon": 7, "context_length": 96, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    time = np.arange(500.0)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(500, 3))
    return np.sin(time[:, None] * [0.26, 0.13, 0.05]) + noise


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_fit_on_the_gpu_in_bfloat16_stays_finite_and_near_the_cpu(variant, waves):
    on_gpu = TitansForecaster(variant=variant, accelerator="gpu", **SMALL).fit(waves)
    on_cpu = TitansForecaster(variant=variant, accelerator="cpu", **SMALL).fit(waves)
    assert np.isfinite(on_gpu.predict()).all()
    assert np.abs(on_gpu.predict() - on_cpu.predict()).mean() < 0.2


@pytest.mark.gpu
def test_a_model_from_the_gpu_forecasts_the_same_on_the_cpu(waves, tmp_path):
    forecaster = TitansForecaster(accelerator="gpu", **SMALL).fit(waves)
    expected = forecaster.predict()
    forecaster.save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(loaded.predict(), expected, rtol=1e-3, atol=1e-3)
    thawed = pickle.loads(pickle.dumps(forecaster))
    assert next(thawed.model_.parameters()).device.type == "cpu"


def test_auto_uses_a_gpu_only_where_cuda_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [uses_cuda(name) for name in ("auto", "gpu", "cuda", "cpu")] == [True, True, True, False]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not any(uses_cuda(name) for name in ("auto", "gpu", "cuda", "cpu"))
