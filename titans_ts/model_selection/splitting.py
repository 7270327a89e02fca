"""RollingOriginSplit: folds that train on the past and test on what came next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from titans_ts.data.parquet import ParquetFolder
from titans_ts.data.roles import find_roles
from titans_ts.data.rows import open_rows
from titans_ts.data.tables import Label, open_table
from titans_ts.data.time_axis import labels_of
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_choice, check_int

__all__ = ["RollingOriginSplit"]


class RollingOriginSplit(BaseCrossValidator):
    """Cut a table by time: each fold trains on rows before its test rows, and on no others.

    A splitter for ``cv=`` of :class:`~sklearn.model_selection.GridSearchCV`,
    :func:`~sklearn.model_selection.cross_validate` and their like. The last fold tests the last
    ``horizon`` rows, the one before it those ``stride`` rows earlier, and so on. A long table is
    cut at the same times for all its series, whatever the order of its rows.

    A forecaster needs rows to forecast from, so a test fold begins with context: its last
    ``horizon`` rows are what is tested, and rows that are known by then stand before them. Most
    of these are training rows as well; none of the tested rows is.

    Parameters
    ----------
    n_splits : int, default 5
        Number of folds.
    horizon : int
        Rows tested in each fold, at least the horizon of the forecaster. More of them test it
        from several origins in each fold.
    context_length : int, optional
        Rows of context before the tested rows of each fold; as many as the forecaster's
        ``context_length_`` make its own ``score`` work. Default: the ``gap`` and one row before
        it, from which :func:`forecast_scorer` sees where the fold belongs; it takes longer
        contexts from what the forecaster kept in ``fit``. In a table without time whose values
        repeat, only as many as the forecaster kept show that.
    gap : int, default 0
        Rows between the last training row and the first tested row.
    stride : int, optional
        Rows between the first tested rows of neighbouring folds. Default: ``horizon``, so that
        no row is tested twice.
    window : {"expanding", "sliding"}, default "expanding"
        Whether a fold trains on all rows before it, or each on equally many.
    train_length : int, optional
        Rows to train on in each fold of a sliding window. Default: as many as the first fold has.
    id_column, time_column : str, optional
        Columns of a long table. Default: recognised, as forecasters do.

    See Also
    --------
    forecast_scorer : What to compare on these folds.

    Notes
    -----
    In a long table, rows are counted in time stamps: all that occur in it, sorted. Series of
    unequal length have fewer rows in some folds, or none.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import RollingOriginSplit
    >>> splitter = RollingOriginSplit(n_splits=2, horizon=3, context_length=2)
    >>> for train, test in splitter.split(np.zeros((11, 1))):
    ...     print(train, test)
    [0 1 2 3 4] [3 4 5 6 7]
    [0 1 2 3 4 5 6 7] [ 6  7  8  9 10]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        horizon: int,
        context_length: int | None = None,
        gap: int = 0,
        stride: int | None = None,
        window: str = "expanding",
        train_length: int | None = None,
        id_column: Label = None,
        time_column: Label = None,
    ) -> None:
        self.n_splits = n_splits
        self.horizon = horizon
        self.context_length = context_length
        self.gap = gap
        self.stride = stride
        self.window = window
        self.train_length = train_length
        self.id_column = id_column
        self.time_column = time_column
        # At once, as scikit-learn's splitters do: they have no fit.
        self._check_parameters()

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored.
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows of each fold.

        Parameters
        ----------
        X : array of shape (time, channels), Series or DataFrame
            Wide or long, as for a forecaster. Rows of arrays and wide tables are oldest first.
        y, groups : object
            Ignored.

        Yields
        ------
        train : ndarray of int
            Row positions, increasing.
        test : ndarray of int
            Row positions, increasing: context, then what is tested.

        Raises
        ------
        DataError
            X has too few rows, or cannot be cut by time.
        """
        self._check_parameters()
        steps, n_steps = self._steps(X)
        stride = self.horizon if self.stride is None else self.stride
        # The tested rows of the first fold start here.
        first = n_steps - self.horizon - (self.n_splits - 1) * stride
        context = self.gap + 1 if self.context_length is None else self.context_length
        before = max(context, self.gap + (self.train_length or 1))
        if first < before:
            raise DataError(
                f"Too few rows for {self.n_splits} folds: X has {n_steps}, and "
                f"{before + n_steps - first} are needed: {before} before the first tested row "
                f"(context_length={self.context_length}, gap={self.gap}, "
                f"train_length={self.train_length}), then {n_steps - first} to test (horizon="
                f"{self.horizon}, stride={stride}). Give more rows, or lower one of these."
            )
        length = first - self.gap if self.train_length is None else self.train_length
        for start in range(first, n_steps - self.horizon + 1, stride):
            end = start - self.gap
            begin = end - length if self.window == "sliding" else 0
            if steps is None:
                yield np.arange(begin, end), np.arange(start - context, start + self.horizon)
                continue
            yield (
                np.flatnonzero((begin <= steps) & (steps < end)),
                np.flatnonzero((start - context <= steps) & (steps < start + self.horizon)),
            )

    def _check_parameters(self) -> None:
        check_int("n_splits", self.n_splits)
        check_int("horizon", self.horizon)
        check_int("context_length", self.context_length, minimum=0, optional=True)
        check_int("gap", self.gap, minimum=0)
        check_int("stride", self.stride, optional=True)
        check_choice("window", self.window, ("expanding", "sliding"))
        check_int("train_length", self.train_length, optional=True)
        if self.window == "expanding" and self.train_length is not None:
            raise ParameterError(
                f"train_length={self.train_length} needs window='sliding': an expanding window "
                "trains on all rows before the gap."
            )

    def _steps(self, X: Any) -> tuple[np.ndarray | None, int]:
        """Number the time of each row, and count the times; None where rows are in order."""
        table = None if isinstance(X, ParquetFolder) else open_table(X)
        if table is not None:
            roles = find_roles(
                table, time_column=self.time_column, id_column=self.id_column, targets=False
            )
            if not roles.long:
                return None, table.n_rows
            rows = open_rows(table, roles)
            assert rows.index is not None  # a long table without time is refused
            times, steps = np.unique(labels_of(rows.index), return_inverse=True)
            return steps, len(times)
        shape: tuple[int, ...] = () if isinstance(X, ParquetFolder) else np.shape(X)
        if len(shape) == 3:
            raise DataError(
                f"X has the shape {shape} (series, time, channels), which scikit-learn cuts along "
                "its first axis: across series, not by time. Give a long table with columns for "
                "id and time, or one series of shape (time, channels)."
            )
        if len(shape) not in (1, 2):
            raise DataError(
                f"X is a {type(X).__name__} that cannot be cut into folds, expected an array of "
                "shape (time, channels), or a Series or DataFrame."
            )
        return None, shape[0]
