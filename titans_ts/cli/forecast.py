"""``titans-ts forecast``: fit or load a model, forecast, and write what was asked for."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from titans_ts.base import BaseForecaster
from titans_ts.baselines import SeasonalNaiveForecaster
from titans_ts.cli.files import check_outputs, csv_text, write_picture, write_whole
from titans_ts.cli.models import make_titans, point_and_quantiles, validation_errors
from titans_ts.cli.tables import error_table, fact_table, listed, rows_table, span
from titans_ts.cli.terminal import Terminal
from titans_ts.data.csv import read_csv
from titans_ts.data.schema import Layout, read_table
from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int
from titans_ts.persistence import check_save_path

__all__ = ["Request", "run"]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    file: Path
    horizon: int | None
    quantiles: tuple[float, ...] | None
    time_column: str | None
    freq: str | None
    target: list[str] | None
    parameters: dict[str, Any]  # further ones of TitansForecaster, those that were given
    model_in: Path | None
    model_out: Path | None
    out: Path | None
    plot: Path | None
    quiet: bool


@dataclass(frozen=True)
class Model:
    """A fitted forecaster, and what is known of it."""

    forecaster: BaseForecaster
    words: str
    n_validation: int = 0
    errors: pd.DataFrame | None = None  # on those rows, beside the seasonal naive's


def run(request: Request) -> None:
    """Do it; nothing is written before everything is computed."""
    terminal = Terminal(quiet=request.quiet)
    _check(request)
    model = None if request.model_in is None else _load(request, request.model_in)
    frame = read_csv(request.file, time_column=request.time_column)
    series, layout = read_table(
        frame,
        freq=request.freq if model is None else model.forecaster.freq_,
        target=request.target if model is None else model.forecaster.target,
    )
    if model is None:
        model = _fit(request, frame, series, terminal)
    forecast = point_and_quantiles(model.forecaster, frame, request.quantiles)
    forecast = forecast.iloc[: request.horizon]
    written = _write(request, model, frame, forecast)
    _show(terminal, request, model, frame, layout, forecast, written)


def _check(request: Request) -> None:
    """Refuse at once what would otherwise fail after minutes of work."""
    check_outputs(request.file, {"--out": request.out, "--plot": request.plot})
    if request.plot is not None:
        from titans_ts.plotting import check_picture_path

        check_picture_path(request.plot)
    check_int("--horizon", request.horizon, optional=True)
    if request.model_out is not None:
        check_save_path(request.model_out)
    if request.model_in is None:
        return
    of_fit = {
        "target": request.target,
        "freq": request.freq,
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
    forecaster: BaseForecaster = BaseForecaster.load(folder)
    if request.horizon is not None and request.horizon > forecaster.horizon:
        raise ParameterError(
            f"--horizon {request.horizon} is more than the {forecaster.horizon} steps that the "
            f"model in {folder} forecasts. Ask for fewer, or fit one for more."
        )
    return Model(forecaster, f"{_words(forecaster)}, from {folder}")


def _fit(request: Request, frame: pd.DataFrame, series: SeriesSet, terminal: Terminal) -> Model:
    common: dict[str, Any] = {"freq": request.freq, "target": request.target}
    own = {"random_state": 0, **common, **request.parameters}
    if request.horizon is not None:
        own["horizon"] = request.horizon
    forecaster = make_titans(quantiles=request.quantiles, verbose=terminal.verbose, **own)
    # Said here, so that the baseline is judged on the very same rows.
    n_validation = int(series.lengths[0] * forecaster.validation_fraction)
    n_validation = n_validation if n_validation >= forecaster.horizon else 0
    start = time.perf_counter()
    with terminal.training():
        forecaster.fit(frame, validation=n_validation)
    seconds = time.perf_counter() - start
    words = f"{_words(forecaster)}; {_epochs(forecaster)}fitted in {seconds:.1f} s"
    if not n_validation:
        return Model(forecaster, words)
    naive = SeasonalNaiveForecaster(horizon=forecaster.horizon, **common)
    try:
        naive.fit(frame, validation=n_validation)
    except DataError:  # too short for a season, though not for the model
        return Model(forecaster, words)
    beside = {"Titans": forecaster, "seasonal naive": naive}
    errors = validation_errors(beside, series, n_validation)
    return Model(forecaster, words, n_validation, errors)


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
    request: Request, model: Model, frame: pd.DataFrame, forecast: pd.DataFrame
) -> list[str]:
    picture = None
    if request.plot is not None:
        from titans_ts.plotting import forecast_figure

        picture = forecast_figure(frame, forecast)
    written = []
    if request.model_out is not None:
        model.forecaster.save(request.model_out)
        written.append(str(request.model_out))
    if request.out is not None:
        write_whole(request.out, csv_text(forecast))
        written.append(str(request.out))
    if request.plot is not None:
        write_picture(request.plot, picture)
        written.append(str(request.plot))
    return written


def _show(
    terminal: Terminal,
    request: Request,
    model: Model,
    frame: pd.DataFrame,
    layout: Layout,
    forecast: pd.DataFrame,
    written: list[str],
) -> None:
    step = f" every {layout.freq}" if layout.freq else ""
    terminal.print(
        fact_table(
            {
                "Read": f"{request.file}: {len(frame):,} rows{step}, {span(frame)}",
                "Model": model.words,
                "Forecast": f"{listed(layout.channels)}: {len(forecast)} steps, {span(forecast)}",
                "Written": ", ".join(written),
            }
        )
    )
    if model.errors is not None:
        terminal.print(error_table(model.errors, model.n_validation))
    if request.out is None and request.quiet:
        sys.stdout.write(csv_text(forecast))
    elif request.out is None:
        terminal.print(rows_table(forecast))
