"""What only a CUDA device can show; ``make test-gpu`` runs these."""

import pickle

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from titans_ts import TitansForecaster
from titans_ts.training import EagerSteps, graphed, uses_cuda

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


class NoteLoss(Callback):
    """Keeps the loss of every step, and what became of records by the last."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(outputs["loss"].detach().clone())
        self.n_recorded = pl_module.graphed.n_recorded
        self.failed = pl_module.graphed.failed


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("gaps", [False, True])
def test_recorded_steps_learn_what_others_learn(variant, precision, gaps, waves):
    data = waves.copy()
    if gaps:
        data[100:107, 1] = np.nan

    def losses(*more: Callback) -> tuple[torch.Tensor, NoteLoss]:
        note = NoteLoss()
        options = SMALL | {"variant": variant, "precision": precision, "batch_size": 16}
        callbacks = {"callbacks": [note, *more]}
        TitansForecaster(accelerator="gpu", trainer_kwargs=callbacks, **options).fit(data)
        return torch.stack(note.losses).cpu(), note

    recorded, note = losses()
    assert note.failed == ""
    assert note.n_recorded > 0
    plain, note = losses(EagerSteps())
    assert note.n_recorded == 0
    # The same draws of dropout, or they would be apart at once.
    tolerance = 1e-3 if precision == "32-true" else 0.03
    torch.testing.assert_close(recorded[:20], plain[:20], rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("when", ["looked at", "copied"])
def test_a_step_that_cannot_be_recorded_is_taken_as_it_comes(when):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)).cuda()
    stream = torch.cuda.current_stream()

    def loss_of(x: torch.Tensor) -> tuple[torch.Tensor, None]:
        loss = model(x).square().mean()
        # Neither a number nor a copy to the processor can be had while a graph is recorded.
        (loss.item() if when == "looked at" else loss.detach().cpu())
        return loss, None

    loss = graphed.GraphedLoss(loss_of, model)
    for _ in range(6):
        loss(torch.ones(5, 3, device="cuda"))[0].backward()
    assert loss.failed
    assert loss.n_recorded == 0
    assert torch.cuda.current_stream() == stream
    assert model[0].weight.grad.isfinite().all()


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
