"""Time columns: find the one of a table, read it, and write one like it."""

from __future__ import annotations

import datetime
import difflib
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from titans_ts.data.frequency import infer_offset, plural
from titans_ts.data.tables import may_be_text
from titans_ts.errors import DataError

__all__ = [
    "find_time_column",
    "is_time_name",
    "looks_like_time",
    "lost_in_writing",
    "mixes_offsets",
    "no_such_column",
    "read_time_column",
    "refuse_text_times",
    "refuse_unread_time",
    "write_time_column",
]

# Names under which a column of text is taken for the time, without case and "_", "-" or spaces.
_TIME_NAMES = {"date", "ds", "time", "timestamp", "datetime"}

# Names under which a column of growing numbers may be the time, too.
_COUNTED = {"year", "epoch", "unix", "unixtime"}

# An offset from UTC at the end of a time stamp.
_OFFSET = re.compile(r"\d[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$")

# An hour of a clock of twelve hours, what follows it, and the half of the day.
_TWELVE = re.compile(r"\b(?:1[0-2]|0?[1-9])((?::\d\d){0,2}(?:\.\d+)?\s?)[AP]M\b", re.IGNORECASE)

# Whether a column is all times is judged by this many of its values, of which so many may be none.
_JUDGED, _STRAY = 32, 3


def no_such_column(
    name: Any, labels: Sequence[Any], parameter: str, *, table: str = "X"
) -> DataError:
    """Word the error for a column that a table lacks, with the nearest name that it has."""
    names = [str(label) for label in labels]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if not near:  # another case only
        near = [n for n in names if n.lower() == str(name).lower()][:1]
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, labels[:20])) + (", ..." if len(labels) > 20 else "")
    return DataError(
        f"{parameter}={name!r} names no column of {table}, which has {listed or 'none'}.{guess}"
    )


def find_time_column(labels: Sequence[Any], columns: Sequence[pd.Series]) -> int | None:
    """Return the position of the column that holds the time, or None.

    It is the only column of time stamps or dates, whatever its name; or a column of text named
    date, ds, time, timestamp or datetime (in any case) whose first value reads as a time stamp.

    Raises
    ------
    DataError
        Several columns could be it.
    """
    stamps = [i for i, column in enumerate(columns) if _holds_stamps(column)]
    if len(stamps) == 1:
        return stamps[0]
    named = [i for i, label in enumerate(labels) if is_time_name(label)]
    found = [i for i in stamps if i in named] if stamps else []
    if not stamps:
        found = [i for i in named if looks_like_time(columns[i])]
    if len(found) == 1:
        return found[0]
    if not found and not stamps:
        return None
    several = [labels[i] for i in (found or stamps)]
    raise DataError(
        f"{len(several)} columns of X could be its time: {', '.join(map(repr, several))}. "
        f"Say which with time_column=, such as time_column={several[0]!r}."
    )


def looks_like_time(column: pd.Series) -> bool:
    """Tell whether a column of text starts with a time stamp."""
    first = _first_value(column)
    return isinstance(first, str) and _guess_format(first) is not None


def mixes_offsets(values: Iterable[Any]) -> bool:
    """Tell whether texts or dates of Python have several offsets from UTC, as over summer time."""
    offsets: set[Any] = set()
    for value in values:
        if isinstance(value, str) and (match := _OFFSET.search(value)):
            offsets.add(match[1])
        elif isinstance(value, datetime.datetime):
            offsets.add(value.utcoffset())
    return len(offsets - {None}) > 1


