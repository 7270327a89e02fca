"""Training: best weights, their average, the schedule, and which rows are learnt from."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tiny_fits import tiny, waves

from titans_ts.config import BackboneConfig
from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training import TrainingSettings, train
from titans_ts.training.data import WindowBatches, validation_loader
from titans_ts.training.fit import _spread
from titans_ts.training.module import TrainingModule


class Watch(Callback):
    """Note the learning rate and the gradient's norm of every step."""

    def __init__(self):
        self.rates, self.norms = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        grads = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(torch.stack(grads).norm().item())


# -- the best weights ------------------------------------------------------------------------------


def small_problem():
    data = SeriesSet.from_arrays([waves()], ("a", "b"))
    train_rows = data.head(np.array([307]))
    windows = TrainingWindows(
        WindowIndex(train_rows, 32, 7), WindowIndex(data, 32, 7, first_origin=np.array([307]))
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForecastModel(
            ForecastConfig(horizon=7, patch_length=4, highway_length=16, running_memory=16),
            BackboneConfig(variant="lmm", dim=8, n_heads=1),
        )
    return model, windows


def run(model, windows, **settings):
    small = {"max_epochs": 7, "batch_size": 53, "learning_rate": 1e-2, "patience": 2}
    small["trainer_kwargs"] = {"limit_train_batches": 3, **settings.pop("trainer_kwargs", {})}
    return train(
        model,
        windows,
        np.ones((1, 2)),
        TrainingSettings(**{**small, **settings}),
        n_origins=3,
        seed=0,
    )


def test_training_stops_out_of_patience_and_goes_back_to_the_best_epoch(monkeypatch):
    script = [3.0, 1.0, 2.0, 1.5, 0.1]
    after_each = []

    def scripted(self, batch, batch_idx):
        if batch_idx == 0:
            after_each.append({k: v.clone() for k, v in self.model.state_dict().items()})
        self.log("validation_loss", script[len(after_each) - 1], batch_size=1)

    monkeypatch.setattr(TrainingModule, "validation_step", scripted)
    model, windows = small_problem()
    result = run(model, windows)
    assert [epoch["epoch"] for epoch in result.history] == [0, 1, 2, 3]
    assert [epoch["validation_loss"] for epoch in result.history] == script[:4]
    assert result.best_epoch == 1
    best, last = after_each[1], after_each[3]
    assert all(torch.equal(v, best[k]) for k, v in model.state_dict().items())
    assert not all(torch.equal(v, last[k]) for k, v in model.state_dict().items())


def test_a_nan_validation_loss_stops_training_and_never_counts_as_best(monkeypatch):
    script = iter([math.nan, 2.0, math.nan, math.nan])
    monkeypatch.setattr(
        TrainingModule,
        "validation_step",
        lambda self, batch, i: self.log("validation_loss", next(script), batch_size=1),
    )
    model, windows = small_problem()
    # Few windows, so that one validation batch is one epoch.
    result = run(model, windows)
    assert result.best_epoch == 1
    assert len(result.history) == 4


def test_the_weights_that_are_left_have_the_least_loss_of_the_history():
    model, windows = small_problem()
    # A rate this high makes validation go up and down.
    result = run(model, windows, learning_rate=0.05, patience=12, max_epochs=12)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert result.best_epoch == int(np.argmin(losses)) < 11
    index, n_judged = _spread(windows.validation, 4, 3)
    loader = validation_loader(
        WindowBatches(index, np.ones((1, 2)), by_channel=True), batch_size=10**6
    )
    with torch.no_grad():
        (loss,) = [model.training_loss(batch, n_judged).item() for batch in loader]
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert not model.training


def test_without_validation_every_epoch_runs_and_the_last_weights_stay():
    forecaster = tiny(max_epochs=3, patience=1).fit(waves(), validation=0)
    assert forecaster.best_epoch_ is None
    assert [set(epoch) for epoch in forecaster.history_] == [{"epoch", "train_loss"}] * 3


def test_an_epoch_that_is_not_judged_has_no_validation_loss():
    options = {"check_val_every_n_epoch": 2, "num_sanity_val_steps": 1}
    history = tiny(max_epochs=5, trainer_kwargs=options).fit(waves()).history_
    assert ["validation_loss" in epoch for epoch in history] == [False, True, False, True, False]
    often = tiny(max_epochs=2, trainer_kwargs={"val_check_interval": 2}).fit(waves()).history_
    assert all("validation_loss" in epoch for epoch in often)


def test_training_lowers_the_loss_it_trains():
    options = {"limit_train_batches": 20}
    forecaster = tiny(
        max_epochs=2, learning_rate=1e-2, batch_size=23, context_length=32, trainer_kwargs=options
    )
    first, second = forecaster.fit(waves()).history_
    assert second["train_loss"] < 0.8 * first["train_loss"]


def test_a_sanity_check_asked_for_does_not_count_as_an_epoch(monkeypatch):
    calls = []

    def scripted(self, batch, batch_idx):
        calls.append(self.trainer.sanity_checking)
        self.log("validation_loss", 0.0 if calls[-1] else 5.0, batch_size=1)

    monkeypatch.setattr(TrainingModule, "validation_step", scripted)
    model, windows = small_problem()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    result = run(model, windows, max_epochs=1, trainer_kwargs={"num_sanity_val_steps": 1})
    assert True in calls
    assert result.best_epoch == 0
    assert not all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Losses(Callback):
    """Note the loss of every step, and the one that Lightning is told at the end of an epoch."""

    def __init__(self):
        self.losses, self.sizes, self.told = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        self.sizes.append(len(batch.context))

    def on_train_epoch_end(self, trainer, pl_module):
        self.told.append(trainer.callback_metrics["train_loss"].item())


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_windows():
    seen = Losses()
    # So few windows that an epoch is not 50 steps, and its last batch is not full.
    X = waves(48 + 7 + 5, channels=1)
    options = {"limit_train_batches": 1.0, "callbacks": seen}
    forecaster = tiny(context_length=48, max_epochs=2, batch_size=17, trainer_kwargs=options).fit(
        X, validation=0
    )
    losses, sizes = (np.array(x).reshape(2, -1) for x in (seen.losses, seen.sizes))
    assert len(set(sizes[0])) == 2  # the last weighs less
    expected = (losses * sizes).sum(axis=1) / sizes.sum(axis=1)
    history = [epoch["train_loss"] for epoch in forecaster.history_]
    np.testing.assert_allclose(history, expected, rtol=1e-5)
    np.testing.assert_allclose(seen.told, expected, rtol=1e-5)


# -- the average of the weights --------------------------------------------------------------------


class Weights(Callback):
    """Note one matrix before and after every step, and when it is judged."""

    def __init__(self):
        self.before, self.after, self.judged = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(pl_module.model.head.project.weight.detach().clone())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(pl_module.model.head.project.weight.detach().clone())

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.judged.append(pl_module.model.head.project.weight.detach().clone())


def test_a_fading_average_of_the_weights_is_judged_and_kept_while_training_goes_on():
    model, windows = small_problem()
    seen = Weights()
    result = run(
        model, windows, max_epochs=4, average_decay=0.2, trainer_kwargs={"callbacks": seen}
    )
    averages, average = [], None
    for n, weights in enumerate(seen.after):
        decay = min(0.2, (1 + n) / (10 + n))
        average = weights if average is None else decay * average + (1 - decay) * weights
        averages.append(average)
    for epoch, judged in enumerate(seen.judged):
        torch.testing.assert_close(judged, averages[3 * epoch + 2])
        assert not torch.allclose(judged, seen.after[3 * epoch + 2])
    torch.testing.assert_close(
        model.head.project.weight.detach(), averages[3 * result.best_epoch + 2]
    )
    for start, end in zip(seen.before[1:], seen.after[:-1], strict=True):
        assert torch.equal(start, end)


def test_without_validation_the_last_average_is_kept():
    model, windows = small_problem()
    seen = Weights()
    run(
        model,
        windows._replace(validation=None),
        max_epochs=1,
        average_decay=0.2,
        trainer_kwargs={"callbacks": seen},
    )
    first, second, third = seen.after
    second = 2 / 11 * first + 9 / 11 * second
    torch.testing.assert_close(model.head.project.weight.detach(), 0.2 * second + 0.8 * third)


# -- the optimiser ---------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_about_zero():
    watch = Watch()
    options = {"callbacks": watch, "limit_train_batches": 10}
    tiny(max_epochs=10, batch_size=5, learning_rate=3e-3, trainer_kwargs=options).fit(
        waves(), validation=0
    )
    rates = np.array(watch.rates)
    assert len(rates) == 10 * 10
    peak = int(rates.argmax())
    assert rates[peak] == pytest.approx(3e-3)
    assert 0 < peak <= len(rates) / 20
    assert (np.diff(rates[:peak]) > 0).all()
    assert (np.diff(rates[peak + 1 :]) < 0).all()
    assert rates[-1] < 0.01 * 3e-3


def test_gradients_are_clipped():
    watch = Watch()
    X = waves() * np.array([1.0, 1e3])
    tiny(loss="mse", context_length=48, trainer_kwargs={"callbacks": [watch]}).fit(X)
    clipped = max(watch.norms)
    assert clipped <= 1.0 + 1e-5
    free = Watch()
    options = {"callbacks": [free], "gradient_clip_val": None}
    tiny(loss="mse", context_length=48, trainer_kwargs=options).fit(X)
    assert max(free.norms) > 1.1


def test_matrices_decay_and_gains_do_not():
    model, _ = small_problem()
    settings = TrainingSettings(1, 1, 1e-3, 1, weight_decay=0.5)
    module = TrainingModule(model, settings, n_origins=1, n_validation_origins=1)
    module.trainer = type("Steps", (), {"estimated_stepping_batches": 10, "precision": "32-true"})()
    decayed, kept = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.5
    assert kept["weight_decay"] == 0
    assert {p.ndim for p in kept["params"]} == {1}
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", None)])
def test_one_kernel_takes_the_step_of_all_weights_where_gradients_can_be_clipped(precision, fused):
    class Optimiser(Callback):
        def on_train_start(self, trainer, pl_module):
            self.fused = trainer.optimizers[0].param_groups[0]["fused"]

    seen = Optimiser()
    tiny(precision=precision, trainer_kwargs={"callbacks": seen, "max_steps": 1}).fit(waves())
    assert seen.fused is fused


def test_arguments_of_the_trainer_pass_through():
    watch = Watch()
    tiny(
        max_epochs=2,
        batch_size=5,
        context_length=48,
        trainer_kwargs={"limit_train_batches": 2, "callbacks": [watch]},
    ).fit(waves())
    assert len(watch.rates) == 2 * 2


def test_max_steps_can_end_training_in_the_middle_of_an_epoch():
    watch = Watch()
    forecaster = tiny(
        batch_size=5, context_length=48, trainer_kwargs={"max_steps": 2, "callbacks": [watch]}
    ).fit(waves())
    assert len(watch.rates) == 2
    assert np.isfinite(forecaster.predict()).all()


# -- which rows are learnt from, and which are judged ----------------------------------------------


@pytest.fixture
def touched(monkeypatch):
    """Targets that were trained on and judged, when each channel's values are its row numbers."""
    rows = {True: set(), False: set()}
    plain = ForecastModel.training_loss

    def noting(self, batch, n_origins=1):
        needed = self.head.config.horizon + (n_origins - 1) * self.head.config.patch_length
        both = torch.cat([batch.context, batch.target], dim=1)[:, -needed:]
        seen = torch.cat([batch.observed, batch.target_observed], dim=1)[:, -needed:]
        rows[self.training].update(both[seen].tolist())
        return plain(self, batch, n_origins)

    monkeypatch.setattr(ForecastModel, "training_loss", noting)
    return rows


@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("channel_mixing", [False, True])
@pytest.mark.parametrize(
    ("validation", "n_train"),
    [
        pytest.param(None, 401 - 80, id="fraction"),
        pytest.param(53, 401 - 53, id="number of rows"),
        pytest.param("rows that follow", 401, id="array"),
    ],
)
def test_training_never_touches_a_validation_row_and_only_those_are_judged(
    touched, normalisation, channel_mixing, validation, n_train
):
    ramp = np.repeat(np.arange(460.0)[:, None], 2, axis=1)
    if validation == "rows that follow":
        validation = ramp[401:]
    forecaster = tiny(
        normalisation=normalisation, channel_mixing=channel_mixing, max_epochs=2, variant="mag"
    )
    forecaster.fit(ramp[:401], validation=validation)
    patch = forecaster.model_.head.config.patch_length
    end = 460 if isinstance(validation, np.ndarray) else 401
    # A window is drawn at random, so the very last may be missed.
    assert n_train - 20 < max(touched[True]) < n_train
    assert min(touched[False]) == n_train
    # Every patch-th origin is judged, but for what one window with many origins cannot reach.
    assert touched[False] >= set(range(n_train, n_train + 7))
    assert end - max(touched[False]) <= 3 * patch


@pytest.mark.parametrize("n_origins", [1, 2, 5, 99])
@pytest.mark.parametrize("lengths", [(101,), (101, 61), (73, 400, 73)])
def test_judged_origins_stand_a_patch_apart_from_the_first_validation_row_on(n_origins, lengths):
    data = SeriesSet.from_arrays([np.zeros((n, 1)) for n in lengths], ("a",))
    first = data.lengths - 37
    index, n = _spread(WindowIndex(data, 16, 7, first_origin=first), 3, n_origins)
    assert 1 <= n <= n_origins
    for series, start in enumerate(first):
        number, origin = index.locate(np.arange(len(index)))
        ends = origin[number == series]
        judged = sorted(int(e) - 3 * k for e in ends for k in range(n))
        assert judged == list(range(start, start + 3 * len(judged), 3))
        last = data.lengths[series] - 7
        assert judged[-1] <= last
        # What is left over at the end is less than one window's worth of origins.
        assert last - judged[-1] < 3 * n


def test_every_series_with_validation_rows_is_judged_however_short():
    data = SeriesSet.from_arrays([np.zeros((n, 1)) for n in (400, 90, 52, 30)], ("a",))
    first = data.lengths * 4 // 5
    index, n = _spread(WindowIndex(data, 16, 7, first_origin=first), 3, 12)
    series, _ = index.locate(np.arange(len(index)))
    # Of 52 rows there are 4 origins, of 30 none: its forecast would end beyond the last row.
    assert set(series) == {0, 1, 2}
    assert n == 2
