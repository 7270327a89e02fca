"""Files that are whole or not there: checksums, and writes that reach the disk before a name."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from titans_ts.errors import ParameterError

__all__ = [
    "OWN_SUM",
    "flush",
    "has_own_sum",
    "read_json",
    "sha256_of",
    "signed_text",
    "write_whole",
]

OWN_SUM = "sha256"

# Bytes of a header: some ten million series by name.
MOST_TEXT = 256 << 20


def sha256_of(file: Path) -> str:
    """The checksum of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    A rename can reach the disk before the bytes do; after a power cut a file would be in place and
    empty.
    """
    if path.is_dir() and os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name beside it, and rename it once it is on the disk.

    Parameters
    ----------
    file : Path
        Replaced if it is there.
    write : callable
        Writes the file whose path it is given.
    """
    # A name of its own: others may write to the same file just then, and the last one stays.
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        flush(part)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    flush(file.parent)


def signed_text(header: dict[str, Any]) -> str:
    """A header as JSON, with a checksum of its own content beside.

    Raises
    ------
    ParameterError
        It is too long to be read again.
    """
    text = json.dumps({**header, OWN_SUM: _own_sum(header)}, indent=2, allow_nan=False) + "\n"
    if len(text) > MOST_TEXT:  # ASCII, so bytes
        raise ParameterError(
            f"The description of the model takes {len(text)} bytes, and {MOST_TEXT} are the most "
            "that are saved. That of a forecaster names every series: fit fewer in one."
        )
    return text


def has_own_sum(header: dict[str, Any]) -> bool:
    """Whether a header says what :func:`signed_text` wrote; what it looked like is not asked."""
    return header.get(OWN_SUM) == _own_sum(header)


def read_json(file: Path) -> Any:
    """Read JSON proper: without NaN, without a name twice in one object, of a sane size.

    Raises
    ------
    ValueError
        It is none.
    """
    if file.stat().st_size > MOST_TEXT:
        raise ValueError(f"it has {file.stat().st_size} bytes, expected {MOST_TEXT} at most")
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_no_name_twice)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _own_sum(header: dict[str, Any]) -> str:
    content = {key: value for key, value in header.items() if key != OWN_SUM}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
