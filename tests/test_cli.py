"""What ``titans-ts`` promises: files as asked for, nothing else, and a sentence for every error."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import titans_ts
from titans_ts import SeasonalNaiveForecaster, TitansForecaster
from titans_ts.backtesting import fraction_split, long_horizon_protocol
from titans_ts.cli import demo as demo_command
from titans_ts.cli.app import app
from titans_ts.cli.evaluate import choose_split
from titans_ts.cli.options import VariantChoice
from titans_ts.config import VARIANTS
from titans_ts.data.csv import read_csv
from titans_ts.datasets import make_transformer_station
from titans_ts.errors import ParameterError

ROWS, HORIZON = 101, 5
TINY = {"context_length": 13, "max_epochs": 1, "accelerator": "cpu"}
TINY_OPTIONS = [
    f"--{name.replace('_', '-')}={value}" for name, value in {"horizon": HORIZON, **TINY}.items()
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with one file of data."""
    monkeypatch.chdir(tmp_path)
    station().to_csv("station.csv")
    return tmp_path


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


# -- the program ----------------------------------------------------------------------------------


def test_help_lists_the_commands():
    text = succeed("--help")
    assert all(command in text for command in ("forecast", "evaluate", "demo"))


@pytest.mark.parametrize("command", ["forecast", "evaluate", "demo"])
def test_every_option_of_a_command_is_explained(command):
    text = succeed(command, "--help")
    options = re.findall(r"│ +(--[\w-]+)(.*)│", text)
    assert len(options) > 5
    assert all(len(rest.split()) > 3 for _, rest in options)


def test_version_is_shown():
    assert succeed("--version") == f"titans-ts {titans_ts.__version__}\n"


def test_help_as_a_process_is_quick_and_loads_no_heavy_library(tmp_path):
    code = (
        "import sys; sys.argv = ['titans-ts', 'forecast', '--help']\n"
        "from titans_ts.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as ending:\n"
        "    heavy = {'torch', 'lightning', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "    sys.exit(f'{ending.code} {sorted(heavy)}')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert result.stderr.decode().strip() == "0 []"
    assert list(tmp_path.iterdir()) == []


def test_variants_to_choose_from_are_those_of_the_backbone():
    assert tuple(choice.value for choice in VariantChoice) == VARIANTS


# -- forecast -------------------------------------------------------------------------------------


def test_forecast_writes_what_the_forecaster_predicts_and_nothing_else(folder):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--out", "forecast.csv")
    frame = read_csv("station.csv")
    forecaster = TitansForecaster(horizon=HORIZON, random_state=0, **TINY)
    expected = forecaster.fit(frame, validation=int(0.2 * ROWS)).predict()
    pd.testing.assert_frame_equal(read_csv("forecast.csv"), expected, check_freq=False)
    assert files(folder) == {"forecast.csv"}


def test_only_the_named_columns_are_forecast_in_the_order_given(folder):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "-t", "OT", "-t", "HUFL", "--out", "f.csv")
    assert list(read_csv("f.csv").columns) == ["OT", "HUFL"]


def test_quantiles_stand_right_of_their_column_and_enclose_the_forecast(folder):
    options = [*TINY_OPTIONS, "--target=OT", "--quantiles=0.1,0.9", "--out=f.csv"]
    succeed("forecast", "station.csv", *options)
    forecast = read_csv("f.csv")
    assert list(forecast.columns) == ["OT", "OT_q0.1", "OT_q0.9"]
    # The point forecast is the median, though it was not asked for.
    assert (forecast["OT_q0.1"] < forecast["OT"]).all()
    assert (forecast["OT"] < forecast["OT_q0.9"]).all()


def test_a_file_without_a_time_column_is_forecast_by_row_number(folder):
    station().to_csv("rows.csv", index=False)
    succeed("forecast", "rows.csv", *TINY_OPTIONS, "--out", "f.csv")
    forecast = pd.read_csv("f.csv")
    assert forecast.columns[0] == "row"
    assert forecast["row"].tolist() == list(range(ROWS, ROWS + HORIZON))


def test_the_summary_tells_what_was_read_fitted_and_written_and_the_error_of_the_naive(folder):
    text = words(succeed("forecast", "station.csv", *TINY_OPTIONS, "--out", "f.csv"))
    assert "station.csv: 101 rows every h, 2016-07-01 00:00:00 to 2016-07-05 04:00:00" in text
    assert "TitansForecaster (mac), reading 13 rows; epoch 1 of 1 kept; fitted in" in text
    assert "HUFL, OT: 5 steps, 2016-07-05 05:00:00 to 2016-07-05 09:00:00" in text
    assert "Written f.csv" in text

    frame = read_csv("station.csv")
    n_validation = int(0.2 * ROWS)
    naive = SeasonalNaiveForecaster(horizon=HORIZON).fit(frame, validation=n_validation)
    context = naive.context_length_
    origins = range(ROWS - n_validation, ROWS - HORIZON + 1)
    errors = [
        naive.predict(frame[:o][-context:]).to_numpy() - frame[o : o + HORIZON].to_numpy()
        for o in origins
    ]
    for name, error in zip(frame, np.abs(errors).mean(axis=(0, 1)), strict=True):
        assert re.search(rf"{name} \S+ {error:.4g} [+-]", text), (name, error, text)


