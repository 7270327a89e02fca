"""A batch in parts: the same loss and gradients as in one piece, in less memory."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tiny_fits import tiny, waves

from titans_ts.config import BackboneConfig
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import WindowIndex
from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training import TrainingSettings
from titans_ts.training import module as training_module
from titans_ts.training.data import WindowBatches
from titans_ts.training.module import TrainingModule
from titans_ts.training.parts import split_batch

CONTEXT, HORIZON, CHANNELS = 24, 7, 3


def make_batch(*, gaps, by_channel, n=11):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(53, CHANNELS)).cumsum(axis=0)
    observed = np.broadcast_to(np.True_, values.shape)
    if gaps:
        # Towards the end ever less is observed, so that parts have targets of very unequal number.
        observed = rng.random(values.shape) > np.linspace(0, 0.95, 53)[:, None]
        values = np.where(observed, values, 0.0)
    series = SeriesSet.from_rows(values, observed, np.array([0, 53]), ("a", "b", "c"))
    scale = np.array([[1.0, 2.0, 5.0]])
    data = WindowBatches(WindowIndex(series, CONTEXT, HORIZON), scale, by_channel)
    return data[np.arange(n) * (len(data) // n)]


def make_module(**head):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForecastModel(
            ForecastConfig(
                horizon=HORIZON, patch_length=4, highway_length=16, running_memory=16, **head
            ),
            BackboneConfig(variant="lmm", dim=8, dropout=0.0),
        ).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    settings = TrainingSettings(max_epochs=1, batch_size=11, learning_rate=1e-3, patience=1)
    return TrainingModule(model, settings, n_origins=3, n_validation_origins=1)


def loss_and_gradients(module, batch, n_parts, monkeypatch):
    monkeypatch.setattr(TrainingModule, "_n_parts", lambda self, batch: n_parts)
    module.zero_grad()
    loss = module.training_step(batch, 0)
    (3 * loss).backward()
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("channel_mixing", [False, True])
@pytest.mark.parametrize("n_parts", [2, 4, 11])
def test_parts_give_the_loss_and_the_gradients_of_the_whole(
    n_parts, channel_mixing, gaps, monkeypatch
):
    module = make_module(channel_mixing=channel_mixing)
    batch = make_batch(gaps=gaps, by_channel=not channel_mixing)
    assert batch.target_complete is not gaps
    whole = loss_and_gradients(module, batch, 1, monkeypatch)
    parts = loss_and_gradients(module, batch, n_parts, monkeypatch)
    assert len(whole) > 10
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-13)


def test_a_part_without_one_observed_target_weighs_nothing(monkeypatch):
    module, batch = make_module(), make_batch(gaps=False, by_channel=True)
    seen = batch.target_observed.clone()
    context = batch.observed.clone()
    seen[:4], context[:4, -2 * 4 :] = False, False
    batch = batch._replace(
        target_observed=seen, observed=context, context_complete=False, target_complete=False
    )
    whole = loss_and_gradients(module, batch, 1, monkeypatch)
    parts = loss_and_gradients(module, batch, 11, monkeypatch)
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-13)
    assert parts["loss"].isfinite()


@pytest.mark.parametrize("n", [1, 11])
def test_a_batch_is_cut_into_neighbouring_windows_and_what_they_share_is_kept(n):
    batch = make_batch(gaps=False, by_channel=False, n=n)
    shared = batch._replace(channel_scale=batch.channel_scale[:1])
    parts = split_batch(shared, min(3, n))
    assert [len(part.context) for part in parts] == ([3, 4, 4] if n == 11 else [1])
    for name in ("context", "observed", "target", "target_observed"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(batch, name))
    for part in parts:
        assert isinstance(part, WindowBatch)
        assert torch.equal(part.channel_scale, shared.channel_scale)
        assert torch.equal(part.channel, batch.channel)
        assert part.past is None
        assert part.context_complete


class Gradients(Callback):
    """Note the gradients that every step of the optimiser is given."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([p.grad.clone() for p in pl_module.parameters() if p.grad is not None])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fit_in_parts_is_the_fit_in_one_piece(accumulate, monkeypatch):
    fits = []
    for most in (1e12, 2e5):
        monkeypatch.setattr(training_module, "MOST_BYTES", most)
        watch = Gradients()
        options = {"accumulate_grad_batches": accumulate, "callbacks": watch}
        fits.append(
            tiny(
                backbone_options={"dropout": 0.0},
                precision="64-true",
                context_length=48,
                trainer_kwargs={**options, "limit_train_batches": 4},
            ).fit(waves())
        )
        fits[-1].gradients_ = watch.seen
    one, parts = fits
    assert len(one.gradients_) == 4 // accumulate
    torch.testing.assert_close(parts.gradients_, one.gradients_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(parts.predict(), one.predict(), rtol=1e-7)
    assert parts.history_[0]["train_loss"] == pytest.approx(one.history_[0]["train_loss"], rel=1e-6)


def test_a_batch_is_cut_where_its_activations_would_take_much_memory(monkeypatch):
    module, batch = make_module(), make_batch(gaps=False, by_channel=True)
    tokens = 11 * CONTEXT // 4
    for most, expected in ((1e9, 1), (tokens * 8 * 816, 1), (tokens * 8 * 816 / 3, 3), (1.0, 11)):
        monkeypatch.setattr(training_module, "MOST_BYTES", most)
        assert module._n_parts(batch) == expected
    elsewhere = batch._replace(context=batch.context.to("meta"))
    assert module._n_parts(elsewhere) == 1
