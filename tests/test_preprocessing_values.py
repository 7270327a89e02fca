"""What each transformer that keeps rows does to values."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.special import boxcox
from scipy.stats import boxcox_normmax

from titans_ts import SeasonalNaiveForecaster
from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing import (
    BoxCoxTransform,
    Difference,
    Impute,
    LogTransform,
    SeriesScaler,
)

NAN = np.nan


def panel(**series):
    parts = [
        pd.DataFrame({"unique_id": name, "ds": np.arange(len(values)), "y": values})
        for name, values in series.items()
    ]
    return pd.concat(parts, ignore_index=True)


def column(*values):
    return np.array(values, dtype=float)[:, None]


# -- SeriesScaler ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        pytest.param("standard", [-1.0, 1.0, -1.0, 1.0], id="mean 2, deviation 1"),
        pytest.param("robust", [-1.0, 1.0, -1.0, 1.0], id="median 2, quartiles 1.5 and 2.5"),
        pytest.param("minmax", [0.0, 1.0, 0.0, 1.0], id="from 1 to 3"),
    ],
)
def test_each_series_gets_a_scale_of_its_own(method, expected):
    X = panel(a=[1.0, 3.0], b=[-700.0, 300.0])
    found = SeriesScaler(method=method).fit_transform(X)
    assert found["y"].tolist() == pytest.approx(expected)


def test_each_column_of_a_wide_table_gets_a_scale_of_its_own():
    found = SeriesScaler(method="minmax").fit_transform(np.array([[1.0, 50.0], [3.0, 30.0]]))
    assert found.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_a_series_that_was_not_there_is_scaled_as_all_rows_together():
    scaler = SeriesScaler(method="minmax").fit(panel(a=[0.0, 4.0], b=[6.0, 10.0]))
    assert scaler.transform(panel(a=[2.0], z=[5.0]))["y"].tolist() == [0.5, 0.5]
    assert scaler.inverse_transform(panel(a=[0.5], z=[0.5]))["y"].tolist() == [2.0, 5.0]
    three = SeriesScaler(method="minmax").fit(np.array([[[0.0], [4.0]], [[6.0], [10.0]]]))
    assert three.transform(np.full((3, 1, 1), 5.0)).ravel().tolist() == [1.25, -0.25, 0.5]


def test_a_constant_series_is_only_shifted():
    for level in (0.0, 3.5, -1e12, 5e-324):
        for method in ("standard", "robust", "minmax"):
            scaler = SeriesScaler(method=method).fit(column(level, level, NAN, level))
            assert scaler.scale_.tolist() == [[1.0]]
            assert scaler.transform(column(level)).tolist() == [[0.0]]
            assert scaler.inverse_transform(column(0.0)).tolist() == [[level]]


def test_a_series_without_any_value_is_scaled_as_the_others():
    scaler = SeriesScaler(method="minmax").fit(panel(a=[0.0, 4.0], b=[NAN, NAN]))
    assert scaler.transform(panel(b=[1.0]))["y"].tolist() == [0.25]
    nothing = SeriesScaler().fit(column(NAN, NAN))
    assert (nothing.center_.tolist(), nothing.scale_.tolist()) == ([[0.0]], [[1.0]])


def test_a_mostly_constant_series_keeps_a_robust_scale():
    values = [0.0] * 9 + [10.0]
    scaler = SeriesScaler(method="robust").fit(column(*values))
    assert scaler.scale_[0, 0] == pytest.approx(np.std(values))


def test_huge_and_tiny_values_keep_a_scale():
    for size in (1e200, 1e-200):
        scaler = SeriesScaler().fit(column(size, 3 * size))
        assert scaler.scale_[0, 0] == pytest.approx(size)


# -- LogTransform and BoxCoxTransform --------------------------------------------------------------


def test_the_offset_is_learnt_where_values_reach_zero():
    transform = LogTransform().fit(np.array([[1.0, 0.0, -5.0], [2.0, 4.0, 7.0]]))
    assert transform.offset_.tolist() == [0.0, 1.0, 11.0]
    found = transform.transform(np.array([[1.0, 0.0, -5.0]]))
    np.testing.assert_allclose(found, np.log([[1.0, 1.0, 6.0]]))


def test_small_values_keep_their_digits_beside_an_offset():
    X = column(1e-12, 0.0, 5.0)
    transform = LogTransform(offset=1).fit(X)
    np.testing.assert_allclose(transform.inverse_transform(transform.transform(X)), X, rtol=1e-12)


@pytest.mark.parametrize("transform", [LogTransform(offset=0), BoxCoxTransform(offset=0)])
def test_values_without_a_logarithm_are_named(transform):
    good = panel(a=[1.0, 2.0], b=[3.0, 4.0])
    bad = panel(a=[1.0, 2.0], b=[3.0, 0.0])
    message = (
        r"Column 'y' has 1 value that \w+ cannot take, the first 0.0 in row 3 \(series 'b', 1\)"
    )
    with pytest.raises(DataError, match=message):
        transform.fit(bad)
    with pytest.raises(DataError, match=r"Expected values above 0\. Give an offset="):
        transform.fit(good).transform(bad)


@pytest.mark.parametrize("lmbda", [0.0, 0.5, 1.0, -1.0, 2.0])
def test_a_given_power_is_that_of_box_and_cox(lmbda):
    X = np.random.default_rng(0).uniform(0.5, 5.0, size=(31, 2))
    transform = BoxCoxTransform(lmbda=lmbda).fit(X)
    np.testing.assert_allclose(transform.scale_, np.exp(np.log(X).mean(axis=0)))
    np.testing.assert_allclose(transform.transform(X), boxcox(X / transform.scale_, lmbda))


def test_the_power_is_estimated_by_maximum_likelihood():
    X = np.random.default_rng(0).gamma(3.0, size=(499, 1)) + 0.1
    found = BoxCoxTransform().fit(X).lmbdas_[0]
    assert found == pytest.approx(boxcox_normmax(X[:, 0], method="mle"), abs=1e-3)


def test_a_constant_channel_keeps_its_values_but_for_the_unit():
    X = np.array([[7.0, 1.0], [7.0, 2.0], [7.0, 4.0]])
    transform = BoxCoxTransform().fit(X)
    assert transform.lmbdas_[0] == 1.0
    np.testing.assert_allclose(transform.inverse_transform(transform.transform(X)), X, rtol=1e-12)


@pytest.mark.parametrize("lmbda", [0.5, -0.5, 0.0, 2.0])
def test_values_beyond_what_a_power_can_have_are_taken_to_the_edge(lmbda):
    transform = BoxCoxTransform(lmbda=lmbda, offset=1).fit(column(1.0, 2.0, 5.0))
    back = transform.inverse_transform(column(-1e9, 1e9))
    assert np.isfinite(back).all()
    assert back[0, 0] >= -1.0
    assert back[1, 0] > 5.0
    for offset in (None, 0.5, 2.0):
        logarithm = LogTransform(offset=offset).fit(column(1.0))
        assert np.isfinite(logarithm.inverse_transform(column(-1e9, 1e9))).all()
    for scale in range(1, 29):  # of which some were rounded up, to infinity
        flat = BoxCoxTransform(lmbda=0.0).fit(column(scale))
        assert np.isfinite(flat.inverse_transform(column(1e9))).all()


# -- Difference ------------------------------------------------------------------------------------


def test_a_second_difference_is_the_difference_of_differences():
    X = column(1.0, 4.0, 9.0, 16.0, 25.0)
    assert Difference(order=2).fit_transform(X)[2:, 0].tolist() == [2.0, 2.0, 2.0]


def test_a_season_is_held_against_the_last_observed_one():
    X = column(1.0, 10.0, NAN, 11.0, 5.0, NAN, 6.0)
    found = Difference(lag=2).fit_transform(X)
    np.testing.assert_array_equal(found[:, 0], [1.0, 10.0, NAN, 1.0, 4.0, NAN, 1.0])


def test_each_series_starts_anew():
    found = Difference().fit_transform(panel(a=[1.0, 2.0], b=[10.0, 30.0]))
    assert found["y"].tolist() == [1.0, 1.0, 10.0, 20.0]


def test_roundings_do_not_add_up_along_a_series():
    X = 1e6 + np.random.default_rng(0).normal(size=(20_011, 1)).cumsum(axis=0)
    difference = Difference(order=2)
    back = difference.fit(X).inverse_transform(difference.transform(X))
    assert np.abs(back - X).max() <= 4 * np.spacing(X.max())


@pytest.mark.parametrize("transformer", [Difference(), Impute()])
def test_rows_that_are_missing_or_repeated_are_refused(transformer):
    hours = pd.date_range("2024-01-01", periods=7, freq="h")
    X = pd.DataFrame({"y": np.arange(7.0)}, index=hours)
    with pytest.raises(DataError, match=r"1 gap .1 missing row.*FillGaps\(\) inserts missing rows"):
        transformer.fit(X.drop(hours[3]))
    again = pd.concat([X, X.iloc[[4]]])
    with pytest.raises(DataError, match=r"1 duplicate, the first 2024-01-01 04:00.*Resample\(\)"):
        transformer.fit(again)
    long = panel(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0, 4.0]).drop(5)
    with pytest.raises(DataError, match=r"series 'b' have a gap after 1, where 3 follows"):
        transformer.fit(long)


def test_months_and_local_days_are_regular():
    months = pd.date_range("2024-01-31", periods=7, freq="ME")
    days = pd.date_range("2024-03-29", periods=7, freq="D", tz="Europe/Berlin")
    for index in (months, days):
        Difference().fit(pd.Series(np.arange(7.0), index=index))


# -- Impute ----------------------------------------------------------------------------------------

GAPS = column(NAN, 1.0, NAN, NAN, 4.0, 6.0, NAN, NAN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1.0, 1.0, 2.0, 3.0, 4.0, 6.0, 6.0, 6.0]),
        ({"limit": 1}, [1.0, 1.0, 2.0, NAN, 4.0, 6.0, 6.0, NAN]),
        ({"method": "forward"}, [NAN, 1.0, 1.0, 1.0, 4.0, 6.0, 6.0, 6.0]),
        ({"method": "forward", "limit": 1}, [NAN, 1.0, 1.0, NAN, 4.0, 6.0, 6.0, NAN]),
        (
            {"method": "seasonal", "season_length": 3},
            [NAN, 1.0, 6.0, NAN, 4.0, 6.0, NAN, 4.0],
        ),
        ({"method": "mean"}, [11 / 3, 1.0, 11 / 3, 11 / 3, 4.0, 6.0, 11 / 3, 11 / 3]),
    ],
    ids=str,
)
def test_gaps_are_filled_by_each_method(options, expected):
    np.testing.assert_allclose(Impute(**options).fit_transform(GAPS)[:, 0], expected)


def test_the_mean_is_that_of_training_rows():
    impute = Impute(method="mean").fit(panel(a=[1.0, 3.0], b=[10.0, 30.0]))
    found = impute.transform(panel(a=[NAN, 9.0], b=[NAN], z=[NAN]))
    assert found["y"].tolist() == [2.0, 9.0, 20.0, 11.0]


def test_a_series_without_any_value_stays_without():
    for method in ("linear", "forward"):
        assert np.isnan(Impute(method=method).fit_transform(column(NAN, NAN))).all()


# -- wrong values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (SeriesScaler(method="z"), "method must be one of 'standard', 'robust', 'minmax'; got 'z'"),
        (LogTransform(offset="one"), "offset must be a number"),
        (BoxCoxTransform(lmbda=7), "lmbda must be a number between -5 and 5, got 7"),
        (Difference(lag=0), "lag must be a whole number of at least 1, got 0"),
        (Difference(order=1.5), "order must be a whole number"),
        (Impute(method="spline"), "method must be one of 'linear', 'forward'"),
        (Impute(method="seasonal"), "method='seasonal' needs season_length="),
        (Impute(limit=0), "limit must be a whole number of at least 1, or None, got 0"),
    ],
)
def test_a_wrong_parameter_gets_a_sentence(transformer, message):
    with pytest.raises(ParameterError, match=message):
        transformer.fit(column(1.0, 2.0, 3.0))


def test_what_forecasters_refuse_is_refused_by_transformers_in_the_same_words():
    table = {"unique_id": [1.0, 1.0, 2.0, 2.0], "y": [1.0, 2.0, 3.0, 4.0]}
    records = np.zeros(3, dtype=[("a", float)])
    flags = np.ma.masked_array([[True], [False]] * 3)
    words = np.ma.masked_array(np.array([["a"], [2.0]], dtype=object))
    frames = [pd.DataFrame(table), pd.DataFrame(table)]
    for odd, message in (
        (pa.table(table), "X is a Table of pyarrow"),
        (records, "X is an array of records with the fields 'a'"),
        (flags, "got True and False"),
        (words, "got text in 1 row, the first 'a'"),
        (frames, "X is a list of frames or Series, expected one table"),
    ):
        for estimator in (SeriesScaler(), SeasonalNaiveForecaster(horizon=1)):
            with pytest.raises(DataError, match=message):
                estimator.fit(odd)


def test_ids_of_fit_are_gone_through_once_however_many_batches_ask():
    class Counted(tuple):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    scaler = SeriesScaler()
    for names in ("ab", "bc"):
        scaler.ids_ = ids = Counted(names)
        assert [scaler.numbers(["b", "d"]).tolist() for _ in range(3)] == [
            [names.index("b"), -1]
        ] * 3
        assert ids.passes == 1
