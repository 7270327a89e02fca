"""What a benchmark found: tables to read, and figures to hold it to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["NAMES", "ON_A_GPU", "RESULTS", "Report", "Table"]

#: The benchmarks, in the order in which they run and are shown.
NAMES = (
    "op", "memory", "breakdown", "streaming", "block", "backbone", "training", "predict", "imports"
)  # fmt: skip

#: Those that need a CUDA device; "all" leaves them out.
ON_A_GPU = ("gpu",)

#: One file per benchmark, committed.
RESULTS = Path(__file__).parent / "results"

Cell = str | float | int | None


@dataclass
class Table:
    """Rows under titles; numbers are kept as measured and rounded when shown."""

    title: str
    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: Cell) -> None:
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns.")
        self.rows.append(list(cells))


@dataclass
class Report:
    """Of one benchmark.

    ``figures`` has the numbers that ``bars.toml`` asks for, by dotted name.
    """

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)

    def table(self, title: str, columns: list[str], note: str = "") -> Table:
        """A new table at the end."""
        self.tables.append(Table(title, columns, note=note))
        return self.tables[-1]

    def save(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Report:
        values = json.loads(path.read_text())
        values["tables"] = [Table(**table) for table in values["tables"]]
        return cls(**values)


def _rounded(value: Any) -> Any:
    """Five digits: more would only make differences between runs longer."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
