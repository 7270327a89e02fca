"""What a step of training takes, model beside model: machines agree on ratios, not on seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.language.contenders import depth_of
from benchmarks.language.corpora import Splits
from benchmarks.language.records import Record
from benchmarks.language.training import Run, Training, outcome_of

__all__ = ["BASE", "current_rates", "measure_rates"]

BASE = "transformer++"
ROUNDS = 3


def measure_rates(runs: list[Run], texts: Splits) -> list[Record]:
    """Let all read a stretch in turn, some rounds; ``ratio``: its median over that of the base.

    By the clock of the process, so that what else runs on the machine counts for little.
    """
    base = replace(runs[0], name=BASE, seed=0, depth=depth_of(BASE))
    all_runs = {run.name: run for run in (base, *runs)}
    with TemporaryDirectory() as folder:
        nothing = Path(folder) / "progress.pt"
        trainings = {name: Training(run, texts, nothing) for name, run in all_runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(ROUNDS):
        for name, training in trainings.items():
            before = training.seconds
            training.read_stretch()
            seconds[name].append(training.seconds - before)
    ratios = {
        name: median(own / other for own, other in zip(times, seconds[BASE], strict=True))
        for name, times in seconds.items()
    }
    return [
        outcome_of(all_runs[name], training.model) | {"ratio": round(ratios[name], 4)}
        for name, training in trainings.items()
    ]


def current_rates(rates: list[Record]) -> dict[tuple[str, int, int], float]:
    """Ratios by name, blocks and rows a step: the last of each, of models that have not changed."""
    found = {}
    for rate in rates:
        run = Run(rate["name"], depth=rate["depth"], rows=rate["rows"])
        if run.has_shape(rate["shape"]):
            found[run.name, run.depth, run.rows] = rate["ratio"]
    return found
