"""What came of a search: scikit-learn's ``cv_results_``, and a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from scipy.stats import rankdata
from sklearn.base import BaseEstimator

from titans_ts.tuning.evaluation import FIT_SECONDS, PREDICT_SECONDS, SCORE_SECONDS
from titans_ts.tuning.sampling import SCORES
from titans_ts.tuning.space import Space, constructor_parameters
from titans_ts.tuning.trials import ERROR

__all__ = ["best_params", "cv_results", "results_table"]

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def cv_results(
    study: Study,
    trials: Sequence[FrozenTrial],
    *,
    space: Space,
    estimator: BaseEstimator,
    n_splits: int,
    error_score: float,
) -> dict[str, Any]:
    """Write trials as scikit-learn writes candidates.

    Parameters
    ----------
    study : Study
    trials : sequence of FrozenTrial
        Those that count.
    space : Space
    estimator : BaseEstimator
    n_splits : int
    error_score : float
        The score of what failed.

    Returns
    -------
    dict of str to array or list
    """
    values = [_values(trial, space) for trial in trials]
    scores = np.array([_numbers(t, SCORES, n_splits, error_score) for t in trials])
    scores = scores.reshape(len(trials), n_splits)
    results: dict[str, Any] = {}
    for name, attribute in (("fit", FIT_SECONDS), ("score", SCORE_SECONDS)):
        seconds = np.array([_numbers(t, attribute, n_splits, np.nan) for t in trials])
        seconds = seconds.reshape(len(trials), n_splits)
        results[f"mean_{name}_time"] = seconds.mean(axis=1)
        results[f"std_{name}_time"] = seconds.std(axis=1)
    for name in sorted({name for drawn in values for name in drawn}):
        column = np.ma.masked_all(len(trials), dtype=object)
        for i, drawn in enumerate(values):
            if name in drawn:
                column[i] = drawn[name]
        results[f"param_{name}"] = column
    results["params"] = [constructor_parameters(estimator, drawn) for drawn in values]
    for i in range(n_splits):
        results[f"split{i}_test_score"] = scores[:, i]
    mean = scores.mean(axis=1)
    results["mean_test_score"] = mean
    results["std_test_score"] = scores.std(axis=1)
    worst = np.where(np.isnan(mean), -np.inf, mean)
    results["rank_test_score"] = rankdata(-worst, method="min").astype(np.int32)
    if len(study.directions) > 1:
        times = [_numbers(t, PREDICT_SECONDS, n_splits, np.nan) for t in trials]
        results["mean_predict_time"] = np.array(times).mean(axis=1)
        best = {trial.number for trial in study.best_trials}
        results["pareto_front"] = np.array([trial.number in best for trial in trials])
    results["trial_number"] = np.array([trial.number for trial in trials])
    results["trial_state"] = np.array([STATES[trial.state] for trial in trials], dtype=object)
    results["trial_error"] = np.array(
        [trial.user_attrs.get(ERROR, _died(trial)) for trial in trials], dtype=object
    )
    return results


def _died(trial: FrozenTrial) -> str:
    return "its workers died" if trial.state == TrialState.FAIL else ""


def _values(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """What a trial drew, by the names of parameters; as Optuna kept it if that went wrong."""
    try:
        return space.suggest(FixedTrial(trial.params))
    # It was stopped before it drew all; or a function refuses what it drew, in whatever way.
    except Exception:
        return dict(trial.params)


def _numbers(trial: FrozenTrial, attribute: str, n: int, missing: float) -> list[float]:
    found = trial.user_attrs.get(attribute)
    if trial.state == TrialState.COMPLETE and isinstance(found, list) and len(found) == n:
        return [float(number) for number in found]
    # A pruned trial has no score, and is no failure.
    return [missing if trial.state == TrialState.FAIL else np.nan] * n


def best_params(results: dict[str, Any], n: int, own: int | None = None) -> list[dict[str, Any]]:
    """Parameters of the ``n`` best candidates that were finished, best first, each once.

    Those of candidate ``own`` are among them whatever its score, if it was finished.
    """
    finished: dict[str, dict[str, Any]] = {}
    for i in np.argsort(results["rank_test_score"], kind="stable"):
        if results["trial_state"][i] == "complete":
            finished.setdefault(_as_text(results["params"][i]), results["params"][i])
    found = list(finished)
    kept = None if own is None else _as_text(results["params"][own])
    if kept in found[n:]:
        found = [*found[: n - 1], kept]
    return [finished[text] for text in found[:n]]


def _as_text(params: dict[str, Any]) -> str:
    """What tells candidates apart: a value may be a list or a transformer, which have no hash."""
    return repr(sorted(params.items(), key=str))


def results_table(results: dict[str, Any]) -> pd.DataFrame:
    """The candidates of ``cv_results_``, best first: one row each, with what tells them apart."""
    names = {
        "mean_test_score": "score",
        "std_test_score": "score_std",
        "mean_predict_time": "predict_seconds",
        "pareto_front": "pareto_front",
        "mean_fit_time": "fit_seconds",
        "trial_state": "state",
    }
    columns: dict[str, Any] = {"trial": results["trial_number"]}
    columns |= {new: results[old] for old, new in names.items() if old in results}
    for name, column in results.items():
        if name.startswith("param_"):
            values = [None if v is np.ma.masked else v for v in column]
            columns[name.removeprefix("param_")] = pd.Series(values, dtype=object).infer_objects()
    table = pd.DataFrame(columns)
    order = np.argsort(results["rank_test_score"], kind="stable")
    return table.iloc[order].reset_index(drop=True)
