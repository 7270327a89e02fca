"""CalendarFeatures: hour, day, week and year of each row as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted, validate_data

from titans_ts.data.calendar import HOLIDAY, calendar_names, calendar_values, check_holidays
from titans_ts.data.roles import find_roles
from titans_ts.data.tables import Table, open_table
from titans_ts.data.time_axis import labels_of
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_choice
from titans_ts.preprocessing.base import TableTransformer
from titans_ts.preprocessing.grid import usual_step
from titans_ts.preprocessing.source import open_panel, read_ids_of, read_stamps

__all__ = ["CalendarFeatures"]


class CalendarFeatures(TableTransformer):
    """Add what the calendar says of each row: sine and cosine of hour, day, week and year.

    Pairs such as ``hour_of_day_sin`` and ``hour_of_day_cos``, chosen by how far apart rows are:
    hourly rows get the hour of the day, the day of the week and the day of the year. Rows, index
    and other columns are kept. A table without time stamps, such as an array, comes out as it is.

    A forecaster of this package adds them by itself with ``calendar=True``.

    Parameters
    ----------
    features : "auto", str or sequence of str, default "auto"
        Some of ``second_of_minute``, ``minute_of_hour``, ``hour_of_day``, ``day_of_week``,
        ``day_of_month``, ``day_of_year``, ``week_of_year``, ``month_of_year``.
    tz : str, optional
        The time zone in which hours and days are counted. Default: that of the table in ``fit``.
    holidays : str, optional
        A country (``"DE"``) or part of one (``"DE-BY"``) in the codes of ISO 3166: adds a column
        ``holiday``, 1 on public holidays. Needs the package ``holidays``, installed with
        ``pip install "titans-ts[holidays]"``.
    append : bool, default True
        Whether the table's own columns stay in front of the features.
    id_column, time_column : str, optional
        As in :class:`SeriesScaler`.

    Attributes
    ----------
    names_ : tuple of str
        The features; none where the table has no time stamps.
    tz_ : str or None
        The time zone in which they are counted.

    Examples
    --------
    >>> import pandas as pd
    >>> from titans_ts.preprocessing import CalendarFeatures
    >>> index = pd.date_range("2024-01-01", periods=3, freq="6h")
    >>> frame = pd.DataFrame({"load": [3.0, 1.0, 4.0]}, index=index)
    >>> CalendarFeatures(features="hour_of_day").fit_transform(frame).round(3)
                         load  hour_of_day_sin  hour_of_day_cos
    2024-01-01 00:00:00   3.0              0.0              1.0
    2024-01-01 06:00:00   1.0              1.0              0.0
    2024-01-01 12:00:00   4.0              0.0             -1.0
    """

    target = None

    def __init__(
        self,
        *,
        features: str | Sequence[str] = "auto",
        tz: str | None = None,
        holidays: str | None = None,
        append: bool = True,
        id_column: str | None = None,
        time_column: str | None = None,
    ) -> None:
        self.features = features
        self.tz = tz
        self.holidays = holidays
        self.append = append
        self.id_column = id_column
        self.time_column = time_column

    def _check_parameters(self) -> None:
        calendar_names(None, self.features)
        check_holidays(self.holidays)
        check_choice("append", self.append, (True, False))
        if self.tz is not None:
            try:
                pd.Timestamp(0, tz=self.tz)
            except (LookupError, ValueError, TypeError, OSError) as error:
                raise ParameterError(
                    f"tz must be a time zone such as 'Europe/Berlin', got {self.tz!r}."
                ) from error

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose the features by the table's frequency.

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
            The table's time cannot be read, or its frequency cannot be told.
        """
        self._check_parameters()
        table, stamps = self._read(X, fit=True)
        if stamps is None:
            self.names_: tuple[str, ...] = ()
            self.tz_: str | None = None
            return self
        freq = None if self.features != "auto" else self._frequency(table, stamps)
        names = calendar_names(freq, self.features)
        own = None if isinstance(stamps, pd.PeriodIndex) or stamps.tz is None else str(stamps.tz)
        tz = own if self.tz is None else self.tz
        # Says whether stamps and zone go together.
        calendar_values(stamps[:1], names, tz=tz)
        self.names_ = (*names, HOLIDAY) if self.holidays is not None else names
        # Which column is which must not hang on what set_params does after fit.
        self._holidays = self.holidays
        self.tz_ = tz
        return self

    def transform(self, X: Any) -> Any:
        """Add the features.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        array, Series or DataFrame
            A Series becomes a frame. With ``append=False`` only the features, with the index.
        """
        check_is_fitted(self)
        table, stamps = self._read(X)
        if stamps is None and self.names_:
            raise DataError(
                "X has no time stamps, but CalendarFeatures was fitted on a table that has. Give a "
                "DatetimeIndex or a time column, as in fit."
            )
        if table is None:
            return self._deliver(np.asarray(X))
        if stamps is None or not self.names_:
            return self._deliver(X)
        names = self.names_ if self._holidays is None else self.names_[:-1]
        values = calendar_values(stamps, names, tz=self.tz_, holidays=self._holidays)
        taken = [name for name in self.names_ if self.append and name in table.labels]
        if taken:
            raise DataError(
                f"X has a column {taken[0]!r} already. Rename it, or leave the feature out with "
                "features=."
            )
        return self._deliver(self._add(X, table, values))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that come out.

        Parameters
        ----------
        input_features : array of str, optional
            As in scikit-learn.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        own = super().get_feature_names_out(input_features)
        if not self.append and self.names_:
            own = own[:0]
        return np.concatenate([own, np.array(self.names_, dtype=object)])

    def _read(
        self, X: Any, *, fit: bool = False
    ) -> tuple[Table | None, pd.DatetimeIndex | pd.PeriodIndex | None]:
        """The table and the time of its rows, as it has them; None where it has none."""
        table = open_table(X)
        if table is None:
            panel, _ = open_panel(X)
            validate_data(self, panel.values, reset=fit, skip_check_array=True)
            return None, None
        validate_data(self, X.to_frame() if table.single else X, reset=fit, skip_check_array=True)
        if not table.n_rows:
            raise DataError("X has no rows, expected some.")
        stamps, _ = read_stamps(table, self._roles(table))
        if not isinstance(stamps, (pd.DatetimeIndex, pd.PeriodIndex)):
            return table, None
        return table, stamps

    def _roles(self, table: Table) -> Any:
        return find_roles(
            table, time_column=self.time_column, id_column=self.id_column, targets=False
        )

    def _frequency(self, table: Table | None, stamps: pd.Index) -> str:
        assert table is not None
        codes, ids = read_ids_of(table, self._roles(table))
        order = np.lexsort((labels_of(stamps), codes))
        offsets = np.searchsorted(codes[order], np.arange(len(ids) + 1))
        step = usual_step(stamps[order], offsets)
        if step is None or isinstance(step, int):
            raise DataError(
                "Calendar features cannot be chosen for one time stamp per series: expected a "
                "series of at least 2 rows. Name them, such as features=['hour_of_day']."
            )
        return step.freqstr

    def _add(self, X: Any, table: Table, values: np.ndarray) -> Any:
        columns: dict[str, np.ndarray] = dict(zip(self.names_, values.T, strict=True))
        if table.polars:
            new = {k: nw.new_series(k, v, backend="polars") for k, v in columns.items()}
            if not self.append:
                return nw.from_dict(new).to_native()
            frame = nw.from_native(X.to_frame() if table.single else X, eager_only=True)
            return frame.with_columns(*new.values()).to_native()
        features = pd.DataFrame(columns, index=X.index)
        if not self.append:
            return features
        return pd.concat([X, features], axis=1).rename_axis(columns=table.columns_name)
