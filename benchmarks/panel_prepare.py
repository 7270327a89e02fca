"""Time and memory to prepare a panel: read, validate, index, and cut the first batch of windows.

    python benchmarks/panel_prepare.py [--series 10000] [--rows 500] [--json]

Each container is prepared in a process of its own: a long pandas frame with ids of text, of
categories, and shuffled; the same in polars. Memory is the peak resident size above what the
process held with the frame in it. Then windows are found in panels of one, two, four and eight
times as many rows, which must take no more than as many times as long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MIB = 2**20
KINDS = ("pandas", "pandas category", "pandas shuffled", "polars", "polars category")


def memory(what: str) -> int:
    """Resident size of this process in bytes: ``"VmRSS"`` now, ``"VmHWM"`` at its peak."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(row for row in status if row.startswith(what)).split()[1]) * 1024


def make_panel(n_series: int, n_rows: int):
    """Hourly series below one another, as pandas frame."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    time_ = pd.date_range("2024-01-01", periods=n_rows, freq="h")
    ids = np.array([f"series-{i:06d}" for i in range(n_series)], dtype=object)
    return pd.DataFrame(
        {
            "unique_id": np.repeat(ids, n_rows),
            "ds": np.tile(time_, n_series),
            "y": rng.normal(size=n_series * n_rows),
        }
    )


def make_frame(kind: str, n_series: int, n_rows: int):
    """A panel in one of :data:`KINDS`."""
    frame = make_panel(n_series, n_rows)
    if "category" in kind:
        frame["unique_id"] = frame["unique_id"].astype("category")
    if "shuffled" in kind:
        frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    if kind.startswith("polars"):
        import polars

        columns = {name: frame[name] for name in frame.columns}
        frame = polars.DataFrame({name: polars.Series(name, c) for name, c in columns.items()})
    return frame


def prepare(frame) -> int:
    """From the frame to the first batch; the number of windows."""
    import numpy as np

    from titans_ts.data.schema import read_table
    from titans_ts.data.windows import WindowIndex

    series, _ = read_table(frame)
    windows = WindowIndex(series, context_length=96, horizon=24)
    windows.cut(np.random.default_rng(0).integers(len(windows), size=64))
    return len(windows)


def measure(kind: str, n_series: int, n_rows: int) -> dict[str, float]:
    """Prepare in this process; sizes in bytes, time in seconds."""
    import titans_ts.data.schema
    import titans_ts.data.windows  # noqa: F401 - imports are not counted

    frame = make_frame(kind, n_series, n_rows)
    prepare(frame[: 3 * n_rows] if kind.startswith("polars") else make_panel(3, n_rows))
    # Writing 5 here resets the peak to what is held now: making the frame took more.
    Path("/proc/self/clear_refs").write_text("5")
    held, began = memory("VmRSS"), time.perf_counter()
    n_windows = prepare(frame)
    seconds = time.perf_counter() - began
    return {"held": held, "above": memory("VmHWM") - held, "seconds": seconds, "windows": n_windows}


def measure_windows(n_series: int, n_rows: int) -> tuple[int, float, float]:
    """Rows, and seconds to find their windows and to locate a million of them."""
    import numpy as np

    from titans_ts.data.series import SeriesSet
    from titans_ts.data.windows import WindowIndex

    lengths = np.full(n_series, n_rows)
    values = np.zeros((n_series * n_rows, 1))
    data = SeriesSet.from_rows(values, values == 0, np.append(0, np.cumsum(lengths)), ("y",))
    best = [np.inf, np.inf]
    for _ in range(5):
        began = time.perf_counter()
        windows = WindowIndex(data, context_length=96, horizon=24)
        found = time.perf_counter()
        windows.locate(np.linspace(0, len(windows) - 1, 1_000_000).astype(np.int64))
        best = [min(best[0], found - began), min(best[1], time.perf_counter() - found)]
    return n_series * n_rows, best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=500, help="of each series")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--here", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.here, given.series, given.rows)))
        return
    results = {}
    for kind in KINDS:
        numbers = [f"--series={given.series}", f"--rows={given.rows}"]
        command = [sys.executable, str(Path(__file__).resolve()), *numbers, f"--here={kind}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = results[kind] = json.loads(done.stdout)
        if not given.json:
            print(
                f"{kind:16s} {found['seconds']:6.2f} s {found['above'] / MIB:7.0f} MiB above "
                f"{found['held'] / MIB:.0f} MiB, {found['windows']:,} windows",
                flush=True,
            )
    sizes = [measure_windows(given.series * times, given.rows) for times in (1, 2, 4, 8)]
    if given.json:
        print(json.dumps({"prepare": results, "windows": sizes}))
        return
    for n_rows, find, locate in sizes:
        print(
            f"{n_rows:12,d} rows: windows found in {find * 1e3:8.3f} ms, "
            f"1,000,000 located in {locate * 1e3:.0f} ms"
        )


if __name__ == "__main__":
    main()
