"""CheckpointFolder: the progress of one fit on disk, whole at every moment; no pickle.

::

    folder/
      progress-000000007.json          whose fit it is, counters, history, checksums of both files
      progress-000000007.safetensors   weights, their averages, the optimiser's, random states
      progress-000000008.json, ...     the last two are kept
      finished.json, .safetensors      instead of them, once the fit has ended

A file is written under another name and renamed, the JSON file last: a kill at any moment leaves
the record before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import titans_ts
from titans_ts.errors import CheckpointError, ParameterError
from titans_ts.persistence.files import (
    has_own_sum,
    read_json,
    sha256_of,
    signed_text,
    write_whole,
)
from titans_ts.persistence.plain_json import decode, encode
from titans_ts.training.identity import difference, identity_of

__all__ = ["CHECKPOINT_VERSION", "CheckpointFolder", "Record", "check_checkpoint_path"]

#: Raised when a fit of today could not go on from a record of yesterday.
CHECKPOINT_VERSION = 4
# What the header of a record must say beside that.
_FIELDS = {"parameters", "data", "seed", "state", "tensors_bytes", "tensors_sha256"}

FORMAT_NAME = "titans_ts checkpoint"
FINISHED = "finished"

# The last one, and the one before it for when a disk has damaged that.
MOST_KEPT = 2

_OURS = re.compile(r"\.?(progress-\d{9,}|finished)\.(json|safetensors)(\.([0-9a-f]{32}\.)?part)?")
_NUMBERED = re.compile(r"progress-(\d{9,})\.json")


class Record(NamedTuple):
    """Where a fit was, or what came of it."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]
    finished: bool


