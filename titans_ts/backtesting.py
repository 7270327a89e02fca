"""The long-horizon protocol: how forecasters are compared on benchmark data sets.

It is the protocol of Informer (Zhou et al., 2021) and of what followed it, without the flaw that
many of those share of dropping the last, incomplete batch of test windows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from titans_ts.base import BaseForecaster
from titans_ts.data.moments import moments, pooled_moments
from titans_ts.data.parquet import ParquetFolder
from titans_ts.data.roles import find_roles
from titans_ts.data.rows import open_rows
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label, open_table
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_choice, check_int

__all__ = [
    "ETT_SPLITS",
    "ForecasterResult",
    "ProtocolResult",
    "Split",
    "fraction_split",
    "long_horizon_protocol",
]


class Split(NamedTuple):
    """Rows for training, validation and testing, in this order from the first row on."""

    n_train: int
    n_validation: int
    n_test: int


_ETT_HOURLY = Split(8640, 2880, 2880)  # 12, 4 and 4 months of 30 days
_ETT_QUARTER_HOURLY = Split(*(4 * n for n in _ETT_HOURLY))

#: The splits that publications use for the ETT sets; the rows after them stay unused.
ETT_SPLITS = {
    "ETTh1": _ETT_HOURLY,
    "ETTh2": _ETT_HOURLY,
    "ETTm1": _ETT_QUARTER_HOURLY,
    "ETTm2": _ETT_QUARTER_HOURLY,
}


def fraction_split(n_rows: int) -> Split:
    """The split that publications use for all other sets: 0.7, 0.1 and 0.2 of the rows.

    Training and test rows are rounded down, and validation gets the rest.

    Examples
    --------
    >>> fraction_split(7588)  # exchange rate
    Split(n_train=5311, n_validation=760, n_test=1517)
    """
    check_int("n_rows", n_rows)
    n_train, n_test = int(n_rows * 0.7), int(n_rows * 0.2)
    return Split(n_train, n_rows - n_train - n_test, n_test)


@dataclass(frozen=True)
class ForecasterResult:
    """How one forecaster did."""

    mse: float
    mae: float
    channel_mse: np.ndarray  # (channels,); nan where no test value was observed
    channel_mae: np.ndarray  # (channels,); likewise
    n_windows: int  # test windows, summed over series
    fit_seconds: float  # nan where it came fitted
    forecast_seconds: float  # for all windows, cutting them included


@dataclass(frozen=True)
class ProtocolResult:
    """How all forecasters did, by name; errors on standardised data."""

    forecasters: dict[str, ForecasterResult]
    channels: tuple[str, ...]
    horizon: int
    split: Split

    def table(self) -> pd.DataFrame:
        """One row per forecaster: mse, mae, n_windows, fit_seconds and forecast_seconds."""
        columns = ["mse", "mae", "n_windows", "fit_seconds", "forecast_seconds"]
        rows = [[getattr(r, name) for name in columns] for r in self.forecasters.values()]
        names = pd.Index(list(self.forecasters), name="forecaster")
        return pd.DataFrame(rows, index=names, columns=columns)

    def channel_table(self) -> pd.DataFrame:
        """One row per forecaster and channel: mse and mae."""
        index = pd.MultiIndex.from_product(
            [list(self.forecasters), self.channels], names=["forecaster", "channel"]
        )
        results = self.forecasters.values()
        return pd.DataFrame(
            {
                "mse": np.concatenate([r.channel_mse for r in results]),
                "mae": np.concatenate([r.channel_mae for r in results]),
            },
            index=index,
        )


def long_horizon_protocol(
    forecasters: Mapping[str, BaseForecaster],
    X: Any,
    *,
    n_train: int,
    n_validation: int,
    n_test: int,
    fit: bool = True,
    validation: Literal["split", "default"] = "split",
    progress: Callable[[str, int, int], None] | None = None,
) -> ProtocolResult:
    """Fit forecasters on the rows before the test period, and forecast from every row in it.

    1. Each forecaster is fitted on rows ``[0, n_train + n_validation)``, in the data's own units,
       the last ``n_validation`` of them set aside as its validation rows.
    2. It forecasts from every origin from ``n_train + n_validation`` to
       ``n_train + n_validation + n_test - horizon``, one row apart, so ``n_test - horizon + 1``
       times. The context is whatever rows before the origin it wants, earlier test rows
       included: their values are known by then. Nothing is learnt from them.
    3. Truth and forecasts are standardised per channel by the mean and the population standard
       deviation of the first ``n_train`` rows, of all series together (a channel constant there
       keeps its unit).
    4. MSE and MAE are averaged over all observed values of all windows, steps and channels alike.
       No window is left out.

    Parameters
    ----------
    forecasters : dict of str to forecaster
        All of one horizon and one ``target``. They are fitted in place, so that they can be used,
        saved or drawn afterwards. Covariates that are known in advance are taken from X.
    X : array, Series or DataFrame
        As for ``fit``. In a table of several series, the periods are counted from the first row
        of each series, whenever that was. Rows past the three periods stay unused.
    n_train, n_validation, n_test : int
        Rows of each period; ``**ETT_SPLITS["ETTm1"]._asdict()`` and the like fill them in.
    fit : bool, default True
        False takes forecasters that are fitted already, on rows before the test period: nobody
        can check that here.
    validation : {"split", "default"}, default "split"
        "default" lets each forecaster choose its validation rows from the same rows, by its
        ``validation_fraction``.
    progress : callable, optional
        Called with (name, windows done, windows in all), first with 0 done before fitting.

    Returns
    -------
    ProtocolResult

    Raises
    ------
    ParameterError
        No forecaster, different horizons, or a split that makes no sense.
    DataError
        X, or one of its series, is shorter than the split; or X cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import RidgeForecaster, SeasonalNaiveForecaster
    >>> rng = np.random.default_rng(0)
    >>> X = np.sin(np.arange(600) * np.pi / 12)[:, None] + 0.3 * rng.normal(size=(600, 2))
    >>> result = long_horizon_protocol(
    ...     {
    ...         "seasonal naive": SeasonalNaiveForecaster(horizon=12, season_length=24),
    ...         "ridge": RidgeForecaster(horizon=12, context_length=72),
    ...     },
    ...     X, n_train=400, n_validation=100, n_test=100,
    ... )
    >>> result.table()["n_windows"].tolist()
    [89, 89]
    >>> result.table()["mse"].idxmin()
    'ridge'
    """
    split = _check_split(n_train, n_validation, n_test)
    horizon = _common_horizon(forecasters)
    check_choice("validation", validation, ("split", "default"))
    if n_test < horizon:
        raise ParameterError(
            f"n_test={n_test} rows hold no whole target of horizon={horizon} steps. "
            "Give a longer test period, or lower horizon."
        )
    results: dict[str, ForecasterResult] = {}
    channels: tuple[str, ...] | None = None
    for name, forecaster in forecasters.items():
        series = _read_split(forecaster, X, split)
        if channels is not None and series.channels != channels:
            raise ParameterError(
                f"{name!r} forecasts the columns {list(series.channels)}, those before it "
                f"{list(channels)}, so their errors do not compare. Give all the same target."
            )
        channels = series.channels
        report = partial(progress or _say_nothing, name)
        report(0, (n_test - horizon + 1) * series.n_series)
        fit_seconds = float("nan")
        if fit:
            start = time.perf_counter()
            rows = first_rows(
                X,
                n_train + n_validation,
                id_column=forecaster.id_column,
                time_column=forecaster.time_column,
            )
            forecaster.fit(rows, validation=n_validation if validation == "split" else None)
            fit_seconds = time.perf_counter() - start
        else:
            check_is_fitted(forecaster)
        # Read again, now that the forecaster knows which covariates it was fitted with.
        series = forecaster.read_series(X).head(np.full(series.n_series, sum(split)))
        results[name] = _judge(forecaster, series, split, fit_seconds, report)
    return ProtocolResult(results, channels or (), horizon, split)


def first_rows(X: Any, n: int, *, id_column: Label = None, time_column: Label = None) -> Any:
    """The first ``n`` rows of each series of a table, as the same kind of table.

    Parameters
    ----------
    X : array, Series or DataFrame
    n : int
    id_column, time_column : str, optional
        As for a forecaster.

    Returns
    -------
    Like X
        Rows of a long frame stay in the order that X has them in, which may be any.

    Raises
    ------
    DataError
        X cannot be cut.

    Examples
    --------
    >>> import pandas as pd
    >>> long = pd.DataFrame({"item_id": ["b", "a", "b", "a"], "ds": [2, 1, 1, 2], "y": range(4)})
    >>> first_rows(long, 1)
      item_id  ds  y
    1       a   1  1
    2       b   1  2
    """
    if isinstance(X, ParquetFolder):
        raise DataError(
            "The rows of a ParquetFolder cannot be cut into periods, so no forecaster can be "
            "fitted on the first of them here. Give a frame, or forecasters that are fitted on "
            "files with the rows before the test period, and fit=False."
        )
    table = open_table(X)
    if table is None:
        # An array stays as it is: a mask, and a file that it is mapped to, are part of it.
        array = X if isinstance(X, np.ndarray) else np.asarray(X)
        return array[:, :n] if array.ndim == 3 else array[:n]
    roles = find_roles(table, id_column=id_column, time_column=time_column, targets=False)
    if not roles.long:
        return X.head(n)
    rows = open_rows(table, roles)
    lengths = np.diff(rows.offsets)
    keep = np.arange(lengths.sum()) - np.repeat(rows.offsets[:-1], lengths) < n
    if rows.order is not None:
        keep[rows.order] = keep.copy()
    if table.polars:
        return nw.from_native(X, eager_only=True).filter(keep.tolist()).to_native()
    return X.loc[keep]


def _check_split(n_train: int, n_validation: int, n_test: int) -> Split:
    check_int("n_train", n_train)
    check_int("n_validation", n_validation, minimum=0)
    check_int("n_test", n_test)
    return Split(int(n_train), int(n_validation), int(n_test))


def _common_horizon(forecasters: Mapping[str, BaseForecaster]) -> int:
    if not isinstance(forecasters, Mapping) or not forecasters:
        raise ParameterError(
            "forecasters must be a dict of at least one forecaster by name, such as "
            f"{{'ridge': RidgeForecaster(horizon=96)}}; got {forecasters!r}."
        )
    for name, forecaster in forecasters.items():
        if not isinstance(forecaster, BaseForecaster):
            raise ParameterError(
                f"forecasters[{name!r}] must be a forecaster of titans_ts, got {forecaster!r}."
            )
        check_int(f"horizon of {name!r}", forecaster.horizon)
    horizons = {name: forecaster.horizon for name, forecaster in forecasters.items()}
    if len(set(horizons.values())) > 1:
        raise ParameterError(
            f"The forecasters have different horizons ({horizons}), so they would be judged on "
            "different targets. Give all the same horizon."
        )
    return int(next(iter(horizons.values())))


def _read_split(forecaster: BaseForecaster, X: Any, split: Split) -> SeriesSet:
    """The rows of the three periods, as the forecaster reads them."""
    series, layout = forecaster._read(X)
    needed = sum(split)
    short = np.flatnonzero(series.lengths < needed)
    if len(short):
        found = f"{series.lengths[short[0]]} rows"
        words, help_ = f"X has {found}, but the split needs {needed}", "Give more rows"
        if layout.long:
            more = f" (and {len(short) - 1:,} other series are too short)" * (len(short) > 1)
            words = (
                f"Series {layout.ids[int(short[0])]!r} has {found}{more}, but the split needs "
                f"{needed} from the first row of each series on"
            )
            help_ = f"Leave {'it' if len(short) == 1 else 'them'} out, give more rows"
        raise DataError(
            f"{words}: {split.n_train} for training, {split.n_validation} for validation and "
            f"{split.n_test} for testing. {help_}, or a shorter split."
        )
    return series.head(np.full(series.n_series, needed))


def _judge(
    forecaster: BaseForecaster,
    series: SeriesSet,
    split: Split,
    fit_seconds: float,
    report: Callable[[int, int], None],
) -> ForecasterResult:
    train = series.head(np.full(series.n_series, split.n_train))
    # The mean cancels in an error; a channel without spread keeps its unit, as in
    # scikit-learn's StandardScaler, rounding noise included.
    _, scale = pooled_moments(moments(train))

    first = np.full(series.n_series, split.n_train + split.n_validation)
    windows = WindowIndex(
        series, forecaster.context_length_, forecaster.horizon, first_origin=first
    )
    # Sums, divided once: batches are of unequal size, so a mean of their means would be off.
    squared, absolute, count = np.zeros((3, len(scale)))
    done = 0
    start = time.perf_counter()
    for cut, forecast in forecaster.iter_forecasts(windows):
        error = np.where(cut.target_observed, (forecast - cut.target) / scale, 0.0)
        squared += (error**2).sum(axis=(0, 1))
        absolute += np.abs(error).sum(axis=(0, 1))
        count += cut.target_observed.sum(axis=(0, 1))
        done += len(error)
        report(done, len(windows))
    seconds = time.perf_counter() - start
    if not count.any():
        raise DataError(
            f"Nothing to judge: every value of the {split.n_test} test rows is missing. Give a "
            "split whose last period has observed values."
        )
    # A channel that was never observed has no error.
    count = np.where(count > 0, count, np.nan)
    return ForecasterResult(
        mse=float(squared.sum() / np.nansum(count)),
        mae=float(absolute.sum() / np.nansum(count)),
        channel_mse=squared / count,
        channel_mae=absolute / count,
        n_windows=done,
        fit_seconds=fit_seconds,
        forecast_seconds=seconds,
    )


def _say_nothing(name: str, done: int, total: int) -> None:
    """Stand in for a progress callback."""
