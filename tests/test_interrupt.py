"""Ctrl+C and SIGTERM in fit: the best weights so far are kept, and the end is not swallowed."""

import os
import pickle
import signal

import numpy as np
import pytest
import torch
from crashes import CrashAt, assert_same_fit, save_after_every_step
from lightning.pytorch import Callback
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from tiny_fits import tiny, waves

from titans_ts import RollingOriginSplit, TitansForecaster, TrainingInterrupted


@pytest.fixture(autouse=True, scope="module")
def ctrl_c_interrupts():
    """What was started in the background, as tests may be, ignores the signal from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def forecaster(*callbacks, **options):
    options = {"max_epochs": 9, "patience": 9, "learning_rate": 0.02} | options
    return tiny(trainer_kwargs={"callbacks": list(callbacks)}, **options)


class CtrlC(Callback):
    """Send the signal that Ctrl+C sends, or another one, in the middle of an epoch."""

    def __init__(self, batch, sent=signal.SIGINT):
        self.batch, self.sent, self.seen = batch, sent, 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.seen == self.batch:
            os.kill(os.getpid(), self.sent)
        self.seen += 1


@pytest.fixture
def stopped():
    """Interrupted in the fourth epoch of nine."""
    handler, state = signal.getsignal(signal.SIGINT), torch.get_rng_state()
    forecaster_ = forecaster(CtrlC(batch=10))
    message = "stopped after 3 of 9 epochs; the TitansForecaster is fitted with the best weights"
    with pytest.raises(KeyboardInterrupt, match=message) as caught:
        forecaster_.fit(waves())
    assert caught.type is TrainingInterrupted
    assert not isinstance(caught.value, Exception)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.get_rng_state(), state)
    return forecaster_


def test_after_ctrl_c_the_forecaster_is_usable_with_its_best_weights(stopped, tmp_path):
    # The schedule of nine epochs, ended by Lightning itself after three.
    class Enough(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 2

    assert_same_fit(stopped, forecaster(Enough()).fit(waves()))
    assert not stopped.model_.training
    assert np.isfinite(stopped.score(waves()))
    stopped.set_params(trainer_kwargs=None).save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(), stopped.predict())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stopped)).predict(), stopped.predict())


def test_before_an_epoch_has_been_judged_nothing_is_fitted():
    fresh = forecaster(CtrlC(batch=1))
    with pytest.raises(KeyboardInterrupt) as caught:
        fresh.fit(waves())
    assert caught.type is KeyboardInterrupt
    with pytest.raises(NotFittedError):
        fresh.predict()


def test_a_second_fit_that_is_stopped_too_early_leaves_nothing_of_the_first(stopped):
    stopped.set_params(trainer_kwargs={"callbacks": CtrlC(batch=1)})
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(waves())
    with pytest.raises(NotFittedError):
        stopped.predict()


@pytest.mark.parametrize(("batch", "fitted"), [(2, False), (4, True)])
def test_without_validation_the_average_is_kept_once_an_epoch_has_ended(batch, fitted):
    stopped = forecaster(CtrlC(batch))
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(waves(), validation=0)
    assert hasattr(stopped, "context_") is fitted
    if fitted:
        assert np.isfinite(stopped.predict()).all()
        assert stopped.best_epoch_ is None
        assert len(stopped.history_) == 1


def test_a_fit_that_the_system_ends_leaves_with_the_status_of_its_signal():
    told = forecaster(CtrlC(batch=4, sent=signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        told.fit(waves())
    assert caught.value.code == 128 + signal.SIGTERM
    with pytest.raises(NotFittedError):
        told.predict()


def test_a_search_stops():
    search = GridSearchCV(
        forecaster(CtrlC(batch=5)),
        {"learning_rate": [0.01, 0.02]},
        cv=RollingOriginSplit(n_splits=2, horizon=7, context_length=96),
        error_score=0.0,
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(waves())


def test_with_a_checkpoint_the_same_call_goes_on(tmp_path, monkeypatch):
    save_after_every_step(monkeypatch)
    options = {"trainer_kwargs": {"callbacks": CrashAt(batch=7, error=KeyboardInterrupt)}}
    stopped = tiny(max_epochs=4, **options)
    with pytest.raises(TrainingInterrupted):
        stopped.fit(waves(), checkpoint=tmp_path / "progress")
    assert len(stopped.history_) == 2
    options["trainer_kwargs"]["callbacks"].batch = None
    resumed = tiny(max_epochs=4, **options).fit(waves(), checkpoint=tmp_path / "progress")
    assert_same_fit(resumed, tiny(max_epochs=4).fit(waves()))


def test_ctrl_c_before_it_has_caught_up_keeps_the_best_of_the_first_run(tmp_path, monkeypatch):
    save_after_every_step(monkeypatch)
    crash = CrashAt(batch=7, error=KeyboardInterrupt)
    first, second = (tiny(max_epochs=4, trainer_kwargs={"callbacks": crash}) for _ in range(2))
    with pytest.raises(TrainingInterrupted):
        first.fit(waves(), checkpoint=tmp_path / "progress")
    crash.batch, crash.seen = 1, 0  # counted through, not computed
    with pytest.raises(TrainingInterrupted):
        second.fit(waves(), checkpoint=tmp_path / "progress")
    assert_same_fit(second, first)
