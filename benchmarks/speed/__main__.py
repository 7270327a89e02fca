"""Run benchmarks of speed.

    python -m benchmarks.speed op [memory breakdown streaming block backbone training ...]
    python -m benchmarks.speed all [--full]    every one, each in a process of its own
    python -m benchmarks.speed gpu             on a CUDA device
    python -m benchmarks.speed check           the quick ones, held to bars.toml

Results go to ``benchmarks/speed/results``, one file each; those of a check go nowhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from importlib import import_module

from benchmarks.speed.report import NAMES, ON_A_GPU

# Before torch is loaded. Two threads on a busy machine wait for each other in every small kernel.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="+", choices=[*NAMES, *ON_A_GPU, "all", "check"], metavar="NAME"
    )
    parser.add_argument(
        "--full", action="store_true", help="2,000,000 steps of a stream, not 20,000"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; default 5")
    given = parser.parse_args()
    if "check" in given.names:
        sys.exit(check(given.rounds))
    if "all" in given.names:
        options = ["--rounds", str(given.rounds), *(["--full"] if given.full else [])]
        failed = [name for name in NAMES if run_apart(name, options)]
        sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
    for name in given.names:
        report = measure(name, given.rounds, full=given.full)
        print(f"{report.save().name}: {len(report.figures)} figures", flush=True)


def measure(name: str, rounds: int, *, full: bool = False, quick: bool = False):  # type: ignore[no-untyped-def]
    """Run one benchmark in this process."""
    import torch

    from benchmarks.speed.machine import describe
    from benchmarks.speed.timing import Effort

    torch.set_num_threads(THREADS)
    machine = describe()
    start = time.perf_counter()
    report = import_module(f"benchmarks.speed.{name}").run(Effort(rounds, quick, full))
    report.machine = machine | {"rounds": rounds}
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return report


def run_apart(name: str, options: list[str]) -> int:
    """One benchmark in a process of its own; its exit code."""
    return subprocess.run([sys.executable, "-m", "benchmarks.speed", name, *options]).returncode


def check(rounds: int) -> int:
    """Measure what is marked quick; 1 and a sentence for each figure beyond its bar."""
    from benchmarks.speed.bars import misses, read_bars

    bars = [bar for bar in read_bars() if bar.quick]
    figures: dict[str, float] = {}
    for name in dict.fromkeys(bar.benchmark for bar in bars):
        figures |= measure(name, rounds, quick=True).figures
    for bar in bars:
        if bar.figure in figures:
            print(f"{bar.figure}: {figures[bar.figure]:.3g}")
    sentences = misses(bars, figures)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    main()
