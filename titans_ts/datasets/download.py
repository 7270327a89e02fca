"""Downloads: whole and verified before they are kept, or not kept at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from titans_ts.datasets.local import LOCAL_VARIABLE, difference
from titans_ts.datasets.manifest import DataFile
from titans_ts.errors import DataFileError

__all__ = ["Progress", "download"]

#: Called with the name of the file, the bytes received and the bytes in all.
Progress = Callable[[str, int, int], None]

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16


def download(
    file: DataFile, data_home: Path, *, sha256: str, progress: bool | Progress = False
) -> tuple[Path, bytes]:
    """Download a file into the cache.

    It is written under another name and takes its own only after its checksum was found right,
    in one step: whatever breaks off, the cache holds the whole file or none.

    Parameters
    ----------
    file : DataFile
    data_home : Path
        The cache; made if it does not exist.
    sha256 : str
        What the file is held to.
    progress : bool or callable
        True shows pooch's bar on standard error.

    Returns
    -------
    path : Path
        The file in the cache.
    data : bytes
        What it holds.

    Raises
    ------
    DataFileError
        The server cannot be reached or sends something else, or the cache cannot be written.
    """
    goal = data_home / file.name
    part = data_home / f".{file.name}.{uuid.uuid4().hex}.part"
    try:
        data_home.mkdir(parents=True, exist_ok=True)
        try:
            _receive(file, part, progress)
            data = part.read_bytes()
            _check(file, data, sha256)
            part.replace(goal)
        finally:
            part.unlink(missing_ok=True)
    except DataFileError:  # an OSError too
        raise
    except OSError as error:
        raise DataFileError(
            f"{file.name} cannot be written to the cache {data_home}: {error.strerror or error}. "
            "Choose another folder with data_home=."
        ) from error
    return goal, data


def _check(file: DataFile, data: bytes, sha256: str) -> None:
    wrong = difference(file, data, sha256)
    if not wrong:
        return
    advice = (
        "The publisher may have changed the file: get the catalogued one elsewhere and "
        "give its folder as local=; or, if you trust this one, its checksum as sha256=."
    )
    if len(data) < file.bytes and sha256 == file.sha256:
        advice = "The connection may have broken off: try again."
    raise DataFileError(
        f"{file.url} did not send {file.name} as it is catalogued: {wrong}. Nothing was kept. "
        f"{advice}"
    )


def _receive(file: DataFile, part: Path, progress: bool | Progress) -> None:
    import requests
    from pooch import HTTPDownloader

    bar = progress if isinstance(progress, bool) else _Reporter(file, progress)
    answers: list[Any] = []
    # pooch leaves the connection of an answer that it does not read to the end open.
    hooks = {"response": lambda answer, *_, **__: answers.append(answer)}
    fetch = HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT, hooks=hooks)
    try:
        fetch(file.url, os.fspath(part), None)
    # requests' own errors are OSErrors: asked first, so that none passes for a full disk.
    except requests.exceptions.RequestException as error:
        raise DataFileError(
            f"{file.name} cannot be downloaded from {file.url}: {_reason(error)}. Check the "
            f"network, or put a copy into a folder and give it as local= or in {LOCAL_VARIABLE}."
        ) from error
    finally:
        for answer in answers:
            answer.close()


def _reason(error: Any) -> str:
    from requests import exceptions

    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}".rstrip()
    if isinstance(error, exceptions.Timeout):
        return f"the server was silent for {TIMEOUT} seconds"
    # What requests says here is a chain of other libraries' errors.
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "the server cannot be reached"
    return str(error).strip().split("\n")[0].rstrip(".")


class _Reporter:
    """What pooch takes for a progress bar, passing on to a plain callable."""

    def __init__(self, file: DataFile, report: Progress) -> None:
        self.total = 0  # pooch sets it to what the server announces, which may be compressed
        self._file, self._report = file, report
        self._done = 0

    def update(self, n: int) -> None:
        self._done = min(self._done + n, self._file.bytes)
        self._report(self._file.name, self._done, self._file.bytes)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        self._report(self._file.name, self._file.bytes, self._file.bytes)
