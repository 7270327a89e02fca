"""Which rows a forecaster learns from, and on which its learning is judged."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError, ParameterError

__all__ = ["TrainingWindows", "set_validation_aside", "training_windows"]


class TrainingWindows(NamedTuple):
    """What a forecaster learns from."""

    train: WindowIndex  # no target of these touches a validation row
    validation: WindowIndex | None  # None: no rows were set aside


def set_validation_aside(
    series: SeriesSet,
    layout: Layout,
    validation: Any,
    *,
    horizon: int,
    fraction: float,
    read: Callable[[Any], tuple[SeriesSet, Layout]],
) -> tuple[SeriesSet, np.ndarray, Layout]:
    """Tell the rows that are learnt from and those that are judged apart.

    Parameters
    ----------
    series, layout
        What was read from X.
    validation : None, int or table
        The parameter of ``fit``.
    horizon : int
    fraction : float
        Of the rows, at the end, where ``validation`` is None.
    read : callable
        Reads a table as X was read.

    Returns
    -------
    joined : SeriesSet
        Rows of both kinds.
    n_train : ndarray of shape (n_series,)
        How many of each series are learnt from.
    layout : Layout
        Of the last rows.

    Raises
    ------
    ParameterError, DataError
        The rows do not suffice, or do not follow X.
    """
    if validation is None:
        # Short series keep their rows: a tail that holds no whole target would judge nothing.
        n_tail = (series.lengths * fraction).astype(np.int64)
        n_tail = np.where(n_tail >= horizon, n_tail, 0)
        return series, series.lengths - n_tail, layout
    if isinstance(validation, Integral) and not isinstance(validation, bool):
        n = int(validation)
        if n and not horizon <= n < series.lengths.min():
            raise ParameterError(
                f"validation={n} rows cannot be set aside: expected at least the horizon "
                f"({horizon}), and fewer than the shortest series has ({series.lengths.min()})."
            )
        return series, series.lengths - n, layout
    if isinstance(validation, (Real, str, dict)):
        # As Python writes it, not numpy: np.float64(0.2).
        plain = validation.item() if isinstance(validation, np.generic) else validation
        shown = f"{plain!r:.50}"
        help_ = "Give how many of the last rows it is, or rows that follow X."
        if isinstance(plain, float) and 0 < plain < 1:
            help_ = f"For a fraction of the rows set validation_fraction={shown} in the forecaster."
        raise ParameterError(
            "validation must be a number of rows at the end of X, or a table like X, got "
            f"{shown}. {help_}"
        )
    later, later_layout = read(validation)
    if later_layout.channels != layout.channels:
        raise DataError(
            f"validation has the columns {list(later_layout.channels)}, expected "
            f"{list(layout.channels)}, as in X."
        )
    if layout.ids or later_layout.ids:
        order = layout.positions_of(later_layout, "validation")
        later, later_layout = later.select(order), later_layout.select(order)
    if later.lengths.min() < horizon:
        raise DataError(
            f"validation has {later.lengths.min()} rows, fewer than the horizon "
            f"({horizon}); not one forecast could be judged."
        )
    layout.check_followed_by(later_layout)
    return series.followed_by(later), series.lengths, later_layout


def training_windows(
    joined: SeriesSet, n_train: np.ndarray, context_length: int, horizon: int, least: int
) -> TrainingWindows:
    """Windows to learn from and to judge, of which no training target is a validation row.

    Parameters
    ----------
    joined, n_train
        From :func:`set_validation_aside`.
    context_length, horizon : int
    least : int
        Rows that a context has at least; a series too short for a full one is padded on the left.
    """
    train = joined.head(n_train)
    first = np.maximum(np.minimum(context_length, n_train - horizon), least)
    windows = WindowIndex(train, context_length, horizon, first_origin=first)
    if (n_train == joined.lengths).all():
        return TrainingWindows(windows, None)
    # A series without validation rows gets an origin past its end, hence no window.
    judged = WindowIndex(joined, context_length, horizon, first_origin=n_train)
    return TrainingWindows(windows, judged)
