"""Options that several commands share, with their help."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from titans_ts.errors import ParameterError

__all__ = [
    "Accelerator",
    "BatchSize",
    "Calendar",
    "ChunkSize",
    "ContextLength",
    "Depth",
    "Dim",
    "File",
    "Freq",
    "FutureCovariates",
    "Heads",
    "Holidays",
    "IdColumn",
    "LearningRate",
    "MaxEpochs",
    "MemoryDepth",
    "PastCovariates",
    "Patience",
    "Quiet",
    "Seed",
    "SegmentLength",
    "StaticCovariates",
    "Target",
    "TimeColumn",
    "ValidationFraction",
    "Variant",
    "VariantChoice",
    "device_of",
    "given",
    "parse_quantiles",
]

COVARIATES, MODEL, OUTPUT, SEARCH = "Covariates", "The model", "Output", "The search"


class VariantChoice(StrEnum):
    """Names of :data:`titans_ts.config.VARIANTS`, in the form that typer wants."""

    mac = "mac"
    mag = "mag"
    mal = "mal"
    lmm = "lmm"


class AcceleratorChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV file, plain or gzip; or a Parquet file, or a folder of them. One row per time "
        "step, for one series or, with a column of ids, for several.",
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="COLUMN",
        help="Column to forecast; give it several times for several. Default: all.",
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column that holds the time. Default: found by itself."),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column that tells series apart. Default: unique_id or item_id, where there is one.",
    ),
]
Freq = Annotated[
    str | None,
    typer.Option(metavar="FREQ", help="Spacing of rows, such as 15min, h, D. Default: inferred."),
]
PastCovariates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Column that helps to forecast, known up to now; give it several times for several.",
        rich_help_panel=COVARIATES,
    ),
]
FutureCovariates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="The same, but known in advance too: a plan, a price, a weather forecast.",
        rich_help_panel=COVARIATES,
    ),
]
StaticCovariates = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="The same, with one value in all rows of a series.",
        rich_help_panel=COVARIATES,
    ),
]
Calendar = Annotated[
    bool,
    typer.Option(
        "--calendar",
        help="Tell our model hour, weekday and so on, as the spacing of rows suggests.",
        rich_help_panel=COVARIATES,
    ),
]
Holidays = Annotated[
    str | None,
    typer.Option(
        metavar="COUNTRY",
        help="With --calendar: tell it the public holidays too, of DE, US-NY ...",
        rich_help_panel=COVARIATES,
    ),
]
ContextLength = Annotated[
    int | None,
    typer.Option(
        metavar="ROWS",
        help="Rows that are read before forecasting. Default: the forecaster's.",
        rich_help_panel=MODEL,
    ),
]
Variant = Annotated[
    VariantChoice | None,
    typer.Option(
        help="Memory as context, as gate, as layer, or alone. Default: the model's.",
        rich_help_panel=MODEL,
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(metavar="N", help="Width of a token.", rich_help_panel=MODEL),
]
Depth = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of blocks.", rich_help_panel=MODEL),
]
Heads = Annotated[
    int | None,
    typer.Option(
        "--n-heads",
        metavar="N",
        help="Heads of attention and memory; twice as many divide --dim.",
        rich_help_panel=MODEL,
    ),
]
MemoryDepth = Annotated[
    int | None,
    typer.Option(metavar="N", help="Layers of the memory's network.", rich_help_panel=MODEL),
]
ChunkSize = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens whose surprise is measured at the same memory.",
        rich_help_panel=MODEL,
    ),
]
SegmentLength = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens that attention sees at once, as mac's segment or half of a window.",
        rich_help_panel=MODEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Sequences that are read at a time in training.", rich_help_panel=MODEL
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(metavar="RATE", help="Of training, at its peak.", rich_help_panel=MODEL),
]
ValidationFraction = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Part of the data that learning is judged on, where no other is named for it.",
        rich_help_panel=MODEL,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Epochs without a better validation loss before training stops.",
        rich_help_panel=MODEL,
    ),
]
MaxEpochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Passes over the data at most. Default: the model's.",
        rich_help_panel=MODEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=2**32 - 1,
        help="Makes training repeatable. Default: 0.",
        rich_help_panel=MODEL,
    ),
]
Accelerator = Annotated[
    AcceleratorChoice | None,
    typer.Option(help="Where to compute. Default: a GPU if any.", rich_help_panel=MODEL),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No tables and no progress bar.", rich_help_panel=OUTPUT),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the others keep the forecaster's own defaults."""
    return {
        name: str(value) if isinstance(value, StrEnum) else value
        for name, value in options.items()
        if value is not None and value != []
    }


def device_of(accelerator: AcceleratorChoice | None) -> str | None:
    """The torch device of a saved model; None where the model may choose."""
    if accelerator is None or accelerator is AcceleratorChoice.auto:
        return None
    if accelerator is AcceleratorChoice.cpu:
        return "cpu"
    from titans_ts.training import uses_cuda

    if not uses_cuda(accelerator):
        raise ParameterError(
            "--accelerator gpu needs a CUDA GPU, and torch finds none here. Give --accelerator "
            "cpu, or leave it out."
        )
    return "cuda"


def parse_quantiles(text: str | None) -> tuple[float, ...] | None:
    """Read fractions such as ``0.1,0.5,0.9``."""
    if text is None:
        return None
    from titans_ts.parameters import check_quantiles

    try:
        levels: Sequence[float] | str = [float(part) for part in text.split(",")]
    except ValueError:
        raise ParameterError(
            f"--quantiles must be fractions with commas between, such as 0.1,0.5,0.9; got {text!r}."
        ) from None
    return check_quantiles("--quantiles", levels)
