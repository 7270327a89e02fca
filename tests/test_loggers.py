"""Lightning's loggers, through trainer_kwargs, hear of every epoch and of the hyper-parameters."""

import csv

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger
from sklearn.base import clone
from tiny_fits import tiny, waves


class Listener(Logger):
    """A logger that remembers."""

    def __init__(self):
        super().__init__()
        self.metrics, self.hyperparameters = [], []

    name, version = "listener", 0

    def log_metrics(self, metrics, step=None):
        self.metrics.append(metrics)

    def log_hyperparams(self, params):
        self.hyperparameters.append(params)

    def heard(self, name):
        return [metrics[name] for metrics in self.metrics if name in metrics]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_logger_hears_the_losses_of_every_epoch():
    listener = Listener()
    fitted = tiny(max_epochs=3, trainer_kwargs={"logger": listener}).fit(waves())
    for name in ("train_loss", "validation_loss"):
        assert listener.heard(name) == [epoch[name] for epoch in fitted.history_]
    assert len(fitted.history_) == 3


def test_a_logger_hears_how_the_learning_rate_falls():
    listener = Listener()
    tiny(max_epochs=3, learning_rate=1e-2, trainer_kwargs={"logger": listener}).fit(waves())
    rates = listener.heard("learning_rate")
    assert len(rates) == 3
    assert 1e-2 > rates[0] > rates[1] > rates[2] >= 0


def test_a_logger_hears_the_hyperparameters_as_plain_values():
    listener = Listener()
    options = {"quantiles": (0.1, 0.9), "backbone_options": {"momentum": False}}
    tiny(**options, trainer_kwargs={"logger": listener}).fit(waves())
    (told,) = listener.hyperparameters
    assert told["horizon"] == 7
    assert told["variant"] == "lmm"
    assert told["quantiles"] == "(0.1, 0.9)"
    assert told["backbone_options"] == "{'momentum': False}"
    assert told["freq"] is None
    assert "trainer_kwargs" not in told


def test_a_logger_changes_nothing_about_the_fit():
    silent = tiny(max_epochs=2).fit(waves())
    logged = tiny(max_epochs=2, trainer_kwargs={"logger": Listener()}).fit(waves())
    assert logged.history_ == silent.history_
    assert (logged.predict() == silent.predict()).all()


def test_files_of_a_logger_are_where_it_was_told_and_nowhere_else(nowhere, tmp_path, capsys):
    logger = CSVLogger(tmp_path / "logs", name="station", flush_logs_every_n_steps=1)
    fitted = tiny(max_epochs=2, trainer_kwargs={"logger": logger}).fit(waves())
    assert sorted(f.name for f in (tmp_path / "logs" / "station").iterdir()) == ["version_0"]
    with (tmp_path / "logs" / "station" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows if row["train_loss"]]
    assert losses == pytest.approx([epoch["train_loss"] for epoch in fitted.history_])
    assert not list(nowhere.iterdir())
    assert capsys.readouterr() == ("", "")


def test_without_a_logger_no_file_is_written(nowhere):
    tiny().fit(waves())
    assert not list(nowhere.iterdir())


def test_clones_that_share_a_logger_write_a_version_each(tmp_path):
    logger = CSVLogger(tmp_path, name="search", flush_logs_every_n_steps=1)
    first = tiny(trainer_kwargs={"logger": logger})
    for dim in (8, 16):
        clone(first).set_params(dim=dim).fit(waves())
    versions = sorted((tmp_path / "search").iterdir())
    assert [version.name for version in versions] == ["version_0", "version_1"]
    assert ["dim: 8" in (v / "hparams.yaml").read_text() for v in versions] == [True, False]


def test_fits_of_one_forecaster_go_to_one_logger():
    listener = Listener()
    forecaster = tiny(trainer_kwargs={"logger": listener})
    forecaster.fit(waves()).fit(waves())
    assert len(listener.hyperparameters) == len(listener.heard("train_loss")) == 2
