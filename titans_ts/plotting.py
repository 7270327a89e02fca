"""Pictures of forecasts; the only home of matplotlib."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from titans_ts.data.tables import open_table
from titans_ts.data.time_column import find_time_column, no_such_column, read_time_column
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int

__all__ = ["MAX_PANELS", "check_picture_path", "forecast_figure", "plot_forecast"]

#: Channels that are drawn where none are named: more would be too small to read.
MAX_PANELS = 8
# Up to this many panels stand in one column, more in two.
COLUMN_PANELS = 4
PANEL_WIDTH, PANEL_HEIGHT = 9.0, 2.1  # inches
SINGLE_HEIGHT = 3.8
# History that is drawn, in horizons: enough to see a rhythm, and the forecast stays wide.
HISTORY_HORIZONS = 4

_QUANTILE = re.compile(r"(?:(?P<channel>.*)_)?q(?P<level>0?\.\d+(?:e-\d+)?|\d+e-\d+)", re.DOTALL)


def plot_forecast(
    history: Any,
    forecast: Any,
    *,
    bands: Any = None,
    actual: Any = None,
    channels: str | Sequence[str] | None = None,
    last: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw a forecast after the end of what was known, one panel per channel.

    Parameters
    ----------
    history : array of shape (time, channels), Series or DataFrame
        What was known; missing values leave a gap.
    forecast : like history
        What ``predict`` returned. Columns such as ``OT_q0.1`` become bands: the outermost two
        enclose the first, and so on inwards. Without a column ``OT``, ``OT_q0.5`` is its line.
    bands : like history, optional
        What ``predict(quantiles=...)`` returned, where ``forecast`` has no quantiles; an array
        has the shape (time, channels, quantiles).
    actual : like history, optional
        What came, where that is known.
    channels : str or sequence of str, optional
        Columns to draw; channels of arrays are called "0", "1" and so on. Default: all that are
        forecast, or the first 8.
    last : int, optional
        Rows of history to draw. Default: four times the forecast.
    ax : matplotlib Axes or sequence of them, optional
        Where to draw, one for each channel. Default: those of a new figure of pyplot.

    Returns
    -------
    Axes or ndarray of Axes
        One Axes for one channel, an array of shape (channels,) for several. Nothing is shown and
        no style is changed: colours are those of the style in use.

    Raises
    ------
    DataError
        A table cannot be read, or lacks a channel that is to be drawn.
    ParameterError
        ``last`` makes no sense, or ``ax`` is not one Axes for each channel.

    Examples
    --------
    >>> from titans_ts import SeasonalNaiveForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> from titans_ts.plotting import plot_forecast
    >>> station = make_transformer_station(500, freq="h", random_state=0)
    >>> known, came = station[:-24], station[-24:]
    >>> forecaster = SeasonalNaiveForecaster(horizon=24).fit(known)
    >>> axes = plot_forecast(
    ...     known,
    ...     forecaster.predict(),
    ...     bands=forecaster.predict(quantiles=[0.1, 0.9]),
    ...     actual=came,
    ...     channels="OT",
    ... )
    >>> axes.get_title(loc="left")
    'OT'
    """
    panels, clock = _read_panels(history, forecast, bands, actual, channels, last)
    if ax is None:
        # Here, not above: pyplot is only for figures that a user wants to see.
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_size(len(panels)), layout="constrained")
        axes = _fill_figure(figure, panels, clock)
    else:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) != len(panels) or not all(isinstance(one, Axes) for one in axes):
            raise ParameterError(
                f"ax must hold one matplotlib Axes for each of the {len(panels)} channels drawn, "
                f"got {ax!r}. Name fewer channels, or leave ax out."
            )
        _draw(panels, clock, axes)
        axes[0].legend(loc="upper left", ncols=2, fontsize="small")
    return axes[0] if len(axes) == 1 else axes


