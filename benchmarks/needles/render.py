"""Results as tables in Markdown, and accuracy by length and depth as heat maps."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.needles.judging import interval
from benchmarks.needles.tracking import CONTENDERS, TRACKED

__all__ = ["heat_map", "length_table", "page", "tracking_table"]

Cells = list[dict[str, Any]]


def groups(cells: Cells) -> dict[tuple[str, str], Cells]:
    """Cells by what was hidden, and in what."""
    found: dict[tuple[str, str], Cells] = {}
    for cell in cells:
        found.setdefault((cell["kind"], cell["haystack"]), []).append(cell)
    return found


def share(cell: dict[str, Any]) -> str:
    return f"{100 * cell['right'] / cell['cases']:.0f}"


def length_table(cells: Cells) -> str:
    """Accuracy in per cent by length, over all depths with its interval, and by depth."""
    depths = sorted({cell["depth"] for cell in cells})
    head = ["tokens", "cases", "right", "95 % interval", *(f"depth {d:g}" for d in depths)]
    rows = [[*head, "state", "grown"], ["---"] * (len(head) + 2)]
    for length in sorted({cell["length"] for cell in cells}):
        here = {cell["depth"]: cell for cell in cells if cell["length"] == length}
        right, n = (sum(cell[key] for cell in here.values()) for key in ("right", "cases"))
        low, high = interval(right, n)
        state = max(cell["state_bytes"] for cell in here.values()) / 1024
        rows.append(
            [
                f"{length:,}",
                str(n),
                f"{100 * right / n:.1f}",
                f"{100 * low:.1f} – {100 * high:.1f}",
                *(share(here[d]) if d in here else "–" for d in depths),
                f"{state:.0f} KiB",
                f"{max(cell['grown_mib'] for cell in here.values()):.1f} MiB",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def heat_map(cells: Cells, title: str, file: Path) -> None:
    """Accuracy, lengths across and depths down, as a picture."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lengths = sorted({cell["length"] for cell in cells})
    depths = sorted({cell["depth"] for cell in cells})
    grid = np.full((len(depths), len(lengths)), np.nan)
    for cell in cells:
        place = depths.index(cell["depth"]), lengths.index(cell["length"])
        grid[place] = cell["right"] / cell["cases"]
    figure = Figure(figsize=(1.6 + 0.8 * len(lengths), 1.4 + 0.45 * len(depths)), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(grid, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(lengths)), [f"{n / 1024:g}K" for n in lengths])
    axes.set_yticks(range(len(depths)), [f"{100 * d:.0f} %" for d in depths])
    axes.set_xlabel("tokens")
    axes.set_ylabel("depth of the needle")
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, label="right answers")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version, so that the same cells give the same file.
    figure.savefig(file, metadata={"Software": None})


def tracking_table(outcomes: list[dict[str, Any]]) -> str:
    """Accuracy in per cent in the last quarter of sequences, by task, contender and length."""
    lengths = sorted({int(n) for outcome in outcomes for n in outcome["accuracy"]})
    head = ["task", "model", "steps", "seeds", "weights", *(f"length {n}" for n in lengths)]
    rows = [head, ["---"] * len(head)]
    for task, name, steps in itertools.product(
        TRACKED, CONTENDERS, sorted({outcome["steps"] for outcome in outcomes})
    ):
        place = {"task": task, "contender": name, "steps": steps}
        same = [outcome for outcome in outcomes if place.items() <= outcome.items()]
        if not same:
            continue
        by_length = []
        for n in map(str, lengths):
            values = sorted(100 * o["accuracy"][n] for o in same if n in o["accuracy"])
            spread = f" – {values[-1]:.0f}" if len(values) > 1 else ""
            by_length.append(f"{values[0]:.0f}{spread}" if values else "–")
        rows.append(
            [task, name, f"{steps:,}", str(len(same)), f"{same[0]['weights']:,}", *by_length]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(results: Path, pictures: Path) -> str:
    """All results of a folder as a page of the documentation; heat maps go to ``pictures``."""
    parts = [Path(__file__).with_name("page.md").read_text(encoding="utf-8").strip()]
    for file in sorted(results.glob("*.json"), key=lambda file: file.stem):
        found = json.loads(file.read_text(encoding="utf-8"))
        if file.stem == "tracking":
            continue
        about = found["model"]
        for (kind, haystack), cells in groups(found["cells"]).items():
            title = f"{file.stem}: {kind} in {Path(haystack).stem}"
            picture = pictures / f"{file.stem}-{kind}-{Path(haystack).stem}.png"
            heat_map(cells, title, picture)
            parts.append(
                f"## {title}\n\n{about['weights']:,} weights, {about['steps']:,} of "
                f"{about['all_steps']:,} steps in {about['minutes']:.0f} minutes.\n\n"
                f"{length_table(cells)}\n\n"
                f"![Accuracy by length and depth](../_static/needles/{picture.name})"
            )
    tracked = results / "tracking.json"
    if tracked.exists():
        outcomes = json.loads(tracked.read_text(encoding="utf-8"))
        parts.append(f"## Tracking of a state\n\n{tracking_table(outcomes)}")
    return "\n\n".join(parts) + "\n"
