"""scikit-learn's own checks of an estimator, on tiny forecasters."""

from inspect import signature

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from titans_ts import (
    LinearForecaster,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)

FORECASTERS = [
    TitansForecaster(horizon=2, context_length=8, max_epochs=1, random_state=0),
    RidgeForecaster(horizon=2, context_length=8),
    LinearForecaster(horizon=2, context_length=8, max_epochs=1, random_state=0),
    SeasonalNaiveForecaster(horizon=2, context_length=8),
]

# They ask for one prediction per row, that does not depend on the other rows. A forecast has as
# many rows as the horizon, and is made from the rows before it in their order.
NOT_FOR_FORECASTERS = {
    "check_methods_subset_invariance": "a forecast depends on all rows of its context",
    "check_methods_sample_order_invariance": "a forecast depends on the order of rows in time",
}


def expected_failures(estimator):
    return NOT_FOR_FORECASTERS


# Before scikit-learn 1.8, pytest's own setting decides.
STRICT = {"xfail_strict": True}
if "xfail_strict" not in signature(parametrize_with_checks).parameters:
    STRICT = {}


@parametrize_with_checks(FORECASTERS, expected_failed_checks=expected_failures, **STRICT)
def test_forecasters_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_two_checks_at_most_are_not_for_forecasters():
    assert len(NOT_FOR_FORECASTERS) <= 2


@pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda f: type(f).__name__)
def test_the_tags_say_what_a_forecaster_takes(forecaster):
    tags = forecaster.__sklearn_tags__()
    assert not tags.target_tags.required
    assert tags.input_tags.allow_nan
