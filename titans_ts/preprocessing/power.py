"""LogTransform and BoxCoxTransform: make large swings of positive values even."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import boxcox
from sklearn.preprocessing import PowerTransformer

from titans_ts.errors import ParameterError
from titans_ts.parameters import check_number
from titans_ts.preprocessing.base import SeriesTransformer
from titans_ts.preprocessing.panel import Panel

__all__ = ["BoxCoxTransform", "LogTransform"]

# The power of a scaled value stays above this for all training values: beyond, it loses so many
# digits to the constant that it is added to that no inverse could find them again.
LEAST_POWER = 1e-2
# Rows that a power is estimated from, evenly spread: more would say the same, for minutes.
ESTIMATE_ROWS = 100_000
# Where the values that a power of them can have end.
EDGE = float(np.finfo(np.float64).eps)
# What is too large for a float becomes nearly the largest, not infinite, however it is rounded.
MOST = float(np.log(np.finfo(np.float64).max)) - 1e-9


class _Offset(SeriesTransformer):
    """What both have in common: values are lifted above 0 first."""

    offset: float | None

    def _check_parameters(self) -> None:
        if self.offset is not None:
            check_number("offset", self.offset)

    def _learn(self, panel: Panel) -> None:
        if self.offset is None:
            low = np.where(np.isnan(panel.values), np.inf, panel.values).min(axis=0)
            # Lifted well above 0, where a value keeps its digits.
            self.offset_ = np.where(low > 0, 0.0, 1.0 - 2.0 * low)
        else:
            self.offset_ = np.full(panel.values.shape[1], float(self.offset))
        self._check_values(panel)

    def _check_values(self, panel: Panel) -> None:
        lowest = -self.offset_
        low = (panel.values <= lowest).any(axis=0)
        if low.any():
            edge = float(lowest[low.argmax()]) + 0.0  # no minus zero
            panel.refuse(
                panel.values <= lowest,
                f"that {type(self).__name__} cannot take",
                f"Expected values above {edge:g}. Give an offset= that lifts all values above 0, "
                "or correct them.",
            )


class LogTransform(_Offset):
    """Take the natural logarithm of ``value + offset``.

    Turns growth by a share into growth by an amount. A forecast brought back is
    ``exp(forecast) - offset``: the mean of logarithms becomes a median.

    Parameters
    ----------
    offset : float, optional
        Added first, so that all values are above 0. Default: learnt for each channel from the
        training rows, 0 where all of them are above 0; else what lifts the smallest above 0.
        ``offset=1`` suits counts.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`.

    Attributes
    ----------
    offset_ : ndarray of shape (channels,)

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.preprocessing import LogTransform
    >>> LogTransform(offset=1).fit_transform(np.array([[0.0], [np.e - 1]]))[:, 0].tolist()
    [0.0, 1.0]
    """

    _learnt = ("offset_",)

    def __init__(
        self,
        *,
        offset: float | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.offset = offset
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        # log1p where there is an offset: values far below it keep their digits.
        lifted = self.offset_ > 0
        offset = np.where(lifted, self.offset_, 1.0)
        out = np.empty_like(block)
        out[..., lifted] = np.log1p((block / offset)[..., lifted]) + np.log(offset)[lifted]
        out[..., ~lifted] = np.log((block + self.offset_)[..., ~lifted])
        return out

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        lifted = self.offset_ > 0
        offset = np.where(lifted, self.offset_, 1.0)
        block = np.minimum(block, MOST)
        out = np.empty_like(block)
        above = np.minimum(block[..., lifted] - np.log(offset)[lifted], MOST)
        out[..., lifted] = offset[lifted] * np.expm1(above)
        out[..., ~lifted] = np.exp(block[..., ~lifted]) - self.offset_[~lifted]
        return out


class BoxCoxTransform(_Offset):
    """Take a power of each value, chosen so that values come close to a normal distribution.

    A channel becomes ``(x ** lmbda - 1) / lmbda`` of ``x = (value + offset) / scale``, or the
    logarithm of x for a power of 0, after Box and Cox, "An analysis of transformations" (1964).
    The scale is the geometric mean of the training rows: it changes nothing but units, and keeps
    the digits of values that are far from 1.

    A forecast beyond the values that a power can have is taken to their edge: values do not fall
    below ``-offset``.

    Parameters
    ----------
    lmbda : float, optional
        The power for all channels, between -5 and 5. Default: estimated for each channel by
        maximum likelihood from the training rows, 100,000 of them at most; 1 for a constant
        channel. An estimate is kept where the transform can be undone to twelve digits.
    offset : float, optional
        As in :class:`LogTransform`.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`.

    Attributes
    ----------
    lmbdas_, offset_, scale_ : ndarray of shape (channels,)

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.preprocessing import BoxCoxTransform
    >>> X = np.exp(np.random.default_rng(0).normal(size=(500, 1)))
    >>> bool(abs(BoxCoxTransform().fit(X).lmbdas_[0]) < 0.1)  # a logarithm, nearly
    True
    """

    _learnt = ("offset_", "scale_", "lmbdas_")

    def __init__(
        self,
        *,
        lmbda: float | None = None,
        offset: float | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.lmbda = lmbda
        self.offset = offset
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.lmbda is not None:
            check_number("lmbda", self.lmbda, minimum=-5, maximum=5)

    def _learn(self, panel: Panel) -> None:
        super()._learn(panel)
        lifted = panel.values + self.offset_
        self.scale_ = np.ones(lifted.shape[1])
        self.lmbdas_ = np.full(lifted.shape[1], 1.0 if self.lmbda is None else float(self.lmbda))
        for channel in range(lifted.shape[1]):
            x = lifted[~np.isnan(lifted[:, channel]), channel]
            if len(x):
                self.scale_[channel] = np.exp(np.log(x).mean())
            x = x / self.scale_[channel]
            if self.lmbda is None and len(x) and x.max() > x.min() * (1 + 1e-9):
                self.lmbdas_[channel] = _estimate(x)

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return boxcox((block + self.offset_) / self.scale_, self.lmbdas_)

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        log = np.empty_like(block)
        flat = self.lmbdas_ == 0
        power = np.where(flat, 1.0, self.lmbdas_)
        inside = np.maximum(block * power, EDGE - 1.0)
        log[..., ~flat] = (np.log1p(inside) / power)[..., ~flat]
        log[..., flat] = block[..., flat]
        log = np.minimum(log, MOST - np.log(np.maximum(self.scale_, 1.0)))
        return np.exp(log) * self.scale_ - self.offset_


def _estimate(x: np.ndarray) -> float:
    """The power of highest likelihood, where no training value loses its digits."""
    some = x[:: -(-len(x) // ESTIMATE_ROWS), None]
    try:
        estimate = PowerTransformer(method="box-cox", standardize=False).fit(some).lambdas_[0]
    except ValueError as error:
        raise ParameterError(
            f"The power of a Box-Cox transform could not be estimated: {error} Give lmbda=."
        ) from error
    most = -np.log(LEAST_POWER)
    return float(np.clip(estimate, -most / np.log(x.max()), most / -np.log(x.min())))
