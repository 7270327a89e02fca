"""Saved models: a folder of one JSON and one safetensors file; no pickle, no code."""

from titans_ts.persistence.estimators import (
    SaveLoadMixin,
    load_estimator,
    load_model,
    save_estimator,
)
from titans_ts.persistence.folder import FORECASTER, MODEL, check_save_path
from titans_ts.persistence.forecasters import load_forecaster, save_forecaster

__all__ = [
    "FORECASTER",
    "MODEL",
    "SaveLoadMixin",
    "check_save_path",
    "load_estimator",
    "load_forecaster",
    "load_model",
    "save_estimator",
    "save_forecaster",
]
