"""Folds: what of a test fold a fitted forecaster is judged on, and which folds are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.time_axis import TimeAxis, labels_of
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError

__all__ = ["FoldError", "JudgedWindows", "judged_windows"]

_WAY_OUT = (
    "Use RollingOriginSplit(horizon=...) as cv, which trains each fold on the rows before its test "
    "rows."
)


class FoldError(DataError):
    """A test fold that says nothing about forecasts: the splitter does not follow time."""


class JudgedWindows(NamedTuple):
    """Windows of some series of a fold."""

    windows: WindowIndex
    truth: WindowIndex  # the same windows, with what their forecasts are compared with
    series: np.ndarray  # which series of the fold these are


class _Place(NamedTuple):
    """Where each series of a fold stands against the training rows."""

    fitted: np.ndarray  # (n_series,), which series of fit it is; -1: none
    trained: np.ndarray  # how many of its rows are not later than the last row of its own in fit
    # How many of its rows are not later than the last training row of any; less than 0 where it
    # lacks steps that a gap leaves out anyway.
    before: np.ndarray
    linked: np.ndarray  # bool: what fit kept goes on in the fold without a gap


def judged_windows(
    forecaster: BaseForecaster, series: SeriesSet, truth: SeriesSet, layout: Layout, gap: int
) -> list[JudgedWindows]:
    """Find the windows of a test fold whose target is later than every training row.

    Contexts reach back into what the forecaster kept in ``fit``, so they do not depend on how
    many rows of context the fold has; a fold that is not linked to it by time or by common rows
    needs full contexts of its own.

    Parameters
    ----------
    forecaster : BaseForecaster
        Fitted on the training rows.
    series, layout : SeriesSet and Layout
        The fold, as the forecaster reads it.
    truth : SeriesSet
        The same rows, less what is not to be judged.
    gap : int
        Rows after the last training row that are not judged.

    Returns
    -------
    list of JudgedWindows
        With at least one window.

    Raises
    ------
    FoldError
        The fold is not later than the training rows, or nothing shows that it is.
    DataError
        No origin of the fold can be judged.
    """
    place = _place(forecaster, series, layout, gap)
    first = place.before + gap
    parts = []
    linked = np.flatnonzero(place.linked)
    if len(linked):
        kept = forecaster.context_.select(place.fitted[linked])
        starts, ends = place.trained[linked], series.lengths[linked]
        joined = kept.followed_by(series.select(linked).rows(starts, ends))
        judged = kept.followed_by(truth.select(linked).rows(starts, ends))
        origins = kept.lengths + (first - place.trained)[linked]
        parts.append(_windows(forecaster, joined, judged, layout, linked, origins))
    alone = np.flatnonzero(~place.linked & (place.fitted >= 0))
    if len(alone):
        origins = np.maximum(first[alone], forecaster.context_length_)
        own = series.select(alone), truth.select(alone)
        parts.append(_windows(forecaster, *own, layout, alone, origins))
    parts = [part for part in parts if len(part.windows)]
    if not parts:
        most = int((series.lengths - first.clip(0, series.lengths)).max())
        raise DataError(
            f"No origin of the test fold can be judged: its longest series has {most} rows after "
            f"the training rows and a gap of {gap}, and a horizon of {forecaster.horizon} needs as "
            f"many, after a context of {forecaster.context_length_} rows. Give "
            "RollingOriginSplit a horizon of at least that of the forecaster, and a "
            f"context_length of at least {forecaster.context_length_} if there is a gap."
        )
    return parts


def _windows(
    forecaster: BaseForecaster,
    series: SeriesSet,
    truth: SeriesSet,
    layout: Layout,
    numbers: np.ndarray,
    first_origin: np.ndarray,
) -> JudgedWindows:
    of_these = layout.select(numbers) if layout.ids else layout
    series = forecaster._with_calendar(series, of_these, forecaster.layout_)
    windows = WindowIndex(
        series, forecaster.context_length_, forecaster.horizon, first_origin=first_origin
    )
    return JudgedWindows(windows, replace(windows, series=truth), numbers)


def _place(forecaster: BaseForecaster, series: SeriesSet, layout: Layout, gap: int) -> _Place:
    fitted, fold = forecaster.layout_.time, layout.time
    if (fitted is None) != (fold is None):
        raise DataError(
            "The test fold must have time stamps where the training rows have them. Give both the "
            "same kind of table."
        )
    if fitted is None or fold is None:
        return _place_by_values(forecaster, series, layout, gap)
    return _place_by_time(forecaster.layout_, layout, fitted, fold, series.lengths, gap)


# -- by time --------------------------------------------------------------------------------------


def _place_by_time(
    known: Layout,
    layout: Layout,
    fitted: TimeAxis,
    fold: TimeAxis,
    lengths: np.ndarray,
    gap: int,
) -> _Place:
    fitted.check_kind(fold.kind, fold.tz, "The test fold")
    last = np.array(fitted.last, dtype=np.int64)
    end = int(last.max())
    which = np.zeros(len(lengths), dtype=np.int64)
    if layout.ids:
        ids = pd.Index(known.ids, dtype=object)
        which = ids.get_indexer(pd.Index(layout.ids, dtype=object))
    unit = fitted.unit
    before = _rows_until(fold, np.full(len(lengths), end), lengths, unit)
    trained = np.where(which >= 0, _rows_until(fold, last[which], lengths, unit), 0)
    if (before == lengths).all():
        stamps = fitted.index_of(np.array([min(fitted.first), end], dtype=np.int64))
        raise FoldError(
            "The test fold has no row later than the training rows, which go from "
            f"{stamps[0]} to {stamps[1]}: the folds were cut across series, or shuffled, and not "
            f"by time. {_WAY_OUT}"
        )
    strange = np.flatnonzero((which < 0) & (before > 0))
    if len(strange):
        name = layout.ids[int(strange[0])]
        raise FoldError(
            f"The test fold has series that no training row is of, at the times of the training "
            f"rows: {len(strange)} such, the first {name!r}. The folds were cut across series, "
            f"not by time. {_WAY_OUT}"
        )
    following = _ticks(fitted, labels_of(fitted.future_of_all(1)), unit)[which]
    starts = _ticks(fold, np.array(fold.first, dtype=np.int64), unit)
    linked = (which >= 0) & ((trained > 0) | (starts == following))
    if gap:
        # A fold that starts later than right after the training rows has left some of it out.
        after = replace(fitted, first=(end,), last=(end,)).future(gap)
        before = before - np.searchsorted(_ticks(fitted, labels_of(after), unit), starts)
    return _Place(which, trained, before, linked)


def _ticks(axis: TimeAxis, labels: np.ndarray, unit: str) -> np.ndarray:
    """Labels of an axis in another unit of time."""
    if axis.kind != "stamps" or axis.unit == unit:
        return labels
    return labels.view(f"M8[{axis.unit}]").astype(f"M8[{unit}]").astype(np.int64)


def _rows_until(axis: TimeAxis, limits: np.ndarray, lengths: np.ndarray, unit: str) -> np.ndarray:
    """How many rows of each series are not later than its limit."""
    counts = np.empty(len(lengths), dtype=np.int64)
    seen: dict[tuple[int, int, int], int] = {}
    for i, (first, limit, length) in enumerate(
        zip(axis.first, limits.tolist(), lengths.tolist(), strict=True)
    ):
        # A panel has few different beginnings and ends.
        key = (first, limit, length)
        if key not in seen:
            at = replace(axis, first=(first,), last=(first,))
            labels = np.concatenate([[first], labels_of(at.future(length - 1))])
            seen[key] = int(
                np.searchsorted(_ticks(axis, labels.astype(np.int64), unit), limit, side="right")
            )
        counts[i] = seen[key]
    return counts


# -- by values ------------------------------------------------------------------------------------


def _place_by_values(
    forecaster: BaseForecaster, series: SeriesSet, layout: Layout, gap: int
) -> _Place:
    """Place a fold without time: it must begin with rows with which the training rows end."""
    kept, several = forecaster.context_, layout.container == "numpy3d"
    n_rows = int(series.lengths[0])
    fitting: list[int] = []
    if kept.n_series == series.n_series:
        shape = (series.n_series, -1, len(series.channels))
        fitting = _common_rows(
            _nan(kept).reshape(shape), _nan(series).reshape(shape), n_rows - forecaster.horizon
        )
    if not fitting:
        if several:
            raise FoldError(
                f"The test fold holds {series.n_series} series of a 3-D array, which scikit-learn "
                "cuts along its first axis: across series, not by time. Give a long table with "
                f"columns for id and time. {_WAY_OUT}"
            )
        raise FoldError(
            "Nothing shows that the test fold follows the training rows: neither has time stamps, "
            "and the fold does not begin with rows with which the training rows end. Give a frame "
            "with time stamps, or use RollingOriginSplit(horizon=...) as cv, whose test folds do "
            "(with a context_length larger than the gap)."
        )
    if len(fitting) > 1:
        raise FoldError(
            "Nothing shows where the test fold follows the training rows: neither has time stamps, "
            f"and values repeat, so that its first {fitting[-1]} or {fitting[-2]} rows may be "
            "those with which the training rows end. Give a frame with time stamps, or "
            f"RollingOriginSplit a context_length of at least {int(kept.lengths[0]) + gap}, with "
            "which a fold has all rows that the forecaster kept."
        )
    each = np.full(series.n_series, fitting[0])
    numbers = np.arange(series.n_series)
    return _Place(numbers, each, each, np.ones(series.n_series, dtype=bool))


def _nan(series: SeriesSet) -> np.ndarray:
    return np.where(series.observed, series.values, np.nan)


def _common_rows(kept: np.ndarray, fold: np.ndarray, most: int) -> list[int]:
    """How many rows of the fold may be the last of those kept, or come before them.

    At most ``most``, and all numbers that fit, the largest first. One alone where all rows that
    were kept are in the fold: contexts are right wherever these are found, and after the last
    such place no training row is judged.
    """
    same = _equal(fold, kept[:, -1:])
    fitting = []
    for count in np.flatnonzero(same[:most])[::-1] + 1:
        rows = min(int(count), kept.shape[1])
        if not _equal(fold[:, count - rows : count], kept[:, -rows:]).all():
            continue
        if rows == kept.shape[1]:
            return [int(count)]
        fitting.append(int(count))
    return fitting


def _equal(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which rows are equal in all series and channels."""
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=(0, 2))
