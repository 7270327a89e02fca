"""Time of many series at once: put rows in order, find the common frequency, check every series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset

from titans_ts.data.clock_change import repeats_hour
from titans_ts.data.frequency import (
    explain_irregular,
    fixed_span,
    infer_offset,
    parse_freq,
    plural,
    stamps_until,
    usual_offset,
)
from titans_ts.data.tables import Label
from titans_ts.data.time_axis import Place, TimeAxis, find_step, labels_of, zone_name
from titans_ts.errors import DataError

__all__ = ["panel_axis", "refuse_repeated", "sort_rows"]

# The frequency is read off this many series, the longest: the others may have a row or two.
_CANDIDATES = 16


def sort_rows(
    codes: np.ndarray, labels: np.ndarray, n_series: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Put rows in order: series by series, oldest first.

    Parameters
    ----------
    codes : ndarray of shape (rows,), int
        Number of each row's series.
    labels : ndarray of shape (rows,), int64
        Time of each row.
    n_series : int

    Returns
    -------
    order : ndarray of shape (rows,) or None
        The rows in order; None if they are already.
    offsets : ndarray of shape (n_series + 1,), int64
        Series ``i`` is rows ``offsets[i]:offsets[i + 1]`` of the ordered rows.
    """
    counts = np.bincount(codes, minlength=n_series)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if (codes[1:] >= codes[:-1]).all():
        back = labels[1:] < labels[:-1]
        back[offsets[1:-1] - 1] = False
        if not back.any():
            return None, offsets
    if (labels[1:] >= labels[:-1]).all():
        return _stable_order(codes, n_series), offsets
    by_time = _by_time(labels)
    return by_time[_stable_order(codes[by_time], n_series)], offsets


