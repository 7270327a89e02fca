"""The loader: batches of tensors, whole and one channel at a time, as the rows say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import WindowIndex
from titans_ts.heads.base import WindowBatch
from titans_ts.training.data import WindowBatches, training_loader, validation_loader

CONTEXT, HORIZON = 11, 3


def panel(gaps=False, by_column=False):
    """Series of 41, 13 and 29 rows with three channels; ``gaps`` takes every fifth value or so."""
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, 41, 13, 29])
    values = rng.normal(size=(offsets[-1], 3))
    observed = np.broadcast_to(np.True_, values.shape)
    if gaps:
        observed = rng.random(values.shape) > 0.2
        values = np.where(observed, values, 0.0)
    series = SeriesSet.from_rows(values, observed, offsets, ("a", "b", "c"))
    return replace(series, store=series.store.by_column()) if by_column else series


def row(series, observed, number, at):
    """One row of a series, and its mask, where it has one; zeros elsewhere."""
    values = list(series)[number]
    if not 0 <= at < len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1], dtype=bool)
    return values[at], observed[number][at]


@pytest.mark.parametrize("by_column", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("first", [None, 2], ids=["full", "padded"])
@pytest.mark.parametrize("by_channel", [False, True], ids=["all channels", "one channel"])
def test_a_batch_holds_the_rows_before_and_after_each_origin(by_channel, first, gaps, by_column):
    series = panel(gaps, by_column)
    observed = np.split(series.observed, series.offsets[1:-1])
    origins = None if first is None else np.full(3, first)
    scale = np.arange(1.0, 10.0).reshape(3, 3)
    index = WindowIndex(series, CONTEXT, HORIZON, first_origin=origins)
    data = WindowBatches(index, scale, by_channel)
    assert len(data) == len(index) * (3 if by_channel else 1)
    numbers = np.random.default_rng(1).permutation(len(data))[:31]
    batch = data[numbers]
    assert batch.context.dtype == batch.target.dtype == torch.float64
    assert batch.observed.dtype == batch.target_observed.dtype == torch.bool
    got = torch.cat([batch.context, batch.target], 1).numpy()
    seen = torch.cat([batch.observed, batch.target_observed], 1).numpy()
    for k, number in enumerate(numbers):
        window, channel = divmod(number, 3) if by_channel else (number, slice(None))
        (s,), (origin,) = index.locate(np.array([window]))
        for step in range(CONTEXT + HORIZON):
            value, mask = row(series, observed, s, origin - CONTEXT + step)
            np.testing.assert_array_equal(got[k, step], np.atleast_1d(value[channel]))
            np.testing.assert_array_equal(seen[k, step], np.atleast_1d(mask[channel]))
        np.testing.assert_array_equal(batch.channel_scale[k], np.atleast_1d(scale[s, channel]))
        which = batch.channel[k if by_channel else 0].numpy()
        np.testing.assert_array_equal(which, np.atleast_1d(np.arange(3)[channel]))


def test_masks_of_a_complete_table_take_no_memory():
    batch = WindowBatches(WindowIndex(panel(), CONTEXT, HORIZON), np.ones((3, 3)), True)[
        np.arange(7)
    ]
    assert batch.observed.all()
    assert batch.observed.shape == batch.context.shape
    assert batch.observed.untyped_storage().nbytes() == 1
    assert batch.target_observed.untyped_storage().nbytes() == 1


def numbers_of(loader):
    """Which windows a loader asks its data set for, batch by batch."""
    return [batch.context[:, -1, 0].tolist() for batch in loader]


def counting(n=101):
    """Windows of which number ``i`` has the value ``i`` before its origin."""
    values = np.arange(n, dtype=float)[:, None] - (CONTEXT - 1)
    index = WindowIndex(SeriesSet.from_arrays([values], ("a",)), CONTEXT, HORIZON)
    return WindowBatches(index, np.ones((1, 1)), by_channel=True)


@pytest.mark.parametrize("batch_size", [1, 7, 40_000])
def test_an_epoch_draws_as_many_windows_as_it_is_told_to(batch_size):
    n_drawn = 3 * batch_size + min(batch_size - 1, 5)
    loader = training_loader(counting(), n_drawn=n_drawn, batch_size=batch_size, seed=0)
    drawn = numbers_of(loader)
    sizes = [len(numbers) for numbers in drawn]
    assert len(loader) == len(sizes)
    assert sum(sizes) == n_drawn
    assert set(sizes[:-1]) == {batch_size}
    assert {n for numbers in drawn for n in numbers} <= set(range(len(counting())))


def test_draws_repeat_with_the_seed_and_differ_from_epoch_to_epoch():
    one, same, other = (
        training_loader(counting(), n_drawn=53, batch_size=7, seed=seed) for seed in (3, 3, 4)
    )
    first, second = numbers_of(one), numbers_of(one)
    assert (first, second) == (numbers_of(same), numbers_of(same))
    assert first != second
    assert first != numbers_of(other)


def test_every_window_is_drawn_about_as_often():
    loader = training_loader(counting(), n_drawn=88_000, batch_size=97, seed=0)
    counts = np.bincount(np.concatenate(numbers_of(loader)).astype(int), minlength=88)
    assert len(counts) == 88
    assert abs(counts - 1000).max() < 150  # five standard deviations


@pytest.mark.parametrize("batch_size", [1, 7, 88, 1000])
def test_validation_judges_every_window_once_in_order(batch_size):
    loader = validation_loader(counting(), batch_size=batch_size)
    judged = numbers_of(loader)
    assert len(judged) == len(loader)
    assert [n for numbers in judged for n in numbers] == list(range(88))


@pytest.mark.parametrize("asked", [False, True])
def test_batches_are_pinned_only_where_that_was_asked_for(asked, monkeypatch):
    pinned = []
    monkeypatch.setattr(WindowBatch, "pin_memory", lambda self: pinned.append(self) or self)
    loader = training_loader(counting(), n_drawn=20, batch_size=7, seed=0, pin_memory=asked)
    assert len(list(loader)) == 3
    assert len(pinned) == 3 * asked


@pytest.mark.parametrize("by_channel", [True, False])
def test_views_that_overlap_are_pinned_as_copies(by_channel, monkeypatch):
    # What torch does, in memory that is not locked.
    pin = lambda x: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).copy_(x)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    index = WindowIndex(panel(gaps=False), CONTEXT, HORIZON)
    data = WindowBatches(index, np.ones((3, 3)), by_channel)
    batch = data[np.arange(17)]
    pinned = batch.pin_memory()
    for before, after in zip(batch, pinned, strict=True):
        if isinstance(before, torch.Tensor):
            assert torch.equal(before, after)
        else:
            assert before == after


@pytest.mark.gpu
def test_a_pinned_batch_arrives_on_the_gpu_as_it_was():
    data = WindowBatches(WindowIndex(panel(gaps=True), CONTEXT, HORIZON), np.ones((3, 3)), True)
    batch = data[np.arange(17)]
    pinned = batch.pin_memory()
    assert pinned.context.is_pinned()
    assert pinned.past is None
    there = pinned.to(torch.device("cuda"))
    for name in ("context", "observed", "target", "target_observed", "channel_scale", "channel"):
        assert getattr(there, name).is_cuda
        assert torch.equal(getattr(there, name).cpu(), getattr(batch, name))
