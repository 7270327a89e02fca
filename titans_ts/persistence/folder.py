"""A saved model as a folder of two files, whatever the model is; and several models in one.

::

    folder/
      KIND.json              what it is, format version, everything that JSON can say, checksums of
      arrays.safetensors     (weights and whatever else is an array) and itself

    folder/
      KIND.json              the same, with the checksum of each member's KIND.json
      members/0/             folders of models, by their places

A save is written to a folder beside its goal and renamed when complete, so a folder that can be
seen is whole. A load checks both checksums before it believes a word; what a checksum cannot tell,
since whoever alters a file may also write that, is for those who know what the numbers mean.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import titans_ts
from titans_ts.errors import ParameterError, SavedModelError
from titans_ts.persistence.files import (
    OWN_SUM,
    flush,
    has_own_sum,
    read_json,
    sha256_of,
    signed_text,
)
from titans_ts.persistence.place import put_in_place
from titans_ts.persistence.plain_json import encode

__all__ = [
    "FORECASTER",
    "MEMBERS",
    "MODEL",
    "Kind",
    "arrays_under",
    "check_save_path",
    "encoded_parameters",
    "new_folder",
    "read_arrays",
    "read_header",
    "refuse_lost_numbers",
    "restoring",
    "write_folder",
    "write_header",
]

ARRAYS_FILE = "arrays.safetensors"
MEMBERS = "members"

# Letters of a message in which a file has its say.
MOST_WORDS = 800


@dataclass(frozen=True)
class Kind:
    """What a folder holds, and how it says so."""

    noun: str
    json_file: str
    format_name: str
    #: Raised when a folder written today could not be read by yesterday's code, or says more that
    #: must be there.
    version: int
    first_signed: int = 1  # the first version whose header has a checksum of its own


FORECASTER = Kind("forecaster", "forecaster.json", "titans_ts forecaster", 2, first_signed=2)
#: An estimator of a plug-in head.
MODEL = Kind("model", "model.json", "titans_ts estimator", 1)


# -- writing --------------------------------------------------------------------------------------


def write_folder(
    kind: Kind, path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write a model's two files, or leave everything as it was.

    Parameters
    ----------
    kind : Kind
    path : str or Path
        A folder that does not exist yet, or one that an earlier save wrote, which is replaced as a
        whole. Missing parent folders are made.
    header : dict
        For JSON; format, version and checksums are added.
    arrays : dict of str to ndarray

    Raises
    ------
    ParameterError
        ``path`` is a file or a folder that is not a saved model.
    OSError
        The disk is full or not writable. Whatever was at ``path`` before is still there, and
        nothing else.
    """
    # safetensors writes memory as it lies, so a view with strides would come back scrambled.
    # (ascontiguousarray would give a scalar an axis.)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with new_folder(kind, path) as part:
        file = part / ARRAYS_FILE
        save_file(arrays, file)
        sums = {"arrays_bytes": file.stat().st_size, "arrays_sha256": sha256_of(file)}
        written = write_header(kind, part, {**header, **sums})
        # safetensors lets only the owner read; a server often runs as somebody else.
        file.chmod(written.stat().st_mode)
        flush(file)


def write_header(kind: Kind, folder: Path, header: dict[str, Any]) -> Path:
    """Write the JSON file of a folder; format, version and its own checksum are added."""
    file = folder / kind.json_file
    header = {
        "format": kind.format_name,
        "format_version": kind.version,
        "titans_ts_version": titans_ts.__version__,
        **header,
    }
    file.write_text(signed_text(header), encoding="utf-8")
    flush(file)
    return file


@contextmanager
def new_folder(kind: Kind, path: str | Path) -> Iterator[Path]:
    """Give an empty folder to write in, and put it in place; or leave everything as it was."""
    goal = Path(os.path.abspath(path))
    check_save_path(path, kind)
    made = [p for p in (goal.parent, *goal.parent.parents) if not p.exists()]
    part = goal.parent / f".{goal.name}.{uuid.uuid4().hex}.part"
    try:
        part.mkdir(parents=True)
        yield part
        flush(part)
        put_in_place(part, goal)
    except BaseException:  # an interrupt too must leave nothing behind
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def check_save_path(path: str | Path, kind: Kind = FORECASTER) -> None:
    """Raise ParameterError where a model cannot be saved; to be asked before a long fit."""
    goal = Path(os.path.abspath(path))
    above = next(folder for folder in goal.parents if folder.exists())
    if not above.is_dir():
        raise ParameterError(
            f"{str(path)!r} cannot be a folder: {str(above)!r} is a file. Choose another path."
        )
    try:
        mode = goal.lstat().st_mode
    except FileNotFoundError:
        return
    expected = "expected a folder that does not exist yet, or one that an earlier save wrote"
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "a file"
        raise ParameterError(f"{str(path)!r} is {what}; {expected}. Choose another path.")
    # Seen twice: another save may be replacing the folder just then.
    names = _strangers(kind, goal) and _strangers(kind, goal)
    if names:
        raise ParameterError(
            f"The folder {str(path)!r} is not a saved {kind.noun} (it holds "
            f"{', '.join(sorted(names)[:3])}); {expected}. Choose another path."
        )


def _strangers(kind: Kind, folder: Path) -> set[str]:
    """What a folder holds, unless it is empty, gone, or what a save wrote."""
    try:
        names = {entry.name for entry in folder.iterdir()}
        return set() if not names or _is_saved(kind, folder) else names
    except FileNotFoundError:
        return set()