def forecast_figure(
    history: Any,
    forecast: Any,
    *,
    bands: Any = None,
    actual: Any = None,
    channels: str | Sequence[str] | None = None,
    last: int | None = None,
) -> Figure:
    """Draw what :func:`plot_forecast` draws on a figure that pyplot does not know.

    For programs that write a picture to a file: no window, no backend, nothing to close.

    Parameters
    ----------
    history, forecast, bands, actual, channels, last
        As in :func:`plot_forecast`.

    Returns
    -------
    Figure
        ``figure.savefig(path)`` writes it.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.plotting import forecast_figure
    >>> figure = forecast_figure(np.arange(8.0)[:, None], np.array([[8.0], [9.0]]))
    >>> len(figure.axes)
    1
    """
    panels, clock = _read_panels(history, forecast, bands, actual, channels, last)
    figure = Figure(figsize=_size(len(panels)), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    _fill_figure(figure, panels, clock)
    return figure


def check_picture_path(path: str | Path) -> None:
    """Raise ParameterError unless the name of a file ends as a picture that can be written."""
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in known:
        raise ParameterError(
            f"A picture {str(path)!r} cannot be written: expected a name that ends in one of "
            f"{', '.join('.' + name for name in known)}."
        )


# -- reading --------------------------------------------------------------------------------------


class _Clock(NamedTuple):
    """What the x axis counts: days of matplotlib in a time zone, or rows."""

    dates: bool
    tz: datetime.tzinfo | None


class _Band(NamedTuple):
    label: str
    low: np.ndarray
    high: np.ndarray


class _Panel(NamedTuple):
    """All that is drawn of one channel."""

    channel: str
    known: tuple[np.ndarray, np.ndarray]  # x, y
    ahead: np.ndarray  # x of the forecast
    line: np.ndarray | None  # None: only quantiles are known, and no median
    actual: tuple[np.ndarray, np.ndarray] | None
    bands: list[_Band]


@dataclass(frozen=True)
class _Lines:
    """A table as named columns over one axis."""

    parameter: str  # what the caller calls it
    index: pd.Index | None  # None: rows are counted
    columns: dict[str, pd.Series]
    n_rows: int

    def __getitem__(self, channel: str) -> np.ndarray:
        if channel not in self.columns:
            raise no_such_column(channel, list(self.columns), "channels", table=self.parameter)
        try:
            return self.columns[channel].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"Column {channel!r} of {self.parameter} holds something else than numbers "
                f"({error}), so it cannot be drawn. Name others with channels=."
            ) from error


def _read_lines(table: Any, parameter: str) -> _Lines:
    opened = open_table(table)
    if opened is None:
        array = np.asarray(table, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise DataError(
                f"{parameter} has shape {array.shape}, expected (time, channels). Draw one series "
                "at a time, such as X[0]."
            )
        named = {str(i): pd.Series(column) for i, column in enumerate(array.T)}
        return _Lines(parameter, None, named, len(array))
    index, position = opened.index, None
    stamped = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    if not stamped and opened.container.endswith("DataFrame"):
        position = find_time_column(opened.labels, opened.columns)
    if position is not None:
        words = f"column {opened.labels[position]!r} of {parameter}"
        index, _ = read_time_column(opened.columns[position], words)
    named = {
        "0" if label in (None, "") else str(label): column
        for i, (label, column) in enumerate(zip(opened.labels, opened.columns, strict=True))
        if i != position
    }
    return _Lines(parameter, index, named, len(opened.columns[0]) if opened.columns else 0)


def _read_panels(
    history: Any, forecast: Any, bands: Any, actual: Any, channels: Any, last: int | None
) -> tuple[list[_Panel], _Clock]:
    check_int("last", last, optional=True)
    known, ahead = _read_lines(history, "history"), _read_lines(forecast, "forecast")
    came = None if actual is None else _read_lines(actual, "actual")
    if not known.n_rows or not ahead.n_rows:
        raise DataError(
            f"history has {known.n_rows} rows and forecast {ahead.n_rows}; expected some of both."
        )
    names = _channel_names(known, ahead, channels)
    levels = _quantile_columns(ahead, names)
    if bands is not None:
        levels |= _read_bands(bands, names)
    shown = slice(max(known.n_rows - (last or HISTORY_HORIZONS * ahead.n_rows), 0), None)
    clock = _clock(known)
    x_known, x_ahead = _positions(known, clock, 0), _positions(ahead, clock, known.n_rows)
    panels = []
    for name in names:
        own = levels.get(name, {})
        x, y = x_known[shown], known[name][shown]
        line = ahead[name] if name in ahead.columns else own.get("0.5")
        nested = _nested(own, name, ahead.n_rows)
        if np.isfinite(y[-1]):
            # All starts from the last known value: no hole, and a single step is a line too.
            line = None if line is None else np.insert(line, 0, y[-1])
            nested = [_Band(b.label, *(np.insert(v, 0, y[-1]) for v in b[1:])) for b in nested]
            x_all = np.insert(x_ahead, 0, x[-1])
        else:
            x_all = x_ahead
        then = None
        if came is not None:
            then = _positions(came, clock, known.n_rows), came[name]
            if np.isfinite(y[-1]):
                then = np.insert(then[0], 0, x[-1]), np.insert(then[1], 0, y[-1])
        panels.append(_Panel(name, (x, y), x_all, line, then, nested))
    return panels, clock


def _channel_names(known: _Lines, ahead: _Lines, channels: Any) -> list[str]:
    if channels is not None:
        names = [channels] if isinstance(channels, str) else [str(name) for name in channels]
        if not names:
            raise ParameterError("channels is empty, expected at least one column to draw.")
        return names
    # A column OT_q0.1 is a quantile of OT, unless it was a column of the data.
    split = {name: _QUANTILE.fullmatch(name) for name in ahead.columns}
    names = [
        name if match is None or name in known.columns else match["channel"] or "0"
        for name, match in split.items()
    ]
    return list(dict.fromkeys(names))[:MAX_PANELS]


def _quantile_columns(lines: _Lines, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Quantiles of each channel by level."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for column in lines.columns:
        match = _QUANTILE.fullmatch(column)
        channel = None if match is None else match["channel"] or "0"
        if match is not None and channel in names and column not in names:
            found.setdefault(str(channel), {})[match["level"]] = lines[column]
    return found


def _read_bands(bands: Any, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    if open_table(bands) is not None:
        return _quantile_columns(_read_lines(bands, "bands"), names)
    array = np.asarray(bands, dtype=np.float64)
    if array.ndim != 3:
        raise DataError(
            f"bands has shape {array.shape}, expected (time, channels, quantiles) as "
            "predict(quantiles=...) returns it."
        )
    # An array does not say its levels; their order is all that is known.
    return {
        str(i): {f"#{j}": array[:, i, j] for j in range(array.shape[2])}
        for i in range(array.shape[1])
    }


def _nested(levels: dict[str, np.ndarray], channel: str, n_rows: int) -> list[_Band]:
    """Pairs of quantiles from the outside in; a median in the middle is left over."""
    bands: list[_Band] = []
    for (low, lower), (high, upper) in zip(levels.items(), reversed(levels.items()), strict=True):
        if len(lower) != n_rows:
            raise DataError(
                f"bands has {len(lower)} rows of {channel!r}, expected {n_rows} as in forecast."
            )
        if 2 * len(bands) + 1 >= len(levels):
            break
        named = not low.startswith("#")
        label = f"{_percent(low)} to {_percent(high)} %" if named else "quantiles"
        bands.append(_Band(label, lower, upper))
    return bands


def _percent(level: str) -> str:
    return f"{100 * float(level):g}"


def _clock(lines: _Lines) -> _Clock:
    index = lines.index
    dates = isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))
    return _Clock(dates, index.tz if isinstance(index, pd.DatetimeIndex) else None)


def _positions(lines: _Lines, clock: _Clock, first_row: int) -> np.ndarray:
    index = lines.index
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index, pd.DatetimeIndex) != clock.dates:
        first, then = ("time stamps", "none") if clock.dates else ("no time stamps", "some")
        raise DataError(
            f"history has {first}, but {lines.parameter} has {then}; expected tables of one kind, "
            "as fit and predict take and return them."
        )
    if isinstance(index, pd.DatetimeIndex):
        utc = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
        return np.asarray(mdates.date2num(utc.to_numpy()))
    if index is not None and pd.api.types.is_integer_dtype(index.dtype):
        return index.to_numpy(dtype=np.float64)
    return np.arange(first_row, first_row + lines.n_rows, dtype=np.float64)


