"""Published bytes as a table: nothing is renamed, reordered or mended here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.errors import DataFileError

__all__ = ["parse"]


def parse(name: str, data: bytes, read: Mapping[str, Any]) -> pd.DataFrame:
    """Read a file whose checksum was found right.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    data : bytes
    read : mapping
        Of the manifest: ``format`` (csv, tsf or parquet) and ``missing``, the words for missing
        values in a CSV file.

    Returns
    -------
    DataFrame
        CSV and Parquet: rows and columns as published. tsf: one row per value, with the attributes
        of its series, then ``step`` (from 0) and ``value``.

    Raises
    ------
    DataFileError
        The file is something else, or a library that reads it is not installed.
    """
    form = read["format"]
    if form == "parquet":
        return _parquet(name, data)
    if data.startswith(b"PK"):
        data = _only_member(name, data)
    if form == "tsf":
        return _tsf(name, data)
    try:
        # Only the set's own words: pandas' list of them takes the holiday "None" for missing.
        return pd.read_csv(
            io.BytesIO(data),
            keep_default_na=False,
            na_values=list(read.get("missing", [""])),
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _unreadable(name, "CSV", error) from error


def _unreadable(name: str, form: str, error: Exception) -> DataFileError:
    words = str(error).strip().split("\n")[0]
    return DataFileError(
        f"{name} cannot be read as a {form} file ({words}), though it has the given checksum. Give "
        "the published file."
    )


def _only_member(name: str, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (member,) = archive.namelist()
            return archive.read(member)
    except (zipfile.BadZipFile, ValueError) as error:
        raise _unreadable(name, "ZIP", error) from error


def _parquet(name: str, data: bytes) -> pd.DataFrame:
    try:
        return pd.read_parquet(io.BytesIO(data))
    except ImportError as error:
        raise DataFileError(
            f"{name} is a Parquet file, which pandas reads with pyarrow; it is not installed. "
            "Install it: pip install pyarrow."
        ) from error
    except Exception as error:  # pyarrow's own, unknown where it is not installed
        raise _unreadable(name, "Parquet", error) from error


def _tsf(name: str, data: bytes) -> pd.DataFrame:
    """The text format of the Monash repository: ``@`` lines, then ``attributes:v1,v2,...``."""
    # Windows-1252: dashes in the comments; it decodes every file that is plain ASCII as well.
    lines = data.decode("cp1252").splitlines()
    attributes, values, n_lines = [], [], 0
    rows: list[list[str]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "@attribute":
            attributes.append(rest.split()[0])
        n_lines += 1
        if word.strip() == "@data":
            break
    try:
        for line in filter(None, map(str.strip, lines[n_lines:])):
            *facts, numbers = line.split(":")
            if len(facts) != len(attributes):
                raise ValueError(f"a series has {len(facts)} attributes, expected {attributes}")
            rows.append(facts)
            values.append(np.array(numbers.replace("?", "nan").split(","), dtype=np.float64))
        if not values:
            raise ValueError("there is no series after @data")
    except ValueError as error:
        raise _unreadable(name, "tsf", error) from error
    lengths = [len(v) for v in values]
    table = {
        attribute: np.repeat(np.array([row[i] for row in rows], dtype=object), lengths)
        for i, attribute in enumerate(attributes)
    }
    table["step"] = np.concatenate([np.arange(n) for n in lengths])
    table["value"] = np.concatenate(values)
    return pd.DataFrame(table)
