"""Regular grids of time: where the rows of a panel lie on one, and which rows it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset, Day

from titans_ts.data.frequency import fixed_span, parse_freq, plural, stamps_until, usual_offset
from titans_ts.data.time_axis import labels_of
from titans_ts.errors import DataError
from titans_ts.preprocessing.panel import Panel

__all__ = ["Grid", "check_step", "lay_grid", "usual_step"]


@dataclass(frozen=True)
class Grid:
    """Every row that a panel would have without gaps, series by series.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), int
        The panel's row for each row of the grid; -1 where it has none.
    offsets : ndarray of shape (n_series + 1,), int
        Where each series starts among the rows of the grid.
    stamps : pandas.Index of length n_rows
    """

    rows: np.ndarray
    offsets: np.ndarray
    stamps: pd.Index

    @property
    def series(self) -> np.ndarray:
        """The series of each row, shape (n_rows,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def filled(self) -> np.ndarray:
        """Like ``rows``, but with the row before where there is none; a grid starts with a row."""
        return np.maximum.accumulate(self.rows)


def usual_step(stamps: pd.Index, offsets: np.ndarray) -> BaseOffset | int | None:
    """Return the usual step of the longest series; None if no series has two rows.

    Parameters
    ----------
    stamps : DatetimeIndex, PeriodIndex or Index of integers
    offsets : ndarray of shape (n_series + 1,)

    Returns
    -------
    pandas offset; or int, for integers
    """
    if isinstance(stamps, pd.PeriodIndex):
        return parse_freq(stamps.freq)
    longest = int(np.diff(offsets).argmax())
    own = stamps[offsets[longest] : offsets[longest + 1]].unique()
    if len(own) < 2:
        return None
    if isinstance(own, pd.DatetimeIndex):
        return _as_days(usual_offset(own), own)
    return int(np.diff(labels_of(own)).min())


def _as_days(offset: BaseOffset, stamps: pd.DatetimeIndex) -> BaseOffset:
    """24 hours are a day where the clock says so: then they stay one when summer time begins."""
    span, day = fixed_span(offset), pd.Timedelta("24h")
    if span is None or span % day or len(set(stamps.tz_localize(None).time)) > 1:
        return offset
    return Day(span // day)


def lay_grid(panel: Panel, step: BaseOffset | int) -> Grid:
    """Find the row of each step from the first to the last row of each series.

    Raises
    ------
    DataError
        Two rows of a series have one time, a row lies between two steps, or the step is of another
        kind than the labels.
    """
    stamps = panel.stamps
    assert stamps is not None
    check_step(stamps, step)
    place = _fixed_places(panel, step) if _is_even(stamps, step) else _calendar_places(panel, step)
    between = place < 0
    if between.any():
        row = int(between.argmax())
        first = panel.offsets[np.searchsorted(panel.offsets, row, side="right") - 1]
        raise DataError(
            f"Expected every row on a step of {_words(step)} from {stamps[first]} on, but "
            f"{plural(int(between.sum()), 'row')} came between, the first in {panel.where(row)}. "
            "Bring them to one frequency with Resample(), or give the right one with freq=."
        )
    again = np.diff(place) == 0
    again[panel.offsets[1:-1] - 1] = False
    if again.any():
        raise panel.duplicates(again)
    lengths = place[panel.offsets[1:] - 1] + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.full(offsets[-1], -1, dtype=np.int64)
    rows[place + np.repeat(offsets[:-1], panel.lengths)] = np.arange(len(place))
    return Grid(rows, offsets, _grid_stamps(panel, step, lengths))


def check_step(stamps: pd.Index, step: BaseOffset | int) -> None:
    """Raise DataError where labels of this kind cannot be counted by this step."""
    if isinstance(stamps, pd.PeriodIndex):
        what, counts = f"periods of {stamps.freqstr!r}", parse_freq(stamps.freq).base
        fits = isinstance(step, BaseOffset) and step.base == counts
    elif isinstance(stamps, pd.DatetimeIndex):
        what, fits = "time stamps", isinstance(step, BaseOffset)
    else:
        what, fits = "integers", isinstance(step, int)
    if not fits:
        raise DataError(
            f"The rows of X are labelled with {what}, which no step of {_words(step)} fits. Leave "
            "freq out and fit on rows like these, or convert their labels to time stamps."
        )


def _words(step: BaseOffset | int) -> str:
    return str(step) if isinstance(step, int) else step.freqstr


def _is_even(stamps: pd.Index, step: BaseOffset | int) -> bool:
    """Whether steps are equally long in the labels of the index."""
    if isinstance(step, int) or not isinstance(stamps, pd.DatetimeIndex):
        return True
    return fixed_span(step) is not None or (stamps.tz is None and isinstance(step, Day))


def _label_step(stamps: pd.Index, step: BaseOffset | int) -> int:
    if isinstance(step, int):
        return step
    if isinstance(stamps, pd.DatetimeIndex):
        span = fixed_span(step)
        span = pd.Timedelta(step.n, "D") if span is None else span
        return span // pd.Timedelta(1, stamps.unit)
    return step.n


def _fixed_places(panel: Panel, step: BaseOffset | int) -> np.ndarray:
    assert panel.stamps is not None
    labels = labels_of(panel.stamps)
    size = _label_step(panel.stamps, step)
    since = labels - np.repeat(labels[panel.offsets[:-1]], panel.lengths)
    if not size:  # finer than the unit of the stamps
        return np.where(since == 0, 0, -1)
    place, rest = np.divmod(since, size)
    return np.where(rest == 0, place, -1)


def _calendar_places(panel: Panel, step: BaseOffset | int) -> np.ndarray:
    assert isinstance(panel.stamps, pd.DatetimeIndex)
    assert not isinstance(step, int)
    place = np.empty(len(panel.values), dtype=np.int64)
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        own = panel.stamps[start:stop]
        place[start:stop] = stamps_until(own[0], own[-1], step).get_indexer(own)
    return place


def _grid_stamps(panel: Panel, step: BaseOffset | int, lengths: np.ndarray) -> pd.Index:
    stamps = panel.stamps
    assert stamps is not None
    first, last = panel.offsets[:-1], panel.offsets[1:] - 1
    if not _is_even(stamps, step):
        assert isinstance(step, BaseOffset)
        parts = [stamps_until(stamps[i], stamps[j], step) for i, j in zip(first, last, strict=True)]
        return parts[0].append(parts[1:])
    within = np.concatenate([np.arange(n) for n in lengths])
    labels = np.repeat(labels_of(stamps)[first], lengths) + within * _label_step(stamps, step)
    if isinstance(stamps, pd.DatetimeIndex):
        utc = pd.DatetimeIndex(labels.view(f"M8[{stamps.unit}]"))
        return utc if stamps.tz is None else utc.tz_localize("UTC").tz_convert(stamps.tz)
    if isinstance(stamps, pd.PeriodIndex):
        return pd.PeriodIndex.from_ordinals(labels, freq=stamps.freq)  # type: ignore[attr-defined]
    return pd.Index(labels, dtype=stamps.dtype)
