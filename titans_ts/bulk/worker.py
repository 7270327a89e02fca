"""What a worker does with a partition: load the model once, forecast, and name what is at fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.data.layout import Layout, some
from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError, SavedModelError, TitansError
from titans_ts.persistence import fingerprint

__all__ = ["FAULT", "Job", "faults_of", "forecast_of", "load_once"]

#: The column of a table of faults that says what is wrong.
FAULT = "fault"

# One at a time in a process: threads would load the model twice, and take each other's cores from
# torch, which has threads of its own.
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What is the same for all partitions.

    Parameters
    ----------
    model : str
        The folder of a saved forecaster.
    fingerprint : str
        Of the forecaster that was there when the job was made.
    device : str or None
    id_column : str
    quantiles : tuple of float or None
    meta : DataFrame
        A result without rows.
    n_partitions : int
    """

    model: str
    fingerprint: str
    device: str | None
    id_column: str
    quantiles: tuple[float, ...] | None
    meta: pd.DataFrame
    n_partitions: int


# Two, so that a job that ends and one that begins do not drive each other's model out.
@lru_cache(maxsize=2)
def load_once(model: str, expected: str, device: str | None) -> BaseForecaster:
    """Load a saved forecaster; the same one again is there already.

    Raises
    ------
    SavedModelError
        The folder cannot be read here, or holds another model by now.
    """
    try:
        forecaster: BaseForecaster = BaseForecaster.load(model, device=device)
    except SavedModelError as error:
        raise SavedModelError(
            f"{error} All workers read the model from this path: put it where each of them finds "
            "it, on shared storage."
        ) from error
    if fingerprint(model) != expected:
        raise SavedModelError(
            f"Another model was saved to {model!r} since these forecasts were asked for. Ask for "
            "them again, so that all are of one model; or save models under names of their own."
        )
    return forecaster


def forecast_of(
    part: pd.DataFrame,
    number: pd.DataFrame,
    future: pd.DataFrame | None,
    checked: pd.DataFrame | None,
    *,
    job: Job,
) -> pd.DataFrame:
    """Forecast the series of a partition.

    Parameters
    ----------
    part : DataFrame
        Whole series.
    number : DataFrame
        One row: which partition it is.
    future : DataFrame or None
        Covariates of the steps to forecast, of these series and maybe others.
    checked : DataFrame or None
        Not looked at: what must have been computed before.
    job : Job

    Returns
    -------
    DataFrame
        As ``predict`` returns it.
    """
    if not len(part):
        return job.meta
    where = _where(number, job)
    with _LOCK, _named(where, part, job):
        forecaster = load_once(job.model, job.fingerprint, job.device)
        reader = _Reader(forecaster, future, job.id_column)
        try:
            series, layout = reader.read(part)
        except DataError as error:
            name, own = next(reader.faults(part), (None, error))
            words = "" if own is error else f"series {name!r}: "
            raise type(own)(f"{words}{own}") from error
        forecast = forecaster._continue(series, layout, job.quantiles)
    # What a partition happens to hold decides nothing: integers in one may be floats in another.
    return _like(job.meta, forecast)


def faults_of(
    part: pd.DataFrame,
    number: pd.DataFrame,
    future: pd.DataFrame | None,
    checked: pd.DataFrame | None,
    *,
    job: Job,
) -> pd.DataFrame:
    """Read a partition as :func:`forecast_of` does, and list what is refused.

    Returns
    -------
    DataFrame
        A row for each series at fault, with its id and what is wrong; or one without id where no
        single series is.
    """
    if not len(part):
        return job.meta
    where = _where(number, job)
    with _named(where, part, job):
        with _LOCK:
            forecaster = load_once(job.model, job.fingerprint, job.device)
        reader = _Reader(forecaster, future, job.id_column)
        found = [(name, str(error)) for name, error in reader.faults(part)]
        left = part[~part[job.id_column].isin([name for name, _ in found])]
        whole = reader.refusal(left)
    if whole is not None:
        found.append((None, f"{where}: {whole}"))
    columns = [pd.Series(list(column), dtype=object) for column in zip(*found, strict=True)]
    if not columns:
        return job.meta
    return _like(job.meta, pd.DataFrame(dict(zip(job.meta.columns, columns, strict=True))))


@dataclass(frozen=True)
class _Reader:
    """Reading rows as for a forecast, and what it says of all or some series."""

    forecaster: BaseForecaster
    future: pd.DataFrame | None
    id_column: str

    def read(self, part: pd.DataFrame) -> tuple[SeriesSet, Layout]:
        """Read what a forecast continues, covariates of the steps to forecast included."""
        series, layout = self.forecaster._read_like_fit(part, part=True)
        last = self.forecaster._last_rows(series)
        return self.forecaster._with_future(last, layout, self.future), layout

    def refusal(self, part: pd.DataFrame) -> DataError | None:
        """Say what is wrong with some rows."""
        try:
            if len(part):
                self.read(part)
        except DataError as error:
            return error
        return None

    def faults(self, part: pd.DataFrame) -> Iterator[tuple[Any, DataError]]:
        """Halve what is refused until single series are left; rows without an id are left out."""
        part = part[part[self.id_column].notna()]
        error = self.refusal(part)
        if error is None:
            return
        ids = pd.unique(part[self.id_column]).tolist()
        if len(ids) == 1:
            yield ids[0], error
            return
        first = part[self.id_column].isin(ids[: len(ids) // 2])
        yield from self.faults(part[first])
        yield from self.faults(part[~first])


@contextmanager
def _named(where: str, part: pd.DataFrame, job: Job) -> Iterator[None]:
    """Say of whatever fails which partition it was."""
    try:
        yield
    except TitansError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        ids = pd.unique(part[job.id_column]).tolist()
        error.add_note(f"This was {where}, with the series {some(ids)}.")
        raise


def _where(number: pd.DataFrame, job: Job) -> str:
    return f"Partition {int(number.to_numpy()[0, 0])} of {job.n_partitions}"


def _like(meta: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    other = {
        name: dtype
        for name, dtype in meta.dtypes.items()
        if table[name].dtype != dtype and not _lost_as(dtype, table[name])
    }
    return table.astype(other) if other else table


def _lost_as(dtype: Any, ids: pd.Series) -> bool:
    """Whether some ids are none of the categories: where Dask does not know these, all of them.

    pandas would make them missing without a word; Dask joins the categories of partitions itself.
    """
    return isinstance(dtype, pd.CategoricalDtype) and not ids.isin(dtype.categories).all()
