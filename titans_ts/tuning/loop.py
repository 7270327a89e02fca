"""work: what a worker does until the study's budget, or its own time, is used up."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from titans_ts.tuning.evaluation import Evaluation
from titans_ts.tuning.trials import DISCARDED, ERROR, Ledger, TrialError, put_back

__all__ = ["quiet_optuna", "work"]

# Seconds between two looks at the others, when there is nothing left but to wait for them.
LOOK_EVERY = 0.25


def work(study: Study, evaluation: Evaluation, progress: Callable[[Study, Ledger], None]) -> Ledger:
    """Run trials until all of the budget are done, by whomever, or this worker's time is up.

    A worker that finds nothing to run waits for the others: one of them may die, and its trial
    is then run here.

    Parameters
    ----------
    study : Study
    evaluation : Evaluation
    progress : callable
        Called as ``progress(study, ledger)`` now and then.

    Returns
    -------
    Ledger
    """
    while True:
        evaluation.workers.look(study)
        ledger = _ledger(study, evaluation)
        orphans = ledger.orphans()
        for orphan in orphans:
            put_back(study, orphan)
        if orphans:
            ledger = _ledger(study, evaluation)
        progress(study, ledger)
        if ledger.is_over:
            return ledger
        something = ledger.has_room or ledger.n_waiting > 0
        # One trial at least, however short the time: a search without any has no answer.
        if time.monotonic() >= evaluation.deadline and (ledger.n_done or not something):
            return ledger
        if something:
            _run_one(study, evaluation)
        else:
            time.sleep(LOOK_EVERY)


def _ledger(study: Study, evaluation: Evaluation) -> Ledger:
    return Ledger(study.get_trials(deepcopy=False), evaluation.n_trials)


def _run_one(study: Study, evaluation: Evaluation) -> None:
    numbers = []

    def objective(trial: Trial) -> float | tuple[float, float]:
        numbers.append(trial.number)
        return evaluation(trial)

    try:
        study.optimize(objective, n_trials=1, catch=(TrialError,))
    except (RuntimeError, ValueError):
        # A worker that was silent for too long finds that its trial was given to another.
        if not numbers or not _was_taken(study.get_trials(deepcopy=False)[numbers[0]]):
            raise


def _was_taken(trial: FrozenTrial) -> bool:
    """Whether a trial failed, and not by what its worker said of it."""
    ours = DISCARDED in trial.user_attrs or ERROR in trial.user_attrs
    return trial.state == TrialState.FAIL and not ours


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's reports and notes to itself; failures are told at the end."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
