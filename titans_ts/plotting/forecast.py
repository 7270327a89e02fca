"""Draw forecasts after what was known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from titans_ts.errors import ParameterError
from titans_ts.plotting.panels import Panel, Request, read_panels

__all__ = ["check_picture_path", "forecast_figure", "plot_forecast"]

# Up to this many panels stand in one column, more in two.
COLUMN_PANELS = 4
PANEL_WIDTH, PANEL_HEIGHT = 9.0, 2.1  # inches
SINGLE_HEIGHT = 3.8


def plot_forecast(
    history: Any,
    forecast: Any,
    *,
    bands: Any = None,
    actual: Any = None,
    channels: str | Sequence[str] | None = None,
    series: Any = None,
    last: int | None = None,
    id_column: str | None = None,
    time_column: str | None = None,
    ax: Any = None,
) -> Any:
    """Draw a forecast after the end of what was known, one panel per channel and series.

    Parameters
    ----------
    history : array of shape (time, channels), Series or DataFrame
        What was known; missing values leave a gap. A long frame holds several series.
    forecast : like history
        What ``predict`` returned. Columns such as ``OT_q0.1`` become bands: the outermost two
        enclose the first, and so on inwards. Without a column ``OT``, ``OT_q0.5`` is its line.
        Columns such as ``q0.1`` are quantiles of the only channel. A quantile without a partner
        is a line of dashes.
    bands : like history, optional
        What ``predict(quantiles=...)`` returned for the same times, where ``forecast`` has no
        quantiles; an array has the shape (time, channels, quantiles), with the channels of
        ``forecast``.
    actual : like history, optional
        What came, where that is known. Drawn up to the end of the forecast, and only what
        ``history`` does not have or what was forecast, so it may be the whole series.
    channels : str or sequence of str, optional
        Columns to draw; channels of arrays are called "0", "1" and so on. Default: all that are
        forecast, or the first 8.
    series : id or list of ids, optional
        Which series of long frames to draw, in this order. Default: the first few of ``forecast``,
        so that there are no more than 8 panels.
    last : int, optional
        Rows of history to draw. Default: four times the forecast.
    id_column, time_column : str, optional
        As for a forecaster; default: recognised.
    ax : matplotlib Axes or sequence of them, optional
        Where to draw, one for each panel. Default: those of a new figure of pyplot.

    Returns
    -------
    Axes or ndarray of Axes
        One Axes for one panel, an array of shape (panels,) for several: all channels of the first
        series, then those of the next. Nothing is shown and no style is changed: colours are
        those of the style in use.

    Raises
    ------
    DataError
        A table cannot be read, is not in order of time, or lacks a series or channel that is to be
        drawn; or ``bands`` are of other channels or times than ``forecast``.
    ParameterError
        ``last`` makes no sense, or ``ax`` is not one Axes for each panel.

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
    panels = read_panels(
        Request(history, forecast, bands, actual, channels, series, last, id_column, time_column)
    )
    if ax is None:
        # Here, not above: pyplot is only for figures that a user wants to see.
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_size(len(panels)), layout="constrained")
        axes = _fill_figure(figure, panels)
    else:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) != len(panels) or not all(isinstance(one, Axes) for one in axes):
            raise ParameterError(
                f"ax must hold one matplotlib Axes for each of the {len(panels)} channels drawn, "
                f"got {ax!r}. Name fewer channels, or leave ax out."
            )
        _draw(panels, axes)
        axes[0].legend(*_legend(axes), loc="upper left", ncols=2, fontsize="small")
    return axes[0] if len(axes) == 1 else axes


