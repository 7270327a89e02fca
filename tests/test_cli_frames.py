"""``titans-ts`` on files of several series, with covariates and calendar, and on Parquet."""

import re

import numpy as np
import pandas as pd
import pytest
from command_line import HORIZON, TINY, TINY_OPTIONS, files, run, succeed, words

from titans_ts import (
    EnsembleForecaster,
    ParquetFolder,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)
from titans_ts.backtesting import fraction_split, long_horizon_protocol
from titans_ts.cli import forecast as forecast_command
from titans_ts.cli.columns import Columns
from titans_ts.cli.files import csv_text
from titans_ts.cli.sources import is_parquet, open_file, read_source, written_form

LENGTHS = {"north": 89, "south": 101}
COVARIATES = [
    "--target=load",
    "--past-covariates=wind",
    "--future-covariates=plan",
    "--future-covariates=event",
    "--static-covariates=kind",
]
NAMES = ["--id-column=station", "--time-column=when"]
ROLES = {
    "target": ["load"],
    "past_covariates": ["wind"],
    "future_covariates": ["plan", "event"],
    "static_covariates": ["kind"],
}


def panel(extra: int = 0) -> pd.DataFrame:
    """Two series of unequal length; with the ``extra`` rows that follow each."""
    rng = np.random.default_rng(0)
    parts = []
    for i, (name, n) in enumerate(LENGTHS.items()):
        time = pd.date_range("2024-03-01", periods=n + HORIZON, freq="h")
        plan = rng.integers(0, 2, n + HORIZON)
        part = pd.DataFrame(
            {
                "station": name,
                "when": time,
                "load": (10 * (i + 1) + 3 * plan + rng.normal(size=len(time))).round(3),
                "wind": rng.normal(size=len(time)).round(3),
                "plan": plan,
                "event": np.where(time.hour == 12, "lunch", "none"),
                "kind": ["rural", "urban"][i],
            }
        )
        parts.append(part[: n + extra])
    return pd.concat(parts, ignore_index=True)


