"""Panel: the numbers of a table by series, oldest row first; and the way back to the same table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.frequency import find_offset, plural
from titans_ts.data.series import SeriesSet
from titans_ts.data.time_axis import labels_of
from titans_ts.errors import DataError

__all__ = ["NAMELESS", "Panel"]

#: Of the one series of a table without ids. A number would be that of a series which has one.
NAMELESS = (None,)


def _row_number(row: int) -> str:
    return f"row {row}"


@dataclass(frozen=True)
class Panel:
    """Series of possibly unequal length, with NaN where a value is missing.

    Parameters
    ----------
    values : ndarray of shape (rows, channels), float64
        One series after another, oldest row first; in the data's own units.
    offsets : ndarray of shape (n_series + 1,), int64
        Series ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    ids : tuple
        What each series is called.
    names : tuple of str
        What each channel is called.
    stamps : pandas.Index, optional
        The time of each row; None where rows are only counted.
    where : callable, optional
        Turns a row number into words, for messages.
    """

    values: np.ndarray
    offsets: np.ndarray
    ids: tuple[Any, ...]
    names: tuple[str, ...]
    stamps: pd.Index | None = None
    where: Callable[[int], str] = field(default=_row_number)

    @classmethod
    def from_series(cls, series: SeriesSet, ids: Sequence[Any]) -> Panel:
        """Take the rows of a set; values that were not observed become NaN."""
        named = len(ids) > 0
        n = series.n_series
        ids = tuple(ids) or (NAMELESS if n == 1 else tuple(range(n)))
        values, observed = series.values, series.observed
        if not observed.all():
            values = np.where(observed, values, np.nan)
        offsets = series.offsets

        def where(row: int) -> str:
            number = int(np.searchsorted(offsets, row, side="right")) - 1
            of = f" of series {ids[number]!r}" if named or len(ids) > 1 else ""
            return f"row {row - offsets[number]}{of}"

        return cls(values, offsets, ids, series.channels, where=where)

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, shape (n_series,)."""
        return np.diff(self.offsets)

    def duplicates(self, again: np.ndarray) -> DataError:
        """What is wrong where rows, from the second on, have the time of the one before."""
        assert self.stamps is not None
        row = int(again.argmax()) + 1
        return DataError(
            f"The time stamps have {plural(int(again.sum()), 'duplicate')}, the first "
            f"{self.stamps[row]} in {self.where(row)}; expected one row of a series per time "
            "stamp. Bring them together: times with Resample(), whole numbers with groupby()."
        )

    def with_values(self, values: np.ndarray) -> Panel:
        """The same rows with other values."""
        return replace(self, values=values)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pass over all series, those of one length at a time.

        Yields
        ------
        series : ndarray of shape (n,), int
        rows : ndarray of shape (n, time), int
            So that ``values[rows]`` is a block of shape (n, time, channels).
        """
        lengths = self.lengths
        order = np.argsort(lengths, kind="stable")
        edges = np.flatnonzero(np.diff(lengths[order])) + 1
        for series in np.split(order, edges):
            if len(series):
                yield series, self.offsets[series][:, None] + np.arange(lengths[series[0]])

    def refuse(self, bad: np.ndarray, what: str, advice: str) -> None:
        """Raise DataError if any value is bad, with the column and row of the first.

        Parameters
        ----------
        bad : ndarray of the shape of ``values``, bool
        what : str
            What such values are, such as ``"not above 0"``.
        advice : str
            A sentence on what was expected and what to do.
        """
        if not bad.any():
            return
        channel = int(bad.any(axis=0).argmax())
        row = int(bad[:, channel].argmax())
        raise DataError(
            f"Column {self.names[channel]!r} has {plural(int(bad[:, channel].sum()), 'value')} "
            f"{what}, the first {float(self.values[row, channel])!r} in {self.where(row)}. {advice}"
        )

    def refuse_infinite(self) -> None:
        """Raise DataError if there are infinite values."""
        self.refuse(
            np.isinf(self.values),
            "that are infinite",
            "Expected finite numbers, or NaN where one is missing.",
        )

    def check_regular(self) -> None:
        """Raise DataError unless the rows of each series are one step of time apart.

        Nothing is checked where rows are only counted, nor in series of one or two rows.
        """
        if self.stamps is None or len(self.stamps) < 2:
            return
        labels = labels_of(self.stamps)
        steps = np.diff(labels)
        inside = np.ones(len(steps), dtype=bool)
        inside[self.offsets[1:-1] - 1] = False  # from one series to the next
        zero = (steps == 0) & inside
        if zero.any():
            raise self.duplicates(zero)
        # The common case in one look: every step equals the one before it in the same series.
        same = np.ones(len(steps), dtype=bool)
        same[1:] = (steps[1:] == steps[:-1]) | ~inside[1:] | ~inside[:-1]
        if same[inside].all():
            return
        uneven = np.unique(np.searchsorted(self.offsets, np.flatnonzero(~same) + 1, "right") - 1)
        for number in uneven:
            stamps = self.stamps[self.offsets[number] : self.offsets[number + 1]]
            self._check_uneven(stamps, number)

    def _check_uneven(self, stamps: pd.Index, number: int) -> None:
        whose = f"series {self.ids[number]!r}" if len(self.ids) > 1 else "the table"
        if isinstance(stamps, pd.DatetimeIndex):
            # Months and days of local time differ in length, and are regular all the same.
            try:
                find_offset(stamps, None, whose)
            except DataError as error:
                raise DataError(
                    f"{error} FillGaps() inserts missing rows, and Resample() brings irregular "
                    "ones to one frequency."
                ) from None
            return
        row = int(np.argmax(np.diff(labels_of(stamps)) != np.diff(labels_of(stamps)).min()))
        raise DataError(
            f"The rows of {whose} have a gap after {stamps[row]}, where {stamps[row + 1]} follows; "
            "expected rows that are one step apart. Insert the missing rows with FillGaps()."
        )
