"""Speaking to a person: consoles, progress, and errors as one sentence with an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from titans_ts.cli.wording import for_the_shell
from titans_ts.errors import TitansError, TrainingInterrupted

__all__ = ["Terminal", "fit_until_stopped", "in_plain_words"]

BAD_INPUT, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143
#: Columns of a table in a file or a pipe, at most.
WHOLE_LINE = 10_000
#: Set to anything, errors come with a traceback: for reports of bugs.
TRACEBACK_VARIABLE = "TITANS_TS_TRACEBACK"

# Every way of bad usage, which typer shows itself. It is click's, or typer's own copy of it since
# 0.26 or so, and has no public name that all versions share.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

P = ParamSpec("P")
R = TypeVar("R")


class Terminal:
    """Results go to standard output, progress to standard error.

    Parameters
    ----------
    quiet : bool
        Show neither tables nor progress.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        # What is shown holds paths and names of columns, whose brackets and colons are their own.
        as_it_is: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        self._out = Console(quiet=quiet, **as_it_is)
        # Whole lines for a file or a pipe: a broken path can be neither copied nor searched.
        self._whole_lines = not self._out.is_terminal
        self._wide = Console(quiet=quiet, width=WHOLE_LINE, **as_it_is)
        # A bar in a log file is a thousand lines.
        self._shows_progress = not quiet and sys.stderr.isatty()

    def print(self, what: Any) -> None:
        """Show text, as it is and without markup, or a table, unless asked to be quiet."""
        if self._whole_lines and isinstance(what, Table):
            self._wide.print(what)
        else:
            self._out.print(what, soft_wrap=self._whole_lines and isinstance(what, str | Text))

    @property
    def verbose(self) -> int:
        """What a forecaster is given to show its progress bar."""
        return int(self._shows_progress)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Keep the bar of a forecaster off standard output."""
        with redirect_stdout(sys.stderr):
            yield

    @contextmanager
    def protocol_bar(self, own_bar: str) -> Iterator[Callable[[str, int, int], None]]:
        """Yield the ``progress`` for the long-horizon protocol.

        Parameters
        ----------
        own_bar : str
            Name of the forecaster that shows a bar of its own while it is fitted.
        """
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )

        def report(name: str, done: int, total: int) -> None:
            if done:
                progress.start()
                (task,) = progress.task_ids
                progress.update(
                    task, description=f"{name}: forecasting", completed=done, total=total
                )
                return
            for old in progress.task_ids:
                progress.remove_task(old)
            progress.add_task(f"{name}: fitting", total=None)
            if name == own_bar:
                progress.stop()
            else:
                progress.start()

        def say_nothing(name: str, done: int, total: int) -> None:
            """Nobody looks on."""

        with self.training():
            try:
                yield report if self._shows_progress else say_nothing
            finally:
                if self._shows_progress:
                    progress.stop()


def fit_until_stopped(fit: Callable[[], Any]) -> TrainingInterrupted | None:
    """Fit; where Ctrl-C ends that with a model, return what is to be raised once it is saved."""
    try:
        fit()
    except TrainingInterrupted as stopped:
        return stopped
    return None


def in_plain_words(command: Callable[P, R]) -> Callable[P, R]:
    """Turn whatever a command raises into one red sentence on standard error and an exit code.

    2 for bad usage and bad input, 1 for other failures, 130 for Ctrl-C, 143 for SIGTERM.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, ClickException):
            raise
        except KeyboardInterrupt:
            _stop("stopped.", INTERRUPTED)
        except SystemExit as ending:
            # Lightning meets Ctrl-C itself, and leaves with 1.
            if isinstance(ending.__context__, KeyboardInterrupt):
                _stop("stopped.", INTERRUPTED)
            # Told by the system to end, it leaves as if all were done; ours does not.
            if not ending.code or ending.code == TERMINATED:
                _stop("terminated.", TERMINATED)
            raise
        except TitansError as error:
            _stop(for_the_shell(str(error)), BAD_INPUT)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            _stop(f"{where}{error.strerror or error}.", FAILURE)
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            _stop(
                f"{type(error).__name__}: {first} (set {TRACEBACK_VARIABLE}=1 to see where it "
                "came from).",
                FAILURE,
            )

    return run


def _stop(message: str, code: int) -> NoReturn:
    if os.environ.get(TRACEBACK_VARIABLE) and code in (BAD_INPUT, FAILURE):
        raise  # what is being handled: this is only called from an except clause
    console = Console(stderr=True, highlight=False)
    text = Text.assemble(("Error: ", "bold red"), (message, "red"))
    # Whole lines for a file or a pipe: a broken sentence cannot be searched.
    console.print(text, soft_wrap=not console.is_terminal)
    raise typer.Exit(code)
