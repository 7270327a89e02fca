"""Contracts that every head keeps, as checks for those who write one.

Each check raises an AssertionError that says what is wrong. They are run one by one, all together
(:func:`check_estimator`, :func:`check_sequence`, :func:`check_plugin`), or as tests of their own by
subclassing :class:`EstimatorContract` and :class:`SequenceContract`.
"""

from titans_ts.testing.case import EstimatorCase
from titans_ts.testing.contracts import (
    ESTIMATOR_CHECKS,
    SEQUENCE_CHECKS,
    EstimatorContract,
    SequenceContract,
    check_estimator,
    check_sequence,
)
from titans_ts.testing.plugin import check_plugin
from titans_ts.testing.sequence import SequenceCase

__all__ = [
    "ESTIMATOR_CHECKS",
    "SEQUENCE_CHECKS",
    "EstimatorCase",
    "EstimatorContract",
    "SequenceCase",
    "SequenceContract",
    "check_estimator",
    "check_plugin",
    "check_sequence",
]
