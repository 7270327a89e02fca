"""Peak memory of fit on Parquet files that are larger than memory should ever need to be.

    python benchmarks/parquet_fit.py --folder FOLDER [--rows 20 200] [--series 1000]
        [--order id|time] [--steps 60] [--results FILE]

For each size (in millions of rows) a long table of hourly series is written to FOLDER as Parquet
files of five million rows, and a ``TitansForecaster`` with default parameters is fitted to it in a
process of its own, whose peak resident size the operating system knows. The files are removed
afterwards. FOLDER needs room for 12 bytes a row, and the system's temporary folder (set TMPDIR) for
4 more. ``--steps`` training steps are enough for memory to settle: every step cuts its windows anew
and frees them; judging takes as many. What is done is kept in FILE and not done again.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

FILE_ROWS = 5_000_000
MIB = 2**20


def peak() -> int:
    """Peak resident size of this process so far, in bytes."""
    # Not getrusage where there is better: a child of a fat parent starts with the parent's peak.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def write(folder: Path, rows: int, n_series: int, order: str) -> None:
    """Write ``rows`` rows of series with a daily and a weekly rhythm, one file after another."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    length = rows // n_series
    names = pa.array([f"series-{i:06d}" for i in range(n_series)])
    first = np.datetime64("1950-01-01T00", "us")
    for number, start in enumerate(range(0, n_series * length, FILE_ROWS)):
        row = np.arange(start, min(start + FILE_ROWS, n_series * length))
        series, step = np.divmod(row, length) if order == "id" else np.divmod(row, n_series)[::-1]
        day, week = (2 * np.pi * step / period + series for period in (24, 168))
        values = 3 * np.sin(day) + np.sin(week) + rng.normal(size=len(row))
        table = pa.table(
            {
                "unique_id": pa.DictionaryArray.from_arrays(series.astype(np.int32), names),
                "ds": first + step.astype("m8[h]"),
                "y": values.astype(np.float32),
            }
        )
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=1_000_000)


def measure(folder: Path, steps: int) -> dict[str, float]:
    """Fit in this process; sizes in bytes, times in seconds."""
    import lightning.pytorch  # noqa: F401 - counted among the imports
    import pandas  # noqa: F401

    from titans_ts import ParquetFolder, TitansForecaster
    from titans_ts.data.schema import read_table

    imports = peak()
    began = time.perf_counter()
    table = ParquetFolder(folder)
    series, _ = read_table(table)
    prepared, seconds = peak(), time.perf_counter() - began
    limits = {"limit_train_batches": steps, "limit_val_batches": steps}
    forecaster = TitansForecaster(
        horizon=24, max_epochs=1, random_state=0, trainer_kwargs=limits, accelerator="cpu"
    )
    forecaster.fit(table)
    fitted = peak()
    forecaster.predict()
    return {
        "rows": int(series.lengths.sum()),
        "imports": imports,
        "prepared": prepared,
        "fitted": fitted,
        "peak": peak(),
        "prepare_seconds": seconds,
        "seconds": time.perf_counter() - began,
    }


def measure_afresh(folder: Path, steps: int) -> dict[str, float]:
    """As :func:`measure`, in a process of its own, whose peak nothing else has raised."""
    here = [str(Path(__file__).resolve()), f"--folder={folder}", f"--steps={steps}", "--here"]
    done = subprocess.run([sys.executable, *here], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where files are written")
    parser.add_argument("--rows", type=float, nargs="+", default=[20, 200], help="in millions")
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--order", choices=["id", "time"], default="id", help="of the rows")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    parser.add_argument("--results", type=Path, help="a JSON file; default: FOLDER/results.json")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.folder, given.steps)))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.results or given.folder / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    print("Mrows  series order | imports  prepared  fitted   peak MiB | prepare    all s")
    for millions in given.rows:
        rows = round(millions * 1e6)
        name = f"{rows} rows, {given.series} series, by {given.order}, {given.steps} steps"
        if name not in results:
            files = given.folder / "files"
            shutil.rmtree(files, ignore_errors=True)
            files.mkdir()
            write(files, rows, given.series, given.order)
            results[name] = measure_afresh(files, given.steps)
            shutil.rmtree(files)
            kept.write_text(json.dumps(results, indent=1))
        found = results[name]
        sizes = [found[key] / MIB for key in ("imports", "prepared", "fitted", "peak")]
        print(
            f"{found['rows'] / 1e6:5.0f} {given.series:7d} {given.order:>5} | {sizes[0]:7.0f} "
            f"{sizes[1]:9.0f} {sizes[2]:7.0f} {sizes[3]:10.0f} | "
            f"{found['prepare_seconds']:7.0f} {found['seconds']:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
