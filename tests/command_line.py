"""What the tests of the command line share: a file of data, and ways to run ``titans-ts``."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
from typer.testing import CliRunner

from titans_ts.cli.app import app
from titans_ts.datasets import make_transformer_station

ROWS, HORIZON = 101, 5
TINY = {"context_length": 13, "max_epochs": 1, "accelerator": "cpu"}
TINY_OPTIONS = [
    f"--{name.replace('_', '-')}={value}" for name, value in {"horizon": HORIZON, **TINY}.items()
]


def station() -> pd.DataFrame:
    return make_transformer_station(ROWS, freq="h", random_state=0)[["HUFL", "OT"]]


def run(*arguments):
    # Wide, so that no sentence is broken.
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "250"})


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"station.csv"}


def words(text: str) -> str:
    """Text without the lines of boxes and with single spaces."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def start(folder: Path, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "titans_ts.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, **options)
