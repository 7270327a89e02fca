"""A fit that dies at a chosen step, and what must be the same after it has gone on."""

import numpy as np
from lightning.pytorch import Callback

from titans_ts.training import resume


class Crash(Exception):
    """Raised on purpose, in place of a process that is killed."""


class CrashAt(Callback):
    """Raise at the start of a batch, counted over all epochs, or behind an epoch."""

    def __init__(self, batch=None, epoch=None, error=Crash):
        self.batch, self.epoch, self.error, self.seen = batch, epoch, error, 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.seen == self.batch:
            raise self.error
        self.seen += 1

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise self.error


def save_after_every_step(monkeypatch):
    """As if thirty seconds passed in every step."""
    monkeypatch.setattr(resume, "SAVE_EVERY", 0.0)


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def figures(forecaster):
    """What a fit came to, as a process can hand it on: history, best epoch, forecast, weights."""
    weights = {k: v.numpy() for k, v in forecaster.model_.state_dict().items()}
    return forecaster.history_, forecaster.best_epoch_, forecaster.predict(), weights


def assert_same_figures(one, other):
    """To the last bit."""
    assert one[:2] == other[:2]
    np.testing.assert_array_equal(one[2], other[2])
    assert one[3].keys() == other[3].keys()
    for name, weight in other[3].items():
        np.testing.assert_array_equal(one[3][name], weight)


def assert_same_fit(one, other):
    """To the last bit: weights, forecasts and figures."""
    assert_same_figures(figures(one), figures(other))