def test_a_table_too_short_for_validation_rows_is_forecast_all_the_same(folder):
    station()[:23].to_csv("short.csv")
    text = succeed("forecast", "short.csv", *TINY_OPTIONS, "--out", "f.csv")
    assert "Mean absolute error" not in text
    assert len(read_csv("f.csv")) == HORIZON


def test_without_out_the_first_rows_are_shown_and_no_file_is_written(folder):
    text = words(succeed("forecast", "station.csv", *TINY_OPTIONS, "--horizon=13", "-t", "OT"))
    assert "2016-07-05 12:00:00" in text
    assert "2016-07-05 13:00:00" not in text.split("OT", 2)[2]
    assert "5 more rows; --out FILE writes all of it." in text
    assert files(folder) == set()


def test_quiet_without_out_prints_the_forecast_as_csv_alone(folder):
    text = succeed("forecast", "station.csv", *TINY_OPTIONS, "--quiet")
    forecast = pd.read_csv(io.StringIO(text), index_col=0, parse_dates=True)
    assert forecast.shape == (HORIZON, 2)
    assert forecast.index[0] == pd.Timestamp("2016-07-05 05:00")


def test_quiet_with_out_prints_nothing(folder):
    assert succeed("forecast", "station.csv", *TINY_OPTIONS, "--quiet", "--out=f.csv") == ""


@pytest.mark.parametrize(
    ("name", "first_bytes"),
    [
        pytest.param("picture.png", b"\x89PNG", id="png"),
        pytest.param("picture.SVG", b"<?xml", id="svg, in capitals"),
    ],
)
def test_plot_writes_a_picture_in_the_format_of_its_name(name, first_bytes, folder):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--plot", name, "--quantiles=0.1,0.9")
    assert (folder / name).read_bytes().startswith(first_bytes)
    assert files(folder) == {name}


def test_a_saved_model_forecasts_the_same_without_fitting(folder, monkeypatch):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--out=a.csv", "--model-out=model")
    monkeypatch.setattr(TitansForecaster, "fit", raising(AssertionError("fitted")))
    text = words(succeed("forecast", "station.csv", "--model-in=model", "--out=b.csv"))
    assert "TitansForecaster (mac), reading 13 rows, from model" in text
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()
    assert files(folder) == {"a.csv", "b.csv", "model"}

    succeed("forecast", "station.csv", "--model-in=model", "--out=c.csv", "--horizon=3")
    pd.testing.assert_frame_equal(read_csv("c.csv"), read_csv("a.csv")[:3], check_freq=False)


def test_a_saved_baseline_can_be_used_too(folder):
    naive = SeasonalNaiveForecaster(horizon=HORIZON, target="OT").fit(read_csv("station.csv"))
    naive.save("naive")
    succeed("forecast", "station.csv", "--model-in=naive", "--out=f.csv")
    pd.testing.assert_frame_equal(read_csv("f.csv"), naive.predict(), check_freq=False)


