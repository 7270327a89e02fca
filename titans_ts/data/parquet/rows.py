"""Write the rows of Parquet files to row files, series by series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from titans_ts.data.columns import column_words, refuse_unseen
from titans_ts.data.covariates import Covariate, CovariateSchema, Role, read_covariate
from titans_ts.data.layout import Layout
from titans_ts.data.parquet.files import ParquetFiles
from titans_ts.data.parquet.head import Columns
from titans_ts.data.parquet.row_file import RowFileWriter
from titans_ts.data.parquet.scan import Census, Grouped, RowScan
from titans_ts.data.parquet.time import Clock, Steps
from titans_ts.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ROLES", "Written", "is_text", "learn_covariates", "write_rows"]

#: What row files there can be.
ROLES = ("target", "past", "known")


class Written(NamedTuple):
    """What row files do not hold."""

    dtypes: dict[str, str]  # of each row file, by role
    static: np.ndarray | None  # (n_series, n_static), float64; NaN where missing


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds categories."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return any(test(kind) for test in tests)


def _row_dtype(kinds: Sequence[pa.DataType]) -> str:
    """The dtype of a row file: float32 where it holds every value of these types exactly."""
    return "<f4" if all(_fits_float32(kind) for kind in kinds) else "<f8"


def _fits_float32(kind: pa.DataType) -> bool:
    import pyarrow as pa

    exact = (pa.float16(), pa.float32(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16())
    return kind in (*exact, pa.bool_(), pa.null()) or is_text(kind)


def learn_covariates(
    files: ParquetFiles,
    columns: Columns,
    categories: Mapping[str, pa.Array],
    schema: CovariateSchema | None,
) -> CovariateSchema:
    """Tell what the covariates are, and hold them against what they were in ``fit``.

    Parameters
    ----------
    files, columns
    categories : mapping
        The distinct values of every covariate of text.
    schema : CovariateSchema or None
        What they were in ``fit``; None learns it.

    Raises
    ------
    DataError
        As :func:`titans_ts.data.covariates.read_covariate`.
    """
    roles: tuple[Role, ...] = ("past", "known", "static")
    learnt: dict[str, tuple[Covariate, ...]] = {}
    for role in roles:
        expected = {} if schema is None else {c.label: c for c in schema.of(role)}
        found = []
        for name in getattr(columns, role):
            label = columns.labels[name]
            values = _example(files, columns, categories, name)
            found.append(read_covariate(values, label, role, _somewhere, expected.get(label))[0])
        learnt[role] = tuple(found)
    return CovariateSchema(**learnt)


def _somewhere(row: int) -> str:
    return "the Parquet files"


def _example(
    files: ParquetFiles, columns: Columns, categories: Mapping[str, pa.Array], name: str
) -> pd.Series:
    """Values that say what a column holds; all there are of text."""
    import pyarrow as pa

    kind = files.schema.field(name).type
    if name in categories:
        values = categories[name].to_pandas()
        # Of numbers, too, which would be numbers if they were not told to be categories.
        dtype = "category" if columns.is_category(name) else object
        return pd.Series(values, dtype=dtype)
    if pa.types.is_boolean(kind):
        return pd.Series([False])
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pd.Series([0.0])
    return columns.head[columns.labels[name]]


def write_rows(
    folder: Path,
    files: ParquetFiles,
    columns: Columns,
    clock: Clock,
    census: Census,
    steps: Steps | None,
    layout: Layout,
    *,
    later: bool = False,
) -> Written:
    """Write one file for each role that has columns.

    Parameters
    ----------
    folder : Path
        Gets ``target.rows``, ``past.rows``, ``known.rows``.
    files, columns, clock, census
    steps : Steps or None
        None where there is no time to check.
    layout : Layout
        With frequency and covariates.
    later : bool, default False
        Whether these are rows after those of ``fit``: not every target needs values then.

    Raises
    ------
    DataError
        A row is not where its series' frequency wants one; a value is infinite; a target has no
        values; a static covariate changes.
    """
    dtypes, writers = {}, {}
    for role in ROLES:
        names = getattr(columns, role)
        if names:
            dtypes[role] = _row_dtype([files.schema.field(name).type for name in names])
            path = folder / f"{role}.rows"
            writers[role] = RowFileWriter(path, dtypes[role], files.n_rows, len(names))
    offsets = np.cumsum(census.counts) - census.counts
    covariates = vars(layout.covariates)
    static = np.full((census.n_series, len(columns.static)), np.nan) if columns.static else None
    seen = np.zeros(len(columns.target), dtype=bool)
    scan = RowScan(files, columns.ids, clock)
    for group in scan.groups((*columns.target, *columns.covariates)):
        if steps is not None:
            _check_steps(group, steps, scan, layout.freq)
        rows = offsets[group.series] + group.places
        for role, writer in writers.items():
            block = np.empty((len(rows), writer.shape[1]), dtype=writer.dtype)
            for i, name in enumerate(getattr(columns, role)):
                known = covariates[role][i] if role != "target" else None
                block[:, i] = _values(group, name, known, scan)
            if role == "target":
                seen |= ~np.isnan(block).all(axis=0)
            writer.put(rows, block)
        for i, name in enumerate(columns.static):
            assert static is not None
            values = _values(group, name, covariates["static"][i], scan)
            _keep_static(static[:, i], values, group, name, scan)
    refuse_unseen(seen, files.n_rows, column_words(columns.target), later=later)
    return Written(dtypes, static)


def _values(group: Grouped, name: str, known: Covariate | None, scan: RowScan) -> np.ndarray:
    """A column as float64, NaN where missing."""
    import pyarrow as pa

    column = group.take(name)
    if known is not None and known.kind == "categorical":
        return _codes(column, known)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_float16(column.type):  # which pyarrow casts to nothing before version 16
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    else:
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    infinite = np.isinf(values)
    if infinite.any():
        row = group.first_in_file(infinite)
        raise DataError(
            f"Column {name!r} has an infinite value (inf) in {_where(group, row, scan)}, expected "
            "finite numbers. Correct it, or set it missing."
        )
    return values


def _codes(column: pa.Array, known: Covariate) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    categories = pa.array(known.categories).cast(column.type)
    codes = pc.index_in(column, value_set=categories, skip_nulls=True)
    return codes.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _keep_static(
    kept: np.ndarray, values: np.ndarray, group: Grouped, name: str, scan: RowScan
) -> None:
    """Keep the first value of each series, and refuse another one."""
    there = np.flatnonzero(~np.isnan(values))
    series = group.series[there]
    new = np.isnan(kept[series])
    # Written backwards, so that the first value of each series is the one that stays.
    kept[series[new][::-1]] = values[there[new]][::-1]
    changed = values[there] != kept[series]
    if changed.any():
        wrong = np.zeros(len(values), dtype=bool)
        wrong[there[changed]] = True
        row = group.first_in_file(wrong)
        raise DataError(
            f"The static covariate in column {name!r} must be the same in all rows of a series, "
            f"got {group.take(name)[row].as_py()!r} in {_where(group, row, scan)} and another "
            "value before. Correct it, or name it in past_covariates= or future_covariates= "
            "instead."
        )


def _check_steps(group: Grouped, steps: Steps, scan: RowScan, freq: str | None) -> None:
    expected = steps.expected(group.series, group.places)
    wrong = expected != group.stamps
    if not wrong.any():
        return
    row = group.first_in_file(wrong)
    who, show = scan.name(int(group.series[row])), scan.clock.show
    stamp, file = show(int(group.stamps[row])), group.batch.path.name
    every = f"one row every {freq}" if freq is not None else f"a step of {steps.span}"
    if not group.places[row]:
        raise DataError(
            f"{who} starts at {stamp} in {file}, which is not on the frequency {freq} of the "
            "longest series; expected one frequency for all. Resample it, or say the right one "
            "with freq=."
        )
    raise DataError(
        f"{who} has a gap or is irregular: {stamp} in {file} follows "
        f"{show(int(group.previous[row]))}, expected {every}. Insert the missing rows with empty "
        "values (FillGaps() does it for a frame) and write the files again, or say the right "
        "frequency with freq=."
    )


def _where(group: Grouped, row: int, scan: RowScan) -> str:
    who = scan.name(int(group.series[row]))
    at = f" at {scan.clock.show(int(group.stamps[row]))}" if scan.clock.name else ""
    return f"{who[0].lower()}{who[1:]}{at} ({group.batch.path.name})"
