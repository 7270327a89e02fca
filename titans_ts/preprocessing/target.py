"""TargetTransform: what a forecaster makes of its ``target_transform=``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer
from sklearn.utils import get_tags

from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError, ParameterError
from titans_ts.preprocessing.base import SeriesTransformer, TableTransformer
from titans_ts.preprocessing.panel import NAMELESS, Panel
from titans_ts.preprocessing.saved import load_step, save_step

__all__ = ["TargetTransform"]

# Rows on which a transformer of another package is asked whether it gives back what it took.
PROBE_ROWS = 1000
# How near the edge of what a power of scikit-learn's can give, as a share of it, a forecast may be:
# at the edge is no number, and standardising rounds.
EDGE = 1e-8
LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class TargetTransform:
    """A fitted transformer of a forecaster's target, and its way back.

    Made by :meth:`fit`. Transformers of this package see series by series; those of scikit-learn
    and others see rows of shape (rows, channels), and of these only complete rows where they
    cannot take NaN.

    Parameters
    ----------
    steps : tuple of fitted transformers
        In the order in which they are applied.
    falling : bool
        Whether larger values may become smaller ones, so that quantiles have no way back.
    """

    steps: tuple[Any, ...]
    falling: bool = False

    @classmethod
    def fit(cls, transformer: Any, series: SeriesSet, ids: Sequence[Any]) -> TargetTransform:
        """Fit a clone of a transformer on training rows.

        Parameters
        ----------
        transformer : scikit-learn transformer with ``inverse_transform``, or a Pipeline of those
            Left untouched.
        series : SeriesSet
            Training rows only.
        ids : sequence of length n_series
            What the series are called; empty where they have no ids.

        Raises
        ------
        ParameterError
            It has no inverse, changes the number of rows or channels, or does not give back the
            values that it took.
        DataError
            It cannot take the values.
        """
        panel = Panel.from_series(series, ids)
        steps: list[Any] = []
        falling = False
        for given in _flat_steps(transformer):
            step = clone(given)
            if isinstance(step, SeriesTransformer):
                step._check_parameters()
                step.fit_panel(panel)
            else:
                _fit_rows(step, panel.values)
                _check_inverse(step, panel)
                falling = falling or _falls(step, panel.values)
            # As in forward: a scaler behind a difference learns from no row that is none.
            values, settled = _forward(step, panel)
            panel = panel.with_values(np.where(settled, values, np.nan))
            steps.append(step)
        return cls(tuple(steps), falling)

    @property
    def context_rows(self) -> int:
        """How many rows before a forecast it takes to bring it back to the data's units."""
        return sum(s._rows_before for s in self.steps if isinstance(s, SeriesTransformer))

    def forward(self, series: SeriesSet, ids: Sequence[Any]) -> SeriesSet:
        """Transform the rows of a set.

        Parameters
        ----------
        series : SeriesSet
        ids : sequence of length n_series
            Series that ``fit`` has not seen are fine; empty where they have no ids.

        Returns
        -------
        SeriesSet
            In memory: the same rows, channels and covariates. Values that cannot be transformed as
            others are, such as the first ones of a difference, are not observed, and neither is
            what a step has filled in.
        """
        panel = Panel.from_series(series, ids)
        seen = ~np.isnan(panel.values)
        for step in self.steps:
            values, settled = _forward(step, panel)
            panel = panel.with_values(np.where(settled, values, np.nan))
        # What was filled in may come from later rows, which no forecast can know.
        observed = seen & ~np.isnan(panel.values)
        values = np.where(observed, panel.values, 0.0)
        rows = SeriesSet.from_rows(values, observed, panel.offsets, series.channels)
        return replace(series, store=rows.store, starts=rows.starts, lengths=rows.lengths)

    def backward(
        self,
        forecast: np.ndarray,
        context: np.ndarray,
        observed: np.ndarray,
        ids: Sequence[Any],
    ) -> np.ndarray:
        """Bring forecasts back to the data's own units.

        Parameters
        ----------
        forecast : ndarray of shape (n, horizon, channels), or (n, horizon, channels, quantiles)
            In transformed units. Quantiles are brought back one by one.
        context : ndarray of shape (n, time, channels)
            The rows right before each forecast, in the data's own units.
        observed : ndarray of the same shape, bool
        ids : sequence of length n
            The series of each forecast; empty where series have no ids.

        Returns
        -------
        ndarray of the shape of ``forecast``, float64
            Never NaN: what lies beyond the values that a transform can have is taken to their edge.

        Raises
        ------
        DataError
            The context is too short (see :attr:`context_rows`).
        ParameterError
            The transformer turns quantiles around.
        """
        if forecast.ndim == 4 and self.falling:
            raise ParameterError(
                "Quantiles cannot be brought back to the data's units: target_transform turns "
                "larger values into smaller ones. Use one that rises in every channel."
            )
        # Without ids, all windows are of the one series.
        ids = tuple(ids) or NAMELESS * len(forecast)
        befores = self._befores(context, observed, ids)
        if forecast.ndim == 3:
            return self._undo(forecast, befores, ids)
        levels = [self._undo(forecast[..., i], befores, ids) for i in range(forecast.shape[3])]
        return np.stack(levels, axis=3)

    def _befores(
        self, context: np.ndarray, observed: np.ndarray, ids: Sequence[Any]
    ) -> list[np.ndarray | None]:
        """The context as each step takes it; None where it does not look back."""
        needs = [isinstance(s, SeriesTransformer) and s._rows_before > 0 for s in self.steps]
        befores: list[np.ndarray | None] = [None] * len(self.steps)
        if not any(needs):
            return befores
        n, time, channels = context.shape
        values = np.where(observed, context, np.nan).reshape(n * time, channels)
        panel = Panel(values, np.arange(n + 1) * time, tuple(ids), ("",) * channels)
        for number, step in enumerate(self.steps):
            if needs[number]:
                befores[number] = panel.values.reshape(n, time, channels)
            if not any(needs[number + 1 :]):
                return befores
            new, settled = _forward(step, panel)
            panel = panel.with_values(np.where(settled, new, np.nan))
        return befores

    def _undo(
        self, forecast: np.ndarray, befores: list[np.ndarray | None], ids: Sequence[Any]
    ) -> np.ndarray:
        values = np.asarray(forecast, dtype=np.float64)
        for step, before in zip(reversed(self.steps), reversed(befores), strict=True):
            if isinstance(step, SeriesTransformer):
                values = step._backward(values, step.numbers(ids), before)
            else:
                rows = _within_reach(step, values.reshape(-1, values.shape[2]))
                with np.errstate(over="ignore"):  # what is too large for a float is the largest
                    back = np.asarray(step.inverse_transform(rows), dtype=np.float64)
                values = np.clip(back, -LARGEST, LARGEST).reshape(values.shape)
        return values

    # -- saving -------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what :meth:`from_state` needs: plain values, and arrays by name.

        Raises
        ------
        ParameterError
            A step is of a class that is not saved.
        """
        saved = [save_step(step, str(number)) for number, step in enumerate(self.steps)]
        values = {"steps": [values for values, _ in saved], "falling": self.falling}
        return values, {name: array for _, arrays in saved for name, array in arrays.items()}

    @classmethod
    def from_state(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> TargetTransform:
        """Undo :meth:`to_state`.

        Raises
        ------
        SavedModelError
            Something is missing or unknown.
        """
        saved = values["steps"]
        steps = tuple(load_step(step, arrays, str(number)) for number, step in enumerate(saved))
        return cls(steps, bool(values["falling"]))


def _flat_steps(transformer: Any) -> Iterator[Any]:
    """The transformers of a pipeline, or the one that is given; refuse what has no way back."""
    if isinstance(transformer, Pipeline):
        for _, step in transformer.steps:
            if step is not None and step != "passthrough":
                yield from _flat_steps(step)
        return
    name = type(transformer).__name__
    if isinstance(transformer, TableTransformer) and not isinstance(transformer, SeriesTransformer):
        raise ParameterError(
            f"target_transform cannot use {name}, which changes rows or columns. Apply it to the "
            "table before fit."
        )
    if isinstance(transformer, type) or not all(
        hasattr(transformer, method) for method in ("fit", "transform", "inverse_transform")
    ):
        raise ParameterError(
            "target_transform must be a scikit-learn transformer with inverse_transform, or a "
            f"Pipeline of those, got {transformer!r:.80}."
        )
    if getattr(transformer, "target", None) is not None:
        raise ParameterError(
            f"{name} in target_transform transforms what the forecaster forecasts; leave its "
            f"target={transformer.target!r} out, and name columns in the forecaster."
        )
    yield transformer


def _forward(step: Any, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Transformed values of a panel, NaN where missing, and which of them can be learnt from."""
    if not isinstance(step, SeriesTransformer):
        values = _apply(step, step.transform, panel.values)
        usable = _usable(step, panel.values)[:, None] & ~np.isnan(panel.values)
        # Taken as missing, or as infinite, they would make forecasts missing.
        panel.refuse(
            usable & ~np.isfinite(values),
            f"that {step!r:.80} turns into something that is not finite",
            "Expected values that target_transform can take. Use another one, or correct them.",
        )
        return values, ~np.isnan(values)
    values = step.transform_panel(panel)
    settled = np.empty(values.shape, dtype=bool)
    for _, rows in panel.blocks():
        settled[rows] = step._settled(~np.isnan(values[rows]))
    return values, settled


