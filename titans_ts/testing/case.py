"""What the checks of an estimator are given, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from titans_ts.errors import TitansError

__all__ = ["EstimatorCase", "fail", "identical", "refusal"]


def _predict(estimator: Any, *arguments: Any) -> Any:
    return estimator.predict(arguments[0])


@dataclass
class EstimatorCase:
    """An estimator to check, and data for it.

    Parameters
    ----------
    make : callable
        Returns a new estimator that is not fitted, small enough to be fitted in a second or so. If
        it has a ``random_state``, a number.
    fit : tuple
        Arguments of ``fit``: ``(X,)`` or ``(X, y)``.
    use : callable, optional
        Asks a fitted estimator for all that it has to say: ``use(estimator, *fit)``. Arrays,
        tables, numbers, text, or containers of them, which are compared bit by bit. Default:
        ``estimator.predict(X)``.
    bad_input : mapping of str to tuple
        Arguments of ``fit`` that must be refused, by what is wrong with them.
    bad_parameters : mapping of str to object
        For parameters by name, a value that must be refused by ``fit``.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import RidgeForecaster
    >>> from titans_ts.testing import EstimatorCase, check_estimator
    >>> case = EstimatorCase(
    ...     make=lambda: RidgeForecaster(horizon=2, context_length=8),
    ...     fit=(np.sin(np.arange(60.0))[:, None],),
    ...     bad_input={"text": (np.array([["a"], ["b"]]),)},
    ...     bad_parameters={"horizon": 0},
    ... )
    >>> check_estimator(case)
    """

    make: Callable[[], Any]
    fit: tuple[Any, ...]
    use: Callable[..., Any] = _predict
    bad_input: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    bad_parameters: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fitted(self) -> Any:
        """One fitted estimator, for checks that leave it as it is."""
        return self.make().fit(*self.fit)

    @cached_property
    def said(self) -> Any:
        """What that one says."""
        return self.answer(self.fitted)

    def answer(self, estimator: Any) -> Any:
        return self.use(estimator, *self.fit)

    @cached_property
    def name(self) -> str:
        return type(self.make()).__name__


def fail(message: str) -> NoReturn:
    """Raise AssertionError."""
    raise AssertionError(message)


def identical(one: Any, other: Any) -> bool:
    """Whether two answers are of one kind, and the same to the last bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if hasattr(one, "equals"):  # tables, of pandas and of polars
        return bool(one.equals(other))
    if hasattr(one, "detach"):  # tensors
        return identical(one.detach().cpu().numpy(), other.detach().cpu().numpy())
    return bool(one == other) or (one != one and other != other)


def refusal(call: Callable[[], Any], what: str) -> str:
    """Run what must be refused, and return the sentence it is refused with."""
    try:
        call()
    except TitansError as error:
        sentence = str(error)
    except Exception as error:
        fail(
            f"{what} raises {type(error).__name__} ({error}), which is no TitansError: check the "
            "input where it comes in, and raise DataError or ParameterError with a sentence."
        )
    else:
        fail(f"{what} is accepted: raise DataError or ParameterError.")
    if len(sentence.split()) < 4 or not sentence.rstrip().endswith((".", "?", "!")):
        fail(
            f"{what} is refused with {sentence!r}, which is no sentence: say what was expected, "
            "what was given, where, and what to do."
        )
    return sentence
