"""The commands and their options. What they do is in modules that are loaded only then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from titans_ts.cli import datasets
from titans_ts.cli import options as opt
from titans_ts.cli.plugins import PluginGroup
from titans_ts.cli.terminal import in_plain_words

__all__ = ["app"]

app = typer.Typer(
    name="titans-ts",
    cls=PluginGroup,
    help="Forecast time series with a model that keeps learning while it predicts.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(datasets.app, name="datasets")


def _show_version(wanted: bool) -> None:
    if wanted:
        from titans_ts import __version__

        typer.echo(f"titans-ts {__version__}")
        raise typer.Exit


@app.callback()
def titans_ts(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and leave.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Forecast time series with a model that keeps learning while it predicts."""


@app.command()
@in_plain_words
def forecast(
    file: opt.File,
    target: opt.Target = None,
    horizon: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Steps to forecast. Default: the forecaster's."),
    ] = None,
    quantiles: Annotated[
        str | None,
        typer.Option(metavar="0.1,0.9", help="Quantiles to forecast too, as fractions."),
    ] = None,
    time_column: opt.TimeColumn = None,
    id_column: opt.IdColumn = None,
    freq: opt.Freq = None,
    past_covariates: opt.PastCovariates = None,
    future_covariates: opt.FutureCovariates = None,
    future: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with the covariates known in advance, for the steps to forecast.",
            rich_help_panel=opt.COVARIATES,
        ),
    ] = None,
    static_covariates: opt.StaticCovariates = None,
    calendar: opt.Calendar = False,
    holidays: opt.Holidays = None,
    context_length: opt.ContextLength = None,
    variant: opt.Variant = None,
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    model_in: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Use the model saved here; nothing is fitted.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    model_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Save the fitted model here.", rich_help_panel=opt.MODEL
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="CSV",
            help="Write the forecast here. Default: the first rows are shown.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="PICTURE",
            help="Draw the forecast here: .png, .svg, .pdf ...",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="No tables and no progress bar; without --out, the forecast as CSV.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = False,
) -> None:
    """Fit a model to a file and forecast what follows the last row of each of its series."""
    from titans_ts.cli.columns import Columns
    from titans_ts.cli.forecast import Request, run

    parameters = opt.given(
        context_length=context_length,
        variant=variant,
        max_epochs=max_epochs,
        random_state=seed,
        accelerator=accelerator if model_in is None else None,
    )
    run(
        Request(
            file=file,
            future=future,
            horizon=horizon,
            quantiles=opt.parse_quantiles(quantiles),
            columns=Columns(
                time_column=time_column,
                id_column=id_column,
                freq=freq,
                target=target or None,
                past_covariates=past_covariates or None,
                future_covariates=future_covariates or None,
                static_covariates=static_covariates or None,
                calendar=calendar,
                holidays=holidays,
            ),
            parameters=parameters,
            model_in=model_in,
            device=None if model_in is None else opt.device_of(accelerator),
            model_out=model_out,
            out=out,
            plot=plot,
            quiet=quiet,
        )
    )


