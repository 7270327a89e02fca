"""The training loop, with a model that forecasts nothing: one linear map."""

import numpy as np
import pytest
import torch
from crashes import Crash, CrashAt, save_after_every_step
from torch.utils.data import DataLoader, TensorDataset

from titans_ts import CheckpointError, DeviceMemoryError, NonFiniteLossError
from titans_ts.training import LoopModule, Prepared, TrainingSettings, run_training
from titans_ts.training.checkpoint import CheckpointFolder


class Regression(LoopModule):
    """Squared error of a linear map; one example is worth as much as another."""

    room = 64

    def training_loss(self, batch):
        x, y = batch
        if len(x) > self.room:
            raise MemoryError
        return torch.nn.functional.mse_loss(self.model(torch.nn.functional.dropout(x, 0.1)), y)

    def validation_loss(self, batch):
        x, y = batch
        return (self.model(x) - y).abs().mean()


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.nn.Linear(3, 1).double()


def points(n=97):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 3)))
    return TensorDataset(x, x @ torch.tensor([[2.0], [-1.0], [0.5]]).double() + 1)


def run(model, folder=None, *, data=None, module=Regression, judged=True, batch=None, **settings):
    data = points() if data is None else data
    options = {"max_epochs": 5, "batch_size": 16, "learning_rate": 0.1, "patience": 5} | settings
    options["trainer_kwargs"] = {"callbacks": [CrashAt(batch)]}
    options = TrainingSettings(precision="64-true", **options)

    def prepare(batch_size):
        order = torch.Generator().manual_seed(3)
        return Prepared(
            module(model, options),
            DataLoader(data, batch_size, shuffle=True, generator=order),
            DataLoader(data, 50) if judged else None,
        )

    checkpoint = folder
    if folder is not None:
        checkpoint = CheckpointFolder.open(folder, {"batch_size": 16}, "these points", 0, draw=0)
    return run_training(prepare, options, seed=0, checkpoint=checkpoint)


def test_any_model_is_trained_to_its_best_weights():
    model = linear()
    result = run(model, max_epochs=20)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert losses[-1] < 0.2 * losses[0]
    assert result.best_epoch == int(np.argmin(losses))
    x, y = points().tensors
    assert not model.training
    assert (model(x) - y).abs().mean().item() == pytest.approx(min(losses), rel=1e-9)


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_examples():
    class Counting(Regression):
        def training_loss(self, batch):
            return batch[1].mean() + 0 * self.model(batch[0]).sum()

    result = run(linear(), module=Counting, judged=False)
    # 97 examples in batches of 16: the last holds one.
    mean = points().tensors[1].mean().item()
    assert [e["train_loss"] for e in result.history] == pytest.approx([mean] * 5)
    assert result.best_epoch is None


@pytest.mark.parametrize("batch", [3, 7, 20])
def test_a_run_that_crashed_goes_on_to_the_same_bit(tmp_path, monkeypatch, batch):
    save_after_every_step(monkeypatch)
    undisturbed, crashed, resumed = linear(), linear(), linear()
    whole = run(undisturbed)
    with pytest.raises(Crash):
        run(crashed, tmp_path / "p", batch=batch)
    assert run(resumed, tmp_path / "p") == whole
    assert torch.equal(resumed.weight, undisturbed.weight)
    # Once it has ended, its result is there at once.
    again = linear()
    assert run(again, tmp_path / "p", batch=0) == whole
    assert torch.equal(again.weight, undisturbed.weight)


def test_progress_on_other_data_is_refused(tmp_path):
    run(linear(), tmp_path / "p", max_epochs=1)
    with pytest.raises(CheckpointError, match="the data, or the rows that are set aside"):
        CheckpointFolder.open(tmp_path / "p", {"batch_size": 16}, "other points", 0, draw=0)


def test_ctrl_c_keeps_the_best_so_far_once_an_epoch_was_judged(monkeypatch):
    monkeypatch.setattr(CrashAt.__init__, "__defaults__", (None, None, KeyboardInterrupt))
    result = run(linear(), batch=16)
    assert result.interrupted
    assert len(result.history) == 2
    with pytest.raises(KeyboardInterrupt):
        run(linear(), batch=6)


def test_a_batch_that_fits_is_found_and_training_starts_anew():
    class Small(Regression):
        room = 20

    found, known = linear(), linear()
    result = run(found, module=Small, batch_size="auto")
    assert result.batch_size == 16
    assert result.history == run(known, batch_size=16).history
    assert torch.equal(found.weight, known.weight)
    with pytest.raises(DeviceMemoryError, match=r"batch_size=53: .*Give batch_size=26 or less"):
        run(linear(), module=Small, batch_size=53)


@pytest.mark.parametrize("batch", [1, 5])
def test_where_memory_ends_after_a_crash_nothing_is_left_of_the_larger_batch(
    tmp_path, monkeypatch, batch
):
    class Small(Regression):
        room = 20

    save_after_every_step(monkeypatch)
    resumed, known = linear(), linear()
    with pytest.raises(Crash):
        run(linear(), tmp_path / "p", batch_size="auto", batch=batch)
    result = run(resumed, tmp_path / "p", module=Small, batch_size="auto")
    assert result == run(known, batch_size=16)
    assert torch.equal(resumed.weight, known.weight)


def test_a_loss_that_is_no_number_is_said_in_the_module_s_words():
    x, y = points().tensors
    y = y.clone()
    y[5] = torch.inf
    with pytest.raises(
        NonFiniteLossError,
        match=r"loss is inf in epoch 0, batch \d+\. Nothing was fitted\. Look at the data for "
        r"extreme values; or lower learning_rate, which is 0\.1\.",
    ):
        run(linear(), data=TensorDataset(x, y))

    class Naming(Regression):
        remedy = "Clip the points"

        def where_not_finite(self, loader, place):
            return f"a batch of {loader.batch_size}"

    with pytest.raises(
        NonFiniteLossError, match=r"batch \d+, from a batch of 16\..*Clip the points; or lower"
    ):
        run(linear(), data=TensorDataset(x, y), module=Naming)


def test_nothing_global_is_seeded_or_printed(capfd):
    before = torch.get_rng_state()
    run(linear())
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "batch", [torch.zeros(7, 2), {"a": "x", "b": torch.zeros(7)}, ["x", (1, [torch.zeros(7)])]]
)
def test_the_examples_of_a_batch_are_the_rows_of_its_first_tensor(batch):
    module = Regression(linear(), TrainingSettings(1, 1, 0.1, 1))
    assert module.n_examples(batch) == 7


def test_a_batch_without_a_tensor_needs_a_count_of_its_own():
    module = Regression(linear(), TrainingSettings(1, 1, 0.1, 1))
    with pytest.raises(TypeError, match="holds no tensor; override n_examples"):
        module.n_examples(["text", 3])
