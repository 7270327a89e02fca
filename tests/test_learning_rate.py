"""A learning rate is suggested, and the forecaster left alone."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

from titans_ts import ParameterError
from titans_ts.training import find_learning_rate


def test_the_rate_is_where_the_loss_falls_before_it_runs_away(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    forecaster = tiny(variant="mag")
    before = forecaster.get_params()
    found = find_learning_rate(forecaster, waves(), highest=10.0, n_steps=60)
    assert forecaster.get_params() == before
    with pytest.raises(NotFittedError):
        forecaster.predict()
    assert 1e-4 < found.suggestion < 1.0
    assert found.rates[0] == pytest.approx(1e-5)
    assert found.rates.shape == found.losses.shape
    assert np.all(np.diff(found.rates) > 0)
    best = found.losses.argmin()
    assert found.suggestion <= found.rates[best]
    assert found.losses[-1] > found.losses[best]
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_fit_with_the_suggestion_beats_one_with_the_lowest_rate():
    rate = find_learning_rate(tiny(), waves(), n_steps=30).suggestion
    losses = [
        tiny(learning_rate=r).fit(waves()).history_[0]["validation_loss"] for r in (rate, 1e-5)
    ]
    assert losses[0] < losses[1]


def test_callbacks_that_stop_a_fit_or_keep_its_weights_do_not_see_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks = [
        EarlyStopping("validation_loss", patience=1),
        EarlyStopping("train_loss", patience=0, min_delta=100.0),
        ModelCheckpoint(monitor="validation_loss"),
    ]
    forecaster = tiny(trainer_kwargs={"callbacks": callbacks, "enable_checkpointing": True})
    assert len(find_learning_rate(forecaster, waves(), n_steps=12).losses) == 12
    assert forecaster.trainer_kwargs["callbacks"] is callbacks
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limits",
    [
        {"max_epochs": 2},
        {"max_steps": 5},
        {"max_time": {"seconds": 0}},
        {"fast_dev_run": True},
        {"callbacks": Timer({"seconds": 0})},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_what_ends_a_fit_does_not_cut_the_sweep_short(limits):
    forecaster = tiny(trainer_kwargs=limits)
    found = find_learning_rate(forecaster, waves(), n_steps=12)
    assert len(found.losses) == 12
    assert forecaster.trainer_kwargs.items() >= limits.items()


@pytest.mark.parametrize(
    "options", [{"lowest": 0.0}, {"lowest": 0.1, "highest": 0.01}, {"n_steps": 3}]
)
def test_a_range_that_makes_no_sense_is_refused(options):
    with pytest.raises(ParameterError, match=r"lowest|highest|n_steps"):
        find_learning_rate(tiny(), waves(), **options)
