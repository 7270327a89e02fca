"""Sequences from whatever file they are in: FASTA, FASTQ, or a table with a column of them."""

from __future__ import annotations

import zlib
from gzip import BadGzipFile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from titans_ts.errors import DataError, DataFileError, ParameterError
from titans_ts.plugins.genomics.fasta import first_line, read_sequences

__all__ = ["NamedSequences", "read_labelled", "read_unlabelled"]


class NamedSequences(NamedTuple):
    """Sequences of a file, and what they are called there."""

    names: list[str]
    sequences: list[str]
    labels: list[str] | None = None


def read_unlabelled(file: Path, sequence_column: str) -> NamedSequences:
    """Read the sequences of a FASTA or FASTQ file, or those in a column of a table.

    Rows of a table are named by a column ``name`` or ``id`` where there is one, else by number.
    """
    if _holds_records(file):
        records = list(read_sequences(file))
        return NamedSequences([r.name for r in records], [r.sequence for r in records])
    table = _read_table(file)
    sequences = _column(table, sequence_column, "--sequence-column", file)
    return NamedSequences(_names(table), sequences)


def read_labelled(files: list[str], sequence_column: str, label_column: str) -> NamedSequences:
    """Read sequences with labels: a table, or a FASTA or FASTQ file for each class.

    Parameters
    ----------
    files : list of str
        One table, or files as ``LABEL=PATH``; without ``LABEL=``, a file's name up to the first
        dot is the label.
    sequence_column, label_column : str
        Of a table.
    """
    pairs = [_label_of(text) for text in files]
    if len(pairs) == 1 and not _holds_records(pairs[0][1]):
        file = pairs[0][1]
        table = _read_table(file)
        sequences = _column(table, sequence_column, "--sequence-column", file)
        return NamedSequences(
            _names(table), sequences, _column(table, label_column, "--label-column", file)
        )
    if len(pairs) == 1:
        raise ParameterError(
            f"{str(pairs[0][1])!r} is FASTA or FASTQ, in which no label stands. Give a file for "
            "each class, as LABEL=FILE, or a table with a column of labels."
        )
    names, sequences, labels = list[str](), list[str](), list[str]()
    for label, file in pairs:
        for record in read_sequences(file):
            names.append(record.name)
            sequences.append(record.sequence)
            labels.append(label)
    return NamedSequences(names, sequences, labels)


def _label_of(text: str) -> tuple[str, Path]:
    label, equals, path = text.partition("=")
    # A path may hold "=" itself.
    if equals and not Path(text).exists():
        return label, Path(path)
    return Path(text).name.partition(".")[0], Path(text)


def _holds_records(file: Path) -> bool:
    return first_line(file).lstrip()[:1] in tuple(">;@")


def _read_table(file: Path) -> pd.DataFrame:
    separator = "\t" if "\t" in first_line(file) else ","
    try:
        # As text: NA is a sequence of two letters, and 1 a label.
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
    except (EOFError, BadGzipFile, zlib.error) as error:
        raise DataFileError(
            f"The gzip file {str(file)!r} is cut short or damaged. Copy it again, whole."
        ) from error
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{str(file)!r} is not text in UTF-8 ({error.reason}). Expected FASTA, FASTQ, or a "
            "table with commas or tabs."
        ) from error
    except pd.errors.ParserError as error:
        raise DataError(f"{str(file)!r} is no table: {str(error).strip()}.") from error


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
