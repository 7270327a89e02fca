"""Row files: numbers on disk, scattered to their series as they come."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from titans_ts.errors import DataFileError

__all__ = ["RowFileWriter", "RowFolder"]

# Memory that scattered writes may hold at a time. A row touches its own pages, so rows far apart
# hold a page each, however short they are.
SCATTER_BYTES = 64 << 20
PAGE = 4096


class RowFolder:
    """A folder of row files. A temporary one lasts as long as somebody holds this object.

    Parameters
    ----------
    path : Path
    temporary : bool
        Remove the folder with the last reference to this object, or when the process ends.
    """

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path = path
        self._remove = weakref.finalize(self, _remove_folder, path, os.getpid())
        if not temporary:
            self._remove.detach()

    @classmethod
    def make_temporary(cls) -> RowFolder:
        """A new, empty one, where the system keeps temporary files."""
        try:
            return cls(Path(tempfile.mkdtemp(prefix="titans-ts-")), temporary=True)
        except OSError as error:
            raise DataFileError(
                f"No temporary folder can be made: {error}. Say where rows may be kept with "
                "ParquetFolder(..., cache=<folder>)."
            ) from error

    def rename(self, path: Path) -> RowFolder:
        """Move a temporary folder to where it is kept."""
        os.rename(self.path, path)
        self._remove.detach()
        return RowFolder(path, temporary=False)

    def close(self) -> None:
        """Remove the folder now if it is temporary."""
        self._remove()


def _remove_folder(path: Path, owner: int) -> None:
    # A forked child inherits this object, but not the right to take the files from its parent.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


class RowFileWriter:
    """Write rows to their places in a new file.

    Parameters
    ----------
    path : Path
        Of a file that does not exist; it gets its full size at once.
    dtype : str
        Such as ``"<f4"``.
    n_rows, n_columns : int

    Raises
    ------
    DataFileError
        The disk has no room for it.
    """

    def __init__(self, path: Path, dtype: str, n_rows: int, n_columns: int) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self.shape = (n_rows, n_columns)
        size = n_rows * n_columns * self.dtype.itemsize
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise DataFileError(
                f"{path.parent} has {free / 1e9:.1f} GB of free space, and the rows take "
                f"{size / 1e9:.1f} GB. Make room, or say where they may be kept with "
                "ParquetFolder(..., cache=<folder>)."
            )
        with open(path, "xb") as file:
            # Space is taken now: writing through a map to a full disk would kill the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for at in range(0, size, 1 << 20):
                    file.write(bytes(min(size - at, 1 << 20)))

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write one batch.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Where each row goes; ascending.
        values : ndarray of shape (n, n_columns)
        """
        values = np.ascontiguousarray(values, dtype=self.dtype)
        row_bytes = self.shape[1] * self.dtype.itemsize
        if rows[-1] - rows[0] == len(rows) - 1:  # ascending and distinct, hence side by side
            with open(self.path, "r+b") as file:
                file.seek(int(rows[0]) * row_bytes)
                file.write(values.data)
            return
        piece = max(SCATTER_BYTES // (row_bytes + 2 * PAGE), 1)
        for at in range(0, len(rows), piece):
            # Mapped anew for each piece: pages count as memory of this process until it is closed.
            file_rows = np.memmap(self.path, self.dtype, "r+", shape=self.shape)
            file_rows[rows[at : at + piece]] = values[at : at + piece]
            del file_rows
