"""bulk_predict: a saved forecaster, mapped over the partitions of a Dask frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.bulk.worker import FAULT, Job, faults_of, forecast_of
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_choice, check_quantiles
from titans_ts.persistence import fingerprint

__all__ = ["bulk_predict", "find_faults"]


def bulk_predict(
    model: str | Path,
    X: Any,
    *,
    future: Any = None,
    quantiles: Any = None,
    shuffle: bool = True,
    device: str | None = None,
) -> Any:
    """Forecast all series of a Dask frame with a saved forecaster; nothing is computed yet.

    Every worker process loads the model once, and forecasts one partition at a time.

    Parameters
    ----------
    model : str or Path
        The folder that a forecaster was saved to, where all workers find it.
    X : dask DataFrame
        A long table (id, time, values, covariates), as ``predict`` takes one from pandas; rows in
        any order, in partitions of any kind.
    future : dask or pandas DataFrame, optional
        Covariates that are known in advance, as for ``predict``. They are joined by id.
    quantiles : sequence of float, optional
        Fractions strictly between 0 and 1, increasing. Default: the point forecast.
    shuffle : bool, default True
        Bring the rows of every series into one partition first. False says that they are, as where
        each file holds whole series; then only the ids are read beforehand, to make sure.
    device : str, optional
        Where the model goes in each worker, such as ``"cpu"`` or ``"cuda"``. Default: as the
        forecaster's ``accelerator`` says.

    Returns
    -------
    dask DataFrame
        The table that ``predict`` would return, in as many partitions as X; the order of the series
        differs.

    Raises
    ------
    SavedModelError
        There is no model, or, when computed, not the same one on each worker.
    DataError
        The columns do not fit the model; or, when computed, a series cannot be used: the message
        names the partition and the series.

    See Also
    --------
    find_faults : All series that would be refused, at once.

    Notes
    -----
    Needs Dask: ``pip install 'titans-ts[bulk]'``.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> import pandas as pd
    >>> from titans_ts import SeasonalNaiveForecaster
    >>> from titans_ts.bulk import bulk_predict
    >>> days = pd.date_range("2024-01-01", periods=4)
    >>> panel = pd.concat(
    ...     pd.DataFrame({"unique_id": id, "ds": days, "y": [1.0, 2.0, 1.0, 2.0]}) for id in "abc"
    ... )
    >>> folder = getfixture("tmp_path")
    >>> model = SeasonalNaiveForecaster(horizon=2, season_length=2).fit(panel)
    >>> model.save(folder / "model")
    >>> X = dd.from_pandas(panel, npartitions=3, sort=False)  # or dd.read_parquet(...)
    >>> forecast = bulk_predict(folder / "model", X)
    >>> forecast.to_parquet(folder / "forecasts", write_index=False)  # by the workers
    >>> forecast.compute().sort_values(["unique_id", "ds"], ignore_index=True)
      unique_id         ds    y
    0         a 2024-01-05  1.0
    1         a 2024-01-06  2.0
    2         b 2024-01-05  1.0
    3         b 2024-01-06  2.0
    4         c 2024-01-05  1.0
    5         c 2024-01-06  2.0
    """
    levels = check_quantiles("quantiles", quantiles)
    return _mapped(
        forecast_of,
        lambda meta, _: meta,
        model,
        X,
        future=future,
        quantiles=levels,
        shuffle=shuffle,
        device=device,
    )


def find_faults(model: str | Path, X: Any, *, future: Any = None, shuffle: bool = True) -> Any:
    """List the series that :func:`bulk_predict` would refuse, with what is wrong; lazily.

    It reads the rows, and forecasts nothing.

    Parameters
    ----------
    model, X, future, shuffle
        As for :func:`bulk_predict`.

    Returns
    -------
    dask DataFrame
        The id of each series that cannot be used, and a column ``fault`` with the reason. Without
        an id where no single series is at fault, such as for rows that have none.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> import pandas as pd
    >>> from titans_ts import SeasonalNaiveForecaster
    >>> from titans_ts.bulk import find_faults
    >>> days = pd.date_range("2024-01-01", periods=4)
    >>> panel = pd.concat(
    ...     pd.DataFrame({"unique_id": id, "ds": days, "y": [1.0, 2.0, 1.0, 2.0]}) for id in "abc"
    ... )
    >>> model = SeasonalNaiveForecaster(horizon=2, season_length=2).fit(panel)
    >>> model.save(getfixture("tmp_path") / "model")
    >>> gap = panel.drop(index=1).set_index("unique_id").drop(["a", "c"]).reset_index()
    >>> X = dd.from_pandas(pd.concat([panel[panel["unique_id"] != "b"], gap]), npartitions=1)
    >>> find_faults(getfixture("tmp_path") / "model", X).compute()["unique_id"].tolist()
    ['b']
    """

    return _mapped(faults_of, _faults_meta, model, X, future=future, shuffle=shuffle)


def _faults_meta(forecast: pd.DataFrame, id_column: str) -> pd.DataFrame:
    if id_column == FAULT:
        raise DataError(
            f"The column of ids is called {FAULT!r}, which is what find_faults calls the column of "
            "reasons. Rename it in X, and fit again with id_column= of the new name."
        )
    ids = forecast[id_column]
    dtype: Any = ids.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = object
    elif pd.api.types.is_integer_dtype(dtype):
        dtype = "Int64"  # one may be missing
    return pd.DataFrame({id_column: ids.astype(dtype), FAULT: pd.Series(dtype="string")})


def _mapped(
    work: Callable[..., pd.DataFrame],
    meta: Callable[[pd.DataFrame, str], pd.DataFrame],
    model: str | Path,
    X: Any,
    *,
    future: Any,
    shuffle: bool,
    quantiles: tuple[float, ...] | None = None,
    device: str | None = None,
) -> Any:
    """Map work over the partitions of X once every series lies in one of them."""
    dd = _import_dask()
    from titans_ts.bulk.columns import make_plan, with_id_column
    from titans_ts.bulk.whole import numbers, place_future, refuse_scattered

    check_choice("shuffle", shuffle, (True, False))
    path = _model_path(model)
    forecaster: BaseForecaster = BaseForecaster.load(path)
    if not isinstance(X, dd.DataFrame):
        raise DataError(
            f"X is a {type(X).__name__} of {type(X).__module__.split('.')[0]}, expected a "
            "DataFrame of Dask, such as dask.dataframe.read_parquet(folder). What fits in memory "
            "is for the forecaster's own predict."
        )
    X, id_column = with_id_column(X, forecaster)
    if future is not None:
        future, _ = with_id_column(_read_future(future, dd), forecaster, "future")
    ahead = None if future is None else future._meta
    plan = make_plan(forecaster, X._meta, id_column, quantiles, ahead)
    result = meta(plan.meta, id_column)
    X = X[plan.columns]  # what is not read need not be moved
    own = numbers(X.npartitions)
    checked = None
    if future is not None:
        future = place_future(future[plan.future], X, id_column, shuffle=shuffle)
    if shuffle and X.npartitions > 1:
        X = X.shuffle(on=id_column, npartitions=X.npartitions)
    elif not shuffle:
        checked = refuse_scattered(X, id_column, own)
    job = Job(path, fingerprint(path), device, id_column, quantiles, result, X.npartitions)
    return X.map_partitions(work, own, future, checked, job=job, meta=result, clear_divisions=True)


def _model_path(model: Any) -> str:
    if isinstance(model, str | os.PathLike):
        return os.path.abspath(model)
    raise ParameterError(
        f"model must be the folder of a saved forecaster, got a {type(model).__name__}. Save it "
        "with save(folder) where all workers find it, and give the folder."
    )


def _read_future(future: Any, dd: Any) -> Any:
    if isinstance(future, pd.DataFrame):
        return dd.from_pandas(future, npartitions=1, sort=False)
    if not isinstance(future, dd.DataFrame):
        raise DataError(
            f"future is a {type(future).__name__}, expected a DataFrame of Dask or pandas like X, "
            "with its id, its time and the columns of future_covariates."
        )
    return future


def _import_dask() -> Any:
    try:
        import dask.dataframe as dd
    except ImportError as error:
        raise ImportError(
            "Bulk scoring needs Dask, which is not installed here. Install it with "
            "pip install 'titans-ts[bulk]'."
        ) from error
    return dd