def forecast_figure(
    history: Any,
    forecast: Any,
    *,
    bands: Any = None,
    actual: Any = None,
    channels: str | Sequence[str] | None = None,
    series: Any = None,
    last: int | None = None,
    id_column: str | None = None,
    time_column: str | None = None,
) -> Figure:
    """Draw what :func:`plot_forecast` draws on a figure that pyplot does not know.

    For programs that write a picture to a file: no window, no backend, nothing to close.

    Parameters
    ----------
    history, forecast, bands, actual, channels, series, last, id_column, time_column
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
    panels = read_panels(
        Request(history, forecast, bands, actual, channels, series, last, id_column, time_column)
    )
    figure = Figure(figsize=_size(len(panels)), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    _fill_figure(figure, panels)
    return figure


def check_picture_path(path: str | Path) -> None:
    """Raise ParameterError unless the name of a file ends as a picture that can be written."""
    # pgf needs LaTeX, and raw bytes are no picture that can be looked at.
    known = sorted(set(FigureCanvasAgg.get_supported_filetypes()) - {"pgf", "raw", "rgba"})
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in known:
        raise ParameterError(
            f"A picture {str(path)!r} cannot be written: expected a name that ends in one of "
            f"{', '.join('.' + name for name in known)}."
        )


# -- drawing --------------------------------------------------------------------------------------


def _size(n_panels: int) -> tuple[float, float]:
    n_rows = -(-n_panels // _n_columns(n_panels))
    return PANEL_WIDTH, SINGLE_HEIGHT if n_rows == 1 else 0.6 + PANEL_HEIGHT * n_rows


def _n_columns(n_panels: int) -> int:
    return 1 if n_panels <= COLUMN_PANELS else 2


def _fill_figure(figure: Figure, panels: Sequence[Panel]) -> np.ndarray:
    n_panels, n_columns = len(panels), _n_columns(len(panels))
    n_rows = -(-n_panels // n_columns)
    # Series that end at other times have time axes of their own.
    together = len({panel.known[0][-1] for panel in panels}) == 1
    grid = figure.subplots(n_rows, n_columns, sharex=together, squeeze=False).ravel()
    for spare in grid[n_panels:]:
        spare.remove()
        # The panel above it is the last of its column now, and keeps the dates.
        grid[n_panels - n_columns].tick_params(labelbottom=True)
    axes = grid[:n_panels]
    _draw(panels, axes)
    # One legend says it for all panels.
    handles, labels = _legend(axes)
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


def _legend(axes: np.ndarray) -> tuple[list[Any], list[str]]:
    """What is drawn in any of the panels: not each has bands, or a line of the forecast."""
    named: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    return list(named.values()), list(named)


def _draw(panels: Sequence[Panel], axes: np.ndarray) -> None:
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(panel, ax)
        dates, tz = panel.clock
        if dates:
            ax.xaxis_date(tz=tz)
            locator = mdates.AutoDateLocator(tz=tz, minticks=4, maxticks=9)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=tz))


def _draw_panel(panel: Panel, ax: Axes) -> None:
    ink, accent = mpl.rcParams["text.color"], to_rgb("C0")
    x, y = panel.known
    _draw_line(ax, x, y, color=ink, alpha=0.5, linewidth=1.1, label="known")
    if panel.actual is not None:
        _draw_line(ax, *panel.actual, color=ink, alpha=0.9, linewidth=1.3, label="what came")
    if panel.line is not None:
        _draw_line(ax, panel.ahead, panel.line, color=accent, linewidth=1.7, label="forecast")
    if panel.single is not None:
        label, values = panel.single
        _draw_line(
            ax, panel.ahead, values, color=accent, linewidth=1.3, linestyle="--", label=label
        )
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
    ax.set_title(panel.title, loc="left", fontsize="medium")
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25, linewidth=0.6)


def _draw_line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A line, and a point where a value has no neighbour to draw a line to."""
    there = np.isfinite(np.asarray(y, dtype=np.float64))
    near = np.append(False, there[:-1]) | np.append(there[1:], False)
    alone = np.flatnonzero(there & ~near).tolist()
    points: dict[str, Any] = {"marker": "o", "markersize": 3, "markevery": alone} if alone else {}
    ax.plot(x, y, **style, **points)