def ahead() -> pd.DataFrame:
    """The covariates of the steps to forecast."""
    every = panel(extra=HORIZON)
    later = every.groupby("station").cumcount() >= every["station"].map(LENGTHS)
    return every.loc[later, ["station", "when", "plan", "event"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with a panel, the same under the usual names, and its future."""
    monkeypatch.chdir(tmp_path)
    long = panel()
    long.to_csv("panel.csv", index=False)
    ahead().to_csv("future.csv", index=False)
    simple = long[["station", "when", "load"]]
    simple.set_axis(["unique_id", "ds", "y"], axis=1).to_csv("usual.csv", index=False)
    return tmp_path


def made(folder) -> set[str]:
    return files(folder) - {"panel.csv", "usual.csv", "future.csv"}


def fitted(frame, **parameters):
    titans = TitansForecaster(horizon=HORIZON, random_state=0, **TINY, **parameters)
    return titans.fit(frame)


# -- forecast -------------------------------------------------------------------------------------


def test_a_long_file_comes_out_long_with_the_forecaster_s_own_numbers(folder):
    text = words(succeed("forecast", "usual.csv", *TINY_OPTIONS, "--out=f.csv", "--plot=f.png"))
    written = pd.read_csv("f.csv", parse_dates=["ds"])
    expected = fitted(pd.read_csv("usual.csv", parse_dates=["ds"])).predict()
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    assert "usual.csv: 190 rows of 2 series every h, 2024-03-01 00:00:00 to 2024-03-05 04" in text
    assert "y: 5 steps of each series, 2024-03-04 17:00:00 to 2024-03-05 09:00:00" in text
    assert "Written f.csv, f.png (of north, south)" in text
    assert "Mean absolute error on the last 20 % of the rows of each series, held out" in text
    assert made(folder) == {"f.csv", "f.png"}


def test_a_time_without_a_name_is_found_again_by_the_model_and_in_the_future(folder):
    usual = pd.read_csv("usual.csv").set_index("ds").rename_axis(None)
    usual.assign(plan=1.0).to_csv("bare.csv")
    later = ahead().set_axis(["unique_id", "ds", "plan", "event"], axis=1)
    later.assign(plan=1.0).set_index("ds").rename_axis(None)[["unique_id", "plan"]].to_csv(
        "then.csv"
    )
    options = ["--future=then.csv", "--quiet"]
    succeed(
        "forecast",
        "bare.csv",
        *TINY_OPTIONS,
        "--target=y",
        "--future-covariates=plan",
        *options,
        "--model-out=model",
        "--out=a.csv",
    )
    succeed("forecast", "bare.csv", "--model-in=model", *options, "--out=b.csv")
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()
    assert list(pd.read_csv("a.csv").columns) == ["unique_id", "time", "y"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["08001", "08003"], ["08001", "08003"]),
        (["1", "01"], ["1", "01"]),
        (["89490000000000000001", "89490000000000000002"], None),
        (["NA", "DE"], None),
        (["7", "3"], [7, 3]),
        (["1.5", "2.5"], [1.5, 2.5]),
    ],
)
def test_ids_are_what_the_file_has_and_numbers_only_where_that_is_the_same(folder, ids, expected):
    usual = pd.read_csv("usual.csv")
    names = dict(zip(LENGTHS, ids, strict=True))
    usual.assign(unique_id=usual["unique_id"].map(names)).to_csv("ids.csv", index=False)
    source = read_source(folder / "ids.csv", Columns())
    assert list(source.layout.ids) == (expected or ids)
    forecast = SeasonalNaiveForecaster(horizon=2, season_length=1, time_column="ds").fit(
        source.table
    )
    table, _ = written_form(forecast.predict(), source.layout)
    assert [line.split(",")[0] for line in csv_text(table).splitlines()[1::2]] == ids


@pytest.mark.parametrize("levels", ["time", "id and time", "unnamed id and time"])
def test_parquet_with_its_time_in_the_index_comes_out_as_columns(levels, folder):
    usual = pd.read_csv("usual.csv", parse_dates=["ds"])
    indexed = usual.set_index("ds" if levels == "time" else ["unique_id", "ds"])
    if levels.startswith("unnamed"):
        indexed = indexed.rename_axis([None, None])
    indexed.to_parquet("index.parquet")
    shown = succeed("forecast", "index.parquet", *TINY_OPTIONS, "--out=f.csv")
    assert "5 steps of each series" in words(shown)
    written = pd.read_csv("f.csv")
    time = "time" if levels.startswith("unnamed") else "ds"
    assert list(written.columns) == ["unique_id", time, "y"]
    expected = fitted(usual).predict()
    np.testing.assert_allclose(written["y"], expected["y"], rtol=1e-6)
    assert written["unique_id"].tolist() == expected["unique_id"].tolist()
    assert pd.to_datetime(written[time]).tolist() == expected["ds"].tolist()
    assert "unique_id" in succeed("forecast", "index.parquet", *TINY_OPTIONS)


def test_covariates_of_all_kinds_go_into_the_model_and_out_of_the_forecast(folder):
    options = [*TINY_OPTIONS, *COVARIATES, *NAMES, "--calendar"]
    succeed(
        "forecast",
        "panel.csv",
        *options,
        "--future=future.csv",
        "--out=a.csv",
        "--quantiles=0.1,0.9",
        "--model-out=model",
    )
    written = pd.read_csv("a.csv", parse_dates=["when"])
    assert list(written.columns) == ["station", "when", "load", "q0.1", "q0.9"]

    names = {"id_column": "station", "time_column": "when"}
    long = pd.read_csv("panel.csv", parse_dates=["when"])
    levels = (0.1, 0.5, 0.9)
    titans = fitted(long, **ROLES, **names, calendar=True, quantiles=levels)
    expected = titans.predict(future=ahead())
    pd.testing.assert_series_equal(written["load"], expected["load"])

    # A saved model wants the same covariates, and gives the same forecast.
    succeed(
        "forecast",
        "panel.csv",
        "--model-in=model",
        "--future=future.csv",
        "--out=b.csv",
        "--quantiles=0.1,0.9",
    )
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()
    result = run("forecast", "panel.csv", "--model-in=model")
    assert result.exit_code == 2
    assert "The model in model needs 'plan', 'event' of the steps to forecast. Give --future" in (
        result.stderr
    )

    # Other plans, another forecast.
    changed = ahead().assign(plan=lambda table: 1 - table["plan"])
    changed.to_csv("changed.csv", index=False)
    succeed("forecast", "panel.csv", "--model-in=model", "--future=changed.csv", "--out=c.csv")
    assert not np.allclose(pd.read_csv("c.csv")["load"], written["load"])


def test_fewer_steps_than_a_saved_model_forecasts_are_the_first_of_each_series(folder):
    long = pd.read_csv("usual.csv", parse_dates=["ds"])
    naive = SeasonalNaiveForecaster(horizon=HORIZON).fit(long)
    naive.save("naive")
    succeed("forecast", "usual.csv", "--model-in=naive", "--horizon=2", "--out=f.csv")
    written = pd.read_csv("f.csv", parse_dates=["ds"])
    first = naive.predict().groupby("unique_id").head(2).reset_index(drop=True)
    pd.testing.assert_frame_equal(written, first, check_dtype=False)


def test_steps_that_are_counted_stay_numbers(folder):
    frame = pd.read_csv("usual.csv").assign(ds=lambda t: t.groupby("unique_id").cumcount())
    frame.to_csv("steps.csv", index=False)
    frame.rename(columns={"ds": "week"}).to_csv("weeks.csv", index=False)
    SeasonalNaiveForecaster(horizon=3, season_length=1).fit(frame).save("naive")
    succeed("forecast", "steps.csv", "--model-in=naive", "--out=a.csv")
    written = pd.read_csv("a.csv")
    assert list(written.columns) == ["unique_id", "ds", "y"]
    assert written["ds"].tolist() == [89, 90, 91, 101, 102, 103]
    table, time_column = open_file(folder / "weeks.csv", time_column="week", id_column=None)
    assert (list(table.columns), time_column) == (["unique_id", "week", "y"], "week")


@pytest.mark.parametrize("ensembles", [0, 1, 2])
def test_a_file_may_call_its_time_otherwise_than_the_model(folder, ensembles):
    frame = pd.read_csv("usual.csv", parse_dates=["ds"])
    model = SeasonalNaiveForecaster(horizon=3, season_length=1, time_column="ds")
    for _ in range(ensembles):
        model = EnsembleForecaster([("naive", model)])
    model.fit(frame).save("naive")
    frame.rename(columns={"ds": "when"}).to_csv("other.csv", index=False)
    succeed("forecast", "other.csv", "--model-in=naive", "--time-column=when", "--out=a.csv")
    succeed("forecast", "usual.csv", "--model-in=naive", "--out=b.csv")
    written, usual = pd.read_csv("a.csv"), pd.read_csv("b.csv")
    pd.testing.assert_frame_equal(written.rename(columns={"when": "ds"}), usual)


def test_future_rows_of_a_file_without_time_follow_it(folder):
    wide = panel().query("station == 'south'")[["load", "plan"]]
    wide.to_csv("wide.csv", index=False)
    pd.DataFrame({"plan": [0, 1, 0, 1, 1]}).to_csv("plan.csv", index=False)
    options = [*TINY_OPTIONS, "--future-covariates=plan", "--future=plan.csv", "--out=f.csv"]
    succeed("forecast", "wide.csv", *options)
    assert pd.read_csv("f.csv")["row"].tolist() == list(range(101, 106))


@pytest.mark.parametrize("name", ["north.parquet", "parts"])
def test_parquet_goes_in_as_it_lies_on_disk(name, folder, monkeypatch):
    frame = pd.read_csv("usual.csv", parse_dates=["ds"])
    if name == "parts":
        (folder / name).mkdir()
        frame.to_parquet(folder / name / "0.parquet", index=False)
    else:
        frame.to_parquet(name, index=False)
    naive = SeasonalNaiveForecaster(horizon=HORIZON, season_length=1).fit(frame)
    naive.save("naive")
    seen = []
    predict = SeasonalNaiveForecaster.predict
    monkeypatch.setattr(
        SeasonalNaiveForecaster,
        "predict",
        lambda self, X, **options: seen.append(type(X)) or predict(self, X, **options),
    )
    text = words(succeed("forecast", name, "--model-in=naive", "--out=f.csv"))
    assert seen == [ParquetFolder]
    assert f"{name}: 190 rows of 2 series every h" in text
    written = pd.read_csv("f.csv", parse_dates=["ds"])
    pd.testing.assert_frame_equal(written, predict(naive), check_dtype=False)


def test_the_picture_says_which_series_it_shows(folder, monkeypatch):
    frame = pd.read_csv("usual.csv")
    many = pd.concat([frame.assign(unique_id=frame["unique_id"] + str(i)) for i in range(5)])
    many.to_csv("many.csv", index=False)
    naive = SeasonalNaiveForecaster(horizon=3, season_length=1)
    naive.fit(many.assign(ds=pd.to_datetime(many["ds"]))).save("naive")
    text = words(succeed("forecast", "many.csv", "--model-in=naive", "--plot=f.png"))
    drawn = ["north0", "south0", "north1", "south1", "north2", "south2", "north3", "south3"]
    assert f"f.png (of {', '.join(drawn)}, the first of 10)" in text
    assert re.search(r"unique_id ds y north0 2024-03-04 17:00:00", text)


# -- evaluate -------------------------------------------------------------------------------------


def test_evaluate_splits_each_series_and_gives_covariates_to_our_model_alone(folder):
    options = [*TINY_OPTIONS, *COVARIATES, *NAMES, "--models=ridge,titans"]
    text = words(succeed("evaluate", "panel.csv", *options, "--csv=table.csv"))
    long = pd.read_csv("panel.csv", parse_dates=["when"])
    names = {"id_column": "station", "time_column": "when"}
    forecasters = {
        "ridge": RidgeForecaster(horizon=HORIZON, target=["load"], **names),
        "titans": TitansForecaster(horizon=HORIZON, random_state=0, **TINY, **ROLES, **names),
    }
    split = fraction_split(min(LENGTHS.values()))
    table = long_horizon_protocol(forecasters, long, **split._asdict()).table()
    exact = ["mse", "mae", "n_windows"]
    written = pd.read_csv("table.csv", index_col="forecaster")
    pd.testing.assert_frame_equal(written[exact], table[exact])
    assert "62 rows for training, 10 for validation, 17 for testing" in text
    assert "(0.7, 0.1 and 0.2 of the rows, of the shortest; of each series)" in text
    assert "Fitted on the first 72 rows of 2 series; 5 steps forecast from each of 13" in text


def test_a_folder_of_parquet_is_read_into_memory_as_it_is_on_disk(folder):
    long = pd.read_csv("usual.csv", parse_dates=["ds"])
    for number, (_, own) in enumerate(long.groupby("unique_id")):
        (folder / "parts" / f"store=0{number}").mkdir(parents=True)
        path = folder / "parts" / f"store=0{number}" / ("a.parquet" if number else "a.pq")
        own.drop(columns="unique_id").to_parquet(path, index=False)
    (folder / "parts" / "forecast.csv").write_text("written beside them")
    columns = Columns(id_column="store")
    layouts = [read_source(folder / "parts", columns, whole=whole).layout for whole in (0, 1)]
    assert layouts[0].ids == layouts[1].ids == ("00", "01")
    assert is_parquet(folder / "parts" / "store=00" / "a.pq")


def test_evaluate_reads_parquet_into_memory(folder):
    pd.read_csv("usual.csv", parse_dates=["ds"]).to_parquet("usual.parquet", index=False)
    options = ["--horizon=5", "--models=seasonal-naive"]
    of_csv, of_parquet = (
        words(succeed("evaluate", name, *options)).split("seasonal-naive")[1].split()[:2]
        for name in ("usual.csv", "usual.parquet")
    )
    assert of_csv == of_parquet


# -- what does not go together --------------------------------------------------------------------

LONG = ["forecast", "panel.csv", *NAMES, "--target=load"]
REFUSED = [
    (
        [*LONG, "--future-covariates=plan"],
        r"--future-covariates names 'plan', known in advance, but --future was not given\.",
    ),
    (
        [*LONG, "--past-covariates=wind", "--future=future.csv"],
        r"--future future\.csv was given, but no column is known in advance\.",
    ),
    ([*LONG, "--holidays=DE"], r"--holidays DE adds public holidays.* --calendar was not given"),
    ([*LONG, "--calendar", "--holidays=Atlantis"], r"holidays must be a country such as 'DE'"),
    (
        [*LONG, "--past-covariates=winds"],
        r"--past-covariates 'winds' names no column of the table, .* Did you mean 'wind'\?",
    ),
    (
        [*LONG, "--past-covariates=load"],
        r"--target 'load' is named in --past-covariates, expected a column without another role",
    ),
    ([*LONG, "--static-covariates=wind"], r"static covariate in column 'wind' must be the same"),
    (["forecast", "panel.csv", "--id-column=station"], r"no time: .* with --time-column\."),
    (["forecast", "panel.csv", "--id-column=stations"], r"--id-column 'stations' names no column"),
    (
        [*LONG, "--future-covariates=plan", "--future=short.csv", "--horizon=5"],
        r"future lacks 1 of the 10 rows to forecast .* series 'south' at 2024-03-05 09:00:00\.$",
    ),
    (
        [*LONG, "--future-covariates=plan", "--future=nowhere.csv"],
        r"No file nowhere\.csv",
    ),
    (
        [*LONG, "--future-covariates=event", "--future=unseen.csv", "--horizon=5"],
        r"has the category 'flood' in .*, which fit has not seen; it knows 'lunch', 'none'",
    ),
    (["forecast", "panel.csv", "--model-in=m", "--calendar"], r"--calendar is for fitting a model"),
    (
        ["forecast", "panel.csv", "--model-in=m", "--past-covariates=wind"],
        r"--past-covariates is for fitting a model, but --model-in m is fitted already",
    ),
    (
        ["forecast", "usual.csv", "--model-in=naive", "--future=future.csv"],
        r"the model in naive has no covariates that are known in advance\. Leave it out",
    ),
    (["forecast", "steps.csv", "--calendar", "--max-epochs=1"], r"--calendar needs time stamps"),
    (["forecast", "usual.parquet", "--plot=f.png"], r"--plot draws what was known, but the rows"),
    (["forecast", "broken.parquet"], r"broken\.parquet"),
    (
        ["forecast", "panel.csv", "--future=future.csv", "--out=future.csv"],
        r"--out names the same file as --future",
    ),
    (
        ["forecast", "usual.csv", "--out=same", "--model-out=same"],
        r"--out names the same file as --model-out",
    ),
    (
        ["forecast", "usual.csv", "--model-in=naive", "--out=naive/forecaster.json"],
        r"--out 'naive/forecaster\.json' lies in --model-in 'naive', and would spoil it",
    ),
    (["evaluate", "usual.csv"], r"--horizon 96 is longer than the 17 test rows, the last of 89"),
    (["demo", "usual.csv"], r"demo shows one series, but usual\.csv has 2, told apart by"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED]
)
def test_what_does_not_go_together_gets_a_sentence(arguments, sentence, folder):
    usual = pd.read_csv("usual.csv", parse_dates=["ds"])
    usual.to_parquet("usual.parquet", index=False)
    (folder / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    ahead()[:-1].to_csv("short.csv", index=False)
    ahead().assign(event="flood").to_csv("unseen.csv", index=False)
    usual.assign(ds=usual.groupby("unique_id").cumcount()).to_csv("steps.csv", index=False)
    SeasonalNaiveForecaster(horizon=HORIZON, season_length=1).fit(usual).save("naive")
    before = made(folder)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert re.search(sentence, words(result.stderr)), result.stderr
    assert "Traceback" not in result.output
    assert made(folder) == before


def test_all_that_can_be_checked_is_checked_before_the_fit(folder, monkeypatch):
    monkeypatch.setattr(forecast_command, "_fit", lambda *_: pytest.fail("fitted"))
    ahead()[:-1].to_csv("short.csv", index=False)
    options = ["--future-covariates=plan", "--future=short.csv", "--horizon=5"]
    result = run(*LONG, *options)
    assert result.exit_code == 2
    assert "future lacks 1 of the 10 rows" in result.stderr
