"""TimeAxis: when the rows of a table were, and when the rows after its end will be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from titans_ts.data.clock_change import repeats_hour, steps_back_an_hour
from titans_ts.data.frequency import (
    find_offset,
    fixed_span,
    fixed_steps_differ,
    parse_freq,
    plural,
    regular_stamps,
)
from titans_ts.data.tables import Label
from titans_ts.errors import DataError

__all__ = ["Place", "TimeAxis", "find_step", "labels_of", "refuse_missing", "zone_name"]


@dataclass(frozen=True)
class Place:
    """Where a table keeps its time, in words for messages."""

    words: str  # "the index", "column 'date'"
    sort: str  # the call that sorts the table by it
    id_hint: str  # how to say which column tells series apart: "id_column='station'"
    index: bool  # it is an index, not a column
    # What to say of rows that are no single series: a sentence that begins with a space, or "".
    several: Callable[[], str] = str


@dataclass(frozen=True)
class TimeAxis:
    """First row, last row and step of regularly spaced rows; small enough to be saved.

    Made by :meth:`from_index`, which refuses everything irregular.

    Parameters
    ----------
    kind : {"stamps", "periods", "integers"}
        What the rows are labelled with.
    freq : str or None
        Pandas frequency; None for integers.
    first, last : tuple of int, one per series
        Labels of the first and last row: time stamps in ``unit`` since 1970 in UTC, ordinals of
        periods, or the integers themselves.
    step : int
        Distance of integer labels; 1 for others.
    unit : str
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for stamps; ``""`` for others.
    tz : str or None
        Time zone of stamps.
    dtype : str
        Of integer labels, ``"range"`` for a RangeIndex; ``""`` for others.
    """

    kind: Literal["stamps", "periods", "integers"]
    freq: str | None
    first: tuple[int, ...]
    last: tuple[int, ...]
    step: int = 1
    unit: str = ""
    tz: str | None = None
    dtype: str = ""

    @classmethod
    def from_index(
        cls, index: pd.Index, freq: str | None, place: Place, step: int | None = None
    ) -> TimeAxis:
        """Read the labels of one series' rows.

        Parameters
        ----------
        index : DatetimeIndex, PeriodIndex or Index of integers
            At least one row.
        freq : str, optional
            What the user says; checked. Default: inferred.
        place : Place
        step : int, optional
            Of the integers that a forecaster was fitted on. Default: told from the rows.

        Raises
        ------
        ParameterError
            ``freq`` is no frequency.
        DataError
            Labels are missing, not sorted, repeated, or not regularly spaced; or ``freq`` or
            ``step`` says something else.
        """
        if isinstance(index, pd.DatetimeIndex):
            _check_order(index, index.asi8, place)
            offset = find_offset(index, freq, place.words, place.several)
            tz = None if index.tz is None else zone_name(index, place)
            ends = (int(index.asi8[0]),), (int(index.asi8[-1]),)
            return cls("stamps", offset.freqstr, *ends, unit=index.unit, tz=tz)
        if isinstance(index, pd.PeriodIndex):
            return cls._from_periods(index, freq, place)
        if freq is not None:
            raise DataError(
                f"freq={freq!r} was given, but X has no time stamps: {place.words} holds integers. "
                "Give X a DatetimeIndex, name its time column with time_column=, or leave freq out."
            )
        labels = index.to_numpy(dtype=np.int64)
        _check_order(index, labels, place)
        dtype = "range" if isinstance(index, pd.RangeIndex) else str(index.dtype)
        step = find_step(np.diff(labels), step, place, labels)
        _check_steps(labels, step, str, plural(step, "unit"), place)
        return cls("integers", None, (int(labels[0]),), (int(labels[-1]),), step=step, dtype=dtype)

    @classmethod
    def _from_periods(cls, index: pd.PeriodIndex, freq: str | None, place: Place) -> TimeAxis:
        labels = index.asi8
        _check_order(index, labels, place)
        offset = parse_freq(index.freq)
        if freq is not None and parse_freq(freq) != offset:
            raise DataError(
                f"freq={freq!r} was given, but {place.words} holds periods of {index.freqstr!r}. "
                f"Leave freq out, or change the periods with asfreq({freq!r})."
            )
        _check_steps(labels, offset.n, lambda i: str(index[i]), index.freqstr, place, rows=True)
        return cls("periods", index.freqstr, (int(labels[0]),), (int(labels[-1]),))

    @property
    def n_series(self) -> int:
        """How many series the axis is of."""
        return len(self.last)

    def future(self, horizon: int, series: int = 0) -> pd.Index:
        """Return the labels of the ``horizon`` rows after the last row of a series.

        Returns
        -------
        pandas.Index
            Of the kind that was read: same unit, time zone and frequency. Integers become int64
            where they outgrow their dtype.
        """
        last = self.last[series]
        if self.kind == "stamps":
            offset = parse_freq(self.freq)
            start, first = self._stamp(last), self._stamp(self.first[series])
            index = regular_stamps(start, horizon + 1, offset, like=first)[1:]
            # A skipped hour moves a stamp: right, but then the index has no pandas frequency.
            # Of what kind its error is, is the time zone library's affair.
            with contextlib.suppress(Exception):
                index.freq = offset  # type: ignore[misc]
            return index
        if self.kind == "periods":
            end = pd.Period(ordinal=last, freq=self.freq)
            return pd.period_range(end, periods=horizon + 1, freq=self.freq)[1:]
        labels = range(last + self.step, last + (horizon + 1) * self.step, self.step)
        if self.dtype == "range":
            return pd.RangeIndex(labels)
        return _integers(np.array(labels), self.dtype)

    def future_of_all(self, horizon: int) -> pd.Index:
        """Return the labels of the ``horizon`` rows after the last row of every series.

        Returns
        -------
        pandas.Index of length n_series * horizon
            One series after another; an index without a pandas frequency.
        """
        last = np.array(self.last, dtype=np.int64)
        step = self._step()
        if step is not None:
            return self.index_of((last[:, None] + step * np.arange(1, horizon + 1)).reshape(-1))
        # Panels end on few different days: each is walked on from once.
        _, at, which = np.unique(last, return_index=True, return_inverse=True)
        walked = [self.future(horizon, int(series)) for series in at]
        joined = walked[0].append(walked[1:]) if len(walked) > 1 else walked[0]
        return pd.Index(joined[(which[:, None] * horizon + np.arange(horizon)).reshape(-1)])

    def _step(self) -> int | None:
        """How far apart labels are; None where that differs, or is finer than their unit."""
        if self.kind == "integers":
            return self.step
        offset = parse_freq(self.freq)
        if self.kind == "periods":
            return offset.n
        span = fixed_span(offset)
        if span is None:
            return None
        unit = pd.Timedelta(np.timedelta64(1, self.unit))  # type: ignore[call-overload]
        return None if span % unit else int(span // unit)

    def index_of(self, labels: np.ndarray) -> pd.Index:
        """Turn labels as :attr:`first` and :attr:`last` hold them into an index."""
        if self.kind == "periods":
            return pd.PeriodIndex.from_ordinals(labels, freq=self.freq)  # type: ignore[attr-defined]
        if self.kind == "integers":
            return _integers(labels, "int64" if self.dtype == "range" else self.dtype)
        naive = pd.DatetimeIndex(labels.view(f"M8[{self.unit}]"))
        return naive if self.tz is None else naive.tz_localize("UTC").tz_convert(self.tz)

    def check_followed_by(self, later: TimeAxis, name: str, names: Sequence[Label] = ()) -> None:
        """Raise DataError unless the first row of ``later`` is the step after the last row here.

        Parameters
        ----------
        later : TimeAxis
        name : str
            What the user calls the later table.
        names : sequence, optional
            Ids of the series, for messages; the same in both tables.
        """
        self.check_kind(later.kind, later.tz, name)
        if self.kind == "stamps" and fixed_steps_differ(self.freq, later.freq):
            raise DataError(
                f"{name} must have one row every {self.freq}, as X has; its rows come every "
                f"{later.freq}. Resample it."
            )
        following = self.future_of_all(1)
        starts = later.index_of(np.array(later.first, dtype=np.int64))
        wrong = np.asarray(following != starts)
        if wrong.any():
            series = int(wrong.argmax())
            which = f" of series {names[series]!r}" if names else ""
            raise DataError(
                f"{name} must start at {following[series]}, one step after the last row of X"
                f"{which} ({self._label(self.last[series])}); its first row is {starts[series]}. "
                "Give the rows that directly follow X."
            )

    def _stamp(self, value: int) -> pd.Timestamp:
        naive = pd.Timestamp(np.datetime64(value, self.unit))  # type: ignore[call-overload]
        return naive if self.tz is None else naive.tz_localize("UTC").tz_convert(self.tz)

    def _label(self, value: int) -> pd.Timestamp | pd.Period | int:
        if self.kind == "stamps":
            return self._stamp(value)
        return pd.Period(ordinal=value, freq=self.freq) if self.kind == "periods" else value

    def check_kind(self, kind: str, tz: str | None, name: str) -> None:
        """Raise DataError unless another table is labelled with the same kind of thing.

        Parameters
        ----------
        kind : {"stamps", "periods", "integers"}
        tz : str or None
            Any time zone will do where there is one here, and none where there is none.
        name : str
            What the user calls the other table.
        """
        if self.kind != kind or (self.tz is None) != (tz is None):
            raise DataError(
                f"{name} must be labelled as X is, with {_what(self.kind, self.tz)}; it has "
                f"{_what(kind, tz)}. Give both the same kind of index or time column."
            )


def _what(kind: str, tz: str | None) -> str:
    if kind == "stamps":
        return f"time stamps {f'in {tz}' if tz else 'without time zone'}"
    return kind


def labels_of(index: pd.Index) -> np.ndarray:
    """Return an index as whole numbers: stamps in their unit since 1970 in UTC, ordinals."""
    if isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        return index.asi8
    return index.to_numpy(dtype=np.int64)


def _integers(labels: np.ndarray, dtype: str) -> pd.Index:
    """Labels in their dtype, or as they are where it cannot hold them: int8 ends at 127."""
    index = pd.Index(labels)
    try:
        cast = index.astype(dtype)  # numpy wraps around; others refuse
    except (ValueError, TypeError, OverflowError):
        return index
    return cast if (cast == index).all() else index


def find_step(steps: np.ndarray, fitted: int | None, place: Place, labels: np.ndarray) -> int:
    """Return the step that integers should have from row to row.

    Parameters
    ----------
    steps : ndarray
        From each row to the next of its series; there may be none.
    fitted : int or None
        The step that a forecaster was fitted on. Default: told from the rows.
    place : Place
    labels : ndarray
        Of a first row and the next, for the message.

    Raises
    ------
    DataError
        They are evenly spaced, but not as those of ``fit``.
    """
    if fitted is None:
        return int(steps.min()) if len(steps) else 1
    # Uneven ones are gaps, which are told by themselves.
    if not len(steps) or steps[0] == fitted or (steps != steps[0]).any():
        return fitted
    raise DataError(
        f"The forecaster was fitted on labels with a step of {fitted}, but those in {place.words} "
        f"come every {steps[0]} (the first two are {labels[0]} and {labels[1]}). Give rows with "
        "the step of fit, or fit again."
    )


def refuse_missing(
    index: pd.Index, place: Place, series_of: Callable[[int], Label] | None = None
) -> None:
    """Raise DataError if a row has no time; ``series_of`` tells the id of a row's series."""
    missing = np.asarray(index.isna())
    if missing.any():
        row = int(missing.argmax())
        which = f" (series {series_of(row)!r})" if series_of else ""
        raise DataError(
            f"{place.words[0].upper()}{place.words[1:]} has "
            f"{plural(int(missing.sum()), 'missing time stamp')} (NaT), the first in row "
            f"{row}{which}; expected one in every row. Drop these rows, or fill in the time."
        )


