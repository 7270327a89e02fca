"""Fitted transformers as plain values and arrays, and back: no pickle, known classes only."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from titans_ts.errors import ParameterError, SavedModelError
from titans_ts.preprocessing.base import SeriesTransformer
from titans_ts.preprocessing.difference import Difference
from titans_ts.preprocessing.impute import Impute
from titans_ts.preprocessing.power import BoxCoxTransform, LogTransform
from titans_ts.preprocessing.scaling import SeriesScaler

__all__ = ["load_step", "save_step"]

OURS = {c.__name__: c for c in (BoxCoxTransform, Difference, Impute, LogTransform, SeriesScaler)}
# Their fitted attributes are numbers and arrays of numbers.
SKLEARN = {
    c.__name__: c
    for c in (
        MaxAbsScaler,
        MinMaxScaler,
        PowerTransformer,
        QuantileTransformer,
        RobustScaler,
        StandardScaler,
    )
}
PLAIN = (bool, int, float, str, type(None))


def save_step(step: Any, prefix: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Take a fitted transformer apart.

    Parameters
    ----------
    step : transformer
    prefix : str
        Of the names of its arrays.

    Returns
    -------
    values : dict
        Class, parameters and fitted values; numbers, text and tuples of those.
    arrays : dict of ndarray

    Raises
    ------
    ParameterError
        The class is not one that is saved, or a parameter is not a plain value.
    """
    name = type(step).__name__
    if type(step) not in (*OURS.values(), *SKLEARN.values()):
        known = ", ".join([*OURS, *SKLEARN])
        raise ParameterError(
            f"A forecaster with target_transform={step!r:.80} cannot be saved: only numbers are "
            f"written, no code, so the classes that can be are {known}. Use one of these, or "
            "pickle the forecaster where you trust every reader."
        )
    parameters = step.get_params(deep=False)
    fitted = {key: value for key, value in vars(step).items() if key not in parameters}
    fitted.pop("_sklearn_output_config", None)
    values: dict[str, Any] = {"class": name, "parameters": {}, "fitted": {}, "nested": {}}
    arrays: dict[str, np.ndarray] = {}
    for key, value in parameters.items():
        values["parameters"][key] = _plain(step, key, value)
    for key, value in fitted.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays[f"{prefix}.{key}"] = value
        elif type(value) in SKLEARN.values():  # PowerTransformer standardises with a scaler
            values["nested"][key], more = save_step(value, f"{prefix}.{key}")
            arrays.update(more)
        else:
            values["fitted"][key] = _plain(step, key, value)
    return values, arrays


def load_step(values: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str) -> Any:
    """Undo :func:`save_step`.

    Raises
    ------
    SavedModelError
        A class or parameter is unknown, or something is missing.
    """
    try:
        kind = {**OURS, **SKLEARN}[values["class"]]
        step = kind(**values["parameters"])
        for key, value in values["fitted"].items():
            setattr(step, key, value)
        for key, nested in values["nested"].items():
            setattr(step, key, load_step(nested, arrays, f"{prefix}.{key}"))
    except (KeyError, TypeError, AttributeError) as error:
        raise SavedModelError(
            f"The saved target_transform cannot be read: {error!r}. It is damaged or from another "
            "version; save the model again."
        ) from error
    for name, array in arrays.items():
        head, _, key = name.rpartition(".")
        if head == prefix:
            setattr(step, key, array)
    if isinstance(step, SeriesTransformer):
        missing = [key for key in ("ids_", *step._learnt) if not hasattr(step, key)]
        if missing:
            raise SavedModelError(
                f"The saved {values['class']} lacks {missing[0]!r}. The folder is damaged; save "
                "the model again."
            )
    return step


def _plain(step: Any, key: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list)):
        return tuple(_plain(step, key, item) for item in value)
    if isinstance(value, PLAIN):
        return value
    raise ParameterError(
        f"A forecaster with target_transform={step!r:.80} cannot be saved: its {key} is a "
        f"{type(value).__name__}, expected a number, text or None."
    )
