"""Choice: one parameter to vary, however it was given, in the terms that Optuna keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from titans_ts.errors import ParameterError

__all__ = ["Choice", "contains", "plain", "read_choice"]

# What a storage can keep; anything else is kept by its repr.
PLAIN = (bool, int, float, str, type(None))

# Tails that a distribution of scipy without bounds is cut at.
TAIL = 1e-4


@dataclass(frozen=True)
class Choice:
    """A distribution of Optuna, and the way from its values to the parameter's and back.

    Parameters
    ----------
    distribution : BaseDistribution
    decode : callable
        From what Optuna keeps to a value of the parameter.
    encode : callable
        The other way; whatever it returns or raises for a value outside, :func:`contains` is False.
    """

    distribution: BaseDistribution
    decode: Callable[[Any], Any] = lambda kept: kept
    encode: Callable[[Any], Any] = lambda value: value

    def kept(self, value: Any) -> Any:
        """What Optuna keeps of a value.

        Raises
        ------
        ValueError
            The value is none of those to choose from.
        """
        kept = self.encode(plain(value))
        if not contains(self.distribution, kept):
            raise ValueError(f"{value!r} is not in {self.distribution}")
        return kept


def plain(value: Any) -> Any:
    """A number of numpy as one of Python, which a storage can keep; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Tell whether Optuna would take a value for one of a distribution's."""
    numeric = isinstance(distribution, IntDistribution | FloatDistribution)
    if numeric and (isinstance(value, bool | str) or value is None):
        return False
    try:
        if isinstance(distribution, IntDistribution) and value != int(value):
            return False
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    # Such as a transformer in the place of a number.
    except (TypeError, ValueError, OverflowError):
        return False


def read_choice(name: str, given: Any) -> Choice:
    """Read what a parameter may be, in Optuna's or scikit-learn's terms.

    Parameters
    ----------
    name : str
        For messages.
    given : optuna distribution, list, tuple, array, or frozen distribution of scipy.stats

    Raises
    ------
    ParameterError
        It is none of these, or empty.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from titans_ts.tuning.choices import read_choice
    >>> read_choice("learning_rate", loguniform(1e-4, 1e-2)).distribution
    FloatDistribution(high=0.01, log=True, low=0.0001, step=None)
    """
    if isinstance(given, BaseDistribution):
        return Choice(given)
    if isinstance(given, list | tuple | range | np.ndarray):
        return _from_values(name, given)
    if hasattr(given, "rvs") and hasattr(given, "ppf"):
        return _from_scipy(name, given)
    raise ParameterError(
        f"The choices of {name!r} must be a list of values, a distribution of scipy.stats such as "
        "loguniform(1e-4, 1e-2), or one of Optuna such as FloatDistribution(1e-4, 1e-2, log=True); "
        f"got {given!r}."
    )


def _from_values(name: str, given: Any) -> Choice:
    values = [plain(value) for value in given]
    if not values:
        raise ParameterError(f"The choices of {name!r} are an empty list. Give at least one value.")
    if all(isinstance(value, PLAIN) for value in values):
        return Choice(CategoricalDistribution(values))
    labels = [repr(value) for value in values]
    bare = next((label for label in labels if " at 0x" in label), None)
    if bare is not None or len(set(labels)) < len(labels):
        raise ParameterError(
            f"The choices of {name!r} are kept by what repr() says of them, which must differ and "
            f"hold no address; got {bare or labels}. Give numbers, text, or objects with a repr of "
            "their parameters, as scikit-learn's have."
        )
    by_label = dict(zip(labels, values, strict=True))
    return Choice(CategoricalDistribution(labels), by_label.__getitem__, repr)


def _from_scipy(name: str, given: Any) -> Choice:
    kind = getattr(getattr(given, "dist", None), "name", "")
    low, high = (bound.item() for bound in map(np.asarray, given.support()))
    if hasattr(getattr(given, "dist", None), "pmf"):
        if kind != "randint":
            raise ParameterError(
                f"The choices of {name!r} are scipy's {kind!r}; of the distributions over whole "
                "numbers only randint is known. Give randint, or a list of values."
            )
        return Choice(IntDistribution(int(low), int(high)))
    if kind == "uniform":
        return Choice(FloatDistribution(low, high))
    # Shifted by a loc, it is no longer even in logarithms.
    if kind in ("loguniform", "reciprocal") and math.isclose(given.median(), math.sqrt(low * high)):
        return Choice(FloatDistribution(low, high, log=True))
    # Drawn by its quantile: Optuna then learns where in the distribution the good values lie.
    return Choice(
        FloatDistribution(TAIL, 1 - TAIL),
        lambda kept: float(given.ppf(kept)),
        lambda value: float(given.cdf(value)),
    )
