"""What a Dask frame says of itself before a row is read: its roles, and the table to come."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from dask.dataframe.utils import meta_nonempty

from titans_ts.base import BaseForecaster
from titans_ts.data.frequency import parse_freq, regular_stamps
from titans_ts.data.ids import ID_NAMES
from titans_ts.data.time_column import is_time_name
from titans_ts.errors import DataError

__all__ = ["make_plan", "with_id_column"]


def with_id_column(frame: Any, forecaster: BaseForecaster, name: str = "X") -> tuple[Any, str]:
    """Find the column of ids as ``predict`` does; in the index too, where ``set_index`` puts it.

    Parameters
    ----------
    frame : dask DataFrame
        A long table.
    forecaster : BaseForecaster
    name : str, default "X"
        What the user calls the table.

    Returns
    -------
    frame : dask DataFrame
        With the ids in a column.
    id_column : str

    Raises
    ------
    DataError
        There is none, or columns share a name.
    """
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(
            f"{name} has several columns named {twice[0]!r}, expected distinct names. Rename or "
            "drop all but one."
        )
    wanted = ID_NAMES if forecaster.id_column is None else (forecaster.id_column,)
    if frame.index.name in wanted:
        return frame.reset_index(), frame.index.name
    found = [column for column in wanted if column in frame.columns]
    if not found:
        raise DataError(
            f"{name} has no column {' or '.join(map(repr, wanted))} that tells its series apart; "
            f"its columns are {', '.join(map(repr, frame.columns))}. Rename the one that does: a "
            "panel is a long table of id, time and values."
        )
    return frame, found[0]


class Plan(NamedTuple):
    """What is known before a row is read."""

    meta: pd.DataFrame  # the forecast, without rows
    columns: list[str]  # of X, those that are read
    future: list[str] | None  # of the table of future covariates


def make_plan(
    forecaster: BaseForecaster,
    meta: pd.DataFrame,
    id_column: str,
    quantiles: tuple[float, ...] | None,
    future: pd.DataFrame | None,
) -> Plan:
    """Hold the columns of a table against those of ``fit``, and tell what comes of it.

    Parameters
    ----------
    forecaster : BaseForecaster
    meta : DataFrame
        Columns and dtypes of the long table to continue.
    id_column : str
    quantiles : tuple of float or None
    future : DataFrame or None
        Columns and dtypes of the table of future covariates.

    Raises
    ------
    DataError
        The columns are not those of ``fit``.
    """
    row = _one_row(forecaster, meta, id_column)
    try:
        series, layout = forecaster._read_like_fit(row, part=True)
    except DataError as error:
        if _lacks_only_a_frequency(forecaster, row):
            raise DataError(
                f"The model was fitted on rows without time stamps, and X has some: the "
                f"{type(forecaster).__name__} does not know how far apart rows are, and partitions "
                "may not guess it each for itself. Fit on stamped rows, or an array with freq= of "
                "their frequency, such as freq='h', and save the model again."
            ) from None
        raise DataError(f"The columns of X do not fit the model, tried on a row: {error}") from None
    known = [covariate.label for covariate in layout.covariates.known]
    if series.known is None or future is None:
        forecaster._with_future(forecaster._last_rows(series), layout, future)
    else:
        _check_known(known, future)
    shape = (1, forecaster.horizon, len(layout.channels))
    if quantiles:
        shape = (*shape, len(quantiles))  # type: ignore[assignment]
    table: pd.DataFrame = layout.forecast_table(np.zeros(shape), quantiles)
    if layout.time_label in meta.columns and meta[layout.time_label].dtype == object:
        # Text or dates: only the rows can tell.
        table = table.astype({layout.time_label: object})
    schema, keys = layout.covariates, [layout.id_label, layout.time_label]
    others = [c.label for c in (*schema.past, *schema.known, *schema.static)]
    return Plan(
        table.iloc[:0],
        [label for label in meta.columns if label in {*keys, *layout.labels, *others}],
        None if future is None else _read_of_future(future, [*keys, *known]),
    )


def _lacks_only_a_frequency(forecaster: BaseForecaster, row: pd.DataFrame) -> bool:
    if forecaster.freq_ is not None or forecaster.freq is not None:
        return False
    try:
        forecaster._read(row, "D", forecaster.layout_.covariates, part=True)
    except DataError:
        return False
    return True


def _read_of_future(future: pd.DataFrame, labels: list[Any]) -> list[str]:
    # Its time may be called otherwise than that of X.
    if any(label not in future.columns for label in labels):
        return list(future.columns)
    return [label for label in future.columns if label in labels]


def _check_known(labels: list[Any], future: pd.DataFrame) -> None:
    """Raise DataError now where every partition would."""
    lacking = [label for label in labels if label not in future.columns]
    if lacking:
        raise DataError(
            f"future has no column {', '.join(map(repr, lacking))}, named in future_covariates; "
            f"its columns are {', '.join(map(repr, future.columns))}."
        )


def _one_row(forecaster: BaseForecaster, meta: pd.DataFrame, id_column: str) -> pd.DataFrame:
    """A row with values that reading does not refuse."""
    row = meta_nonempty(meta).iloc[:1].copy()
    if row[id_column].dtype == object:  # Dask does not know of what, and puts a bare object
        row[id_column] = pd.Series(["a"], row.index, dtype=object)
    schema = forecaster.layout_.covariates
    for covariate in (*schema.past, *schema.known, *schema.static):
        if covariate.label in row.columns:
            row[covariate.label] = pd.Series([None], row.index, dtype=object)
    for label in row.columns:
        dtype = row[label].dtype
        text = isinstance(dtype, pd.StringDtype) or pd.api.types.is_object_dtype(dtype)
        if text and (label == forecaster.time_column or is_time_name(label)):
            day = _on_frequency(forecaster, pd.Timestamp("2000-01-01"))
            row[label] = pd.Series([str(day)], row.index, dtype=dtype)
        elif dtype.kind == "M":
            row[label] = pd.Series(
                [_on_frequency(forecaster, row[label].iloc[0])], row.index, dtype=dtype
            )
    return row


def _on_frequency(forecaster: BaseForecaster, stamp: pd.Timestamp) -> pd.Timestamp:
    """A stamp that a series of the forecaster may have: a month's end, a Tuesday."""
    if forecaster.freq_ is None:
        return stamp
    return regular_stamps(stamp, 1, parse_freq(forecaster.freq_))[0]
