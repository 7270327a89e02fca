"""Ledger: what the trials of a study amount to, whoever ran them.

Workers share nothing but the list of trials, so every rule here is a function of that list: which
trials count, which are to be run again, and which are one too many. Optuna numbers trials in the
order in which they were created, and all workers see them in this order.

A *line* is a trial together with its retries. A study's budget is a number of lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

__all__ = [
    "DISCARDED",
    "ERROR",
    "INTERRUPTED",
    "START",
    "WORKER",
    "Ledger",
    "TrialError",
    "put_back",
    "queue",
]

# User attributes of a trial.
WORKER = "worker"  # who runs it
ERROR = "error"  # why it failed: a result like any other
DISCARDED = "discarded"  # it was never run, being one too many
INTERRUPTED = "interrupted"  # it was stopped for no fault of its own
START = "start"  # it was asked for: a key of its parameters
RETRIES = "retry_of"  # numbers of the trials of its line before it

#: Times that a trial's worker may die before the trial is held to be the reason.
MOST_DEATHS = 3


class TrialError(Exception):
    """A trial failed; the search goes on."""


class Ledger:
    """The trials of a study, and what is still to be done.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        All trials of a study, in order.
    n_trials : int or None
        The budget: lines, over all workers and sessions.
    """

    def __init__(self, trials: Sequence[FrozenTrial], n_trials: int | None = None) -> None:
        self.n_trials = n_trials
        self._by_number = {trial.number: trial for trial in trials}
        self._followed = {_before(trial) for trial in trials if DISCARDED not in trial.user_attrs}
        self.lines: dict[str, list[FrozenTrial]] = {}
        for trial in trials:
            if DISCARDED not in trial.user_attrs:
                self.lines.setdefault(_line(trial), []).append(trial)

    @property
    def n_done(self) -> int:
        """How many lines have a result, failures included."""
        return sum(self._result(line) is not None for line in self.lines.values())

    @property
    def n_waiting(self) -> int:
        """How many trials wait to be run."""
        return sum(t.state == TrialState.WAITING for t in self._by_number.values())

    @property
    def has_room(self) -> bool:
        """Whether the budget allows another line."""
        return self.n_trials is None or len(self.lines) < self.n_trials

    @property
    def is_over(self) -> bool:
        """Whether all lines of the budget have a result."""
        if self.has_room:
            return False
        budget = list(self.lines.values())[: self.n_trials]
        return all(self._result(line) is not None for line in budget)

    def results(self) -> list[FrozenTrial]:
        """The trial of each line that counts, for those that have a result, in order."""
        found = (self._result(line) for line in self.lines.values())
        return sorted((t for t in found if t is not None), key=lambda trial: trial.number)

    def place(self, number: int) -> int:
        """Which line a trial is of, counted from 0."""
        return list(self.lines).index(_line(self._by_number[number]))

    def orphans(self) -> list[FrozenTrial]:
        """Trials whose worker died or was stopped, to be put back in the queue."""
        return [
            trial
            for line in self.lines.values()
            for trial in line
            if self._is_orphan(trial)
            and trial.number not in self._followed
            and self.refusal(trial.number) is None
        ]

    def refusal(self, number: int) -> str | None:
        """Why a trial that was just taken is not to be run; None: it is.

        The lowest numbers stay. What is refused never depends on what comes later, so workers
        that look at different moments agree.
        """
        trial = self._by_number[number]
        line = self.lines[_line(trial)]
        if self.n_trials is not None and self.place(number) >= self.n_trials:
            return "surplus"
        twins = [t for t in line if _before(t) == _before(trial) and t.number < number]
        done = self._result(line)
        if twins or (done is not None and done.number != number):
            return "duplicate"
        return None

    def _result(self, line: Iterable[FrozenTrial]) -> FrozenTrial | None:
        for trial in line:
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                return trial
            if trial.state == TrialState.FAIL and (
                ERROR in trial.user_attrs or self.n_deaths(trial) >= MOST_DEATHS
            ):
                return trial
        return None

    def n_deaths(self, trial: FrozenTrial) -> int:
        """How many workers died of a failed trial and those of its line before it."""
        numbers = [*trial.user_attrs.get(RETRIES, []), trial.number]
        tried = [self._by_number[n] for n in numbers if n in self._by_number]
        return sum(INTERRUPTED not in t.user_attrs for t in tried)

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        # A failure of ours has a reason; one without is what a dead worker leaves.
        return trial.state == TrialState.FAIL and self._result([trial]) is None


def queue(
    study: Study,
    parameters: dict[str, object],
    distributions: dict[str, BaseDistribution],
    attributes: dict[str, object],
) -> None:
    """Add a trial that waits to be run; parameters that it lacks are drawn then."""
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=parameters,
            distributions=distributions,
            user_attrs=attributes,
        )
    )


def put_back(study: Study, orphan: FrozenTrial) -> None:
    """Queue an orphan again.

    Several workers may do so at once, or one may die in between: of twins, the first is run.
    """
    attributes: dict[str, object] = {RETRIES: [*orphan.user_attrs.get(RETRIES, []), orphan.number]}
    if START in orphan.user_attrs:
        attributes[START] = orphan.user_attrs[START]
    queue(study, orphan.params, orphan.distributions, attributes)


def _before(trial: FrozenTrial) -> int | None:
    """The trial that this one tries again."""
    history = trial.user_attrs.get(RETRIES, [])
    return history[-1] if history else None


def _line(trial: FrozenTrial) -> str:
    start = trial.user_attrs.get(START)
    if start is not None:
        return f"start {start}"
    history = trial.user_attrs.get(RETRIES, [])
    return f"trial {history[0] if history else trial.number}"
