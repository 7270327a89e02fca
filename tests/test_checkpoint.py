"""A fit that was cut short goes on from its checkpoint folder, as if nothing had happened."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from crashes import Crash, CrashAt, assert_same_fit, listing, save_after_every_step
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from tiny_fits import tiny, waves

from titans_ts import CheckpointError, ParameterError, RidgeForecaster
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.persistence.files import signed_text
from titans_ts.training import checkpoint


def fit(folder=None, X=None, *, batch=None, epoch=None, more=(), validation=None, **options):
    """A fit of three epochs of five steps, which crashes where it is told to."""
    trainer = {"limit_train_batches": 5, **options.pop("trainer_kwargs", {})}
    trainer["callbacks"] = [CrashAt(batch, epoch), *more]
    options = {"max_epochs": 3, "batch_size": 11, "variant": "mag"} | options
    forecaster = tiny(trainer_kwargs=trainer, **options)
    return forecaster.fit(waves() if X is None else X, validation=validation, checkpoint=folder)


def crash(folder, *arguments, **options):
    with pytest.raises(Crash):
        fit(folder, *arguments, **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save_after_every_step(monkeypatch)
    return tmp_path / "progress"


# -- to the same bit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"batch": 1}, id="behind the first step"),
        pytest.param({"batch": 7}, id="in the middle of an epoch"),
        pytest.param({"batch": 10}, id="at the start of an epoch"),
        pytest.param({"epoch": 0}, id="at the end of an epoch"),
        pytest.param({"epoch": 2}, id="when only the end was missing"),
    ],
)
def test_a_fit_that_crashed_goes_on_to_the_same_bit(folder, where):
    crash(folder, **where)
    assert_same_fit(fit(folder), fit())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"validation": 0}, id="without validation"),
        pytest.param({"precision": "bf16-mixed"}, id="bf16"),
        pytest.param({"precision": "64-true"}, id="float64"),
        pytest.param({"trainer_kwargs": {"accumulate_grad_batches": 2}}, id="accumulated"),
        pytest.param({"trainer_kwargs": {"val_check_interval": 2}}, id="judged within epochs"),
        pytest.param({"trainer_kwargs": {"max_steps": 9}}, id="max_steps"),
        pytest.param({"patience": 1, "learning_rate": 0.1, "max_epochs": 9}, id="stops early"),
        pytest.param({"depth": 0, "variant": "mac"}, id="highway alone"),
        pytest.param({"channel_mixing": True, "normalisation": "window"}, id="channels mixed"),
    ],
)
def test_whatever_the_options_it_is_the_same_fit(folder, options):
    crash(folder, batch=8, **options)
    assert_same_fit(fit(folder, **options), fit(**options))


def test_a_fit_may_crash_again_and_again(folder):
    for batch in (2, 3, 9, 11):
        crash(folder, batch=batch)
    assert_same_fit(fit(folder), fit())


def test_no_step_is_computed_twice(folder, monkeypatch):
    crash(folder, batch=8)
    steps = []
    plain = ForecastModel.training_loss

    def counting(self, batch, n_origins=1):
        steps.append(self.training)
        return plain(self, batch, n_origins)

    monkeypatch.setattr(ForecastModel, "training_loss", counting)
    fit(folder)
    assert sum(steps) == 3 * 5 - 8


class Judged(Callback):
    """Note what a callback of the user's is told of validation."""

    def __init__(self):
        self.losses = []

    def on_validation_end(self, trainer, pl_module):
        self.losses.append(trainer.callback_metrics["validation_loss"].item())


def test_callbacks_of_ones_own_come_to_where_they_were(folder):
    stopping = {"monitor": "validation_loss", "patience": 1, "min_delta": 100.0}
    crash(folder, batch=8, more=[Judged(), EarlyStopping(**stopping)])
    seen, all_of_it = Judged(), Judged()
    resumed = fit(folder, more=[seen, EarlyStopping(**stopping)])
    assert_same_fit(resumed, fit(more=[all_of_it, EarlyStopping(**stopping)]))
    assert len(resumed.history_) == 2
    assert seen.losses == all_of_it.losses


