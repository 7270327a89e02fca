"""What estimators with a backbone share: from their parameters to backbone, seed and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from titans_ts.config import BackboneConfig
from titans_ts.errors import ParameterError, TrainingInterrupted
from titans_ts.parameters import check_batch_size, check_int, check_number
from titans_ts.training.settings import TrainingSettings

__all__ = [
    "backbone_config",
    "check_seed_source",
    "check_training_parameters",
    "draw_seed",
    "rates_around",
    "stopped_early",
    "training_settings",
]

OWN = ("variant", "dim", "depth", "n_heads", "memory_depth", "chunk_size", "segment_length")
NONE: Mapping[str, Any] = MappingProxyType({})


def backbone_config(
    estimator: Any, *, depth: int | None = None, defaults: Mapping[str, Any] = NONE
) -> BackboneConfig:
    """The backbone that an estimator's parameters ask for.

    Parameters
    ----------
    estimator : object
        Has the backbone's main fields and ``backbone_options`` for all others.
    depth : int, optional
        Instead of the estimator's.
    defaults : mapping, optional
        Options that differ from the backbone's own unless they are given.

    Raises
    ------
    ParameterError
        One makes no sense, or ``backbone_options`` names what is no option.
    """
    options = estimator.backbone_options
    if not isinstance(options, Mapping | None):
        raise ParameterError(
            "backbone_options must be a mapping, such as {'momentum': False}, or None; got "
            f"{options!r}."
        )
    known = {f.name for f in fields(BackboneConfig)} - set(OWN)
    for name in options or {}:
        if name not in known:
            where = "is a parameter of its own" if name in OWN else "is unknown"
            raise ParameterError(
                f"backbone_options[{name!r}] {where}; expected some of {sorted(known)}."
            )
    named = {name: getattr(estimator, name) for name in OWN}
    if depth is not None:
        named["depth"] = depth
    return BackboneConfig(**named, **{**defaults, **(options or {})})


def check_training_parameters(estimator: Any) -> None:
    """Raise ParameterError where what every estimator is told of its training makes no sense."""
    for name in ("max_epochs", "patience"):
        check_int(name, getattr(estimator, name))
    check_batch_size(estimator.batch_size)
    check_int("verbose", estimator.verbose, minimum=0)
    check_number("learning_rate", estimator.learning_rate, minimum=0, maximum=10, exclusive=True)
    check_number("validation_fraction", estimator.validation_fraction, minimum=0, maximum=0.9)
    check_seed_source(estimator.random_state)


def training_settings(estimator: Any, **more: Any) -> TrainingSettings:
    """How an estimator's parameters ask it to be trained.

    Parameters
    ----------
    estimator : object
    **more
        Settings that are no parameters of every estimator, such as ``weight_decay``.
    """
    # Numbers of numpy, which a grid search sets, are none of Python's; Lightning asks for those.
    batch_size, devices = estimator.batch_size, getattr(estimator, "devices", 1)
    return TrainingSettings(
        max_epochs=int(estimator.max_epochs),
        batch_size=batch_size if batch_size == "auto" else int(batch_size),
        learning_rate=float(estimator.learning_rate),
        patience=int(estimator.patience),
        accelerator=estimator.accelerator,
        devices=int(devices) if isinstance(devices, np.integer) else devices,
        precision=estimator.precision,
        trainer_kwargs={} if estimator.trainer_kwargs is None else estimator.trainer_kwargs,
        verbose=estimator.verbose,
        **more,
    )


def rates_around(own: float) -> Any:
    """A quarter of a rate to four times as much, for a search among rates."""
    from scipy.stats import loguniform

    return loguniform(own / 4, min(4 * own, 10.0))


def check_seed_source(random_state: Any) -> None:
    """Raise ParameterError unless :func:`draw_seed` can draw from ``random_state``."""
    if isinstance(random_state, np.random.Generator):
        return
    try:
        check_random_state(random_state)
    except ValueError:
        raise ParameterError(
            "random_state must be None, a whole number of at least 0, or a numpy RandomState or "
            f"Generator; got {random_state!r}."
        ) from None


def draw_seed(random_state: Any) -> int:
    """A seed drawn from whatever scikit-learn's users call a random state."""
    check_seed_source(random_state)
    if random_state is None or isinstance(random_state, np.random.Generator):
        # Not numpy's global generator for None: what a fit draws must move nobody else's numbers.
        return int(np.random.default_rng(random_state).integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def fixed_seed(random_state: Any, seed: int) -> int | None:
    """The drawn seed where each fit draws the same, or None, where a record of a fit says which."""
    return seed if isinstance(random_state, Integral) else None


def stopped_early(estimator: Any, n_epochs: int | None = None) -> TrainingInterrupted:
    """What to raise where Ctrl+C ended a fit whose best weights were kept.

    ``n_epochs`` are those that there would have been, where they are not ``max_epochs``.
    """
    return TrainingInterrupted(
        f"Training was stopped after {len(estimator.history_)} of "
        f"{n_epochs or estimator.max_epochs} epochs; "
        f"the {type(estimator).__name__} is fitted with the best weights so far."
    )
