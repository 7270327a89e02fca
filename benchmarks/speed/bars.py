"""The bars: what each figure is held to, and a sentence for each that misses."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BARS", "Bar", "misses", "read_bars"]

BARS = Path(__file__).with_name("bars.toml")


@dataclass(frozen=True)
class Bar:
    """What one figure is to reach."""

    figure: str
    what: str
    at_least: float | None = None
    at_most: float | None = None
    quick: bool = False
    guard: float | None = None  # what the check takes instead, where the bar is not reached yet

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.figure}: give one of at_least and at_most.")

    @property
    def benchmark(self) -> str:
        """The benchmark that reports the figure."""
        name = self.figure.partition(".")[0]
        return "imports" if name == "import" else name

    @property
    def limit(self) -> float:
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        return limit

    def holds(self, value: float, *, guarded: bool = False) -> bool:
        """Whether a figure reaches the bar, or the guard where there is one; NaN does not."""
        limit = self.guard if guarded and self.guard is not None else self.limit
        return value >= limit if self.at_least is not None else value <= limit


def read_bars(path: Path = BARS) -> list[Bar]:
    """All bars, in the order of the file."""
    return [Bar(**bar) for bar in tomllib.loads(path.read_text())["bar"]]


def misses(bars: list[Bar], figures: Mapping[str, float]) -> list[str]:
    """A sentence for each figure that lies beyond its guard, or its bar where it has none."""
    sentences = []
    for bar in bars:
        limit = bar.limit if bar.guard is None else bar.guard
        wanted = f"{'at least' if bar.at_least is not None else 'at most'} {limit:g}"
        if bar.figure not in figures:
            sentences.append(f"{bar.figure} was not measured; expected {wanted} ({bar.what}).")
        elif not bar.holds(figures[bar.figure], guarded=True):
            found = f"{figures[bar.figure]:.3g}"
            sentences.append(f"{bar.figure} is {found}; expected {wanted} ({bar.what}).")
    return sentences
