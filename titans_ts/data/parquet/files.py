"""The Parquet files of one table, read in small batches."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from titans_ts.data.frequency import plural
from titans_ts.errors import DataError, DataFileError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["SUFFIXES", "Batch", "ParquetFiles", "import_pyarrow"]

#: What names of Parquet files end in.
SUFFIXES = (".parquet", ".pq")

# What a batch may take as float64, and the most rows of narrow tables: larger ones are not faster.
BATCH_BYTES = 32 << 20
BATCH_ROWS = 1 << 18


class Batch(NamedTuple):
    """Some neighbouring rows of a file."""

    path: Path
    first_row: int  # of the file, counted from 0
    columns: dict[str, Any]  # pyarrow arrays, of the types of the whole table


def import_pyarrow() -> None:
    """Raise ImportError, with what to do, where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Reading Parquet needs pyarrow, which is not installed here. Install it with "
            "pip install 'titans-ts[parquet]'."
        ) from error


class ParquetFiles:
    """Files that together are one table, in the order of their names.

    Parameters
    ----------
    path : str or Path
        A folder (with all that lies in it, however deep), a file, or a pattern such as
        ``"2024/*.parquet"``. Names that start with ``_`` or ``.`` are left out, as everywhere,
        unless a pattern has such a name; folders named ``column=value`` add a column, those above
        the first sign of a pattern do not.

    Attributes
    ----------
    paths : tuple of Path
    schema : pyarrow.Schema
        Names and types of all columns; where files differ, a type that holds the values of all.
    n_rows : int

    Raises
    ------
    DataFileError
        There is no file, or one cannot be read as Parquet.
    DataError
        The files' columns differ.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow as pa

        root, self.paths = _find(path)
        self._keys = [_keys(found, root) for found in self.paths]
        schemas, self.n_rows = [], 0
        for found, keys in zip(self.paths, self._keys, strict=True):
            metadata, schema = _footer(found)
            self.n_rows += metadata.num_rows
            for name in keys:
                schema = schema.append(pa.field(name, pa.string()))
            schemas.append(schema)
        first = schemas[0]
        for found, schema in zip(self.paths, schemas, strict=True):
            _check_names(found, schema.names, self.paths[0], first.names)
        try:
            unified = pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(
                f"The Parquet files differ in a column's type: {str(error).rstrip('.')}. Write "
                f"them with one type (the first is {self.paths[0].name})."
            ) from error
        self.schema = unified.with_metadata(first.metadata)

    def fingerprint(self) -> list[list[Any]]:
        """What changes when a file does: path, size and time of change of each."""
        return [[str(p), (stat := p.stat()).st_size, stat.st_mtime_ns] for p in self.paths]

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Read some columns of all files, a bounded number of rows at a time."""
        n = max(min(BATCH_BYTES // (8 * max(len(columns), 1)), BATCH_ROWS), 1)
        for path, keys in zip(self.paths, self._keys, strict=True):
            first_row = 0
            for raw in _read(path, [name for name in columns if name not in keys], n):
                found = {
                    name: self._constant(name, keys[name], raw.num_rows)
                    if name in keys
                    else self._cast(raw.column(name), name, path)
                    for name in columns
                }
                yield Batch(path, first_row, found)
                first_row += raw.num_rows

    def head(self, n: int) -> pa.Table:
        """The first rows, all columns, as a table with what pandas noted about its index."""
        import pyarrow as pa

        parts: list[pa.Table] = []
        for batch in self.batches(self.schema.names):
            part = pa.table(list(batch.columns.values()), schema=self.schema)
            parts.append(part.slice(0, n - sum(map(len, parts))))
            if sum(map(len, parts)) >= n:
                break
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def frame(self, n: int) -> pd.DataFrame:
        """The first rows as pandas wrote them: categories of numbers, too, are categories."""
        frame = self.head(n).to_pandas()
        for column in (self.schema.pandas_metadata or {}).get("columns", []):
            name = column.get("name")
            if column.get("pandas_type") == "categorical" and name in frame.columns:
                frame[name] = frame[name].astype("category")
        return frame

    def _cast(self, column: pa.Array, name: str, path: Path) -> pa.Array:
        import pyarrow as pa

        wanted = self.schema.field(name).type
        if column.type == wanted:
            return column
        try:
            return column.cast(wanted)
        except pa.ArrowException as error:
            raise DataError(
                f"Column {name!r} of {path.name} is {column.type} and cannot be read as {wanted}, "
                f"as in the other files: {error}. Write all files with one type."
            ) from error

    def _constant(self, name: str, text: str, n: int) -> pa.Array:
        import pyarrow as pa

        return pa.repeat(pa.scalar(text).cast(self.schema.field(name).type), n)


def _find(path: str | Path) -> tuple[Path, tuple[Path, ...]]:
    """The folder below which names of folders are looked at, and the files."""
    root = place = Path(path).expanduser()
    if place.is_dir():
        found = [p for suffix in SUFFIXES for p in place.rglob(f"*{suffix}")]
        found = [p for p in found if not _hidden(p.relative_to(place))]
        what = "no file that ends in .parquet or .pq"
    elif place.exists():
        return place.parent, (place,)
    elif glob.has_magic(str(place)):
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), place.parts))
        found = [Path(p) for p in glob.glob(str(place), recursive=True) if Path(p).is_file()]
        if not _hidden(place.relative_to(root)):  # which asks for them
            found = [p for p in found if not _hidden(p.relative_to(root))]
        what = "no file for this pattern"
    else:
        raise DataFileError(
            f"{str(path)!r} is neither a file nor a folder, expected a folder of Parquet files, "
            "one such file, or a pattern such as 'data/*.parquet'. Correct the path."
        )
    if not found:
        raise DataFileError(f"There is {what}: {str(path)!r}. Correct the path.")
    return root, tuple(sorted(found, key=lambda p: p.as_posix()))


def _hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _keys(path: Path, root: Path) -> dict[str, str]:
    """Columns that folders named ``column=value`` add, as Hive and Spark write them."""
    pairs = [part.split("=", 1) for part in path.relative_to(root).parts[:-1] if "=" in part]
    return {unquote(name): unquote(value) for name, value in pairs}


def _footer(path: Path) -> tuple[Any, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read(path: Path, columns: list[str], n: int) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Pages are decoded one by one: a row group, let alone a file, may be larger than memory.
        with pq.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False) as file:
            yield from file.iter_batches(n, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataFileError:
    return DataFileError(
        f"{str(path)!r} cannot be read as Parquet: {str(error).rstrip('.')}. It is damaged, cut "
        "short, or no Parquet file; write it again, or take it out of the folder."
    )


def _check_names(path: Path, names: list[str], first: Path, expected: list[str]) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError(
            f"{path.name} has several columns named {twice[0]!r}, expected distinct names. "
            "Rename or drop all but one."
        )
    for here, there, files in ((names, expected, (path, first)), (expected, names, (first, path))):
        more = [name for name in here if name not in there]
        if more:
            raise DataError(
                f"{files[0].name} has the {plural(len(more), 'column').partition(' ')[2]} "
                f"{', '.join(map(repr, more[:5]))}, and {files[1].name} has not; expected files "
                "with the same columns. Write them anew, or read those apart that differ."
            )
