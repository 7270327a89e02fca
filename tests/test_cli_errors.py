"""``titans-ts`` meets every failure with one sentence, an exit code, and nothing left behind."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from command_line import HORIZON, ROWS, TINY_OPTIONS, files, run, start, station, succeed, words
from typer.testing import CliRunner

from titans_ts import DataError, SeasonalNaiveForecaster, TitansForecaster
from titans_ts.cli.app import app
from titans_ts.cli.terminal import in_plain_words
from titans_ts.cli.wording import for_the_shell
from titans_ts.data.csv import read_csv


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with one file of data."""
    monkeypatch.chdir(tmp_path)
    station().to_csv("station.csv")
    return tmp_path


# -- errors ---------------------------------------------------------------------------------------

BAD_INPUT = [
    (["forecast", "stations.csv"], r"No file stations\.csv\. Did you mean station\.csv"),
    (["forecast", "."], r"\. is a folder, expected a CSV file\. It holds .*station\.csv"),
    (["forecast", "empty.csv"], r"empty\.csv is empty, expected a CSV file"),
    (
        ["forecast", "station.csv", "--target=OTT"],
        r"--target 'OTT' names no column of the table, which has 'HUFL', 'OT'\. "
        r"Did you mean 'OT'\?",
    ),
    (["forecast", "station.csv", "--time-column=when"], r"--time-column 'when' names no column"),
    (["forecast", "text.csv"], r"column 'HUFL'.*'broken'"),
    (["forecast", "infinite.csv"], r"Column 'OT' has 1 infinite value .* row 7 \(2016-07-01 07"),
    (["forecast", "gaps.csv"], r"have 1 gap \(2 missing rows\), the first after 2016-07-01 10:00"),
    (["forecast", "short.csv", "--horizon=5"], r"Too few rows to learn from"),
    (["forecast", "station.csv", "--horizon=0"], r"--horizon must be .* at least 1, got 0\.$"),
    (
        ["forecast", "gaps.csv"],
        r"Insert the missing rows in the file, with empty cells \(in Python, FillGaps\(\) does",
    ),
    (["forecast", "turned.csv"], r"oldest row first\. Sort the rows of the file by time\.$"),
    (
        ["forecast", "tilted.csv"],
        r"Bring the rows of the file to one frequency \(in Python, Resample",
    ),
    (
        ["forecast", "unnamed.csv", "--target=OT"],
        r"the table has no column that is known .* 'Zeitpunkt' holds .* --time-column 'Zeitpunkt',",
    ),
    (["forecast", "unnamed.csv"], r"'Zeitpunkt' holds text .* --time-column 'Zeitpunkt', or drop"),
    (
        ["forecast", "unnamed-panel.csv", "--target=OT"],
        r"has the ids of series .* no time: .* 'Zeitpunkt'.* Name the time column with --time-c",
    ),
    (["forecast", "station.csv", "--horizon=x"], r"Invalid value for '--horizon'"),
    (
        ["forecast", "station.csv", "--max-epochs=0"],
        r"Error: --max-epochs must be a whole .* 1, got 0\.$",
    ),
    (["forecast", "station.csv", "--freq=nonsense"], r"freq must be a pandas frequency such as"),
    (["forecast", "station.csv", "--freq=D"], r"--freq|expected one row every D"),
    (["forecast", "station.csv", "--variant=max"], r"'max' is not one of 'mac', 'mag', 'mal'"),
    (["forecast", "station.csv", "--quantiles=a"], r"--quantiles must be fractions with commas"),
    (["forecast", "station.csv", "--quantiles=0.9,0.1"], r"--quantiles must be increasing fract"),
    (["forecast", "station.csv", "--out=no/f.csv"], r"--out names no/f\.csv, but there is no fo"),
    (["forecast", "station.csv", "--out=."], r"--out names the folder \., expected a file"),
    (["forecast", "station.csv", "--out=station.csv"], r"--out names the same file as the data"),
    (
        ["forecast", "station.csv", "--out=f.png", "--plot=f.png"],
        r"--plot names the same file as --out \(f\.png\)",
    ),
    (["forecast", "station.csv", "--plot=f.doc"], r"'f\.doc' cannot be written: .*\.pdf.*\.png"),
    (["forecast", "station.csv", "--out=/dev/null"], r"no regular file"),
    (["forecast", "station.csv", "--model-out=."], r"'\.' is not a saved forecaster"),
    (["forecast", "station.csv", "--model-in=nowhere"], r"No saved forecaster in 'nowhere'"),
    (
        ["forecast", "station.csv", "--model-in=m", "--seed=1"],
        r"--seed is for fitting a model, but --model-in m is fitted already",
    ),
    (["forecast", "station.csv", "--model-in=m", "--model-out=n"], r"--model-out is for fitting"),
    (["forecast", "station.csv", "--model-in=m", "--target=OT"], r"--target is for fitting"),
    (["forecast"], r"Missing argument 'FILE'"),
    (["forecast", "station.csv", "--horizont=3"], r"No such option: --horizont"),
    (["evaluate", "nofile.csv"], r"No file nofile\.csv"),
    (["evaluate", "station.csv", "--models=ridge,titan"], r"'titan'.*Did you mean 'titans'\?"),
    (["evaluate", "station.csv", "--split=half"], r"--split must be one of 'auto', 'ett'"),
    (["evaluate", "station.csv", "--split=ett"], r"has 101 rows, but the split needs 14400"),
    (["evaluate", "station.csv"], r"--horizon 96 is longer than the 20 test rows, the last of 101"),
    (["evaluate", "station.csv", "--csv=no/t.csv"], r"--csv names no/t\.csv, but there is no"),
    (["demo", "nofile.csv"], r"No file nofile\.csv"),
    (["demo", "station.csv", "--out=station.csv"], r"station\.csv is a file, expected a folder"),
    (["demo", "--horizon=0"], r"--horizon must be a whole number"),
    (["predict"], r"No such command 'predict'"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), BAD_INPUT, ids=[" ".join(arguments) for arguments, _ in BAD_INPUT]
)
def test_bad_input_gets_a_sentence_and_exit_code_2_and_leaves_nothing(arguments, sentence, folder):
    frame = station()
    (folder / "empty.csv").write_text("")
    frame.assign(HUFL=["1.5", "broken"] + ["2.5"] * (ROWS - 2)).to_csv("text.csv")
    frame.replace({"OT": {frame["OT"].iloc[7]: float("inf")}}).to_csv("infinite.csv")
    frame.drop(frame.index[11:13]).to_csv("gaps.csv")
    frame[::-1].to_csv("turned.csv")
    frame.set_index(frame.index + pd.to_timedelta([i % 7 for i in range(ROWS)], "min")).to_csv(
        "tilted.csv"
    )
    unnamed = frame.rename_axis("Zeitpunkt").reset_index()
    unnamed.to_csv("unnamed.csv", index=False)
    unnamed.assign(unique_id="a").to_csv("unnamed-panel.csv")
    frame[:3].to_csv("short.csv")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert re.search(sentence, words(result.stderr)), result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == "" or arguments[0] == "demo"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_horizon_beyond_that_of_a_saved_model_is_refused(folder):
    SeasonalNaiveForecaster(horizon=HORIZON).fit(read_csv("station.csv")).save("m")
    result = run("forecast", "station.csv", "--model-in=m", "--horizon=6")
    assert result.exit_code == 2
    assert "--horizon 6 is more than the 5 steps that the model in m forecasts" in result.stderr


