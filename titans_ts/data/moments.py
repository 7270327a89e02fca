"""Level and spread of the rows of a set, in one pass that holds few rows at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from titans_ts.data.series import SeriesSet

__all__ = ["Moments", "channel_scale", "moments", "pooled_moments", "table_moments"]


class Moments(NamedTuple):
    """Of every channel of every series, over its observed rows; shape (n_series, channels)."""

    n_observed: np.ndarray
    mean: np.ndarray  # 0 where nothing was observed
    variance: np.ndarray  # of the population
    largest: np.ndarray  # greatest absolute value


def moments(series: SeriesSet) -> Moments:
    """Count, mean, variance and size of every channel of every series."""
    shape = (series.n_series, len(series.channels))
    count, first, second, largest = np.zeros((4, *shape))
    # Sums are measured from one value of each series, lest squares of a large level swallow a
    # small signal.
    origin = np.full(shape, np.nan)
    for block in series.blocks():
        if not len(block.values):
            continue
        # reduceat knows no empty stretch: it would take the row there, and end the one before it.
        there = np.diff(block.offsets) > 0
        starts = block.offsets[:-1][there]
        seen = block.observed

        def add(
            x: np.ndarray,
            starts: np.ndarray = starts,
            there: np.ndarray = there,
            function: np.ufunc = np.add,
        ) -> np.ndarray:
            each = np.zeros((len(there), x.shape[1]))
            each[there] = function.reduceat(x, starts, axis=0)
            return each

        number = add(seen.astype(np.float64))
        new = np.isnan(origin[block.series]) & (number > 0)
        if new.any():
            middle = add(block.values) / np.maximum(number, 1)
            origin[block.series] = np.where(new, middle, origin[block.series])
        at = np.nan_to_num(origin[block.series])
        shifted = np.where(seen, block.values - np.repeat(at, np.diff(block.offsets), axis=0), 0.0)
        count[block.series] += number
        first[block.series] += add(shifted)
        second[block.series] += add(shifted**2)
        size = add(np.abs(block.values), function=np.maximum)
        largest[block.series] = np.maximum(largest[block.series], size)
    n = np.maximum(count, 1)
    mean = first / n
    return Moments(
        count, np.nan_to_num(origin) + mean, np.maximum(second / n - mean**2, 0.0), largest
    )


def channel_scale(each: Moments) -> np.ndarray:
    """What errors are measured in: the standard deviation of each channel of each series.

    A series that is constant, or has too few rows to tell, gets that of all series; and 1 where
    those are constant too.

    Parameters
    ----------
    each : Moments
        Of the training rows.

    Returns
    -------
    ndarray of shape (n_series, channels)
    """
    spread = np.sqrt(each.variance)
    pooled = np.sqrt(
        (each.variance * each.n_observed).sum(0) / np.maximum(each.n_observed.sum(0), 1)
    )
    size = each.largest.max(axis=0, initial=0.0)
    # Below a ten-billionth of the values' size, a deviation is rounding error.
    pooled = np.where(pooled > 1e-10 * size, pooled, np.where(size > 0, size, 1.0))
    tells = (each.n_observed > 2) & (spread > 1e-10 * np.maximum(each.largest, 1e-300))
    # A series that hardly moves, measured by its own size, must not outweigh all others; one that
    # is small as a whole counts like them.
    least = 1e-3 * np.minimum(pooled, each.largest)
    return np.where(tells, np.maximum(spread, least), pooled)


def pooled_moments(each: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the rows of all series; 1 where constant."""
    total = np.maximum(each.n_observed.sum(0), 1)
    mean = (each.mean * each.n_observed).sum(0) / total
    between = (each.mean - mean) ** 2
    spread = np.sqrt(((each.variance + between) * each.n_observed).sum(0) / total)
    size = each.largest.max(axis=0, initial=0.0)
    return mean, np.where(spread > 1e-10 * size, spread, 1.0)


def table_moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for the columns of an array in which NaN is missing."""
    seen = ~np.isnan(table)
    columns = SeriesSet.from_rows(
        np.where(seen, table, 0.0),
        seen,
        np.array([0, len(table)]),
        tuple(str(i) for i in range(table.shape[1])),
    )
    return pooled_moments(moments(columns))
