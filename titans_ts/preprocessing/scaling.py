"""SeriesScaler: every series on a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from titans_ts.parameters import check_choice
from titans_ts.preprocessing.base import SeriesTransformer
from titans_ts.preprocessing.panel import Panel

__all__ = ["SeriesScaler"]

METHODS = ("standard", "robust", "minmax")


class SeriesScaler(SeriesTransformer):
    """Shift and scale each series by statistics of its own training rows.

    In a wide frame or array of shape (time, channels) that is each column; in a long frame or an
    array of shape (series, time, channels) each column of each series. A series that was not there
    in ``fit``, or of which nothing was observed, is scaled as all training rows together would be.
    A constant series is only shifted: its scale is 1. What is missing stays missing.

    Parameters
    ----------
    method : {"standard", "robust", "minmax"}, default "standard"
        Mean and standard deviation; median and interquartile range (or the standard deviation
        where more than half of the values are equal); minimum and range.
    id_column : str, optional
        The column of a long frame that says which series a row is of. Default: ``unique_id`` or
        ``item_id``, where there is one.
    time_column : str, optional
        Default: the index if it holds time, or else the column that looks like time.
    target : str or list of str, optional
        The columns to scale; others are left as they are. Default: all but ids and time.

    Attributes
    ----------
    ids_ : tuple
        The series seen in ``fit``.
    center_, scale_ : ndarray of shape (n_series, channels)
        A transformed value is ``(value - center_) / scale_``.
    pooled_center_, pooled_scale_ : ndarray of shape (channels,)
        The same for series that ``fit`` has not seen.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.preprocessing import SeriesScaler
    >>> sales = pd.DataFrame(
    ...     {"unique_id": ["a", "a", "b", "b"], "ds": [1, 2, 1, 2], "y": [1.0, 3.0, 100.0, 500.0]}
    ... )
    >>> SeriesScaler(method="minmax").fit_transform(sales)["y"].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    _learnt = ("center_", "scale_", "pooled_center_", "pooled_scale_")

    def __init__(
        self,
        *,
        method: str = "standard",
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.method = method
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        check_choice("method", self.method, METHODS)

    def _learn(self, panel: Panel) -> None:
        center, scale = _statistics(panel.values[None], self.method)
        self.pooled_center_ = np.where(np.isnan(center[0]), 0.0, center[0])
        self.pooled_scale_ = np.where(np.isnan(scale[0]), 1.0, scale[0])
        shape = (len(panel.ids), panel.values.shape[1])
        self.center_, self.scale_ = np.empty(shape), np.empty(shape)
        for series, rows in panel.blocks():
            center, scale = _statistics(panel.values[rows], self.method)
            self.center_[series] = np.where(np.isnan(center), self.pooled_center_, center)
            self.scale_[series] = np.where(np.isnan(scale), self.pooled_scale_, scale)

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        center, scale = self._of(numbers)
        return (block - center) / scale

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        center, scale = self._of(numbers)
        return block * scale + center

    def _of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Center and scale of these series, shape (n, 1, channels)."""
        unseen = (numbers < 0)[:, None, None]
        center = np.where(unseen, self.pooled_center_, self.center_[numbers][:, None])
        scale = np.where(unseen, self.pooled_scale_, self.scale_[numbers][:, None])
        return center, scale


def _statistics(block: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of each series of a block, shape (n, channels); NaN if it has no value."""
    observed = ~np.isnan(block)
    count = observed.sum(axis=1)
    empty = count == 0
    low = np.where(observed, block, np.inf).min(axis=1)
    high = np.where(observed, block, -np.inf).max(axis=1)
    # In units of the largest value, so that no square or sum overflows or vanishes.
    peak = np.maximum(np.abs(low), np.abs(high))
    peak = np.where(empty | (peak == 0), 1.0, peak)
    unit = block / peak[:, None]

    least = np.maximum(count, 1)
    mean = np.where(observed, unit, 0.0).sum(axis=1) / least
    deviation = np.where(observed, unit - mean[:, None], 0.0)
    spread = np.sqrt((deviation**2).sum(axis=1) / least)
    center, scale = mean, spread
    if method == "minmax":
        center, scale = low / peak, high / peak - low / peak
    elif method == "robust":
        filled = np.where(empty[:, None], 0.0, unit)
        # nanquantile passes over series one by one, and most have no gap.
        quantile = np.quantile if observed.all() else np.nanquantile
        lower, center, upper = quantile(filled, (0.25, 0.5, 0.75), axis=1)
        scale = np.where(upper > lower, upper - lower, spread)
    center, scale = center * peak, scale * peak
    constant = low == high
    center = np.where(constant, low, center)
    scale = np.where(constant | ~(scale > 0), 1.0, scale)
    return np.where(empty, np.nan, center), np.where(empty, np.nan, scale)
