"""The harness of the benchmarks of speed: what it computes, writes and judges. Nothing is timed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed import __main__ as command
from benchmarks.speed import imports, op, training
from benchmarks.speed.afresh import afresh
from benchmarks.speed.bars import Bar, misses, read_bars
from benchmarks.speed.breakdown import breakdown
from benchmarks.speed.fits import SIZES
from benchmarks.speed.machine import PRODUCTS, describe, product_rate
from benchmarks.speed.op_accuracy import accuracy
from benchmarks.speed.problems import make_problem, useful_flops, wide_table
from benchmarks.speed.render import ELSEWHERE, PAGE, read_reports, render, show
from benchmarks.speed.report import RESULTS, Report
from benchmarks.speed.timing import interleave, slope
from titans_ts.ops.memory_reference import memory_reference

MACHINE = {
    "date": "2026-11-20",
    "processor": "Some CPU",
    "cores": 4,
    "usable_cores": 1,
    "vectors": ["avx2"],
    "memory_gib": 15.5,
    "system": "Linux",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
    "clock": "wall clock",
    "threads": 1,
    "malloc": "default",
    "load": 0.5,
    "rounds": 5,
}


@pytest.fixture
def report():
    found = Report("op", "The memory op", machine=MACHINE)
    found.calibration = {"gflops": 95.0, "shape": "2x3x5", "rates": {"2x3x5": 95.0}}
    table = found.table("Share", ["width", "pass", "tokens/s", "share"], "A note.")
    table.add(128, "forward", 12345.678, 0.61803)
    table.add(128, "training", 5432.1, None)
    found.figures["op.share"] = 0.61803
    return found


def test_contenders_take_turns_after_one_call_each_to_warm_up():
    now, order = 0.0, []

    def contender(name, seconds):
        def run():
            nonlocal now
            order.append(name)
            now += seconds

        return run

    runs = {"slow": contender("slow", 3.0), "slower": contender("slower", 7.0)}
    assert interleave(runs, rounds=3, clock=lambda: now) == {"slow": 3.0, "slower": 7.0}
    assert order == ["slow", "slower"] * 4


def test_the_median_leaves_a_disturbed_turn_out():
    now, spent = 0.0, iter([5.0, 2.0, 90.0, 2.0, 2.5, 1.0])

    def run():
        nonlocal now
        now += next(spent)

    assert interleave({"one": run}, rounds=5, clock=lambda: now) == {"one": 2.0}


def test_short_calls_are_timed_several_at_a_time():
    now, calls = 0.0, 0

    def run():
        nonlocal now, calls
        now, calls = now + 0.004, calls + 1

    assert interleave({"one": run}, rounds=3, clock=lambda: now)["one"] == pytest.approx(0.004)
    assert calls == 2 + 3 * 5  # two to learn how long one takes; then 5 of them make 0.02 s


@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_slope_is_the_exponent_of_a_power(exponent):
    sizes = [2.0, 5.0, 11.0]
    assert slope(sizes, [3 * n**exponent for n in sizes]) == pytest.approx(exponent)


def test_the_faster_product_calibrates_the_machine():
    names = ["x".join(map(str, shape)) for shape in PRODUCTS]
    rate = product_rate({names[0]: 0.2, names[1]: 0.0001})
    assert rate["shape"] == names[0] == "2048x2048x2048"
    assert rate["gflops"] == pytest.approx(2 * 2048**3 / 0.2 / 1e9)


def test_the_machine_is_described_without_its_name():
    facts = describe()
    assert facts["threads"] == torch.get_num_threads()
    assert "torch" in facts["versions"]
    assert set(facts) == set(MACHINE) - {"rounds"}  # a host name would be a further fact


def test_useful_operations_can_be_counted_by_hand():
    # d = 2, m = 6, C = 5: 22 * 12 + 4 * 5 * 8 + 2 * 5 * 2 = 264 + 160 + 20
    assert useful_flops(2, 3, 5, backward=False) == 444
    assert useful_flops(2, 3, 5, backward=True) == 3 * 444


def test_a_problem_is_what_the_reference_can_solve():
    problem = make_problem(13, width=7, depth=3, expansion=2, chunk=5, dtype=torch.float64)
    reads, state = problem.forward(memory_reference)
    assert reads.shape == (1, 1, 13, 7)
    assert [w.shape[-2:] for w in state.weights] == [(7, 14), (14, 14), (14, 7)]
    assert all(leaf.requires_grad for leaf in problem.leaves())
    assert len(problem.leaves()) == 3 + 3 + 3


def test_share_of_the_op_is_useful_operations_over_the_rate():
    report = Report("op", "")
    op.share(report, rounds=1, widths=(16,), n=64)
    (forward, both) = report.tables[0].rows
    width, name, tokens, gflops, share = forward
    assert (width, name, both[1]) == (16, "forward", "forward and backward")
    assert gflops == pytest.approx(tokens * useful_flops(16, 4, 64, backward=False) / 1e9)
    assert share == pytest.approx(gflops / report.calibration["gflops"])
    assert report.figures["op.share.forward.width16"] == share
    assert report.figures["op.share.training.width16"] == both[-1]


def test_the_op_is_as_exact_as_its_bars_ask():
    report = Report("op", "")
    accuracy(report, width=16, n=150, long=300)
    bars = [bar for bar in read_bars() if bar.figure.startswith("op.accuracy.")]
    assert len(bars) == 3
    assert misses(bars, report.figures) == []


def test_peak_memory_is_that_of_a_process_of_its_own():
    held = torch.ones(2**26)  # 256 MB that the other process must not count
    added = afresh("op:added_memory", n=1024)
    # Gradients of 1,024 tokens of width 128, three of each, are the least.
    assert 3 * 1024 * 128 * 4 < added < held.nbytes


def test_what_fails_in_a_process_of_its_own_says_why():
    with pytest.raises(
        RuntimeError, match=r"op:added_memory failed[^$]*unexpected keyword argument 'nonsense'"
    ):
        afresh("op:added_memory", n=64, nonsense=1)


def test_imports_are_timed_with_what_they_load():
    seconds, peak, heavy = imports.measure("import titans_ts")
    assert 0 < seconds < 60
    assert peak > 1e6
    assert heavy == ""


def test_a_table_has_as_many_rows_and_channels_as_asked_for():
    assert wide_table(50, 9).shape == (50, 9)


def test_a_report_comes_back_as_it_was_saved(report, tmp_path):
    again = Report.load(report.save(tmp_path))
    assert again.figures == {"op.share": 0.61803}
    assert again.tables[0].rows[0] == [128, "forward", 12346.0, 0.61803]  # five digits
    assert again.machine == MACHINE


def test_a_row_with_a_missing_cell_is_refused(report):
    with pytest.raises(ValueError, match="Share: 2 cells for 4 columns"):
        report.tables[0].add(1, 2)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (None, "–"),
        ("text", "text"),
        (131_072, "131,072"),
        (12345.6, "12,300"),
        (100.4, "100"),
        (1.2345, "1.23"),
        (0.0123, "0.0123"),
        (3.21e-15, "3.2e-15"),
        (0.0, "0"),
    ],
)
def test_numbers_are_shown_with_three_digits(cell, shown):
    assert show(cell) == shown


def test_the_page_shows_tables_machine_and_verdicts(report):
    bars = [
        Bar("op.share", "share, first", at_least=0.6),
        Bar("op.share", "share, second", at_least=0.7, guard=0.5),
        Bar("op.other", "other", at_most=2.0),
    ]
    page = render([report], bars)
    assert "| what | to reach | measured (AVX2) |" in page
    assert "| share, first | ≥ 0.6 | 0.618 |" in page
    assert "| share, second | ≥ 0.7 | 0.618, **missed** |" in page  # the guard hides nothing
    assert "| other | ≤ 2 | – |" in page
    assert "| 128 | forward | 12,300 | 0.618 |\n| 128 | training | 5,430 | – |" in page
    assert "2026-11-20: Some CPU, 4 cores of which this process had 1, avx2" in page
    assert "1 thread(s), default malloc, wall clock, 5 turns; load 0.5 at the start" in page
    assert "95 GFLOP/s at 2x3x5" in page


def test_the_page_shows_another_machine_beside_it(report):
    wide = report.machine | {"vectors": ["avx2", "avx512f"]}
    other = replace(report, machine=wide, figures={"op.share": 0.55})
    bars = [Bar("op.share", "share", at_least=0.6), Bar("op.other", "other", at_most=2.0)]
    page = render([report], bars, [other])
    assert "| what | to reach | measured (AVX2) | measured (AVX-512) |" in page
    assert "| share | ≥ 0.6 | 0.618 | 0.55, **missed** |\n| other | ≤ 2 | – | – |" in page
    assert page.count("## What it is held to\n") == page.count("2026-11-20: Some CPU") == 1


def test_the_page_of_the_documentation_is_that_of_the_results():
    reports = read_reports(RESULTS)
    assert reports
    assert PAGE.read_text() == render(reports, read_bars(), read_reports(ELSEWHERE))


@pytest.mark.parametrize(
    ("bar", "value", "sentence"),
    [
        pytest.param(Bar("a.b", "speed", at_least=2), 2.0, None, id="reached"),
        pytest.param(
            Bar("a.b", "speed", at_least=2),
            1.876,
            "a.b is 1.88; expected at least 2 (speed).",
            id="too low",
        ),
        pytest.param(
            Bar("a.b", "time", at_most=0.5),
            0.6,
            "a.b is 0.6; expected at most 0.5 (time).",
            id="too high",
        ),
        pytest.param(
            Bar("a.b", "speed", at_least=2),
            float("nan"),
            "a.b is nan; expected at least 2 (speed).",
            id="not a number",
        ),
        pytest.param(Bar("a.b", "speed", at_least=2, guard=1), 1.5, None, id="above its guard"),
        pytest.param(
            Bar("a.b", "speed", at_least=2, guard=1),
            0.5,
            "a.b is 0.5; expected at least 1 (speed).",
            id="below its guard",
        ),
        pytest.param(
            Bar("a.c", "speed", at_least=2),
            9.0,
            "a.c was not measured; expected at least 2 (speed).",
            id="missing",
        ),
    ],
)
def test_a_figure_beyond_its_bar_is_a_sentence(bar, value, sentence):
    assert misses([bar], {"a.b": value}) == ([] if sentence is None else [sentence])


def test_a_bar_has_one_direction():
    with pytest.raises(ValueError, match="a: give one of at_least and at_most"):
        Bar("a", "", at_least=1, at_most=2)


def test_every_bar_belongs_to_a_benchmark_and_the_quick_ones_are_ratios():
    bars = read_bars()
    assert {bar.benchmark for bar in bars} <= set(command.NAMES)
    assert len({bar.figure for bar in bars}) == len(bars)
    assert not [bar for bar in bars if bar.quick and "seconds" in bar.figure]


@pytest.mark.parametrize(("found", "code"), [(3.0, 0), (1.0, 1)])
def test_the_check_ends_with_1_where_a_figure_fell(monkeypatch, capsys, found, code):
    bars = [Bar("op.x", "speed", at_least=2, quick=True), Bar("memory.y", "slow", at_least=2)]
    asked = []

    def measure(name, rounds, *, quick):
        asked.append((name, rounds, quick))
        return Report(name, "", figures={"op.x": found})

    monkeypatch.setattr("benchmarks.speed.bars.read_bars", lambda: bars)
    monkeypatch.setattr(command, "measure", measure)
    assert command.check(rounds=3) == code
    assert asked == [("op", 3, True)]
    out, err = capsys.readouterr()
    assert out == f"op.x: {found:.3g}\n"
    assert err == ("" if code == 0 else "op.x is 1; expected at least 2 (speed).\n")


def test_committed_results_name_no_machine():
    for path in RESULTS.glob("*.json"):
        assert set(json.loads(path.read_text())["machine"]) == set(MACHINE), path.name


def test_training_reports_a_figure_for_each_of_its_bars(monkeypatch):
    asked = []

    def fit(function, *, who, batch, rows, channels, freq="15min", forecast=False):
        asked.append((who, batch, channels))
        ours = who in SIZES
        found = {"step_seconds": 0.5 if ours else 4.0, "parameters": 7.0, "peak": 3e8 + channels}
        if ours:
            found["batch_seconds"] = 0.002
        return found | ({"forecast_seconds": 1e-4 * channels} if forecast else {})

    monkeypatch.setattr(training, "afresh", fit)
    report = Report("training", "")
    training.against_peers(report, turns=2)
    training.wide(report, turns=2)
    bars = [bar for bar in read_bars() if bar.benchmark == "training"]
    assert {bar.figure for bar in bars} <= set(report.figures)
    assert asked[:4] == [(who, 32, 7) for who in ("default", "large", "NHITS", "PatchTST")]
    figures = report.figures
    assert figures["training.against_nhits.batch32"] == pytest.approx(8)
    assert figures["training.loader.share"] == pytest.approx(0.004)
    assert figures["training.loader.windows"] == pytest.approx(128_000)
    assert figures["training.megabytes.large"] == pytest.approx(300.000007)
    assert figures["training.traffic.fit_against_seven"] == 1
    assert figures["training.traffic.predict_against_seven"] == pytest.approx(862 / 7)


def test_a_breakdown_counts_the_products_of_a_call_and_what_is_left_is_calling():
    a, b, c = torch.ones(2, 3, 5), torch.ones(2, 5, 7), torch.zeros(2, 3, 7)

    def call():
        c.baddbmm_(a, b)
        torch.mm(a[0], b[0]).exp_()

    share = breakdown(call, seconds=1.0, rounds=2)
    assert share.gflop == pytest.approx((2 * 2 * 3 * 5 * 7 + 2 * 3 * 5 * 7) / 1e9)
    assert share.products > 0
    assert share.other > 0
    assert sum(share[1:]) == pytest.approx(1.0)
