"""``titans-ts datasets``: what the catalogue holds, what is known of a set, and its download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from titans_ts.cli import options as opt
from titans_ts.cli.terminal import Terminal, in_plain_words

if TYPE_CHECKING:
    from titans_ts.datasets.download import Progress
    from titans_ts.datasets.manifest import CatalogueEntry

__all__ = ["app"]

app = typer.Typer(
    help="Show and download published data sets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataHome = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where downloads are kept. Default: a folder among the caches."
    ),
]
Local = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder with copies, at any depth; give it several times for several. Folders in the "
        "variable TITANS_TS_DATA are searched too.",
    ),
]


@app.command("list")
@in_plain_words
def show_list(
    data_home: DataHome = None,
    local: Local = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="The names alone.", rich_help_panel=opt.OUTPUT),
    ] = False,
) -> None:
    """List the data sets, and which of them are on this machine."""
    from rich import box
    from rich.table import Table

    from titans_ts.datasets.local import find_copies, get_data_home, local_folders
    from titans_ts.datasets.manifest import catalogue

    entries = catalogue().values()
    home, folders = get_data_home(data_home), local_folders(local)
    if quiet:
        for entry in entries:
            typer.echo(entry.name)
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    for name in ("rows", "columns", "series"):
        table.add_column(name, justify="right")
    for name in ("every", "MB", "here", "what"):
        table.add_column(name, justify="right" if name == "MB" else "left")
    for entry in entries:
        here = all(any(find_copies(file, folders, home)) for file in entry.files)
        table.add_row(
            entry.name,
            f"{entry.rows:,}",
            f"{entry.columns:,}",
            f"{entry.series:,}",
            entry.freq or "step",
            f"{entry.n_bytes / 1e6:.1f}",
            "yes" if here else "",
            entry.summary,
        )
    table.caption = (
        "titans-ts datasets show NAME tells more, titans-ts datasets fetch NAME gets it."
    )
    table.caption_justify = "left"
    Terminal().print(table)


@app.command()
@in_plain_words
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As datasets list gives it.")],
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="The card as it is, in Markdown.", rich_help_panel=opt.OUTPUT
        ),
    ] = False,
) -> None:
    """Show the card of a data set: columns, units, quirks, licence, split, and where it is from."""
    from titans_ts.datasets.manifest import find_entry

    entry = find_entry(name)
    if quiet:
        typer.echo(entry.card, nl=False)
        return
    from rich.markdown import Markdown

    from titans_ts.cli.tables import fact_table

    terminal = Terminal()
    terminal.print(Markdown(entry.card))
    facts: dict[str, str] = {}
    for file in entry.files:
        facts |= {
            f"\n{file.name}": f"\n{file.bytes:,} bytes",
            f"SHA-256 of {file.name}": file.sha256,
            f"URL of {file.name}": file.url,
        }
    terminal.print(fact_table(facts))


@app.command()
@in_plain_words
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="As datasets list gives them.")
    ],
    data_home: DataHome = None,
    local: Local = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="DIGITS",
            help="Checksum to hold the file to instead of the catalogue's, if you trust a changed "
            "one.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="No tables and no progress bar; the files that were found or downloaded, a line "
            "for each.",
            rich_help_panel=opt.OUTPUT,
        ),
    ] = False,
) -> None:
    """Download data sets, unless there is a copy, and check that they are as published."""
    from titans_ts.cli.tables import fact_table
    from titans_ts.datasets.fetching import obtain
    from titans_ts.datasets.manifest import find_entry
    from titans_ts.errors import ParameterError

    # Every name is known before the first byte is downloaded.
    entries = [find_entry(name) for name in names]
    if sha256 is not None and len(entries) > 1:
        raise ParameterError(f"--sha256 is for one data set, but {len(entries)} are named.")
    terminal = Terminal(quiet=quiet)
    for entry in entries:
        with _bar(entry, shown=bool(terminal.verbose)) as progress:
            obtained = obtain(
                entry, data_home=data_home, local=local or None, sha256=sha256, progress=progress
            )
        if quiet:
            for part in obtained:
                typer.echo(part.path)
            continue
        as_published = "as published" if sha256 is None else "with the given checksum"
        facts = {
            "" if i else entry.title: f"{part.path}: {len(part.data):,} bytes, {as_published}"
            for i, part in enumerate(obtained)
        }
        terminal.print(fact_table({**facts, "Licence": entry.licence}))


@contextmanager
def _bar(entry: CatalogueEntry, *, shown: bool) -> Iterator[bool | Progress]:
    """A progress bar on standard error for the length of a download."""
    if not shown:
        yield False
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {file.name: bar.add_task(file.name, total=file.bytes) for file in entry.files}

        def report(name: str, done: int, total: int) -> None:
            bar.update(tasks[name], completed=done, total=total)

        yield report
