"""Tables that the command line shows; their text is no markup, see :class:`Terminal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from titans_ts.backtesting import ProtocolResult

__all__ = ["comparison_table", "error_table", "fact_table", "listed", "rows_table", "trials_table"]

# What fits a screen of 80 columns and 24 lines.
SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_ERRORS = 8, 5, 10


def fact_table(facts: Mapping[str, str]) -> Table:
    """One line for each fact that is known."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in facts.items():
        if words:
            table.add_row(name, words)
    return table


def error_table(errors: pd.DataFrame, rows: str) -> Table:
    """Errors of forecasters (columns) by channel (rows), the least of each row in bold.

    Parameters
    ----------
    errors : DataFrame
        As :func:`titans_ts.cli.models.validation_errors` returns it; the first column is ours.
    rows : str
        On which they were made, in words.
    """
    title = f"\nMean absolute error on {rows}, held out for validation"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("")
    for name in errors.columns:
        table.add_column(str(name), justify="right")
    ours, theirs = errors.columns[0], errors.columns[1]
    table.add_column(f"against {theirs}", justify="right")
    for channel, row in errors.head(SHOWN_ERRORS).iterrows():
        cells = [_bold(_number(value), value == row.min()) for value in row]
        change = f"{100 * (row[ours] / row[theirs] - 1):+.0f} %" if row[theirs] else ""
        table.add_row(str(channel), *cells, change)
    if len(errors) > SHOWN_ERRORS:
        table.add_row(f"and {len(errors) - SHOWN_ERRORS} more")
    return table


def comparison_table(result: ProtocolResult) -> Table:
    """One row per forecaster, least errors in bold."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in ("MSE", "MAE", "fit seconds", "windows"):
        table.add_column(name, justify="right")
    rows = result.forecasters
    best_mse = min(row.mse for row in rows.values())
    best_mae = min(row.mae for row in rows.values())
    for name, row in rows.items():
        table.add_row(
            name,
            _bold(f"{row.mse:.4f}", row.mse == best_mse),
            _bold(f"{row.mae:.4f}", row.mae == best_mae),
            f"{row.fit_seconds:.1f}",
            f"{row.n_windows:,}",
        )
    return table


def rows_table(frame: pd.DataFrame, labels: Sequence[str]) -> Table:
    """The first rows and columns of a frame; the columns ``labels``, its first, are no numbers."""
    n_labels = len(labels)
    shown = frame.iloc[:SHOWN_ROWS, : SHOWN_COLUMNS + n_labels]
    table = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(shown.columns):
        first = i < n_labels
        table.add_column(str(name), no_wrap=first, justify="left" if first else "right")
    for row in shown.itertuples(index=False, name=None):
        table.add_row(*map(str, row[:n_labels]), *(_number(value) for value in row[n_labels:]))
    left = [
        f"{count} more {noun}{'s' * (count != 1)}"
        for count, noun in (
            (len(frame) - len(shown), "row"),
            (frame.shape[1] - shown.shape[1], "column"),
        )
        if count
    ]
    if left:
        table.caption = f"{' and '.join(left)}; --out FILE writes all of it."
        table.caption_justify = "left"
    return table


def trials_table(trials: pd.DataFrame) -> Table:
    """The best trials of a search, with what was varied.

    Parameters
    ----------
    trials : DataFrame
        As :meth:`titans_ts.tuning.TitansSearchCV.results_table` returns it.
    """
    shown = trials.head(SHOWN_ERRORS).drop(
        columns=["score_std", "predict_seconds"], errors="ignore"
    )
    table = Table(box=box.SIMPLE_HEAD)
    for name in shown.columns:
        # Of backbone_options__dropout, the last part says enough.
        table.add_column(str(name).rsplit("__", 1)[-1].replace("_", " "), justify="right")
    for i, row in enumerate(shown.itertuples(index=False, name=None)):
        cells = [_cell(value) for value in row]
        table.add_row(*(_bold(cell, i == 0) for cell in cells))
    if len(trials) > len(shown):
        table.caption = f"{len(trials) - len(shown)} more trials; --csv FILE writes all of them."
        table.caption_justify = "left"
    return table


def listed(names: Sequence[str]) -> str:
    """Names with commas between, the first few of many."""
    more = f" and {len(names) - SHOWN_ERRORS} more" if len(names) > SHOWN_ERRORS else ""
    return ", ".join(names[:SHOWN_ERRORS]) + more


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else _number(value)
    return "" if value is None else str(value)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _bold(text: str, best: bool) -> Text:
    return Text(text, style="bold" if best else "")
