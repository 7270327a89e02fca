"""EnsembleForecaster: the mean of several forecasters' forecasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition

from titans_ts.base import BaseForecaster
from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.errors import DataError, ParameterError, TrainingInterrupted
from titans_ts.parameters import check_number, check_quantiles, plain_role

__all__ = ["ROLES", "EnsembleForecaster"]

#: Parameters that say what is read and forecast: those of all members are equal.
ROLES = (
    "horizon",
    "freq",
    "time_column",
    "id_column",
    "target",
    "past_covariates",
    "future_covariates",
    "static_covariates",
    "calendar",
    "holidays",
)


class _Role:
    """A parameter of the members, read from the first; an ensemble has none of its own."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, ensemble: Any, owner: type | None = None) -> Any:
        return self if ensemble is None else getattr(ensemble._named()[0][1], self.name)

    def __set__(self, ensemble: Any, value: Any) -> None:
        raise AttributeError(
            f"An ensemble has the {self.name} of its members; set it there, by "
            f"set_params(NAME__{self.name}=...) for each of them."
        )


class EnsembleForecaster(_BaseComposition, BaseForecaster):
    """Forecast the mean of what several forecasters say.

    Errors that the members do not share cancel in part, so the mean is often better than the best
    of them, and it is a safer choice than the one that won on a few validation rows.

    Parameters
    ----------
    forecasters : list of (str, forecaster)
        Names and forecasters of this package, as in scikit-learn's ``VotingRegressor``; ``fit``
        leaves them as they are and fits copies. They agree in horizon, in columns (target,
        covariates, calendar, id and time) and in ``freq``, and may differ in all else.
    weights : sequence of float, optional
        How much each counts: from 0 on, and not all 0. Default: all alike.

    Attributes
    ----------
    members_ : list of forecaster
        The fitted copies, in the same order.
    context_length_ : int
        The longest context that a member reads.
    n_features_in_, feature_names_in_, freq_
        What ``fit`` saw.

    See Also
    --------
    titans_ts.TitansSearchCV : With ``ensemble_size``, it makes one of its best candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import EnsembleForecaster, RidgeForecaster, SeasonalNaiveForecaster
    >>> X = np.tile([1.0, 2.0, 5.0, 3.0], 20)[:, None]
    >>> ensemble = EnsembleForecaster(
    ...     [
    ...         ("ridge", RidgeForecaster(horizon=4, context_length=8)),
    ...         ("naive", SeasonalNaiveForecaster(horizon=4, season_length=4)),
    ...     ],
    ...     weights=[3, 1],
    ... )
    >>> ensemble.fit(X).predict().ravel().round(1)
    array([1., 2., 5., 3.])
    """

    horizon: Any = _Role()
    freq: Any = _Role()
    time_column: Any = _Role()
    id_column: Any = _Role()
    target: Any = _Role()
    past_covariates: Any = _Role()
    future_covariates: Any = _Role()
    static_covariates: Any = _Role()
    calendar: Any = _Role()
    holidays: Any = _Role()

    members_: list[BaseForecaster]

    def __init__(
        self,
        forecasters: list[tuple[str, BaseForecaster]],
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.forecasters = forecasters
        self.weights = weights

    # -- the scikit-learn API -----------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, and with ``deep`` the members and theirs as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default True

        Returns
        -------
        dict
        """
        parameters: dict[str, Any] = self._get_params("forecasters", deep=deep)
        return parameters

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, members by their names, or theirs as ``name__parameter``.

        Parameters
        ----------
        **parameters : dict

        Returns
        -------
        self
        """
        self._set_params("forecasters", **parameters)
        return self

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> Self:
        """Fit a copy of every member to the same table.

        Parameters
        ----------
        X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
            As for the members.
        y : array or Series, optional
            Ignored, as by the members.
        validation : int, array or frame, optional
            As for the members. Default: each sets aside its own ``validation_fraction`` of X.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            The members do not fit together, or a constructor value of one makes no sense.
        DataError
            The table cannot be used; the message says where and what to do.
        """
        self._check_parameters()
        # As for any forecaster: a fit that fails leaves one that is not fitted.
        self.__dict__.pop("context_", None)
        members = []
        for name, forecaster in self._named():
            try:
                members.append(clone(forecaster).fit(X, y, validation=validation))
            except TrainingInterrupted as stop:
                # That member is fitted, the ensemble is not.
                raise KeyboardInterrupt(
                    f"Stopped while {name!r} was trained; the ensemble is not fitted."
                ) from stop
        self._take(members)
        return self

    @property
    def quantiles(self) -> tuple[float, ...] | None:
        """Levels that members were asked to learn; None where there are none, or different ones."""
        asked = {
            check_quantiles("quantiles", getattr(forecaster, "quantiles", None))
            for _, forecaster in self._named()
        } - {None}
        return asked.pop() if len(asked) == 1 else None

    # -- what BaseForecaster asks for ---------------------------------------------------------

    def _check_parameters(self) -> None:
        self._check_members()
        for _, forecaster in self._named():
            # All of them before the first is trained.
            forecaster._check_parameters()

    def _check_loaded(self) -> None:
        self._check_members()
        first, *others = (member.layout_.to_dict() for member in self.members_)
        if any(other != first for other in others):
            raise DataError("its members were not fitted to the same table")

    def _prepare(
        self, windows: WindowIndex, quantiles: tuple[float, ...] | None
    ) -> Callable[[np.ndarray], tuple[CutWindows, np.ndarray]]:
        parts = [
            (name, share, member._prepare(windows.with_context(member.context_length_), quantiles))
            for (name, _), share, member in zip(
                self._named(), self._shares(), self.members_, strict=True
            )
            if share
        ]

        def forecast(numbers: np.ndarray) -> tuple[CutWindows, np.ndarray]:
            mean: Any = 0.0
            for name, share, part in parts:
                try:
                    mean = mean + share * part(numbers)[1]
                except ParameterError as error:  # such as quantiles that a member has none of
                    raise ParameterError(f"Of the member {name!r}: {error}") from error
            return windows.cut(numbers, n_future=self.horizon), np.asarray(mean)

        return forecast

    def _rows_to_keep(self) -> int:
        return max(member._rows_to_keep() for member in self.members_)

    def _check_shape(self) -> None:
        self._check_members()
        if len(self._named()) != len(self.members_):
            raise ParameterError(
                f"forecasters had {len(self.members_)} members in fit and has "
                f"{len(self._named())} now. Fit it again, or set forecasters back."
            )
        super()._check_shape()

    # -- inside -------------------------------------------------------------------------------

    def _check_members(self) -> None:
        """Raise ParameterError where members do not fit together, or the weights do not fit."""
        (first_name, first), *others = self._named()
        for name, forecaster in others:
            for role in ROLES:
                here, there = getattr(forecaster, role), getattr(first, role)
                if plain_role(here) != plain_role(there):
                    raise ParameterError(
                        f"The members of an ensemble must have the same {role}; {name!r} has "
                        f"{here!r}, and {first_name!r} has {there!r}. Give them the same, or leave "
                        "one out."
                    )
        self._shares()

    def _named(self) -> list[tuple[str, BaseForecaster]]:
        given = self.forecasters
        pairs = (
            isinstance(given, list)
            and given
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)
        )
        if not pairs or not all(isinstance(f, BaseForecaster) for _, f in given):
            raise ParameterError(
                "forecasters must be a list of names and forecasters of titans_ts, such as "
                "[('ridge', RidgeForecaster(horizon=24)), ('titans', "
                f"TitansForecaster(horizon=24))]; got {given!r:.200}."
            )
        names = [name for name, _ in given]
        for i, name in enumerate(names):
            if not isinstance(name, str) or "__" in name or name in ("", "forecasters", "weights"):
                raise ParameterError(
                    f"{name!r:.80} cannot name a forecaster: expected text without two underscores "
                    "in a row, and other than 'forecasters' and 'weights'. Choose another name."
                )
            if name in names[:i]:
                raise ParameterError(
                    f"Two forecasters are called {name!r}. Give each a name of its own."
                )
        return given

    def _shares(self) -> list[float]:
        """How much each member counts; they add up to 1."""
        n = len(self._named())
        if self.weights is None:
            return [1 / n] * n
        try:
            weights = list(self.weights)
        except TypeError:
            weights = []
        if len(weights) != n:
            raise ParameterError(
                f"weights must be a number for each of the {n} forecasters, or None; got "
                f"{self.weights!r}."
            )
        for i, weight in enumerate(weights):
            check_number(f"weights[{i}]", weight, minimum=0)
        total = float(sum(weights))
        if not 0 < total < np.inf:
            raise ParameterError(
                f"weights must have a finite sum larger than 0; got {self.weights!r}."
            )
        return [float(weight) / total for weight in weights]

    def _take(self, members: list[BaseForecaster]) -> None:
        """Take fitted members, and from them what all forecasters have once they are fitted."""
        first = members[0]
        self.members_ = members
        self.context_length_ = max(member.context_length_ for member in members)
        self._note_shape()
        self.n_features_in_ = first.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        self.freq_, self.layout_ = first.freq_, first.layout_
        # Each member has its own.
        self.target_transform_ = None
        self.context_ = max(members, key=lambda member: member._rows_to_keep()).context_