def _check_order(index: pd.Index, labels: np.ndarray, place: Place) -> None:
    """Refuse labels that are missing, not sorted or repeated."""
    refuse_missing(index, place)
    steps = np.diff(labels)
    back = steps < 0
    # Where most labels repeat, the table stacks several series, and sorting would not help.
    stacked = bool(back.any()) and 2 * len(np.unique(labels)) <= len(labels)
    if back.any() and not stacked:
        row = int(back.argmax()) + 1
        local = steps_back_an_hour(index) if isinstance(index, pd.DatetimeIndex) else ""
        raise DataError(
            f"The time stamps in {place.words} are not sorted: row {row} ({index[row]}) comes "
            f"after row {row - 1} ({index[row - 1]}); expected the oldest row first. "
            f"Sort with {place.sort}.{local or place.several()}"
        )
    if stacked or not steps.all():
        repeated = np.asarray(index.duplicated())
        row = int(repeated.argmax())
        local = repeats_hour(index) if isinstance(index, pd.DatetimeIndex) else ""
        raise DataError(
            f"The time stamps in {place.words} have {plural(int(repeated.sum()), 'duplicate')}: "
            f"the first is row {row} ({index[row]}); expected one row per time stamp. Drop or "
            "average the repeated rows; if they belong to several series, name the column that "
            f"tells these apart, such as {place.id_hint}.{local}"
        )


