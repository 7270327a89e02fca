"""What workers gain, and what a search gains.

    python benchmarks/search.py sleeping [--seconds 30]   # four workers against one; bar 3.8
    python benchmarks/search.py fits [--seconds 180]      # two against one, real fits; bar 1.7
    python benchmarks/search.py etth1 --seed 0            # a search of 30 minutes, and defaults
    python benchmarks/search.py etth2 --seed 0            # the same on data that chose nothing here

``etth1`` and ``etth2`` judge three forecasters on the test period, each fitted to the rows before
it: the defaults, the best candidate of the search, and the mean of five, the defaults among them.

Workers are processes of one thread each that share a journal. Studies are kept in ``--results``: a
command that is started again goes on with its own, and adds nothing to what is done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution

from titans_ts import (
    EnsembleForecaster,
    RollingOriginSplit,
    SeasonalNaiveForecaster,
    TitansForecaster,
    TitansSearchCV,
)
from titans_ts.backtesting import ETT_SPLITS, long_horizon_protocol
from titans_ts.data.csv import read_csv
from titans_ts.datasets import make_transformer_station

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/search"
SLEEP = 1.0
ETT = {"etth1": "ETTh1", "etth2": "ETTh2"}
# Candidates of a search whose mean is judged beside the best alone.
ENSEMBLE = 5


class Sleeping(SeasonalNaiveForecaster):
    """Sleeps as long as a fit would take; ``value`` is searched."""

    def __init__(self, *, horizon: int = 3, season_length: int = 3, value: float = 0.0) -> None:
        super().__init__(horizon=horizon, season_length=season_length)
        self.value = value

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> Sleeping:
        time.sleep(SLEEP)
        return super().fit(X, y, validation=validation)


def nearness(estimator: Any, X: Any, y: Any = None) -> float:
    return -abs(estimator.value - 3.0)


def sleeping_search(**options: Any) -> tuple[TitansSearchCV, Any]:
    space = {"value": FloatDistribution(-10, 10)}
    search = TitansSearchCV(Sleeping(), param_distributions=space, scoring=nearness, **options)
    return search, np.tile([1.0, 2.0, 5.0], 20)[:, None]


def fits_search(**options: Any) -> tuple[TitansSearchCV, Any]:
    """Fits that all take equally long: next to nothing is searched, and nothing pruned."""
    estimator = TitansForecaster(
        horizon=24, context_length=336, max_epochs=2, accelerator="cpu", random_state=0
    )
    space = {"learning_rate": FloatDistribution(1.9e-3, 2.1e-3)}
    search = TitansSearchCV(
        estimator,
        param_distributions=space,
        pruner=optuna.pruners.NopPruner(),
        **options,
    )
    return search, make_transformer_station(4000, freq="h", random_state=0)


def ett_search(
    name: str, data: str | None, metric: str, **options: Any
) -> tuple[TitansSearchCV, Any]:
    """Standardised by the training rows; the last eight months before the test are four folds."""
    split = ETT_SPLITS[name]
    frame = scaled(name, data)[: split.n_train + split.n_validation]
    search = TitansSearchCV(
        TitansForecaster(horizon=96, accelerator="cpu", random_state=options["random_state"]),
        cv=RollingOriginSplit(4, horizon=split.n_validation // 2),
        scoring=metric,
        **options,
    )
    return search, frame


def scaled(name: str, data: str | None) -> pd.DataFrame:
    frame = read_csv(find_data(name, data))
    train = frame[: ETT_SPLITS[name].n_train]
    return (frame - train.mean()) / train.std(ddof=0)


def find_data(name: str, given: str | None) -> Path:
    """The file to read, or a sentence that says where it was looked for."""
    shared = Path(os.environ.get("TITANS_TS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    names = (f"{name}.csv", f"{name}.csv.gz")
    folders = (shared, shared / "forecasting")
    places = [Path(given)] if given else [folder / name for folder in folders for name in names]
    for place in places:
        if place.is_file():
            return place
    raise SystemExit(f"No {name} data; looked for {', '.join(map(str, places))}. Give --data PATH.")


# -- workers --------------------------------------------------------------------------------------


def start(task: str, storage: Path, seconds: float, **options: Any) -> subprocess.Popen[bytes]:
    """One worker: this program again."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value]
    command = [sys.executable, __file__, "worker", f"--task={task}", f"--storage={storage}"]
    return subprocess.Popen(
        [*command, f"--seconds={seconds}", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def work(arguments: argparse.Namespace) -> None:
    options: dict[str, Any] = {
        "storage": arguments.storage,
        "n_trials": None,
        "timeout": arguments.seconds,
        "refit": False,
        "random_state": arguments.seed,
    }
    if arguments.task in ETT:
        search, X = ett_search(ETT[arguments.task], arguments.data, arguments.metric, **options)
    else:
        search, X = {"sleeping": sleeping_search, "fits": fits_search}[arguments.task](**options)
    search.fit(X)


def trials_of(storage: Path) -> list[optuna.trial.FrozenTrial]:
    """None where the workers were stopped before they made the study."""
    backend = optuna.storages.journal.JournalFileBackend(str(storage))
    opened = optuna.storages.JournalStorage(backend)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name="titans-ts", storage=opened).get_trials()
    except KeyError:
        return []


def finished(storage: Path, seconds: float) -> float:
    """Trials finished in ``seconds``, once all workers work; parts of trials count as such."""
    done = [t for t in trials_of(storage) if t.state.is_finished()]
    first: dict[str, float] = {}
    spans = []
    for trial in done:
        begin, end = trial.datetime_start, trial.datetime_complete
        if begin is None or end is None:
            continue
        span = (begin.timestamp(), end.timestamp())
        worker = trial.user_attrs.get("worker", "")
        first[worker] = min(first.get(worker, span[0]), span[0])
        spans.append(span)
    start, stop = max(first.values()), max(first.values()) + seconds
    return sum(max(min(b, stop) - max(a, start), 0) / (b - a) for a, b in spans)


def compare(task: str, n_workers: int, seconds: float, bar: float, folder: Path) -> None:
    """Measure ``n_workers`` against one, and write what came of it."""
    counts = {}
    for n in (1, n_workers):
        storage = folder / f"{task}-{n}-{seconds:g}.journal"
        if not storage.exists():
            part = storage.with_name(f"part-{storage.name}")
            part.unlink(missing_ok=True)
            # Imports come before the time that counts, and take as long for each worker.
            workers = [start(task, part, seconds + 10) for _ in range(n)]
            if any(worker.wait() for worker in workers):
                raise SystemExit(f"A worker failed; see above. Its study: {part}")
            part.rename(storage)
        counts[n] = finished(storage, seconds)
    ratio = counts[n_workers] / counts[1]
    report(
        folder,
        {
            "task": task,
            "seconds": seconds,
            "trials": counts,
            "ratio": ratio,
            "bar": bar,
            "reached": ratio >= bar,
            "cores": len(os.sched_getaffinity(0)),
        },
    )


def ett(arguments: argparse.Namespace) -> None:
    """Search, then judge what was found and the defaults on the test period."""
    folder, seed, task = arguments.results, arguments.seed, arguments.what
    storage = folder / f"{task}-{arguments.metric}-{seed}.journal"
    spent = 0.0
    if storage.exists():
        times = [t.duration.total_seconds() for t in trials_of(storage) if t.duration is not None]
        spent = sum(times) / arguments.workers
    left = arguments.seconds - spent
    begin = time.monotonic()
    if left > 1:
        more = {"seed": seed, "data": arguments.data, "metric": arguments.metric}
        workers = [start(task, storage, left, **more) for _ in range(arguments.workers)]
        if any(worker.wait() for worker in workers):
            raise SystemExit(f"A worker failed; see above. Its study: {storage}")
    searched = time.monotonic() - begin
    search, X = ett_search(
        ETT[task],
        arguments.data,
        arguments.metric,
        storage=storage,
        n_trials=None,
        timeout=0,
        refit=False,
        ensemble_size=ENSEMBLE,
        random_state=seed,
    )
    search.fit(X)  # nothing is left to run: what the workers found
    print(search.results_table().head(10).to_string())
    made = [
        TitansForecaster(horizon=96, accelerator="cpu", random_state=seed, **params)
        for params in ({}, search.best_params_, *search.ensemble_params_)
    ]
    result = long_horizon_protocol(
        {
            "defaults": made[0],
            "search": made[1],
            "ensemble": EnsembleForecaster([(f"candidate_{i}", f) for i, f in enumerate(made[2:])]),
        },
        scaled(ETT[task], arguments.data),
        **ETT_SPLITS[ETT[task]]._asdict(),
        validation="default",
    )
    rows = {
        name: {"mse": row.mse, "mae": row.mae, "fit_seconds": row.fit_seconds}
        for name, row in result.forecasters.items()
    }
    changes = {
        name: {m: rows[name][m] / rows["defaults"][m] - 1 for m in ("mse", "mae")}
        for name in ("search", "ensemble")
    }
    print(result.table().to_string())
    report(
        folder,
        {
            "task": task,
            "seed": seed,
            "metric": arguments.metric,
            "seconds": spent + searched,
            "workers": arguments.workers,
            "trials": len(search.cv_results_["params"]),
            "states": search.results_table()["state"].value_counts().to_dict(),
            "best": search.best_params_,
            "ensemble": search.ensemble_params_,
            "validation": {
                "defaults": float(search.cv_results_["mean_test_score"][0]),
                "search": search.best_score_,
            },
            "test": rows,
            "change": changes,
        },
    )


def report(folder: Path, row: dict[str, Any]) -> None:
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["sleeping", "fits", *ETT, "worker"])
    parser.add_argument("--seconds", type=float, help="default: 30, 180 and 1800")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="of etth1 and etth2")
    parser.add_argument("--metric", default="mse", help="what etth1 and etth2 choose by")
    parser.add_argument("--data")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--storage", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    if arguments.what == "worker":
        work(arguments)
    elif arguments.what == "sleeping":
        compare("sleeping", 4, arguments.seconds or 30, 3.8, arguments.results)
    elif arguments.what == "fits":
        compare("fits", 2, arguments.seconds or 180, 1.7, arguments.results)
    else:
        arguments.seconds = arguments.seconds or 1800
        ett(arguments)


if __name__ == "__main__":
    main()