# -- transformers of other packages ---------------------------------------------------------------


def _apply(step: Any, function: Callable[[np.ndarray], Any], values: np.ndarray) -> np.ndarray:
    whole = _usable(step, values)
    if whole.all():
        # A copy: with copy=False, scikit-learn would write to the caller's table.
        return np.asarray(function(values.copy()), dtype=np.float64)
    out = np.full(values.shape, np.nan)
    if whole.any():
        out[whole] = np.asarray(function(values[whole]), dtype=np.float64)
    return out


def _within_reach(step: Any, rows: np.ndarray) -> np.ndarray:
    """A copy, in which what a power can never give, and has no way back from, is at its edge."""
    if not isinstance(step, PowerTransformer):
        return rows.copy()
    powers = step.lambdas_
    below = powers if step.method == "box-cox" else powers - 2.0
    with np.errstate(divide="ignore"):
        low = np.where(below > 0, (EDGE - 1.0) / below, -np.inf)
        high = np.where(powers < 0, (EDGE - 1.0) / powers, np.inf)
    if step.standardize:
        scaler = step._scaler
        low, high = ((edge - scaler.mean_) / scaler.scale_ for edge in (low, high))
    return np.clip(rows, low, high)


def _usable(step: Any, values: np.ndarray) -> np.ndarray:
    """Rows that a transformer can take."""
    if isinstance(step, BaseEstimator) and get_tags(step).input_tags.allow_nan:
        return np.ones(len(values), dtype=bool)
    return ~np.isnan(values).any(axis=1)


