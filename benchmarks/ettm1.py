"""The long-horizon protocol on ETTm1: every variant and ablation beside the baselines, one table.

    python benchmarks/ettm1.py [--data ETTm1.csv] [--horizon 96] [--seeds 3] [--only mac,ridge]

Every forecaster keeps its default parameters but for what its row's name says. It is fitted on the
rows before the test period (it splits off its own validation rows there) and judged on all test
windows. Rows that are done are kept in ``--results`` and skipped when the command is started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from titans_ts import (
    LinearForecaster,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)
from titans_ts.backtesting import ETT_SPLITS, long_horizon_protocol
from titans_ts.data.csv import read_csv

ROOT = Path(__file__).resolve().parents[1]

SEEDED = {
    "Titans MAC (default)": {},
    "Titans MAG": {"variant": "mag"},
    "Titans MAL": {"variant": "mal"},
    "Titans LMM": {"variant": "lmm"},
    "MAC, memory off": {"backbone_options": {"memory_writes": False}},
    "MAC, backbone alone": {"highway": False},
    "highway alone": {"depth": 0},
}
BASELINES: dict[str, Callable[..., Any]] = {
    "linear, absolute error": LinearForecaster,
    "ridge, look-back 336": RidgeForecaster,
    "seasonal naive": SeasonalNaiveForecaster,
}


def find_data(given: str | None) -> Path:
    """The file to read, or a sentence that says where it was looked for."""
    shared = Path(os.environ.get("TITANS_TS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    places = (
        [Path(given)]
        if given
        else [
            folder / name
            for folder in (shared, shared / "forecasting")
            for name in ("ETTm1.csv", "ETTm1.csv.gz")
        ]
    )
    for place in places:
        if place.is_file():
            return place
    raise SystemExit(f"No ETTm1 data; looked for {', '.join(map(str, places))}. Give --data PATH.")


def code_digest() -> str:
    """A digest of the package's source, so that figures of other code are never mixed in."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "titans_ts").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def runs(horizon: int, seeds: int) -> list[tuple[str, int, Any]]:
    """What is to be run: row, seed, forecaster. The default has all seeds, the others one."""
    planned: list[tuple[str, int, Any]] = [
        (name, 0, make(horizon=horizon)) for name, make in BASELINES.items()
    ]
    for seed in range(seeds):
        for name, options in SEEDED.items():
            if seed == 0 or name == "Titans MAC (default)":
                forecaster = TitansForecaster(horizon=horizon, random_state=seed, **options)
                planned.append((name, seed, forecaster))
    return planned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--horizon", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="rows to run, by parts of their names, with commas between")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/ettm1.jsonl")
    arguments = parser.parse_args()
    data = read_csv(find_data(arguments.data))
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    done = []
    if arguments.results.exists():
        done = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    for name, seed, forecaster in runs(arguments.horizon, arguments.seeds):
        parts = (arguments.only or "").lower().split(",")
        wanted = any(part in name.lower() for part in parts)
        # A row is done if it was run with the same parameters and the same code.
        key = [name, seed, repr(sorted(forecaster.get_params().items())), code_digest()]
        if not wanted or any(r["key"] == key for r in done):
            continue
        result = long_horizon_protocol(
            {name: forecaster}, data, **ETT_SPLITS["ETTm1"]._asdict(), validation="default"
        ).forecasters[name]
        row = {
            "name": name,
            "seed": seed,
            "key": key,
            "horizon": arguments.horizon,
            "mse": result.mse,
            "mae": result.mae,
            "n_windows": result.n_windows,
            "fit_seconds": result.fit_seconds,
            "forecast_seconds": result.forecast_seconds,
            "context_length": forecaster.context_length_,
            "epochs": len(getattr(forecaster, "history_", [])),
        }
        done.append(row)
        with arguments.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}, seed {seed}: MSE {row['mse']:.4f}", flush=True)
    digest = code_digest()
    print_table([r for r in done if r["horizon"] == arguments.horizon and r["key"][-1] == digest])


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line per row name: the median over seeds, as a Markdown table."""
    print("\n| forecaster | context | seeds | MSE | MAE | fit, s | windows |")
    print("|---|---|---|---|---|---|---|")
    for name in [*SEEDED, *BASELINES]:
        same = [row for row in rows if row["name"] == name]
        if same:
            mid = {k: median(row[k] for row in same) for k in ("mse", "mae", "fit_seconds")}
            print(
                f"| {name} | {same[0]['context_length']} | {len(same)} | {mid['mse']:.4f} "
                f"| {mid['mae']:.4f} | {mid['fit_seconds']:.0f} | {same[0]['n_windows']:,} |"
            )


if __name__ == "__main__":
    main()
