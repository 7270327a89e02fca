"""Clock: the time column of Parquet files as whole numbers, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from titans_ts.data.frequency import fixed_span, parse_freq, stamps_until
from titans_ts.data.parquet.files import Batch
from titans_ts.data.time_column import read_time_column
from titans_ts.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Clock", "Steps"]

DAY = 86_400  # seconds


@dataclass(frozen=True)
class Clock:
    """Reads time columns.

    Parameters
    ----------
    name : str or None
        The time column; None where rows are only counted.
    kind : {"stamps", "integers", "rows"}
    unit : str
        Of stamps since 1970 in UTC: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
    tz : str or None
    text : str or None
        How times are written where the column holds text, as :func:`read_time_column` says it.
    """

    name: str | None
    kind: str = "rows"
    unit: str = ""
    tz: str | None = None
    text: str | None = None

    @classmethod
    def for_column(cls, schema: pa.Schema, name: str | None, first: pd.Series | None) -> Clock:
        """Make the clock of a column; ``first`` are its first values, as pandas has them."""
        import pyarrow as pa

        if name is None:
            return cls(None)
        kind = schema.field(name).type
        if pa.types.is_timestamp(kind):
            return cls(name, "stamps", kind.unit, kind.tz)
        if pa.types.is_date(kind):
            return cls(name, "stamps", "s" if pa.types.is_date32(kind) else "ms")
        if pa.types.is_integer(kind):
            return cls(name, "integers")
        index, form = read_time_column(pd.Series(first, dtype=object), f"column {name!r}")
        if not isinstance(index, pd.DatetimeIndex):
            raise DataError(
                f"Column {name!r} of the Parquet files is {kind}, expected time stamps, dates, "
                "integers or text. Write it as one of these."
            )
        return cls(name, "stamps", "us", None if index.tz is None else str(index.tz), form)

    def read(self, batch: Batch) -> np.ndarray | None:
        """The stamps of a batch, shape (rows,), int64; None where there are none."""
        if self.name is None:
            return None
        import pyarrow as pa

        column = batch.columns[self.name]
        if column.null_count:
            row = batch.first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"Column {self.name!r} has a missing time stamp in row {row} of "
                f"{batch.path.name}, expected one in every row. Drop these rows, or fill in the "
                "time."
            )
        if self.text is not None:
            return self._read_text(column, batch)
        if pa.types.is_date32(column.type):
            return column.cast(pa.int32()).to_numpy().astype(np.int64) * DAY
        return column.cast(pa.int64()).to_numpy()

    def _read_text(self, column: Any, batch: Batch) -> np.ndarray:
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        coded = column.dictionary_encode()
        words = f"column {self.name!r} of {batch.path.name}"
        texts = pd.Series(coded.dictionary.to_pandas(), dtype=object)
        index, form = read_time_column(texts, words)
        tz = getattr(index, "tz", None)
        if form != self.text or (None if tz is None else str(tz)) != self.tz:
            raise DataError(
                f"Times in {words} are written otherwise than in the first rows: {texts[0]!r}. "
                "Write the column as time stamps instead of text."
            )
        stamps = index.as_unit(self.unit).asi8  # type: ignore[attr-defined]
        return stamps[coded.indices.to_numpy()]

    def index(self, values: np.ndarray) -> pd.Index:
        """Stamps as an index of pandas."""
        if self.kind != "stamps":
            return pd.Index(values)
        index = pd.DatetimeIndex(values.view(f"M8[{self.unit}]"))
        return index if self.tz is None else index.tz_localize("UTC").tz_convert(self.tz)

    def show(self, value: int) -> str:
        """A stamp as a person reads it."""
        return str(self.index(np.array([value], dtype=np.int64))[0])


class Steps:
    """The stamp that each row of each series must have.

    Parameters
    ----------
    clock : Clock
    freq : str or None
        None for integers.
    step : int
        Of integers.
    first, last : ndarray of shape (n_series,), int64
        Stamps of the first and the last row.
    """

    def __init__(
        self, clock: Clock, freq: str | None, step: int, first: np.ndarray, last: np.ndarray
    ) -> None:
        self.first, self.span = first, step
        self._grids: list[np.ndarray] = []
        if freq is None:
            return
        offset = parse_freq(freq)
        span = fixed_span(offset)
        if span is not None:
            self.span = int(span // pd.Timedelta(1, clock.unit))  # type: ignore[arg-type]
            return
        # Steps of the calendar, a day and longer, so these are few: laid out once from the earliest
        # start, and again for series that are out of phase with it (days that begin at six).
        self._grid, self._start = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
        left = np.arange(len(first))
        while len(left):
            earliest = left[first[left].argmin()]
            own = clock.index(np.array([first[earliest], last[left].max(), last[earliest]]))
            stamps = stamps_until(own[0], own[1], offset, like=own[2])
            grid = stamps.as_unit(clock.unit).asi8  # type: ignore[arg-type]
            at = np.searchsorted(grid, first[left]).clip(max=len(grid) - 1)
            here = grid[at] == first[left]
            # A start that no grid holds, the 15th for months' ends: told by its second row.
            here |= first[left] == first[left].min()
            self._grid[left[here]], self._start[left[here]] = len(self._grids), at[here]
            self._grids.append(grid)
            left = left[~here]

    def expected(self, series: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Stamps of rows, given how many rows of their series come before; shape (rows,)."""
        if not self._grids:
            return self.first[series] + self.span * places
        out = np.empty(len(series), np.int64)
        which, places = self._grid[series], self._start[series] + places
        for number in np.unique(which):
            rows, grid = which == number, self._grids[number]
            at = places[rows]
            # Past the end of the grid there is no right stamp.
            out[rows] = np.where(at < len(grid), grid[at.clip(max=len(grid) - 1)], -1)
        return out
