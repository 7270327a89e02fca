"""TitansSearchCV: the best parameters of an estimator, found by Optuna."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
import pandas as pd
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from titans_ts.base import BaseForecaster
from titans_ts.ensemble import ROLES, EnsembleForecaster
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_choice, check_int, check_number
from titans_ts.training.estimators import check_seed_source, draw_seed
from titans_ts.tuning.data import SearchData, read_data
from titans_ts.tuning.defaults import default_space
from titans_ts.tuning.evaluation import Evaluation
from titans_ts.tuning.loop import quiet_optuna, work
from titans_ts.tuning.progress import SearchBar
from titans_ts.tuning.results import best_params, cv_results, results_table
from titans_ts.tuning.sampling import FairPruner, NumberedSampler, default_pruner
from titans_ts.tuning.space import Space, candidate, fixed_values, read_space
from titans_ts.tuning.starts import own_place, queue_starts
from titans_ts.tuning.study import open_study
from titans_ts.tuning.trials import Ledger
from titans_ts.tuning.workers import open_storage

__all__ = ["TitansSearchCV"]


class TitansSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Search the parameters of an estimator with Optuna, alone or with many workers.

    Candidates are fitted on the rows before those that they are judged on; those of a plug-in,
    which learns from examples, on others than those. One that is worse than the others after a few
    epochs is stopped. The estimator's own parameters are tried first.

    Parameters
    ----------
    estimator : forecaster, or estimator of a plug-in
        A :class:`~titans_ts.TitansForecaster`, or another forecaster of this package; or an
        estimator that says by ``default_search_space()`` what is worth varying, as those of the
        heads for text and DNA do. What is not searched stays as it is here.
    param_distributions : mapping or callable, optional
        Choices by the names of parameters: lists, distributions of :mod:`scipy.stats` or of
        Optuna. ``backbone_options__dropout`` names an option of the backbone. Or a function of
        an Optuna trial that returns a mapping of values. Default: that of
        :func:`~titans_ts.tuning.default_space`.
    n_trials : int or None, default 20
        Trials of the study, over all its workers and sessions; pruned and failed ones count. None:
        as many as ``timeout`` allows.
    timeout : float, optional
        Seconds after which this call starts no further trial; the one that runs is stopped at the
        end of its epoch, and stays in the queue. One trial at least is finished. The final fit
        comes on top.
    cv : int, splitter or iterable, optional
        Number of folds, or as for scikit-learn. Default: one fold that tests the last fifth of
        the rows, by :class:`~titans_ts.RollingOriginSplit`; of examples a fifth that is drawn, of
        each class where there are classes.
    scoring : str or callable, optional
        For a forecaster a metric of :func:`~titans_ts.forecast_scorer`, or a scorer that it made;
        default: "mae". For another estimator as for scikit-learn; default: its own ``score``.
    latency : bool, default False
        Search for a quick ``predict`` as well as for a good score, with forecasters; nothing is
        pruned then.
    refit : bool or callable, default True
        Fit the best candidate to all rows. A function of ``cv_results_`` that returns an index
        chooses another one than the best score's.
    ensemble_size : int, default 1
        With more than 1, ``refit=True`` fits as many of the best candidates, or all where fewer
        were finished, and forecasts their mean. The candidate that won on the rows held back
        did so by luck in part; a mean is less at its mercy. The estimator's own parameters,
        which were not chosen by those rows, are one of the members whatever their score, if they
        were tried and finished. With forecasters; not with ``latency`` or a function as
        ``refit``.
    sampler : optuna sampler, optional
        Default: TPE, seeded for each trial by ``random_state`` and the trial's number. Give each
        worker another seed in a sampler of your own.
    pruner : optuna pruner, optional
        Default: stops what is worse than the median. ``optuna.pruners.NopPruner()`` stops
        nothing.
    storage : str, path or optuna storage, optional
        Where the study is kept: a file ending in ``.log`` or ``.journal``, or the URL of a
        database. Workers that name the same storage and study share the search. Default: memory.
    study_name : str, default "titans-ts"
        The study in the storage; it is made, or joined and gone on with.
    try_defaults : bool, default True
        Whether the estimator's own parameters are tried first; where the space lacks one of their
        values, another is drawn in its place.
    start_from : sequence of mapping, optional
        Known good parameters to try next.
    error_score : "raise" or float, default nan
        The score of a candidate that fails, which is never the best. "raise" ends the search there.
    worker_timeout : float, default 120
        Seconds of silence after which another worker counts as dead, with a database. A journal
        needs none.
    random_state : int, RandomState or None, default None
        Of the default sampler. Fits have the estimator's.
    verbose : int, default 0
        1 shows a progress bar.

    Attributes
    ----------
    best_params_ : dict
        Parameters of the best candidate, for ``set_params`` of the estimator.
    best_score_ : float
        Its mean score over the folds; errors have a minus.
    best_index_ : int
        Its place in ``cv_results_``.
    best_estimator_ : estimator
        Fitted to all rows, unless ``refit=False``; with ``ensemble_size`` of more than 1, an
        :class:`~titans_ts.EnsembleForecaster`.
    ensemble_params_ : list of dict
        Parameters of its members, best first; of the best candidate alone without an ensemble.
    cv_results_ : dict
        As scikit-learn's, with ``trial_number``, ``trial_state`` and ``trial_error`` besides; with
        ``latency``, ``mean_predict_time`` and ``pareto_front`` too.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the final fit.
    scorer_ : callable
        What scored.
    study_ : optuna.study.Study
        For Optuna's plots, and whatever else it offers.

    See Also
    --------
    titans_ts.tuning.default_space : The space that is searched by default.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import RidgeForecaster
    >>> from titans_ts.tuning import TitansSearchCV
    >>> X = np.tile([1.0, 2.0, 5.0, 3.0], 60)[:, None]
    >>> search = TitansSearchCV(
    ...     RidgeForecaster(horizon=4, context_length=2),
    ...     param_distributions={"context_length": [2, 8]},
    ...     n_trials=3,
    ...     random_state=0,
    ... )
    >>> search.fit(X).best_params_
    {'context_length': 8}
    >>> search.predict().shape
    (4, 1)
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        param_distributions: Any = None,
        n_trials: int | None = 20,
        timeout: float | None = None,
        cv: Any = None,
        scoring: str | Callable[..., float] | None = None,
        latency: bool = False,
        refit: bool | Callable[[dict[str, Any]], int] = True,
        ensemble_size: int = 1,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        storage: Any = None,
        study_name: str = "titans-ts",
        try_defaults: bool = True,
        start_from: Sequence[Mapping[str, Any]] | None = None,
        error_score: Any = np.nan,
        worker_timeout: float = 120.0,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.timeout = timeout
        self.cv = cv
        self.scoring = scoring
        self.latency = latency
        self.refit = refit
        self.ensemble_size = ensemble_size
        self.sampler = sampler
        self.pruner = pruner
        self.storage = storage
        self.study_name = study_name
        self.try_defaults = try_defaults
        self.start_from = start_from
        self.error_score = error_score
        self.worker_timeout = worker_timeout
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def fit(self, X: Any, y: Any = None) -> Self:
        """Search, then fit the best candidate to all of X.

        Parameters
        ----------
        X : array of shape (time, channels), Series or DataFrame
            As for a forecaster, wide or long; it is cut into folds by time. For the estimator of
            a plug-in its examples, such as a list of texts.
        y : array or Series, optional
            Labels of examples; ignored for forecasters, as by themselves.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A parameter makes no sense, the study in the storage is of another search, or all
            candidates failed.
        DataError
            The table cannot be used; the message says where and what to do.
        """
        self._check_parameters()
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        data = read_data(self.estimator, X, y, cv=self.cv, scoring=self.scoring)
        self.scorer_ = data.scorer
        self.n_splits_ = len(data.folds)
        space = self._space(data.n_rows)
        with quiet_optuna():
            self._search(data, space)
        if self.refit:
            start = time.perf_counter()
            self.best_estimator_ = self._final().fit(data.X, y)
            self.refit_time_ = time.perf_counter() - start
        return self

    def predict(self, X: Any = None, *, future: Any = None, quantiles: Any = None) -> Any:
        """Forecast, or predict labels, with the best candidate.

        Parameters
        ----------
        X, future, quantiles
            As for ``predict`` of the estimator; the latter two for forecasters.

        Returns
        -------
        array, Series or DataFrame
            The ``horizon`` steps that follow, or what else the estimator predicts.
        """
        self._check_refitted()
        more: dict[str, Any] = {"future": future, "quantiles": quantiles}
        if not isinstance(self.estimator, BaseForecaster):
            more = {name: value for name, value in more.items() if value is not None}
        predicted: Any = self.best_estimator_.predict(X, **more)
        return predicted

    def score(self, X: Any, y: Any = None) -> float:
        """Return the score of the best candidate on rows that follow those of ``fit``.

        Parameters
        ----------
        X : like X of ``fit``
            As :func:`~titans_ts.forecast_scorer` takes it; the rows of ``fit`` may come first. Or
            other examples than those.
        y : array or Series, optional
            Labels of examples; ignored for forecasters.

        Returns
        -------
        float
            Larger is better; errors have a minus.
        """
        self._check_refitted()
        labels = () if y is None or isinstance(self.estimator, BaseForecaster) else (y,)
        return float(self.scorer_(self.best_estimator_, X, *labels))

    def results_table(self) -> pd.DataFrame:
        """Return the candidates, best first: one row each.

        Returns
        -------
        DataFrame
            Trial, score, times and state, and a column for each parameter.
        """
        check_is_fitted(self, "cv_results_")
        return results_table(self.cv_results_)

    # -- inside -------------------------------------------------------------------------------

    def _check_refitted(self) -> None:
        if not self.refit and hasattr(self, "cv_results_"):
            raise NotFittedError(
                "The search was fitted with refit=False, so no estimator is there to predict with. "
                "Set refit=True and fit again, or fit one with best_params_."
            )
        check_is_fitted(self)

    def _check_parameters(self) -> None:
        forecaster = isinstance(self.estimator, BaseForecaster)
        if not forecaster and not hasattr(self.estimator, "default_search_space"):
            raise ParameterError(
                "estimator must be a forecaster of titans_ts, or have a method "
                f"default_search_space(), got {type(self.estimator).__name__}. Steps in front of a "
                "forecaster belong into its target_transform."
            )
        if not forecaster and (self.latency is True or self.ensemble_size != 1):
            raise ParameterError(
                f"latency={self.latency!r} and ensemble_size={self.ensemble_size!r} are for "
                f"forecasters, and the estimator is a {type(self.estimator).__name__}. Leave them "
                "out."
            )
        starts = self.start_from
        if starts is not None and (not isinstance(starts, Sequence) or isinstance(starts, str)):
            raise ParameterError(
                "start_from must be a list of mappings such as [{'learning_rate': 1e-3}]; got "
                f"{starts!r}."
            )
        check_seed_source(self.random_state)
        check_int("n_trials", self.n_trials, optional=True)
        check_int("verbose", self.verbose, minimum=0)
        check_choice("latency", self.latency, (True, False))
        check_choice("try_defaults", self.try_defaults, (True, False))
        check_number("worker_timeout", self.worker_timeout, minimum=2)
        if self.timeout is not None:
            check_number("timeout", self.timeout, minimum=0)
        elif self.n_trials is None:
            raise ParameterError(
                "n_trials and timeout are both None: the search would never end. Give one of them."
            )
        if not (self.refit in (True, False) or callable(self.refit)):
            raise ParameterError(
                f"refit must be True, False, or a function of cv_results_; got {self.refit!r}."
            )
        self._check_ensemble()
        number = isinstance(self.error_score, Real) and not isinstance(self.error_score, bool)
        if not number and self.error_score != "raise":
            raise ParameterError(
                f"error_score must be a number or 'raise', got {self.error_score!r}."
            )
        if not isinstance(self.study_name, str) or not self.study_name:
            raise ParameterError(f"study_name must be a name, got {self.study_name!r}.")
        for name, kind in (("sampler", BaseSampler), ("pruner", BasePruner)):
            given = getattr(self, name)
            if given is not None and not isinstance(given, kind):
                raise ParameterError(f"{name} must be a {name} of Optuna or None, got {given!r}.")

    def _check_ensemble(self) -> None:
        check_int("ensemble_size", self.ensemble_size)
        if self.ensemble_size == 1:
            return
        for name, unfit in (("latency", self.latency), ("refit", callable(self.refit))):
            if unfit:
                raise ParameterError(
                    f"ensemble_size={self.ensemble_size} takes the candidates with the best "
                    f"scores, and {name}={getattr(self, name)!r} asks for another choice. Leave "
                    "one of the two out."
                )

    def _space(self, n_rows: int) -> Space:
        given = self.param_distributions
        if given is None:
            given = default_space(self.estimator, n_rows)
        space = read_space(given, self.estimator)
        varied = space.names() & set(ROLES)
        if self.ensemble_size > 1 and varied:
            raise ParameterError(
                f"{', '.join(sorted(varied))} cannot be searched with ensemble_size="
                f"{self.ensemble_size}: the members of an ensemble must have the same. Take it "
                "out of param_distributions, or leave ensemble_size out."
            )
        return space

    def _search(self, data: SearchData, space: Space) -> None:
        start = time.monotonic()
        with open_storage(self.storage, self.worker_timeout) as (storage, workers):
            study = open_study(
                storage,
                self.study_name,
                sampler=self._sampler(),
                pruner=self._pruner(),
                directions=["maximize", "minimize"] if self.latency else ["maximize"],
                about={
                    "estimator": type(self.estimator).__name__,
                    "parameters": fixed_values(self.estimator, space),
                    "scoring": _words(self.scorer_),
                    "data": data.checksum,
                    "space": space.words(),
                },
            )
            self.study_ = study
            queue_starts(study, space, self.estimator, self.try_defaults, self.start_from or ())
            evaluation = Evaluation(
                estimator=self.estimator,
                space=space,
                data=data,
                n_trials=self.n_trials,
                latency=self.latency,
                workers=workers,
                deadline=math.inf if self.timeout is None else start + self.timeout,
                error_score=self.error_score,
            )
            with SearchBar(self.verbose > 0, self.n_trials) as bar:
                ledger = work(study, evaluation, bar.update)
            self._collect(ledger, space)

    def _sampler(self) -> BaseSampler:
        if self.sampler is not None:
            return self.sampler
        drawn = draw_seed(self.random_state)
        quarter = 10 if self.n_trials is None else self.n_trials // 4
        return NumberedSampler(drawn, n_startup_trials=min(max(quarter, 4), 10))

    def _pruner(self) -> BasePruner:
        pruner = default_pruner() if self.pruner is None else self.pruner
        # Hyperband keeps trials apart by itself, and Optuna looks for it by name.
        return pruner if isinstance(pruner, HyperbandPruner) else FairPruner(pruner)

    def _collect(self, ledger: Ledger, space: Space) -> None:
        """Set what came of it."""
        trials = ledger.results()
        missing = np.nan if self.error_score == "raise" else self.error_score
        results = cv_results(
            self.study_,
            trials,
            space=space,
            estimator=self.estimator,
            n_splits=self.n_splits_,
            error_score=missing,
        )
        self.cv_results_ = results
        failed = [i for i, state in enumerate(results["trial_state"]) if state == "failed"]
        if not (results["trial_state"] == "complete").any():
            reason = f" The first: {results['trial_error'][failed[0]]}" if failed else ""
            raise ParameterError(
                f"None of {len(trials)} trials was finished; {len(failed)} failed.{reason}"
            )
        if failed:
            warnings.warn(
                f"{len(failed)} of {len(trials)} trials failed. The first, with "
                f"{results['params'][failed[0]]}: {results['trial_error'][failed[0]]}",
                FitFailedWarning,
                stacklevel=4,
            )
        self.best_index_ = self._best_index(results)
        self.best_params_ = results["params"][self.best_index_]
        self.best_score_ = float(results["mean_test_score"][self.best_index_])
        self.ensemble_params_ = [self.best_params_]
        # Among trials, wherever other workers and starts put it.
        self._own_place = own_place(trials, space, self.estimator)
        if self.ensemble_size > 1:
            self.ensemble_params_ = best_params(results, self.ensemble_size, self._own_place)

    def _final(self) -> Any:
        """What is to be fitted to all rows."""
        made = [candidate(self.estimator, params) for params in self.ensemble_params_]
        if self.ensemble_size == 1:
            return made[0]
        return EnsembleForecaster([(f"candidate_{i}", f) for i, f in enumerate(made, start=1)])

    def _best_index(self, results: dict[str, Any]) -> int:
        if not callable(self.refit):
            # A failure has error_score, which may be above what the others have.
            finished = np.flatnonzero(results["trial_state"] == "complete")
            return int(finished[results["rank_test_score"][finished].argmin()])
        index = self.refit(results)
        n = len(results["params"])
        whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not whole or not 0 <= index < n:
            raise ParameterError(
                f"refit must return an index of cv_results_, from 0 to {n - 1}; got {index!r}."
            )
        if results["trial_state"][index] != "complete":
            raise ParameterError(
                f"refit returned {index}, a candidate that is {results['trial_state'][index]}. "
                "Choose among those whose trial_state is 'complete'; the best of them has the "
                "lowest rank_test_score."
            )
        return int(index)


def _words(scorer: Callable[..., float]) -> str:
    """A scorer as text that is equal in all processes."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(scorer))
