"""Peak memory of ``fit`` on 7 x 57,600 values, above what the imports take.

    python benchmarks/fit_memory.py [--steps 150]

Default parameters, horizon 96; ``--steps`` training steps and one validation, by which time memory
has settled. Linux counts the peak in ``ru_maxrss``.
"""

from __future__ import annotations

import argparse
import resource

import numpy as np

from titans_ts import TitansForecaster


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    rng = np.random.default_rng(0)
    time = np.arange(57_600)[:, None]
    rows = np.sin(time * 2 * np.pi / 96) + 0.01 * rng.normal(size=(57_600, 7)).cumsum(axis=0)
    # A first fit on a few rows, so that what torch and Lightning load late counts as an import.
    TitansForecaster(horizon=96, max_epochs=1, trainer_kwargs={"max_steps": 1}).fit(rows[:2000])
    before = peak_mb()
    limits = {"max_steps": steps, "max_epochs": -1}
    forecaster = TitansForecaster(horizon=96, trainer_kwargs=limits).fit(rows)
    forecaster.predict()
    print(
        f"{before:.0f} MB after the imports, peak {peak_mb():.0f} MB: "
        f"fit took {peak_mb() - before:.0f} MB above them"
    )


if __name__ == "__main__":
    main()
