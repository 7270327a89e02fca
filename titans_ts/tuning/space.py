"""Spaces: which parameters are varied, and how a candidate becomes an estimator."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.exceptions import TrialPruned
from optuna.trial import BaseTrial, FixedTrial
from sklearn.base import BaseEstimator, clone

from titans_ts.config import BackboneConfig
from titans_ts.errors import ParameterError
from titans_ts.tuning.choices import Choice, contains, plain, read_choice

__all__ = [
    "Space",
    "candidate",
    "constructor_parameters",
    "fixed_values",
    "own_values",
    "read_space",
]

# Parameters that hold further ones: theirs are named with two underscores between.
MAPPINGS = ("backbone_options", "trainer_kwargs")

# Parameters that may differ from worker to worker, those of Lightning's Trainer among them.
ELSEWHERE = {
    *("accelerator", "devices", "precision", "random_state", "verbose"),
    *(
        f"trainer_kwargs__{name}"
        for name in (
            *("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins"),
            *("callbacks", "logger", "log_every_n_steps", "profiler", "default_root_dir"),
            *("enable_checkpointing", "enable_model_summary", "enable_progress_bar"),
            *("benchmark", "deterministic", "sync_batchnorm", "use_distributed_sampler"),
        )
    ),
}

Queued = tuple[dict[str, Any], dict[str, BaseDistribution]]


class Space(Protocol):
    """What can be asked of a space, however it was given."""

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Draw a candidate: values by the names of parameters."""

    def queued(self, values: Mapping[str, Any], *, strict: bool) -> Queued:
        """What Optuna keeps of known values, and their distributions.

        ``strict`` raises ParameterError for a value that the space does not hold; otherwise it is
        left to be drawn.
        """

    def names(self) -> set[str]:
        """Parameters that are varied, as far as one draw tells."""

    def words(self) -> str | None:
        """The space as text that is equal for equal spaces; None where that cannot be said."""


class NamedSpace:
    """Choices by the names of parameters."""

    def __init__(self, choices: dict[str, Choice]) -> None:
        self.choices = choices

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        return {
            name: choice.decode(_draw(trial, name, choice.distribution))
            for name, choice in self.choices.items()
        }

    def queued(self, values: Mapping[str, Any], *, strict: bool) -> Queued:
        kept: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self.choices:
                if strict:
                    raise ParameterError(
                        f"start_from names {name!r}, which is not searched. Expected some of "
                        f"{sorted(self.choices)}; set what stays the same on the estimator."
                    )
                continue
            try:
                kept[name] = self.choices[name].kept(value)
            except (KeyError, TypeError, ValueError, OverflowError):
                if strict:
                    raise ParameterError(
                        f"start_from has {name}={value!r}, which the search space does not hold: "
                        f"{self.choices[name].distribution}. Widen the space, or leave it out."
                    ) from None
        return kept, {name: self.choices[name].distribution for name in kept}

    def names(self) -> set[str]:
        return set(self.choices)

    def words(self) -> str | None:
        named = {n: distribution_to_json(c.distribution) for n, c in self.choices.items()}
        return json.dumps(named, sort_keys=True)


class DrawnSpace:
    """A function that draws from a trial of Optuna, so that one draw may depend on another."""

    def __init__(self, function: Callable[[Any], Mapping[str, Any]]) -> None:
        self.function = function

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        values = self.function(trial)
        if not isinstance(values, Mapping):
            raise ParameterError(
                "A function given as param_distributions must return a mapping of parameter names "
                f"to values, got {values!r}."
            )
        return dict(values)

    def queued(self, values: Mapping[str, Any], *, strict: bool) -> Queued:
        probe = _Probe(dict(values))
        try:
            returned = flat(self.suggest(probe))
        except TrialPruned:
            if strict:
                raise ParameterError(
                    f"start_from has {dict(values)!r}, which the function given as "
                    "param_distributions refuses. Leave it out."
                ) from None
            return {}, {}
        # A function may call its draws as a parameter, and make something else of them.
        known = {
            name: value
            for name, value in probe.known.items()
            if name not in returned or plain(returned[name]) == value
        }
        strange = sorted(set(values) - set(known))
        if strict and strange:
            raise ParameterError(
                f"start_from has {', '.join(f'{n}={values[n]!r}' for n in strange)}, which the "
                "function given as param_distributions does not draw, or not from such values."
            )
        return known, {name: probe.distributions[name] for name in known}

    def names(self) -> set[str]:
        try:
            return set(self.suggest(_Probe({})))
        except TrialPruned:  # it refuses the lowest values: what it varies is seen when it draws
            return set()

    def words(self) -> str | None:
        return None


