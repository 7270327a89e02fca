"""Second moments of every window of a set, without holding the windows.

Neighbouring windows share all rows but one, so the sum of outer products of all windows follows
from its first row: with ``G[i, j] = sum_t x[t + i] x[t + j]`` over the windows t = 0 .. n - 1,

    G[i + 1, j + 1] = G[i, j] + x[n + i] x[n + j] - x[i] x[j]

That costs O(rows x width + width^2) per channel instead of O(rows x width^2), and is exact.
Windows with missing values or padding have no such structure and are added up in batches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from titans_ts.baselines.common import batches, centre, fill_edges
from titans_ts.data.windows import WindowIndex

__all__ = ["Moments", "window_moments"]


class Moments(NamedTuple):
    """Sums over windows and channels; contexts and targets less the context's mean, over scale."""

    gram: np.ndarray  # (context_length, context_length): context times context
    cross: np.ndarray  # (context_length, horizon): context times target
    energy: float  # squared targets, summed over steps too
    n_windows: int  # windows times channels


def window_moments(windows: WindowIndex, mean: np.ndarray, scale: np.ndarray) -> Moments:
    """Add up the second moments of all windows, every channel in units of its own scale.

    A channel of a window counts where at least half of its target was observed; gaps are filled
    as :func:`titans_ts.baselines.common.fill_edges` does, those of a target too: a sum of products
    has no mask, and where a fifth of all values is missing, no target is whole.

    Parameters
    ----------
    windows : WindowIndex
    mean : ndarray of shape (channels,)
        What stands in for a channel of which a context holds no value at all.
    scale : ndarray of shape (channels,)

    Returns
    -------
    Moments
        In float64.
    """
    context, horizon = windows.context_length, windows.horizon
    series = windows.series
    width, n_channels = context + horizon, len(series.channels)
    first = windows.first_origin
    if first is None:
        first = np.full(series.n_series, context)
    counts = np.maximum((series.lengths - horizon - first) // windows.stride + 1, 0)
    ends = np.cumsum(counts)

    raw, n_whole, others = np.zeros((width, width)), 0, []
    for i in np.flatnonzero(counts):
        start = int(series.starts[i] + max(first[i] - context, 0))
        block, seen = series.store.read(start, int(series.starts[i] + series.lengths[i]))
        if windows.stride == 1 and first[i] >= context and seen.all():
            # Each window loses its own mean later; a series' large level would cost digits first.
            raw += _sliding_gram((block - block.mean(axis=0)) / scale, width)
            n_whole += int(counts[i]) * n_channels
        else:
            others.append(np.arange(ends[i] - counts[i], ends[i]))
    moments = _centred(raw, context, n_whole)
    if not others:
        return moments
    gram, cross, energy, count = moments
    for numbers in batches(windows, np.concatenate(others)):
        cut = windows.cut(numbers)
        past, level = centre(fill_edges(cut.context, cut.context_observed, mean) / scale)
        target = fill_edges(cut.target, cut.target_observed, mean)
        future = target.transpose(0, 2, 1) / scale[:, None] - level
        use = cut.target_observed.mean(axis=1) >= 0.5
        past, future = past[use], future[use]
        gram, cross = gram + past.T @ past, cross + past.T @ future
        energy, count = energy + float((future**2).sum()), count + len(past)
    return Moments(gram, cross, energy, count)


def _sliding_gram(x: np.ndarray, width: int) -> np.ndarray:
    """Sum of outer products of all windows of ``width`` rows of x, shape (rows, channels)."""
    n = len(x) - width + 1
    first = np.zeros(width)
    for channel in x.T:
        channel = np.ascontiguousarray(channel)
        first += np.correlate(channel, channel[:n], mode="valid")
    entering, leaving = x[n:], x[: width - 1]
    change = entering @ entering.T - leaving @ leaving.T
    gram = np.empty((width, width))
    gram[0] = first
    gram[1:, 0] = first[1:]
    for i in range(width - 1):
        gram[i + 1, 1:] = gram[i, :-1] + change[i]
    return gram


def _centred(raw: np.ndarray, context: int, count: int) -> Moments:
    """Moments of windows less their context's mean, from those of the windows as they are.

    Taking the mean away is linear: ``A = I - 1 u'`` with u = 1/context on the context, 0 on the
    target; so the moments become ``A G A'``.
    """
    mean_product = raw[:, :context].mean(axis=1)
    gram = raw - mean_product - mean_product[:, None] + mean_product[:context].mean()
    past, future = slice(0, context), slice(context, None)
    return Moments(
        gram[past, past], gram[past, future], float(np.trace(gram[future, future])), count
    )
