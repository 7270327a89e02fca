"""Memory that ends, and a loss that is no number."""

import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

from titans_ts import DeviceMemoryError, NonFiniteLossError, ParameterError, TitansError
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training import faults

# -- memory ----------------------------------------------------------------------------------------


class NoMemory:
    """A device that holds so many sequences of a batch, and no more."""

    def __init__(self, monkeypatch, room, error=None):
        self.sizes, self.held, self.batches = [], [], []
        self.error = error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore")
        plain = ForecastModel.training_loss

        def limited(model, batch, n_origins=1):
            if model.training:
                self.sizes.append(len(batch.context))
                self.held.append(sum(earlier() is not None for earlier in self.batches))
                self.batches.append(weakref.ref(batch.context))
                if len(batch.context) > room:
                    # A new one each time: it holds on to the frames that it came through.
                    raise type(self.error)(*self.error.args)
            return plain(model, batch, n_origins)

        monkeypatch.setattr(ForecastModel, "training_loss", limited)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "CUDA out of memory. Tried 2 GiB."),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "MPS backend out of"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAlloc"),
        (MemoryError(), "no more memory"),
    ],
)
def test_out_of_memory_is_said_with_a_smaller_batch(monkeypatch, error, reason):
    NoMemory(monkeypatch, room=20, error=error)
    forecaster = tiny(batch_size=53)
    expected = rf"batch_size=53: {reason}.*Give batch_size=26 or less, or batch_size='auto'"
    with pytest.raises(DeviceMemoryError, match=expected) as caught:
        forecaster.fit(waves())
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, TitansError)
    with pytest.raises(NotFittedError):
        forecaster.predict()


