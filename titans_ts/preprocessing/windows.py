"""WindowTransformer: a table of series as the rows of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from titans_ts.errors import DataError
from titans_ts.parameters import check_int
from titans_ts.preprocessing.base import TableTransformer
from titans_ts.preprocessing.panel import Panel

__all__ = ["WindowTransformer"]


class WindowTransformer(TableTransformer):
    """Cut series into windows, one flat row for each, for any scikit-learn regressor.

    :meth:`split` gives a regressor its X and y: contexts of ``context_length`` rows, and the
    ``horizon`` rows that follow each after ``gap`` rows. :meth:`transform` gives all contexts, also
    those at the end of a series with nothing behind them.

    A flat row holds the window's rows one after another, each with its channels. Windows of one
    series are *views*: they share the memory of a C-contiguous float64 array, so a million of them
    cost nothing, and can therefore not be written to. Windows of several series are copies, and so
    are those of a frame or of other numbers than float64, whose values are copied first.

    Parameters
    ----------
    context_length : int, default 24
        Rows of a context.
    horizon : int, default 1
        Rows of a target.
    stride : int, default 1
        Rows from one window of a series to the next.
    gap : int, default 0
        Rows between context and target that belong to neither.
    id_column, time_column, target : str, optional
        As in :class:`SeriesScaler`. Rows must be one step of time apart.

    Attributes
    ----------
    names_ : tuple of str
        The channels.
    lengths_ : ndarray of shape (n_series,)
        Rows of each series in ``fit``; :meth:`inverse_transform` gives as many.

    Examples
    --------
    Forecast the next two hours with ridge regression:

    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from titans_ts.preprocessing import WindowTransformer
    >>> load = np.sin(np.arange(100.0) * 2 * np.pi / 24)[:, None]
    >>> windows = WindowTransformer(context_length=24, horizon=2)
    >>> contexts, targets = windows.fit(load).split(load)
    >>> contexts.shape, targets.shape, np.shares_memory(contexts, load)
    ((75, 24), (75, 2), True)
    >>> model = Ridge(alpha=1e-3).fit(contexts, targets)
    >>> model.predict(windows.transform(load)[-1:]).round(2)
    array([[0.87, 0.97]])
    >>> windows.get_feature_names_out()[-2:].tolist()
    ['x0_t-1', 'x0_t-0']
    """

    def __init__(
        self,
        *,
        context_length: int = 24,
        horizon: int = 1,
        stride: int = 1,
        gap: int = 0,
        id_column: str | None = None,
        time_column: str | None = None,
        target: str | Sequence[str] | None = None,
    ) -> None:
        self.context_length = context_length
        self.horizon = horizon
        self.stride = stride
        self.gap = gap
        self.id_column = id_column
        self.time_column = time_column
        self.target = target

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    def _check_parameters(self) -> None:
        check_int("context_length", self.context_length)
        check_int("horizon", self.horizon)
        check_int("stride", self.stride)
        check_int("gap", self.gap, minimum=0)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Note the channels and the lengths of the series.

        Parameters
        ----------
        X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
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
            The table cannot be used, or its rows are not one step of time apart.
        """
        self._check_parameters()
        panel = self._panel(X, fit=True)
        self.names_ = panel.names
        self.lengths_ = panel.lengths
        return self

    def transform(self, X: Any) -> Any:
        """Cut every context.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        ndarray of shape (n_windows, context_length * channels), float64
            Series by series, oldest first; a view of X where X is one C-contiguous float64 series.
            A frame after ``set_output``.

        Raises
        ------
        DataError
            No series is as long as the context.
        """
        check_is_fitted(self)
        return self._deliver(self._cut(self._panel(X), 0, self.context_length, 0))

    def split(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Cut contexts and the targets that belong to them.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        contexts : ndarray of shape (n_windows, context_length * channels), float64
        targets : ndarray of shape (n_windows, horizon * channels), float64
            Both are views where :meth:`transform` gives one.

        Raises
        ------
        DataError
            No series is as long as context, gap and horizon.
        """
        check_is_fitted(self)
        panel = self._panel(X)
        behind = self.gap + self.horizon
        contexts = self._cut(panel, 0, self.context_length, behind)
        targets = self._cut(panel, self.context_length + self.gap, self.horizon, 0)
        return contexts, targets

    def inverse_transform(self, windows: Any) -> np.ndarray:
        """Rebuild series from their contexts.

        Parameters
        ----------
        windows : array of shape (n_windows, context_length * channels)
            As :meth:`transform` returns them for the table given to ``fit``. Changed ones, such as
            smoothed ones, are averaged where they overlap.

        Returns
        -------
        ndarray of shape (rows, channels)
            The series one after another. NaN where no context reaches: rows at the end of a series
            that ``stride`` leaves out, and series shorter than a context. Where all windows over a
            row say the same, it is that, exactly.

        Raises
        ------
        DataError
            There are more or fewer windows, or longer or shorter ones, than those of ``fit``.
        """
        check_is_fitted(self)
        given = np.asarray(windows, dtype=np.float64)
        channels, length = len(self.names_), self.context_length
        counts = _counts(self.lengths_, length, self.stride)
        expected = (int(counts.sum()), length * channels)
        if given.shape != expected:
            raise DataError(
                f"Expected windows of shape {expected}, as transform returns for the table given "
                f"to fit, got {given.shape}. Fit on the table that the windows are from."
            )
        offsets = np.concatenate([[0], np.cumsum(self.lengths_)])
        first = np.concatenate([[0], np.cumsum(counts)])[:-1]
        # The row of each window's first row.
        starts = np.repeat(offsets[:-1], counts)
        starts += (np.arange(len(given)) - np.repeat(first, counts)) * self.stride
        given = given.reshape(len(given), length, channels)
        base = np.full((int(offsets[-1]), channels), np.nan)
        excess = np.zeros_like(base)
        count = np.zeros((len(base), 1))
        for step in range(length):  # windows start at distinct rows, so no row comes twice
            rows = starts + step
            new = count[rows] == 0
            base[rows] = np.where(new, given[:, step], base[rows])
            # Differences to the first: equal values average to themselves, without a rounding.
            excess[rows] += given[:, step] - base[rows]
            count[rows] += 1
        return base + excess / np.maximum(count, 1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names such as ``OT_t-3``: the value of OT three rows before the last of the context.

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
        if self.channels_ is not None:
            names = names[self.channels_]
        steps = range(self.context_length - 1, -1, -1)
        return np.array([f"{name}_t-{step}" for step in steps for name in names], dtype=object)

    def _panel(self, X: Any, *, fit: bool = False) -> Panel:
        panel, source = self._open(X, fit=fit)
        panel.check_regular()
        if fit:
            roles = source.roles
            self.channels_ = None if roles is None else np.array(roles.target, dtype=np.int64)
        return panel

    def _cut(self, panel: Panel, skip: int, length: int, behind: int) -> np.ndarray:
        """Windows of ``length`` rows, the first after ``skip`` rows, each with ``behind`` more."""
        needed = skip + length + behind
        if panel.lengths.max() < needed:
            raise DataError(
                f"No window fits: the longest series has {panel.lengths.max()} rows "
                f"(n_samples={panel.lengths.max()}), and a window needs {needed}. Give more rows, "
                "or lower context_length."
            )
        channels = panel.values.shape[1]
        parts = []
        for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
            if stop - start >= needed:
                flat = panel.values[start + skip : stop - behind].reshape(-1)
                windows = np.lib.stride_tricks.sliding_window_view(flat, length * channels)
                parts.append(windows[:: self.stride * channels])
        if len(parts) == 1:
            return parts[0]
        joined = np.concatenate(parts)
        joined.flags.writeable = False
        return joined


def _counts(lengths: np.ndarray, needed: int, stride: int) -> np.ndarray:
    """How many windows each series has."""
    return np.maximum((lengths - needed) // stride + 1, 0)
