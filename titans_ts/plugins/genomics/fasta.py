"""Readers of FASTA and FASTQ files, plain or gzip: a record at a time, whatever the file's size."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from titans_ts.errors import DataError, DataFileError

__all__ = [
    "Record",
    "beginning",
    "first_line",
    "holds_records",
    "opened",
    "read_fasta",
    "read_fastq",
    "read_records",
    "read_sequences",
]

GZIP_SIGN = b"\x1f\x8b"


class Record(NamedTuple):
    """One sequence of a file."""

    name: str  # the first word of its title
    sequence: str  # as written, lines joined
    description: str = ""  # the rest of its title
    quality: str | None = None  # of FASTQ, a letter for each base


def read_sequences(path: str | PathLike[str]) -> Iterator[Record]:
    """Read a FASTA or FASTQ file, whichever it is.

    Parameters
    ----------
    path : str or path-like
        Plain or gzip, which is found by itself, whatever the name says. It is read once, from its
        start to its end, so it may be a pipe.

    Yields
    ------
    Record

    Raises
    ------
    DataFileError
        The file is missing, cut short, or no text.
    DataError
        It is neither FASTA nor FASTQ.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import read_sequences
    >>> file = getfixture("tmp_path") / "two.fa"
    >>> _ = file.write_text(">first\\nACGT\\nAC\\n>second from here\\nTTGA\\n")
    >>> [(record.name, record.sequence) for record in read_sequences(file)]
    [('first', 'ACGTAC'), ('second', 'TTGA')]
    """
    file = Path(path)
    with opened(file) as stream:
        line, read = beginning(file, stream)
        if not holds_records(line):
            raise DataError(
                f"{str(file)!r} is neither FASTA nor FASTQ: it starts with {line[:40]!r}, expected "
                "'>' or '@' and a name."
            )
        yield from read_records(file, line, chain(read, stream))


def holds_records(line: str) -> bool:
    """Whether a file that starts with this line is FASTA or FASTQ."""
    return line[:1] in tuple(">;@")


def read_records(file: Path, line: str, lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of FASTA or FASTQ, of a file's lines; ``line`` is the first that is not empty."""
    read = _read_fastq if line.startswith("@") else _read_fasta
    yield from read(file, _decoded(file, lines))


def beginning(file: Path, stream: Iterable[bytes]) -> tuple[str, list[bytes]]:
    """The first line that is not empty, as text, and all lines that were read to find it."""
    read = list[bytes]()

    def kept() -> Iterator[bytes]:
        for line in stream:
            read.append(line)
            yield line

    for _, text in _decoded(file, kept()):
        if text:
            return text, read
    raise DataFileError(f"{str(file)!r} is empty; expected FASTA, FASTQ or a table.")


def first_line(file: Path) -> str:
    """The first line that is not empty, of a file that can be read again."""
    if file.exists() and not file.is_file() and not file.is_dir():
        raise DataFileError(
            f"{str(file)!r} is a pipe, which is read once, and a look at its start is needed "
            "first. Write it to a file, and give that."
        )
    with opened(file) as stream:
        return beginning(file, stream)[0]


def read_fasta(path: str | PathLike[str]) -> Iterator[Record]:
    """Read a FASTA file, a record at a time; parameters and errors as :func:`read_sequences`.

    Sequences may run over several lines, in lower case too. Empty lines, and comments after
    ``;``, are passed over.
    """
    file = Path(path)
    with opened(file) as stream:
        yield from _read_fasta(file, _decoded(file, stream))


def _read_fasta(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Record]:
    title, parts, at = None, list[str](), 0
    for number, line in lines:
        if line.startswith(">"):
            if title is not None:
                yield _record(file, title, parts, at)
            title, parts, at = line[1:], [], number
        elif line and not line.startswith(";"):
            if title is None:
                raise DataError(
                    f"{str(file)!r} is no FASTA: line {number} is {line[:40]!r} before any "
                    "line with '>' and a name."
                )
            parts.append(line)
    if title is None:
        raise DataFileError(f"{str(file)!r} holds no sequence; expected FASTA.")
    yield _record(file, title, parts, at)


