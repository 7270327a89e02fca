"""From tables to the arrays that a graph reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.forecaster import TitansForecaster

__all__ = ["arrays_of", "onnx_inputs"]


def onnx_inputs(
    forecaster: TitansForecaster, X: Any = None, *, future: Any = None
) -> dict[str, np.ndarray]:
    """Return the arrays that an exported graph reads to forecast what follows a table.

    Parameters
    ----------
    forecaster : TitansForecaster
        The one that was exported.
    X : like X of ``predict``, optional
        Default: the table given to ``fit``.
    future : DataFrame, optional
        Covariates of the steps to forecast, as for ``predict``.

    Returns
    -------
    dict of ndarray, float64
        By name of the input, a row for each series; NaN is what is missing, and what a series is
        too short for. ``context`` has shape (series, context_length, channels); ``past``,
        ``known`` and ``static`` are there for covariates of that kind. All in the units that the
        model sees: a ``target_transform`` is applied.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> from titans_ts.onnx import onnx_inputs
    >>> station = make_transformer_station(600, freq="h", random_state=0)
    >>> forecaster = TitansForecaster(horizon=24, context_length=96, max_epochs=1).fit(station)
    >>> {name: array.shape for name, array in onnx_inputs(forecaster).items()}
    {'context': (1, 96, 7)}
    """
    check_is_fitted(forecaster)
    series, layout = forecaster._series_to_continue(X)
    series = forecaster._to_model_units(forecaster._with_future(series, layout, future))
    index = WindowIndex(series, forecaster.context_length_, 0, first_origin=series.lengths)
    cut = index.cut(np.arange(len(index)), n_future=forecaster.horizon)
    return arrays_of(cut)


def arrays_of(windows: CutWindows) -> dict[str, np.ndarray]:
    """The inputs of a graph for windows that were cut, by name."""
    masked = {
        "context": (windows.context, windows.context_observed),
        "past": (windows.past, windows.past_observed),
        "known": (windows.known, windows.known_observed),
    }
    arrays = {
        name: np.where(observed, values, np.nan)
        for name, (values, observed) in masked.items()
        if values is not None and observed is not None
    }
    if windows.static is not None:
        arrays["static"] = np.asarray(windows.static, dtype=np.float64)
    return arrays
