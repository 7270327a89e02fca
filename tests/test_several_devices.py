"""Two processes that train one model learn what one process learns."""

import os
import signal

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from ranks import run_ranks
from tiny_fits import tiny, waves

from titans_ts import (
    DeviceMemoryError,
    NonFiniteLossError,
    ParameterError,
    TitansForecaster,
)
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training import LoopModule, TrainingSettings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")


def gappy():
    """Ever less is observed towards the end of one channel, so shares weigh unequally."""
    X = waves()
    X[350:, 1] = np.where(np.arange(51) % 3 > 0, X[350:, 1], np.nan)
    return X


def fit(strategy=None, X=None, **options):
    trainer = {"limit_train_batches": 5, **options.pop("trainer_kwargs", {})}
    if strategy is not None:
        trainer["strategy"] = strategy
        options |= {"devices": 2, "accelerator": "cpu"}
    # Dropout differs from process to process, as it has to.
    options = {"max_epochs": 3, "batch_size": 13, "backbone_options": {"dropout": 0.0}} | options
    return tiny(trainer_kwargs=trainer, **options).fit(gappy() if X is None else X)


def curve(forecaster):
    return np.array([[e["train_loss"], e["validation_loss"]] for e in forecaster.history_])


def figures(forecaster):
    weights = {k: v.numpy() for k, v in forecaster.model_.state_dict().items()}
    return curve(forecaster), forecaster.best_epoch_, forecaster.predict(), weights


# -- the same loss curve ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"variant": "mac"}, id="mac"),
        pytest.param({"variant": "mag", "depth": 2, "quantiles": (0.1, 0.5)}, id="mag"),
        pytest.param({"depth": 0}, id="weights without a gradient"),
        pytest.param({"channel_mixing": True, "batch_size": 2}, id="one window a process"),
        pytest.param({"channel_mixing": True, "batch_size": 1}, id="an empty share"),
        pytest.param({"trainer_kwargs": {"accumulate_grad_batches": 2}}, id="accumulated"),
        pytest.param({"patience": 1, "learning_rate": 0.1, "precision": "64-true"}, id="patience"),
    ],
)
def test_two_processes_learn_what_one_does(options):
    one, two = fit(**options), fit("ddp_fork", **options)
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-4)
    assert two.best_epoch_ == one.best_epoch_
    np.testing.assert_allclose(two.predict(), one.predict(), rtol=1e-3, atol=1e-4)
    assert not two.model_.training


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_started_as_torchrun_does_every_process_ends_with_the_same_forecaster(strategy):
    expected = figures(fit(variant="mac"))
    first, second = run_ranks(lambda rank: figures(fit(strategy, variant="mac")))
    for curve_, best, forecast, weights in (first, second):
        np.testing.assert_allclose(curve_, expected[0], rtol=1e-4)
        assert best == expected[1]
        np.testing.assert_allclose(forecast, expected[2], rtol=1e-3, atol=1e-4)
        assert weights.keys() == expected[3].keys()
        for name, weight in weights.items():
            np.testing.assert_array_equal(weight, first[3][name])


def test_the_weights_of_a_model_in_shards_are_spread_and_it_ends_as_it_was():
    class Sizes(Callback):
        def __init__(self):
            self.numbers = {}

        def on_train_batch_end(self, trainer, pl_module, *arguments):
            self.numbers = {
                "here": sum(p.to_local().numel() for p in pl_module.parameters()),
                "all": sum(p.numel() for p in pl_module.parameters()),
            }

    def sizes(rank):
        watch = Sizes()
        fitted = fit("fsdp", trainer_kwargs={"callbacks": watch}, max_epochs=1)
        assert type(fitted.model_) is ForecastModel
        assert all(type(p) is torch.nn.Parameter for p in fitted.model_.parameters())
        return watch.numbers

    first, second = run_ranks(sizes)
    assert first["here"] + second["here"] == first["all"]
    assert 0.3 < first["here"] / first["all"] < 0.7


def test_dropout_differs_from_process_to_process():
    class Draw(Callback):
        def __init__(self):
            self.drawn = None

        def on_train_start(self, trainer, pl_module):
            self.drawn = torch.rand(3).tolist()

    def drawn(rank):
        watch = Draw()
        fit("ddp", trainer_kwargs={"callbacks": watch}, max_epochs=1)
        return watch.drawn

    first, second = run_ranks(drawn)
    assert first != second


# -- stopping --------------------------------------------------------------------------------------


def test_ctrl_c_in_one_process_stops_all_of_them_at_the_same_step():
    class CtrlC(Callback):
        def __init__(self, rank):
            self.rank, self.seen = rank, 0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if self.rank == 1 and self.seen == 11:
                os.kill(os.getpid(), signal.SIGINT)
            self.seen += 1

    def interrupted(rank):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        watch = CtrlC(rank)
        options = {"callbacks": watch, "strategy": "ddp", "limit_train_batches": 5}
        forecaster = tiny(
            max_epochs=9, devices=2, accelerator="cpu", batch_size=13, trainer_kwargs=options
        )
        with pytest.raises(KeyboardInterrupt):
            forecaster.fit(waves())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return watch.seen, len(forecaster.history_), forecaster.predict().tolist()

    first, second = run_ranks(interrupted)
    assert first == second
    assert first[:2] == (12, 2)


