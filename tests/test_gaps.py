"""Gaps filled for the highway: known values only, and none before its time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from titans_ts.heads.forecast.gaps import fill_gaps

NAN = float("nan")


def fill(rows):
    """Fill rows in which NaN is missing."""
    series = torch.tensor(rows, dtype=torch.float64)
    observed = ~series.isnan()
    return fill_gaps(torch.where(observed, series, 0.0), observed)


def at_origin(row, length):
    """What a plain loop fills the last ``length`` steps of a row with, at its end."""
    row = np.asarray(row, dtype=float)
    seen = np.flatnonzero(~np.isnan(row))
    filled, started = np.zeros(len(row)), np.zeros(len(row), dtype=bool)
    for step in range(len(row)):
        before, after = seen[seen <= step], seen[seen >= step]
        if not len(before):
            continue
        started[step] = True
        low = before[-1]
        high = after[0] if len(after) else low
        share = (step - low) / max(high - low, 1)
        filled[step] = row[low] + share * (row[high] - row[low])
    pad = max(length - len(row), 0)
    filled, started = np.pad(filled, (pad, 0)), np.pad(started, (pad, 0))
    return filled[len(filled) - length :], started[len(started) - length :]


rows = st.lists(st.one_of(st.just(NAN), st.integers(-9, 9).map(float)), min_size=12, max_size=12)


@given(row=rows, length=st.integers(1, 17), stride=st.integers(1, 4), n=st.integers(1, 3))
@settings(deadline=None, max_examples=80)
def test_every_origin_sees_the_gaps_as_they_were_known_then(row, length, stride, n):
    filled, started = fill([row]).up_to_origins(length, stride, n)
    assert filled.shape == started.shape == (1, n, length)
    for number in range(n):
        end = len(row) - (n - 1 - number) * stride
        expected, there = at_origin(row[:end], length)
        np.testing.assert_allclose(filled[0, number], expected, atol=1e-12)
        np.testing.assert_array_equal(started[0, number], there)


def test_a_gap_is_a_line_between_its_ends_and_a_level_while_it_lasts():
    filled, started = fill([[NAN, 2.0, NAN, NAN, 8.0, NAN]]).up_to_origins(4, 2, 2)
    # At step 4 the gap has not ended: two is all that is known of it.
    assert filled[0, 0].tolist() == [0.0, 2.0, 2.0, 2.0]
    assert started[0, 0].tolist() == [False, True, True, True]
    assert filled[0, 1].tolist() == pytest.approx([4.0, 6.0, 8.0, 8.0])


def test_a_series_without_gaps_is_itself():
    filled = fill([[1.0, 2.0, 3.0], [NAN, 5.0, 6.0]])
    assert filled.between is None
    assert filled.forward.tolist() == [[1.0, 2.0, 3.0], [0.0, 5.0, 6.0]]
    assert filled.started.tolist() == [[True] * 3, [False, True, True]]


def test_a_row_is_filled_alike_alone_and_beside_one_with_gaps():
    whole, gappy = [1.0, 2.0, 3.0, 4.0], [1.0, NAN, NAN, 4.0]
    alone = fill([whole]).up_to_origins(3, 1, 2)
    beside = fill([gappy, whole]).up_to_origins(3, 1, 2)
    for one, two in zip(alone, beside, strict=True):
        assert torch.equal(one[0], two[1])


def test_a_series_that_was_never_seen_is_zero_and_never_started():
    filled, started = fill([[NAN] * 5, [1.0, NAN, 3.0, 4.0, 5.0]]).up_to_origins(7, 2, 2)
    assert not started[0].any()
    assert (filled[0] == 0).all()


def test_gradients_reach_the_values_around_a_gap():
    series = torch.tensor([[2.0, 0.0, 8.0]], dtype=torch.float64, requires_grad=True)
    observed = torch.tensor([[True, False, True]])
    fill_gaps(series, observed).up_to_origins(3, 1, 1)[0].sum().backward()
    assert series.grad.tolist() == [[1.5, 0.0, 1.5]]
