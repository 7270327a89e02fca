"""Frequencies: read one that a user wrote, infer one from time stamps, walk along one.

A frequency shorter than a day is a fixed span and is counted in UTC, so 15-minute rows stay
15 minutes apart when summer time begins. A day and longer follow the calendar on the wall: the day
after the change is again at the same local hour, though 23 or 25 hours later.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset, Day, Tick

from titans_ts.data.clock_change import skips_hour
from titans_ts.errors import DataError, ParameterError

__all__ = [
    "FittedFreq",
    "explain_irregular",
    "find_offset",
    "fixed_span",
    "fixed_steps_differ",
    "infer_offset",
    "parse_freq",
    "plural",
    "regular_stamps",
    "stamps_until",
    "usual_offset",
]

# Names that pandas dropped between 2.2 and 3, and what it calls them since 2.2.
_RENAMED = {
    **dict.fromkeys(["A", "Y"], "YE"), **dict.fromkeys(["BA", "BY"], "BYE"), "AS": "YS",
    "BAS": "BYS", "Q": "QE", "BQ": "BQE", "M": "ME", "BM": "BME", "CBM": "CBME", "SM": "SME",
    "H": "h", "BH": "bh", "CBH": "cbh", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns",
}  # fmt: skip
_FREQ = re.compile(r"(?P<count>\d*)(?P<name>[A-Za-z]+)(?P<anchor>(-.+)?)")

# Where rows are not regular, their frequency is looked for in this many stretches of this many
# rows: long enough for a weekend to show in business days, or as few as tell a year from 365 days.
_STRETCHES, _STRETCH_ROWS = 32, (8, 5, 3)


class FittedFreq(str):
    """A frequency that nobody gave: that of the rows which a forecaster was fitted on."""


def plural(count: int, noun: str) -> str:
    """``plural(1, "gap")`` is ``"1 gap"``, ``plural(1200, "gap")`` is ``"1,200 gaps"``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def parse_freq(freq: Any) -> BaseOffset:
    """Read a pandas frequency string, in the names of any pandas since 2.0.

    Parameters
    ----------
    freq : str or pandas offset
        Such as ``"15min"``, ``"h"``, ``"B"`` or ``"MS"``; the older ``"H"`` and ``"M"`` work too.

    Returns
    -------
    pandas.tseries.offsets.BaseOffset

    Raises
    ------
    ParameterError
        It is no frequency, or does not go forward in time.

    Examples
    --------
    >>> parse_freq("H").freqstr
    'h'
    """
    try:
        name = freq
        if isinstance(freq, str) and (match := _FREQ.fullmatch(freq.strip())):
            new = _RENAMED.get(match["name"], match["name"])
            name = match["count"] + new + match["anchor"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            offset = to_offset(name)
        if offset is not None and offset.n > 0:
            return offset
    except (ValueError, TypeError):
        pass  # the sentence below says more than pandas' own
    raise ParameterError(
        f"freq must be a pandas frequency such as '15min', 'h', 'D', 'B', 'W-MON' or 'MS', "
        f"got {freq!r}."
    )


def regular_stamps(
    start: pd.Timestamp, periods: int, offset: BaseOffset, *, like: pd.Timestamp | None = None
) -> pd.DatetimeIndex:
    """Return ``periods`` stamps from ``start`` on, in the time zone and unit of ``start``.

    A start that does not lie on the offset (the 15th, for months' ends) is rolled forward. Where
    summer time begins at midnight, the start of that day is one o'clock; that the days before and
    after it start at midnight, only another stamp of the series can tell: ``like``.
    """
    if start.tz is None:
        return _naive_stamps(start, periods, offset)
    if _is_fixed(offset):
        return _naive_stamps(start.tz_convert("UTC"), periods, offset).tz_convert(start.tz)
    naive = _naive_stamps(_meant(start, start if like is None else like), periods, offset)
    # An hour that comes twice is taken the first time; one that is skipped becomes its end.
    first_time = np.ones(periods, dtype=bool)
    return naive.tz_localize(start.tz, ambiguous=first_time, nonexistent="shift_forward")


def stamps_until(
    start: pd.Timestamp, end: pd.Timestamp, offset: BaseOffset, *, like: pd.Timestamp | None = None
) -> pd.DatetimeIndex:
    """Return the stamps from ``start`` to ``end`` at most, one at least, along the calendar.

    As :func:`regular_stamps` does, with ``end`` as what tells the hour that is meant, or ``like``.
    """
    like = end if like is None else like
    naive = pd.date_range(_meant(start, like), end.tz_localize(None), freq=offset)
    return regular_stamps(start, max(len(naive), 1), offset, like=like)


def _meant(start: pd.Timestamp, like: pd.Timestamp) -> pd.Timestamp:
    """What a clock without summer time shows at ``start``, if it shows the hour of ``like``."""
    wall, other = start.tz_localize(None), like.tz_localize(None)
    at = (wall.normalize() + (other - other.normalize())).as_unit(start.unit)
    shown = at.tz_localize(start.tz, ambiguous=True, nonexistent="shift_forward")
    return at if shown == start else wall


def fixed_steps_differ(one: str | None, other: str | None) -> bool:
    """Tell whether two frequencies differ for certain, being spans of time.

    Read off a few rows they may differ in name only: three weekdays look daily, and days in local
    time look like 24 hours until summer time ends.
    """
    spans = [_span(parse_freq(freq)) for freq in (one, other)]
    known = [span for span in spans if span is not None]
    if len(known) == 2:
        return known[0] != known[1]
    return any(span < pd.Timedelta(1, "D") for span in known)


def _span(offset: BaseOffset) -> pd.Timedelta | None:
    """Return how long a step is; None for steps of the calendar that differ in length."""
    if isinstance(offset, Day):
        return pd.Timedelta(offset.n, "D")
    return pd.Timedelta(offset) if isinstance(offset, Tick) else None


def fixed_span(offset: BaseOffset) -> pd.Timedelta | None:
    """Return how long a step counted in UTC is; None for a day and for all that is longer."""
    return pd.Timedelta(offset) if _is_fixed(offset) else None  # type: ignore[arg-type]


def _is_fixed(offset: BaseOffset) -> bool:
    # pandas 2 counts a day among the fixed spans, pandas 3 does not.
    return isinstance(offset, Tick) and not isinstance(offset, Day)


def _naive_stamps(start: pd.Timestamp, periods: int, offset: BaseOffset) -> pd.DatetimeIndex:
    try:
        return pd.date_range(start, periods=periods, freq=offset, unit=start.unit)
    except ValueError:  # the offset is finer than the unit: seconds that go on in milliseconds
        return pd.date_range(start, periods=periods, freq=offset)


def _follows(index: pd.DatetimeIndex, offset: BaseOffset) -> bool:
    return bool((index == _walked(index, len(index), offset)).all())


def _walked(index: pd.DatetimeIndex, periods: int, offset: BaseOffset) -> pd.DatetimeIndex:
    """Stamps from the first of ``index`` on, at the hour of its second."""
    return regular_stamps(index[0], periods, offset, like=index[min(1, len(index) - 1)])


def infer_offset(index: pd.DatetimeIndex) -> BaseOffset | None:
    """Return the fixed or calendar step between sorted stamps; None if there is no one step.

    Needs three stamps at least: two cannot tell 31 days from a month.
    """
    if len(index) < 3:
        return None
    with warnings.catch_warnings():  # pandas 3.1 announces that the answer will be an offset
        warnings.simplefilter("ignore")
        try:
            offset = to_offset(pd.infer_freq(index))
        except ValueError:
            return None
    return offset if offset is not None and _follows(index, offset) else None


def find_offset(
    index: pd.DatetimeIndex, freq: str | None, where: str, several: Callable[[], str] = str
) -> BaseOffset:
    """Return the step of sorted, distinct stamps, or say why there is none.

    Parameters
    ----------
    index : DatetimeIndex
    freq : str, optional
        What the user says; checked against the stamps. Default: that of the index, where pandas
        notes one, or else inferred.
    where : str
        The stamps' place in words, such as ``"the index"``, for messages.
    several : callable, optional
        Returns what to say where the stamps may be of several series.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataError
        The stamps have gaps, are irregular, contradict ``freq``, or are too few to tell.
    """
    given = None if freq is None else parse_freq(freq)
    if given is not None and _follows(index, given):
        return given
    inferred = infer_offset(index)
    own = None if given is not None else _own_offset(index)
    if own is not None and (inferred is None or not _counts_days(own, index)):
        return own
    if inferred is not None and given is None:
        return inferred
    if inferred is not None and isinstance(freq, FittedFreq):
        raise DataError(
            f"The forecaster was fitted on rows every {freq}, but the time stamps in {where} come "
            f"every {inferred.freqstr} (the first two are {index[0]} and {index[1]}). Bring them "
            f"to one frequency with Resample(freq={str(freq)!r}), or fit again."
        )
    if inferred is not None:
        raise DataError(
            f"freq={freq!r} was given, but the time stamps in {where} come every "
            f"{inferred.freqstr} (the first two are {index[0]} and {index[1]}). "
            f"Give freq={inferred.freqstr!r}, leave it out, or resample the table."
        )
    if len(index) < 3:
        if given is None:
            raise DataError(
                f"The frequency cannot be inferred from {plural(len(index), 'time stamp')} in "
                f"{where}: expected at least 3. Give more rows, or say it with freq=, "
                "such as freq='15min'."
            )
        rows = " and ".join(str(stamp) for stamp in index)
        raise DataError(
            f"freq={freq!r} was given, but {rows} in {where} do not fit it: expected "
            f"{' and '.join(map(str, regular_stamps(index[0], len(index), given)))}. "
            "Correct freq, or the time stamps."
        )
    usual = given or usual_offset(index)
    # pandas infers no step of days of which one, by summer time, starts at another hour.
    if given is None and _follows(index, usual):
        return usual
    raise explain_irregular(index, usual, where, several=several)


def _own_offset(index: pd.DatetimeIndex) -> BaseOffset | None:
    """The step that pandas notes beside stamps, which may be none that it infers (2B, SME)."""
    if index.freq is None:
        return None
    try:
        offset = parse_freq(index.freq.freqstr)
    except ParameterError:
        return None
    # Only the name is kept, and that of business days forgets their holidays.
    return offset if offset == index.freq and _follows(index, offset) else None


def _counts_days(offset: BaseOffset, index: pd.DatetimeIndex) -> bool:
    """Tell whether a step is of whole days, for which an inferred name may say more: weeks, of 7D.

    24 hours are a day without a time zone; in one they are none when summer time begins.
    """
    span = _span(offset)
    whole = span is not None and not span % pd.Timedelta(1, "D")
    return whole and (index.tz is None or not _is_fixed(offset))


def usual_offset(index: pd.DatetimeIndex) -> BaseOffset:
    """Return the step of most stretches of rows, or else the commonest span between rows."""
    for n_rows in _STRETCH_ROWS:
        starts = np.unique(np.linspace(0, max(len(index) - n_rows, 0), _STRETCHES).astype(int))
        stretches = (infer_offset(index[start : start + n_rows]) for start in starts)
        found = Counter(offset for offset in stretches if offset is not None)
        if found:
            return found.most_common(1)[0][0]
    spans, counts = np.unique(np.diff(index.asi8), return_counts=True)
    return to_offset(pd.Timedelta(np.timedelta64(int(spans[counts.argmax()]), index.unit)))


def explain_irregular(
    index: pd.DatetimeIndex,
    offset: BaseOffset,
    where: str,
    *,
    rows: bool = True,
    several: Callable[[], str] = str,
) -> DataError:
    """Word the error for stamps that do not follow ``offset``: gaps, or no regularity at all.

    ``rows=False`` leaves out row numbers, where stamps are not in the order of the table;
    ``several`` returns what to say where they may be of several series.
    """
    step = offset.freqstr
    position = _positions(index, offset)
    if (position >= 0).all():
        jumps = np.diff(position)
        first = int(np.argmax(jumps > 1))
        at = np.flatnonzero(jumps > 1)
        span = fixed_span(offset)
        local = "" if span is None else skips_hour(index[at], index[at + 1], span)
        n_gaps, n_rows = int((jumps > 1).sum()), int((jumps - 1).sum())
        return DataError(
            f"The time stamps in {where} have {plural(n_gaps, 'gap')} "
            f"({plural(n_rows, 'missing row')}), the first after {index[first]}, where "
            f"{index[first + 1]} follows; expected one row every {step}. Insert the missing rows "
            f"with FillGaps(), or give rows without a gap.{local or several()}"
        )
    if len(index) == 1:
        return DataError(
            f"The only time stamp in {where} is {index[0]}, which is none of one every {step}: the "
            f"next of them is {regular_stamps(index[0], 1, offset)[0]}. Correct it, or say the "
            f"right one with freq=.{several()}"
        )
    row = max(int(np.argmax(position < 0)), 1)
    this, before = str(index[row]), str(index[row - 1])
    if rows:
        this, before = f"row {row} ({this})", f"row {row - 1} ({before})"
    return DataError(
        f"The time stamps in {where} are irregular: expected one row every {step}, but {this} "
        f"comes {index[row] - index[row - 1]} after {before}. Bring them to one frequency with "
        f"Resample(), or say the right one with freq=.{several()}"
    )


def _positions(index: pd.DatetimeIndex, offset: BaseOffset) -> np.ndarray:
    """Return how many steps each stamp lies after the first; -1 for stamps between two steps."""
    if _is_fixed(offset):
        span = pd.Timedelta(offset)  # type: ignore[arg-type]
        step = span // pd.Timedelta(1, index.unit)
        if not step:  # finer than the unit of the stamps
            return np.full(len(index), -1)
        position, rest = np.divmod(index.asi8 - index.asi8[0], step)
        return np.where(rest == 0, position, -1)
    start, end = index[0].tz_localize(None), index[-1].tz_localize(None)
    n = len(pd.date_range(start.normalize(), end, freq=offset))
    return np.asarray(_walked(index, n, offset).get_indexer(index))
