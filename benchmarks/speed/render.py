"""The results as a page of the documentation.

    python -m benchmarks.speed.render

Reads every file in ``benchmarks/speed/results`` and writes ``docs/user_guide/speed.md``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.afresh import ROOT
from benchmarks.speed.bars import Bar, read_bars
from benchmarks.speed.report import NAMES, ON_A_GPU, RESULTS, Cell, Report

__all__ = ["render"]

PAGE = ROOT / "docs" / "user_guide" / "speed.md"
INTRODUCTION = Path(__file__).with_name("page.md")


def render(reports: list[Report], bars: list[Bar]) -> str:
    """The page, as Markdown."""
    reports = sorted(reports, key=lambda report: (*_place(report), report.name))
    figures = {name: value for report in reports for name, value in report.figures.items()}
    parts = [INTRODUCTION.read_text(), *_bars(bars, figures)]
    for report in reports:
        parts += [f"## {report.title}", _machine(report)]
        for table in report.tables:
            parts.append(f"### {table.title}")
            head = [table.columns, ["---"] * len(table.columns)]
            rows = [*head, *([show(cell) for cell in row] for row in table.rows)]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
            if table.note:
                parts.append(table.note)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def show(cell: Cell) -> str:
    """Three digits; whole numbers and text as they are."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if cell != 0 and abs(cell) < 1e-3:
        return f"{cell:.1e}"
    whole = f"{float(f'{cell:.3g}'):,.0f}"
    return whole if abs(cell) >= 100 else f"{cell:.3g}"


def _place(report: Report) -> tuple[int]:
    names = (*NAMES, *ON_A_GPU)
    return (names.index(report.name) if report.name in names else len(names),)


def _bars(bars: list[Bar], figures: dict[str, float]) -> list[str]:
    rows = ["| what | to reach | measured | |", "|---|---|---|---|"]
    for bar in bars:
        sign = "≥" if bar.at_least is not None else "≤"
        found, verdict = "–", "not measured yet"
        if bar.figure in figures:
            found = show(float(figures[bar.figure]))
            verdict = "reached" if bar.holds(figures[bar.figure]) else "**missed**"
        rows.append(f"| {bar.what} | {sign} {bar.limit:g} | {found} | {verdict} |")
    return ["## What it is held to", "\n".join(rows)]


def _machine(report: Report) -> str:
    facts = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    malloc = facts["malloc"]
    if isinstance(malloc, dict):
        malloc = ", ".join(f"{name}={value}" for name, value in malloc.items())
    text = (
        f"{facts['date']}: {facts['processor']}, {facts['cores']} cores of which this process had "
        f"{facts['usable_cores']}, {', '.join(facts['vectors']) or 'no wide vectors'}, "
        f"{facts['memory_gib']:g} GiB; {facts['threads']} thread(s), {malloc} malloc, "
        f"{facts['clock']}, {facts['rounds']} turns; load {facts['load']:g} at the "
        f"start; Python {facts['python']}, {versions}."
    )
    if report.calibration:
        rates = report.calibration["rates"].items()
        both = ", ".join(f"{rate:.3g} GFLOP/s at {shape}" for shape, rate in rates)
        device = report.calibration.get("device")
        whose = f"Matrix products of the {device}" if device else "Its float32 matrix products"
        text += f" {whose} in the same process: {both}."
    return text


def main() -> None:
    reports = [Report.load(path) for path in sorted(Path(RESULTS).glob("*.json"))]
    PAGE.write_text(render(reports, read_bars()))
    print(f"{PAGE.relative_to(ROOT)}: {len(reports)} benchmarks")


if __name__ == "__main__":
    main()
