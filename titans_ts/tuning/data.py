"""SearchData: what candidates learn from and are scored on, series or examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set, Sized
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit, check_cv
from sklearn.utils import _safe_indexing

from titans_ts.base import BaseForecaster
from titans_ts.data.other_target import refuse_other_target
from titans_ts.errors import DataError, DataTypeError, ParameterError
from titans_ts.model_selection import RollingOriginSplit, forecast_scorer
from titans_ts.training.identity import fingerprint_of_series
from titans_ts.tuning.folding import JUDGED, Fold, find_folds

__all__ = ["SearchData", "read_data"]


class SearchData(NamedTuple):
    """Data in folds, and what scores a candidate on the tested part of one."""

    X: Any
    y: Any  # None where there are no labels, or series are their own
    folds: list[Fold]
    scorer: Callable[..., float]  # of an estimator and what ``part`` returns; larger is better
    n_rows: int  # to learn from, in the first fold; of the longest series
    checksum: str  # of X, y and the folds: equal for workers that may share a study

    def part(self, rows: np.ndarray) -> tuple[Any, ...]:
        """Some rows, as ``fit`` and a scorer take them."""
        X = _safe_indexing(self.X, rows)
        return (X,) if self.y is None else (X, _safe_indexing(self.y, rows))


def read_data(estimator: BaseEstimator, X: Any, y: Any, *, cv: Any, scoring: Any) -> SearchData:
    """Read what a search was given; series are cut by time, examples are drawn.

    Parameters
    ----------
    estimator : BaseForecaster or other estimator
    X, y
        As for ``fit`` of the estimator.
    cv : None, int, splitter or iterable of folds
    scoring : None, str or callable

    Raises
    ------
    ParameterError, DataError
        The data cannot be used or split, or ``scoring`` is none.
    """
    if isinstance(estimator, BaseForecaster):
        return _series(estimator, X, y, cv, scoring)
    return _examples(estimator, X, y, cv, scoring)


def _series(estimator: BaseForecaster, X: Any, y: Any, cv: Any, scoring: Any) -> SearchData:
    series, layout = estimator._read(X)
    refuse_other_target(y, X, series, layout)
    scorer = _forecast_scorer(scoring, cv)
    folds = find_folds(cv, X, estimator, timed=layout.time is not None)
    n_rows = int(series.lengths.max()) * len(folds[0][0]) // len(X)
    checksum = joblib.hash((fingerprint_of_series(series), folds))
    return SearchData(X, None, folds, scorer, n_rows, checksum)


def _forecast_scorer(scoring: Any, cv: Any) -> Callable[..., float]:
    if scoring is None or isinstance(scoring, str):
        gap = cv.gap if isinstance(cv, RollingOriginSplit) else 0
        return forecast_scorer(scoring or "mae", gap=gap)
    if not callable(scoring):
        raise ParameterError(
            "scoring must be the name of a metric, such as 'mae', or a scorer from "
            f"forecast_scorer(); got {scoring!r}."
        )
    given: Callable[..., float] = scoring
    return given


def _examples(estimator: BaseEstimator, X: Any, y: Any, cv: Any, scoring: Any) -> SearchData:
    if isinstance(X, str | bytes | Mapping | Set):
        raise DataTypeError(
            f"A search needs examples as a list, got a {type(X).__name__}. Put a single text in a "
            "list, and give list(X.values()) of a dict, sorted(X) of a set."
        )
    if isinstance(X, Iterable) and not hasattr(X, "iloc") and not hasattr(X, "shape"):
        X = list(X)  # a generator, or a tuple, has no rows to choose from
    if not isinstance(X, Sized) or len(X) < 2:
        what = f"{len(X)} example" if isinstance(X, Sized) else repr(X)[:80]
        raise DataError(
            f"A search needs examples to learn from and others to judge on, and was given {what}. "
            "Give a list of two or more."
        )
    y = _labels(estimator, y)
    if y is not None and len(y) != len(X):
        raise DataError(f"X has {len(X)} examples and y has {len(y)} labels. Give one for each.")
    try:
        folds = [(train, test) for train, test in _splitter(estimator, y, cv).split(X, y)]
        scorer = check_scoring(estimator, scoring)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"cv={cv!r} or scoring={scoring!r} cannot be used: {error}") from error
    return SearchData(X, y, folds, scorer, len(folds[0][0]), joblib.hash((X, y, folds)))


def _labels(estimator: BaseEstimator, y: Any) -> Any:
    if not is_classifier(estimator):
        return y
    if y is None:
        raise DataError(
            f"A search for a {type(estimator).__name__} needs y, a label for each example."
        )
    if not isinstance(y, Sized):
        raise DataTypeError(f"y is a {type(y).__name__}, expected a list of labels. Give list(y).")
    missing = np.flatnonzero(pd.isna(np.asarray(y, dtype=object)))
    if len(missing):
        raise DataError(
            f"Label {missing[0]} is missing. Expected one for each example; give one, or leave the "
            "example out."
        )
    return y


def _splitter(estimator: BaseEstimator, y: Any, cv: Any) -> Any:
    if cv is not None and cv != 1:
        return check_cv(cv, y, classifier=is_classifier(estimator))
    # A fifth, the same for all workers; of each class where there are classes.
    kind = StratifiedShuffleSplit if is_classifier(estimator) else ShuffleSplit
    return kind(1, test_size=1 / JUDGED, random_state=0)