def test_quantiles_that_a_saved_model_does_not_know_are_refused(folder):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--quantiles=0.1,0.9", "--model-out=m", "-q")
    result = run("forecast", "station.csv", "--model-in=m", "--quantiles=0.2", "--out=f.csv")
    assert result.exit_code == 2
    assert "quantiles [0.2] were not trained" in result.stderr
    assert files(folder) == {"m"}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Sequence 39 has the letter 'X' at position 5, in 'ACGTXXACGT'.",
            "Sequence 39 has the letter 'X' at position 5, in 'ACGTXXACGT'.",
        ),
        (
            "The rows' X holds b'X' and \"it's X\".",
            "The rows' the table holds b'X' and \"it's X\".",
        ),
        (
            "target='X' is none of X's columns 'X'.",
            "--target 'X' is none of the table's columns 'X'.",
        ),
        ("'horizon=3.csv' has no column 'X'.", "'horizon=3.csv' has no column 'X'."),
        ("No file runs/X, expected X.csv or X-1.", "No file runs/X, expected X.csv or X-1."),
        (
            "X has no time stamps; name time_column=.",
            "the table has no time stamps; name --time-column.",
        ),
    ],
)
def test_only_the_parameter_x_is_called_the_table(message, said, capsys):
    @in_plain_words
    def command():
        raise DataError(message)

    with pytest.raises(typer.Exit):
        command()
    assert capsys.readouterr().err == f"Error: {said}\n"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Sort with X.sort_values('Datetime (UTC)'). Leave freq out.",
            "Sort the rows of the file by time. Leave --freq out.",
        ),
        (
            "save it as UTF-8, or give the frame of pandas.read_csv(path, encoding='cp1252').",
            "save it as UTF-8.",
        ),
        (
            "Write them with a decimal point, or give the frame of pandas.read_csv(path, sep=';', "
            "decimal=',') or (..., thousands=',').",
            "Write them with a decimal point.",
        ),
        (
            "Convert it with pandas.to_datetime(column, unit='s'), count by it with "
            "time_column='time', or name the columns to forecast with target=.",
            "Write it in the file as dates, such as 2024-01-31 12:00, count by it with "
            "--time-column 'time', or name the columns to forecast with --target.",
        ),
        (
            "Convert the column with pandas.to_datetime(..., dayfirst=True) or False.",
            "Write them in the file with the year first, such as 2024-01-31.",
        ),
        (
            "give the local times their zone instead, such as tz_localize('Europe/Berlin').",
            "write the local times with their offset from UTC instead, such as "
            "2024-10-27T02:00+01:00.",
        ),
        (
            "future lacks 1 step. make_future_dataframe(X) gives them, get_missing_future(future, "
            "X) those that are missing; leave X out where predict was given none.",
            "future lacks 1 step.",
        ),
        ("'--freq' is no freq of freq_file.", "'--freq' is no --freq of freq_file."),
    ],
)
def test_advice_for_python_becomes_advice_for_a_file(message, said):
    assert for_the_shell(message) == said


