"""Pass over the rows of Parquet files: which series there are, and where each row belongs.

Nothing is kept of a batch but a few numbers per series, so memory grows with the number of series
only. Rows of different series may come in any order, those of one series oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from titans_ts.data.parquet.files import Batch, ParquetFiles
from titans_ts.data.parquet.time import Clock
from titans_ts.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Census", "Grouped", "RowScan", "take_census"]


class Grouped(NamedTuple):
    """A batch's rows, those of one series side by side."""

    batch: Batch
    order: np.ndarray | None  # which row of the batch each one is; None: as they came
    series: np.ndarray  # (n,), numbers of the series, ascending
    stamps: np.ndarray  # (n,), int64
    previous: np.ndarray  # (n,): the stamp of the same series' row before; anything at its first
    places: np.ndarray  # (n,): how many rows of the series came before

    @property
    def follows(self) -> np.ndarray:
        """Which rows have one before them in their series."""
        return self.places > 0

    def take(self, name: str) -> pa.Array:
        """A column, in the order of these rows."""
        column = self.batch.columns[name]
        return column if self.order is None else column.take(_pa().array(self.order))

    def first_in_file(self, wrong: np.ndarray) -> int:
        """Of the rows marked in ``wrong``, the one that comes first in the file."""
        rows = np.flatnonzero(wrong)
        return int(rows[0] if self.order is None else rows[self.order[rows].argmin()])


@dataclass
class Census:
    """Every series that was met, in the order of their first rows.

    Parameters
    ----------
    ids : pyarrow.Array or None
        None where there is one series without a name.
    counts, first, last : ndarray of shape (n_series,), int64
        Rows, and stamps of the first and the last.
    steps : tuple of int, or None
        The smallest and the largest distance of two neighbouring stamps; None if no series has two
        rows.
    """

    ids: pa.Array | None
    counts: np.ndarray
    first: np.ndarray
    last: np.ndarray
    steps: tuple[int, int] | None = None

    @property
    def n_series(self) -> int:
        return len(self.counts)


