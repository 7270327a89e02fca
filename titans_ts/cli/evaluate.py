"""``titans-ts evaluate``: our model beside the baselines, by the long-horizon protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from titans_ts.backtesting import (
    ETT_SPLITS,
    ProtocolResult,
    Split,
    fraction_split,
    long_horizon_protocol,
)
from titans_ts.base import BaseForecaster
from titans_ts.cli.columns import Columns
from titans_ts.cli.files import check_outputs, write_whole
from titans_ts.cli.models import TITANS, make_forecasters
from titans_ts.cli.sources import read_source
from titans_ts.cli.tables import comparison_table, fact_table, listed
from titans_ts.cli.terminal import Terminal
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_choice, check_int

__all__ = ["choose_split", "compare", "explain", "run"]

# Rows of the four ETT files by frequency, and a set that has the split of such files.
ETT_FILES = {"h": (17_420, "ETTh1"), "15min": (69_680, "ETTm1")}


def run(
    file: Path,
    *,
    horizon: int,
    split: str,
    models: Sequence[str],
    columns: Columns,
    seed: int,
    parameters: dict[str, Any],
    csv: Path | None,
    quiet: bool,
) -> None:
    """Do it; ``parameters`` are further ones of TitansForecaster."""
    check_outputs(file, {"--csv": csv})
    check_int("--horizon", horizon)
    check_choice("--split", split, ("auto", "ett", "fractions"))
    columns.check()
    terminal = Terminal(quiet=quiet)
    source = read_source(file, columns, whole=True)
    layout = source.layout
    forecasters = make_forecasters(
        models,
        {"horizon": horizon, "random_state": seed},
        {**columns.for_titans(source.time_column), **parameters, "verbose": terminal.verbose},
        columns.for_baselines(source.time_column, layout),
    )
    rows, kind = choose_split(split, int(source.series.lengths.min()), layout.freq)
    if layout.long:
        kind += ", of the shortest" if len(set(source.series.lengths.tolist())) > 1 else ""
        kind += "; of each series"
    result = compare(forecasters, source.table, rows, terminal)
    if csv is not None:
        write_whole(csv, result.table().to_csv(lineterminator="\n"))
    terminal.print(
        fact_table(
            {
                "Read": source.words(),
                "Columns": listed(layout.channels),
                "Split": f"{_words(rows)} ({kind})",
                "Written": "" if csv is None else str(csv),
            }
        )
    )
    terminal.print(comparison_table(result))
    terminal.print(explain(result))


def choose_split(split: str, n_rows: int, freq: str | None) -> tuple[Split, str]:
    """Rows of the three periods, and in words where they are from.

    Parameters
    ----------
    split : {"auto", "ett", "fractions"}
        "auto" takes that of the ETT sets for a file with exactly their rows and frequency.
    n_rows : int
    freq : str or None

    Raises
    ------
    ParameterError
        The ETT split does not fit the frequency.

    Examples
    --------
    >>> choose_split("auto", 17_420, "h")[0]
    Split(n_train=8640, n_validation=2880, n_test=2880)
    >>> choose_split("auto", 1000, "h")[0]
    Split(n_train=700, n_validation=100, n_test=200)
    """
    known = ETT_FILES.get(freq or "")
    if split == "ett" and known is None:
        raise ParameterError(
            f"--split ett is for rows every h or 15min, as in the ETT files; these are "
            f"{'every ' + freq if freq else 'without a frequency'}. Leave it out, or give "
            "--split fractions."
        )
    if known is not None and (split == "ett" or (split == "auto" and n_rows == known[0])):
        return ETT_SPLITS[known[1]], "as published for the ETT sets"
    return fraction_split(n_rows), "0.7, 0.1 and 0.2 of the rows"


def compare(
    forecasters: dict[str, BaseForecaster], table: Any, split: Split, terminal: Terminal
) -> ProtocolResult:
    """Fit and judge forecasters, with one progress bar where a person looks on."""
    horizon = next(iter(forecasters.values())).horizon
    if horizon > split.n_test:
        raise ParameterError(
            f"--horizon {horizon} is longer than the {split.n_test} test rows, the last of "
            f"{sum(split):,}. Lower it, or give a file with more rows."
        )
    with terminal.protocol_bar(own_bar=TITANS) as progress:
        return long_horizon_protocol(forecasters, table, **split._asdict(), progress=progress)


def explain(result: ProtocolResult) -> Text:
    """What the numbers of the table mean, in a sentence."""
    n_train, n_validation, n_test = result.split
    n_origins = n_test - result.horizon + 1
    n_series = next(iter(result.forecasters.values())).n_windows // n_origins
    panel = f" of {n_series:,} series" if n_series > 1 else ""
    return Text(
        f"Fitted on the first {n_train + n_validation:,} rows{panel}; {result.horizon} steps "
        f"forecast from each of {n_origins:,} origins in the {n_test:,} rows after them; errors "
        f"on data standardised by the first {n_train:,} rows; less is better.",
        style="dim",
    )


def _words(split: Split) -> str:
    return (
        f"{split.n_train:,} rows for training, {split.n_validation:,} for validation, "
        f"{split.n_test:,} for testing"
    )