def test_without_random_state_the_seed_of_the_start_is_kept(folder):
    crash(folder, batch=8, random_state=None)
    seed = json.loads((folder / "progress-000000009.json").read_text())["seed"]
    resumed = fit(folder, random_state=None)
    assert json.loads((folder / "finished.json").read_text())["seed"] == seed
    assert_same_fit(fit(folder, random_state=None), resumed)


@pytest.mark.parametrize("source", [np.random.RandomState, np.random.default_rng])
def test_a_generator_gives_a_seed_once_for_a_record(folder, source):
    drawn = source(0)
    crash(folder, batch=8, random_state=drawn)
    resumed = fit(folder, random_state=drawn)  # which would give another by now
    assert_same_fit(resumed, fit(random_state=source(0)))


# -- once it has ended -----------------------------------------------------------------------------


def test_a_finished_fit_is_returned_at_once(folder):
    first = fit(folder)
    assert listing(folder) == ["finished.json", "finished.safetensors"]
    again = fit(folder, batch=0)  # would crash at the first step
    assert_same_fit(again, first)
    assert not again.model_.training


def test_two_records_are_kept_while_training(folder):
    crash(folder, batch=7)
    assert listing(folder) == [
        f"progress-{number:09d}.{kind}" for number in (7, 8) for kind in ("json", "safetensors")
    ]


def test_within_an_epoch_it_saves_every_so_many_seconds_only(folder, monkeypatch):
    monkeypatch.setattr("titans_ts.training.resume.SAVE_EVERY", 3600.0)
    crash(folder, batch=7)
    assert listing(folder) == ["progress-000000001.json", "progress-000000001.safetensors"]


def test_no_checkpoint_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit()
    assert listing(tmp_path) == []


# -- another fit is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.01}, r"learning_rate was 0.002 there and is 0.01 now"),
        ({"horizon": 5}, "horizon was 7 there and is 5 now"),
        ({"X": waves(399)}, "the data, or the rows that are set aside"),
        ({"X": waves() + 1e-9}, "the data, or the rows that are set aside"),
        ({"validation": 53}, "the data, or the rows that are set aside"),
        ({"random_state": 1}, "random_state was another"),
        ({"more": [Judged()]}, "trainer_kwargs was"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_fit_is_refused_with_what_differs(folder, options, message, finished):
    if finished:
        fit(folder, max_epochs=1)
    else:
        crash(folder, batch=1, max_epochs=1)
    before = listing(folder)
    expected = f"holds another fit: {message}.*name another folder, or delete this one"
    with pytest.raises(CheckpointError, match=expected):
        fit(folder, max_epochs=1, **options)
    assert listing(folder) == before


def test_what_changes_nothing_may_change(folder):
    crash(folder, batch=8)
    frame = waves()
    frame.flags.writeable = False
    assert len(fit(folder, X=frame).history_) == 3


def test_a_missing_value_is_other_data(folder):
    X = waves()
    X[200, 1] = 0.0
    crash(folder, batch=1, X=X)
    gap = X.copy()
    gap[200, 1] = np.nan
    with pytest.raises(CheckpointError, match="the data"):
        fit(folder, X=gap)


def test_rows_of_another_frequency_are_another_fit(folder):
    values = pd.DataFrame(waves(), columns=["a", "b"][: waves().shape[1]])
    hours, days = (
        values.set_axis(pd.date_range("2024-01-01", periods=len(values), freq=freq))
        for freq in ("h", "D")
    )
    crash(folder, hours, batch=7)
    with pytest.raises(CheckpointError, match="their frequency"):
        fit(folder, days)


def test_another_version_is_refused(folder, monkeypatch):
    crash(folder, batch=1)
    written = checkpoint.CHECKPOINT_VERSION
    monkeypatch.setattr(checkpoint, "CHECKPOINT_VERSION", 1)
    with pytest.raises(
        CheckpointError, match=rf"in format {written}; this is .* from format 1 only.*Delete"
    ):
        fit(folder)


def test_numbers_of_numpy_are_the_same_fit(folder):
    crash(folder, batch=8, dim=8, patch_length=4)
    numbers = {"dim": np.int64(8), "patch_length": np.int32(4), "learning_rate": np.float64(2e-3)}
    assert len(fit(folder, **numbers).history_) == 3


@pytest.mark.parametrize("name", ["tensors_bytes", "state", "parameters", "data", "seed"])
def test_a_record_that_says_too_little_is_damaged(folder, name):
    fit(folder, max_epochs=1)
    file = folder / "finished.json"
    header = json.loads(file.read_text())
    header.pop("sha256")
    header.pop(name)
    file.write_text(signed_text(header))
    with pytest.raises(CheckpointError, match=rf"finished.json' is damaged: it has no '{name}'"):
        fit(folder, max_epochs=1)


@pytest.mark.parametrize("path", [7, "", [], b""])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ParameterError, match="checkpoint must be the path of a folder, or None"):
        fit(path)


