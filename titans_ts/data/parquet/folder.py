"""ParquetFolder: a table in Parquet files that may be larger than memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from titans_ts.data.covariates import CovariateSchema
from titans_ts.data.layout import Layout
from titans_ts.data.parquet.cache import Asked, Fingerprint, Prepared, RowCache
from titans_ts.data.parquet.files import ParquetFiles, import_pyarrow
from titans_ts.data.parquet.head import find_columns, find_layout
from titans_ts.data.parquet.row_file import RowFolder
from titans_ts.data.parquet.rows import is_text, learn_covariates, write_rows
from titans_ts.data.parquet.scan import take_census
from titans_ts.data.parquet.time import Clock, Steps
from titans_ts.data.roles import Names, as_list
from titans_ts.data.series import SeriesSet
from titans_ts.data.tables import Label
from titans_ts.errors import DataFileError

__all__ = ["ParquetFolder", "read_parquet_folder"]


class ParquetFolder:
    """A table in Parquet files, to be given to ``fit`` where it does not fit into memory.

    The files together are one long table (ids, time, values) or a wide one, as a frame would be;
    the forecaster's parameters name the columns. Reading passes over the files twice in small
    batches, checks every row, and writes the numbers it needs, 4 or 8 bytes each, to a *row file*
    from which windows are cut. Memory grows with the number of series, not of rows.

    Rows of one series must come oldest first, over the files in the order of their names; rows of
    several series may come in any order. A forecast is a pandas DataFrame.

    Parameters
    ----------
    path : str or Path
        A folder of Parquet files, however deep; one file; or a pattern such as
        ``"2024/*.parquet"``. Folders named ``column=value`` add a column, below the folder or from
        the first sign of the pattern on; names that start with ``_`` or ``.`` are left out.
    cache : str or Path, optional
        A folder where row files are kept, so that a later run need not read the Parquet files
        again; they are written anew when a file or the columns' roles change. Default: a temporary
        folder (see :func:`tempfile.gettempdir`) that lasts as long as this object and what was
        read from it.

    Notes
    -----
    Needs pyarrow: ``pip install 'titans-ts[parquet]'``.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from titans_ts import ParquetFolder, SeasonalNaiveForecaster
    >>> time = pd.date_range("2024-01-01", periods=48, freq="h")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for id in ["a", "b"]:
    ...         frame = pd.DataFrame({"unique_id": id, "ds": time, "y": [*range(24)] * 2})
    ...         frame.to_parquet(f"{folder}/{id}.parquet")
    ...     forecaster = SeasonalNaiveForecaster(horizon=3).fit(ParquetFolder(folder))
    >>> forecaster.predict()
      unique_id                  ds    y
    0         a 2024-01-03 00:00:00  0.0
    1         a 2024-01-03 01:00:00  1.0
    2         a 2024-01-03 02:00:00  2.0
    3         b 2024-01-03 00:00:00  0.0
    4         b 2024-01-03 01:00:00  1.0
    5         b 2024-01-03 02:00:00  2.0
    """

    def __init__(self, path: str | Path, *, cache: str | Path | None = None) -> None:
        import_pyarrow()
        self.path, self.cache = path, cache
        self._read: list[Prepared] = []

    def __repr__(self) -> str:
        cache = "" if self.cache is None else f", cache={str(self.cache)!r}"
        return f"ParquetFolder({str(self.path)!r}{cache})"

    def __len__(self) -> int:
        """Rows of all files."""
        return ParquetFiles(self.path).n_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove temporary row files now; what was read from them cannot be used afterwards."""
        for prepared in self._read:
            prepared.folder.close()
        self._read = []

    def __getstate__(self) -> dict[str, Any]:
        # Row files stay with the process that wrote them.
        return {**self.__dict__, "_read": []}


