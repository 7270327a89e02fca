"""Forecasters by the names that the command line knows, and what they say of a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.baselines import LinearForecaster, RidgeForecaster, SeasonalNaiveForecaster
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
    names: Sequence[str], common: dict[str, Any], titans: dict[str, Any]
) -> dict[str, BaseForecaster]:
    """Forecasters by name, in this order.

    Parameters
    ----------
    names : sequence of str
        Of :data:`MODELS`.
    common : dict
        Parameters of all: horizon, freq, target and random_state.
    titans : dict
        Further parameters of our model.
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
        forecasters[name] = MODELS[name](**common, **(titans if name == TITANS else {}))
    return forecasters


def point_and_quantiles(
    forecaster: BaseForecaster, frame: pd.DataFrame, levels: Sequence[float] | None
) -> pd.DataFrame:
    """What follows ``frame``: each column, and its quantiles right of it."""
    point = forecaster.predict(frame)
    if levels is None:
        return point
    quantiles = forecaster.predict(frame, quantiles=levels)
    n = len(levels)
    parts = [
        part
        for i, label in enumerate(point.columns)
        for part in (point[[label]], quantiles.iloc[:, i * n : (i + 1) * n])
    ]
    return pd.concat(parts, axis=1)


def validation_errors(
    forecasters: dict[str, BaseForecaster], series: SeriesSet, n_validation: int
) -> pd.DataFrame:
    """Mean absolute error over the last ``n_validation`` rows, in the data's own units.

    Parameters
    ----------
    forecasters : dict of str to forecaster
        Fitted, with these rows set aside for validation; all of one horizon.
    series : SeriesSet
        One series.
    n_validation : int
        At least the horizon.

    Returns
    -------
    DataFrame
        One row per channel and one column per forecaster, all over the same origins: at most
        200, evenly spaced.
    """
    columns = {}
    for name, forecaster in forecasters.items():
        n_origins = n_validation - forecaster.horizon + 1
        windows = WindowIndex(
            series,
            forecaster.context_length_,
            forecaster.horizon,
            first_origin=series.lengths - n_validation,
            stride=-(-n_origins // JUDGED_ORIGINS),
        )
        total = np.zeros(len(series.channels))
        for cut, forecast in forecaster.iter_forecasts(windows):
            total += np.abs(forecast - cut.target).mean(axis=1).sum(axis=0)
        columns[name] = total / len(windows)
    return pd.DataFrame(columns, index=list(series.channels))