@pytest.fixture
def overflow(monkeypatch):
    """A model whose loss is no number where a window has a value beyond 1e20."""
    plain = ForecastModel.training_loss

    def overflowing(model, batch, n_origins=1):
        context, target = batch.context, batch.target
        both = torch.cat([context, target], dim=1).abs() > 1e20
        tame = batch._replace(context=context.clamp(-9, 9), target=target.clamp(-9, 9))
        return plain(model, tame, n_origins) * (torch.inf if bool(both.any()) else 1.0)

    monkeypatch.setattr(ForecastModel, "training_loss", overflowing)


def test_ctrl_c_with_weights_in_shards_leaves_nothing_fitted():
    class CtrlC(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and trainer.global_rank == 0:
                os.kill(os.getpid(), signal.SIGINT)

    def interrupted(rank):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit("fsdp", trainer_kwargs={"callbacks": CtrlC()}, max_epochs=4)
        return caught.type is KeyboardInterrupt

    assert run_ranks(interrupted) == [True, True]


def test_a_loss_that_is_no_number_in_one_share_is_named_and_raised_where_fit_was_called(overflow):
    X = waves()
    X[200, 1] = 1e30
    message = r"loss is inf in epoch 0, batch \d, from series 0, channel '1' \(rows \d+ to \d+\)\."
    with pytest.raises(NonFiniteLossError, match=message):
        fit("ddp_fork", X, batch_size=7)

    def every_process(rank):
        with pytest.raises(NonFiniteLossError) as caught:
            fit("ddp", X, batch_size=7)
        return str(caught.value)

    first, second = run_ranks(every_process)
    assert first == second


def test_memory_that_ends_in_one_process_is_said_in_the_first(monkeypatch):
    def full(self, batch, n_origins=1):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.")

    monkeypatch.setattr(ForecastModel, "training_loss", full)
    with pytest.raises(DeviceMemoryError, match=r"batch_size=13: .*out of memory. Tried 2 GiB"):
        fit("ddp_fork")


def test_a_batch_to_be_found_is_refused():
    message = r"training is on 2\. Give a number, which is shared by all"
    with pytest.raises(ParameterError, match=message):
        fit("ddp_fork", batch_size="auto")


def test_processes_with_seeds_of_their_own_are_refused():
    def refused(rank):
        with pytest.raises(ParameterError, match=r"different seeds\. Set random_state to a number"):
            fit("ddp", random_state=rank)
        return True

    assert run_ranks(refused) == [True, True]


def test_without_a_seed_forked_processes_share_the_one_that_was_drawn():
    assert len(fit("ddp_fork", random_state=None, max_epochs=2).history_) == 2


# -- accumulated steps -----------------------------------------------------------------------------


class Gradients(Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([p.grad.clone() for p in pl_module.parameters() if p.grad is not None])


def gradients(batch_size, limit, accumulate):
    watch = Gradients()
    options = {"accumulate_grad_batches": accumulate, "limit_train_batches": limit}
    tiny(
        batch_size=batch_size,
        precision="64-true",
        backbone_options={"dropout": 0.0},
        trainer_kwargs={"callbacks": watch, **options},
    ).fit(gappy())
    return watch.seen


@pytest.mark.parametrize(("small", "times"), [(8, 3), (6, 4)])
def test_the_gradient_of_an_accumulated_step_is_that_of_the_whole_batch(small, times):
    """Though batches have targets of unequal number."""
    whole = gradients(small * times, 2, 1)
    parts = gradients(small, 2 * times, times)
    assert len(whole) == len(parts) == 2
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-9, atol=1e-12)


def test_a_step_that_is_cut_short_by_the_end_of_an_epoch_is_a_mean_too():
    parts = gradients(6, 2, 4)
    torch.testing.assert_close(parts[0], gradients(12, 1, 1)[0], rtol=1e-9, atol=1e-12)


# -- any batch -------------------------------------------------------------------------------------


def test_the_share_of_a_batch_is_its_rows_wherever_they_are():
    module = LoopModule(torch.nn.Linear(1, 1), TrainingSettings(1, 1, 0.1, 1))
    rows, mean = torch.arange(7), torch.tensor(3.0)
    batch = {"x": rows, "y": [rows[:, None], (mean, "seven")], "other": torch.zeros(2)}
    shared = module.share(batch, 2, 5)
    assert shared["x"].tolist() == [2, 3, 4]
    assert shared["y"][0].shape == (3, 1)
    assert shared["y"][1] == (mean, "seven")
    assert shared["other"].shape == (2,)


# -- precision and strategies ----------------------------------------------------------------------


def test_bfloat16_on_a_cpu_learns_about_the_same():
    plain, mixed = (curve(fit(precision=p)) for p in ("32-true", "bf16-mixed"))
    np.testing.assert_allclose(mixed, plain, rtol=0.02)
    assert not np.array_equal(mixed, plain)


def test_a_strategy_that_is_unknown_is_refused_in_lightnings_words():
    with pytest.raises(ParameterError, match="invalid strategy name"):
        TitansForecaster(trainer_kwargs={"strategy": "dpd"}).fit(waves())