class CheckpointFolder:
    """Where one fit keeps its progress; made by :meth:`open`.

    Attributes
    ----------
    seed : int
        Of the fit: that of the record, where the user named none.
    found : Record or None
        What to go on from.
    is_writer : bool
        False in all but the first of the processes that train together, where nothing is written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder, self.identity = folder, identity
        self.seed: int = identity["seed"]
        self.found: Record | None = None
        self.is_writer = True
        self._number = 0

    @classmethod
    def open(
        cls,
        path: Any,
        parameters: dict[str, Any],
        fingerprint: str,
        seed: int | None,
        draw: int,
    ) -> CheckpointFolder:
        """Look for the progress of a fit.

        Parameters
        ----------
        path : str or path-like
            Made if it is not there.
        parameters : dict
            Of the estimator, by name.
        fingerprint : str
            Of all that is read; another one is other data.
        seed : int or None
            None: the user asked for no seed, and takes the one of the record.
        draw : int
            The seed where neither names one.

        Raises
        ------
        CheckpointError
            What lies there is of another fit, of another version, or damaged.
        """
        folder = check_checkpoint_path(path)
        folder.mkdir(parents=True, exist_ok=True)
        identity = {**identity_of(parameters, fingerprint), "seed": seed}
        here = cls(folder, identity)
        here._look(draw)
        return here

    def write(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep where the fit is now."""
        if not self.is_writer:
            return
        self._number += 1
        self._write(f"progress-{self._number:09d}", state, tensors)
        self._remove_progress(keep=MOST_KEPT)

    def finish(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep what came of the fit, and no longer how it came."""
        if not self.is_writer:
            return
        self._write(FINISHED, state, tensors)
        self._remove_progress()

    def forget(self) -> None:
        """Remove where the fit was, since it starts anew."""
        self.found = None
        if self.is_writer:
            self._remove_progress()

    @contextmanager
    def explain_misfit(self) -> Iterator[None]:
        """Turn what is raised where a record is put to use into a CheckpointError."""
        try:
            yield
        except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
            raise CheckpointError(
                f"The progress in {str(self.folder)!r} does not fit this version of titans_ts: "
                f"{error}. Delete the folder to train from the start."
            ) from error

    # -- inside ---------------------------------------------------------------------------------

    def _look(self, draw: int) -> None:
        for part in self.folder.glob(".*.part"):  # of a write that was killed
            part.unlink(missing_ok=True)
        numbers = self._numbers()
        self._number = numbers[-1] if numbers else 0
        names = [f"progress-{number:09d}" for number in reversed(numbers)]
        if (self.folder / f"{FINISHED}.json").exists():
            names.insert(0, FINISHED)
        damage: list[str] = []
        for name in names:
            try:
                header, tensors = self._read(name)
            except CheckpointError as error:
                damage.append(str(error))
                continue
            self._check_identity(header)
            self.found = Record(decode(header["state"]), tensors, name == FINISHED)
            self.seed = header["seed"]
            break
        else:
            if damage:
                raise CheckpointError(
                    f"{damage[0]} No other record in the folder is whole. Delete the folder to "
                    "train from the start."
                )
            self.seed = draw if self.identity["seed"] is None else self.identity["seed"]
        self.identity["seed"] = self.seed

    def _check_identity(self, header: dict[str, Any]) -> None:
        what = difference(header, self.identity)
        if what is not None:
            raise CheckpointError(
                f"The checkpoint folder {str(self.folder)!r} holds another fit: {what}. Give the "
                "same data and parameters to go on from there; or name another folder, or delete "
                "this one, to train from the start."
            )

    def _numbers(self) -> list[int]:
        names = (_NUMBERED.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def _write(self, name: str, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        arrays = self.folder / f"{name}.safetensors"
        write_whole(arrays, lambda part: save_file(tensors, part))
        header = {
            "format": FORMAT_NAME,
            "format_version": CHECKPOINT_VERSION,
            "titans_ts_version": titans_ts.__version__,
            **self.identity,
            "state": encode(state),
            "tensors_bytes": arrays.stat().st_size,
            "tensors_sha256": sha256_of(arrays),
        }
        text = signed_text(header)
        write_whole(
            self.folder / f"{name}.json", lambda part: part.write_text(text, encoding="utf-8")
        )

    def _read(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        file, arrays = (self.folder / f"{name}.{kind}" for kind in ("json", "safetensors"))
        damaged = f"The checkpoint record {str(file)!r} is damaged"
        try:
            header = read_json(file)
        except ValueError as error:
            raise CheckpointError(f"{damaged}: {error}.") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT_NAME:
            raise CheckpointError(f"{damaged}: it does not describe a fit.")
        if header.get("format_version") != CHECKPOINT_VERSION:
            raise CheckpointError(
                f"The checkpoint in {str(self.folder)!r} was written by titans_ts "
                f"{header.get('titans_ts_version')} in format {header.get('format_version')}; this "
                f"is titans_ts {titans_ts.__version__}, which goes on from format "
                f"{CHECKPOINT_VERSION} only."
            )
        if not has_own_sum(header):
            raise CheckpointError(f"{damaged}: its checksum differs.")
        lacking = sorted(_FIELDS - header.keys())
        if lacking:
            raise CheckpointError(f"{damaged}: it has no {', '.join(map(repr, lacking))}.")
        size = arrays.stat().st_size if arrays.is_file() else -1
        if size != header["tensors_bytes"] or sha256_of(arrays) != header["tensors_sha256"]:
            raise CheckpointError(f"{damaged}: {arrays.name} is missing, truncated or altered.")
        try:
            return header, load_file(arrays)
        except SafetensorError as error:
            raise CheckpointError(f"{damaged}: {arrays.name}: {error}.") from error

    def _remove_progress(self, *, keep: int = 0) -> None:
        """Remove all records on the way but the last few."""
        numbers = self._numbers()
        for number in numbers[: max(len(numbers) - keep, 0)]:
            # What says that a record is whole goes first.
            for kind in ("json", "safetensors"):
                (self.folder / f"progress-{number:09d}.{kind}").unlink(missing_ok=True)


def check_checkpoint_path(path: Any) -> Path:
    """Raise ParameterError where a fit cannot keep its progress; to be asked before reading data.

    Returns
    -------
    Path
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ParameterError(f"checkpoint must be the path of a folder, or None; got {path!r}.")
    folder = Path(os.fspath(path)).absolute()
    if folder.exists() and not folder.is_dir():
        raise ParameterError(
            f"checkpoint={str(path)!r} is a file; expected a folder, which fit makes if it is not "
            "there. Choose another path."
        )
    strange = [
        entry.name
        for entry in (sorted(folder.iterdir()) if folder.exists() else ())
        if not _OURS.fullmatch(entry.name)
    ]
    if strange:
        raise ParameterError(
            f"The folder checkpoint={str(path)!r} holds {strange[0]!r}, which no fit wrote; "
            "expected a folder for the progress of one fit alone. Choose another path."
        )
    return folder
