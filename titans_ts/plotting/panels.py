"""Panels: what is drawn of each channel of each series, in numbers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib.dates as mdates
import numpy as np
import pandas as pd

from titans_ts.data.quantile_names import read_quantile_name
from titans_ts.data.tables import Label, open_table
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int
from titans_ts.plotting.tables import Lines, Source, as_numbers, open_source, pick_series

__all__ = ["MAX_PANELS", "Band", "Clock", "Panel", "Request", "read_panels"]

#: Panels that are drawn where nothing is named: more would be too small to read.
MAX_PANELS = 8
# History that is drawn, in horizons: enough to see a rhythm, and the forecast stays wide.
HISTORY_HORIZONS = 4

# Quantiles of a channel by level, or by "#0", "#1", ... where an array does not say them.
Levels = dict[float | str, np.ndarray]


class Clock(NamedTuple):
    """What the x axis counts: days of matplotlib in a time zone, or rows."""

    dates: bool
    tz: datetime.tzinfo | None


class Band(NamedTuple):
    """What lies between two quantiles."""

    label: str
    low: np.ndarray
    high: np.ndarray


class SingleQuantile(NamedTuple):
    """A quantile that has no other to make a band with."""

    label: str
    values: np.ndarray


class Panel(NamedTuple):
    """All that is drawn of one channel of one series."""

    title: str
    clock: Clock
    known: tuple[np.ndarray, np.ndarray]  # x, y
    ahead: np.ndarray  # x of the forecast
    line: np.ndarray | None  # None: only quantiles are known, and no median
    actual: tuple[np.ndarray, np.ndarray] | None
    bands: list[Band]
    single: SingleQuantile | None


@dataclass(frozen=True)
class Request:
    """What :func:`titans_ts.plotting.plot_forecast` is asked to draw."""

    history: Any
    forecast: Any
    bands: Any
    actual: Any
    channels: str | Sequence[str] | None
    series: Any
    last: int | None
    id_column: Label
    time_column: Label


class _Tables(NamedTuple):
    """The tables of one series."""

    known: Lines
    ahead: Lines
    came: Lines | None
    bands: Lines | np.ndarray | None  # an array of shape (time, channels, quantiles)


def read_panels(asked: Request) -> list[Panel]:
    """Read tables into panels: all channels of the first series, then those of the next.

    Raises
    ------
    DataError
        A table cannot be read, or lacks a series or channel that is to be drawn.
    ParameterError
        ``last`` or ``channels`` makes no sense.
    """
    check_int("last", asked.last, optional=True)
    columns: dict[str, Any] = {"id_column": asked.id_column, "time_column": asked.time_column}
    history = open_source(asked.history, "history", **columns)
    forecast = open_source(asked.forecast, "forecast", **columns)
    came = None if asked.actual is None else open_source(asked.actual, "actual", **columns)
    bands: Source | np.ndarray | None = None
    if asked.bands is not None:
        is_table = open_table(asked.bands) is not None
        bands = (
            open_source(asked.bands, "bands", **columns) if is_table else _band_array(asked.bands)
        )
    panels: list[Panel] = []
    for name in pick_series(history, forecast, asked.series, MAX_PANELS):
        tables = _Tables(
            history.lines(name),
            forecast.lines(name),
            None if came is None else came.lines(name),
            bands.lines(name) if isinstance(bands, Source) else bands,
        )
        own = _series_panels(tables, asked.channels, asked.last, name, forecast.ids is not None)
        # Whole series only; and at least one, however many channels are named.
        if asked.series is None and panels and len(panels) + len(own) > MAX_PANELS:
            break
        panels += own
    return panels


def _series_panels(
    tables: _Tables, channels: Any, last: int | None, series: Label, long: bool
) -> list[Panel]:
    known, ahead, came, _ = tables
    if not known.n_rows or not ahead.n_rows:
        raise DataError(
            f"history has {known.n_rows} rows and forecast {ahead.n_rows}; expected some of both."
        )
    bare = _bare_channel(known, ahead, channels)
    names = _channel_names(known, ahead, channels, bare)
    levels = _quantile_columns(ahead, names, bare)
    if tables.bands is not None:
        levels |= _band_levels(tables.bands, ahead, names, bare)
    shown = slice(max(known.n_rows - (last or HISTORY_HORIZONS * ahead.n_rows), 0), None)
    clock = _clock(known)
    x_known = _positions(known, clock, Counting(0, 1))
    # Rows without labels follow those that are known, which may be counted from anywhere.
    step = x_known[-1] - x_known[-2] if len(x_known) > 1 else 1.0
    follow = Counting(x_known[-1] + step, step)
    x_ahead = _positions(ahead, clock, follow)
    if isinstance(tables.bands, Lines):
        _check_times(tables.bands, x_ahead, clock, follow)
    panels = []
    for name in names:
        own = levels.get(name, {})
        x, y = x_known[shown], known[name][shown]
        line = ahead[name] if name in ahead.columns else own.get(0.5)
        nested, single = _nested(own, name, ahead.n_rows), _single(own)
        follows = np.isfinite(y[-1]) and x_ahead[0] > x[-1]
        if follows:
            # All starts from the last known value: no hole, and a single step is a line too.
            line = None if line is None else np.insert(line, 0, y[-1])
            nested = [Band(b.label, *(np.insert(v, 0, y[-1]) for v in b[1:])) for b in nested]
            if single is not None:
                single = SingleQuantile(single.label, np.insert(single.values, 0, y[-1]))
            x_all = np.insert(x_ahead, 0, x[-1])
        else:
            x_all = x_ahead
        then = None
        if came is not None:
            then = _beside(_positions(came, clock, follow), came[name], x_ahead, x[-1])
            if not len(then[0]):
                then = None
            elif np.isfinite(y[-1]) and then[0][0] > x[-1]:
                then = np.insert(then[0], 0, x[-1]), np.insert(then[1], 0, y[-1])
        title = name if not long else str(series) if len(names) == 1 else f"{series}: {name}"
        panels.append(Panel(title, clock, (x, y), x_all, line, then, nested, single))
    return panels


def _bare_channel(known: Lines, ahead: Lines, channels: Any) -> str:
    """Whose quantiles columns such as ``q0.1`` are, which long tables of one target have."""
    if np.isscalar(channels):
        return str(channels)
    read = {name: read_quantile_name(name) for name in ahead.columns}
    named = [name for name, parts in read.items() if parts is None]
    for candidates in (named, list(known.columns), list(channels or ())):
        if len(candidates) == 1:
            return str(candidates[0])
    if "0" not in known.columns and any(parts and parts[0] is None for parts in read.values()):
        raise DataError(
            "forecast has quantiles without the name of their column, and history has the "
            f"columns {', '.join(map(repr, known.columns))}. Name the one that was forecast "
            "with channels=."
        )
    return "0"


def _channel_names(known: Lines, ahead: Lines, channels: Any, bare: str) -> list[str]:
    if channels is not None:
        names = [str(name) for name in ([channels] if np.isscalar(channels) else channels)]
        if not names:
            raise ParameterError("channels is empty, expected at least one column to draw.")
        return names
    # A column OT_q0.1 is a quantile of OT, unless it was a column of the data.
    read = {name: read_quantile_name(name) for name in ahead.columns}
    names = [
        name if parts is None or name in known.columns else parts[0] or bare
        for name, parts in read.items()
    ]
    return list(dict.fromkeys(names))[:MAX_PANELS]


def _quantile_columns(lines: Lines, names: Sequence[str], bare: str) -> dict[str, Levels]:
    """Quantiles of each channel by level."""
    found: dict[str, dict[float, np.ndarray]] = {}
    for column in lines.columns:
        if column in names or (parts := read_quantile_name(column)) is None:
            continue
        channel, level = parts[0] or bare, parts[1]
        if channel in names:
            found.setdefault(channel, {})[level] = lines[column]
    # Bands are pairs from the outside in, whatever the order of the columns.
    return {name: dict(sorted(own.items())) for name, own in found.items()}


def _band_levels(
    bands: Lines | np.ndarray, ahead: Lines, names: Sequence[str], bare: str
) -> dict[str, Levels]:
    """Quantiles of each channel by level, of a table or array that holds nothing else."""
    if not isinstance(bands, Lines):
        if bands.shape[1] != len(ahead.columns):
            raise DataError(
                f"bands has shape {bands.shape} (time, channels, quantiles), expected one channel "
                f"for each of the {len(ahead.columns)} columns of forecast."
            )
        return _unnamed_quantiles(bands, list(ahead.columns))
    found = _quantile_columns(bands, names, bare)
    if not found:
        raise DataError(
            f"bands has no quantiles of {', '.join(map(repr, names))}; its columns are "
            f"{', '.join(map(repr, bands.columns))}. Expected names such as "
            f"{names[0] + '_q0.1'!r}, as predict(quantiles=...) returns them."
        )
    return found


def _band_array(bands: Any) -> np.ndarray:
    array = as_numbers(bands, "bands")
    if array.ndim != 3:
        raise DataError(
            f"bands has shape {array.shape}, expected (time, channels, quantiles) as "
            "predict(quantiles=...) returns it."
        )
    return array


def _unnamed_quantiles(array: np.ndarray, channels: Sequence[str]) -> dict[str, Levels]:
    return {
        name: {f"#{j}": array[:, i, j] for j in range(array.shape[2])}
        for i, name in enumerate(channels)
    }


def _nested(levels: Levels, channel: str, n_rows: int) -> list[Band]:
    """Pairs of quantiles from the outside in; a median in the middle is left over."""
    bands: list[Band] = []
    for (low, lower), (high, upper) in zip(levels.items(), reversed(levels.items()), strict=True):
        if len(lower) != n_rows:
            raise DataError(
                f"bands has {len(lower)} rows of {channel!r}, expected {n_rows} as in forecast."
            )
        if 2 * len(bands) + 1 >= len(levels):
            break
        named = isinstance(low, float) and isinstance(high, float)
        label = f"{100 * low:g} to {100 * high:g} %" if named else "quantiles"
        bands.append(Band(label, lower, upper))
    return bands


def _single(levels: Levels) -> SingleQuantile | None:
    """What the pairs leave over, unless that is a median."""
    # Of several without names, the middle is taken for the median, which the forecast's line is.
    if not len(levels) % 2 or (len(levels) > 1 and "#0" in levels):
        return None
    level = list(levels)[len(levels) // 2]
    if level == 0.5:
        return None
    label = f"{100 * level:g} % quantile" if isinstance(level, float) else "quantile"
    return SingleQuantile(label, levels[level])


def _beside(
    x: np.ndarray, y: np.ndarray, x_ahead: np.ndarray, last_known: float
) -> tuple[np.ndarray, np.ndarray]:
    """What came from the forecast's start to its end, and before it what was not known."""
    start = x > last_known if x_ahead[0] > last_known else x >= x_ahead[0]
    shown = start & (x <= x_ahead[-1])
    return x[shown], y[shown]


