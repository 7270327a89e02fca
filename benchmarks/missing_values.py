"""ETTm1 with a fifth of its training values missing: how much worse is the forecast?

    python benchmarks/missing_values.py [--data FOLDER] [--seeds 3] [--only blocks]

The rows before the test period lose 20 % of their values, at random or in blocks of a day (each
channel on days of its own); a third row keeps them all. Test contexts are clean. Everything else is
the protocol of benchmarks/ettm1.py at horizon 96, with default parameters; errors are in units of
the standard deviation of the complete training rows. Runs that are done are kept in ``--results``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from ettm1 import ROOT, code_digest

from titans_ts import LinearForecaster, TitansForecaster
from titans_ts.backtesting import long_horizon_protocol
from titans_ts.datasets import load

HORIZON, DAY, MISSING = 96, 96, 0.2
KINDS = ("complete", "at random", "blocks of a day")


def spoil(values: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """A copy of which a fifth of the values is NaN."""
    rng = np.random.default_rng(100 + seed)
    spoilt = values.copy()
    if kind == "at random":
        spoilt[rng.random(values.shape) < MISSING] = np.nan
    elif kind == "blocks of a day":
        n_days = len(values) // DAY
        for channel in range(values.shape[1]):
            for day in rng.choice(n_days, int(n_days * MISSING), replace=False):
                spoilt[day * DAY : (day + 1) * DAY, channel] = np.nan
    return spoilt


def run(kind: str, seed: int, name: str, local: str | None) -> dict[str, Any]:
    data = load("ettm1", local=local)
    split = data.split
    n_fit = split["n_train"] + split["n_validation"]
    train = data.frame.iloc[:n_fit].copy()
    train[:] = spoil(train.to_numpy(), kind, seed)
    make = TitansForecaster if name == "titans" else LinearForecaster
    forecaster = make(horizon=HORIZON, random_state=seed)
    start = time.perf_counter()
    forecaster.fit(train)
    seconds = time.perf_counter() - start
    # The scale of the protocol comes from complete rows, so that errors compare.
    result = long_horizon_protocol({name: forecaster}, data.frame, **split, fit=False)
    row = result.forecasters[name]
    missing = float(np.isnan(train.to_numpy()).mean())
    return {"mse": row.mse, "mae": row.mae, "fit_seconds": seconds, "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", default=str(shared), help="folder with a copy of ETTm1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of the kinds to run")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/missing.jsonl")
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    if arguments.results.exists():
        rows = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    digest = code_digest()
    for seed in range(arguments.seeds):
        for kind in KINDS:
            for name in ("titans", "linear"):
                key = [kind, seed, name, digest]
                if arguments.only not in kind or any(row["key"] == key for row in rows):
                    continue
                row = {"key": key, **run(kind, seed, name, arguments.data)}
                rows.append(row)
                with arguments.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name}, {kind}, seed {seed}: MSE {row['mse']:.4f}", flush=True)
    print_table([row for row in rows if row["key"][3] == digest])


def print_table(rows: list[dict[str, Any]]) -> None:
    print("\n| forecaster | training values | MSE, each seed | mean | growth |")
    print("|---|---|---|---|---|")
    for name in ("titans", "linear"):
        means = {}
        for kind in KINDS:
            same = [r["mse"] for r in rows if r["key"][0] == kind and r["key"][2] == name]
            if not same:
                continue
            means[kind] = mean(same)
            growth = means[kind] / means["complete"] - 1 if "complete" in means else float("nan")
            each = ", ".join(f"{mse:.4f}" for mse in same)
            print(f"| {name} | {kind} | {each} | {means[kind]:.4f} | {growth:+.1%} |")


if __name__ == "__main__":
    main()
