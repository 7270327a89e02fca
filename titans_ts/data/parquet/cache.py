"""Row files with what is known of them, and the folder that keeps them from run to run."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_ts.data.covariates import CovariateSchema, labels_of
from titans_ts.data.frequency import parse_freq
from titans_ts.data.layout import Layout
from titans_ts.data.parquet.row_file import RowFolder
from titans_ts.data.series import SeriesSet
from titans_ts.data.store import FileStore
from titans_ts.errors import DataFileError

__all__ = ["Asked", "Fingerprint", "Prepared", "RowCache"]

VERSION = 2

#: Path, size and time of change of every file.
Fingerprint = list[list[Any]]


class Asked(NamedTuple):
    """Whether a reading was told the frequency, and the covariates of a fitted model."""

    freq: bool
    schema: bool


@dataclass(frozen=True, eq=False)
class Prepared:
    """Row files, and what is known of them.

    Parameters
    ----------
    key : str
        Which table, and which roles of its columns.
    fingerprint : Fingerprint
        Of the Parquet files.
    folder : RowFolder
    layout : Layout
    lengths : ndarray of shape (n_series,), int64
    static : ndarray of shape (n_series, n_static) or None
    dtypes : dict
        Of each row file, by role.
    asked : Asked
        What the reading was given, and did not find in the files by itself.
    """

    key: str
    fingerprint: Fingerprint
    folder: RowFolder
    layout: Layout
    lengths: np.ndarray
    static: np.ndarray | None
    dtypes: dict[str, str]
    asked: Asked

    def serves(self, freq: str | None, schema: CovariateSchema | None, step: int | None) -> bool:
        """Whether a reading that asks for these would come to the same."""
        # What was given may say more than the files do: a season of days, a category of a model.
        if freq is None:
            same = not self.asked.freq
        else:
            own = self.layout.freq
            same = own is not None and parse_freq(freq) == parse_freq(own)
        if step is not None:
            same = same and self.layout.step == step
        if schema is None:
            return same and not self.asked.schema
        return same and schema == self.layout.covariates

    def series(self) -> SeriesSet:
        """The rows as a set, which keeps the files alive."""
        names = self._channels()
        stores = {
            role: FileStore(
                self.folder.path / f"{role}.rows",
                dtype,
                int(self.lengths.sum()),
                len(names[role]),
                keeper=self.folder,
            )
            for role, dtype in self.dtypes.items()
        }
        starts = np.cumsum(self.lengths) - self.lengths
        sets = {r: SeriesSet(s, starts, self.lengths, names[r]) for r, s in stores.items()}
        target = sets["target"]
        return SeriesSet(
            target.store,
            starts,
            self.lengths,
            target.channels,
            past=sets.get("past"),
            known=sets.get("known"),
            static=self.static,
            ids=self.layout.ids or None,
        )

    def complete(self) -> bool:
        """Whether every row file is there, in full size."""
        names, n_rows = self._channels(), int(self.lengths.sum())
        for role, dtype in self.dtypes.items():
            path = self.folder.path / f"{role}.rows"
            size = n_rows * len(names[role]) * np.dtype(dtype).itemsize
            if not path.is_file() or path.stat().st_size != size:
                return False
        return True

    def _channels(self) -> dict[str, tuple[str, ...]]:
        known = self.layout.covariates
        return {
            "target": self.layout.channels,
            "past": labels_of(known.past),
            "known": labels_of(known.known),
        }


class RowCache:
    """Where row files of one table, with these roles, are kept.

    A folder of them gets its name when it is complete, so there is never half of one; one whose
    Parquet files have changed is removed when the new one is there.

    Parameters
    ----------
    path : str or Path
        Made if it does not exist.
    key : str
    fingerprint : Fingerprint
    """

    def __init__(self, path: str | Path, key: str, fingerprint: Fingerprint) -> None:
        self.path, self.key, self.fingerprint = Path(path).expanduser(), key, fingerprint
        self._stem = f"rows-{key}-{_digest(fingerprint)}"

    def entries(self) -> Iterator[Prepared]:
        """All that is kept of the files as they are; what is damaged is passed over."""
        for path in sorted(self.path.glob(f"{self._stem}-*")):
            found = self._load(path)
            if found is not None and found.complete():
                yield found

    def new_folder(self) -> RowFolder:
        """An empty folder to write to."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return RowFolder(Path(tempfile.mkdtemp(dir=self.path, prefix=".rows-")), temporary=True)
        except OSError as error:
            raise DataFileError(
                f"cache={str(self.path)!r} cannot be written to: {error}. Name a folder that can."
            ) from error

    def keep(
        self,
        prepared: Prepared,
        freq: str | None,
        schema: CovariateSchema | None,
        step: int | None,
    ) -> Prepared:
        """Give new row files their name."""
        asked = None if schema is None else asdict(schema)
        place = self.path / f"{self._stem}-{_digest([freq, asked, step])}"
        folder = prepared.folder
        noted = {
            "version": VERSION,
            "layout": prepared.layout.to_dict(),
            "dtypes": prepared.dtypes,
            "asked": prepared.asked,
        }
        (folder.path / "table.json").write_text(json.dumps(noted), encoding="utf-8")
        arrays = {"lengths": prepared.lengths}
        if prepared.static is not None:
            arrays["static"] = prepared.static
        np.savez(folder.path / "series.npz", **arrays)  # type: ignore[arg-type]
        other = self._load(place)
        if other is not None and other.complete():  # another process was faster
            folder.close()
            return other
        shutil.rmtree(place, ignore_errors=True)
        kept = folder.rename(place)
        for old in self.path.glob(f"rows-{self.key}-*"):
            if not old.name.startswith(self._stem):
                shutil.rmtree(old, ignore_errors=True)
        return self._prepared(kept, prepared.layout, arrays, prepared.dtypes, prepared.asked)

    def _load(self, path: Path) -> Prepared | None:
        try:
            noted = json.loads((path / "table.json").read_text(encoding="utf-8"))
            if noted["version"] != VERSION:
                return None
            # Opened here: numpy leaves a file open that is not what it should be.
            with open(path / "series.npz", "rb") as file:
                saved = np.load(file, allow_pickle=False)
                arrays = {name: saved[name] for name in saved.files}
            layout = Layout.from_dict(noted["layout"])
            folder = RowFolder(path, temporary=False)
            asked = Asked(*(bool(given) for given in noted["asked"]))
            return self._prepared(folder, layout, arrays, dict(noted["dtypes"]), asked)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def _prepared(
        self,
        folder: RowFolder,
        layout: Layout,
        arrays: dict[str, np.ndarray],
        dtypes: dict[str, str],
        asked: Asked,
    ) -> Prepared:
        static = arrays.get("static")
        lengths = arrays["lengths"]
        return Prepared(self.key, self.fingerprint, folder, layout, lengths, static, dtypes, asked)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:12]
