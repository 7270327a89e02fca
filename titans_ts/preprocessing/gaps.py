"""FillGaps: insert the rows that a regular table lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from titans_ts.data.frequency import parse_freq
from titans_ts.data.time_column import no_such_column
from titans_ts.errors import DataError
from titans_ts.preprocessing.base import TableTransformer
from titans_ts.preprocessing.grid import check_step, lay_grid, usual_step
from titans_ts.preprocessing.panel import Panel
from titans_ts.preprocessing.rebuild import rebuild
from titans_ts.preprocessing.source import Source

__all__ = ["FillGaps"]


class FillGaps(TableTransformer):
    """Insert missing rows, so that the rows of each series are one step of time apart.

    New rows carry id and time; their values are missing. Every series keeps its own first and last
    row. Steps are counted as the clock goes: 15-minute rows stay 15 minutes apart over a change of
    summer time, daily rows stay at the same local hour. Rows come out series by series, oldest
    first. A table without time, such as an array, has no gaps and comes out as it is.

    Parameters
    ----------
    freq : str, optional
        A pandas frequency such as ``"15min"``, of rows with time stamps or of periods. Default:
        learnt in ``fit``, the commonest step of the longest series.
    carry : str or list of str, optional
        Columns whose new rows take the value of the row before, such as what does not change with
        time. Others than ids, time and these are missing there.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`; columns that are neither numbers nor named in ``carry`` must be
        left out of ``target``.

    Attributes
    ----------
    freq_ : str, int or None
        The step; a number for rows labelled with integers, None where there is no time.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.preprocessing import FillGaps
    >>> X = pd.DataFrame({"ds": ["2024-01-01", "2024-01-02", "2024-01-04"], "y": [1.0, 2.0, 4.0]})
    >>> FillGaps(freq="D").fit_transform(X)
               ds    y
    0  2024-01-01  1.0
    1  2024-01-02  2.0
    2  2024-01-03  NaN
    3  2024-01-04  4.0
    """

    def __init__(
        self,
        *,
        freq: str | None = None,
        carry: str | Sequence[str] | None = None,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.freq = freq
        self.carry = carry
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def _check_parameters(self) -> None:
        if self.freq is not None:
            parse_freq(self.freq)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the frequency.

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
            ``freq`` is no frequency.
        DataError
            The table cannot be used, or its frequency cannot be told.
        """
        self._check_parameters()
        panel, source = self._open(X, fit=True)
        carried_columns(self.carry, source)
        self.freq_ = _frequency(self.freq, panel)
        return self

    def transform(self, X: Any) -> Any:
        """Insert the missing rows.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        array, Series or DataFrame
            The same kind of table, with more rows.
        """
        check_is_fitted(self)
        panel, source = self._open(X)
        if panel.stamps is None or self.freq_ is None or source.table is None:
            return self._deliver(source.put(panel.values))
        step = self.freq_ if isinstance(self.freq_, int) else parse_freq(self.freq_)
        grid = lay_grid(panel, step)
        values = np.where((grid.rows < 0)[:, None], np.nan, panel.values[grid.rows])
        freq = None if isinstance(self.freq_, int) else self.freq_
        carry = carried_columns(self.carry, source)
        keep = source.table.labels
        return self._deliver(rebuild(source, grid, values, freq, carry=carry, keep=keep))


def carried_columns(carry: Any, source: Source) -> tuple[Any, ...]:
    """The columns that ``carry=`` names; refuse those that a table lacks or that hold numbers."""
    if carry is None or source.table is None or source.roles is None:
        return ()
    names = (carry,) if isinstance(carry, str) else tuple(carry)
    targets = {source.table.labels[i] for i in source.roles.target}
    for name in names:
        if name not in source.table.labels:
            raise no_such_column(name, source.table.labels, "carry")
        if name in targets:
            raise DataError(
                f"carry={name!r} is a column of numbers too. Name the others with target=."
            )
    return names


def _frequency(freq: str | None, panel: Panel) -> str | int | None:
    if panel.stamps is None:
        return None
    if freq is not None:
        check_step(panel.stamps, parse_freq(freq))
        return parse_freq(freq).freqstr
    step = usual_step(panel.stamps, panel.offsets)
    if step is None:
        raise DataError(
            "The frequency cannot be told from one time stamp per series: expected a series of at "
            "least 2 rows. Say it with freq=, such as freq='15min'."
        )
    return step if isinstance(step, int) else step.freqstr
