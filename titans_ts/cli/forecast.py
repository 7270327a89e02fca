"""``titans-ts forecast``: fit or load a model, forecast, and write what was asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.baselines import SeasonalNaiveForecaster
from titans_ts.cli.columns import Columns
from titans_ts.cli.files import check_outputs, csv_text, write_picture, write_whole
from titans_ts.cli.future import check_asked, check_known, read_ahead
from titans_ts.cli.models import make_titans, point_and_quantiles, validation_errors
from titans_ts.cli.sources import Source, is_parquet, open_file, read_source, span, written_form
from titans_ts.cli.tables import error_table, fact_table, listed, rows_table
from titans_ts.cli.terminal import Terminal
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int
from titans_ts.persistence import check_save_path

__all__ = ["Request", "run"]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    file: Path
    future: Path | None
    horizon: int | None
    quantiles: tuple[float, ...] | None
    columns: Columns
    parameters: dict[str, Any]  # further ones of TitansForecaster, those that were given
    model_in: Path | None
    device: str | None  # where such a model computes
    model_out: Path | None
    out: Path | None
    plot: Path | None
    quiet: bool


@dataclass(frozen=True)
class Model:
    """A fitted forecaster, and what is known of it."""

    forecaster: BaseForecaster
    words: str
    judged: str = ""  # the rows set aside for validation, in words
    errors: pd.DataFrame | None = None  # on those rows, beside the seasonal naive's


def run(request: Request) -> None:
    """Do it; nothing is written before everything is computed."""
    terminal = Terminal(quiet=request.quiet)
    _check(request)
    if request.model_in is not None:
        model = _load(request, request.model_in)
        source = _read_for(model.forecaster, request)
        future = read_ahead(request.future, source, model.forecaster)
    else:
        source = read_source(request.file, request.columns)
        forecaster = _make(request, source, terminal)
        future = read_ahead(request.future, source, forecaster)
        model = _fit(request, source, forecaster, terminal)
    forecast = point_and_quantiles(
        model.forecaster, source.table, source.layout, request.quantiles, future
    )
    horizon = request.horizon or model.forecaster.horizon
    # The same first steps of every series.
    forecast = forecast[np.arange(len(forecast)) % model.forecaster.horizon < horizon]
    table, labels = written_form(forecast, source.layout)
    written = _write(request, model, source, forecast, table)
    _show(terminal, request, model, source, table, labels, horizon, written)


def _check(request: Request) -> None:
    """Refuse at once what would otherwise fail after minutes of work."""
    check_outputs(
        request.file,
        {"--out": request.out, "--plot": request.plot},
        others={
            "--future": request.future,
            "--model-in": request.model_in,
            "--model-out": request.model_out,
        },
    )
    if request.plot is not None:
        from titans_ts.plotting import check_picture_path

        check_picture_path(request.plot)
        if is_parquet(request.file):
            raise ParameterError(
                f"--plot draws what was known, but the rows of {request.file} stay on disk. Leave "
                "it out, or give a CSV file."
            )
    check_int("--horizon", request.horizon, optional=True)
    if request.model_out is not None:
        check_save_path(request.model_out)
    request.columns.check()
    if request.model_in is None:
        check_asked(request.columns.future_covariates, request.future)
        return
    of_fit = {
        **request.columns.of_fit(),
        **request.parameters,
        "model_out": request.model_out,
    }
    for name, value in of_fit.items():
        if value is not None:
            option = "--" + {"random_state": "seed"}.get(name, name).replace("_", "-")
            raise ParameterError(
                f"{option} is for fitting a model, but --model-in {request.model_in} is fitted "
                "already. Leave one of the two out."
            )


def _load(request: Request, folder: Path) -> Model:
    forecaster: BaseForecaster = BaseForecaster.load(folder, device=request.device)
    if request.horizon is not None and request.horizon > forecaster.horizon:
        raise ParameterError(
            f"--horizon {request.horizon} is more than the {forecaster.horizon} steps that the "
            f"model in {folder} forecasts. Ask for fewer, or fit one for more."
        )
    check_known(forecaster, folder, request.future)
    return Model(forecaster, f"{_words(forecaster)}, from {folder}")


def _read_for(forecaster: BaseForecaster, request: Request) -> Source:
    """Read the file as the forecaster was told to when it was fitted."""
    table, time_column = open_file(
        request.file,
        time_column=request.columns.time_column or forecaster.time_column,
        id_column=forecaster.id_column,
        schema=forecaster.layout_.covariates,
    )
    if request.columns.time_column is not None:
        # This file may call its time otherwise.
        for each in _members(forecaster):
            each.time_column = time_column
    series, layout = forecaster._read_like_fit(table)
    return Source(request.file, table, time_column, series, layout)


def _members(forecaster: Any) -> Iterator[Any]:
    """A forecaster itself; of an ensemble, which has no parameters of its own, its members."""
    members = getattr(forecaster, "forecasters", None)
    if members is None:
        yield forecaster
    for _, member in members or ():
        yield from _members(member)


def _make(request: Request, source: Source, terminal: Terminal) -> BaseForecaster:
    own = {
        "random_state": 0,
        **request.columns.for_titans(source.time_column),
        **request.parameters,
    }
    if request.horizon is not None:
        own["horizon"] = request.horizon
    return make_titans(quantiles=request.quantiles, verbose=terminal.verbose, **own)


def _fit(request: Request, source: Source, forecaster: BaseForecaster, terminal: Terminal) -> Model:
    start = time.perf_counter()
    with terminal.training():
        forecaster.fit(source.table)
    seconds = time.perf_counter() - start
    words = f"{_words(forecaster)}; {_epochs(forecaster)}fitted in {seconds:.1f} s"
    # As fit sets them aside.
    n_validation = (source.series.lengths * forecaster.validation_fraction).astype(np.int64)
    n_validation = np.where(n_validation >= forecaster.horizon, n_validation, 0)
    if not n_validation.any():
        return Model(forecaster, words)
    naive = SeasonalNaiveForecaster(
        horizon=forecaster.horizon,
        validation_fraction=forecaster.validation_fraction,
        **request.columns.for_baselines(source.time_column, source.layout),
    )
    try:
        naive.fit(source.table)
    except DataError:  # too short for a season, though not for the model
        return Model(forecaster, words)
    beside = {"Titans": forecaster, "seasonal naive": naive}
    errors = validation_errors(beside, source.table, n_validation)
    judged = f"the last {n_validation[0]:,} rows"
    if source.layout.long:
        share = f"{100 * forecaster.validation_fraction:g} %"
        judged = f"the last {share} of the rows of each series"
    return Model(forecaster, words, judged, errors)


def _words(forecaster: BaseForecaster) -> str:
    variant = getattr(forecaster, "variant", None)
    name = type(forecaster).__name__ + (f" ({variant})" if variant else "")
    return f"{name}, reading {forecaster.context_length_:,} rows"


def _epochs(forecaster: BaseForecaster) -> str:
    best = getattr(forecaster, "best_epoch_", None)
    if best is None:
        return ""
    return f"epoch {best + 1} of {len(forecaster.history_)} kept; "


def _write(
    request: Request, model: Model, source: Source, forecast: pd.DataFrame, table: pd.DataFrame
) -> list[str]:
    picture, drawn = None, ""
    if request.plot is not None:
        picture, drawn = _draw(source, forecast)
    written = []
    if request.model_out is not None:
        model.forecaster.save(request.model_out)
        written.append(str(request.model_out))
    if request.out is not None:
        write_whole(request.out, csv_text(table))
        written.append(str(request.out))
    if request.plot is not None:
        write_picture(request.plot, picture)
        written.append(f"{request.plot}{drawn}")
    return written


def _draw(source: Source, forecast: pd.DataFrame) -> tuple[Any, str]:
    """Draw the forecast; of several series the first few, which are named in words."""
    from titans_ts.plotting import MAX_PANELS, forecast_figure

    layout = source.layout
    if not layout.long:
        return forecast_figure(source.table, forecast), ""
    ids = list(layout.ids[: max(MAX_PANELS // len(layout.channels), 1)])
    figure = forecast_figure(
        source.table,
        forecast,
        series=ids,
        channels=list(layout.channels[:MAX_PANELS]),
        id_column=str(layout.id_label),
        time_column=str(layout.time_label),
    )
    rest = f", the first of {len(layout.ids):,}" if len(ids) < len(layout.ids) else ""
    return figure, f" (of {', '.join(map(str, ids))}{rest})"


def _show(
    terminal: Terminal,
    request: Request,
    model: Model,
    source: Source,
    table: pd.DataFrame,
    labels: list[str],
    horizon: int,
    written: list[str],
) -> None:
    layout = source.layout
    each = " of each series" if layout.long else ""
    steps = f"{horizon} steps{each}{span(layout, horizon)}"
    terminal.print(
        fact_table(
            {
                "Read": source.words(),
                "Model": model.words,
                "Forecast": f"{listed(layout.channels)}: {steps}",
                "Written": ", ".join(written),
            }
        )
    )
    if model.errors is not None:
        terminal.print(error_table(model.errors, model.judged))
    if request.out is None and request.quiet:
        sys.stdout.write(csv_text(table))
    elif request.out is None:
        terminal.print(rows_table(table, labels))