def test_the_seed_decides_the_forecast(folder):
    options = [*TINY_OPTIONS, "--target=OT"]
    for name, seed in (("a.csv", 3), ("b.csv", 3), ("c.csv", 4)):
        succeed("forecast", "station.csv", *options, f"--seed={seed}", f"--out={name}")
    a, b, c = ((folder / name).read_text() for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b
    assert a != c


# -- evaluate -------------------------------------------------------------------------------------


def test_evaluate_shows_and_writes_the_numbers_of_the_protocol(folder):
    models = "--models=seasonal-naive,titans"
    text = words(succeed("evaluate", "station.csv", *TINY_OPTIONS, models, "--csv=table.csv"))
    forecasters = {
        "seasonal-naive": SeasonalNaiveForecaster(horizon=HORIZON),
        "titans": TitansForecaster(horizon=HORIZON, random_state=0, **TINY),
    }
    split = fraction_split(ROWS)
    result = long_horizon_protocol(forecasters, read_csv("station.csv"), **split._asdict())
    table = result.table()
    written = pd.read_csv("table.csv", index_col="forecaster")
    exact = ["mse", "mae", "n_windows"]
    pd.testing.assert_frame_equal(written[exact], table[exact])
    for name, row in table.iterrows():
        assert re.search(rf"{name} {row.mse:.4f} {row.mae:.4f} [\d.]+ 16\b", text), text
    assert "70 rows for training, 11 for validation, 20 for testing" in text
    assert "Fitted on the first 81 rows; 5 steps forecast from each of 16 origins" in text
    assert files(folder) == {"table.csv"}


def test_evaluate_compares_all_forecasters_by_default(folder):
    text = succeed("evaluate", "station.csv", *TINY_OPTIONS, "--target=OT")
    rows = [line.split()[0] for line in text.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert rows == ["seasonal-naive", "ridge", "linear", "titans"]
    assert files(folder) == set()


@pytest.mark.parametrize(
    ("split", "rows", "freq", "n_train", "kind"),
    [
        pytest.param("auto", 17_420, "h", 8_640, "ETT", id="ETTh is recognised"),
        pytest.param("auto", 69_680, "15min", 34_560, "ETT", id="ETTm is recognised"),
        pytest.param("auto", 69_680, "10min", 48_776, "0.7", id="another frequency"),
        pytest.param("auto", 17_421, "h", 12_194, "0.7", id="another length"),
        pytest.param("auto", 1_000, None, 700, "0.7", id="no frequency"),
        pytest.param("fractions", 17_420, "h", 12_194, "0.7", id="fractions of an ETT set"),
        pytest.param("ett", 20_000, "h", 8_640, "ETT", id="asked for"),
    ],
)
def test_the_split_of_the_ett_sets_is_recognised_or_asked_for(split, rows, freq, n_train, kind):
    chosen, said = choose_split(split, rows, freq)
    assert chosen.n_train == n_train
    assert kind in said


def test_the_ett_split_fits_no_other_frequency():
    with pytest.raises(ParameterError, match=r"for rows every h or 15min.*; these are every D"):
        choose_split("ett", 20_000, "D")


# -- demo -----------------------------------------------------------------------------------------


def test_demo_judges_forecasts_and_draws_the_simulated_station(folder, monkeypatch):
    monkeypatch.setattr(demo_command, "STATION_ROWS", 201)
    text = words(succeed("demo", "--horizon=7", "--max-epochs=1", "--accelerator=cpu"))
    assert "a simulated transformer station: 201 rows every 15min" in text
    assert all(name in text for name in ("seasonal-naive", "ridge", "linear", "titans"))
    assert "Written demo-output/forecast.csv: the last 7 rows" in text
    assert files(folder / "demo-output") == {"forecast.csv", "forecast.png"}
    assert files(folder) == {"demo-output"}
    forecast = read_csv("demo-output/forecast.csv")
    truth = make_transformer_station(201)[-7:]
    assert forecast.index.equals(truth.index)
    assert list(forecast.columns[-4:]) == ["OT", "OT_q0.1", "OT_q0.5", "OT_q0.9"]


def test_demo_takes_a_file_and_a_folder(folder):
    options = ["--horizon=5", "--max-epochs=1", "--accelerator=cpu", "--target=OT"]
    text = succeed("demo", "station.csv", "--out=deep/er", *options)
    assert "station.csv: 101 rows every h" in words(text)
    forecast = read_csv("deep/er/forecast.csv")
    assert forecast.index.equals(station().index[-5:])
    assert (folder / "deep/er/forecast.png").stat().st_size > 10_000


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
    (["forecast", "missing.csv"], r"missing"),
    (["forecast", "gaps.csv"], r"have 1 gap \(2 missing rows\), the first after 2016-07-01 10:00"),
    (["forecast", "short.csv", "--horizon=5"], r"Too few rows to learn from"),
    (["forecast", "station.csv", "--horizon=0"], r"--horizon must be a whole number of at least 1"),
    (["forecast", "station.csv", "--horizon=x"], r"Invalid value for '--horizon'"),
    (["forecast", "station.csv", "--max-epochs=0"], r"max_epochs must be a whole number of at"),
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
    frame.shift(3).to_csv("missing.csv")
    frame.drop(frame.index[11:13]).to_csv("gaps.csv")
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


@pytest.mark.parametrize("fit", [raising(KeyboardInterrupt()), as_lightning_ends])
def test_ctrl_c_exits_with_130(fit, folder, monkeypatch):
    monkeypatch.setattr(TitansForecaster, "fit", fit)
    result = run("forecast", "station.csv", "--out=f.csv")
    assert result.exit_code == 130
    assert result.stderr == "Error: stopped.\n"
    assert files(folder) == set()


# -- as a process ---------------------------------------------------------------------------------


def start(folder: Path, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "titans_ts.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, **options)


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
