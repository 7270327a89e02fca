"""Measures of error by name, added up batch by batch, so that no fold is held as windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from titans_ts import metrics
from titans_ts.errors import DataError, ParameterError

__all__ = ["MEASURES", "Average", "Collected", "find_measure", "greater_is_better"]

#: Names of measures, and what they are called in :mod:`titans_ts.metrics`.
MEASURES = {
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "smape": "smape",
    "wape": "weighted_absolute_percentage_error",
    "mase": "mase",
    "pinball": "pinball_loss",
    "wql": "weighted_quantile_loss",
}
QUANTILE_MEASURES = ("pinball", "wql")


def find_measure(metric: Any) -> str | Callable[..., float]:
    """Return a measure's short name, or the function that was given.

    Raises
    ------
    ParameterError
        It is neither a known name nor a function of truth and forecast.
    """
    if isinstance(metric, str):
        for short, long in MEASURES.items():
            if metric in (short, long):
                return short
        bare = metric.removeprefix("neg_")
        hint = next((s for s, long in MEASURES.items() if bare in (s, long)), None)
        sign = "" if hint is None else f" The sign is turned here: give {hint!r}."
        raise ParameterError(
            f"metric must be one of {', '.join(map(repr, MEASURES))}, or a function of y_true and "
            f"y_pred; got {metric!r}.{sign}"
        )
    if hasattr(metric, "_score_func"):
        raise ParameterError(
            f"metric must be a function of y_true and y_pred, got the scorer {metric!r}, which "
            "would compare a forecast with the rows before it. Give the function it was made of."
        )
    if not callable(metric):
        raise ParameterError(
            f"metric must be a name or a function of y_true and y_pred, got {metric!r}."
        )
    return metric


def greater_is_better(metric: str | Callable[..., float], given: bool | None) -> bool:
    """Whether a larger value of a measure is better; by scikit-learn's names unless given."""
    if given is not None:
        return given
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "")
    if name in MEASURES or name.endswith(("_error", "_loss", "_deviance")):
        return False
    if name.endswith("_score"):
        return True
    raise ParameterError(
        f"Is more of {name or metric!r} better? Its name does not end with _score, _error or "
        "_loss, so say greater_is_better=True or False."
    )


class Average:
    """A measure by name, averaged over all observed values of all batches alike."""

    def __init__(self, name: str, levels: tuple[float, ...] | None) -> None:
        self.name = name
        self.levels = levels
        self.total = 0.0
        self.weight = 0.0

    def add(self, true: np.ndarray, pred: np.ndarray, scale: np.ndarray | None) -> None:
        """Add observed values, shape (n,); forecasts of quantiles have shape (n, levels)."""
        n = float(len(true))
        if not n:
            return
        if self.name in QUANTILE_MEASURES:
            assert self.levels is not None
            value = metrics.pinball_loss(true, pred, self.levels)
            self.total += value * n if self.name == "pinball" else 2 * value * n
        elif self.name == "smape":
            self.total += metrics.smape(true, pred) * n
        elif self.name in ("mse", "rmse"):
            self.total += metrics.mean_squared_error(true, pred) * n
        elif scale is not None:
            self.total += metrics.mean_absolute_error(true / scale, pred / scale) * n
        else:
            self.total += metrics.mean_absolute_error(true, pred) * n
        self.weight += float(np.abs(true).sum()) if self.name in ("wape", "wql") else n

    def value(self) -> float:
        if not self.weight and self.name not in ("mase", "wape", "wql"):
            raise _nothing_to_judge()
        if not self.weight:
            raise DataError(
                f"{self.name} has no meaning on this test fold: none of its values counts, or all "
                "of them are 0. Use 'mae' instead."
            )
        mean = self.total / self.weight
        return math.sqrt(mean) if self.name == "rmse" else mean


class Collected:
    """A measure that is a function, which needs all values at once."""

    def __init__(self, function: Callable[..., float]) -> None:
        self.function = function
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, true: np.ndarray, pred: np.ndarray, scale: np.ndarray | None) -> None:
        self.parts.append((true, pred))

    def value(self) -> float:
        true, pred = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        if not len(true):
            raise _nothing_to_judge()
        return float(self.function(true, pred))


def _nothing_to_judge() -> DataError:
    return DataError(
        "Nothing to judge: every value of the test fold after the training rows is missing. Give "
        "folds whose tested rows have observed values."
    )
