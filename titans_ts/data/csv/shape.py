"""The shape of a CSV file: what separates its columns, and where its table begins."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from titans_ts.data.row_numbers import UNNAMED
from titans_ts.data.time_column import looks_like_time
from titans_ts.errors import DataError, DataFileError

__all__ = ["Shape", "find_shape"]

# Where two fit, the comma loses: in the others' files it is the decimal mark.
_SEPARATORS = ("\t", ";", "|", ",")
_QUOTE, _NEWLINE, _HASH = ord('"'), ord("\n"), ord("#")

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
# How much of a line a message shows.
_SHOWN = 60


@dataclass(frozen=True)
class Shape:
    """What is needed to read a file's values.

    Parameters
    ----------
    separator : str
    names : tuple of str
        Of all columns, without surrounding spaces; the empty last one after separators at the
        ends of lines is called ``""``.
    start : int
        Offset of the first byte of the line of names.
    line : int
        Its number, counted from 1.
    """

    separator: str
    names: tuple[str, ...]
    start: int
    line: int


def find_shape(data: bytes, path: object) -> Shape:
    """Find separator and column names of a CSV file.

    The separator is the comma, semicolon, tab or bar by which all lines have the same number of
    fields, from the line of column names on. That is the first line with this number that
    does not begin with ``#``; lines above it are a preamble and not read. A line ``sep=;`` at the
    top, as Excel writes it, says which.

    Parameters
    ----------
    data : bytes
        In UTF-8, line ends ``\\n`` or ``\\r\\n``.
    path : str or Path
        For messages.

    Returns
    -------
    Shape

    Raises
    ------
    DataFileError
        Lines have different numbers of fields, or a quotation mark is not closed.
    DataError
        There are no column names; they repeat, or one is missing.

    Examples
    --------
    >>> find_shape(b"Station 7\\n\\ndate;OT\\n2024-01-01;3,5\\n2024-01-02;4,5\\n", "load.csv")
    Shape(separator=';', names=('date', 'OT'), start=11, line=3)
    """
    lines = _Lines(data, path)
    stated = re.match(rb"sep=([\t;|,])\r?\n", data)
    first = 1 if stated else 0
    separators = (stated[1].decode(),) if stated else _SEPARATORS
    there = [separator for separator in separators if separator.encode() in data]
    found = [_Split.of(lines, separator, first) for separator in there]
    several = [split for split in found if split is not None and split.width > 1]
    even = [split for split in several if not len(split.ragged)]
    if even:
        chosen = min(even, key=lambda split: split.header)
    elif several:
        # None fits: say so of the one that nearly does.
        raise _ragged(lines, min(several, key=lambda split: len(split.ragged)), path)
    else:
        chosen = _single(lines, first, path)
    names = _names(lines, chosen, path)
    header = chosen.header
    return Shape(chosen.separator, names, int(lines.starts[header]), header + 1)


class _Lines:
    """Where lines begin and end; a line may go on inside quotation marks."""

    def __init__(self, data: bytes, path: object) -> None:
        self.data, self.path = data, path
        self.bytes = np.frombuffer(data, dtype=np.uint8)
        quotes = self.bytes == _QUOTE
        self.outside: np.ndarray | None = None
        if quotes.any():
            # An odd number of quotation marks before: inside. A doubled one changes nothing, and
            # parity survives that eight bits overflow.
            inside = np.cumsum(quotes, dtype=np.uint8) & 1
            if inside[-1]:
                last = data.count(b"\n", 0, int(np.flatnonzero(quotes)[-1])) + 1
                raise DataFileError(
                    f"{path} has an odd number of quotation marks, the last in line {last}, so "
                    "that one is never closed. Close it, or remove it."
                )
            self.outside = inside == 0
        ends = np.flatnonzero(self.mask(_NEWLINE))
        self.starts = np.append(0, ends + 1)
        if self.starts[-1] == len(data):
            self.starts = self.starts[:-1]
        # Control characters and spaces only.
        self.blank = ~np.logical_or.reduceat(self.bytes > 32, self.starts)
        no_remark = ~self.blank & (self.bytes[self.starts] != _HASH)
        #: Lines at the top that are blank or begin with "#".
        self.remarks = int(no_remark.argmax()) if no_remark.any() else 0

    def mask(self, byte: int) -> np.ndarray:
        found = self.bytes == byte
        return found if self.outside is None else found & self.outside

    def counts(self, separator: str) -> np.ndarray:
        """How often each line has the separator."""
        return np.add.reduceat(self.mask(ord(separator)), self.starts, dtype=np.int64)

    def text(self, number: int) -> str:
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.data)
        return self.data[self.starts[number] : end].decode().rstrip("\r\n")

    def fields(self, number: int, separator: str) -> list[str]:
        reader = csv.reader(
            [self.text(number)], delimiter=separator, skipinitialspace=separator != "\t"
        )
        try:
            return [field.strip() for field in next(reader, [])]
        except csv.Error:  # a line end in a field that does not begin with a quotation mark
            raise DataFileError(
                f"{self.path} has a quotation mark inside a field, where it encloses nothing: the "
                f"line begins {self.text(number)[:_SHOWN].splitlines()[0]!r}. Remove it, or "
                "enclose the field in quotation marks and write this one twice."
            ) from None


@dataclass(frozen=True)
class _Split:
    """Lines as one separator splits them."""

    separator: str
    width: int  # fields of most lines
    header: int  # the line of names
    fields: np.ndarray  # of each line; 0 where it is blank
    ragged: np.ndarray  # lines below the names with another number of fields

    @classmethod
    def of(cls, lines: _Lines, separator: str, first: int) -> _Split | None:
        counts = lines.counts(separator)
        fields = np.where(lines.blank & (counts == 0), 0, counts + 1)
        fields[: max(first, lines.remarks)] = 0
        written = fields[fields > 0]
        if not len(written):
            return None
        # The larger where two are as frequent: names alone below a preamble are still the table.
        width = _commonest(written)
        header = int((fields == width).argmax())
        before = np.flatnonzero(fields[:header])
        if len(before) and fields[before[-1]] == width - 1:
            # Separators at the ends of all lines but that of the names.
            ends = [lines.fields(i, separator)[-1] for i in np.flatnonzero(fields == width)[:100]]
            if not any(ends):
                header = int(before[-1])
        below = fields[header + 1 :]
        ragged = np.flatnonzero((below > 0) & (below != width)) + header + 1
        return cls(separator, width, header, fields, ragged)


def _commonest(numbers: np.ndarray) -> int:
    counts = np.bincount(numbers)
    return int(np.flatnonzero(counts == counts.max())[-1])


def _single(lines: _Lines, first: int, path: object) -> _Split:
    """A table of one column."""
    written = np.flatnonzero(~lines.blank[first:]) + first
    inside = np.flatnonzero(lines.blank[written[0] : written[-1] + 1]) + written[0]
    if len(inside):
        raise DataError(
            f"Line {inside[0] + 1} of {path} is blank, and in a file of one column that may be a "
            "missing value or nothing at all. Write NA there, or remove the line."
        )
    split = _Split.of(lines, ",", first)
    assert split is not None
    if len(split.ragged):
        raise _ragged(lines, split, path)
    return split


def _ragged(lines: _Lines, split: _Split, path: object) -> DataFileError:
    number = int(split.ragged[0])
    count = int(split.fields[number])
    many = len(split.ragged) - 1
    others = f" ({many:,} other line{'s' * (many != 1)} too)" if many else ""
    below = np.flatnonzero(split.fields[number:] == split.width)
    advice = "Correct it."
    if not len(below):
        advice = "Remove what stands below the table, or correct it."
    elif split.separator == ",":
        advice = "Correct it; a number or text that holds a comma needs quotation marks."
    return DataFileError(
        f"{path} is not a CSV file with one row per line: line {number + 1} has "
        f"{_fields(count)}{others}, expected {split.width} as in most lines; it begins "
        f"{lines.text(number)[:_SHOWN]!r}. {advice}"
    )


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _names(lines: _Lines, split: _Split, path: object) -> tuple[str, ...]:
    names = lines.fields(split.header, split.separator)
    names += [""] * (split.width - len(names))
    after = np.flatnonzero(split.fields[split.header + 1 :]) + split.header + 1
    row = lines.fields(int(after[0]), split.separator) if len(after) else []
    if _are_values(names, row):
        above = np.flatnonzero(split.fields[: split.header])
        raise DataError(
            f"{path} has no column names for its table: line {split.header + 1}, the first with "
            f"{_fields(split.width)} as in most lines, holds values "
            f"({lines.text(split.header)[:_SHOWN]!r})"
            + (
                f", and the last line above has {_fields(int(split.fields[above[-1]]))}"
                if len(above)
                else ""
            )
            + ". Give a name to each column; a cell that holds the separator needs quotation marks."
        )
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise DataError(
                f"{path} has several columns named {name!r}, expected distinct names. Rename or "
                "drop all but one."
            )
        seen.add(name)
    if not names[0]:
        # A file that was read and written again has the name already: as pandas calls the next.
        free = itertools.chain([UNNAMED], (f"{UNNAMED}.{i}" for i in itertools.count(1)))
        names[0] = next(name for name in free if name not in names)
    return tuple(names)


def _are_values(names: list[str], row: list[str]) -> bool:
    """Tell whether what should be names are the values of a first row."""
    written = [name for name in names if name]
    # pandas names columns by their numbers where they have no other name.
    counted = [str(i) for i in range(len(written))]
    if all(_NUMBER.fullmatch(name) for name in written) and written != counted:
        return True
    times = pd.Series(names, dtype=object), pd.Series(row[: len(names)], dtype=object)
    return any(
        looks_like_time(times[0][i : i + 1]) and looks_like_time(times[1][i : i + 1])
        for i in range(len(times[1]))
        if not (_NUMBER.fullmatch(names[i]) or _NUMBER.fullmatch(row[i]))
    )
