"""Resample: bring rows to another frequency, or irregular ones to a regular one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset, Day, Tick
from sklearn.utils.validation import check_is_fitted

from titans_ts.data.frequency import fixed_span, parse_freq
from titans_ts.errors import DataError
from titans_ts.parameters import check_choice
from titans_ts.preprocessing.base import TableTransformer
from titans_ts.preprocessing.gaps import carried_columns
from titans_ts.preprocessing.grid import Grid, lay_grid
from titans_ts.preprocessing.panel import Panel
from titans_ts.preprocessing.rebuild import rebuild
from titans_ts.preprocessing.source import Source

__all__ = ["Resample"]

METHODS = ("mean", "sum", "min", "max", "median", "first", "last")


class Resample(TableTransformer):
    """Bring the rows of each series to one frequency: each new row stands for a span of time.

    For rows at odd times, several rows of one time, or a frequency that is too fine. Spans and
    their stamps are those of :meth:`pandas.DataFrame.resample`: a span is called by its start, a
    month's end or a week by its end. Hours and days are counted from a midnight, whatever the
    first row is (hours from that of 2000-01-01: while the clock is an hour ahead of it, spans of 12
    hours start at 1 o'clock); several weeks or months from the first row of each series. A span in
    which nothing was observed is missing. Rows come out series by series, oldest first. A table
    without time, such as an array, comes out as it is.

    Parameters
    ----------
    freq : str
        A pandas frequency such as ``"h"``.
    method : {"mean", "sum", "min", "max", "median", "first", "last"}, default "mean"
        What becomes of the observed values in a span.
    carry : str or list of str, optional
        Columns to keep beside ids, time and numbers, each with its last value up to the span's
        end. Others are left out.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.preprocessing import Resample
    >>> times = pd.to_datetime(["2024-01-01 00:10", "2024-01-01 00:50", "2024-01-01 02:00"])
    >>> Resample(freq="h").fit_transform(pd.Series([1.0, 3.0, 5.0], index=times)).tolist()
    [2.0, nan, 5.0]
    """

    def __init__(
        self,
        *,
        freq: str = "h",
        method: str = "mean",
        carry: str | Sequence[str] | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.freq = freq
        self.method = method
        self.carry = carry
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        parse_freq(self.freq)
        check_choice("method", self.method, METHODS)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check parameters and table; there is nothing to learn.

        Parameters
        ----------
        X : array, Series or DataFrame
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            The table cannot be used, or is labelled with periods or integers.
        """
        self._check_parameters()
        panel, source = self._open(X, fit=True)
        _check_stamps(panel)
        kept = self._kept(source)
        self.kept_ = None if kept is None else np.array(kept)
        return self

    def transform(self, X: Any) -> Any:
        """Bring rows to the frequency.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        array, Series or DataFrame
            The same kind of table, with other rows.
        """
        check_is_fitted(self)
        panel, source = self._open(X)
        _check_stamps(panel)
        kept = self._kept(source)
        if panel.stamps is None or kept is None or source.table is None:
            return self._deliver(source.put(panel.values))
        spans, last_rows = self._gather(panel)
        grid = lay_grid(spans, parse_freq(self.freq))
        values = np.where((grid.rows < 0)[:, None], np.nan, spans.values[grid.rows])
        # Other columns are taken from the last row of each span.
        rows = np.where(grid.rows < 0, -1, last_rows[grid.rows])
        grid = Grid(rows, grid.offsets, grid.stamps)
        keep = [label for label, kept_ in zip(source.table.labels, kept, strict=True) if kept_]
        carry = carried_columns(self.carry, source)
        freq = parse_freq(self.freq).freqstr
        return self._deliver(rebuild(source, grid, values, freq, carry=carry, keep=keep))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that are kept.

        Parameters
        ----------
        input_features : array of str, optional
            As in scikit-learn.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = super().get_feature_names_out(input_features)
        return names if self.kept_ is None else names[self.kept_]

    def _kept(self, source: Source) -> list[bool] | None:
        """Which columns come out; None for tables that come out as they are."""
        table, roles = source.table, source.roles
        if table is None or roles is None:
            return None
        carry = carried_columns(self.carry, source)
        known = {roles.time, roles.ids, *roles.target}
        return [i in known or label in carry for i, label in enumerate(table.labels)]

    def _gather(self, panel: Panel) -> tuple[Panel, np.ndarray]:
        """One row for each span that has any, and the panel's last row of each."""
        stamps, offset = panel.stamps, parse_freq(self.freq)
        assert isinstance(stamps, pd.DatetimeIndex)
        clock = stamps
        if fixed_span(offset) is None:  # days and longer are counted on the wall
            clock = stamps.tz_localize(None)
        codes = np.repeat(np.arange(len(panel.ids)), panel.lengths)
        table = pd.DataFrame(panel.values, index=pd.MultiIndex.from_arrays([codes, clock]))
        # Spans of several weeks or months start where the data do: those of each series by itself.
        several = offset.n > 1 and not isinstance(offset, (Tick, Day))
        pieces = np.split(np.arange(len(codes)), panel.offsets[1:-1]) if several else [slice(None)]
        parts = [self._spans(table.iloc[piece], offset) for piece in pieces]
        gathered = pd.concat([values for values, _ in parts])
        counts = pd.concat([counts for _, counts in parts])
        # Rows of a series stand in order of time, so the last of a span is known by their number.
        series = gathered.index.get_level_values(0).to_numpy()
        offsets = np.searchsorted(series, np.arange(len(panel.ids) + 1)).astype(np.int64)
        new = pd.DatetimeIndex(gathered.index.get_level_values(1)).as_unit(stamps.unit)
        if new.tz is None and stamps.tz is not None:
            first_time = np.ones(len(new), dtype=bool)
            new = new.tz_localize(stamps.tz, ambiguous=first_time, nonexistent="shift_forward")
        values = gathered.to_numpy(dtype=np.float64)
        spans = replace(panel, values=values, offsets=offsets, stamps=new)
        return spans, np.cumsum(counts.to_numpy(dtype=np.int64)) - 1

    def _spans(self, table: pd.DataFrame, offset: BaseOffset) -> tuple[pd.DataFrame, pd.Series]:
        """Values of each span that has rows, and how many it has."""
        times = table.index.get_level_values(1)
        options: dict[str, Any] = {}
        if isinstance(offset, (Tick, Day)):
            # A midnight that does not depend on the data: one series says nothing about another.
            options["origin"] = pd.Timestamp("2000-01-01", tz=times.tz)  # type: ignore[attr-defined]
        span = pd.Grouper(level=1, freq=offset, **options)
        groups = table.groupby([pd.Grouper(level=0), span])
        counts = groups.size()
        gathered = groups.sum(min_count=1) if self.method == "sum" else groups.agg(self.method)
        there = counts.to_numpy() > 0
        return gathered[there], counts[there]


def _check_stamps(panel: Panel) -> None:
    if panel.stamps is None or isinstance(panel.stamps, pd.DatetimeIndex):
        return
    kind = "periods" if isinstance(panel.stamps, pd.PeriodIndex) else "integers"
    raise DataError(
        f"Resample needs time stamps, but the rows of X are labelled with {kind}. Convert them, "
        "for example with X.index.to_timestamp()."
    )
