"""Read a CSV file into a frame that has its time as index."""

from __future__ import annotations

import difflib
import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from titans_ts.data.time_column import (
    find_time_column,
    looks_like_time,
    no_such_column,
    read_time_column,
)
from titans_ts.errors import DataError, DataFileError

__all__ = ["read_csv"]

# What pandas.DataFrame.to_csv leaves of an index without a name.
_UNNAMED = "Unnamed: 0"


def read_csv(path: str | Path, *, time_column: str | None = None) -> pd.DataFrame:
    """Read a CSV file, plain or compressed with gzip.

    Parameters
    ----------
    path : str or Path
        A file in UTF-8, its columns separated by commas, their names in the first line.
    time_column : str, optional
        Name of the column that holds the time. Default: recognised as in
        :func:`titans_ts.data.schema.read_table`; a file without one gives numbered rows.

    Returns
    -------
    DataFrame
        The time column is the index. Gaps and missing values are left as they are; ``fit``
        refuses them.

    Raises
    ------
    DataFileError
        There is no such file, or it is no CSV.
    DataError
        There are no rows, no such column, or times that cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "load.csv"
    ...     _ = file.write_text("date,load\\n2024-01-01,3.5\\n2024-01-02,4.5\\n")
    ...     read_csv(file)  # doctest: +NORMALIZE_WHITESPACE
                load
    date
    2024-01-01   3.5
    2024-01-02   4.5
    """
    path = Path(path)
    frame = _parse(path, _read_bytes(path))
    if frame.empty:
        raise DataError(
            f"{path} has column names but no rows, expected one row per time step below them."
        )
    labels = list(frame.columns)
    columns = [frame[label] for label in labels]
    if time_column is not None:
        if time_column not in labels:
            raise no_such_column(time_column, labels, "time_column", table=str(path))
        position: int | None = labels.index(time_column)
    else:
        position = find_time_column(labels, columns)
        first = columns[0]
        if position is None and labels[0] == _UNNAMED:
            integers = pd.api.types.is_integer_dtype(first.dtype)
            position = 0 if integers or looks_like_time(first) else None
    if position is None:
        return frame
    label = labels[position]
    index, _ = read_time_column(columns[position], f"column {label!r} of {path}")
    return frame.drop(columns=label).set_index(index.rename(None if label == _UNNAMED else label))


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        # By content, not by name: a download often loses its ".gz", or is unpacked under it.
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataFileError(f"No file {path}.{_nearby(path)}") from None
    except IsADirectoryError:
        files = sorted(p.name for p in path.iterdir() if ".csv" in p.name)[:5]
        inside = f" It holds {', '.join(files)}." if files else ""
        raise DataFileError(f"{path} is a folder, expected a CSV file.{inside}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{path} is damaged: its gzip compression breaks off or is wrong ({error}). "
            "Fetch the file again."
        ) from error
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data.strip():
        raise DataFileError(f"{path} is empty, expected a CSV file with column names and rows.")
    if b"\0" in data[:4096]:
        raise DataFileError(f"{path} is a binary file, expected a CSV file (plain or gzip).")
    return data


def _parse(path: Path, data: bytes) -> pd.DataFrame:
    header = data.lstrip().split(b"\n", 1)[0]
    for separator, written in ((b";", "';'"), (b"\t", "'\\t'")):
        if b"," not in header and separator in header:
            raise DataFileError(
                f"{path} separates its columns by {written}, expected commas. Read it with "
                f"pandas.read_csv(path, sep={written}) and give the frame, or save it with commas."
            )
    try:
        data.decode()
    except UnicodeDecodeError as error:
        byte = data[error.start : error.start + 1]
        raise DataFileError(
            f"{path} is not text in UTF-8 (byte {error.start} is {byte!r}). Save it as UTF-8, or "
            "give a CSV file."
        ) from error
    try:
        return pd.read_csv(io.BytesIO(data), encoding="utf-8", low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataFileError(
            f"{path} is not a CSV file with one row per line: {str(error).strip()}"
        ) from error


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    names = [p.name for p in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    near = near or [n for n in names if n.lower().startswith(path.stem.lower())][:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""
