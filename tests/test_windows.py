"""Windows as integers: which rows each covers, that each comes once, and that training is blind."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titans_ts.base import BaseForecaster
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import WindowIndex, cut_windows
from titans_ts.errors import DataError, ParameterError

CHANNELS = ("HUFL", "OT", "MULL")
# No file of examples beside the project, and the same examples in every run.
steady = settings(database=None, derandomize=True, deadline=None, max_examples=150)


def tagged(*lengths):
    """A set whose values say where they stand: 10,000 x series + row + a tenth per channel."""
    channel = np.arange(len(CHANNELS)) / 10
    arrays = [
        10_000 * (i + 1) + np.arange(n)[:, None] + channel[None] for i, n in enumerate(lengths)
    ]
    return SeriesSet.from_arrays(arrays, CHANNELS)


def rows_of(values):
    """Undo the tag: which series and row a value is from."""
    whole = np.floor(values).astype(int)
    return whole // 10_000 - 1, whole % 10_000


# -- sets of series ------------------------------------------------------------------------------


def test_a_set_keeps_series_of_unequal_length_apart():
    data = tagged(7, 3, 5)
    assert data.n_series == 3
    assert data.lengths.tolist() == [7, 3, 5]
    for i, values in enumerate(data):
        series, row = rows_of(values)
        assert (series == i).all()
        assert row[:, 0].tolist() == list(range(data.lengths[i]))


def test_a_fully_observed_set_has_a_mask_that_takes_no_memory():
    data = tagged(7, 3)
    assert data.observed.shape == data.values.shape
    assert data.observed.all()
    assert data.observed.strides == (0, 0)


def test_one_array_becomes_a_set_without_a_copy():
    array = np.ones((7, 3))
    assert np.shares_memory(SeriesSet.from_arrays([array], CHANNELS).values, array)


@pytest.mark.parametrize("lengths", [(11,), (11, 5, 7)])
def test_head_and_tail_count_from_each_series_own_ends(lengths):
    data = tagged(*lengths)
    ask = np.array([3, 5, 0])[: len(lengths)]
    for part, first in ((data.head(ask), 0 * ask), (data.tail(ask), data.lengths - ask)):
        assert part.lengths.tolist() == ask.tolist()
        assert part.channels == CHANNELS
        assert part.observed.shape == part.values.shape
        for i, values in enumerate(part):
            series, row = rows_of(values[:, 0])
            assert (series == i).all()
            assert row.tolist() == list(range(first[i], first[i] + ask[i]))


def test_head_and_tail_of_more_rows_than_there_are_give_all_rows():
    data = tagged(7, 3)
    for part in (data.head(np.array([11, 11])), data.tail(np.array([11, 11]))):
        np.testing.assert_array_equal(part.values, data.values)
        assert part.lengths.tolist() == [7, 3]


def test_rows_cut_each_series_from_start_to_stop():
    part = tagged(7, 3, 5).rows(np.array([2, 0, 4]), np.array([5, 1, 5]))
    assert [rows_of(values[:, 0])[1].tolist() for values in part] == [[2, 3, 4], [0], [4]]


def test_rows_of_a_single_series_are_a_view():
    data = tagged(7)
    assert np.shares_memory(data.head(np.array([5])).values, data.values)


def test_a_copy_shares_nothing():
    data = tagged(7)
    copy = data.copy()
    copy.values[:] = 0
    copy.observed[2, 1] = False
    assert data.values.all()
    assert data.observed.all()


# -- the index of windows ------------------------------------------------------------------------


def origins_by_loop(lengths, context_length, horizon, stride, first_origin):
    """Every (series, origin) whose target fits, found the slow and plain way."""
    found = []
    for i, length in enumerate(lengths):
        origin = context_length if first_origin is None else first_origin[i]
        while origin + horizon <= length:
            found.append((i, origin))
            origin += stride
    return found


@st.composite
def window_cases(draw):
    lengths = draw(st.lists(st.integers(0, 23), min_size=1, max_size=5))
    first = st.lists(st.integers(0, 30), min_size=len(lengths), max_size=len(lengths))
    return (
        lengths,
        draw(st.integers(1, 7)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.none() | first),
    )


@steady
@given(window_cases())
def test_numbers_stand_for_the_same_windows_as_a_plain_loop(case):
    lengths, context_length, horizon, stride, first = case
    data = tagged(*lengths)
    index = WindowIndex(
        data, context_length, horizon, None if first is None else np.array(first), stride
    )
    expected = origins_by_loop(lengths, context_length, horizon, stride, first)
    assert len(index) == len(expected)
    series, origins = index.locate(np.arange(len(index)))
    assert list(zip(series.tolist(), origins.tolist(), strict=True)) == expected


@steady
@given(window_cases(), st.randoms(use_true_random=False))
def test_cutting_gives_the_rows_before_and_after_the_origin(case, random):
    lengths, context_length, horizon, stride, first = case
    data = tagged(*lengths)
    index = WindowIndex(
        data, context_length, horizon, None if first is None else np.array(first), stride
    )
    numbers = list(range(len(index)))
    random.shuffle(numbers)  # a batch is cut in any order, and may repeat
    numbers = np.array(numbers + numbers[:2], dtype=int)
    cut = index.cut(numbers)
    assert cut.context.shape == (len(numbers), context_length, len(CHANNELS))
    assert cut.target.shape == (len(numbers), horizon, len(CHANNELS))
    assert cut.context_observed.shape == cut.context.shape
    # A target that is in the index lies within the data.
    assert cut.target_observed.all()
    for k, (i, origin) in enumerate(zip(*index.locate(numbers), strict=True)):
        values = list(data)[i]
        np.testing.assert_array_equal(cut.target[k], values[origin : origin + horizon])
        n_there = min(origin, context_length)
        np.testing.assert_array_equal(
            cut.context[k, context_length - n_there :], values[origin - n_there : origin]
        )
        n_padded = context_length - n_there
        assert not cut.context[k, :n_padded].any()
        assert not cut.context_observed[k, :n_padded].any()
        assert cut.context_observed[k, n_padded:].all()


@steady
@given(window_cases())
def test_with_stride_one_every_row_past_the_context_starts_one_window(case):
    lengths, context_length, horizon, _, _ = case
    series, origins = (index := WindowIndex(tagged(*lengths), context_length, horizon)).locate(
        np.arange(len(index))
    )
    pairs = list(zip(series.tolist(), origins.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    count = sum(max(n - context_length - horizon + 1, 0) for n in lengths)
    assert len(pairs) == count


def test_an_index_of_many_windows_is_as_small_as_one_of_few():
    data = SeriesSet.from_arrays([np.zeros((1_000_003, 1))], ("OT",))
    index = WindowIndex(data, 512, 96)
    assert len(index) == 1_000_003 - 512 - 96 + 1
    held = sum(v.nbytes for v in vars(index).values() if isinstance(v, np.ndarray))
    assert held < 1_000
    assert index.cut(np.array([len(index) - 1])).target.shape == (1, 96, 1)


def test_a_target_in_the_future_comes_back_as_not_observed():
    data = tagged(7, 5)
    cut = cut_windows(data, np.array([0, 1]), np.array([7, 4]), 3, 2)
    assert cut.target_observed.all(axis=-1).tolist() == [[False, False], [True, False]]
    assert cut.target[0].any() is np.False_
    # The row after a series' end is never the next series' first row.
    assert rows_of(cut.target[1, 0, 0]) == (1, 4)
    assert not cut.target[1, 1].any()
    assert rows_of(cut.context[0, :, 0])[1].tolist() == [4, 5, 6]


def test_missing_values_stay_missing_in_a_window():
    data = tagged(7)
    observed = np.ones(data.values.shape, dtype=bool)
    observed[2, 1] = False
    data = SeriesSet.from_rows(np.where(observed, data.values, 0), observed, data.offsets, CHANNELS)
    cut = WindowIndex(data, 3, 2).cut(np.array([0]))
    assert np.argwhere(~cut.context_observed).tolist() == [[0, 2, 1]]
    padded = cut_windows(data, np.array([0]), np.array([3]), 5, 2)
    assert np.argwhere(~padded.context_observed[0, 2:]).tolist() == [[2, 1]]
    assert padded.context[0, 4, 1] == 0


# -- training windows and validation rows --------------------------------------------------------


class Recorder(BaseForecaster):
    """Learns nothing; keeps the rows that its windows cover."""

    def __init__(
        self,
        *,
        horizon=5,
        context_length=7,
        validation_fraction=0.2,
        freq=None,
        time_column=None,
        id_column=None,
        target=None,
        target_transform=None,
    ):
        self.horizon = horizon
        self.context_length = context_length
        self.validation_fraction = validation_fraction
        self.freq = freq
        self.time_column = time_column
        self.id_column = id_column
        self.target = target
        self.target_transform = target_transform

    def _fit_windows(self, windows):
        self.train_ = windows.train.cut(np.arange(len(windows.train)))
        self.validation_ = windows.validation and windows.validation.cut(
            np.arange(len(windows.validation))
        )


def touched(cut):
    """Every (series, row) that windows read: contexts and targets."""
    pairs = set()
    for values, observed in (
        (cut.context, cut.context_observed),
        (cut.target, cut.target_observed),
    ):
        series, row = rows_of(values[observed])
        pairs |= set(zip(series.tolist(), row.tolist(), strict=True))
    return pairs


def target_rows(cut):
    series, row = rows_of(cut.target[cut.target_observed])
    return set(zip(series.tolist(), row.tolist(), strict=True))


def table(n_rows, n_series=1):
    data = np.stack(list(tagged(*[n_rows] * n_series)))
    return data if n_series > 1 else data[0]


@pytest.mark.parametrize("n_series", [1, 3])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.37, 0.5])
@pytest.mark.parametrize("context_length", [1, 7, 500])
def test_no_training_window_touches_a_validation_row(context_length, fraction, n_series):
    n = 101
    forecaster = Recorder(context_length=context_length, validation_fraction=fraction)
    forecaster.fit(table(n, n_series))
    first = n - int(n * fraction)  # of the validation rows
    every_series = range(n_series)
    assert max(row for _, row in touched(forecaster.train_)) == first - 1
    # Training ends right before, and validation targets are all rows from there on.
    assert target_rows(forecaster.validation_) == {
        (i, row) for i in every_series for row in range(first, n)
    }


@pytest.mark.parametrize("n_series", [1, 3])
def test_a_number_of_rows_sets_exactly_these_aside(n_series):
    forecaster = Recorder().fit(table(41, n_series), validation=11)
    assert max(row for _, row in touched(forecaster.train_)) == 29
    assert min(row for _, row in target_rows(forecaster.validation_)) == 30


def test_a_table_of_validation_rows_is_judged_with_training_rows_as_context():
    data = table(41)
    forecaster = Recorder().fit(data[:30], validation=data[30:])
    assert max(row for _, row in touched(forecaster.train_)) == 29
    assert target_rows(forecaster.validation_) == {(0, row) for row in range(30, 41)}
    assert min(row for _, row in touched(forecaster.validation_)) == 30 - 7


def test_a_tail_shorter_than_the_horizon_stays_with_training():
    forecaster = Recorder(validation_fraction=0.1).fit(table(41))
    assert forecaster.validation_ is None
    assert max(row for _, row in touched(forecaster.train_)) == 40


@pytest.mark.parametrize("rows", [1, 4, 41])
def test_a_number_of_rows_that_leaves_nothing_to_learn_or_judge_is_refused(rows):
    with pytest.raises(ParameterError, match=f"validation={rows} rows cannot be set aside"):
        Recorder().fit(table(41), validation=rows)


def test_a_validation_frame_must_follow_the_training_frame():
    index = pd.date_range("2016-07-01", periods=41, freq="15min")
    frame = pd.DataFrame(table(41), index=index, columns=CHANNELS)
    Recorder().fit(frame[:30], validation=frame[30:])
    with pytest.raises(DataError, match=r"validation must start at 2016-07-01 07:30:00, one step"):
        Recorder().fit(frame[:30], validation=frame[29:])
    with pytest.raises(DataError, match=r"its first row is 2016-07-01 07:45:00"):
        Recorder().fit(frame[:30], validation=frame[31:])
