"""``titans-ts tune``: the whole command for a worker."""

import pandas as pd
import pytest
from command_line import HORIZON, files, run, station, succeed, words

from titans_ts import EnsembleForecaster, TitansForecaster

# The widths differ and the rest is small: a trial takes a moment.
QUICK = [
    "tune",
    "station.csv",
    f"--horizon={HORIZON}",
    "--max-epochs=1",
    "--accelerator=cpu",
    "--vary=dim,learning_rate",
    "--variant=lmm",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with one file of data."""
    monkeypatch.chdir(tmp_path)
    station().to_csv("station.csv")
    return tmp_path


def test_a_search_shows_its_trials_and_saves_the_best_model(folder):
    shown = succeed(*QUICK, "--trials=2", "--out=model", "--csv=trials.csv")
    assert "titans-ts: 2 trials, 2 complete" in shown
    assert "against the defaults" in shown
    assert files(folder) == {"model", "trials.csv"}
    trials = pd.read_csv("trials.csv")
    model = TitansForecaster.load("model")
    best = trials.iloc[0]
    assert (model.dim, model.learning_rate) == (best["dim"], pytest.approx(best["learning_rate"]))
    assert f"mae {-best['score']:.4g}" in shown


def test_the_mean_of_candidates_is_saved_and_forecasts(folder):
    shown = succeed(*QUICK, "--trials=3", "--ensemble=2", "--out=model", "--csv=trials.csv")
    assert "the mean of 2 candidates" in shown
    trials = pd.read_csv("trials.csv")
    assert trials["trial"][2] == 0  # the defaults, which are a member though they are the worst
    chosen = trials.iloc[[0, 2]]
    members = EnsembleForecaster.load("model").members_
    assert [member.dim for member in members] == chosen["dim"].tolist()
    assert [m.learning_rate for m in members] == pytest.approx(chosen["learning_rate"].tolist())
    shown = succeed("forecast", "station.csv", "--model-in=model", "--out=next.csv")
    assert "EnsembleForecaster, reading" in shown
    assert len(pd.read_csv("next.csv")) == HORIZON


def test_the_command_joins_the_study_of_a_search_and_goes_on_with_it(folder):
    shown = succeed(*QUICK, "--trials=1", "--storage=study.log", "--study=first")
    assert "first in study.log: 1 trial," in shown
    assert files(folder) == {"study.log"}
    again = succeed(*QUICK, "--trials=2", "--storage=study.log", "--study=first", "--csv=two.csv")
    assert "first in study.log: 2 trials, 2 complete" in again
    succeed(*QUICK, "--trials=2", "--csv=alone.csv")  # draws the same, being of the same seed
    drawn = [pd.read_csv(f"{name}.csv")[["dim", "learning_rate"]] for name in ("two", "alone")]
    pd.testing.assert_frame_equal(*drawn)


def test_a_study_of_another_model_is_not_joined(folder):
    succeed(*QUICK, "--trials=1", "--storage=study.log")
    result = run(*QUICK, "--trials=2", "--storage=study.log", "--variant=mac")
    assert "its variant is 'lmm', and here it is 'mac'" in words(result.stderr)


def test_a_study_of_other_rows_is_not_joined(folder):
    succeed(*QUICK, "--trials=1", "--storage=study.log")
    (1000 * station()).to_csv("station.csv")
    result = run(*QUICK, "--trials=1", "--storage=study.log")
    assert "is of other data" in words(result.stderr)


def test_the_study_is_not_overwritten_by_the_table_of_its_trials(folder):
    succeed(*QUICK, "--trials=1", "--storage=study.log")
    before = (folder / "study.log").read_bytes()
    result = run(*QUICK, "--trials=1", "--storage=study.log", "--csv=study.log")
    assert "--csv names the same file as --storage" in words(result.stderr)
    assert (folder / "study.log").read_bytes() == before


def test_quiet_is_quiet(folder):
    assert succeed(*QUICK, "--trials=1", "--quiet") == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials=-1"], "--trials must be a whole number"),
        (["--trials=0"], "--trials 0 means any number, and needs --timeout to end."),
        (["--timeout=-1"], "--timeout must be a number"),
        (
            ["--vary=dim,width"],
            "--vary names 'width', expected some of learning_rate",
        ),
        (["--metric=mad"], "metric must be one of 'mae'"),
        (["--storage=study.txt"], "storage must be a file whose name ends in .log or .journal"),
        (["--storage=no/such/folder.log"], "there is no folder"),
        (["--csv=station.csv"], "--csv names the same file as the data"),
        (["--out=station.csv"], "station.csv"),
        (["--out=same", "--csv=same"], "--csv names the same file as --out"),
        (["--splits=0"], "--splits must be a whole number"),
        (["--ensemble=0", "--out=model"], "--ensemble must be a whole number"),
        (["--ensemble=3"], "--ensemble 3 is about the model that --out saves; give --out FOLDER"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(folder, options, message):
    result = run(*QUICK, *options)
    assert result.exit_code in (1, 2)
    assert message in words(result.stderr)
    assert files(folder) == set()
