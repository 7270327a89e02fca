"""Starts: parameters that are tried before any are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from sklearn.base import BaseEstimator

from titans_ts.errors import ParameterError
from titans_ts.tuning.space import NamedSpace, Queued, Space, flat, own_values
from titans_ts.tuning.trials import START, queue

__all__ = ["own_place", "queue_starts"]


def queue_starts(
    study: Study,
    space: Space,
    estimator: BaseEstimator,
    try_defaults: bool,
    known: Sequence[Mapping[str, Any]],
) -> None:
    """Queue the estimator's own parameters, and others that are known to be good.

    What the study has already is left out. Where several workers do this at once, the trials have
    the same key, and the first is run.
    """
    starts: list[Queued] = []
    if try_defaults:
        starts.append(space.queued(_own(space, estimator), strict=False))
    for i, values in enumerate(known):
        if not isinstance(values, Mapping):
            raise ParameterError(
                f"start_from must be a list of mappings such as {{'learning_rate': 1e-3}}; got "
                f"{values!r} at {i}."
            )
        starts.append(space.queued(_fitting(space, values, estimator), strict=True))
    have = {trial.user_attrs.get(START) for trial in study.get_trials(deepcopy=False)}
    for kept, distributions in starts:
        key = _key(kept)
        if kept and key not in have:
            have.add(key)
            queue(study, kept, distributions, {START: key})


def own_place(trials: Sequence[FrozenTrial], space: Space, estimator: BaseEstimator) -> int | None:
    """Which of some trials is that of the estimator's own parameters.

    None where it is not among them, or where the space lacks one of the values, which was drawn.
    """
    kept, _ = space.queued(_own(space, estimator), strict=False)
    key = _key(kept)
    for i, trial in enumerate(trials):
        if trial.user_attrs.get(START) == key and set(trial.params) == set(kept):
            return i
    return None


def _key(kept: dict[str, Any]) -> str:
    return json.dumps(kept, sort_keys=True, default=repr)


def _own(space: Space, estimator: BaseEstimator) -> dict[str, Any]:
    values = own_values(estimator, None)
    if isinstance(space, NamedSpace) and "context_length" in space.choices:
        longest = space.choices["context_length"].distribution
        if isinstance(longest, IntDistribution):
            # A longer context than the rows allow is the longest that they do.
            values["context_length"] = min(values["context_length"], longest.high)
    return values


def _fitting(space: Space, values: Mapping[str, Any], estimator: BaseEstimator) -> dict[str, Any]:
    """Values by the names that a space uses: a mapping as a whole, or its contents.

    Of a mapping that ``best_params_`` has as a whole, such as ``backbone_options``, that is what
    the space varies, and what the estimator does not say by itself.
    """
    if isinstance(space, NamedSpace) and all(name in space.choices for name in values):
        return dict(values)
    named, own, varied = flat(values), own_values(estimator, None), space.names()
    return {
        name: value
        for name, value in named.items()
        if name in values or name in varied or name not in own or repr(own[name]) != repr(value)
    }
