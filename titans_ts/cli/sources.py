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
from titans_ts.data.tables import Label
from titans_ts.data.time_column import looks_like_time

__all__ = ["Source", "is_parquet", "open_file", "read_source", "span", "written_form"]


# What the time is called in a long table whose column has no name.
NAMELESS_TIME = "time"


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
        return files.frame(files.n_rows), time_column
    names = ID_NAMES if id_column is None else (id_column,)
    covariates = () if schema is None else (*schema.past, *schema.known, *schema.static)
    text = [str(c.label) for c in covariates if any(isinstance(n, str) for n in c.categories)]
    frame = read_csv(
        file, time_column=time_column, text_columns=[*text, *names], nameless=NAMELESS_TIME
    )
    ids = [name for name in names if name in frame.columns]
    for name in ids:
        frame[name] = _as_written(frame[name])
    if not ids or isinstance(frame.index, pd.RangeIndex) or _numbers_only(frame):
        return frame, None
    label = _free_name(str(frame.index.name or NAMELESS_TIME), frame)
    frame = frame.reset_index(names=label)
    frame.insert(0, ids[0], frame.pop(ids[0]))
    return frame, label


def _as_written(ids: pd.Series) -> pd.Series:
    """Ids as numbers, where these are written as the file has them: 08 and 8 are two."""
    texts = pd.Series(ids.dropna().unique(), dtype=object)
    numbers = pd.to_numeric(texts, errors="coerce")
    plain = numbers.notna().all() and (numbers.astype(str) == texts).all()
    return pd.to_numeric(ids) if plain else ids


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
        # The index has the time, beside ids or none; or it counts the rows of one series.
        forecast, labels = _with_index(forecast, layout)
    else:
        labels = [layout.time_label]
    if layout.id_label is not None and layout.id_label not in labels:
        labels = [layout.id_label, *labels]
    others = [name for name in forecast.columns if name not in labels]
    return forecast[[*labels, *others]], [str(label) for label in labels]


def _with_index(forecast: pd.DataFrame, layout: Layout) -> tuple[pd.DataFrame, list[Label]]:
    """A forecast with the levels of its index as first columns, and what these are called."""
    n_levels = forecast.index.nlevels
    bare = (ID_NAMES[0], NAMELESS_TIME)[-n_levels:] if layout.long else ("row",)
    labels: list[Label] = []
    for name, otherwise in zip(forecast.index.names, bare, strict=True):
        labels.append(_free_name(otherwise if name is None else str(name), forecast))
    return forecast.reset_index(names=labels), labels


def _free_name(label: str, frame: pd.DataFrame) -> str:
    """A name for a new column: this one, with lines behind it while there is such a column."""
    while label in frame.columns:
        label += "_"
    return label


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
