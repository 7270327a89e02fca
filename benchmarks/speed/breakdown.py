"""Where the time of the memory goes: products, other operations, and calling them.

With the products' arithmetic at the machine's own rate beside them, this says how much faster the
memory could be at all.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.machine import calibrate
from benchmarks.speed.memory import forward, our_memory, training
from benchmarks.speed.peers import require, titans_memory
from benchmarks.speed.report import Report, Table
from benchmarks.speed.timing import Effort, interleave

__all__ = ["Share", "breakdown", "run"]

WIDTH, LENGTH = 128, 2048
CASES = (("chunk 64", 64, False), ("chunk 256, in tiles", 256, False), ("coarse", 256, True))
#: Operations that multiply matrices, and which of their arguments are the two.
PRODUCTS = {
    "aten::mm": 0,
    "aten::bmm": 0,
    "aten::addmm": 1,
    "aten::addmm_": 1,
    "aten::baddbmm": 1,
    "aten::baddbmm_": 1,
}


class Share(NamedTuple):
    """Of one call."""

    gflop: float  # of the products
    products: float  # seconds, as are the next two
    other: float  # operations
    calls: float  # what is in no operation: Python, and torch before an operation starts


def run(effort: Effort) -> Report:
    require("titans_pytorch")
    report = Report("breakdown", "Where the time goes", calibration=calibrate(effort.rounds))
    table = report.table(
        f"NeuralMemory, one sequence of {LENGTH:,} tokens, width {WIDTH}, two layers",
        [
            "memory", "pass", "ms", "products, ms", "other operations, ms", "calls, ms",
            "GFLOP of products", "those at the machine's rate, ms",
            "times as fast as titans-pytorch's default", "with nothing but the products",
        ],
        "Operations are timed by torch's profiler, the whole without it; what is in no operation "
        "is the time of calling them. The last two columns: the ratio as it is, and what it would "
        "be if the products ran at the rate of the machine's fastest and nothing else took time.",
    )  # fmt: skip
    for chunk_name, chunk, coarse in CASES:
        for name, make in (("forward", forward), ("training", training)):
            add(table, report, chunk_name, name, make, chunk, coarse, effort.rounds)
    return report


def add(
    table: Table,
    report: Report,
    memory: str,
    name: str,
    make: Callable[..., Callable[[], object]],
    chunk: int,
    coarse: bool,
    rounds: int,
) -> None:
    """One row."""
    torch.manual_seed(0)
    x = torch.randn(1, LENGTH, WIDTH)
    ours = make(our_memory(WIDTH, 2, chunk, conv_width=0, coarse_memory=coarse), x)
    theirs = make(titans_memory(WIDTH, chunk), x)
    seconds = interleave({"ours": ours, "theirs": theirs}, rounds=rounds)
    share = breakdown(ours, seconds["ours"], rounds)
    least = share.gflop / report.calibration["gflops"]
    table.add(
        memory,
        name,
        1000 * seconds["ours"],
        1000 * share.products,
        1000 * share.other,
        1000 * share.calls,
        share.gflop,
        1000 * least,
        seconds["theirs"] / seconds["ours"],
        seconds["theirs"] / least,
    )


def breakdown(call: Callable[[], object], seconds: float, rounds: int = 5) -> Share:
    """What of a call's ``seconds`` its operations take, by torch's profiler."""
    call()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        for _ in range(rounds):
            call()
    flop = products = other = 0.0
    for event in seen.key_averages(group_by_input_shape=True):
        if not event.key.startswith("aten::"):
            continue
        spent = event.self_cpu_time_total / 1e6 / rounds
        if event.key in PRODUCTS:
            left, right = event.input_shapes[PRODUCTS[event.key] :][:2]
            flop += 2 * prod(left) * right[-1] * event.count / rounds
            products += spent
        else:
            other += spent
    return Share(flop / 1e9, products, other, max(seconds - products - other, 0.0))
