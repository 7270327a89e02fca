"""A forecaster whose fit sleeps and leaves a note, and a worker that searches it.

python sleeping.py STORAGE N_TRIALS SECONDS NOTES [TIMEOUT]
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from optuna.distributions import FloatDistribution

from titans_ts import SeasonalNaiveForecaster
from titans_ts.tuning import TitansSearchCV

X = np.tile([1.0, 2.0, 5.0], 20)[:, None]


class Sleeping(SeasonalNaiveForecaster):
    """``value`` is what is searched; the notes tell which values were begun and finished."""

    def __init__(self, *, horizon=3, season_length=3, value=0.0, seconds=0.0, notes=None):
        super().__init__(horizon=horizon, season_length=season_length)
        self.value, self.seconds, self.notes = value, seconds, notes

    def fit(self, X, y=None, *, validation=None):
        self._note("begun")
        time.sleep(self.seconds)
        self._note("done")
        return super().fit(X, y, validation=validation)

    def _note(self, word):
        if self.notes is not None:
            with Path(self.notes).open("a") as file:
                file.write(f"{word} {self.value!r} {os.getpid()}\n")


def nearness(estimator, X, y=None):
    """The best value is 3."""
    return -abs(estimator.value - 3.0)


def search(n_trials, *, seconds=0.0, notes=None, **options):
    """A search that sleeps for each trial."""
    given = {
        "param_distributions": {"value": FloatDistribution(-10, 10)},
        "scoring": nearness,
        "refit": False,
        "random_state": 0,
        "worker_timeout": 4,
    }
    sleeper = Sleeping(seconds=seconds, notes=notes)
    return TitansSearchCV(sleeper, n_trials=n_trials, **{**given, **options})


if __name__ == "__main__":
    storage, n_trials, seconds, notes = sys.argv[1:5]
    timeout = float(sys.argv[5]) if len(sys.argv) > 5 else None
    search(
        int(n_trials), seconds=float(seconds), notes=notes, storage=storage, timeout=timeout
    ).fit(X)
