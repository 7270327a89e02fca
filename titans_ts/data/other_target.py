"""What a forecaster does with the ``y`` that scikit-learn passes along."""

from __future__ import annotations

from typing import Any

import numpy as np

from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import open_table
from titans_ts.errors import DataError

__all__ = ["refuse_other_target"]


def refuse_other_target(y: Any, X: Any, series: SeriesSet, layout: Layout) -> None:
    """Raise DataError for a ``y`` that says something else than the target, which is in X."""
    if y is None:
        return
    help_ = (
        "A forecaster learns to continue X itself, so the target is a column of X: leave y out, "
        "and name the column with target=."
    )
    table = open_table(y)
    named = () if table is None else tuple(label for label in table.labels if label is not None)
    strange = [label for label in named if label not in ("", *layout.labels)]
    if strange:
        raise DataError(
            f"y is called {strange[0]!r}, which is none of X's target columns "
            f"{list(layout.labels)}. {help_}"
        )
    try:
        shape = np.shape(y)
    except ValueError as error:  # rows of unequal length
        raise DataError(f"y is no array: {error}. {help_}") from error
    if shape and shape[0] == len(X):
        return
    if np.array_equal(np.ravel(y), series.values.ravel()):
        return
    raise DataError(f"y has the shape {shape}, but X has {len(X)} rows. {help_}")
