"""Files of data that the command line reads, and tables as it writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.cli.columns import Columns
from titans_ts.data.covariates import CovariateSchema
from titans_ts.data.csv import read_csv
from titans_ts.data.ids import ID_NAMES
from titans_ts.data.layout import Layout
from titans_ts.data.parquet import ParquetFolder
from titans_ts.data.parquet.files import SUFFIXES, ParquetFiles
from titans_ts.data.schema import read_table
from titans_ts.data.series import SeriesSet
from titans_ts.data.time_column import looks_like_time

__all__ = ["Source", "is_parquet", "open_file", "read_source", "span", "written_form"]


@dataclass(frozen=True)
class Source:
    """A table that was read from a file."""

    file: Path
    table: pd.DataFrame | ParquetFolder
    time_column: str | None  # for forecasters; None: the index, or found by itself
    series: SeriesSet
    layout: Layout

    def words(self) -> str:
        """How much was read, and of when."""
        layout = self.layout
        step = f" every {layout.freq}" if layout.freq else ""
        panel = f" of {len(layout.ids):,} series" if layout.long else ""
        rows = int(self.series.lengths.sum())
        return f"{self.file}: {rows:,} rows{panel}{step}{span(layout)}"


def is_parquet(file: Path) -> bool:
    """Tell whether it is a Parquet file, or a folder that holds some."""
    if file.is_dir():
        return any(any(file.rglob(f"*{suffix}")) for suffix in SUFFIXES)
    return file.suffix.lower() in SUFFIXES


def open_file(
    file: Path,
    *,
    time_column: str | None,
    id_column: str | None,
    whole: bool = False,
    schema: CovariateSchema | None = None,
) -> tuple[pd.DataFrame | ParquetFolder, str | None]:
    """Open a CSV file, or Parquet files.

    Parameters
    ----------
    file : Path
    time_column, id_column : str or None
        As given; None recognises them.
    whole : bool, default False
        Read Parquet files into memory, too, where their rows would stay on disk.
    schema : CovariateSchema, optional
        What the covariates were in another file: categories are text here too.

    Returns
    -------
    table : DataFrame or ParquetFolder
        From a CSV file of one series, with its time as index; from one of several, with a column
        of ids and then one of time before the others.
    time_column : str or None
        What forecasters are to be told of it.
    """
    if is_parquet(file):
        files = ParquetFiles(file)  # says what is wrong with them
        if not whole:
            return ParquetFolder(file), time_column
        # By the same reader: pandas' own takes folders named store=08 for numbers.
        return files.head(files.n_rows).to_pandas(), time_column
    covariates = () if schema is None else (*schema.past, *schema.known, *schema.static)
    text = [str(c.label) for c in covariates if any(isinstance(n, str) for n in c.categories)]
    frame = read_csv(file, time_column=time_column, text_columns=text)
    names = ID_NAMES if id_column is None else (id_column,)
    ids = [name for name in names if name in frame.columns]
    if not ids or isinstance(frame.index, pd.RangeIndex) or _numbers_only(frame):
        return frame, None
    label = str(frame.index.name or "time")
    frame = frame.reset_index(names=label)
    frame.insert(0, ids[0], frame.pop(ids[0]))
    return frame, label


def _numbers_only(frame: pd.DataFrame) -> bool:
    """Tell whether the index are row numbers, beside a column of text that looks like the time."""
    if frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index.dtype):
        return False
    return any(looks_like_time(frame[label]) for label in frame.columns)


def read_source(file: Path, columns: Columns, *, whole: bool = False) -> Source:
    """Read a file to which a model is to be fitted; parameters as for :func:`open_file`."""
    table, time_column = open_file(
        file, time_column=columns.time_column, id_column=columns.id_column, whole=whole
    )
    series, layout = read_table(table, **columns.for_table(time_column))
    return Source(file, table, time_column, series, layout)


def written_form(forecast: pd.DataFrame, layout: Layout) -> tuple[pd.DataFrame, list[str]]:
    """A forecast as it is written and shown: all that is known of a row in columns.

    Parameters
    ----------
    forecast : DataFrame
    layout : Layout
        Of the table that it continues.

    Returns
    -------
    table : DataFrame
        Ids and time come first.
    labels : list of str
        The columns that say which row it is.
    """
    if layout.time_position is None:
        # One series with its time as index, or none.
        label = str(forecast.index.name if forecast.index.name is not None else "row")
        while label in forecast.columns:
            label += "_"
        return forecast.reset_index(names=label), [label]
    labels = [layout.time_label]
    if layout.id_label is not None:
        labels = [layout.id_label, *labels]
    others = [name for name in forecast.columns if name not in labels]
    return forecast[[*labels, *others]], [str(label) for label in labels]


def span(layout: Layout, horizon: int | None = None) -> str:
    """First and last time of a table, or of the ``horizon`` steps that follow; with a comma."""
    time = layout.time
    if time is None:
        return ""
    if horizon is None:
        index: Any = time.index_of(np.array([min(time.first), max(time.last)]))
    else:
        index = time.future_of_all(horizon)
    ends: Sequence[Any] = (index.min(), index.max())
    return f", {ends[0]} to {ends[1]}"
