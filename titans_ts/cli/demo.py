"""``titans-ts demo``: the whole way, from a table to a judged forecast and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from titans_ts.backtesting import fraction_split
from titans_ts.cli.columns import Columns
from titans_ts.cli.evaluate import compare, explain
from titans_ts.cli.files import (
    check_folder,
    check_outputs,
    csv_text,
    made_folder,
    write_picture,
    write_whole,
)
from titans_ts.cli.models import MODELS, TITANS, make_forecasters, point_and_quantiles
from titans_ts.cli.sources import read_source, span, written_form
from titans_ts.cli.tables import comparison_table, fact_table, listed
from titans_ts.cli.terminal import Terminal
from titans_ts.data.schema import Layout, read_table
from titans_ts.datasets import make_transformer_station
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_int

__all__ = ["STATION_ROWS", "run"]

#: Quarter hours in the simulated table: 90 days, so that a laptop is done in a minute or two.
STATION_ROWS = 90 * 96
QUANTILES = (0.1, 0.5, 0.9)
# Half of the station's columns are drawn: active loads, and the oil temperature.
STATION_PICTURE = ["HUFL", "MUFL", "LUFL", "OT"]


def run(
    file: Path | None,
    *,
    out: Path,
    horizon: int,
    columns: Columns,
    seed: int,
    parameters: dict[str, Any],
    quiet: bool,
) -> None:
    """Do it; ``parameters`` are further ones of TitansForecaster."""
    terminal = Terminal(quiet=quiet)
    table, picture = out / "forecast.csv", out / "forecast.png"
    check_int("--horizon", horizon)
    check_folder("--out", out)
    if out.is_dir():
        for path in (table, picture):
            check_outputs(file, {"--out": path})
    frame, time_column, layout, words = _read(file, columns)
    common = {"horizon": horizon, "random_state": seed}
    own = {**columns.for_titans(time_column), **parameters}
    own |= {"quantiles": QUANTILES, "verbose": terminal.verbose}
    baselines = columns.for_baselines(time_column, layout)
    forecasters = make_forecasters(list(MODELS), common, own, baselines)
    split = fraction_split(len(frame))
    terminal.print(
        fact_table(
            {
                "Data": words,
                "Columns": listed(layout.channels),
            }
        )
    )
    result = compare(forecasters, frame, split, terminal)
    terminal.print(comparison_table(result))
    terminal.print(explain(result))

    known, came = frame.iloc[:-horizon], frame.iloc[-horizon:]
    forecast = point_and_quantiles(forecasters[TITANS], known, layout, QUANTILES)
    drawn = columns.target or (STATION_PICTURE if file is None else None)
    figure = _draw(known, forecast, came, drawn, time_column)
    with made_folder(out):
        write_whole(table, csv_text(written_form(forecast, layout)[0]))
        write_picture(picture, figure)
    terminal.print(
        fact_table(
            {
                "Written": f"{table}: the last {horizon} rows, as forecast from those before them",
                " ": f"{picture}: the same, beside what came",
            }
        )
    )


def _read(file: Path | None, columns: Columns) -> tuple[pd.DataFrame, str | None, Layout, str]:
    """The table, the column of time that forecasters are to be told, layout, and all in words."""
    if file is None:
        frame = make_transformer_station(STATION_ROWS)
        _, layout = read_table(frame, **columns.for_table(None))
        step = f"{len(frame):,} rows every {layout.freq}{span(layout)}"
        return frame, None, layout, f"a simulated transformer station: {step}"
    source = read_source(file, columns, whole=True)
    if source.layout.long:
        raise ParameterError(
            f"demo shows one series, but {file} has {len(source.layout.ids):,}, told apart by "
            f"{source.layout.id_label!r}. Use titans-ts forecast or evaluate, which take several."
        )
    assert isinstance(source.table, pd.DataFrame)
    return source.table, source.time_column, source.layout, source.words()


def _draw(
    known: pd.DataFrame,
    forecast: pd.DataFrame,
    came: pd.DataFrame,
    channels: list[str] | None,
    time_column: str | None,
) -> Any:
    from titans_ts.plotting import forecast_figure

    return forecast_figure(known, forecast, actual=came, channels=channels, time_column=time_column)
