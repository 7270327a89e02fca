"""Forecast multivariate time series with a model that keeps learning while it predicts.

Public names are imported on first use (PEP 562): ``import titans_ts`` alone loads neither torch
nor pandas, so command lines and large programs stay quick to start. Estimators of installed plug-in
heads are found here too, by the registry.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "TitansForecaster": "titans_ts.forecaster",
    "SeasonalNaiveForecaster": "titans_ts.baselines",
    "RidgeForecaster": "titans_ts.baselines",
    "LinearForecaster": "titans_ts.baselines",
    "EnsembleForecaster": "titans_ts.ensemble",
    "ParquetFolder": "titans_ts.data.parquet",
    "RollingOriginSplit": "titans_ts.model_selection",
    "forecast_scorer": "titans_ts.model_selection",
    "TitansSearchCV": "titans_ts.tuning",
    "BoxCoxTransform": "titans_ts.preprocessing",
    "CalendarFeatures": "titans_ts.preprocessing",
    "Difference": "titans_ts.preprocessing",
    "FillGaps": "titans_ts.preprocessing",
    "Impute": "titans_ts.preprocessing",
    "LogTransform": "titans_ts.preprocessing",
    "Resample": "titans_ts.preprocessing",
    "SeriesScaler": "titans_ts.preprocessing",
    "WindowTransformer": "titans_ts.preprocessing",
    "load_model": "titans_ts.persistence",
    "TitansError": "titans_ts.errors",
    "DataError": "titans_ts.errors",
    "DataFileError": "titans_ts.errors",
    "ParameterError": "titans_ts.errors",
    "SavedModelError": "titans_ts.errors",
    "CheckpointError": "titans_ts.errors",
    "DeviceMemoryError": "titans_ts.errors",
    "HeadPluginError": "titans_ts.errors",
    "HeadPluginWarning": "titans_ts.errors",
    "NonFiniteLossError": "titans_ts.errors",
    "TrainingInterrupted": "titans_ts.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    # Only what looks like a class: a search through all that is installed takes its time.
    if name[:1].isupper():
        from titans_ts.errors import ParameterError
        from titans_ts.heads.registry import find_estimator

        try:
            found = find_estimator(name)
        except ParameterError as error:  # several heads have one; hasattr wants its own error
            raise AttributeError(str(error)) from error
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
