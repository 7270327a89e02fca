"""Measures of a forecast's error, on arrays of any shape, with a mask of what was observed.

Every function takes the truth first, then the forecast, and averages over all observed values
alike: over all windows, steps and channels at once, never over means of parts. Frames that are
all numbers work too, and are compared place by place: columns or rows that have the same names in
another order are refused, and so are rows of other times; columns of ids and of time are for you to
drop. Masked arrays are missing where they are masked. For model selection inside scikit-learn use a
forecaster's own ``score``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

# Whole module, not its functions: ours carry the same names.
import sklearn.metrics as sk

from titans_ts.data.arrays import filled
from titans_ts.data.ids import ID_NAMES
from titans_ts.data.quantile_names import quantile_name, read_quantile_name
from titans_ts.errors import DataError
from titans_ts.parameters import check_int, check_quantiles

__all__ = [
    "coverage",
    "mase",
    "mean_absolute_error",
    "mean_squared_error",
    "pinball_loss",
    "root_mean_squared_error",
    "smape",
    "weighted_quantile_loss",
]


def mean_absolute_error(y_true: Any, y_pred: Any, *, observed: Any = None) -> float:
    """Mean absolute error, in the data's own units.

    Parameters
    ----------
    y_true, y_pred : array-like of equal shape
    observed : array-like of bool, same shape, optional
        What counts. Default: everything.

    Returns
    -------
    float

    Raises
    ------
    DataError
        Shapes or times differ, nothing is observed, or a value that counts is NaN or infinite.

    Examples
    --------
    >>> mean_absolute_error([1.0, 2.0, 9.0], [2.0, 2.0, 0.0], observed=[True, True, False])
    0.5
    """
    return float(sk.mean_absolute_error(*_observed_pair(y_true, y_pred, observed)))


def mean_squared_error(y_true: Any, y_pred: Any, *, observed: Any = None) -> float:
    """Mean squared error, in the data's units squared.

    Parameters, return value and errors as for :func:`mean_absolute_error`.

    Examples
    --------
    >>> mean_squared_error([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return float(sk.mean_squared_error(*_observed_pair(y_true, y_pred, observed)))


def root_mean_squared_error(y_true: Any, y_pred: Any, *, observed: Any = None) -> float:
    """Square root of the mean squared error, in the data's own units.

    Parameters, return value and errors as for :func:`mean_absolute_error`.

    Examples
    --------
    >>> root_mean_squared_error([1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 3.0, 4.0])
    1.0
    """
    return float(np.sqrt(mean_squared_error(y_true, y_pred, observed=observed)))


def smape(y_true: Any, y_pred: Any, *, observed: Any = None) -> float:
    """Symmetric mean absolute percentage error, as a fraction between 0 and 2.

    Mean of ``2 |y - f| / (|y| + |f|)``, as in the M4 competition (Makridakis et al., 2020) but not
    in percent; 0 where both are 0. It means little for values around 0.

    Parameters, return value and errors as for :func:`mean_absolute_error`.

    Examples
    --------
    >>> smape([1.0, 0.0], [3.0, 0.0])
    0.5
    """
    true, pred = _observed_pair(y_true, y_pred, observed)
    size = np.abs(true) + np.abs(pred)
    ratio = np.divide(2 * np.abs(true - pred), size, out=np.zeros_like(size), where=size > 0)
    return float(ratio.mean())


def mase(
    y_true: Any, y_pred: Any, *, history: Any, season_length: int = 1, observed: Any = None
) -> float:
    """Mean absolute scaled error: below 1 beats repeating the last season of the history.

    Each channel's absolute error is divided by the mean of ``|x_t - x_(t - season_length)|`` over
    its history (Hyndman and Koehler, 2006), then everything is averaged. A channel whose history
    repeats itself, but for rounding, has no such scale and is left out.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (..., channels)
        Of shape (time,) for a single channel.
    history : array-like of shape (time, channels)
        The rows before the forecast, usually the training rows, all of them known. Of shape
        (time,) where y_true is.
    season_length : int, default 1
        Steps in a season; 1 compares with repeating the last value.
    observed : array-like of bool, shape of y_true, optional
        What counts. Default: everything.

    Returns
    -------
    float

    Raises
    ------
    DataError
        As for :func:`mean_absolute_error`; or the history has other channels, has no more rows
        than a season, or repeats itself exactly in every channel.

    Examples
    --------
    >>> mase([[5.0], [6.0]], [[5.0], [5.0]], history=[[1.0], [3.0], [2.0], [4.0]], season_length=2)
    0.5
    """
    check_int("season_length", season_length)
    true, pred, mask = _pair(y_true, y_pred, observed)
    past = _numbers("history", history)
    _refuse_other_columns(y_true, history, "history")
    if true.ndim == past.ndim == 1:  # Series
        true, pred, mask, past = (part[:, None] for part in (true, pred, mask, past))
    if true.ndim < 2 or past.ndim != 2 or past.shape[1] != true.shape[-1]:
        raise DataError(
            "mase needs y_true of shape (..., channels) and a history of shape (time, channels) "
            f"with the same channels, got {true.shape} and {past.shape}. Give both as tables, "
            "for example by reshape(-1, 1) where there is a single channel."
        )
    if len(past) <= season_length:
        raise DataError(
            f"history has {len(past)} rows, expected more than season_length={season_length}. "
            "Give more rows, or a shorter season."
        )
    _refuse_not_finite(
        "history",
        past,
        np.ones(past.shape, dtype=bool),
        "Fill them in, for example with titans_ts.Impute(), or give rows without them.",
    )
    scale = np.abs(past[season_length:] - past[:-season_length]).mean(axis=0)
    scale[is_noise(scale, past)] = 0.0
    mask = mask & (scale > 0)
    if not mask.any():
        raise DataError(
            "history repeats itself exactly in every observed channel, so it gives errors no "
            "scale. Use mean_absolute_error instead."
        )
    error = np.abs(true - pred) / np.where(scale > 0, scale, 1.0)
    return float(error[mask].mean())


def pinball_loss(y_true: Any, y_pred: Any, quantiles: Any, *, observed: Any = None) -> float:
    """Pinball (quantile) loss, averaged over levels; the quantile 0.5 gives half the MAE.

    Parameters
    ----------
    y_true : array-like
    y_pred : array-like of shape ``(*y_true.shape, len(quantiles))``
        As ``predict(quantiles=...)`` returns it for arrays; or its table, with a column such as
        ``OT_q0.1`` for each column of ``y_true`` and quantile.
    quantiles : sequence of float
        Increasing fractions strictly between 0 and 1.
    observed : array-like of bool, shape of y_true, optional
        What counts. Default: everything.

    Returns
    -------
    float
        In the data's own units.

    Raises
    ------
    DataError
        As for :func:`mean_absolute_error`.
    ParameterError
        ``quantiles`` are no increasing fractions.

    Examples
    --------
    >>> pinball_loss([10.0], [[8.0, 14.0]], quantiles=[0.25, 0.75])
    0.75
    """
    return float(np.mean(_pinball_by_level(y_true, y_pred, quantiles, observed)))


def weighted_quantile_loss(
    y_true: Any, y_pred: Any, quantiles: Any, *, observed: Any = None
) -> float:
    """Twice the summed pinball loss over the summed absolute truth, averaged over levels.

    Has no unit, so tables of different units compare. Other names are wQL and, with many levels, an
    approximation of the weighted CRPS (Park et al., 2022, arXiv:2111.06581).

    Parameters
    ----------
    y_true, y_pred, quantiles, observed
        As for :func:`pinball_loss`.

    Returns
    -------
    float

    Raises
    ------
    DataError
        As for :func:`mean_absolute_error`; or every observed true value is 0.
    ParameterError
        ``quantiles`` are no increasing fractions.

    Examples
    --------
    >>> weighted_quantile_loss([10.0], [[8.0, 14.0]], quantiles=[0.25, 0.75])
    0.15
    """
    loss = pinball_loss(y_true, y_pred, quantiles, observed=observed)
    truth = _numbers("y_true", y_true)
    size = float(np.abs(truth[_mask(observed, truth.shape)]).mean())
    if size == 0:
        raise DataError(
            "Every observed value of y_true is 0, so a loss relative to their size has no meaning. "
            "Use pinball_loss instead."
        )
    return 2 * loss / size


def coverage(y_true: Any, lower: Any, upper: Any, *, observed: Any = None) -> float:
    """Share of observed values that lie between two bounds, the bounds included.

    Parameters
    ----------
    y_true, lower, upper : array-like of equal shape
    observed : array-like of bool, same shape, optional
        What counts. Default: everything.

    Returns
    -------
    float
        Between 0 and 1; quantiles 0.1 and 0.9 of a calibrated forecast give 0.8.

    Raises
    ------
    DataError
        As for :func:`mean_absolute_error`; or ``lower`` is above ``upper`` everywhere.

    Examples
    --------
    >>> coverage([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.5, 9.0])
    0.75
    """
    true, low = _observed_pair(y_true, lower, observed, name="lower")
    _, high = _observed_pair(y_true, upper, observed, name="upper")
    if (low > high).all():
        raise DataError(
            f"lower is above upper in all of the {len(low)} values that count, the first "
            f"{low[0]} and {high[0]}. Give the lower bound first."
        )
    return float(np.mean((low <= true) & (true <= high)))


def is_noise(scale: np.ndarray, values: np.ndarray, observed: Any = True) -> np.ndarray:
    """Tell where a scale is what rounding leaves of a constant: errors over it say nothing.

    Parameters
    ----------
    scale : ndarray of shape (channels,)
    values : ndarray of shape (time, channels)
        What it is the scale of.
    observed : ndarray of bool, shape of values, default True

    Returns
    -------
    ndarray of shape (channels,), bool
    """
    largest = np.max(np.abs(values), axis=0, initial=0.0, where=observed)
    return scale <= 64 * np.finfo(np.float64).eps * largest


# -- inside ---------------------------------------------------------------------------------------


def _pinball_by_level(y_true: Any, y_pred: Any, quantiles: Any, observed: Any) -> list[float]:
    # None means "no quantiles" to predict; here it is as wrong as an empty list.
    levels = check_quantiles("quantiles", () if quantiles is None else quantiles) or ()
    true, pred = _numbers("y_true", y_true), _numbers("y_pred", y_pred)
    _refuse_other_order(y_true, y_pred, "y_pred")
    if true.shape[:1] == pred.shape[:1] and _has_quantile_columns(y_true, y_pred, levels):
        pred = pred.reshape(*true.shape, len(levels))
    else:
        _refuse_other_levels(y_pred, levels)
    if pred.shape != (*true.shape, len(levels)):
        raise DataError(
            f"y_pred has the shape {pred.shape}, expected {(*true.shape, len(levels))}: that of "
            f"y_true, and {len(levels)} quantiles on the last axis."
        )
    return [
        float(sk.mean_pinball_loss(*_observed_pair(true, pred[..., i], observed), alpha=level))
        for i, level in enumerate(levels)
    ]


def _has_quantile_columns(y_true: Any, y_pred: Any, levels: tuple[float, ...]) -> bool:
    """Whether a table of quantiles has the columns that a forecaster gives those of y_true."""
    found, columns = _labels(y_pred, "columns"), _labels(y_true, "columns")
    if found is None:
        return False
    if columns is None:
        columns = [getattr(y_true, "name", None)]  # of a Series, or of nothing
    bare = [quantile_name(level) for level in levels]
    named = [quantile_name(level, column) for column in columns for level in levels]
    for names in (named, bare) if len(columns) == 1 else (named,):
        if set(found) == set(names) and found != names:
            raise DataError(
                f"y_pred has its columns in another order than columns of y_true and quantiles; "
                f"expected {', '.join(names)}. Give y_pred[{names!r}]."
            )
        if found == names:
            return True
    return False


def _refuse_other_levels(y_pred: Any, levels: tuple[float, ...]) -> None:
    """Raise DataError where a table names its quantiles, as a forecaster does, and not these."""
    names = _labels(y_pred, "columns") or []
    told = [read_quantile_name(str(name)) for name in names]
    found = [parts[1] for parts in told if parts]
    if not found or len(found) < len(names):
        return
    if found != list(levels) * (len(found) // len(levels)):
        raise DataError(
            f"y_pred has the columns {', '.join(map(str, names))}, expected for each channel those "
            f"of the quantiles {', '.join(map(str, levels))}, in this order. Give quantiles= as "
            "predict was given them, or sort the columns."
        )


def _observed_pair(
    y_true: Any, y_pred: Any, observed: Any, *, name: str = "y_pred"
) -> tuple[np.ndarray, np.ndarray]:
    """Both as flat arrays of what counts."""
    true, pred, mask = _pair(y_true, y_pred, observed, name=name)
    return true[mask], pred[mask]


def _pair(
    y_true: Any, y_pred: Any, observed: Any, *, name: str = "y_pred"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true, pred = _numbers("y_true", y_true), _numbers(name, y_pred)
    # Broadcasting would turn a forgotten axis into an average over the wrong pairs.
    if true.shape != pred.shape:
        raise DataError(
            f"{name} has the shape {pred.shape}, expected {true.shape}, the shape of y_true."
        )
    _refuse_other_order(y_true, y_pred, name)
    mask = _mask(observed, true.shape)
    _refuse_not_finite("y_true", true, mask)
    _refuse_not_finite(name, pred, mask)
    return true, pred, mask


def _refuse_other_order(y_true: Any, y_pred: Any, name: str) -> None:
    """Values are compared by their place; tables whose places are named otherwise are refused."""
    _refuse_other_columns(y_true, y_pred, name)
    ours, theirs = (_labels(values, "index") for values in (y_true, y_pred))
    if ours is None or theirs is None or ours == theirs or len(ours) != len(theirs):
        return
    place = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    if set(ours) == set(theirs):
        raise _other_order(name, "index", ours, theirs, place)
    # Numbers may only count the rows of a table; times say what the values are of.
    if _has_times(y_true.index) and type(y_true.index) is type(y_pred.index):
        raise DataError(
            f"{name} is of other times than y_true: row {place} is of {_word(theirs[place])}, "
            f"where y_true has {_word(ours[place])}. Give the rows of the same times, for example "
            f"y_true.loc[{name}.index]; or arrays, by to_numpy(), where they are meant to be "
            "compared by place."
        )


def _refuse_other_columns(y_true: Any, y_pred: Any, name: str) -> None:
    """Refuse a column of y_true that stands elsewhere; columns may have other names."""
    ours, theirs = (_labels(values, "columns") for values in (y_true, y_pred))
    if ours is None or theirs is None:
        return
    for place, (here, there) in enumerate(zip(ours, theirs, strict=False)):
        if here != there and there in ours:
            raise _other_order(name, "columns", ours, theirs, place)


def _other_order(name: str, what: str, ours: list[Any], theirs: list[Any], place: int) -> DataError:
    return DataError(
        f"{name} has the {what} of y_true in another order: {_word(theirs[place])} at {place}, "
        f"where y_true has {_word(ours[place])}. Bring them into one order, for example by "
        f"{name}.reindex({what}=y_true.{what})."
    )


def _word(label: Any) -> str:
    return str(label) if isinstance(label, (pd.Timestamp, pd.Period)) else repr(label)


def _has_times(index: Any) -> bool:
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    return any(isinstance(level, (pd.DatetimeIndex, pd.PeriodIndex)) for level in levels)


def _labels(values: Any, what: str) -> list[Any] | None:
    """Names of a table's columns, or of its rows; None where it has none."""
    found = getattr(values, what, None)
    # A list has a method of that name.
    return None if found is None or callable(found) else list(found)


def _mask(observed: Any, shape: tuple[int, ...]) -> np.ndarray:
    # What a masked array masks is not observed.
    mask = np.ones(shape, dtype=bool) if observed is None else np.ma.filled(observed, False)
    if mask.dtype != bool or mask.shape != shape:
        raise DataError(
            f"observed must be True or False for each value of y_true, so of shape {shape}; got "
            f"the shape {mask.shape} and the dtype {mask.dtype}."
        )
    if not mask.any():
        raise DataError("Not one value is observed, so there is no error to average.")
    return mask


def _numbers(name: str, values: Any) -> np.ndarray:
    _refuse_keys(name, values)
    try:
        if isinstance(values, np.ma.MaskedArray):
            return filled(values)
        if isinstance(values, (pd.DataFrame, pd.Series)):
            return values.astype(np.float64).to_numpy()  # NA of pandas becomes NaN
        array = np.asarray(values)
        if array.dtype.kind in "cmM":
            raise TypeError(f"it holds values of the dtype {array.dtype}")
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array of numbers: {error}.") from error


def _refuse_keys(name: str, values: Any) -> None:
    """Refuse a table whose ids or times would be compared as if they were values."""
    columns = _labels(values, "columns")
    if columns is None:
        return
    for label, dtype in zip(columns, getattr(values, "dtypes", ()), strict=False):
        holds = "ids" if label in ID_NAMES else "times" if _is_time(dtype) else None
        if holds is not None:
            raise DataError(
                f"{name} has a column {label!r}, which holds {holds}, and every column is compared "
                f"as values. Give the columns of values only, for example {name}[['y']]."
            )


def _is_time(dtype: Any) -> bool:
    if hasattr(dtype, "is_temporal"):  # of polars
        return bool(dtype.is_temporal())
    return isinstance(dtype, pd.PeriodDtype) or getattr(dtype, "kind", "") in ("m", "M")


def _refuse_not_finite(
    name: str, values: np.ndarray, mask: np.ndarray, advice: str = "Leave them out with observed=."
) -> None:
    bad = mask & ~np.isfinite(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{name} has {int(bad.sum())} NaN or infinite values that count, the first at index "
            f"{where}. {advice}"
        )
