"""Peak memory of fit on a long table, above what the imports take.

    python benchmarks/fit_memory.py [--rows 57600] [--channels 7] [--steps 60] [--json]

Fits a ``TitansForecaster`` with default parameters to random walks with a daily and a weekly
rhythm, in a process of its own, and reads that process's peak resident size from the operating
system before and after. ``--steps`` training steps are enough for memory to settle, since every
step cuts its windows anew and frees them; validation over all its windows, a forecast and a score
over the last rows follow. ``--steps 0`` trains the default number of epochs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

MIB = 2**20


def peak() -> int:
    """Peak resident size of this process so far, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def make_series(rows: int, channels: int):
    """Random walks with a daily and a weekly rhythm of 15-minute rows, shape (rows, channels)."""
    import numpy as np

    rng = np.random.default_rng(0)
    time = np.arange(rows)[:, None]
    phase = rng.uniform(0, 2 * np.pi, channels)
    daily = 3 * np.sin(2 * np.pi * time / 96 + phase)
    weekly = np.sin(2 * np.pi * time / 672 + phase)
    return daily + weekly + 0.1 * rng.normal(size=(rows, channels)).cumsum(axis=0)


def measure(rows: int, channels: int, steps: int) -> dict[str, float]:
    """Fit in this process; sizes in bytes."""
    import lightning.pytorch  # noqa: F401 - counted among the imports
    import pandas  # noqa: F401

    from titans_ts import TitansForecaster

    X = make_series(rows, channels)
    before = peak()
    options = {"limit_train_batches": steps, "max_epochs": 1} if steps else None
    forecaster = TitansForecaster(horizon=96, random_state=0, trainer_kwargs=options).fit(X)
    after_fit = peak()
    forecaster.predict()
    forecaster.score(X[-2048:])
    return {
        "data": X.nbytes,
        "imports": before,
        "fit": after_fit - before,
        "forecast": peak() - before,
        "epochs": len(forecaster.history_),
    }


def measure_afresh(rows: int, channels: int, steps: int) -> dict[str, float]:
    """As :func:`measure`, in a process of its own, whose peak nothing else has raised."""
    numbers = [f"--rows={rows}", f"--channels={channels}", f"--steps={steps}"]
    command = [sys.executable, str(Path(__file__).resolve()), *numbers, "--json", "--here"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=57_600)
    parser.add_argument("--channels", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60, help="training steps; 0: all there are")
    parser.add_argument("--json", action="store_true", help="print bytes as JSON")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    run = measure if given.here else measure_afresh
    result = run(given.rows, given.channels, given.steps)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{given.channels} x {given.rows} values, {result['data'] / MIB:.0f} MiB as float64")
    print(f"imports and data         {result['imports'] / MIB:6.0f} MiB")
    print(f"fit, above that          {result['fit'] / MIB:6.0f} MiB")
    print(f"and forecast and score   {result['forecast'] / MIB:6.0f} MiB")


if __name__ == "__main__":
    main()
