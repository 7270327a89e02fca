"""Read the covariate columns of a table whose rows are in order."""

from __future__ import annotations

import numpy as np

from titans_ts.data.columns import stack_columns
from titans_ts.data.covariates import Covariate, CovariateSchema, Role, labels_of, read_covariate
from titans_ts.data.rows import Rows
from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError

__all__ = ["read_covariates", "read_role"]


def read_covariates(
    rows: Rows, schema: CovariateSchema | None
) -> tuple[CovariateSchema, SeriesSet | None, SeriesSet | None, np.ndarray | None]:
    """Read all covariates of a table.

    Parameters
    ----------
    rows : Rows
    schema : CovariateSchema or None
        What they were in ``fit``; None learns it.

    Returns
    -------
    schema : CovariateSchema
    past, known : SeriesSet or None
        Rows as in the targets' set; None where there are no such covariates.
    static : ndarray of shape (n_series, n_static), float64, or None

    Raises
    ------
    DataError
        As :func:`titans_ts.data.covariates.read_covariate`; or a static covariate changes.
    """
    past, past_columns = read_role(rows, "past", rows.roles.past, schema)
    known, known_columns = read_role(rows, "known", rows.roles.known, schema)
    fixed, fixed_columns = read_role(rows, "static", rows.roles.static, schema)
    learnt = CovariateSchema(past, known, fixed)
    return (
        learnt,
        _series_set(rows, past, past_columns),
        _series_set(rows, known, known_columns),
        _static(rows, fixed, fixed_columns),
    )


def read_role(
    rows: Rows, role: Role, positions: tuple[int, ...], schema: CovariateSchema | None
) -> tuple[tuple[Covariate, ...], list[np.ndarray]]:
    """Read the covariates of one role, rows as the table has them; NaN where missing."""
    where = rows.where()
    expected = {} if schema is None else {c.label: c for c in schema.of(role)}
    covariates, columns = [], []
    for i in positions:
        label = rows.table.labels[i]
        covariate, values = read_covariate(
            rows.table.columns[i], label, role, where, expected.get(label)
        )
        covariates.append(covariate)
        columns.append(values)
    return tuple(covariates), columns


def _series_set(
    rows: Rows, covariates: tuple[Covariate, ...], columns: list[np.ndarray]
) -> SeriesSet | None:
    if not covariates:
        return None
    values, observed = stack_columns(columns, rows.order)
    return SeriesSet.from_rows(values, observed, rows.offsets, labels_of(covariates))


def _static(
    rows: Rows, covariates: tuple[Covariate, ...], columns: list[np.ndarray]
) -> np.ndarray | None:
    if not covariates:
        return None
    codes = np.zeros(rows.table.n_rows, dtype=np.int64) if rows.codes is None else rows.codes
    static = np.full((len(rows.offsets) - 1, len(covariates)), np.nan)
    for number, (covariate, values) in enumerate(zip(covariates, columns, strict=True)):
        there = np.flatnonzero(~np.isnan(values))
        # Written backwards, so that the first value of each series is the one that stays.
        static[codes[there[::-1]], number] = values[there[::-1]]
        changed = there[values[there] != static[codes[there], number]]
        if len(changed):
            raise _changes(rows, covariate, values, int(changed[0]), codes)
    return static


def _changes(
    rows: Rows, covariate: Covariate, values: np.ndarray, row: int, codes: np.ndarray
) -> DataError:
    where = rows.where()
    first = int(((codes == codes[row]) & ~np.isnan(values)).argmax())
    column = rows.table.columns[rows.table.labels.index(covariate.label)]
    a, b = column.iloc[[first, row]].tolist()
    return DataError(
        f"The static covariate in column {covariate.label!r} must be the same in all rows of a "
        f"series, got {a!r} in {where(first)} and {b!r} in {where(row)}. Correct it, or name it "
        "in past_covariates= or future_covariates= instead."
    )
