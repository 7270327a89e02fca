"""Layout: what a table looked like, so that a forecast can look the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.data.columns import cast_column
from titans_ts.data.covariates import CovariateSchema
from titans_ts.data.ids import IdColumn
from titans_ts.data.quantile_names import quantile_name
from titans_ts.data.tables import Label, build_table
from titans_ts.data.time_axis import TimeAxis
from titans_ts.data.time_column import lost_in_writing, write_time_column
from titans_ts.errors import DataError, SavedModelError

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Container, columns and time of a table, without its values.

    Parameters
    ----------
    container : str
        ``"numpy2d"``, ``"numpy3d"``, ``"pandas.Series"``, ``"pandas.DataFrame"``,
        ``"polars.Series"`` or ``"polars.DataFrame"``.
    channels : tuple of str
        Names of the columns that are forecast; ``"0"``, ``"1"``... where they have none.
    labels : tuple
        The columns' own labels: text, numbers, or None for a Series without a name.
    dtypes : tuple of str
        Of the forecast's columns: floats keep their dtype, integers become float64.
    named : bool
        Whether every label is a proper name.
    columns_name : str, int, float or None
        What a pandas frame calls its row of column names.
    time : TimeAxis or None
        None for arrays and frames without index and time column.
    time_label : str, int, float or None
        Name of the time column, or else of the index.
    time_position : int or None
        How many columns stand before the time column; None if the index holds the time.
    time_form : str
        How times are written in a time column: as they are (``"index"``), as ``"dates"``, or as
        ``"text:"`` and a strftime format.
    ids : tuple
        Of the series of a long table, in order of first appearance; positions in a 3-D array;
        empty for a wide table.
    id_column : IdColumn or None
        How a long table keeps its ids; None for others.
    covariates : CovariateSchema
        The covariates, whose columns no forecast has.
    """

    container: str
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    dtypes: tuple[str, ...]
    named: bool
    columns_name: Label = None
    time: TimeAxis | None = None
    time_label: Label = None
    time_position: int | None = None
    time_form: str = "index"
    ids: tuple[Label, ...] = ()
    id_column: IdColumn | None = None
    covariates: CovariateSchema = field(default_factory=CovariateSchema)

    @property
    def freq(self) -> str | None:
        """Pandas frequency of the rows; None for arrays and integer labels."""
        return self.time.freq if self.time is not None else None

    @property
    def step(self) -> int | None:
        """How far apart integer labels are; None for arrays and where there are times."""
        return self.time.step if self.time is not None and self.time.kind == "integers" else None

    @property
    def long(self) -> bool:
        """Whether rows of several series stood below one another."""
        return self.id_column is not None

    @property
    def id_label(self) -> Label:
        """Name of the id column or index level; None where there is none."""
        return None if self.id_column is None else self.id_column.label

    def select(self, series: np.ndarray) -> Layout:
        """The layout of the series with these numbers, in this order; only of a long table."""
        numbers = np.asarray(series).tolist()
        time = self.time
        if time is not None:
            time = replace(
                time,
                first=tuple(time.first[i] for i in numbers),
                last=tuple(time.last[i] for i in numbers),
            )
        return replace(self, time=time, ids=tuple(self.ids[i] for i in numbers))

    def positions_of(self, other: Layout, name: str) -> np.ndarray:
        """Find the series of this layout in another table.

        Parameters
        ----------
        other : Layout
        name : str
            What the user calls the other table.

        Returns
        -------
        ndarray of shape (n_series,), int
            ``other`` and its series are in this layout's order after ``select`` of these.

        Raises
        ------
        DataError
            The other table lacks series, or has more.
        """
        found = pd.Index(other.ids, dtype=object).get_indexer(pd.Index(self.ids, dtype=object))
        lacking = [self.ids[i] for i in np.flatnonzero(found < 0)]
        more = sorted(set(range(len(other.ids))) - set(found.tolist()))
        if lacking or more:
            what = "lacks" if lacking else "has, besides those of X,"
            ids = lacking or [other.ids[i] for i in more]
            raise DataError(
                f"{name} {what} {len(ids):,} series: {some(ids)}; expected the same series as in X."
            )
        return found

    def forecast_table(self, forecast: np.ndarray, quantiles: Sequence[float] | None = None) -> Any:
        """Put a forecast into a table like the one that was read.

        Parameters
        ----------
        forecast : ndarray of shape (n_series, horizon, channels)
            Or (n_series, horizon, channels, quantiles) when there are quantiles.
        quantiles : sequence of float, optional

        Returns
        -------
        ndarray, Series or DataFrame
            The same container, column order, dtypes and index name, with the index or time column
            going on after the last row. With quantiles, arrays have one more axis, and tables
            columns such as ``OT_q0.1``: all quantiles of the first column first; ``q0.1`` in a
            long table of one target. A Series becomes a DataFrame then. A long table has the
            horizons of its series below one another, in the order of :attr:`ids`.
        """
        assert forecast.shape[2:] == (len(self.channels), *([len(quantiles)] if quantiles else []))
        with np.errstate(over="ignore"):  # beyond float16, a forecast is infinite
            if self.container.startswith("numpy"):
                cast = forecast.astype(self.dtypes[0], copy=False)
                return cast[0] if self.container == "numpy2d" else cast
            columns = self._columns(forecast.reshape(-1, *forecast.shape[2:]), quantiles)
        frame = bool(quantiles) or self.container.endswith("DataFrame")
        return self.assemble(columns, forecast.shape[1], frame=frame)

    def assemble(
        self, columns: list[tuple[Label, Any]], horizon: int, *, frame: bool = True
    ) -> Any:
        """Put time and ids beside columns that hold the next ``horizon`` rows of every series.

        Parameters
        ----------
        columns : list of (label, values)
            As many for each target; or none.
        horizon : int
        frame : bool, default True
            Whether a frame comes out even if a Series went in.

        Returns
        -------
        Series or DataFrame
        """
        container = self.container.replace("Series", "DataFrame") if frame else self.container
        polars = container.startswith("polars")
        times = len(columns) // len(self.labels)
        index: Any = None
        if self.time is not None:
            index = self._future(horizon)
        ids: Any = None
        if self.id_column is not None:
            rows = np.repeat(np.arange(len(self.ids)), horizon)
            ids = self.id_column.write(self.ids, rows, polars=polars)
        place = None if self.time_position is None else self.time_position * times
        if index is not None and place is not None:
            columns.insert(place, (self.time_label, write_time_column(index, self.time_form)))
            index = None
        elif index is not None:
            index = index.rename(self.time_label)
        if self.id_column is not None and self.id_column.position is not None:
            at = self.id_column.position * times
            if place is not None and (
                place < at or (place == at and not self.id_column.before_time)
            ):
                at += 1
            columns.insert(at, (self.id_label, ids))
        elif self.id_column is not None:
            index = pd.MultiIndex.from_arrays([ids, index], names=[self.id_label, self.time_label])
        return build_table(container, columns, index, self.columns_name)

    def _future(self, horizon: int) -> pd.Index:
        assert self.time is not None
        try:
            index = self.time.future_of_all(horizon) if self.long else self.time.future(horizon)
            if self.time_form == "dates":
                index.date  # type: ignore[attr-defined] # noqa: B018
        except (pd.errors.OutOfBoundsDatetime, ValueError) as error:
            raise DataError(
                f"The {horizon} steps after the last row of X go beyond the times that its index "
                "or time column can hold. Give time stamps in a coarser unit, for example with "
                "as_unit('s'), or lower horizon."
            ) from error
        lost = None if self.time_position is None else lost_in_writing(index, self.time_form)
        if lost is not None:
            what = "days" if self.time_form == "dates" else "text that is too short"
            raise DataError(
                f"The time column {self.time_label!r} holds {what}, in which {lost} cannot be "
                "written. Give its times in full, for example with pandas.to_datetime."
            )
        return index

    def _columns(
        self, forecast: np.ndarray, quantiles: Sequence[float] | None
    ) -> list[tuple[Label, Any]]:
        columns: list[tuple[Label, Any]] = []
        for i, (label, dtype) in enumerate(zip(self.labels, self.dtypes, strict=True)):
            if not quantiles:
                columns.append((label, cast_column(forecast[:, i], dtype)))
                continue
            bare = label in (None, "") or (self.long and len(self.labels) == 1)
            for j, level in enumerate(quantiles):
                name = quantile_name(level, None if bare else str(label))
                columns.append((name, cast_column(forecast[:, i, j], dtype)))
        return columns

    def check_followed_by(self, other: Layout, name: str = "validation") -> None:
        """Raise DataError unless another table starts one step after the end of this one.

        Parameters
        ----------
        other : Layout
        name : str, default "validation"
            What the user calls the other table.

        Notes
        -----
        Arrays carry no time, so for them there is nothing to check.
        """
        if self.time is not None and other.time is not None:
            self.time.check_followed_by(other.time, name, self.ids)

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as values that JSON keeps; :meth:`from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Layout:
        """Undo :meth:`to_dict`, also after a way through JSON.

        Raises
        ------
        SavedModelError
            Something is missing or unknown.
        """
        try:
            values = _with_tuples(saved)
            if values.get("time") is not None:
                values["time"] = TimeAxis(**_with_tuples(values["time"]))
            if values.get("id_column") is not None:
                values["id_column"] = IdColumn(**_with_tuples(values["id_column"]))
            values["covariates"] = CovariateSchema.from_dict(values.get("covariates") or {})
            return cls(**values)
        except (TypeError, AttributeError, KeyError) as error:
            raise SavedModelError(
                f"The saved description of the training table cannot be read: {error}. "
                "It is damaged or from another version; save the model again."
            ) from error


def some(items: Sequence[Any], most: int = 5) -> str:
    """List the first few items, for messages."""
    return ", ".join(map(repr, items[:most])) + (", ..." if len(items) > most else "")


def _with_tuples(saved: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
