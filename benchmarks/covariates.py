"""What covariates that are known in advance are worth: with them, without them, and baselines.

    python benchmarks/covariates.py [--data FOLDER] [--seeds 3] [--only bike]

Bike sharing (hourly, Washington): holidays, working days, hour and month are given for the day to
forecast; in a last row its weather too, as a perfect weather forecast would.
Day-ahead electricity prices (four markets): forecasts of load and of generation or wind are.
Default parameters but for a context of two weeks; every origin of the test rows counts. Runs that
are done are kept in ``--results``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

from ettm1 import ROOT, code_digest

from titans_ts import RidgeForecaster, SeasonalNaiveForecaster, TitansForecaster
from titans_ts.datasets import load

HORIZON, CONTEXT = 24, 336
SETS = ("bike_sharing", "epf_prices")
ROWS = ("seasonal naive", "ridge", "without", "calendar", "with", "with, weather known too")


def make(row: str, roles: dict[str, Any], seed: int) -> Any:
    """The forecaster of a row of the table."""
    plain = {k: v for k, v in roles.items() if not k.endswith("_covariates")}
    common: dict[str, Any] = {"horizon": HORIZON, "context_length": CONTEXT}
    if row == "seasonal naive":
        return SeasonalNaiveForecaster(**common, **plain)
    if row == "ridge":
        return RidgeForecaster(**common, **plain)
    known = list(roles["future_covariates"]) if row.startswith("with,") or row == "with" else []
    if row == "with, weather known too":
        known += roles["past_covariates"]
    return TitansForecaster(
        **common,
        **plain,
        future_covariates=known or None,
        calendar=row == "calendar",
        random_state=seed,
    )


def run(name: str, row: str, seed: int, local: str | None) -> dict[str, Any]:
    data = load(name, local=local)
    frame, split = data.frame, data.split
    id_column = data.roles.get("id_column")
    parts = [frame] if id_column is None else [g for _, g in frame.groupby(id_column, sort=False)]
    n_test = split["n_test"]
    ends = [
        split["n_train"] + split["n_validation"] + n_test if "n_train" in split else len(p)
        for p in parts
    ]
    train = _join([part.iloc[: end - n_test] for part, end in zip(parts, ends, strict=True)])
    forecaster = make(row, data.roles, seed)
    start = time.perf_counter()
    forecaster.fit(train)
    seconds = time.perf_counter() - start
    before = n_test + forecaster.context_length_
    test = [part.iloc[end - before : end] for part, end in zip(parts, ends, strict=True)]
    return {"mae": -forecaster.score(_join(test)), "fit_seconds": seconds}


def _join(parts: list[Any]) -> Any:
    import pandas as pd

    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", default=str(shared), help="folder with copies of the sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of the set's name")
    results = ROOT / "benchmarks/results/covariates.jsonl"
    parser.add_argument("--results", type=Path, default=results)
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    if arguments.results.exists():
        rows = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    digest = code_digest()
    for name in SETS:
        for seed in range(arguments.seeds):
            for row in ROWS:
                key = [name, row, seed, digest]
                once = row in ("seasonal naive", "ridge") and seed
                once = once or ("weather" in row and name != "bike_sharing")
                if once or arguments.only not in name or any(r["key"] == key for r in rows):
                    continue
                result = {"key": key, **run(name, row, seed, arguments.data)}
                rows.append(result)
                with arguments.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(f"{name}, {row}, seed {seed}: MAE {result['mae']:.3f}", flush=True)
    print("\n| set | forecaster | MAE, each seed | median | fit, s |\n|---|---|---|---|---|")
    for name in SETS:
        for row in ROWS:
            same = [
                r
                for r in rows
                if r["key"][0] == name and r["key"][1] == row and r["key"][3] == digest
            ]
            if same:
                each = ", ".join(f"{r['mae']:.3f}" for r in same)
                mid = median(r["mae"] for r in same)
                seconds = median(r["fit_seconds"] for r in same)
                print(f"| {name} | {row} | {each} | {mid:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
