"""Gaps in a context: what a linear map reads where a value is missing.

A step that is not observed takes no part in statistics, attention, memory and loss. A linear map
has no mask, though: it wants a number at every step, and one that is close to what was not seen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.exporting import must_not_look
from titans_ts.ops.scan import running_maximum

__all__ = ["FilledSeries", "fill_gaps"]


# Part of a season up to which a gap is short: a series goes on as it was for that long.
SHORT = 8


class FilledSeries(NamedTuple):
    """Series with their gaps filled in two ways, and when the better one may be used.

    Before a gap has ended, nobody knows what comes after it: a forecast made inside the gap must
    see the last value before it held on (``forward``), a later one the line between the values on
    both sides (``between``). In a long gap both are what came a season before.
    """

    forward: Tensor  # (rows, time)
    between: Tensor | None  # same shape; None: there are no gaps
    known_from: Tensor | None  # same shape, int: the step whose value ends the gap
    started: Tensor | None  # same shape, bool: False before the first observed step; None: never

    def up_to_origins(
        self, length: int, stride: int, n_origins: int
    ) -> tuple[Tensor, Tensor | None]:
        """The last ``length`` steps before each of the last origins, as they were known then.

        Parameters
        ----------
        length : int
            Steps before each origin.
        stride : int
            Steps between origins; the last origin stands at the end of the series.
        n_origins : int

        Returns
        -------
        filled : Tensor of shape (rows, n_origins, length)
        started : Tensor of the same shape, bool, or None
            False before the first observed step, where ``filled`` is 0; None: nowhere.
        """
        time = self.forward.shape[1]
        needed = length + (n_origins - 1) * stride

        def before(x: Tensor, value: float = 0) -> Tensor:
            if needed > time:
                x = F.pad(x, (needed - time, 0), value=value)
            return x[:, x.shape[1] - needed :].unfold(1, length, stride)

        filled, started = before(self.forward), None
        if self.started is not None:
            started = before(self.started)
        elif needed > time:
            started = before(torch.ones_like(self.forward, dtype=torch.bool))
        if self.between is not None and self.known_from is not None:
            origin = time - stride * torch.arange(n_origins - 1, -1, -1, device=filled.device)
            ended = before(self.known_from, value=time) < origin[:, None]
            filled = torch.where(ended, before(self.between), filled)
        return filled, started


def fill_gaps(series: Tensor, observed: Tensor | None, season: int = 0) -> FilledSeries:
    """Fill what is missing from what was seen before, and by the line to the next value.

    Parameters
    ----------
    series : Tensor of shape (rows, time)
        0 where not observed.
    observed : Tensor of the same shape, bool, or None
        None: everything is observed.
    season : int, default 0
        Steps after which a series may repeat itself. More than an eighth of it after the last
        value, and in closed gaps of more than a quarter, the value of a season before stands in,
        or of two seasons and so on; 0 never looks for one.
    """
    if observed is None:
        return FilledSeries(series, None, None, None)
    steps = torch.arange(series.shape[1], device=series.device).expand_as(series)
    last = running_maximum(torch.where(observed, steps, -1), 1)
    started = last >= 0
    # Without a gap after the first value there is nothing to fill.
    if not must_not_look(observed) and bool((observed == started).all()):
        return FilledSeries(series, None, None, started)
    last = last.clamp(min=0)
    end = series.shape[1]
    following = -running_maximum(torch.where(observed, -steps, -end).flip(1), 1).flip(1)
    low = series.gather(1, last)
    forward = torch.where(started, low, torch.zeros_like(low))
    high = series.gather(1, following.clamp(max=end - 1))
    share = (steps - last).to(series.dtype) / (following - last).clamp(min=1)
    closed = started & (following < end)
    between = torch.where(closed, low + share * (high - low), forward)
    if 0 < season < series.shape[1]:  # or nothing stands a season before
        value, known = _season_before(series, observed, season)
        known = known & started
        forward = torch.where(known & (steps - last > season // SHORT), value, forward)
        long_gap = following - last > 2 * season // SHORT
        between = torch.where(closed & known & long_gap, value, between)
        between = torch.where(closed, between, forward)
    return FilledSeries(forward, between, following, started)


def _season_before(series: Tensor, observed: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """Each value, or else the one a season before, or two and so on; and whether there is one."""
    time = series.shape[1]
    # Rows of a season: what lies seasons apart stands in one column.
    padding = -time % season

    def in_seasons(x: Tensor) -> Tensor:
        return F.pad(x, (padding, 0)).unflatten(1, (-1, season))

    def in_time(x: Tensor) -> Tensor:
        return x.flatten(1)[:, padding:]

    seen = in_seasons(observed)
    row = torch.arange(seen.shape[1], device=series.device)[:, None].expand_as(seen)
    last = running_maximum(torch.where(seen, row, -1), 1)
    value = in_seasons(series).gather(1, last.clamp(min=0))
    return in_time(value), in_time(last >= 0)