# -- drawing --------------------------------------------------------------------------------------


def _size(n_panels: int) -> tuple[float, float]:
    n_rows = -(-n_panels // _n_columns(n_panels))
    return PANEL_WIDTH, SINGLE_HEIGHT if n_rows == 1 else 0.6 + PANEL_HEIGHT * n_rows


def _n_columns(n_panels: int) -> int:
    return 1 if n_panels <= COLUMN_PANELS else 2


def _fill_figure(figure: Figure, panels: Sequence[_Panel], clock: _Clock) -> np.ndarray:
    n_panels, n_columns = len(panels), _n_columns(len(panels))
    n_rows = -(-n_panels // n_columns)
    grid = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    for spare in grid[n_panels:]:
        spare.remove()
        # The panel above it is the last of its column now, and keeps the dates.
        grid[n_panels - n_columns].tick_params(labelbottom=True)
    axes = grid[:n_panels]
    _draw(panels, clock, axes)
    # One legend says it for all panels.
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize="small",
        handlelength=1.4,
        columnspacing=1.2,
    )
    return axes


def _draw(panels: Sequence[_Panel], clock: _Clock, axes: np.ndarray) -> None:
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(panel, ax)
        if clock.dates:
            ax.xaxis_date(tz=clock.tz)
            locator = mdates.AutoDateLocator(tz=clock.tz, minticks=4, maxticks=9)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=clock.tz))


def _draw_panel(panel: _Panel, ax: Axes) -> None:
    ink, accent = mpl.rcParams["text.color"], to_rgb("C0")
    x, y = panel.known
    ax.plot(x, y, color=ink, alpha=0.5, linewidth=1.1, label="known")
    if panel.actual is not None:
        ax.plot(*panel.actual, color=ink, alpha=0.9, linewidth=1.3, label="what came")
    if panel.line is not None:
        ax.plot(panel.ahead, panel.line, color=accent, linewidth=1.7, label="forecast")
    for number, band in enumerate(panel.bands):
        ax.fill_between(
            panel.ahead,
            band.low,
            band.high,
            color=accent,
            alpha=min(0.18 + 0.12 * number, 0.5),
            linewidth=0,
            label=band.label,
        )
    ax.axvline(x[-1], color=ink, alpha=0.4, linewidth=0.8, linestyle=":")
    ax.set_title(panel.channel, loc="left", fontsize="medium")
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25, linewidth=0.6)
