"""A fit that dies at a chosen step, and what must be the same after it has gone on."""

import numpy as np
import torch
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


def assert_same_fit(one, other):
    """To the last bit: weights, forecasts and figures."""
    assert one.history_ == other.history_
    assert one.best_epoch_ == other.best_epoch_
    theirs = other.model_.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in one.model_.state_dict().items())
    np.testing.assert_array_equal(one.predict(), other.predict())
