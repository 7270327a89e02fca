"""Training minds its own business: no output, no files, no trace in global state."""

import logging
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

LIGHTNING_LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
)


class Fail(Callback):
    """Raise in the middle of training."""

    def __init__(self, error):
        self.error = error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        raise self.error


# -- randomness ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)]
)
def test_the_same_random_state_gives_the_same_forecaster(state):
    one, two = (tiny(random_state=state()).fit(waves()) for _ in range(2))
    np.testing.assert_array_equal(one.predict(), two.predict())
    assert one.history_ == two.history_


def test_other_random_states_give_other_forecasters():
    forecasts = [tiny(random_state=seed).fit(waves()).predict() for seed in (3, 4, None, None)]
    for i, one in enumerate(forecasts):
        for other in forecasts[i + 1 :]:
            assert not np.allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("random_state", [None, 0])
def test_global_random_states_are_left_as_they_were(random_state):
    def states():
        return (
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            np.random.get_state()[2],  # noqa: NPY002
            random.getstate(),
        )

    before = states()
    tiny(random_state=random_state).fit(waves()).predict()
    assert states() == before


# -- silence ---------------------------------------------------------------------------------------


def test_a_fit_prints_nothing_and_leaves_no_file(tmp_path):
    """In a process of its own: with Python's own warning filters and Lightning's own loggers."""
    program = (
        "import numpy as np\n"
        "from titans_ts import TitansForecaster\n"
        "X = np.random.default_rng(0).normal(size=(401, 2)).cumsum(axis=0)\n"
        "f = TitansForecaster(horizon=7, context_length=96, dim=8, n_heads=1, max_epochs=1,\n"
        "                     trainer_kwargs={'limit_train_batches': 3})\n"
        "for precision in (None, 'bf16-mixed'):\n"
        "    f.set_params(precision=precision).fit(X).predict()\n"
        "f.score(X)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", [None, "bf16-mixed"])
@pytest.mark.parametrize("variant", ["mac", "mag"])
def test_a_fit_raises_no_warning(precision, variant, tmp_path, monkeypatch, capfd):
    """Warnings are errors in these tests."""
    monkeypatch.chdir(tmp_path)
    tiny(variant=variant, precision=precision, channel_mixing=True).fit(waves()).predict()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_one_bar(capfd):
    tiny(verbose=1, max_epochs=2, patience=5).fit(waves())
    out, err = capfd.readouterr()
    shown = out + err
    assert "Epoch 1: 100%" in shown
    assert "validation_loss=" in shown
    assert "Validation" not in shown
    assert "v_num" not in shown
    assert len(shown.strip("\n").split("\n")) == 1  # one line, drawn over and over


@pytest.mark.parametrize("fails", [False, True])
def test_lightnings_loggers_get_their_levels_back(fails):
    loggers = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for i, logger in enumerate(loggers):
            logger.setLevel(11 + i)
        if fails:
            with pytest.raises(RuntimeError, match="on purpose"):
                tiny(trainer_kwargs={"callbacks": Fail(RuntimeError("on purpose"))}).fit(waves())
        else:
            tiny().fit(waves())
        assert [logger.level for logger in loggers] == [11, 12, 13]
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def test_an_interrupt_stays_an_interrupt_and_leaves_nothing_fitted():
    """Lightning would end the process, and be deaf to further interrupts."""
    handler = signal.getsignal(signal.SIGINT)
    state = torch.get_rng_state()
    forecaster = tiny(trainer_kwargs={"callbacks": Fail(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(waves())
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(NotFittedError):
        forecaster.predict()