def test_an_error_is_one_line_however_long_where_no_terminal_breaks_it(folder):
    result = CliRunner().invoke(app, ["forecast", "gaps.csv"], env={"COLUMNS": "40"})
    assert result.stderr.count("\n") == 1
    station().drop(station().index[11:13]).to_csv("gaps.csv")
    result = CliRunner().invoke(app, ["forecast", "gaps.csv"], env={"COLUMNS": "40"})
    assert len(result.stderr) > 200
    assert result.stderr.count("\n") == 1


def test_a_failed_write_exits_with_1_and_keeps_the_file_that_was_there(folder, monkeypatch):
    (folder / "f.csv").write_text("precious")

    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(Path, "replace", full)
    result = run("forecast", "station.csv", *TINY_OPTIONS, "--out=f.csv")
    assert result.exit_code == 1
    assert re.search(r"Error: .*f\.csv: No space left on device\.", result.stderr)
    assert (folder / "f.csv").read_text() == "precious"
    assert files(folder) == {"f.csv"}


def test_a_demo_that_cannot_write_leaves_no_folder(folder, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    options = ["--horizon=5", "--max-epochs=1", "--accelerator=cpu"]
    result = run("demo", "station.csv", "--out=deep/er", *options)
    assert result.exit_code == 1
    assert files(folder) == set()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_may_not_be_written_is_noticed_before_the_work(folder):
    (folder / "locked").mkdir(mode=0o500)
    result = run("forecast", "station.csv", "--out=locked/f.csv")
    assert result.exit_code == 2
    assert "nothing may be written to the folder" in result.stderr


def test_an_existing_output_is_replaced_and_a_link_stays_a_link(folder):
    (folder / "real.csv").write_text("old")
    (folder / "f.csv").symlink_to("real.csv")
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--out=f.csv")
    assert (folder / "f.csv").is_symlink()
    assert len(read_csv("real.csv")) == HORIZON


def raising(error):
    def fit(self, X, y=None, *, validation=None):
        raise error

    return fit


@pytest.mark.parametrize("command", [["evaluate", "--horizon=5"], ["demo", "--horizon=5"]])
def test_a_failure_half_way_through_a_comparison_leaves_nothing(command, folder, monkeypatch):
    monkeypatch.setattr(TitansForecaster, "fit", raising(RuntimeError("out of luck")))
    name, option = command
    output = "--csv=t.csv" if name == "evaluate" else "--out=results"
    result = run(name, "station.csv", option, output)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: RuntimeError: out of luck")
    assert files(folder) == set()


def test_an_unforeseen_failure_exits_with_1_and_no_traceback(folder, monkeypatch):
    monkeypatch.setattr(TitansForecaster, "fit", raising(RuntimeError("out of luck\nand more")))
    result = run("forecast", "station.csv", "--out=f.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: RuntimeError: out of luck (set TITANS_TS_TRACEBACK=1")
    assert "Traceback" not in result.stderr
    assert files(folder) == set()


def test_the_traceback_of_a_failure_is_there_for_the_asking(folder, monkeypatch):
    monkeypatch.setenv("TITANS_TS_TRACEBACK", "1")
    error = RuntimeError("out of luck")
    monkeypatch.setattr(TitansForecaster, "fit", raising(error))
    assert run("forecast", "station.csv").exception is error


def as_lightning_ends(self, X, y=None, *, validation=None):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize(
    ("fit", "code", "word"),
    [
        pytest.param(raising(KeyboardInterrupt()), 130, "stopped", id="Ctrl-C"),
        pytest.param(as_lightning_ends, 130, "stopped", id="Ctrl-C in training"),
        pytest.param(raising(SystemExit(143)), 143, "terminated", id="SIGTERM in training"),
        pytest.param(raising(SystemExit()), 143, "terminated", id="SIGTERM met by Lightning"),
    ],
)
def test_whoever_ends_it_is_told_by_the_exit_code(fit, code, word, folder, monkeypatch):
    monkeypatch.setattr(TitansForecaster, "fit", fit)
    result = run("forecast", "station.csv", "--out=f.csv")
    assert result.exit_code == code
    assert result.stderr == f"Error: {word}.\n"
    assert files(folder) == set()


# -- as a process ---------------------------------------------------------------------------------


def test_an_error_of_a_process_is_one_line_and_an_exit_code(folder):
    process = start(
        folder, "forecast", "nofile.csv", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.communicate(timeout=60) == ("", "Error: No file nofile.csv.\n")
    assert process.returncode == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_one_bar_and_ctrl_c_in_training_leaves_nothing(folder):
    import pty
    import signal
    import termios

    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (40, 100))
    process = start(
        folder,
        *["forecast", "station.csv", *TINY_OPTIONS, "--max-epochs=99999", "--out=f.csv"],
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    seen = ""
    while "Epoch 1:" not in seen:
        seen += os.read(leader, 4096).decode()
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    while True:
        try:
            seen += os.read(leader, 4096).decode()
        except OSError:  # how a pseudo-terminal says that the other end is closed
            break
    os.close(leader)
    assert process.returncode == 130, seen[-500:]
    assert stdout == ""  # the bar is no result
    assert "stopped." in seen
    assert "Traceback" not in seen
    assert files(folder) == set()