def _clock(lines: Lines) -> Clock:
    index = lines.index
    dates = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    return Clock(dates, index.tz if isinstance(index, pd.DatetimeIndex) else None)


def _check_times(bands: Lines, x_ahead: np.ndarray, clock: Clock, follow: Counting) -> None:
    """Refuse bands of other times than the forecast, around which they would be drawn."""
    x = _positions(bands, clock, follow)
    if len(x) != len(x_ahead) or np.array_equal(x, x_ahead):
        return  # another number of rows is refused where they are paired
    row = int((x != x_ahead).argmax())
    where = f": row {row} is of {bands.index[row]}" if bands.index is not None else ""
    raise DataError(
        f"bands is of other times than forecast{where}. Give what predict(quantiles=...) returns "
        "for the same rows."
    )


class Counting(NamedTuple):
    """Places of rows without labels."""

    first: float
    step: float


def _positions(lines: Lines, clock: Clock, counting: Counting) -> np.ndarray:
    index = lines.index
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index, pd.DatetimeIndex) != clock.dates:
        first, then = ("time stamps", "none") if clock.dates else ("no time stamps", "some")
        raise DataError(
            f"history has {first}, but {lines.parameter} has {then}; expected tables of one kind, "
            "as fit and predict take and return them."
        )
    if isinstance(index, pd.DatetimeIndex) and (index.tz is None) != (clock.tz is None):
        with_, without = ("history", lines.parameter)[:: -1 if clock.tz is None else 1]
        raise DataError(
            f"{with_} has a time zone, but {without} has none; expected both alike. Give the one "
            "its zone with tz_localize(), or take the other's away with tz_localize(None)."
        )
    counts = index is not None and pd.api.types.is_integer_dtype(index.dtype)
    if index is not None and (clock.dates or counts) and not index.is_monotonic_increasing:
        raise DataError(
            f"The rows of {lines.parameter} are not in order of time; expected the oldest row "
            "first. Sort them, for example with sort_index()."
        )
    if isinstance(index, pd.DatetimeIndex):
        utc = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
        return np.asarray(mdates.date2num(utc.to_numpy()))
    if index is not None and counts:
        return index.to_numpy(dtype=np.float64)
    return counting.first + counting.step * np.arange(lines.n_rows, dtype=np.float64)
