"""``--future``: the covariates of the steps to forecast, asked for and checked before the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.cli.sources import Source, open_file
from titans_ts.data.future import read_future
from titans_ts.data.parquet import ParquetFolder
from titans_ts.errors import ParameterError

__all__ = ["check_asked", "check_known", "read_ahead"]

_WHAT = "a CSV file with these columns, and id and time, for the steps to forecast"


def check_asked(future_covariates: Sequence[str] | None, future: Path | None) -> None:
    """Raise ParameterError unless ``--future`` was given just where it is needed."""
    if future_covariates and future is None:
        raise ParameterError(
            f"--future-covariates names {_listed(future_covariates)}, known in advance, but "
            f"--future was not given. Give --future FILE: {_WHAT}; or name them with "
            "--past-covariates."
        )
    if future is not None and not future_covariates:
        raise ParameterError(
            f"--future {future} was given, but no column is known in advance. Name those that are "
            "with --future-covariates, or leave --future out."
        )


def check_known(forecaster: BaseForecaster, folder: Path, future: Path | None) -> None:
    """Do the same for a saved model, which knows its covariates."""
    known = [str(covariate.label) for covariate in forecaster.layout_.covariates.known]
    if known and future is None:
        raise ParameterError(
            f"The model in {folder} needs {_listed(known)} of the steps to forecast. Give --future "
            f"FILE: {_WHAT}."
        )
    if future is not None and not known:
        raise ParameterError(
            f"--future {future} was given, but the model in {folder} has no covariates that are "
            "known in advance. Leave it out."
        )


def read_ahead(
    future: Path | None, source: Source, forecaster: BaseForecaster
) -> pd.DataFrame | None:
    """Read the file of ``--future``, and check that no step and no series is missing.

    Parameters
    ----------
    future : Path or None
    source : Source
        What is continued.
    forecaster : BaseForecaster
        Fitted or not: only its parameters are looked at.

    Returns
    -------
    DataFrame or None
        For ``predict``.
    """
    if future is None:
        return None
    layout = source.layout
    frame, _ = open_file(
        future,
        time_column=None if layout.time_label is None else str(layout.time_label),
        id_column=None if layout.id_label is None else str(layout.id_label),
        whole=True,
        schema=layout.covariates,
    )
    assert not isinstance(frame, ParquetFolder)
    rows = int(source.series.lengths[0])
    counted = isinstance(source.table, pd.DataFrame) and isinstance(
        source.table.index, pd.RangeIndex
    )
    if counted and not layout.long and isinstance(frame.index, pd.RangeIndex):
        # Neither file has a time: rows are counted on.
        frame.index = pd.RangeIndex(rows, rows + len(frame))
    read_future(
        frame,
        layout,
        forecaster.horizon,
        time_column=forecaster.time_column,
        id_column=forecaster.id_column,
        future_covariates=forecaster.future_covariates,
    )
    return frame


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