def _check_steps(
    labels: np.ndarray,
    step: int,
    show: Callable[[int], str],
    words: str,
    place: Place,
    *,
    rows: bool = False,
) -> None:
    """Refuse integer labels that are not ``step`` apart; ``show`` takes rows or labels."""
    jumps = np.diff(labels)
    wrong = jumps != step
    if not wrong.any():
        return
    row = int(wrong.argmax())
    a, b = (row, row + 1) if rows else (int(labels[row]), int(labels[row + 1]))
    reset = " with X.reset_index(drop=True)" if place.index else ""
    raise DataError(
        f"The labels in {place.words} have {plural(int(wrong.sum()), 'gap')}, the first after "
        f"{show(a)}, where {show(b)} follows; expected a step of {words}. Fill in the missing "
        f"rows, or number the rows anew{reset} if they do follow one another."
    )


def zone_name(index: pd.DatetimeIndex, place: Place) -> str:
    name = str(index.tz)
    try:
        same = index[:1].tz_convert(name).tz_localize(None) == index[:1].tz_localize(None)
        if same.all():
            return name
    except (ValueError, LookupError, TypeError):
        pass  # a name that pandas does not know
    raise DataError(
        f"The time zone of {place.words} has no name that could be kept: {name}. "
        "Convert it to a named one, for example with tz_convert('Europe/Berlin')."
    )