@app.command()
@in_plain_words
def evaluate(
    file: opt.File,
    target: opt.Target = None,
    horizon: Annotated[int, typer.Option(metavar="STEPS", help="Steps to forecast.")] = 96,
    split: Annotated[
        str,
        typer.Option(
            metavar="auto|ett|fractions",
            help="Rows for training, validation and testing: those that publications use for the "
            "ETT sets, or 0.7, 0.1 and 0.2 of all. auto: ett for a file with the rows of one.",
        ),
    ] = "auto",
    models: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Forecasters to compare, with commas between."),
    ] = "seasonal-naive,ridge,linear,titans",
    time_column: opt.TimeColumn = None,
    id_column: opt.IdColumn = None,
    freq: opt.Freq = None,
    past_covariates: opt.PastCovariates = None,
    future_covariates: opt.FutureCovariates = None,
    static_covariates: opt.StaticCovariates = None,
    calendar: opt.Calendar = False,
    holidays: opt.Holidays = None,
    context_length: opt.ContextLength = None,
    variant: opt.Variant = None,
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Write the table here too.", rich_help_panel=opt.OUTPUT),
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Compare our model with the baselines on the last rows of a file.

    The long-horizon protocol: every forecaster learns from the rows before the test period and
    forecasts from every row in it. Covariates and options of the model are for ours; baselines
    read no covariates and keep their own. Parquet files are read into memory.
    """
    from titans_ts.cli.columns import Columns
    from titans_ts.cli.evaluate import run

    run(
        file,
        horizon=horizon,
        split=split,
        models=models.split(","),
        columns=Columns(
            time_column=time_column,
            id_column=id_column,
            freq=freq,
            target=target or None,
            past_covariates=past_covariates or None,
            future_covariates=future_covariates or None,
            static_covariates=static_covariates or None,
            calendar=calendar,
            holidays=holidays,
        ),
        seed=0 if seed is None else seed,
        parameters=opt.given(
            context_length=context_length,
            variant=variant,
            max_epochs=max_epochs,
            accelerator=accelerator,
        ),
        csv=csv,
        quiet=quiet,
    )


@app.command()
@in_plain_words
def tune(
    file: opt.File,
    target: opt.Target = None,
    horizon: Annotated[int, typer.Option(metavar="STEPS", help="Steps to forecast.")] = 96,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Where workers meet: a journal file that ends in .log or .journal, or the URL of "
            "a database. Default: memory, for one worker.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = None,
    study: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The search in the storage: made, or joined and gone on with.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = "titans-ts",
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Trials of the study, over all its workers and sessions; 0: any number.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = 20,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="When this worker stops to search, and leaves the rest to others.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = None,
    splits: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Folds by time; together they test the last fifth of the rows.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = 1,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is compared: mae, mse, rmse, wape, smape, mase, pinball or wql.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = "mae",
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Parameters to search, with commas between. Default: all that usually matter.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = None,
    ensemble: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many candidates the saved model is made of: the best, and the defaults. It "
            "forecasts their mean.",
            rich_help_panel=opt.SEARCH,
        ),
    ] = 1,
    time_column: opt.TimeColumn = None,
    id_column: opt.IdColumn = None,
    freq: opt.Freq = None,
    past_covariates: opt.PastCovariates = None,
    future_covariates: opt.FutureCovariates = None,
    static_covariates: opt.StaticCovariates = None,
    calendar: opt.Calendar = False,
    holidays: opt.Holidays = None,
    variant: opt.Variant = None,
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Fit the best model to all rows, and save it here.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Write all trials here.", rich_help_panel=opt.OUTPUT),
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Search the parameters of our model for a file, alone or as one of many workers.

    The same command on any machine that reaches the storage is one more worker: all of them share
    the study's trials, and run those of workers that were killed. Started again, a search goes on.
    Parquet files are read into memory.
    """
    from titans_ts.cli.columns import Columns
    from titans_ts.cli.tune import Request, run

    run(
        Request(
            file=file,
            horizon=horizon,
            columns=Columns(
                time_column=time_column,
                id_column=id_column,
                freq=freq,
                target=target or None,
                past_covariates=past_covariates or None,
                future_covariates=future_covariates or None,
                static_covariates=static_covariates or None,
                calendar=calendar,
                holidays=holidays,
            ),
            parameters=opt.given(variant=variant, max_epochs=max_epochs, accelerator=accelerator),
            storage=storage,
            study=study,
            trials=trials or None,
            timeout=timeout,
            splits=splits,
            metric=metric,
            vary=None if vary is None else [name.strip() for name in vary.split(",")],
            ensemble=ensemble,
            seed=0 if seed is None else seed,
            out=out,
            csv=csv,
            quiet=quiet,
        )
    )


@app.command()
@in_plain_words
def demo(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="CSV file to use instead of the simulated transformer station.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where forecast.csv and forecast.png go.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = Path("demo-output"),
    target: opt.Target = None,
    horizon: Annotated[int, typer.Option(metavar="STEPS", help="Steps to forecast.")] = 96,
    time_column: opt.TimeColumn = None,
    freq: opt.Freq = None,
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Fit, compare and forecast in a minute or two, on data that come with the package.

    Three months of a simulated transformer station, a row every quarter of an hour: our model and
    the baselines learn from the first four fifths and are judged on the last one.
    """
    from titans_ts.cli.columns import Columns
    from titans_ts.cli.demo import run

    run(
        file,
        out=out,
        horizon=horizon,
        columns=Columns(time_column=time_column, freq=freq, target=target or None),
        seed=0 if seed is None else seed,
        parameters=opt.given(max_epochs=max_epochs, accelerator=accelerator),
        quiet=quiet,
    )


@app.command()
@in_plain_words
def heads(
    context: typer.Context,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="The names of those that work.", rich_help_panel=opt.OUTPUT
        ),
    ] = False,
) -> None:
    """List the heads that installed packages bring, and what is wrong with one that is broken."""
    from titans_ts.cli.heads import run

    run(taken=set(getattr(context.parent.command, "commands", {})), quiet=quiet)  # type: ignore[union-attr]
