"""open_study: make a study, or join it if it is of the same search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study

from titans_ts.errors import ParameterError

__all__ = ["open_study"]

# User attribute of a study: what its trials have in common.
ABOUT = "titans_ts"


def open_study(
    storage: BaseStorage | None,
    name: str,
    *,
    sampler: BaseSampler,
    pruner: BasePruner,
    directions: Sequence[Literal["maximize", "minimize"]],
    about: dict[str, Any],
) -> Study:
    """Make or join a study.

    Parameters
    ----------
    storage : BaseStorage or None
    name : str
    sampler : BaseSampler
    pruner : BasePruner
    directions : sequence of {"maximize", "minimize"}
    about : dict
        What must be equal for scores to be comparable; plain JSON.

    Raises
    ------
    ParameterError
        The storage has a study of this name that compares something else.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        pruner=pruner,
        directions=directions,
        load_if_exists=True,
    )
    theirs = study.user_attrs.get(ABOUT)
    if theirs is None and study.get_trials(deepcopy=False):
        raise ParameterError(
            f"The study {name!r} in this storage was not made by titans-ts, so its scores may be "
            "of anything. Choose another study_name."
        )
    found = [direction.name.lower() for direction in study.directions]
    pairs: list[tuple[str, Any, Any]] = [("directions", list(directions), found)]
    for key, here in about.items():
        there = here if theirs is None else theirs.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            # What one of them varies, the other may not hold fixed.
            pairs += [
                (name, here.get(name, "searched"), there.get(name, "searched"))
                for name in sorted(here.keys() | there.keys())
            ]
        else:
            pairs.append((key, here, there))
    for what, here, there in pairs:
        if here != there and what == "data":
            raise ParameterError(
                f"The study {name!r} in this storage is of other data, or of other folds of them, "
                "so scores there cannot be compared with scores here. Search the same, or choose "
                "another study_name."
            )
        if here != there:
            raise ParameterError(
                f"The study {name!r} in this storage is of another search: its {what} is {there}, "
                f"and here it is {here}. Search the same, or choose another study_name."
            )
    if theirs is None:
        study.set_user_attr(ABOUT, about)
    return study
