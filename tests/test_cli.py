"""What ``titans-ts`` promises: the files that were asked for, and nothing else."""

import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import HORIZON, ROWS, TINY, TINY_OPTIONS, files, station, succeed, words
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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with one file of data."""
    monkeypatch.chdir(tmp_path)
    station().to_csv("station.csv")
    return tmp_path


# -- the program ----------------------------------------------------------------------------------


def test_help_lists_the_commands():
    text = succeed("--help")
    assert all(command in text for command in ("forecast", "evaluate", "tune", "demo"))


@pytest.mark.parametrize("command", ["forecast", "evaluate", "tune", "demo"])
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


@pytest.mark.parametrize("name", ["OT[kW]", "[bold]OT[/bold]", "OT :x:"])
def test_names_and_paths_are_shown_whole_and_as_they_are(folder, name):
    station()[["OT"]].rename(columns={"OT": name}).to_csv("named.csv")
    out = f"a table with a long name that fits no line {name.replace('/', '')}.csv"
    command = ["forecast", "named.csv", *TINY_OPTIONS]
    narrow = {"COLUMNS": "40"}
    said = CliRunner().invoke(app, [*command, f"--out={out}"], env=narrow).stdout
    lines = [line.rstrip() for line in said.splitlines()]
    assert f"Written   {out}" in lines
    assert any(line.startswith(f"Forecast  {name}: 5 steps") for line in lines)
    shown = CliRunner().invoke(app, command, env=narrow).stdout
    assert shown.count(name) == 3  # of what, its error, and the head of its column


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
    monkeypatch.setattr(TitansForecaster, "fit", lambda *_, **__: pytest.fail("fitted"))
    text = words(succeed("forecast", "station.csv", "--model-in=model", "--out=b.csv"))
    assert "TitansForecaster (mac), reading 13 rows, from model" in text
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()
    assert files(folder) == {"a.csv", "b.csv", "model"}

    succeed("forecast", "station.csv", "--model-in=model", "--out=c.csv", "--horizon=3")
    pd.testing.assert_frame_equal(read_csv("c.csv"), read_csv("a.csv")[:3], check_freq=False)


def test_a_saved_model_computes_where_it_is_told_to(folder, monkeypatch):
    succeed("forecast", "station.csv", *TINY_OPTIONS, "--model-out=model", "--out=a.csv")
    devices, move = [], TitansForecaster._to_device

    def noted(self, device):
        devices.append(device)
        move(self, device)

    monkeypatch.setattr(TitansForecaster, "_to_device", noted)
    for accelerator in ("cpu", "auto"):
        options = [f"--accelerator={accelerator}", f"--out={accelerator}.csv"]
        succeed("forecast", "station.csv", "--model-in=model", *options)
        assert (folder / f"{accelerator}.csv").read_text() == (folder / "a.csv").read_text()
    assert devices == ["cpu"]


def test_a_saved_baseline_can_be_used_too(folder):
    naive = SeasonalNaiveForecaster(horizon=HORIZON, target="OT").fit(read_csv("station.csv"))
    naive.save("naive")
    succeed("forecast", "station.csv", "--model-in=naive", "--out=f.csv")
    pd.testing.assert_frame_equal(read_csv("f.csv"), naive.predict(), check_freq=False)


def test_a_model_of_an_array_forecasts_quantiles_of_a_file(folder):
    model = TitansForecaster(horizon=HORIZON, quantiles=[0.1, 0.5], random_state=0, **TINY)
    model.fit(station().to_numpy()).save("model")
    succeed("forecast", "station.csv", "--model-in=model", "--quantiles=0.1", "--out=f.csv")
    written = read_csv("f.csv")
    assert list(written.columns) == ["HUFL", "HUFL_q0.1", "OT", "OT_q0.1"]
    np.testing.assert_allclose(written[["HUFL", "OT"]], model.predict(), rtol=1e-6)


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
    monkeypatch.setattr(demo_command, "STATION_ROWS", 141)
    text = words(succeed("demo", "--horizon=7", "--max-epochs=1", "--accelerator=cpu"))
    assert "a simulated transformer station: 141 rows every 15min" in text
    assert all(name in text for name in ("seasonal-naive", "ridge", "linear", "titans"))
    assert "Written demo-output/forecast.csv: the last 7 rows" in text
    assert files(folder / "demo-output") == {"forecast.csv", "forecast.png"}
    assert files(folder) == {"demo-output"}
    forecast = read_csv("demo-output/forecast.csv")
    truth = make_transformer_station(141)[-7:]
    assert forecast.index.equals(truth.index)
    assert list(forecast.columns[-4:]) == ["OT", "OT_q0.1", "OT_q0.5", "OT_q0.9"]


def test_demo_takes_a_file_and_a_folder(folder):
    options = ["--horizon=5", "--max-epochs=1", "--accelerator=cpu", "--target=OT"]
    text = succeed("demo", "station.csv", "--out=deep/er", *options)
    assert "station.csv: 101 rows every h" in words(text)
    forecast = read_csv("deep/er/forecast.csv")
    assert forecast.index.equals(station().index[-5:])
    assert (folder / "deep/er/forecast.png").stat().st_size > 10_000


def test_demo_knows_the_time_column_of_a_parquet_file(folder, monkeypatch):
    # Of the picture, what it is asked to draw.
    asked = {}
    monkeypatch.setattr(demo_command, "_draw", lambda *given: asked.update(time_column=given[-1]))
    monkeypatch.setattr(demo_command, "write_picture", lambda path, figure: None)
    counted = station().reset_index(drop=True).rename_axis("minute").reset_index()
    counted.to_parquet("counted.parquet")
    options = ["--horizon=5", "--max-epochs=1", "--accelerator=cpu", "--time-column=minute"]
    succeed("demo", "counted.parquet", "--out=out", *options)
    forecast = read_csv("out/forecast.csv", time_column="minute")
    assert list(forecast.index) == list(range(96, 101))
    assert list(forecast.columns[::4]) == ["HUFL", "OT"]
    assert asked == {"time_column": "minute"}
