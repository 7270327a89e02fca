"""Sequences from whatever file they are in: FASTA, FASTQ, or a table with a column of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from titans_ts.errors import DataError, DataFileError, ParameterError
from titans_ts.plugins.genomics.fasta import (
    Record,
    beginning,
    holds_records,
    opened,
    read_records,
)

__all__ = ["NamedSequences", "label_of", "read_labelled", "read_unlabelled"]


class NamedSequences(NamedTuple):
    """Sequences of a file, and what they are called there."""

    names: list[str]
    sequences: list[str]
    labels: list[str] | None = None


def read_unlabelled(file: Path, sequence_column: str) -> NamedSequences:
    """Read the sequences of a FASTA or FASTQ file, or those in a column of a table.

    Rows of a table are named by a column ``name`` or ``id`` where there is one, else by number.
    """
    with _content(file) as content:
        if not isinstance(content, pd.DataFrame):
            records = list(content)
            return NamedSequences([r.name for r in records], [r.sequence for r in records])
    sequences = _column(content, sequence_column, "--sequence-column", file)
    return NamedSequences(_names(content), sequences)


def read_labelled(file: Path, sequence_column: str, label_column: str) -> NamedSequences:
    """Read sequences with labels, which are columns of a table.

    White space around a label is left out.
    """
    with _content(file) as table:
        if not isinstance(table, pd.DataFrame):
            raise ParameterError(
                f"{str(file)!r} is FASTA or FASTQ, in which no label stands. Give a file for each "
                "class, as LABEL=FILE, or a table with a column of labels."
            )
    sequences = _column(table, sequence_column, "--sequence-column", file)
    labels = _column(table, label_column, "--label-column", file)
    labels = [label.strip() for label in labels]
    empty = [row for row, label in enumerate(labels, 1) if not label]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise DataError(
            f"{str(file)!r} has no label in row {empty[0]}{more} of the column {label_column!r}, "
            "counted below the header. Write one, or leave the row out."
        )
    return NamedSequences(_names(table), sequences, labels)


def label_of(text: str) -> tuple[str, Path]:
    """The label and the path of ``LABEL=PATH``; of a path alone, its name up to the first dot.

    Raises
    ------
    ParameterError
        Nothing stands before the ``=``.
    """
    label, equals, path = text.partition("=")
    # A path may hold "=" itself.
    if equals and not Path(text).exists():
        if not label.strip():
            raise ParameterError(
                f"{text!r} has no label before '='; expected LABEL=FILE, such as "
                f"{'promoter=' + path!r}. Write one; without '=', the label is the file's name up "
                "to the first dot."
            )
        return label.strip(), Path(path)
    # A file whose name starts with a dot has a label nevertheless.
    return Path(text).name.lstrip(".").partition(".")[0], Path(text)


@contextmanager
def _content(file: Path) -> Iterator[Iterator[Record] | pd.DataFrame]:
    """The records of FASTA or FASTQ, or else a table; the file is opened once, for pipes."""
    with opened(file) as stream:
        line, read = beginning(file, stream)
        if holds_records(line):
            yield read_records(file, line, chain(read, stream))
        else:
            separator = "\t" if "\t" in line else ","
            names = next(csv.reader([line], delimiter=separator))
            twice = [name for name in names if name and names.count(name) > 1]
            if twice:
                raise DataError(
                    f"{str(file)!r} has more than one column of the name {twice[0]!r}. Leave out "
                    "all but one, or rename them."
                )
            yield _table(file, b"".join(read) + stream.read(), separator)


def _table(file: Path, content: bytes, separator: str) -> pd.DataFrame:
    try:
        # As text: NA is a sequence of two letters, and 1 a label.
        table = pd.read_csv(io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False)
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{str(file)!r} is not text in UTF-8 ({error.reason}). Expected FASTA, FASTQ, or a "
            "table with commas or tabs."
        ) from error
    except pd.errors.ParserError as error:
        raise DataError(f"{str(file)!r} is no table: {str(error).strip()}.") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            f"Rows of {str(file)!r} have more fields than its header, which names "
            f"{', '.join(map(str, table.columns[:10]))}: what they are cannot be told. Name every "
            "column, or put quotation marks around a field that holds the separator."
        )
    return table


def _column(table: pd.DataFrame, name: str, option: str, file: Path) -> list[str]:
    if name not in table.columns:
        raise ParameterError(
            f"{str(file)!r} has no column {name!r}; it has "
            f"{', '.join(map(str, table.columns[:10]))}. Name it with {option}."
        )
    return [str(value) for value in table[name]]


def _names(table: pd.DataFrame) -> list[str]:
    for column in ("name", "id"):
        if column in table.columns:
            return [str(value) for value in table[column]]
    return [str(i) for i in range(len(table))]
