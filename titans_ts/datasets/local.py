"""Copies of published files on this machine: found, decompressed, and held to their checksum."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from titans_ts.datasets.manifest import DataFile, catalogue_folder
from titans_ts.errors import DataFileError, ParameterError

__all__ = [
    "LOCAL_VARIABLE",
    "difference",
    "find_copies",
    "get_data_home",
    "local_folders",
    "read_copy",
]

#: Folders with local copies, separated as in PATH.
LOCAL_VARIABLE = "TITANS_TS_DATA"


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """The folder that downloaded data sets are kept in; it need not exist.

    Parameters
    ----------
    data_home : path, optional
        Default: ``titans-ts`` in the folder that the system has for caches (on Linux
        ``~/.cache``, or where ``XDG_CACHE_HOME`` says).

    Returns
    -------
    Path

    Examples
    --------
    >>> from titans_ts.datasets import get_data_home
    >>> get_data_home("measurements").name
    'measurements'
    """
    if data_home is not None:
        return Path(data_home).expanduser()
    import pooch

    return Path(pooch.os_cache("titans-ts"))


def local_folders(local: object = None) -> list[Path]:
    """Folders with local copies: those given, then those of the environment variable.

    Raises
    ------
    ParameterError
        ``local`` is neither a path nor several, or names no folder.
    DataFileError
        The environment variable names no folder.
    """
    given = [local] if isinstance(local, (str, os.PathLike)) else local
    if given is None:
        given = []
    if not isinstance(given, Sequence) or not all(isinstance(p, (str, os.PathLike)) for p in given):
        raise ParameterError(
            f"local must be a folder with copies of data sets, or several in a list; got {local!r}."
        )
    folders = [Path(place).expanduser() for place in given]
    for folder in folders:
        if not folder.is_dir():
            raise ParameterError(
                f"local={str(folder)!r} is not a folder; expected one that holds copies of data "
                "sets."
            )
    named = [p for p in os.environ.get(LOCAL_VARIABLE, "").split(os.pathsep) if p]
    for place in named:
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise DataFileError(
                f"The environment variable {LOCAL_VARIABLE} names {folder}, which is not a folder. "
                "Correct it, or unset it."
            )
        folders.append(folder)
    return folders


def find_copies(
    file: DataFile, folders: Sequence[Path], data_home: Path
) -> Iterator[tuple[Path, bool]]:
    """Files that may be this one, nearest first.

    Local folders come first, searched with all folders below them; then the cache; then what
    comes with the package.

    Parameters
    ----------
    file : DataFile
    folders : sequence of Path
    data_home : Path

    Yields
    ------
    path : Path
    local : bool
        Whether it lies in one of ``folders``.
    """
    names = [name + ending for name in (file.name, *file.also) for ending in ("", ".gz")]
    for folder in folders:
        found: dict[str, list[Path]] = {name: [] for name in names}
        for place, below, inside in os.walk(folder):
            below.sort()  # the same copy every time
            for name in found.keys() & set(inside):
                found[name].append(Path(place) / name)
        for name in names:
            for path in found[name]:
                yield path, True
    for path in (data_home / file.name, catalogue_folder() / "samples" / f"{file.name}.gz"):
        if path.is_file():
            yield path, False


def read_copy(path: Path) -> bytes:
    """The bytes of a file as published, so without the compression of a local copy.

    Raises
    ------
    DataFileError
        It cannot be read, or its compression is damaged.
    """
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{path} is damaged: its gzip compression breaks off or is wrong ({error}). Copy the "
            "file again."
        ) from error
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def difference(file: DataFile, data: bytes, sha256: str) -> str:
    """How bytes differ from the published ones, in words; empty where they do not."""
    received = hashlib.sha256(data).hexdigest()
    if received == sha256:
        return ""
    expected = f"{file.bytes:,} bytes with " if sha256 == file.sha256 else ""
    return (
        f"expected {expected}SHA-256 {sha256}, received {len(data):,} bytes with SHA-256 {received}"
    )
