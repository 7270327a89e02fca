"""Bytes of a CSV file on disk: unpacked, in UTF-8, without a byte order mark."""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import zipfile
import zlib
from pathlib import Path

from titans_ts.errors import DataFileError

__all__ = ["read_utf8"]

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# First bytes of files that are often given instead, and what to do with them.
_OTHER_FILES = (
    (b"PAR1", "a Parquet file", "Read it with pandas.read_parquet(path) and give the frame"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save the sheet as CSV"),
    (b"BZh", "compressed with bzip2", "Unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "compressed with xz", "Unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "Unpack it, or compress it with gzip"),
)


def read_utf8(path: Path) -> bytes:
    """Read a text file, plain, compressed with gzip, or alone in a zip archive.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bytes
        In UTF-8, whether it was so, or marked as UTF-16 or UTF-32.

    Raises
    ------
    DataFileError
        There is no such file; it is empty, damaged, or no text in a known encoding.
    """
    data = _unpacked(path, _read(path))
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            data = _decoded(path, data, encoding)
            break
    else:
        _refuse_other(path, data)
        _decoded(path, data, "utf-8")
    if not data.strip():
        raise DataFileError(f"{path} is empty, expected a CSV file with column names and rows.")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataFileError(f"No file {path}.{_nearby(path)}") from None
    except IsADirectoryError:
        files = sorted(p.name for p in path.iterdir() if ".csv" in p.name)[:5]
        inside = f" It holds {', '.join(files)}." if files else ""
        raise DataFileError(f"{path} is a folder, expected a CSV file.{inside}") from None
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def _unpacked(path: Path, data: bytes) -> bytes:
    # By content, not by name: a download often loses its ".gz", or is unpacked under it.
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _only_member(path, data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, "gzip compression", error) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, "zip archive", error) from error
    return data


def _only_member(path: Path, data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        # What macOS puts beside every file.
        names = [n for n in names if not n.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            raise DataFileError(
                f"{path} is an Excel workbook, expected a CSV file. Save the sheet as CSV, or read "
                "it with pandas.read_excel(path) and give the frame."
            )
        if len(names) != 1:
            listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise DataFileError(
                f"{path} is a zip archive of {len(names)} files{f' ({listed})' if names else ''}, "
                "expected one CSV file. Unpack it and give one of its files."
            )
        return archive.read(names[0])


def _damaged(path: Path, what: str, error: Exception) -> DataFileError:
    return DataFileError(
        f"{path} is damaged: its {what} breaks off or is wrong ({error}). Fetch the file again."
    )


def _refuse_other(path: Path, data: bytes) -> None:
    for start, what, advice in _OTHER_FILES:
        if data.startswith(start):
            raise DataFileError(f"{path} is {what}, expected a CSV file. {advice}.")
    if b"\0" in data[:4096]:
        raise DataFileError(
            f"{path} is a binary file, expected a CSV file (plain, gzip or zip). If it is text in "
            "UTF-16 without a byte order mark, save it as UTF-8."
        )


def _decoded(path: Path, data: bytes, encoding: str) -> bytes:
    """Return the text in UTF-8, without a mark."""
    try:
        if encoding == "utf-8":
            data.decode()
            return data.removeprefix(codecs.BOM_UTF8)
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        byte = data[error.start : error.start + 1]
        line = data.count(b"\n", 0, error.start) + 1
        where = f"byte {error.start}, in line {line}, is {byte!r}"
        advice = "Save it as UTF-8."
        if encoding == "utf-8":
            advice = (
                "If it comes from Windows, save it as UTF-8, or give the frame of "
                "pandas.read_csv(path, encoding='cp1252')."
            )
        raise DataFileError(f"{path} is not text in {encoding.upper()} ({where}). {advice}") from (
            error
        )


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    names = [p.name for p in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    near = near or [n for n in names if n.lower().startswith(path.stem.lower())][:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""