def test_other_errors_of_torch_are_left_as_they_are(monkeypatch):
    NoMemory(monkeypatch, room=20, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match") as caught:
        tiny(batch_size=53).fit(waves())
    assert caught.type is RuntimeError


def test_auto_halves_the_batch_until_a_step_fits(monkeypatch):
    device = NoMemory(monkeypatch, room=20)
    found = tiny(batch_size="auto").fit(waves())
    assert device.sizes == [64, 32, 16, 16, 16]
    assert found.batch_size_ == 16
    # The same as if one had known.
    np.testing.assert_array_equal(found.predict(), tiny(batch_size=16).fit(waves()).predict())


def test_auto_is_the_default_where_there_is_room():
    found = tiny(batch_size="auto").fit(waves())
    assert found.batch_size_ == 64
    np.testing.assert_array_equal(found.predict(), tiny(batch_size=64).fit(waves()).predict())


def test_auto_gives_up_at_one_sequence(monkeypatch):
    device = NoMemory(monkeypatch, room=0)
    with pytest.raises(DeviceMemoryError, match=r"batch_size=1: .*There is no smaller batch; a sh"):
        tiny(batch_size="auto").fit(waves())
    assert device.sizes == [64, 32, 16, 8, 4, 2, 1]


def test_nothing_of_a_step_that_failed_is_held_while_the_next_is_tried(monkeypatch):
    device = NoMemory(monkeypatch, room=20)
    tiny(batch_size="auto").fit(waves())
    assert device.held[:3] == [0, 0, 0]


def test_the_batch_that_was_found_is_found_again_in_a_checkpoint(monkeypatch, tmp_path):
    device = NoMemory(monkeypatch, room=20)
    tiny(batch_size="auto").fit(waves(), checkpoint=tmp_path / "p")
    del device.sizes[:]
    assert tiny(batch_size="auto").fit(waves(), checkpoint=tmp_path / "p").batch_size_ == 16
    assert device.sizes == []


def test_the_batch_that_was_found_is_saved(monkeypatch, tmp_path):
    NoMemory(monkeypatch, room=20)
    found = tiny(batch_size="auto").fit(waves())
    found.save(tmp_path / "model")
    loaded = type(found).load(tmp_path / "model")
    assert (loaded.batch_size, loaded.batch_size_) == ("auto", 16)


@pytest.mark.parametrize("batch_size", ["Auto", 0, 2.5, None, True])
def test_another_batch_size_is_refused(batch_size):
    with pytest.raises(ParameterError, match=r"batch_size must be .*'auto'"):
        tiny(batch_size=batch_size).fit(waves())


# -- a loss that is no number ----------------------------------------------------------------------


def long_frame(n=211):
    """Two series; the second has one value at which a square overflows."""
    frames = []
    for i, name in enumerate(("quiet", "loud")):
        values = waves(n, channels=2) + i
        if name == "loud":
            values[150, 1] = 1e30
        index = pd.date_range("2026-01-01", periods=n, freq="h")
        frames.append(pd.DataFrame({"unique_id": name, "ds": index, "a": values[:, 0]}))
        frames[-1]["b"] = values[:, 1]
    return pd.concat(frames)


class Overflow:
    """A model whose loss is no number where a window has a value beyond 1e20."""

    def __init__(self, monkeypatch, value=float("nan")):
        plain = ForecastModel.training_loss

        def overflowing(model, batch, n_origins=1):
            both = torch.cat([batch.context, batch.target], dim=1)
            loss = plain(
                model,
                batch._replace(
                    context=batch.context.clamp(-9, 9), target=batch.target.clamp(-9, 9)
                ),
                n_origins,
            )
            return loss * value if bool((both.abs() > 1e20).any()) else loss

        monkeypatch.setattr(ForecastModel, "training_loss", overflowing)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_the_series_and_channel_that_spoil_a_loss_are_named(monkeypatch, value, word):
    Overflow(monkeypatch, value)
    forecaster = tiny(batch_size=97, context_length=32)
    expected = (
        rf"loss is {word} in epoch 0, batch 0, from series 'loud', channel 'b' \(rows \d+ to \d+\)"
        r"\. Nothing was fitted\..*lower learning_rate, which is 0\.002\."
    )
    with pytest.raises(NonFiniteLossError, match=expected) as caught:
        forecaster.fit(long_frame())
    assert isinstance(caught.value, FloatingPointError)
    with pytest.raises(NotFittedError):
        forecaster.predict()


def test_a_second_fit_that_fails_leaves_nothing_of_the_first(monkeypatch):
    forecaster = tiny(batch_size=97, context_length=32).fit(waves())
    Overflow(monkeypatch)
    with pytest.raises(NonFiniteLossError):
        forecaster.fit(long_frame())
    with pytest.raises(NotFittedError):
        forecaster.predict()


def test_without_ids_series_are_numbered_and_mixed_channels_all_named(monkeypatch):
    Overflow(monkeypatch)
    X = np.stack([waves(150, 3), waves(150, 3)])
    X[1, 60, 2] = 1e30
    with pytest.raises(NonFiniteLossError, match=r"from series 1, channels \('0', '1', '2'\) "):
        tiny(batch_size=97, context_length=32, channel_mixing=True).fit(X)


def test_weights_that_run_away_name_the_whole_batch(monkeypatch):
    """No window is at fault: the rate is, for a memory without a bound."""
    monkeypatch.setattr("titans_ts.ops.memory_net.MOST_ERROR", float("inf"))
    forecaster = tiny(batch_size=11, learning_rate=9.0, max_epochs=40, variant="mag")
    with pytest.raises(NonFiniteLossError, match=r"epoch \d+, batch \d.*learning_rate, which is 9"):
        forecaster.fit(waves(), validation=0)


def test_a_gpu_is_looked_at_every_so_many_steps_and_at_the_end_of_an_epoch(monkeypatch):
    looks = []
    guard = faults.FiniteLoss(0.1)

    class Loss:
        """A loss on another device, which counts how often it is read."""

        device = torch.device("meta")

        def __init__(self, value):
            self.value = value

        def detach(self):
            return self

    def stack(losses):
        looks.append(len(losses))
        return torch.tensor([loss.value for loss in losses])

    monkeypatch.setattr(faults.torch, "stack", stack)
    trainer = type(
        "T", (), {"is_last_batch": False, "train_dataloader": None, "current_epoch": 3}
    )()
    module = faults.LoopModule.__new__(faults.LoopModule)
    guard.on_train_epoch_start(trainer, module)
    for place in range(120):
        trainer.is_last_batch = place == 119
        guard.on_train_batch_start(trainer, module, None, place)
        guard.on_before_backward(trainer, module, Loss(1.0))
        guard.on_train_batch_end(trainer, module)
    assert looks == [50, 50, 20]
    guard.on_train_epoch_start(trainer, module)
    guard.on_train_batch_start(trainer, module, None, 7)
    guard.on_before_backward(trainer, module, Loss(float("nan")))
    with pytest.raises(NonFiniteLossError, match="nan in epoch 3, batch 7"):
        guard.on_train_end(trainer, module)
