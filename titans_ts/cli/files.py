"""Files that the command line writes: checked before the work, whole or not at all after it."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from titans_ts.errors import ParameterError
from titans_ts.persistence import files

__all__ = [
    "check_folder",
    "check_outputs",
    "csv_text",
    "made_folder",
    "write_picture",
    "write_whole",
]


def check_outputs(
    source: Path | None,
    outputs: Mapping[str, Path | None],
    *,
    others: Mapping[str, Path | None] | None = None,
) -> None:
    """Raise ParameterError where a file could not be written, or would destroy another.

    Parameters
    ----------
    source : Path or None
        The file that is read.
    outputs : mapping of str to Path
        Files by the option that names them; an existing file will be replaced.
    others : mapping of str to Path, optional
        What else the command reads, and folders that it writes; nothing goes into one of them.
    """
    seen: dict[Path, str] = {} if source is None else {source.resolve(): "the data"}
    folders = {option: path for option, path in (others or {}).items() if path is not None}
    seen |= {path.resolve(): option for option, path in folders.items()}
    for option, path in outputs.items():
        if path is None:
            continue
        goal = path.resolve()
        if goal in seen:
            raise ParameterError(
                f"{option} names the same file as {seen[goal]} ({path}). Choose another name."
            )
        for other, folder in folders.items():
            if goal.is_relative_to(folder.resolve()):
                raise ParameterError(
                    f"{option} {str(path)!r} lies in {other} {str(folder)!r}, and would spoil it. "
                    "Write elsewhere."
                )
        seen[goal] = option
        if goal.is_dir():
            raise ParameterError(
                f"{option} names the folder {path}, expected a file. Add a file name, such as "
                f"{path / ('forecast.png' if option == '--plot' else 'forecast.csv')}."
            )
        if goal.exists() and not goal.is_file():
            raise ParameterError(f"{option} names {path}, which is no regular file.")
        if not goal.parent.is_dir():
            raise ParameterError(
                f"{option} names {path}, but there is no folder {path.parent}. Make it first, or "
                "choose another."
            )
        _check_writable(goal.parent, f"{option} names {path}")


def check_folder(option: str, folder: Path) -> None:
    """Raise ParameterError where no folder of this name could be made and filled."""
    goal = folder.resolve()
    above = next(p for p in (goal, *goal.parents) if p.exists())
    if not above.is_dir():
        raise ParameterError(f"{option} names {folder}, but {above} is a file, expected a folder.")
    _check_writable(above, f"{option} names {folder}")


def _check_writable(folder: Path, words: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ParameterError(
            f"{words}, but nothing may be written to the folder {folder}. Choose another one."
        )


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder to write to; where writing fails, what was made and is empty goes again."""
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for empty in made:
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        raise


def csv_text(table: pd.DataFrame) -> str:
    """Write a forecast as CSV that ``read_csv`` reads back, digit for digit.

    Parameters
    ----------
    table : DataFrame
        As :func:`titans_ts.cli.sources.written_form` returns it.
    """
    return table.to_csv(index=False, lineterminator="\n")


def write_picture(path: Path, figure: Any) -> None:
    """Write a figure of matplotlib in the format that the name of the file says."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower())
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside ``path``, then put it in place at once.

    Whatever goes wrong, an interrupt included, ``path`` holds what it held before and nothing is
    left beside it.

    Raises
    ------
    OSError
        The disk is full or the folder not writable.
    """
    goal = path.resolve()  # a link stays a link

    def write(part: Path) -> None:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        if goal.exists():
            shutil.copymode(goal, part)

    files.write_whole(goal, write)