def _is_saved(kind: Kind, folder: Path) -> bool:
    """Whether a folder holds what a save writes, and nothing else.

    FileNotFoundError tells that another save has replaced it meanwhile.
    """
    if folder.is_symlink():
        return False
    try:
        names = {entry.name for entry in folder.iterdir()}
        if kind.json_file not in names or not names <= {kind.json_file, ARRAYS_FILE, MEMBERS}:
            return False
        return MEMBERS not in names or all(
            _is_saved(kind, member) for member in (folder / MEMBERS).iterdir()
        )
    except NotADirectoryError:
        return False


def encoded_parameters(
    parameters: dict[str, Any], *, dispensable: Collection[str]
) -> dict[str, Any]:
    """Constructor parameters for JSON.

    Parameters
    ----------
    parameters : dict
    dispensable : collection of str
        Those that no longer matter once a model is fitted: where they hold what JSON cannot
        (callbacks, a generator), null is written instead of refusing to save.

    Raises
    ------
    ParameterError
        Another holds what JSON cannot.
    """
    encoded = {}
    for name, value in parameters.items():
        try:
            encoded[name] = encode(value)
        except TypeError as error:
            if name not in dispensable:
                raise ParameterError(
                    f"{name}={value!r} cannot be saved ({error}). Give it as numbers, text, "
                    "lists, tuples, dicts or paths, and fit again."
                ) from error
            encoded[name] = None
    return encoded


# -- reading --------------------------------------------------------------------------------------


def read_header(kind: Kind, folder: Path) -> dict[str, Any]:
    """What the folder says in JSON.

    Raises
    ------
    SavedModelError
        The folder is missing, holds another kind, is from a newer version, or its JSON is not what
        was saved.
    """
    file = folder / kind.json_file
    if not file.is_file():
        raise SavedModelError(
            f"No saved {kind.noun} in {str(folder)!r}: expected a folder, written by save, with "
            f"the file {kind.json_file}. Check the path."
        )
    try:
        header = read_json(file)
    except ValueError as error:
        raise SavedModelError(
            f"{str(file)!r} is no JSON: {error}. The file is truncated or damaged; "
            "save the model again."
        ) from error
    if not isinstance(header, dict) or header.get("format") != kind.format_name:
        raise SavedModelError(
            f"{str(file)!r} does not describe a {kind.noun} of titans_ts. Check the path."
        )
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise SavedModelError(
            f"{str(file)!r} has the format version {str(version)[:40]}, expected a number. The "
            "file is damaged; save the model again."
        )
    if version > kind.version:
        raise SavedModelError(
            f"{str(folder)!r} was saved by titans_ts {_version(header)} in format "
            f"{version}; this is titans_ts {titans_ts.__version__}, which reads formats up to "
            f"{kind.version}. Upgrade titans_ts, or save the model with this version."
        )
    if (version >= kind.first_signed or OWN_SUM in header) and not has_own_sum(header):
        raise SavedModelError(
            f"{str(file)!r} is not what was saved: its content and the checksum in it differ. It "
            "was altered; copy it again, or save the model again."
        )
    return header


def read_arrays(kind: Kind, folder: Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that belong to a header.

    Raises
    ------
    SavedModelError
        They are missing, damaged, or others than were saved.
    """
    file = folder / ARRAYS_FILE
    if not file.is_file():
        raise SavedModelError(
            f"{str(folder)!r} lacks the file {ARRAYS_FILE}. The folder was copied in part; "
            "copy it again, or save the model again."
        )
    # The size first: a file of holes may take hours to read.
    size = header.get("arrays_bytes", file.stat().st_size)
    if size != file.stat().st_size or sha256_of(file) != header.get("arrays_sha256"):
        raise SavedModelError(
            f"{str(file)!r} is not the file that was saved: its checksum differs from the one in "
            f"{kind.json_file}. It is truncated or was altered; copy it again, or save the model "
            "again."
        )
    try:
        return dict(load_file(file))
    except OSError:
        raise
    # Not SafetensorError alone: numpy has not all the types that a file may name.
    except Exception as error:
        raise SavedModelError(
            f"{str(file)!r} is no safetensors file: {error}. Save the model again."
        ) from error


@contextmanager
def restoring(
    kind: Kind,
    folder: Path,
    header: dict[str, Any],
    *,
    package: Callable[[], str | None] = lambda: None,
) -> Iterator[None]:
    """Turn whatever is raised by what stands in a file that may say anything into one sentence.

    Where the model's class is from another ``package``, that is named with its version too; it is
    asked for then, since all heads are looked through for it.
    """
    try:
        yield
    except OSError:
        raise
    except SavedModelError as error:
        if len(str(error)) <= MOST_WORDS:
            raise
        raise SavedModelError(f"{str(error)[:MOST_WORDS]}...") from None  # a file may name a book
    except Exception as error:
        here = _joined(titans_ts.__version__, package())
        raise SavedModelError(
            f"The saved {kind.noun} in {str(folder)!r} (written by titans_ts {_writer(header)}) "
            f"does not fit this version of titans_ts ({here}): "
            f"{type(error).__name__}: {str(error)[:MOST_WORDS]}. Save the model again."
        ) from error


def refuse_lost_numbers(kind: Kind, name: str, array: np.ndarray) -> None:
    """Raise SavedModelError where an array holds NaN or infinite numbers."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SavedModelError(
            f"The array {name[:80]!r} of the saved {kind.noun} holds NaN or infinite numbers, "
            "of which nothing can be made. The folder was altered, or the model had learnt "
            "nothing; fit and save it again."
        )


def arrays_under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _version(header: dict[str, Any]) -> str:
    return str(header.get("titans_ts_version"))[:40]


def _writer(header: dict[str, Any]) -> str:
    package = header.get("package")
    return _joined(_version(header), package[:80] if isinstance(package, str) else None)


def _joined(version: str, package: str | None) -> str:
    return version if package is None else f"{version}, with {package}"
