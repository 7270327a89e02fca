"""What is done, as tables in Markdown, for each corpus and length of runs a pair and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.language.contenders import CONTENDERS, depth_of
from benchmarks.language.curves import draw_curves
from benchmarks.language.plan import SEEDS, Group, best_titans, current, group_of, run_of
from benchmarks.language.rates import current_rates
from benchmarks.language.records import Record
from benchmarks.language.training import Run

__all__ = ["render"]

HEAD = [
    "model",
    "blocks",
    "seeds",
    "test",
    "lowest – highest",
    "states not carried",
    "weights",
]

Model = tuple[str, int]  # its name and its blocks


def render(
    records: list[Record], rates: list[Record] | None = None, pictures: Path | None = None
) -> str:
    """The page of the documentation; with ``pictures``, a folder, curves are drawn there."""
    ratios = current_rates(rates or [])
    parts = [written("page.md")]
    latest = {run_of(record).key: record for record in current(records)}
    groups: dict[Group, list[Record]] = {}
    for record in latest.values():
        groups.setdefault(group_of(record), []).append(record)
    for group, found in sorted(groups.items(), key=lambda each: (-each[0][1], each[0])):
        parts.append(f"## {group.corpus}, {group.tokens:,} tokens a run")
        devices = sorted({record.get("device", "one core of a CPU") for record in found})
        parts.append(
            f"{command(group, found)}: {group.rows} rows a step; states carried through "
            f"{group.carried} segments in training, {group.carried * Run.length:,} bytes. "
            f"Trained on {' and '.join(devices)}."
        )
        speed = Speed(ratios, group.rows, on_gpu=any("device" in record for record in found))
        contenders = by_model([r for r in found if ":" not in r["name"]])
        n_done = sum(len(runs) for runs in contenders.values())
        missing = [name for name in CONTENDERS if not any(r["name"] == name for r in found)]
        parts.append(
            f"Runs of contenders: {n_done}, of up to {SEEDS} seeds each"
            + (f"; not run: {', '.join(missing)}." if missing else ".")
        )
        rows = [row(name, runs, speed) for (name, _), runs in contenders.items()]
        parts.append(table(rows, speed))
        learnt = [
            ended for runs in contenders.values() if (ended := [r for r in runs if "curve" in r])
        ]
        if pictures and len(learnt) > 1:
            file = pictures / f"{group.corpus}-{group.tokens}-rows{group.rows}.png"
            draw_curves(learnt, file)
            parts.append(f"![Bits of validation by tokens read](../_static/language/{file.name})")
        ablated = by_model([r for r in found if ":" in r["name"]])
        for base in dict.fromkeys((name.partition(":")[0], depth) for name, depth in ablated):
            rows = [row(base[0], contenders[base], speed)] if base in contenders else []
            rows += [
                row(name.partition(":")[2], runs, speed)
                for (name, depth), runs in ablated.items()
                if (name.partition(":")[0], depth) == base
            ]
            parts += [f"### Ablations of {base[0]}, {base[1]} blocks", table(rows, speed)]
        if best := best_titans(found, group):
            parts.append(f"On validation, at seed 0, {best} is the best Titans.")
    if not groups:
        parts.append("No run is done yet.")
    return "\n\n".join([*parts, written("trials.md")]) + "\n"


def written(name: str) -> str:
    """What is written by hand, beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


class Speed(NamedTuple):
    """The last column of a table, which is of one device or another."""

    ratios: dict[tuple[str, int, int], float]
    rows: int
    on_gpu: bool

    @property
    def head(self) -> str:
        return "tokens/s" if self.on_gpu else "time of a step"

    def of(self, runs: list[Record]) -> str:
        if self.on_gpu:
            ended = [run for run in runs if run["test"] is not None]
            seconds = sum(run["seconds"] for run in ended)
            return f"{sum(run['tokens'] for run in ended) / seconds:,.0f}" if seconds else "–"
        ratio = self.ratios.get((runs[0]["name"], runs[0]["depth"], self.rows))
        return f"{ratio:.2f}" if ratio else "–"


def command(group: Group, records: list[Record]) -> str:
    """What makes the runs of a table."""
    asked = {key: getattr(group, key) for key in ("corpus", "tokens", "rows")}
    changed = (f"--{key} {value}" for key, value in asked.items() if value != getattr(Run, key))
    words = ["python -m benchmarks.language", *changed]
    depths = {record["depth"] for record in records}
    # One for all; several are those of each, or were tried beside them.
    if len(depths) == 1 and any(depths != {depth_of(record["name"])} for record in records):
        words.append(f"--depth {depths.pop()}")
    if all("device" in record for record in records):
        words.append("--together")
    carried = f", `CARRIED = {group.carried}` in `training.py`"
    return f"`{' '.join(words)}`" + (carried if group.carried != Run.carried else "")


def by_model(records: list[Record]) -> dict[Model, list[Record]]:
    """Runs of each model, that of the fewest bits first."""
    found: dict[Model, list[Record]] = {}
    for record in records:
        found.setdefault((record["name"], record["depth"]), []).append(record)
    return dict(sorted(found.items(), key=lambda each: (mean(each[1], "test"), each[0])))


def mean(runs: list[Record], key: str) -> float:
    """Over the runs that came to an end; infinite where none did."""
    values = [run[key] for run in runs if run["test"] is not None]
    return float(np.mean(values)) if values else math.inf


def row(name: str, runs: list[Record], speed: Speed) -> list[str]:
    ended = [run for run in runs if run["test"] is not None]
    seeds = f"{len(ended)}" + (
        f", {len(runs) - len(ended)} diverged" if len(ended) < len(runs) else ""
    )
    blocks, weights = str(runs[0]["depth"]), f"{runs[0]['parameters']:,}"
    if not ended:
        return [name, blocks, seeds, "–", "–", "–", weights, speed.of(runs)]
    tests = [run["test"] for run in ended]
    spread = f"{min(tests):.3f} – {max(tests):.3f}" if len(tests) > 1 else "–"
    return [
        name,
        blocks,
        seeds,
        f"{np.mean(tests):.3f}",
        spread,
        f"{mean(runs, 'test_cut'):.3f}",
        weights,
        speed.of(runs),
    ]


def table(rows: list[list[str]], speed: Speed) -> str:
    head = [*HEAD, speed.head]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