class _Probe(FixedTrial):
    """Draws the values it was given where they are allowed, and notes which."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__({})
        self.values = values
        self.known: dict[str, Any] = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        self._distributions[name] = distribution
        value = plain(self.values.get(name))
        if name in self.values and contains(distribution, value):
            self.known[name] = value
        elif isinstance(distribution, CategoricalDistribution):
            value = distribution.choices[0]
        else:
            value = distribution.low  # type: ignore[attr-defined]
        return value


def read_space(given: Any, estimator: BaseEstimator) -> Space:
    """Read ``param_distributions``.

    Parameters
    ----------
    given : mapping of str to choices, or callable
        Choices as :func:`titans_ts.tuning.choices.read_choice` takes them; or a function of a
        trial that returns a mapping of values.
    estimator : BaseEstimator
        Whose parameters these are.

    Raises
    ------
    ParameterError
        There is no such parameter, or its choices cannot be read.
    """
    if isinstance(given, Mapping):
        if not given:
            raise ParameterError("param_distributions is empty: there is nothing to search.")
        for name in given:
            _check_name(name, estimator)
        return NamedSpace({name: read_choice(name, choices) for name, choices in given.items()})
    if callable(given):
        space = DrawnSpace(given)
        for name in space.names():
            _check_name(name, estimator)
        return space
    raise ParameterError(
        "param_distributions must be a mapping of parameter names to choices, or a function of a "
        "trial that returns a mapping; got "
        f"{type(given).__name__}."
    )


def _draw(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    bounds: Any = distribution
    if isinstance(bounds.low, int) and isinstance(bounds.high, int):
        return trial.suggest_int(name, bounds.low, bounds.high, step=bounds.step, log=bounds.log)
    return trial.suggest_float(name, bounds.low, bounds.high, step=bounds.step, log=bounds.log)


# -- names and values of parameters ---------------------------------------------------------------


def _check_name(name: Any, estimator: BaseEstimator) -> None:
    known = estimator.get_params(deep=True)
    owner, _, option = str(name).partition("__")
    if owner in MAPPINGS and owner in known and option:
        # Those of Lightning's Trainer are checked by fit.
        if owner == "trainer_kwargs" or option in {f.name for f in fields(BackboneConfig)}:
            return
        known = {f"{owner}__{f.name}": None for f in fields(BackboneConfig)}
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(
        f"param_distributions names {name!r}, which is no parameter of "
        f"{type(estimator).__name__}.{guess} Options of backbone_options are named with two "
        "underscores, such as backbone_options__dropout."
    )


def own_values(estimator: BaseEstimator, names: Any) -> dict[str, Any]:
    """What an estimator has for some parameters, or all; by the names that spaces use."""
    values = estimator.get_params(deep=True)
    if "backbone_options" in values:
        defaults = {f.name: f.default for f in fields(BackboneConfig)}
        given = values["backbone_options"]
        options = {**defaults, **(given if isinstance(given, Mapping) else {})}
        values |= {f"backbone_options__{name}": value for name, value in options.items()}
    values |= flat(values)
    return values if names is None else {n: values[n] for n in names if n in values}


def fixed_values(estimator: BaseEstimator, space: Space) -> dict[str, str]:
    """What all candidates have in common and accuracy depends on, as text."""
    varied, values = space.names(), own_values(estimator, None)
    for owner in MAPPINGS:  # which are named option by option
        values.pop(owner, None)

    def within(name: str, other: str) -> bool:
        return f"{name}__".startswith(f"{other}__")

    words = {
        name: repr(value)
        for name, value in values.items()
        if name not in ELSEWHERE
        and not any(within(name, other) or within(other, name) for other in varied)
    }
    return {name: said for name, said in sorted(words.items()) if " at 0x" not in said}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the contents of mappings such as ``backbone_options`` named one by one."""
    named = dict(values)
    for owner in MAPPINGS:
        if isinstance(named.get(owner), Mapping):
            named |= {f"{owner}__{n}": value for n, value in named.pop(owner).items()}
    return named


def constructor_parameters(estimator: BaseEstimator, values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a candidate into what the estimator's ``set_params`` takes.

    ``backbone_options__dropout`` becomes part of ``backbone_options``, beside what was drawn for
    that, or else what the estimator has there.
    """
    parameters: dict[str, Any] = {}
    for name, value in sorted(values.items(), key=lambda item: "__" in item[0]):
        owner, _, option = name.partition("__")
        if owner not in MAPPINGS or not option:
            parameters[name] = value
            continue
        options = parameters[owner] if owner in parameters else getattr(estimator, owner)
        parameters[owner] = {**(options or {}), option: value}
    return parameters


def candidate(estimator: BaseEstimator, values: Mapping[str, Any]) -> BaseEstimator:
    """An unfitted copy of an estimator, with the values of a candidate."""
    made: BaseEstimator = clone(estimator)
    # Cloned as well: a candidate may hold a transformer, which a fit must not change.
    parameters = constructor_parameters(estimator, values)
    made.set_params(**{name: clone(value, safe=False) for name, value in parameters.items()})
    return made
