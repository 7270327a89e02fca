"""default_space: what is worth varying in our forecasters, and how far."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.base import BaseEstimator

from titans_ts.base import BaseForecaster
from titans_ts.baselines import LinearForecaster, RidgeForecaster
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_int
from titans_ts.tuning.choices import plain
from titans_ts.tuning.space import own_values

__all__ = ["ALSO", "default_space"]

#: Parameters of a TitansForecaster that are varied where they are asked for.
ALSO = ("context_length", "loss")

# Where contexts are varied, they reach from a quarter of the estimator's own to twice as many rows,
# and where that is short, to some weeks of hourly data.
SHORTER, LONGER = 4, 2
LEAST_CONTEXT, LONG_CONTEXT = 48, 512


def default_space(
    estimator: BaseEstimator, n_rows: int, *, also: Collection[str] = ()
) -> dict[str, BaseDistribution]:
    """Return the search space that :class:`~titans_ts.TitansSearchCV` takes where none is given.

    The estimator of a plug-in says itself, by its method ``default_search_space()``.

    For :class:`~titans_ts.TitansForecaster` it holds the length of patches, how fast it learns,
    its dropout and width, and how many of the last rows are kept for judging rather than learnt
    from. Few parameters, and not far from the estimator's own, so that some dozens of trials
    say something of each. The baselines vary the context, and what they regularise or learn with.

    Parameters
    ----------
    estimator : forecaster, or estimator of a plug-in
        Its own values are always part of the space.
    n_rows : int
        Rows to learn from, of the longest series: contexts are at most half as long, and the rows
        that learning is judged on hold two horizons at least.
    also : collection of str, optional
        Parameters of ``TitansForecaster`` to vary besides: "context_length", how far back it reads,
        from a quarter of its own context, 48 at least, to twice as many rows, or 512 where that is
        more; and "loss". Both are left as they
        are by default: the best context of one season is often not that of the next, which a few
        months of judged rows cannot tell, and a loss says what is forecast, a mean or a median.
        The context is varied all the same where the rows are too few for its own.

    Returns
    -------
    dict of str to optuna distribution
        To be changed and given as ``param_distributions``.

    Raises
    ------
    ParameterError
        A parameter of the estimator makes no sense; there is nothing to vary for such an estimator
        and so many rows, or not what ``also`` names.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.tuning import default_space
    >>> space = default_space(TitansForecaster(horizon=24), n_rows=8000)
    >>> sorted(space)  # doctest: +NORMALIZE_WHITESPACE
    ['backbone_options__dropout', 'dim', 'learning_rate', 'patch_length', 'validation_fraction']
    >>> space["patch_length"]
    CategoricalDistribution(choices=(16, 24, 32, 48))
    """
    from titans_ts.forecaster import TitansForecaster  # loads torch

    check_int("n_rows", n_rows)
    if isinstance(estimator, BaseForecaster):
        # Ranges are made of its own values, of which fit would say the same.
        estimator._check_parameters()

    space: dict[str, BaseDistribution | None]
    on_request: dict[str, BaseDistribution | None] = {}
    if isinstance(estimator, TitansForecaster):
        space, context = _titans(estimator, n_rows), _contexts(estimator, n_rows)
        on_request = dict(zip(ALSO, (context, _losses(estimator)), strict=True))
        if estimator.context_length > _longest(estimator, n_rows):
            space["context_length"] = context
    elif isinstance(estimator, RidgeForecaster):
        alpha = estimator.alpha
        known = _floats(alpha or 1.0, 1e-2, 1e4)
        # Without an alpha the forecaster finds its own.
        space = {"context_length": _contexts(estimator, n_rows), "alpha": known if alpha else None}
    elif hasattr(estimator, "default_search_space"):
        space = dict(estimator.default_search_space())
    elif isinstance(estimator, LinearForecaster):
        rates = _floats(estimator.learning_rate, 1e-4, 3e-3)
        space = {"context_length": _contexts(estimator, n_rows), "learning_rate": rates}
    else:
        raise ParameterError(
            f"There is no default search space for {type(estimator).__name__}. Give "
            "param_distributions, such as {'season_length': [24, 168]}."
        )
    for name in also:
        if on_request.get(name) is None:
            names = " or ".join(repr(n) for n, choices in on_request.items() if choices is not None)
            raise ParameterError(
                f"{name!r} cannot be varied for this {type(estimator).__name__} and {n_rows} rows "
                f"to learn from. Besides the default space, {names or 'nothing'} can be."
            )
        space[name] = on_request[name]
    found = {name: choices for name, choices in space.items() if choices is not None}
    if not found:
        raise ParameterError(
            f"{n_rows} rows are too few to vary the context of {type(estimator).__name__}. Give "
            "param_distributions, or more rows."
        )
    return found


def _titans(estimator: Any, n_rows: int) -> dict[str, BaseDistribution | None]:
    own_rate, judged = estimator.learning_rate, 2 * estimator.horizon / n_rows
    fractions = _values(estimator.validation_fraction, [x for x in (0.05, 0.1, 0.2) if x >= judged])
    space: dict[str, BaseDistribution | None] = {
        "patch_length": _patches(estimator, n_rows),
        "learning_rate": _floats(own_rate, own_rate / 4, min(4 * own_rate, 10.0)),
        # The newest rows say most of what comes next, where they may be learnt from.
        "validation_fraction": fractions if len(fractions.choices) > 1 else None,
    }
    if estimator.depth:
        dropout = own_values(estimator, ["backbone_options__dropout"])
        space["backbone_options__dropout"] = FloatDistribution(
            0.0, max(0.4, *(float(value) for value in dropout.values()))
        )
        heads = 2 * estimator.n_heads
        widths = [width for width in (16, 32, 64) if width % heads == 0]
        space["dim"] = _values(estimator.dim, widths)
    return space


def _patches(estimator: Any, n_rows: int) -> BaseDistribution | None:
    context = min(estimator.context_length, _longest(estimator, n_rows))
    # Patches that are longer than a context allows would all be the same.
    own, most = estimator.patch_length, estimator._longest_patch(context)
    lengths = {16, 24, 32, 48} if most >= 32 else {most // 2, 3 * most // 4, most} - {0}
    if most < 32 and own >= most:
        lengths.discard(most)
    found = _values(own, lengths)
    return found if len(found.choices) > 1 else None


def _losses(estimator: Any) -> BaseDistribution | None:
    losses = ("mae", "huber", "mse")
    # With quantiles the loss is theirs, and a likelihood was chosen for what it can say.
    if estimator.quantiles is not None or estimator.loss not in losses:
        return None
    return _values(estimator.loss, losses)


def _contexts(estimator: Any, n_rows: int) -> BaseDistribution | None:
    longer = max(LONGER * estimator.context_length, LONG_CONTEXT)
    most = min(longer, _longest(estimator, n_rows))
    if most <= LEAST_CONTEXT:
        return None
    own = min(estimator.context_length, most)
    return IntDistribution(min(max(own // SHORTER, LEAST_CONTEXT), own), most, log=True)


def _longest(estimator: Any, n_rows: int) -> int:
    """A context that leaves as many rows to learn from."""
    longest: int = (n_rows - estimator.horizon) // 2
    return longest


def _floats(own: float, low: float, high: float) -> BaseDistribution:
    return FloatDistribution(min(low, own), max(high, own), log=True)


def _values(own: Any, values: Any) -> CategoricalDistribution:
    return CategoricalDistribution(sorted({*values, plain(own)}))