def read_fastq(path: str | PathLike[str]) -> Iterator[Record]:
    """Read a FASTQ file of four lines a record; parameters and errors as :func:`read_sequences`."""
    file = Path(path)
    with opened(file) as stream:
        yield from _read_fastq(file, _decoded(file, stream))


def _read_fastq(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Record]:
    n = 0
    while True:
        # Empty lines between records, not within: a read may have no bases.
        head = next((entry for entry in lines if entry[1]), None)
        if head is None:
            break
        got = [head, *islice(lines, 3)]
        first = head[0]
        if len(got) < 4:
            raise DataFileError(
                f"{str(file)!r} is cut short: record {n + 1}, at line {first}, has "
                f"{len(got)} of its 4 lines. Copy the file again."
            )
        title, sequence, plus, quality = (text for _, text in got)
        if not title.startswith("@") or not plus.startswith("+"):
            raise DataError(
                f"{str(file)!r}, record {n + 1} at line {first}: expected four lines that "
                f"start with '@', letters, '+' and letters, got {title[:40]!r} and "
                f"{plus[:40]!r}. Records over more lines are not read."
            )
        if len(sequence) != len(quality):
            raise DataFileError(
                f"{str(file)!r}, record {n + 1} at line {first}: {len(sequence)} bases and "
                f"{len(quality)} qualities, expected as many. The file is cut short or "
                "damaged; copy it again."
            )
        n += 1
        name, description = _named(title[1:])
        yield Record(name, sequence, description, quality)
    if not n:
        raise DataFileError(f"{str(file)!r} holds no sequence; expected FASTQ.")


def _record(file: Path, title: str, parts: list[str], number: int) -> Record:
    name, description = _named(title)
    if not parts:
        raise DataFileError(
            f"{str(file)!r} has no sequence under {name[:40]!r} at line {number}. The file may be "
            "cut short; copy it again, or drop the record."
        )
    # Some write blanks between groups of ten letters.
    return Record(name, "".join("".join(parts).split()), description)


def _named(title: str) -> tuple[str, str]:
    """The name and the description in a title, which any white space parts."""
    name, description = [*title.split(maxsplit=1), "", ""][:2]
    return name, description.strip()


@contextmanager
def opened(file: Path) -> Iterator[BufferedIOBase]:
    """The bytes of a file, unpacked where it is gzip; what is wrong with it is said by its name."""
    try:
        with file.open("rb") as plain:
            # A look ahead, not a read and a step back: a pipe only goes on.
            is_gzip = plain.peek(2)[:2] == GZIP_SIGN
            with gzip.GzipFile(fileobj=plain) if is_gzip else plain as stream:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        what = "cut short" if isinstance(error, EOFError) else f"damaged ({error})"
        raise DataFileError(
            f"The gzip file {str(file)!r} is {what}. Copy it again, whole."
        ) from error
    except FileNotFoundError as error:
        raise DataFileError(f"There is no file {str(file)!r}. Check the path.") from error
    except IsADirectoryError as error:
        raise DataFileError(
            f"{str(file)!r} is a folder, expected a FASTA or FASTQ file in it."
        ) from error


def _decoded(file: Path, lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Lines of text with their numbers, and without their ends."""
    # Lines may end with a carriage return alone, as on old Macintoshes; then all came as one.
    pieces = (piece for line in lines for piece in line.rstrip(b"\r\n").split(b"\r"))
    for number, line in enumerate(pieces, 1):
        if b"\0" in line:
            raise DataFileError(
                f"{str(file)!r} is not text: line {number} holds a zero byte. Expected FASTA or "
                "FASTQ, plain or gzip."
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        # Titles may hold any letters; sequences are judged where they are coded.
        yield number, line.decode("utf-8", errors="replace").strip()
