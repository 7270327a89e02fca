"""How Optuna draws and prunes here: repeatable with many workers, and fair to different losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from titans_ts.tuning.trials import Ledger

__all__ = ["SCORES", "STEPS_PER_FOLD", "UNITS", "FairPruner", "NumberedSampler", "default_pruner"]

#: User attribute: what the validation losses of a trial are measured in.
UNITS = "units"
#: User attribute: the score of each fold so far.
SCORES = "scores"
#: A fold's epochs start at a multiple of this in Optuna's count of steps.
STEPS_PER_FOLD = 10_000


class NumberedSampler(BaseSampler):
    """Optuna's TPE, seeded anew for every trial by a seed and the trial's place in the study.

    Workers with one seed then draw different candidates, and where a search is interrupted and
    gone on with, the same seed draws for the same trial.

    Parameters
    ----------
    seed : int
    n_startup_trials : int
        Trials drawn at random before the sampler trusts what it has seen.
    """

    def __init__(self, seed: int, n_startup_trials: int) -> None:
        self.seed, self.n_startup_trials = seed, n_startup_trials
        self._sampler = self._seeded(0)

    def _seeded(self, place: int) -> TPESampler:
        seed = int(np.random.SeedSequence((self.seed, place)).generate_state(1)[0])
        return TPESampler(
            seed=seed,
            n_startup_trials=self.n_startup_trials,
            multivariate=True,
            # Trials that others are running count as poor, so that no two workers try one spot.
            constant_liar=True,
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # Not the number: retries have numbers too.
        place = Ledger(study.get_trials(deepcopy=False)).place(trial.number)
        self._sampler = self._seeded(place)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)


class FairPruner(BasePruner):
    """Let a pruner compare a trial only by numbers that have the same units.

    After an epoch these are validation losses, and a squared error says nothing beside an absolute
    one; after a fold they are scores, which all trials have alike.

    Parameters
    ----------
    pruner : BasePruner
        Which decides.
    """

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        units = trial.user_attrs.get(UNITS)
        seen = _StudyView(study, lambda ts: [t for t in ts if t.user_attrs.get(UNITS) == units])
        return self.pruner.prune(seen, trial)  # type: ignore[arg-type]

    def prune_by_scores(self, study: Study, number: int) -> bool:
        """Whether to stop a trial between folds, by the mean score of those it has."""
        (trial,) = (t for t in study.get_trials(deepcopy=False) if t.number == number)
        n_folds = len(trial.user_attrs[SCORES])
        seen = _StudyView(study, lambda ts: [_by_scores(t, n_folds) for t in ts])
        return self.pruner.prune(seen, _by_scores(trial, n_folds))  # type: ignore[arg-type]


def _by_scores(trial: FrozenTrial, n_folds: int) -> FrozenTrial:
    """A trial as if it had reported, after each of its first folds, the mean score so far."""
    scores = trial.user_attrs.get(SCORES, [])[:n_folds]
    shown = copy.copy(trial)
    shown.intermediate_values = {
        fold * STEPS_PER_FOLD: float(np.mean(scores[:fold])) for fold in range(1, len(scores) + 1)
    }
    return shown


class _StudyView:
    """A study as pruners see it: with some of its trials, or with others made of them."""

    def __init__(
        self, study: Study, shown: Callable[[list[FrozenTrial]], list[FrozenTrial]]
    ) -> None:
        self._study, self._shown = study, shown

    def get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        return self._shown(self._study.get_trials(*arguments, **options))

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def default_pruner() -> BasePruner:
    """Stop what is worse than half of the others, after two epochs to warm up, or after a fold."""
    return MedianPruner(n_startup_trials=4, n_warmup_steps=2)
