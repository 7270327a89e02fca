"""Fit, end to end: windows per second beside neuralforecast, the loader's part, and memory."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.speed.afresh import afresh
from benchmarks.speed.fits import CONTEXT, HORIZON, SIZES
from benchmarks.speed.machine import calibrate
from benchmarks.speed.peers import require
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort

__all__ = ["run"]

ROWS, CHANNELS = 57_600, 7
TRAFFIC_ROWS, TRAFFIC_CHANNELS = 17_544, 862
BATCHES = (32, 256)
PEERS = ("NHITS", "PatchTST")
# A turn is a fit of at least eight steps in a fresh process, so three make two dozen.
MOST_TURNS = 3


def run(effort: Effort) -> Report:
    require("neuralforecast")
    report = Report("training", "Training", calibration=calibrate(effort.rounds))
    turns = min(effort.rounds, MOST_TURNS)
    against_peers(report, turns)
    wide(report, turns)
    return report


def against_peers(report: Report, turns: int) -> None:
    """All contenders in turns, each fit in a process of its own."""
    table = report.table(
        f"Fit on {CHANNELS} x {ROWS:,} rows, look-back {CONTEXT}, horizon {HORIZON}",
        ["model", "parameters", "batch", "windows/s", "ms/step", "peak resident memory, MB"],
        "Univariate windows, steady state: median of the time between steps, after three to warm "
        f"up, in {turns} turns. Each window of ours trains a forecast after every patch of its "
        "second half; it counts once. Memory is that of the whole process, imports included.",
    )
    loading = report.table(
        "Loading, alone, as training does it",
        ["model", "batch", "windows/s", "share of a step"],
    )
    rates: dict[tuple[str, int], float] = {}
    for batch in BATCHES:
        found = in_turns((*SIZES, *PEERS), turns, batch=batch, rows=ROWS, channels=CHANNELS)
        for who, result in found.items():
            step = result["step_seconds"]
            rates[who, batch] = batch / step
            name = f"ours, {who}" if who in SIZES else who
            size, peak = int(result["parameters"]), result["peak"] / 1e6
            table.add(name, size, batch, batch / step, 1000 * step, peak)
            if who in SIZES:
                loader = result["batch_seconds"]
                loading.add(name, batch, batch / loader, loader / step)
        own = found["default"]
        if batch == 32:
            report.figures["training.loader.share"] = own["batch_seconds"] / own["step_seconds"]
            for size in SIZES:
                report.figures[f"training.megabytes.{size}"] = found[size]["peak"] / 1e6
        else:
            report.figures["training.loader.windows"] = batch / own["batch_seconds"]
    ratio = report.figures
    ratio["training.against_nhits.batch32"] = rates["default", 32] / rates["NHITS", 32]
    ratio["training.against_patchtst.batch32"] = rates["large", 32] / rates["PatchTST", 32]
    ratio["training.against_patchtst.batch256"] = rates["default", 256] / rates["PatchTST", 256]


def wide(report: Report, turns: int) -> None:
    """Traffic's shape beside ETTm1's, the same number of univariate windows a step."""
    table = report.table(
        "A wide table beside a narrow one, ours of default size, batches of 64",
        ["table", "fit, us per window-channel", "forecast, us per window-channel", "peak, GB"],
        "Fit: a step, over its univariate windows. Forecast: score over about 6,000 of them.",
    )
    shapes = {
        f"{CHANNELS} x {ROWS:,}": {"rows": ROWS, "channels": CHANNELS},
        f"{TRAFFIC_CHANNELS} x {TRAFFIC_ROWS:,}": {
            "rows": TRAFFIC_ROWS,
            "channels": TRAFFIC_CHANNELS,
            "freq": "1h",
        },
    }
    batch = 64
    found: dict[str, list[dict[str, float]]] = {name: [] for name in shapes}
    for _ in range(turns):
        for name, shape in shapes.items():
            one = afresh("fits:measure", who="default", batch=batch, forecast=True, **shape)
            found[name].append(one)
    results = {name: medians(each) for name, each in found.items()}
    for name, result in results.items():
        fit, forecast = result["step_seconds"] / batch, result["forecast_seconds"]
        table.add(name, 1e6 * fit, 1e6 * forecast, result["peak"] / 1e9)
    narrow, traffic = results.values()
    ratio = report.figures
    ratio["training.traffic.gigabytes"] = traffic["peak"] / 1e9
    for name, key in (("fit", "step_seconds"), ("predict", "forecast_seconds")):
        ratio[f"training.traffic.{name}_against_seven"] = traffic[key] / narrow[key]


def in_turns(contenders: tuple[str, ...], turns: int, **given: Any) -> dict[str, dict[str, float]]:
    """Medians over turns of what each contender's fits gave."""
    found: dict[str, list[dict[str, float]]] = {who: [] for who in contenders}
    for _ in range(turns):
        for who in contenders:
            found[who].append(afresh("fits:measure", who=who, **given))
    return {who: medians(each) for who, each in found.items()}


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(result[key] for result in results) for key in results[0]}