def _fit_rows(step: Any, values: np.ndarray) -> None:
    rows = values[_usable(step, values)]
    try:
        step.fit(rows)
    except ValueError as error:
        raise DataError(
            f"target_transform={step!r} could not be fitted on the training rows: {error}"
        ) from error


def _check_inverse(step: Any, panel: Panel) -> None:
    rows = panel.values[_usable(step, panel.values)][:PROBE_ROWS]
    if not len(rows):
        return
    there = np.asarray(step.transform(rows.copy()))
    if there.shape != rows.shape:
        raise ParameterError(
            f"target_transform={step!r} turns rows of shape {rows.shape} into {there.shape}, "
            "expected as many rows and channels as before."
        )
    back = np.asarray(step.inverse_transform(there.copy()))
    seen = ~np.isnan(rows)
    tolerance = 1e-3 * (np.nanmax(rows) - np.nanmin(rows)) + 1e-6 * np.nanmax(np.abs(rows))
    if not (np.abs(back - rows)[seen] <= tolerance).all():
        raise ParameterError(
            f"target_transform={step!r} does not give back the values that it took: its "
            "inverse_transform must undo its transform."
        )


def _falls(step: Any, values: np.ndarray) -> bool:
    """Tell whether a larger value of some channel becomes a smaller one."""
    rows = values[_usable(step, values)]
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        return False
    low = np.asarray(step.transform(rows.min(axis=0)[None]))
    high = np.asarray(step.transform(rows.max(axis=0)[None]))
    return bool((high < low).any())
