"""RollingOriginSplit: every fold trains on the past and tests on what came next."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import check_cv

from titans_ts import DataError, ParameterError, RollingOriginSplit

steady = settings(database=None, derandomize=True, deadline=None, max_examples=150)


def long_frame(lengths=(17, 23), first=(6, 0), shuffle=True):
    """Series of unequal length that end together or not, rows in any order."""
    index = pd.date_range("2024-01-01", periods=101, freq="h")
    parts = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": index[a : a + n], "y": np.arange(n) + 0.5})
        for i, (n, a) in enumerate(zip(lengths, first, strict=True))
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame.sample(frac=1, random_state=0) if shuffle else frame


@steady
@given(
    data=st.data(),
    n_splits=st.integers(1, 5),
    horizon=st.integers(1, 7),
    gap=st.integers(0, 5),
    stride=st.none() | st.integers(1, 11),
    context=st.none() | st.integers(0, 13),
    sliding=st.booleans(),
)
def test_no_training_row_is_at_or_after_the_first_tested_row(
    data, n_splits, horizon, gap, stride, context, sliding
):
    extra = data.draw(st.integers(1, 30))
    before = gap + 1 if context is None else context
    rows = max(before, gap + extra) + horizon + (n_splits - 1) * (stride or horizon)
    splitter = RollingOriginSplit(
        n_splits,
        horizon=horizon,
        gap=gap,
        stride=stride,
        context_length=context,
        window="sliding" if sliding else "expanding",
        train_length=extra if sliding else None,
    )
    folds = list(splitter.split(np.zeros((rows, 2))))
    assert len(folds) == splitter.get_n_splits() == n_splits
    for number, (train, test) in enumerate(folds):
        tested = test[-horizon:]
        assert tested[-1] == rows - 1 - (n_splits - 1 - number) * (stride or horizon)
        assert train[-1] == tested[0] - gap - 1
        assert len(test) == horizon + before
        for part in (train, test):
            np.testing.assert_array_equal(np.diff(part), 1)
        assert len(train) == (extra if sliding else tested[0] - gap)


def test_test_folds_carry_their_context():
    splitter = RollingOriginSplit(2, horizon=3, context_length=5, gap=2)
    folds = [[part.tolist() for part in fold] for fold in splitter.split(np.zeros(13))]
    assert folds == [
        [[*range(5)], [*range(2, 10)]],
        [[*range(8)], [*range(5, 13)]],
    ]


def test_without_context_a_test_fold_is_linked_by_the_last_training_row_and_the_gap():
    ((train, test),) = RollingOriginSplit(1, horizon=3, gap=2).split(np.zeros((11, 1)))
    assert train.tolist() == [*range(6)]
    assert test.tolist() == [*range(5, 11)]


def test_a_sliding_window_trains_on_equally_many_rows():
    splitter = RollingOriginSplit(3, horizon=2, window="sliding")
    assert [train.tolist() for train, _ in splitter.split(np.zeros((11, 1)))] == [
        [0, 1, 2, 3, 4],
        [2, 3, 4, 5, 6],
        [4, 5, 6, 7, 8],
    ]


@pytest.mark.parametrize("container", ["pandas", "index", "polars"])
def test_a_long_table_is_cut_at_the_same_times_for_every_series(container):
    frame = long_frame()
    X = {
        "pandas": frame,
        "index": frame.set_index(["unique_id", "ds"]),
        "polars": pl.from_pandas(frame),
    }[container]
    times = pd.date_range("2024-01-01", periods=23, freq="h")
    folds = list(RollingOriginSplit(2, horizon=3, context_length=5, gap=1).split(X))
    for (train, test), start in zip(folds, (17, 20), strict=True):
        assert set(frame.ds.iloc[train]) == set(times[: start - 1])
        assert set(frame.ds.iloc[test]) == set(times[start - 5 : start + 3])
        # Every row of these times, whichever series it is of.
        assert len(train) == (frame.ds < times[start - 1]).sum()
        assert set(frame.unique_id.iloc[test]) == {"s0", "s1"}


def test_ids_and_times_of_other_names_are_named():
    frame = long_frame().rename(columns={"unique_id": "shop", "ds": "day"})
    named = RollingOriginSplit(2, horizon=3, id_column="shop", time_column="day")
    expected = RollingOriginSplit(2, horizon=3).split(long_frame())
    for fold, same in zip(named.split(frame), expected, strict=True):
        for part, other in zip(fold, same, strict=True):
            np.testing.assert_array_equal(part, other)


def test_wide_tables_and_series_are_cut_by_row():
    index = pd.date_range("2024-01-01", periods=11, freq="D")
    wide = pd.DataFrame({"a": np.arange(11.0), "b": 1.0}, index=index)
    splitter = RollingOriginSplit(2, horizon=3)
    expected = [[p.tolist() for p in fold] for fold in splitter.split(np.zeros((11, 2)))]
    for X in (wide, wide["a"], pl.from_pandas(wide.reset_index()), wide.to_numpy().tolist()):
        assert [[p.tolist() for p in fold] for fold in splitter.split(X)] == expected


def test_too_few_rows_are_refused_with_the_numbers():
    splitter = RollingOriginSplit(3, horizon=5, context_length=7, gap=2)
    with pytest.raises(
        DataError,
        match=r"Too few rows for 3 folds: X has 21, and 22 are needed: 7 before .* 15 to test",
    ):
        next(splitter.split(np.zeros((21, 1))))
    assert len(list(splitter.split(np.zeros((22, 1))))) == 3


def test_three_axes_are_refused_since_scikit_learn_cuts_the_first():
    with pytest.raises(DataError, match=r"\(3, 50, 2\).*across series, not by time.*long table"):
        next(RollingOriginSplit(2, horizon=5).split(np.zeros((3, 50, 2))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number of at least 1, got 0"),
        ({"n_splits": 0}, "n_splits must be"),
        ({"gap": -1}, "gap must be a whole number of at least 0"),
        ({"stride": 0}, "stride must be"),
        ({"context_length": 2.5}, "context_length must be"),
        ({"window": "rolling"}, "window must be one of 'expanding', 'sliding'"),
        ({"train_length": 7}, "train_length=7 needs window='sliding'"),
    ],
)
def test_parameters_without_sense_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        RollingOriginSplit(**{"horizon": 3, **options})


def test_it_is_a_splitter_of_scikit_learn():
    splitter = RollingOriginSplit(3, horizon=5, gap=2)
    assert check_cv(splitter) is splitter
    assert "RollingOriginSplit(" in repr(splitter)
    assert "gap=2" in repr(splitter)
    assert repr(clone(splitter, safe=False)) == repr(splitter)
