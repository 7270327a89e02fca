"""scikit-learn's own checks on every transformer."""

from inspect import signature

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from titans_ts.preprocessing import (
    BoxCoxTransform,
    CalendarFeatures,
    Difference,
    FillGaps,
    Impute,
    LogTransform,
    Resample,
    SeriesScaler,
    WindowTransformer,
)

# Rows whose order is not time: what scikit-learn means by samples.
ORDER = {
    "check_methods_sample_order_invariance": "a difference is one to the row before",
    "check_methods_subset_invariance": "a difference is one to the row before",
}
# A window is several rows, so that rows in and rows out are not the same samples.
WINDOWS = {
    "check_methods_sample_order_invariance": "a window holds neighbouring rows",
    "check_methods_subset_invariance": "a window holds neighbouring rows",
    "check_transformer_data_not_an_array": "there are fewer windows than rows",
    "check_transformer_general": "there are fewer windows than rows",
}

TRANSFORMERS = [
    SeriesScaler(),
    SeriesScaler(method="robust"),
    SeriesScaler(method="minmax"),
    LogTransform(),
    BoxCoxTransform(),
    Difference(),
    Impute(),
    Impute(method="seasonal", season_length=3),
    Impute(method="mean"),
    FillGaps(),
    Resample(),
    CalendarFeatures(),
    WindowTransformer(context_length=2),
]


def expected_to_fail(estimator):
    return {Difference: ORDER, WindowTransformer: WINDOWS}.get(type(estimator), {})


# Before scikit-learn 1.8, pytest's own setting decides.
STRICT = {"xfail_strict": True}
if "xfail_strict" not in signature(parametrize_with_checks).parameters:
    STRICT = {}


@parametrize_with_checks(TRANSFORMERS, expected_failed_checks=expected_to_fail, **STRICT)
def test_scikit_learn_finds_nothing_to_say(estimator, check):
    check(estimator)


def test_only_what_time_order_rules_out_is_excepted_where_rows_are_kept():
    keeping = [t for t in TRANSFORMERS if not isinstance(t, WindowTransformer)]
    excepted = {type(t).__name__: set(expected_to_fail(t)) for t in keeping if expected_to_fail(t)}
    assert excepted == {"Difference": set(ORDER)}


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_a_constructor_only_stores(transformer):
    odd = object()
    for name in transformer.get_params():
        assert type(transformer)(**{name: odd}).get_params()[name] is odd