def test_a_file_and_a_folder_of_something_else_are_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ParameterError, match="is a file; expected a folder"):
        fit(tmp_path / "file")
    RidgeForecaster(horizon=5, context_length=29).fit(waves()).save(tmp_path / "model")
    with pytest.raises(ParameterError, match=r"holds 'arrays.safetensors', which no fit wrote"):
        fit(str(tmp_path / "model"))


# -- damage ----------------------------------------------------------------------------------------


def spoil(file, how):
    content = file.read_bytes()
    if how == "flip":
        content = content[:-9] + bytes([content[-9] ^ 4]) + content[-8:]
    file.unlink() if how == "missing" else file.write_bytes(
        content[:-7] if how == "cut" else content
    )


@pytest.mark.parametrize("how", ["flip", "cut", "missing"])
@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_where_the_last_record_is_damaged_the_one_before_it_is_used(folder, kind, how):
    crash(folder, batch=8)
    spoil(folder / f"progress-000000009.{kind}", how)
    assert_same_fit(fit(folder), fit())


def test_where_both_are_damaged_it_says_so_and_trains_nothing(folder):
    crash(folder, batch=8)
    for file in folder.glob("*.safetensors"):
        spoil(file, "flip")
    with pytest.raises(
        CheckpointError,
        match=r"progress-000000009.safetensors is missing, truncated or altered.*"
        "No other record in the folder is whole. Delete the folder",
    ):
        fit(folder, batch=0)


def test_what_a_killed_write_left_is_cleared_away(folder):
    crash(folder, batch=8)
    for part in ("part", f"{'0f' * 16}.part"):  # an earlier version's, and ours
        (folder / f".progress-000000010.json.{part}").write_text("half")
    assert_same_fit(fit(folder), fit())
    assert listing(folder) == ["finished.json", "finished.safetensors"]


@pytest.mark.parametrize("stop", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_record_before_it(folder, monkeypatch, stop):
    crash(folder, batch=8)
    before = listing(folder)

    def fail(tensors, path):
        path.write_bytes(b"half")
        raise stop("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fail)
        with pytest.raises(stop):
            fit(folder)
    assert listing(folder) == before
    assert_same_fit(fit(folder), fit())


def test_another_number_of_devices_is_refused(folder, monkeypatch):
    crash(folder, batch=8)
    before = listing(folder)
    monkeypatch.setattr("lightning.pytorch.Trainer.world_size", 2)
    message = r"written with 1 as the number of all devices, and now it is 2\. Train on as many"
    with pytest.raises(CheckpointError, match=message):
        fit(folder)
    assert listing(folder) == before


def test_nothing_in_a_checkpoint_is_a_pickle(folder):
    crash(folder, batch=8)
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
        assert re.search(rb"torch|pickle|__reduce__", content) is None
