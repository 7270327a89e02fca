"""Folds of a search: which rows candidates learn from, and which they are judged on."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from titans_ts.base import BaseForecaster
from titans_ts.errors import ParameterError
from titans_ts.model_selection import RollingOriginSplit

__all__ = ["JUDGED", "Fold", "find_folds"]

# Candidates are judged on one of so many rows, unless a splitter says otherwise.
JUDGED = 5

Fold = tuple[np.ndarray, np.ndarray]


def find_folds(cv: Any, X: Any, estimator: BaseForecaster, *, timed: bool) -> list[Fold]:
    """Return rows to learn from and rows to judge on, fold by fold.

    Parameters
    ----------
    cv : None, int, splitter or iterable of folds
        None is one fold, and a number as many, whose tested rows together are the last fifth.
    X : table
    estimator : BaseForecaster
    timed : bool
        Whether X has times, or only an order of rows.

    Raises
    ------
    ParameterError
        It is none of these, or does not follow time.
    """
    if cv is None or (isinstance(cv, Integral) and not isinstance(cv, bool)):
        cv = _rolling(1 if cv is None else int(cv), X, estimator, timed)
    if isinstance(cv, RollingOriginSplit) and cv.horizon < estimator.horizon:
        raise ParameterError(
            f"cv tests {cv.horizon} rows in each fold, but the forecaster forecasts "
            f"{estimator.horizon}. Give RollingOriginSplit a horizon of at least that."
        )
    if hasattr(cv, "split") and not isinstance(cv, str):
        parts = cv.split(X)
    elif isinstance(cv, Iterable) and not isinstance(cv, str):
        parts = cv
    else:
        raise ParameterError(
            "cv must be a number of folds, a splitter such as RollingOriginSplit, an iterable of "
            f"pairs (train rows, test rows), or None; got {cv!r}."
        )
    folds = [_pair(part) for part in parts]
    if not folds:
        raise ParameterError("cv has no fold. Give at least one pair (train rows, test rows).")
    if _rows_are_steps(X, estimator):
        for i, (train, test) in enumerate(folds):
            _check_order(i, train, test)
    return folds


def _rolling(n_splits: int, X: Any, estimator: BaseForecaster, timed: bool) -> RollingOriginSplit:
    if n_splits < 1:
        raise ParameterError(f"cv must be at least 1 fold, got {n_splits}.")
    _, n_steps = _splitter(estimator, 1, 1)._steps(X)
    horizon = max(estimator.horizon, n_steps // (JUDGED * n_splits))
    before = n_steps - n_splits * horizon
    # Without time only values show where a fold belongs, and these may repeat: all rows that any
    # candidate kept are in the fold then.
    context_length = None if timed or before < 1 else before
    return _splitter(estimator, n_splits, horizon, context_length)


def _splitter(
    estimator: BaseForecaster, n_splits: int, horizon: int, context_length: int | None = None
) -> RollingOriginSplit:
    return RollingOriginSplit(
        n_splits,
        horizon=horizon,
        context_length=context_length,
        id_column=estimator.id_column,
        time_column=estimator.time_column,
    )


def _rows_are_steps(X: Any, estimator: BaseForecaster) -> bool:
    """Whether rows are in order of time, and not those of a long table."""
    return _splitter(estimator, 1, 1)._steps(X)[0] is None


def _pair(part: Any) -> Fold:
    try:
        train, test = (np.asarray(rows) for rows in part)
    except (TypeError, ValueError):
        train = test = np.empty(0)
    if any(
        rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu" for rows in (train, test)
    ):
        raise ParameterError(
            "Each fold of cv must be a pair of row numbers to learn from and row numbers to test, "
            f"neither of them empty; got {part!r:.200}."
        )
    return train, test


def _check_order(i: int, train: np.ndarray, test: np.ndarray) -> None:
    tested = np.setdiff1d(test, train)  # context may be training rows too
    if not len(tested) or tested[0] < train.max():
        raise ParameterError(
            f"Fold {i} of cv does not follow time: it learns from rows up to {train.max()} and "
            f"tests {'none after them' if not len(tested) else f'row {tested[0]}'}. Use "
            "RollingOriginSplit(horizon=...), or leave cv out."
        )