def read_time_column(column: pd.Series, words: str, form: str = "index") -> tuple[pd.Index, str]:
    """Read a time column.

    Parameters
    ----------
    column : Series
        Of time stamps, dates, periods, integers, or text; or of categories that are such.
    words : str
        The column's name in words, such as ``"column 'date'"``, for messages.
    form : str, optional
        How a column like this one wrote its times, to be tried first on text.

    Returns
    -------
    index : DatetimeIndex, PeriodIndex or Index of integers
    form : str
        How the times were written: ``"index"`` (as they are), ``"dates"``, or ``"text:"`` and a
        strftime format. For :func:`write_time_column`.

    Raises
    ------
    DataError
        A value cannot be read as a time stamp, or the column holds something else.
    """
    column = _without_categories(column)
    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return pd.PeriodIndex(column), "index"
    if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind == "M":
        return pd.DatetimeIndex(column), "index"
    if pd.api.types.is_integer_dtype(dtype) and not column.hasnans:
        plain = dtype if isinstance(dtype, np.dtype) else np.dtype(np.int64)
        return pd.Index(column.to_numpy(dtype=plain)), "index"
    first = _first_value(column)
    # Asked of all values: pandas would take a number among them for nanoseconds since 1970.
    if pd.api.types.infer_dtype(column, skipna=True) in {"date", "datetime", "datetime64"}:
        try:
            index = pd.DatetimeIndex(pd.to_datetime(column))
        except pd.errors.OutOfBoundsDatetime as error:
            raise DataError(
                f"A time stamp in {words} is beyond the years that pandas {pd.__version__} reads "
                f"in a column of Python's dates: {error}. Correct it, or install pandas 3."
            ) from None
        except (ValueError, TypeError):
            raise DataError(
                f"The time stamps in {words} mix time zones, expected one for all rows, or none. "
                "Convert the column with pandas.to_datetime(..., utc=True)."
            ) from None
        return index, "dates" if type(first) is datetime.date else "index"
    if isinstance(first, str):
        return _read_text(column, words, form)
    raise DataError(
        f"Expected time stamps in {words}, got {dtype} values, the first {first!r}. "
        f"Convert it with {conversion(first)}, or name another time_column."
    )


def conversion(first: Any) -> str:
    """Say how a column is made time stamps, guessing by its first value what it counts."""
    if not isinstance(first, (int, float)):
        return "pandas.to_datetime"
    for pattern, from_, to in (("%Y", 1000, 2999), ("%Y%m%d", 1000_01_01, 2999_12_31)):
        if isinstance(first, int) and from_ <= first <= to:
            return f"pandas.to_datetime(column, format={pattern!r})"
    # Since 1970, from 1980 to 2100; and days as spreadsheets count them, over the same years.
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        if 315_532_800 * per_second <= first <= 4_102_444_800 * per_second:
            return f"pandas.to_datetime(column, unit={unit!r})"
    if 29_221 <= first <= 73_051:
        return "pandas.to_datetime(column, unit='D', origin='1899-12-30')"
    return "pandas.to_datetime"


def refuse_unread_time(labels: Sequence[Any], columns: Sequence[pd.Series], table: str) -> None:
    """Raise DataError for a column that by its name and its growing numbers may be the time.

    Parameters
    ----------
    labels, columns : sequence
        Of a table in which no time was found, and nobody said what to forecast.
    table : str
        What the user calls it.
    """
    for label, column in zip(labels, columns, strict=True):
        if not (is_time_name(label) or str(label).lower() in _COUNTED):
            continue
        if not pd.api.types.is_numeric_dtype(column.dtype) or len(column) < 2:
            continue
        if not (column.is_monotonic_increasing and column.is_unique):
            continue
        first = _first_value(column)
        count = f"count by it with time_column={label!r}, " if isinstance(first, int) else ""
        raise DataError(
            f"The column {label!r} of {table} holds growing numbers, the first {first!r}, and may "
            f"be its time. Convert it with {conversion(first)}, {count}or name the columns to "
            "forecast with target=."
        )