class RowScan:
    """One pass over the files.

    Parameters
    ----------
    files : ParquetFiles
    id_name : str or None
    clock : Clock
        Reads the time.
    """

    def __init__(self, files: ParquetFiles, id_name: str | None, clock: Clock) -> None:
        self.files, self.id_name, self.clock = files, id_name, clock
        kind = None if id_name is None else _value_type(files.schema.field(id_name).type)
        self.ids = None if kind is None else _pa().array([], kind)
        n = 1 if kind is None else 0
        self.counts, self.last = np.zeros(n, np.int64), np.zeros(n, np.int64)

    def groups(self, columns: Sequence[str] = ()) -> Iterator[Grouped]:
        """Yield the rows, with these columns beside time and id.

        Raises
        ------
        DataError
            A row has no id or no time, or does not come after the row of its series before.
        """
        names = [name for name in (self.id_name, self.clock.name) if name is not None]
        # Some column at least, to know how many rows there are.
        wanted = [*names, *columns] or self.files.schema.names[:1]
        for batch in self.files.batches(list(dict.fromkeys(wanted))):
            if len(next(iter(batch.columns.values()))):
                yield self._group(batch)

    def name(self, series: int) -> str:
        """A series in words: ``"Series 'T1'"``."""
        return "The series" if self.ids is None else f"Series {self.ids[series].as_py()!r}"

    def _group(self, batch: Batch) -> Grouped:
        series, stamps = self._number(batch), self.clock.read(batch)
        if stamps is None:  # no time: rows are counted
            stamps = np.arange(self.counts[0], self.counts[0] + len(series))
        order = None
        if (series[1:] < series[:-1]).any():
            order = np.argsort(series, kind="stable")
            series, stamps = series[order], stamps[order]
        n = len(series)
        heads = np.flatnonzero(np.concatenate([[True], series[1:] != series[:-1]]))
        sizes = np.diff(heads, append=n)
        who = series[heads]
        previous = np.empty_like(stamps)
        previous[1:] = stamps[:-1]
        previous[heads] = self.last[who]
        places = np.arange(n) + np.repeat(self.counts[who] - heads, sizes)
        self.counts[who] += sizes
        self.last[who] = stamps[heads + sizes - 1]
        group = Grouped(batch, order, series, stamps, previous, places)
        wrong = group.follows & (stamps <= previous)
        if wrong.any():
            raise self._not_in_order(group, group.first_in_file(wrong))
        return group

    def _number(self, batch: Batch) -> np.ndarray:
        """Number each row's series, newly met ones after those that are known."""
        if self.id_name is None or self.ids is None:
            return np.zeros(len(next(iter(batch.columns.values()))), np.int64)
        pc, column = _pa().compute, batch.columns[self.id_name]
        if column.null_count:
            row = batch.first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"Column {self.id_name!r} has a missing id in row {row} of {batch.path.name}, "
                "expected one in every row. Drop these rows, or fill in the id."
            )
        coded = pc.dictionary_encode(_plain(column))
        numbers = pc.index_in(coded.dictionary, value_set=self.ids)
        if numbers.null_count:
            self.ids = _pa().concat_arrays([self.ids, coded.dictionary.filter(numbers.is_null())])
            room = np.zeros(numbers.null_count, np.int64)
            self.counts = np.concatenate([self.counts, room])
            self.last = np.concatenate([self.last, room])
            numbers = pc.index_in(coded.dictionary, value_set=self.ids)
        return numbers.to_numpy().astype(np.int64)[coded.indices.to_numpy()]

    def _not_in_order(self, group: Grouped, row: int) -> DataError:
        stamp, before = (self.clock.show(int(x[row])) for x in (group.stamps, group.previous))
        who, file = self.name(int(group.series[row])), group.batch.path.name
        by = [name for name in (self.id_name, self.clock.name) if name is not None]
        if stamp == before:
            return DataError(
                f"{who} has two rows for {stamp} in column {self.clock.name!r}, the second in "
                f"{file}; expected one row per time stamp. Drop or average the repeated rows"
                + ("." if self.id_name else ", or name the column of ids with id_column=.")
            )
        return DataError(
            f"{who} is not sorted by time: {stamp} in {file} comes after {before}; expected the "
            "oldest row first, over the files in the order of their names. Sort the rows by "
            f"{' and '.join(map(repr, by))} and write the files again"
            + ("." if self.id_name else ", or name the column of ids with id_column=.")
        )


def take_census(
    files: ParquetFiles, id_name: str | None, clock: Clock, texts: Sequence[str] = ()
) -> tuple[Census, dict[str, pa.Array]]:
    """Pass over ids and times alone, and the columns ``texts``.

    Returns
    -------
    census : Census
    categories : dict
        The distinct values of each column of ``texts``, without missing ones.

    Raises
    ------
    DataError
        As :meth:`RowScan.groups`.
    """
    scan = RowScan(files, id_name, clock)
    first = np.zeros(0, np.int64)
    least, most = np.iinfo(np.int64).max, 0
    categories = {
        name: _pa().array([], _value_type(files.schema.field(name).type)) for name in texts
    }
    for group in scan.groups(texts):
        first = np.concatenate([first, np.zeros(len(scan.counts) - len(first), np.int64)])
        new = ~group.follows
        first[group.series[new]] = group.stamps[new]
        steps = (group.stamps - group.previous)[group.follows]
        if len(steps):
            least, most = min(least, int(steps.min())), max(most, int(steps.max()))
        for name, known in categories.items():
            found = _pa().compute.unique(_plain(group.batch.columns[name])).drop_null()
            more = found.filter(_pa().compute.index_in(found, value_set=known).is_null())
            categories[name] = _pa().concat_arrays([known, more])
    seen = (least, most) if most else None
    return Census(scan.ids, scan.counts, first, scan.last, seen), categories


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if _pa().types.is_dictionary(kind) else kind


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if _pa().types.is_dictionary(column.type) else column


def _pa() -> Any:
    import pyarrow
    import pyarrow.compute

    return pyarrow
