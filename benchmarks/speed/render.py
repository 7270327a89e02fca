"""The results as a page of the documentation.

    python -m benchmarks.speed.render

Reads every file in ``benchmarks/speed/results`` and writes ``docs/user_guide/speed.md``. What was
measured on another kind of processor before lies in ``results/elsewhere``, and stands beside it in
the table of bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.afresh import ROOT
from benchmarks.speed.bars import Bar, read_bars
from benchmarks.speed.report import NAMES, ON_A_GPU, RESULTS, Cell, Report

__all__ = ["ELSEWHERE", "read_reports", "render"]

PAGE = ROOT / "docs" / "user_guide" / "speed.md"
ELSEWHERE = RESULTS / "elsewhere"
INTRODUCTION = Path(__file__).with_name("page.md")


def render(reports: list[Report], bars: list[Bar], elsewhere: Sequence[Report] = ()) -> str:
    """The page, as Markdown."""
    reports = sorted(reports, key=lambda report: (*_place(report), report.name))
    parts = [INTRODUCTION.read_text(), *_bars(bars, [reports, *([elsewhere] if elsewhere else [])])]
    for report in reports:
        parts += [f"## {report.title}", _machine(report)]
        for table in report.tables:
            parts.append(f"### {table.title}")
            parts.append(
                _table(table.columns, [[show(cell) for cell in row] for row in table.rows])
            )
            if table.note:
                parts.append(table.note)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def read_reports(folder: Path) -> list[Report]:
    """Every file of a folder."""
    return [Report.load(path) for path in sorted(folder.glob("*.json"))]


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


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _place(report: Report) -> tuple[int]:
    names = (*NAMES, *ON_A_GPU)
    return (names.index(report.name) if report.name in names else len(names),)


def _bars(bars: list[Bar], machines: list[Sequence[Report]]) -> list[str]:
    head = ["what", "to reach", *(f"measured{_vectors(reports)}" for reports in machines)]
    rows = []
    for bar in bars:
        sign = "≥" if bar.at_least is not None else "≤"
        rows.append([bar.what, f"{sign} {bar.limit:g}", *(_found(bar, each) for each in machines)])
    return ["## What it is held to", _table(head, rows)]


def _found(bar: Bar, reports: Sequence[Report]) -> str:
    for report in reports:
        if bar.figure in report.figures:
            value = report.figures[bar.figure]
            return f"{show(float(value))}{'' if bar.holds(value) else ', **missed**'}"
    return "–"


def _vectors(reports: Sequence[Report]) -> str:
    """What a processor's vectors are called, for all its reports."""
    known = {
        "AVX-512" if "avx512f" in report.machine["vectors"] else "AVX2"
        for report in reports
        if report.name in NAMES
    }
    return f" ({' and '.join(sorted(known))})" if known else ""


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
    reports = read_reports(RESULTS)
    PAGE.write_text(render(reports, read_bars(), read_reports(ELSEWHERE)))
    print(f"{PAGE.relative_to(ROOT)}: {len(reports)} benchmarks")


if __name__ == "__main__":
    main()