def refuse_text_times(labels: Sequence[Any], columns: Sequence[pd.Series], table: str) -> None:
    """Raise DataError for text that is the time, by its name or by all or nearly all its values.

    Parameters
    ----------
    labels, columns : sequence
        Of a table in which no time was found; those without another role.
    table : str
        What the user calls it.
    """
    for label, column in zip(labels, columns, strict=True):
        if _is_text_of_times(column):
            raise DataError(
                f"{table} has no column that is known for its time, but {label!r} holds text that "
                f"looks like time stamps, the first {_first_value(column)!r}. Say that it is the "
                f"time with time_column={label!r}, or drop it to count the rows instead."
            )
        first = _first_value(column) if is_time_name(label) else None
        if isinstance(first, str) and any(sign.isdigit() for sign in first):
            raise DataError(
                f"{table} has a column {label!r}, but it holds text that is read as time in no "
                f"known way, the first {first!r}. Convert it with pandas.to_datetime(column, "
                "format=...), or drop it to count the rows instead."
            )


def _is_text_of_times(column: pd.Series) -> bool:
    if not len(column) or not may_be_text(column.dtype):
        return False
    rows = np.unique(np.linspace(0, len(column) - 1, _JUDGED).astype(int))
    strays = 0
    for value in column.iloc[rows].tolist():
        # Digits alone are as likely a number: of a batch, of a customer.
        stamp = isinstance(value, str) and not value.strip().isdigit()
        strays += not (stamp and _guess_format(value) is not None)
        if strays > min(_STRAY, (len(rows) - 1) // 8):
            return False
    return True


def write_time_column(index: pd.Index, form: str) -> pd.Series:
    """Write times as :func:`read_time_column` found them."""
    if form == "dates":
        return pd.Series(index.date, dtype=object)  # type: ignore[attr-defined, arg-type]
    if form.startswith("text:"):
        return pd.Series(_write_text(index, form.removeprefix("text:")))
    return index.to_series(index=pd.RangeIndex(len(index)))


def lost_in_writing(index: pd.Index, form: str) -> pd.Timestamp | None:
    """The first time that :func:`write_time_column` would cut short: an hour, written as a day."""
    how = form.removeprefix("text:")
    if form == "index" or not how or "%z" in how or how.endswith("Z"):
        return None
    times = pd.DatetimeIndex(index.unique())
    if form == "dates":
        written = times.normalize()
    else:
        written = pd.DatetimeIndex(pd.to_datetime(times.strftime(how), format=how))
    lost = times[written != times]
    return lost[0] if len(lost) else None


def _write_text(index: Any, how: str) -> list[str]:
    sep = "T" if "T" in how else " "
    if how.endswith("Z") and index.tz is not None:
        utc = index.tz_convert("UTC").tz_localize(None)
        return [f"{t.isoformat(sep=sep)}Z" for t in utc]
    if not how or "%z" in how:  # %z would write +0000, which the ISO form spells +00:00
        return [t.isoformat(sep=sep) for t in index]
    return list(index.strftime(how))


def is_time_name(label: Any) -> bool:
    """Tell whether a column called so is taken for the time, if it can be."""
    return isinstance(label, str) and label.lower().translate(_NO_JOINTS) in _TIME_NAMES


_NO_JOINTS = str.maketrans("", "", "_- ")


def _first_value(column: pd.Series) -> Any:
    position = int(np.asarray(column.notna()).argmax())
    # As a list, so that numbers are Python's own and read plainly in a message.
    return column.iloc[[position]].tolist()[0] if len(column) else None


def _holds_stamps(column: pd.Series) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _holds_stamps(pd.Series(dtype.categories))
    if isinstance(dtype, (pd.DatetimeTZDtype, pd.PeriodDtype)) or dtype.kind == "M":
        return True
    times = (datetime.date, np.datetime64)
    return pd.api.types.is_object_dtype(dtype) and isinstance(_first_value(column), times)


def _without_categories(column: pd.Series) -> pd.Series:
    """A column of categories as what these are; those of text stay, which is read once each."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column
    kind = column.dtype.categories.dtype
    whole = pd.api.types.is_integer_dtype(kind) and not column.hasnans
    return column.astype(kind) if whole or _holds_stamps(column) else column


def _guess_format(text: str, *, dayfirst: bool = False) -> str | None:
    # pandas guesses from the hours 1 to 11 of "AM" only; the format is the same for all.
    text = _TWELVE.sub(r"01\1AM", text)
    with warnings.catch_warnings():  # on day and month in the other order; both are tried
        warnings.simplefilter("ignore")
        return guess_datetime_format(text, dayfirst=dayfirst)


def _read_text(column: pd.Series, words: str, hint: str) -> tuple[pd.DatetimeIndex, str]:
    # A long table has each text many times: every distinct one is read once.
    codes, found = pd.factorize(column)
    texts = pd.Series(pd.Index(found).astype(object), dtype=object)
    index, form = _read_distinct(column, codes, texts, words, hint)
    if len(texts) == len(column):
        return index, form
    # Code -1, a missing text, is the last of these.
    missing = pd.DatetimeIndex([pd.NaT]).as_unit(index.unit).tz_localize(index.tz)
    return pd.DatetimeIndex(index.append(missing)[codes]), form


def _read_distinct(
    column: pd.Series, codes: np.ndarray, texts: pd.Series, words: str, hint: str
) -> tuple[pd.DatetimeIndex, str]:
    """Read the distinct texts of a column, of which ``codes`` are the places."""
    first = _first_value(column)
    if hint.startswith("text:") and hint != "text:":
        how = hint.removeprefix("text:")
        if how.endswith("Z") and _say_zulu(texts):
            how = f"{how.removesuffix('Z')}%z"
        index = _parse(texts, how)
        if index is not None:
            return index, hint
    form = _guess_format(first) if isinstance(first, str) else None
    forms = [form]
    if form is not None and not form.startswith("%Y"):
        forms.append(_guess_format(first, dayfirst=True))
    read = []
    for how in dict.fromkeys(f for f in forms if f):
        index = _parse(texts, how)
        if index is not None:
            # As the letter that it was, which a format would take for any letter Z.
            zulu = how.endswith("%z") and _say_zulu(texts)
            read.append((index, f"text:{how.removesuffix('%z')}Z" if zulu else f"text:{how}"))
    # 01/02/2020 can be a day of January or of February: the reading with even steps is right.
    even = [r for r in read if len(read) > 1 and infer_offset(r[0].sort_values()) is not None]
    if len(read) > 1 and len(even) != 1 and not read[0][0].equals(read[1][0]):
        raise DataError(
            f"Dates such as {first!r} in {words} make sense with the day first and with the month "
            "first. Convert the column with pandas.to_datetime(..., dayfirst=True) or False."
        )
    if read:
        return (even or read)[0]
    index = _parse(texts, "ISO8601")
    if index is not None:
        return index, "text:"
    read_as = pd.to_datetime(texts, format=form or "ISO8601", errors="coerce", utc=True)
    unread = np.asarray(read_as.isna())
    if not unread.any():  # offsets in some of them only
        offsets = _have_offset(texts)
        unread = offsets != offsets[0]
    bad = np.append(unread, False)[codes]  # code -1: a missing one
    row = int(bad.argmax())
    raise DataError(
        f"Expected time stamps in {words}, but {plural(int(bad.sum()), 'value')} cannot be read as "
        f"one, the first {column.iloc[row]!r} in row {row}. Correct it, convert the column with "
        "pandas.to_datetime, or name another time_column."
    )


def _parse(column: pd.Series, how: str) -> pd.DatetimeIndex | None:
    may_have_offset = "%z" in how or how == "ISO8601"
    n_offsets = int(_have_offset(column).sum()) if may_have_offset else 0
    if 0 < n_offsets < len(column):
        return None  # pandas would take the others for UTC, or for the offset of the first
    # One column with several UTC offsets is read in UTC.
    for utc in (False, True) if n_offsets else (False,):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                index = pd.Index(pd.to_datetime(column, format=how, utc=utc))
        except (ValueError, TypeError):
            continue
        if isinstance(index, pd.DatetimeIndex):
            return index
    return None


def _say_zulu(texts: pd.Series) -> bool:
    return all(str(text).endswith("Z") for text in texts)


def _have_offset(column: pd.Series) -> np.ndarray:
    return np.array([bool(_OFFSET.search(str(text))) for text in column], dtype=bool)
