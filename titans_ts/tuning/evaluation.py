"""Evaluation: fit and score a candidate on every fold, and stop early where it is hopeless."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial, TrialState
from sklearn.base import BaseEstimator

from titans_ts.base import BaseForecaster
from titans_ts.errors import ParameterError
from titans_ts.model_selection.folds import FoldError
from titans_ts.tuning.data import SearchData
from titans_ts.tuning.sampling import SCORES, STEPS_PER_FOLD, UNITS, FairPruner
from titans_ts.tuning.space import Space, candidate
from titans_ts.tuning.trials import DISCARDED, ERROR, INTERRUPTED, Ledger, TrialError
from titans_ts.tuning.workers import Workers

__all__ = ["FIT_SECONDS", "PREDICT_SECONDS", "SCORE_SECONDS", "Evaluation"]

# User attributes of a trial: a number for each fold.
FIT_SECONDS, SCORE_SECONDS = "fit_seconds", "score_seconds"
PREDICT_SECONDS = "predict_seconds"

# Forecasts whose median time is a candidate's latency.
TIMED_FORECASTS = 5

# Parameters that change what a validation loss is measured in.
CHANGES_UNITS = ("loss", "quantiles", "target_transform", "validation_fraction")


@dataclass(frozen=True)
class Evaluation:
    """The objective of a study: an error, and the time of a forecast where that is asked for.

    Parameters
    ----------
    estimator : BaseForecaster or other estimator
    space : Space
    data : SearchData
    n_trials : int or None
    latency : bool
        Whether the seconds of a forecast are a second objective.
    workers : Workers
    deadline : float
        By :func:`time.monotonic`, when this worker stops.
    error_score : float or "raise"
    """

    estimator: BaseEstimator
    space: Space
    data: SearchData
    n_trials: int | None
    latency: bool
    workers: Workers
    deadline: float
    error_score: Any

    def __call__(self, trial: Trial) -> float | tuple[float, float]:
        """Run a trial that was just taken.

        Raises
        ------
        TrialError
            It has no result: it failed, it is one too many, or time is up.
        optuna.TrialPruned
            It is worse than the others.
        """
        self._claim(trial)
        try:
            return self._run(trial)
        except (optuna.TrialPruned, TrialError):
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, True)
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
            # Every candidate would fail alike: the folds do not follow time.
            if isinstance(error, FoldError) or self.error_score == "raise":
                raise
            raise TrialError(str(error)) from error

    def _claim(self, trial: Trial) -> None:
        self.workers.claim(trial)
        trials = trial.study.get_trials(deepcopy=False)
        refusal = Ledger(trials, self.n_trials).refusal(trial.number)
        if refusal is not None:
            trial.set_user_attr(DISCARDED, refusal)
            raise TrialError(refusal)

    def _run(self, trial: Trial) -> float | tuple[float, float]:
        values = self.space.suggest(trial)
        trial.set_user_attr(UNITS, _units(values))
        seen: dict[str, list[float]] = {SCORES: [], FIT_SECONDS: [], SCORE_SECONDS: []}
        if self.latency:
            seen[PREDICT_SECONDS] = []
        data = self.data
        for i, (train, test) in enumerate(data.folds):
            estimator = candidate(self.estimator, values)
            start = time.perf_counter()
            epochs = self._fit(trial, estimator, data.part(train), i)
            seen[FIT_SECONDS].append(time.perf_counter() - start)
            start = time.perf_counter()
            score = float(data.scorer(estimator, *data.part(test)))
            seen[SCORE_SECONDS].append(time.perf_counter() - start)
            if not math.isfinite(score):
                raise ValueError(f"the score of fold {i} is {score}")
            seen[SCORES].append(score)
            if self.latency:
                seen[PREDICT_SECONDS].append(_seconds_of_predict(estimator))
            last = i + 1 == len(data.folds)
            if not last:
                if not self.latency and self._is_behind(trial, seen[SCORES], epochs):
                    raise optuna.TrialPruned
                self._stop_if_late(trial)
        for name, numbers in seen.items():
            trial.set_user_attr(name, numbers)
        score = float(np.mean(seen[SCORES]))
        return (score, float(np.mean(seen[PREDICT_SECONDS]))) if self.latency else score

    def _fit(self, trial: Trial, estimator: Any, train: tuple[Any, ...], fold: int) -> int:
        """Fit, and stop where that is hopeless or too late; return how many epochs were seen."""
        parameters = estimator.get_params(deep=False)
        if "verbose" in parameters:
            estimator.set_params(verbose=0)
        if "trainer_kwargs" not in parameters:
            estimator.fit(*train)
            return 0
        if not isinstance(parameters["trainer_kwargs"], Mapping | None):
            estimator.fit(*train)  # which says what is wrong with it
        from titans_ts.training.watch import watching  # loads Lightning

        epochs, pruned, late, diverged = 0, False, False, False

        def seen(epoch: int, loss: float) -> bool:
            nonlocal epochs, pruned, late, diverged
            epochs += 1
            diverged = not math.isfinite(loss)
            if diverged:
                return True
            if not self.latency:  # Optuna prunes for one objective only
                # The study looks for the largest score.
                trial.report(-loss, fold * STEPS_PER_FOLD + epoch)
                pruned = trial.should_prune()
            late = self._is_late(trial)
            return pruned or late

        kwargs = watching(parameters["trainer_kwargs"], seen)
        estimator.set_params(trainer_kwargs=kwargs).fit(*train)
        if diverged:
            raise ValueError(f"training diverged: no finite validation loss in epoch {epochs - 1}")
        if pruned:
            raise optuna.TrialPruned
        if late:
            self._stop_if_late(trial)
        return epochs

    def _is_behind(self, trial: Trial, scores: list[float], epochs: int) -> bool:
        """Whether the pruner gives a trial up after the folds that were scored so far."""
        pruner = trial.study.pruner
        if not epochs:
            # Nothing to look at while it was fitted: scores take the place of losses.
            trial.report(float(np.mean(scores)), len(scores) * STEPS_PER_FOLD)
            return trial.should_prune()
        if not isinstance(pruner, FairPruner):
            return False  # It looks at what epochs report, which scores cannot stand beside.
        trial.set_user_attr(SCORES, scores)
        return pruner.prune_by_scores(trial.study, trial.number)

    def _is_late(self, trial: Trial) -> bool:
        """Whether time is up; a search without any result goes on until it has one."""
        if time.monotonic() < self.deadline:
            return False
        states = (TrialState.COMPLETE,)
        return bool(trial.study.get_trials(deepcopy=False, states=states))

    def _stop_if_late(self, trial: Trial) -> None:
        if self._is_late(trial):
            trial.set_user_attr(INTERRUPTED, True)
            raise TrialError("time is up")


def _units(values: dict[str, Any]) -> str:
    named = {n: repr(v) for n, v in values.items() if n.split("__")[0] in CHANGES_UNITS}
    return str(sorted(named.items()))


def _seconds_of_predict(forecaster: BaseForecaster) -> float:
    if forecaster.future_covariates:
        # Without a table of the future there is no forecast to time.
        raise ParameterError(
            "latency=True times predict(), which needs a table of the covariates known in advance. "
            "Leave latency out, or future_covariates."
        )
    forecaster.predict()
    times = []
    for _ in range(TIMED_FORECASTS):
        start = time.perf_counter()
        forecaster.predict()
        times.append(time.perf_counter() - start)
    return median(times)
