"""How Optuna draws and prunes here: repeatable with many workers, and fair to different losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from titans_ts.tuning.trials import Ledger

__all__ = ["UNITS", "FairPruner", "NumberedSampler", "default_pruner"]

#: User attribute: what the validation losses of a trial are measured in.
UNITS = "units"


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
    """Let a pruner compare a trial only with those whose validation loss has the same units.

    A squared error says nothing beside an absolute one.

    Parameters
    ----------
    pruner : BasePruner
        Which decides.
    """

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        units = trial.user_attrs.get(UNITS)
        return self.pruner.prune(_SameUnits(study, units), trial)  # type: ignore[arg-type]


class _SameUnits:
    """A study as pruners see it, with some of its trials."""

    def __init__(self, study: Study, units: Any) -> None:
        self._study, self._units = study, units

    def get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        trials = self._study.get_trials(*arguments, **options)
        return [trial for trial in trials if trial.user_attrs.get(UNITS) == self._units]

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def default_pruner() -> BasePruner:
    """Stop what is worse than half of the others, after two epochs to warm up."""
    return MedianPruner(n_startup_trials=4, n_warmup_steps=2)
