"""Time of imports, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.speed.afresh import ROOT
from benchmarks.speed.peers import require
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, clock

__all__ = ["run"]

BASE = "import torch, sklearn, pandas"
PACKAGE, FORECASTER = "import titans_ts", "from titans_ts import TitansForecaster"
PEERS = ("import titans_pytorch", "import neuralforecast")
HEAVY = ("torch", "lightning", "pytorch_lightning", "optuna", "matplotlib", "torch._dynamo")

# The interpreter's own start is not counted; what the import does to memory is.
PROGRAM = """
import sys, time
clock = time.{clock}
start = clock()
{statement}
seconds = clock() - start
heavy = [name for name in {heavy} if name in sys.modules]
from benchmarks.speed.memory_peak import peak_memory
print(seconds, peak_memory(), *heavy)
"""


def run(effort: Effort) -> Report:
    require("neuralforecast")
    report = Report("imports", "Import")
    statements = (PACKAGE, BASE, FORECASTER, *(() if effort.quick else PEERS))
    found: dict[str, list[tuple[float, int, str]]] = {name: [] for name in statements}
    for turn in range(effort.rounds + 1):
        for statement in statements:
            once = measure(statement)
            if turn:  # the first turn reads files into the cache of the system
                found[statement].append(once)
    seconds = {name: median(t for t, _, _ in times) for name, times in found.items()}
    table = report.table(
        "Imports in fresh interpreters, files in the system's cache",
        ["statement", "seconds", "resident memory, MB", "loaded, of the heavy ones"],
        f"In turns, {effort.rounds} of each, medians. Of {', '.join(HEAVY)}, those that are "
        "loaded are named.",
    )
    for statement, times in found.items():
        peak = median(size for _, size, _ in times)
        table.add(f"`{statement}`", seconds[statement], peak / 1e6, times[0][2])
    report.figures["import.package.seconds"] = seconds[PACKAGE]
    report.figures["import.package.share_of_base"] = seconds[PACKAGE] / seconds[BASE]
    report.figures["import.forecaster.extra_seconds"] = seconds[FORECASTER] - seconds[BASE]
    report.figures["import.forecaster.against_base"] = seconds[FORECASTER] / seconds[BASE]
    loaded = set(found[FORECASTER][0][2].split(", ")) & {"lightning", "optuna"}
    report.figures["import.forecaster.heavy"] = float(len(loaded))
    return report


def measure(statement: str) -> tuple[float, int, str]:
    """Seconds, peak memory in bytes, and the heavy modules that came along."""
    program = PROGRAM.format(statement=statement, heavy=HEAVY, clock=clock.__name__)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, peak, *heavy = done.stdout.split()
    return float(seconds), int(peak), ", ".join(heavy)
