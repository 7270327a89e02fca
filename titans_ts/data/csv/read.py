"""Read a CSV file into a frame that has its time as index."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from titans_ts.data.csv.file import read_utf8
from titans_ts.data.csv.shape import find_shape
from titans_ts.data.csv.values import read_values
from titans_ts.data.row_numbers import counts_rows, is_unnamed
from titans_ts.data.time_column import (
    find_time_column,
    looks_like_time,
    no_such_column,
    read_time_column,
)
from titans_ts.errors import DataError

__all__ = ["read_csv"]


def read_csv(
    path: str | Path,
    *,
    time_column: str | None = None,
    text_columns: Collection[str] = (),
    nameless: str | None = None,
) -> pd.DataFrame:
    """Read a CSV file, as instruments, spreadsheets and databases write them.

    Parameters
    ----------
    path : str or Path
        A file of rows below a line of column names, plain, compressed with gzip, or alone in a
        zip archive. In UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
    time_column : str, optional
        Name of the column that holds the time. Default: recognised as a forecaster does; a file
        without one gives numbered rows.
    text_columns : collection of str, optional
        Columns that are known to be text, such as the categories of another file: ``none`` or
        ``01`` in all rows is text there too. Names that the file does not have are left out.
    nameless : str, optional
        What ``time_column`` calls the first column where it has no name.

    Returns
    -------
    DataFrame
        The time column is the index. Gaps and missing values are left as they are.

    Raises
    ------
    DataFileError
        There is no such file, or it is no CSV: lines have different numbers of fields.
    DataError
        There are no rows, no column names, no such column; times that cannot be read, or dates and
        numbers that can be read in two ways.

    Notes
    -----
    What is unambiguous is handled, everything else is refused with a sentence:

    - Columns are separated by commas, semicolons, tabs or bars: by what splits all lines, from the
      column names on, into the same number of fields.
    - The column names are the first line with that number; lines above are a preamble, and left
      out. Spaces around a name are, too, and a last column with neither name nor values.
    - Row numbers, which ``DataFrame.to_csv`` writes beside a time column, are left out: a column
      without a name (or called ``Unnamed: 0``) that holds 0, 1, 2, ... where another column is the
      time. Where none is, the rows are numbered by it.
    - Numbers have decimal points, or in the whole file decimal commas. ``1,234`` alone could be
      either and is refused, and so are separators between thousands.
    - In columns of numbers, or of true and false, ``NA``, ``None``, ``null``, ``-``, ``?`` and the
      like are missing values; in columns of text only an empty cell is.
    - Blank lines are left out; not in a file of one column, where they may be missing values.
    - Dates with the day or the month first are read by what makes all of them dates, or else
      evenly spaced; where both do, or none, they are refused.

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
    data = read_utf8(path)
    if b"\n" not in data:  # as old Macintoshes wrote
        data = data.replace(b"\r", b"\n")
    frame = read_values(data, find_shape(data, path), path, text_columns)
    if frame.empty:
        raise DataError(
            f"{path} has column names but no rows, expected one row per time step below them."
        )
    labels = list(frame.columns)
    columns = [frame[label] for label in labels]
    if nameless not in labels and time_column == nameless and is_unnamed(labels[0]):
        time_column = None
    if time_column is not None:
        if time_column not in labels:
            raise no_such_column(time_column, labels, "time_column", table=str(path))
        position: int | None = labels.index(time_column)
    else:
        position = find_time_column(labels, columns)
        first = columns[0]
        if position is None and is_unnamed(labels[0]):
            integers = pd.api.types.is_integer_dtype(first.dtype)
            position = 0 if integers or looks_like_time(first) else None
    if position is None:
        return frame
    label = labels[position]
    index, _ = read_time_column(columns[position], f"column {label!r} of {path}")
    numbers = [each for each in labels if is_unnamed(each) and counts_rows(frame[each])]
    frame = frame.drop(columns=[*{label, *numbers}])
    return frame.set_index(index.rename(None if is_unnamed(label) else label))
