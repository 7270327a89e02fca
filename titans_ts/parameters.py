"""Checks of parameter values, each with a sentence that says what was expected."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any

from titans_ts.errors import ParameterError

__all__ = [
    "check_batch_size",
    "check_choice",
    "check_int",
    "check_number",
    "check_quantiles",
    "plain_role",
]


def check_int(name: str, value: Any, *, minimum: int = 1, optional: bool = False) -> None:
    """Raise ParameterError unless ``value`` is a whole number of at least ``minimum``."""
    if optional and value is None:
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        none = ", or None" if optional else ""
        raise ParameterError(
            f"{name} must be a whole number of at least {minimum}{none}, got {value!r}."
        )


def check_batch_size(value: Any) -> None:
    """Raise ParameterError unless ``value`` is a whole number of at least 1, or "auto"."""
    if isinstance(value, str) and value == "auto":
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ParameterError(
            f"batch_size must be a whole number of at least 1, or 'auto', got {value!r}."
        )


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> None:
    """Raise ParameterError unless ``value`` is a finite number within the bounds."""
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if ok and exclusive:
        ok = minimum < value < maximum
    elif ok:
        ok = minimum <= value <= maximum
    if not ok:
        word = "strictly between" if exclusive else "between"
        raise ParameterError(
            f"{name} must be a number {word} {minimum} and {maximum}, got {value!r}."
        )


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ParameterError unless ``value`` is one of ``choices``."""
    if not any(value is choice or value == choice for choice in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ParameterError(f"{name} must be one of {listed}; got {value!r}.")


def check_quantiles(name: str, quantiles: Any) -> tuple[float, ...] | None:
    """Return quantiles as a tuple of increasing fractions, or None when there are none."""
    if quantiles is None:
        return None
    try:
        values = tuple(float(q) for q in quantiles)
    except (TypeError, ValueError):
        values = ()
    rising = all(a < b for a, b in itertools.pairwise(values))
    if not values or not rising or not all(0 < q < 1 for q in values):
        raise ParameterError(
            f"{name} must be increasing fractions strictly between 0 and 1, "
            f"such as (0.1, 0.5, 0.9); got {quantiles!r}."
        )
    return values


def plain_role(value: Any) -> Any:
    """A parameter that names columns, as it is compared: one and a list of it are the same."""
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, Iterable) else value
