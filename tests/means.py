"""A small estimator that keeps the contract of a head, and one flaw at a time that breaks it."""

from __future__ import annotations

import os
import random
import sys
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from titans_ts import DataError, ParameterError
from titans_ts.persistence import SaveLoadMixin


class Mean(SaveLoadMixin, BaseEstimator):
    """Predicts a noisy mean of the rows that it was fitted on."""

    def __init__(self, *, scale=1.0, options=None, random_state=0):
        self.scale = scale
        self.options = options
        self.random_state = random_state

    def fit(self, X, y=None):
        if not self.scale > 0:
            raise ParameterError(f"scale must be a number above 0, got {self.scale!r}.")
        if not np.isfinite(X).all():
            raise DataError("X holds NaN or infinite numbers; expected finite ones. Fill them.")
        noise = np.random.default_rng(self.random_state).normal(size=X.shape[1])
        self.mean_, self.n_rows_ = X.mean(0) + noise, len(X)
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.scale * self.mean_ + 0 * X

    def _fitted_state(self):
        return {"n_rows": self.n_rows_, "n_columns": len(self.mean_)}, {"mean": self.mean_}

    def _restore_state(self, values, arrays):
        self.mean_, self.n_rows_ = arrays["mean"], values["n_rows"]
        if self.mean_.shape != (values["n_columns"],):
            raise ValueError(f"a mean of shape {self.mean_.shape}")


class TakesPositions(Mean):
    def __init__(self, scale=1.0, *, options=None, random_state=0):
        super().__init__(scale=scale, options=options, random_state=random_state)


class Converts(Mean):
    def __init__(self, *, scale=1.0, options=None, random_state=0):
        super().__init__(scale=scale, options=dict(options or {}), random_state=random_state)


class SetsMore(Mean):
    def __init__(self, *, scale=1.0, options=None, random_state=0):
        super().__init__(scale=scale, options=options, random_state=random_state)
        self.ready = True


class ReturnsNothing(Mean):
    def fit(self, X, y=None):
        super().fit(X)


class ChangesAParameter(Mean):
    def fit(self, X, y=None):
        super().fit(X)
        self.options = {}
        return self


class NamesBadly(Mean):
    def fit(self, X, y=None):
        self.rows = len(X)
        return super().fit(X)


class AnswersUnfitted(Mean):
    def predict(self, X):
        return self.scale * getattr(self, "mean_", 0.0) + 0 * X


class ChangesData(Mean):
    def fit(self, X, y=None):
        super().fit(X)
        X -= 1
        return self


class DrawsGlobally(Mean):
    def fit(self, X, y=None):
        random.random()
        return super().fit(X)


class Seeds(Mean):
    def fit(self, X, y=None):
        np.random.seed(self.random_state)  # noqa: NPY002
        return super().fit(X)


class Forgets(Mean):
    def fit(self, X, y=None):
        super().fit(X)
        self.mean_ = self.mean_ + np.random.default_rng().normal()
        return self


class Counts(Mean):
    def predict(self, X):
        check_is_fitted(self)
        self.n_rows_ += 1
        return super().predict(X) + self.n_rows_


class GoesOn(Mean):
    def fit(self, X, y=None):
        before = getattr(self, "mean_", 0.0)
        super().fit(X)
        self.mean_ = self.mean_ + before
        return self


class Prints(Mean):
    def fit(self, X, y=None):
        sys.stdout.write("fitting\n")
        return super().fit(X)


class PrintsBelowPython(Mean):
    def fit(self, X, y=None):
        os.write(2, b"fitting\n")
        return super().fit(X)


class Warns(Mean):
    def predict(self, X):
        check_is_fitted(self)
        warnings.warn("careful", stacklevel=1)
        return super().predict(X)


class LeavesAFile(Mean):
    def fit(self, X, y=None):
        with open("log.txt", "w") as file:
            file.write("fitting")
        return super().fit(X)


class CannotBePickled(Mean):
    def fit(self, X, y=None):
        super().fit(X)
        self.rule_ = lambda x: x
        return self


class LosesInPickles(Mean):
    def __getstate__(self):
        state = dict(super().__getstate__())
        if "mean_" in state:
            state["mean_"] = state["mean_"].astype(np.float32)
        return state


class TakesNaN(Mean):
    def fit(self, X, y=None):
        return super().fit(np.nan_to_num(X))


class RaisesValueError(Mean):
    def fit(self, X, y=None):
        if not np.isfinite(X).all():
            raise ValueError("X holds NaN or infinite numbers; expected finite ones. Fill them.")
        return super().fit(X)


class SaysLittle(Mean):
    def fit(self, X, y=None):
        if not np.isfinite(X).all():
            raise DataError("bad X")
        return super().fit(X)


class FitsHalf(Mean):
    def fit(self, X, y=None):
        self.mean_ = np.zeros(X.shape[1])
        return super().fit(X)


class NamesNoParameter(Mean):
    def fit(self, X, y=None):
        if not self.scale > 0:
            raise ParameterError("The size must be a number above 0. Raise it.")
        return super().fit(X)


class SavesRounded(Mean):
    def _fitted_state(self):
        values, arrays = super()._fitted_state()
        return values, {"mean": arrays["mean"].astype(np.float32)}


class LoadsAnything(Mean):
    def _restore_state(self, values, arrays):
        self.mean_, self.n_rows_ = arrays.get("mean", np.zeros(1))[:3], values.get("n_rows")


class LoadsAndFallsLater(Mean):
    def _restore_state(self, values, arrays):
        self.mean_, self.n_rows_ = arrays["mean"], values["n_rows"]


class BelievesItsValues(Mean):
    def _restore_state(self, values, arrays):
        super()._restore_state({"n_rows": values["n_rows"], "n_columns": 3}, arrays)
        self.n_columns_ = values["n_columns"]

    def predict(self, X):
        check_is_fitted(self)
        if X.shape[1] != getattr(self, "n_columns_", X.shape[1]):
            raise DataError(f"X has {X.shape[1]} columns, expected {self.n_columns_}.")
        return super().predict(X)