def _by_time(labels: np.ndarray) -> np.ndarray:
    shifted = labels - labels.min()
    step = np.gcd.reduce(shifted)
    # Rows of one series and time may come in any order: they are refused next.
    return _stable_order(shifted // step, int(shifted.max() // step) + 1)


def _stable_order(codes: np.ndarray, n_codes: int) -> np.ndarray:
    # numpy sorts 16 bits by radix, in linear time; tens of thousands of series, or steps, fit.
    small = codes.astype(np.uint16) if n_codes <= 1 << 16 else codes
    return np.argsort(small, kind="stable")


def refuse_repeated(
    index: pd.Index,
    order: np.ndarray | None,
    offsets: np.ndarray,
    names: Sequence[Label],
    place: Place,
) -> None:
    """Raise DataError if a series has two rows of the same time.

    Parameters
    ----------
    index : Index
        Time of each row, as the table has them.
    order, offsets : ndarray
        As :func:`sort_rows` returns them.
    names : sequence
        Ids of the series; empty where there is one without id.
    place : Place
    """
    labels = _ordered(labels_of(index), order)
    same = labels[1:] == labels[:-1]
    same[offsets[1:-1] - 1] = False
    if not same.any():
        return
    at = np.flatnonzero(same) + 1
    rows = at if order is None else order[at]
    row = int(rows.min())
    series = int(np.searchsorted(offsets, at[rows.argmin()], side="right")) - 1
    which = f"series {names[series]!r}, " if names else ""
    per = "series and time stamp" if names else "time stamp"
    # Of each stamp one, as series next to one another have the same hour twice.
    local = repeats_hour(index[rows].repeat(2)) if isinstance(index, pd.DatetimeIndex) else ""
    raise DataError(
        f"The time stamps in {place.words} have {plural(len(at), 'duplicate')}: the first is row "
        f"{row} ({which}{index[row]}); expected one row per {per}. Drop or average the repeated "
        f"rows.{local}"
    )


def panel_axis(
    index: pd.Index,
    order: np.ndarray | None,
    offsets: np.ndarray,
    names: Sequence[Label],
    freq: str | None,
    place: Place,
    fitted_step: int | None = None,
) -> TimeAxis:
    """Read the time of all series of a long table.

    Parameters
    ----------
    index : DatetimeIndex, PeriodIndex or Index of integers
        Time of each row, as the table has them; none missing, none repeated in a series.
    order, offsets : ndarray
        As :func:`sort_rows` returns them.
    names : sequence
        Ids of the series.
    freq : str, optional
        What the user says; checked against every series. Default: inferred.
    place : Place
    fitted_step : int, optional
        Of the integers that a forecaster was fitted on. Default: told from the rows.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataError
        A series has gaps or is irregular; or they contradict ``freq``, or are too short to tell.
    """
    labels = _ordered(labels_of(index), order)
    first = tuple(labels[offsets[:-1]].tolist())
    last = tuple(labels[offsets[1:] - 1].tolist())
    if isinstance(index, pd.DatetimeIndex):
        stamps = _Stamps(index, labels, offsets, names, place)
        offset = stamps.find_offset(freq)
        tz = None if index.tz is None else zone_name(index, place)
        return TimeAxis("stamps", offset.freqstr, first, last, unit=index.unit, tz=tz)
    steps, inside = _steps(labels, offsets), _inside(offsets)
    if isinstance(index, pd.PeriodIndex):
        step = parse_freq(index.freq).n
        if freq is not None and parse_freq(freq) != parse_freq(index.freq):
            raise DataError(
                f"freq={freq!r} was given, but {place.words} holds periods of {index.freqstr!r}. "
                f"Leave freq out, or change the periods with asfreq({freq!r})."
            )
    elif freq is not None:
        raise DataError(
            f"freq={freq!r} was given, but X has no time stamps: {place.words} holds integers. "
            "Leave freq out, or name another time_column."
        )
    else:
        first_pair = int(inside.argmax()) if len(inside) else 0
        step = find_step(steps[inside], fitted_step, place, labels[first_pair:])
    wrong = (steps != step) & inside
    if wrong.any():
        at = int(wrong.argmax())
        series = int(np.searchsorted(offsets, at, side="right")) - 1
        rows = (at, at + 1) if order is None else order[[at, at + 1]]
        inside_series = wrong[offsets[series] : offsets[series + 1] - 1]
        raise DataError(
            f"The labels in {place.words} of series {names[series]!r} have "
            f"{plural(int(inside_series.sum()), 'gap')}, the first after {index[rows[0]]}, where "
            f"{index[rows[1]]} follows; expected a step of {step}. Fill in the missing rows, or "
            "number the rows of each series anew."
        )
    if isinstance(index, pd.PeriodIndex):
        return TimeAxis("periods", index.freqstr, first, last)
    return TimeAxis("integers", None, first, last, step=step, dtype=str(index.dtype))


def _ordered(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    return values if order is None else values[order]


def _inside(offsets: np.ndarray) -> np.ndarray:
    """Tell which pairs of neighbouring rows are of one series."""
    inside = np.ones(int(offsets[-1]) - 1, dtype=bool)
    inside[offsets[1:-1] - 1] = False
    return inside


def _steps(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """From each row to the next; 0 where the next row is another series'."""
    steps = np.diff(labels)
    steps[offsets[1:-1] - 1] = 0
    return steps


class _Stamps:
    """Time stamps of a panel, in order, and what is asked of them."""

    def __init__(
        self,
        index: pd.DatetimeIndex,
        labels: np.ndarray,
        offsets: np.ndarray,
        names: Sequence[Label],
        place: Place,
    ) -> None:
        self.like = index[:0]
        self.labels, self.offsets, self.names, self.place = labels, offsets, names, place

    def of(self, series: int) -> pd.DatetimeIndex:
        return self.stamps(self.labels[self.offsets[series] : self.offsets[series + 1]])

    def stamps(self, labels: np.ndarray) -> pd.DatetimeIndex:
        naive = pd.DatetimeIndex(labels.view(f"M8[{self.like.unit}]"))
        return naive if self.like.tz is None else naive.tz_localize("UTC").tz_convert(self.like.tz)

    def find_offset(self, freq: str | None) -> BaseOffset:
        """Return the step that all series have, or say which has another."""
        given = None if freq is None else parse_freq(freq)
        longest = np.argsort(-np.diff(self.offsets), kind="stable")[:_CANDIDATES].tolist()
        found = [infer_offset(self.of(series)) for series in longest]
        votes = Counter(offset for offset in found if offset is not None)
        candidates = [offset for offset, _ in votes.most_common()]
        for offset in candidates if given is None else [given]:
            bad = self.first_that_differs(offset)
            if bad is None:
                return offset
        n_longest = int(np.diff(self.offsets).max())
        if given is None and not candidates and n_longest < 3:
            raise DataError(
                f"The frequency cannot be inferred from {self.place.words}: the longest series "
                f"has {plural(n_longest, 'row')}, expected at least 3. Give more rows, or say it "
                "with freq=, such as freq='15min'."
            )
        usual = given or (candidates[0] if candidates else usual_offset(self.of(longest[0])))
        bad = self.first_that_differs(usual)
        if bad is None:  # infer_freq knows no step of a day whose hour summer time skips
            return usual
        index = self.of(bad)
        where = f"{self.place.words} of series {self.names[bad]!r}"
        own = infer_offset(index)
        if own is not None and own != usual:
            said = f"freq={freq!r} was given" if given else f"other series have {usual.freqstr}"
            raise DataError(
                f"The time stamps in {where} come every {own.freqstr} (the first two are "
                f"{index[0]} and {index[1]}), but {said}; expected one frequency for all series. "
                "Bring them to one with Resample(), or give them to forecasters of their own."
            )
        raise explain_irregular(index, usual, where, rows=False)

    def first_that_differs(self, offset: BaseOffset) -> int | None:
        """Return a series whose stamps do not follow ``offset``; None if all do."""
        span = fixed_span(offset)
        if span is not None:
            step = span // pd.Timedelta(1, self.like.unit)
            wrong = (_steps(self.labels, self.offsets) != step) & _inside(self.offsets)
            if not wrong.any():
                return None
            return int(np.searchsorted(self.offsets, int(wrong.argmax()), side="right")) - 1
        # Steps of the calendar: laid out once from the earliest start, and again for series that
        # are out of phase with it (days that begin at six), until every series was on one grid.
        left = np.arange(len(self.names))
        starts = self.labels[self.offsets[:-1]]
        ends = self.labels[self.offsets[1:] - 1]
        while len(left):
            earliest = int(left[starts[left].argmin()])
            own = self.stamps(np.array([starts[earliest], ends[left].max(), ends[earliest]]))
            grid = stamps_until(own[0], own[1], offset, like=own[2]).as_unit(self.like.unit).asi8
            on_grid = np.array([], dtype=bool)
            place = np.searchsorted(grid, starts[left])
            place = np.minimum(place, len(grid) - 1)
            on_grid = grid[place] == starts[left]
            chosen = left[on_grid]
            if not on_grid[left == earliest].all():
                return earliest
            bad = self._off_grid(chosen, place[on_grid], grid)
            if bad is not None:
                return bad
            left = left[~on_grid]
        return None

    def _off_grid(self, series: np.ndarray, place: np.ndarray, grid: np.ndarray) -> int | None:
        lengths = np.diff(self.offsets)[series]
        ends = np.cumsum(lengths)
        within = np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
        rows = within + np.repeat(self.offsets[:-1][series], lengths)
        on = np.repeat(place, lengths) + within
        wrong = (on >= len(grid)) | (grid[np.minimum(on, len(grid) - 1)] != self.labels[rows])
        if not wrong.any():
            return None
        return int(series[np.searchsorted(ends, int(wrong.argmax()), side="right")])
