"""All checks of an estimator, and of a module over tokens: in one call, or as tests."""

from __future__ import annotations

from collections.abc import Callable

from titans_ts.testing.case import EstimatorCase
from titans_ts.testing.estimator import (
    check_bad_input,
    check_bad_parameters,
    check_copies,
    check_data_untouched,
    check_fit,
    check_parameters,
    check_refit,
    check_repeatable,
    check_silent,
    check_unfitted,
)
from titans_ts.testing.saving import check_damaged_folders, check_save_and_load
from titans_ts.testing.sequence import (
    SequenceCase,
    check_batch_rows,
    check_causal,
    check_gradients,
    check_masked,
    check_pieces,
    check_state_size,
    check_state_untouched,
)

__all__ = [
    "ESTIMATOR_CHECKS",
    "SEQUENCE_CHECKS",
    "EstimatorContract",
    "SequenceContract",
    "check_estimator",
    "check_sequence",
]

#: Everything that an estimator of a head must do.
ESTIMATOR_CHECKS: tuple[Callable[[EstimatorCase], None], ...] = (
    check_parameters,
    check_fit,
    check_unfitted,
    check_data_untouched,
    check_repeatable,
    check_refit,
    check_silent,
    check_copies,
    check_bad_input,
    check_bad_parameters,
    check_save_and_load,
    check_damaged_folders,
)

#: Everything that a module over tokens must do.
SEQUENCE_CHECKS: tuple[Callable[[SequenceCase], None], ...] = (
    check_causal,
    check_masked,
    check_pieces,
    check_batch_rows,
    check_state_untouched,
    check_state_size,
    check_gradients,
)


def check_estimator(case: EstimatorCase) -> None:
    """Raise AssertionError, with a sentence, unless an estimator keeps the contract.

    Parameters
    ----------
    case : EstimatorCase
    """
    for check in ESTIMATOR_CHECKS:
        check(case)


def check_sequence(case: SequenceCase) -> None:
    """Raise AssertionError, with a sentence, unless a module over tokens keeps the contract.

    Parameters
    ----------
    case : SequenceCase
    """
    for check in SEQUENCE_CHECKS:
        check(case)


class _Contract:
    @classmethod
    def _case(cls) -> object:
        # Once for each class: the checks share what is fitted.
        if "_made" not in cls.__dict__:
            cls._made = cls.make_case()  # type: ignore[attr-defined]
        return cls._made  # type: ignore[attr-defined]


class EstimatorContract(_Contract):
    """The checks of an estimator as tests: subclass it under a name that begins with ``Test``.

    Examples
    --------
    >>> from titans_ts.testing import EstimatorCase, EstimatorContract
    >>> class TestMyEstimator(EstimatorContract):
    ...     @classmethod
    ...     def make_case(cls):
    ...         return EstimatorCase(make=..., fit=...)
    """

    @classmethod
    def make_case(cls) -> EstimatorCase:
        """Return what is checked."""
        raise NotImplementedError


class SequenceContract(_Contract):
    """The checks of a module over tokens as tests: subclass it, as :class:`EstimatorContract`."""

    @classmethod
    def make_case(cls) -> SequenceCase:
        """Return what is checked."""
        raise NotImplementedError


def _as_test(check: Callable[..., None]) -> Callable[[_Contract], None]:
    def test(self: _Contract) -> None:
        check(self._case())

    test.__name__ = check.__name__.replace("check_", "test_")
    test.__doc__ = check.__doc__
    return test


for _contract, _checks in (
    (EstimatorContract, ESTIMATOR_CHECKS),
    (SequenceContract, SEQUENCE_CHECKS),
):
    for _check in _checks:
        setattr(_contract, _check.__name__.replace("check_", "test_"), _as_test(_check))