@dataclass(frozen=True)
class _Roles:
    """What a caller says about the columns."""

    time_column: Label
    target: Names
    id_column: Label
    past_covariates: Names
    future_covariates: Names
    static_covariates: Names

    def key(self, path: str | Path) -> str:
        named = {n: v if n in _SINGLE else as_list(v) for n, v in vars(self).items()}
        # No target named and none at all are two things.
        named["all"] = self.target is None
        text = json.dumps([os.path.abspath(path), named], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_SINGLE = ("time_column", "id_column")


def read_parquet_folder(
    X: ParquetFolder,
    *,
    freq: str | None = None,
    time_column: Label = None,
    target: Names = None,
    id_column: Label = None,
    past_covariates: Names = None,
    future_covariates: Names = None,
    static_covariates: Names = None,
    schema: CovariateSchema | None = None,
    step: int | None = None,
) -> tuple[SeriesSet, Layout]:
    """Read a table as :func:`titans_ts.data.schema.read_table` does, into row files.

    Parameters
    ----------
    X : ParquetFolder
    freq, time_column, target, id_column : optional
    past_covariates, future_covariates, static_covariates, schema, step : optional
        As of :func:`titans_ts.data.schema.read_table`.

    Returns
    -------
    series : SeriesSet
        In row files, which last as long as X or this set.
    layout : Layout
        As of the pandas frame with the same rows.

    Raises
    ------
    ParameterError
        ``freq`` is no frequency.
    DataFileError
        There are no files, one cannot be read, or there is no room for row files.
    DataError
        As of ``read_table``; and rows of a series that do not come oldest first.
    """
    roles = _Roles(
        time_column, target, id_column, past_covariates, future_covariates, static_covariates
    )
    files, key = ParquetFiles(X.path), roles.key(X.path)
    fingerprint = files.fingerprint()
    X._read = [p for p in X._read if p.fingerprint == fingerprint and p.folder.path.exists()]
    cache = None if X.cache is None else RowCache(X.cache, key, fingerprint)
    for prepared in (*X._read, *(cache.entries() if cache is not None else ())):
        if prepared.key == key and prepared.serves(freq, schema, step):
            if prepared not in X._read:
                X._read.append(prepared)
            return prepared.series(), prepared.layout
    prepared = _prepare(files, key, fingerprint, cache, vars(roles), freq, schema, step)
    X._read.append(prepared)
    return prepared.series(), prepared.layout


def _prepare(
    files: ParquetFiles,
    key: str,
    fingerprint: Fingerprint,
    cache: RowCache | None,
    names: Mapping[str, Any],
    freq: str | None,
    schema: CovariateSchema | None,
    step: int | None,
) -> Prepared:
    """Check all rows and write row files."""
    columns = find_columns(files, names)
    clock = Clock.for_column(files.schema, columns.time, columns.first_times())
    texts = [
        name
        for name in columns.covariates
        if is_text(files.schema.field(name).type) or columns.is_category(name)
    ]
    census, categories = take_census(files, columns.ids, clock, texts)
    layout = find_layout(files, columns, clock, census, freq, step)
    layout = replace(layout, covariates=learn_covariates(files, columns, categories, schema))
    steps = None
    if layout.time is not None and clock.name is not None:
        steps = Steps(clock, layout.freq, layout.time.step, census.first, census.last)
    folder = RowFolder.make_temporary() if cache is None else cache.new_folder()
    try:
        rows = write_rows(
            folder.path, files, columns, clock, census, steps, layout, later=schema is not None
        )
        if files.fingerprint() != fingerprint:
            raise DataFileError(
                "The Parquet files changed while they were read. Try again when all are written."
            )
        asked = Asked(freq is not None, schema is not None)
        static, dtypes = rows.static, rows.dtypes
        found = Prepared(key, fingerprint, folder, layout, census.counts, static, dtypes, asked)
        return found if cache is None else cache.keep(found, freq, schema, step)
    except BaseException:
        folder.close()
        raise
