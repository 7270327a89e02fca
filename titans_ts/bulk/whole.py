"""Series lie whole in one partition: bring them there, or see that they do."""

from __future__ import annotations

from typing import Any

import dask.dataframe as dd
import pandas as pd

from titans_ts.data.layout import some
from titans_ts.errors import DataError

__all__ = ["numbers", "place_future", "refuse_scattered"]

_ID, _NUMBER = "id", "number"


def numbers(n_partitions: int) -> Any:
    """A frame whose partitions know which they are, also where a user computes only some."""
    own = pd.DataFrame({_NUMBER: range(n_partitions)})
    return dd.from_pandas(own, npartitions=n_partitions, sort=False)


def refuse_scattered(frame: Any, id_column: str, own: Any) -> Any:
    """Return a frame of one partition that fails to compute where a series lies in several.

    Only the ids are read for it.

    Parameters
    ----------
    frame : dask DataFrame
    id_column : str
    own : dask DataFrame
        As :func:`numbers` returns it.
    """
    meta = pd.DataFrame({_ID: frame[id_column]._meta, _NUMBER: pd.Series(dtype="int64")})
    seen = frame[[id_column]].map_partitions(_ids_of, own, meta=meta, clear_divisions=True)
    return seen.repartition(npartitions=1).map_partitions(_refuse_scattered, meta=meta.iloc[:, 1:])


def _ids_of(part: pd.DataFrame, number: pd.DataFrame) -> pd.DataFrame:
    ids = part.iloc[:, 0].drop_duplicates().reset_index(drop=True)
    return pd.DataFrame({_ID: ids, _NUMBER: int(number.to_numpy()[0, 0])})


def _refuse_scattered(seen: pd.DataFrame) -> pd.DataFrame:
    again = seen[seen[_ID].duplicated(keep=False) & seen[_ID].notna()]
    if len(again):
        ids = again[_ID].unique().tolist()
        lies = again.loc[again[_ID] == ids[0], _NUMBER].tolist()
        raise DataError(
            "With shuffle=False, the rows of a series must lie in one partition, but those of "
            f"{len(ids):,} lie in several: {some(ids)}; the first in "
            f"partitions {some(lies)}. Leave shuffle=False out, or write the table anew with "
            "every series in one file."
        )
    return seen.iloc[:0, 1:]


def place_future(future: Any, X: Any, id_column: str, *, shuffle: bool) -> Any:
    """Bring the covariates of the steps to forecast to where their series are, or will be.

    Parameters
    ----------
    future, X : dask DataFrame
        X not shuffled yet.
    id_column : str
        Of X.
    shuffle : bool
        Whether X is to be shuffled.

    Raises
    ------
    DataError
        They cannot be brought there.
    """
    n = X.npartitions
    if not shuffle:
        # A single partition goes to all.
        if future.npartitions not in (1, n):
            raise DataError(
                f"With shuffle=False, future must lie as X does, or in one partition; it has "
                f"{future.npartitions} partitions, and X has {n}. Leave shuffle=False out, or "
                "give a pandas DataFrame if it is small."
            )
        return future
    if n == 1:
        return future.repartition(npartitions=1)
    return _same_ids(future, X, id_column).shuffle(on=id_column, npartitions=n)


def _same_ids(future: Any, X: Any, id_column: str) -> Any:
    """Give the ids of ``future`` the dtype of X's, so that equal ids fall to one partition."""
    if id_column not in future.columns:
        raise DataError(
            f"The ids of X are in column {id_column!r}, which future lacks; its columns are "
            f"{', '.join(map(repr, future.columns))}. Give both the same."
        )
    wanted, found = X.dtypes[id_column], future.dtypes[id_column]
    if _kind(wanted) != _kind(found):
        raise DataError(
            f"The ids in column {id_column!r} are {wanted} in X and {found} in future, expected "
            "the same. Convert one of them with astype."
        )
    # Categories fall where their values do, whatever their numbers are.
    if isinstance(wanted, pd.CategoricalDtype):
        wanted = wanted.categories.dtype
    return future.astype({id_column: wanted}) if wanted != found else future


def _kind(dtype: Any) -> str:
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    if pd.api.types.is_integer_dtype(dtype):
        return "integers"
    return str(dtype) if pd.api.types.is_float_dtype(dtype) else "text"
