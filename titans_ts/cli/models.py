"""Forecasters by the names that the command line knows, and what they say of a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.baselines import LinearForecaster, RidgeForecaster, SeasonalNaiveForecaster
from titans_ts.data.layout import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import ParameterError

__all__ = [
    "MODELS",
    "TITANS",
    "make_forecasters",
    "make_titans",
    "point_and_quantiles",
    "validation_errors",
]

TITANS = "titans"

# Origins on which a fitted model is judged: enough for two digits, and quick.
JUDGED_ORIGINS = 200


def make_titans(*, quantiles: Sequence[float] | None = None, **parameters: Any) -> BaseForecaster:
    """Our model; the median is trained along with other quantiles, being the point forecast."""
    from titans_ts.forecaster import TitansForecaster  # loads torch

    levels = None if quantiles is None else tuple(sorted({*quantiles, 0.5}))
    return TitansForecaster(quantiles=levels, **parameters)


def _linear(*, random_state: Any, **parameters: Any) -> BaseForecaster:
    return LinearForecaster(random_state=random_state, **parameters)


def _without_seed(cls: Callable[..., BaseForecaster]) -> Callable[..., BaseForecaster]:
    return lambda *, random_state, **parameters: cls(**parameters)


MODELS: dict[str, Callable[..., BaseForecaster]] = {
    "seasonal-naive": _without_seed(SeasonalNaiveForecaster),
    "ridge": _without_seed(RidgeForecaster),
    "linear": _linear,
    TITANS: make_titans,
}


def make_forecasters(
    names: Sequence[str],
    common: dict[str, Any],
    titans: dict[str, Any],
    baselines: dict[str, Any],
) -> dict[str, BaseForecaster]:
    """Forecasters by name, in this order.

    Parameters
    ----------
    names : sequence of str
        Of :data:`MODELS`.
    common : dict
        Parameters of all: horizon and random_state.
    titans, baselines : dict
        Further parameters of our model, and of the others.
    """
    forecasters: dict[str, BaseForecaster] = {}
    for name in (given.strip() for given in names):
        if name not in MODELS:
            near = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise ParameterError(
                f"--models names {name!r}, expected some of {', '.join(MODELS)} with commas "
                f"between.{guess}"
            )
        forecasters[name] = MODELS[name](**common, **(titans if name == TITANS else baselines))
    return forecasters


def point_and_quantiles(
    forecaster: BaseForecaster,
    table: Any,
    layout: Layout,
    levels: Sequence[float] | None,
    future: Any = None,
) -> pd.DataFrame:
    """What follows ``table``, of this layout: each column, and its quantiles right of it."""
    point = forecaster.predict(table, future=future)
    if levels is None:
        return point
    quantiles = forecaster.predict(table, future=future, quantiles=levels)
    labels = layout.labels  # not those of fit, which may have seen an array
    beside = [label for label in point.columns if label not in labels]  # ids and time
    quantiles = quantiles.drop(columns=beside)
    n = len(levels)
    parts = [
        part
        for i, label in enumerate(labels)
        for part in (point[[label]], quantiles.iloc[:, i * n : (i + 1) * n])
    ]
    return pd.concat([point[beside], *parts], axis=1)


def validation_errors(
    forecasters: dict[str, BaseForecaster], table: Any, n_validation: np.ndarray
) -> pd.DataFrame:
    """Mean absolute error over the last rows of each series, in the data's own units.

    Parameters
    ----------
    forecasters : dict of str to forecaster
        Fitted to ``table``, with these rows set aside for validation; all of one horizon.
    table : DataFrame or ParquetFolder
    n_validation : ndarray of shape (n_series,), int
        At least the horizon, or 0 where no row was set aside; not all 0.

    Returns
    -------
    DataFrame
        One row per channel and one column per forecaster, all over the same origins: about 200 at
        most, evenly spaced over series and rows. NaN where no value was observed.
    """
    judged = np.flatnonzero(n_validation)
    judged = judged[:: -(-len(judged) // JUDGED_ORIGINS)]
    columns = {}
    channels: list[str] = []
    for name, forecaster in forecasters.items():
        series: SeriesSet = forecaster.read_series(table).select(judged)
        n_origins = int((n_validation[judged] - forecaster.horizon + 1).sum())
        windows = WindowIndex(
            series,
            forecaster.context_length_,
            forecaster.horizon,
            first_origin=series.lengths - n_validation[judged],
            stride=-(-n_origins // JUDGED_ORIGINS),
        )
        channels = list(series.channels)
        total, count = np.zeros((2, len(channels)))
        for cut, forecast in forecaster.iter_forecasts(windows):
            error = np.where(cut.target_observed, np.abs(forecast - cut.target), 0.0)
            total += error.sum(axis=(0, 1))
            count += cut.target_observed.sum(axis=(0, 1))
        columns[name] = total / np.where(count > 0, count, np.nan)
    return pd.DataFrame(columns, index=channels)
