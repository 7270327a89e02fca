"""Programs that run in a process of their own, and are killed there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

FIT = """
import json, sys
sys.path.insert(0, {tests!r})
from killing import fit_slowly
fit_slowly(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
"""

SAVE = """
import sys
sys.path.insert(0, {tests!r})
from killing import save_without_end
save_without_end(sys.argv[1])
"""


def fit_slowly(folder, result, pause, n_devices):
    """Fit with a checkpoint saved about every tenth of a second, and write the figures."""
    import json
    import time

    from lightning.pytorch import Callback
    from tiny_fits import tiny, waves

    from titans_ts.training import resume

    class Pause(Callback):
        def on_train_batch_end(self, trainer, pl_module, *arguments):
            if pl_module.replay is None:
                time.sleep(pause)

    resume.SAVE_EVERY = 0.1
    trainer = {"limit_train_batches": 20, "callbacks": Pause()}
    more = {}
    if n_devices > 1:
        trainer["strategy"] = "ddp_fork"
        more = {"devices": n_devices, "accelerator": "cpu"}
    forecaster = tiny(
        max_epochs=6, patience=9, batch_size=11, variant="mac", trainer_kwargs=trainer, **more
    )
    X = waves()
    forecaster.fit(X, checkpoint=None if folder == "-" else folder)
    figures = {
        "history": forecaster.history_,
        "best_epoch": forecaster.best_epoch_,
        "forecast": forecaster.predict().tolist(),
        "score": forecaster.score(X),
    }
    Path(result).write_text(json.dumps(figures))


def save_without_end(path):
    """Save one of two models over the other, on and on."""
    import itertools

    import numpy as np

    from titans_ts import RidgeForecaster

    X = np.sin(np.arange(300.0))[:, None] * np.arange(1.0, 9.0)
    models = [RidgeForecaster(horizon=h, context_length=64).fit(X) for h in (5, 7)]
    for model in itertools.cycle(models):
        model.save(path)


def start(program, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program.format(tests=str(HERE)), *map(str, arguments)],
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill_after(process, seconds):
    """Kill -9 after so long, with workers; False where the process had ended by then."""
    time.sleep(seconds)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return True


def wait_for(condition, process, timeout=90):
    """Wait until something can be seen; fail where the process ended before."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
