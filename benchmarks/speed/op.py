"""The op, ``memory_chunked``: share of the machine's rate, growth with length, memory, accuracy."""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.speed.afresh import afresh
from benchmarks.speed.machine import product_rate, products
from benchmarks.speed.memory_peak import peak_memory
from benchmarks.speed.op_accuracy import accuracy
from benchmarks.speed.problems import OpProblem, make_problem, useful_flops
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, interleave, slope
from titans_ts.ops import memory_chunks

__all__ = ["run"]

EXPANSION = 4
LENGTHS = (2048, 8192, 32_768, 131_072)
PASSES = {"forward": "inference", "forward and backward": "training"}
SHORT = {"forward": "forward", "forward and backward": "training"}


def run(effort: Effort) -> Report:
    report = Report("op", "The memory op")
    share(report, effort.rounds)
    if not effort.quick:
        length(report, effort.rounds)
        memory(report, effort.rounds)
        accuracy(report)
    return report


def share(
    report: Report, rounds: int, *, widths: tuple[int, ...] = (128, 256), n: int = 2048
) -> None:
    """Tokens per second, and what that is of the matrix-product rate of the same minutes."""
    chunk = 64
    runs = products()
    for width in widths:
        problem = make_problem(n, width=width, chunk=chunk)
        runs |= {f"{width} {name}": getattr(problem, do) for name, do in PASSES.items()}
    seconds = interleave(runs, rounds=rounds)
    report.calibration = rate = product_rate(seconds)
    table = report.table(
        f"Share of the float32 matrix-product rate, chunk {chunk}, T = {n}",
        ["width", "pass", "tokens/s", "useful GFLOP/s", "share"],
        "Useful operations: 22dm + 4C(d+m) + 2Cd per token forward, three times that with "
        f"backward. The rate is {rate['gflops']:.3g} GFLOP/s ({rate['shape']}), measured in turns "
        "with the op.",
    )
    for width in widths:
        for name in PASSES:
            spent = seconds[f"{width} {name}"]
            flops = useful_flops(width, EXPANSION, chunk, backward=name != "forward") * n
            found = flops / spent / 1e9 / rate["gflops"]
            table.add(width, name, n / spent, flops / spent / 1e9, found)
            report.figures[f"op.share.{SHORT[name]}.width{width}"] = found


def length(report: Report, rounds: int) -> None:
    """Time against length."""
    table = report.table(
        "Growth of time with length, width 128",
        ["chunk", "pass", *(f"tokens/s, T = {n:,}" for n in LENGTHS), "exponent"],
        "The exponent is the slope of log time over log length, by least squares.",
    )
    for chunk in (64, 16):
        for name, do in PASSES.items():
            problems = {str(n): make_problem(n, chunk=chunk) for n in LENGTHS}
            runs = {n: getattr(problem, do) for n, problem in problems.items()}
            seconds = list(interleave(runs, rounds=rounds).values())
            exponent = slope(LENGTHS, seconds)
            rates = [n / spent for n, spent in zip(LENGTHS, seconds, strict=True)]
            table.add(chunk, name, *rates, exponent)
            report.figures[f"op.exponent.{SHORT[name]}.chunk{chunk}"] = exponent


def memory(report: Report, rounds: int, n: int = 131_072, short: int = 32_768) -> None:
    """What training a long sequence keeps, and what keeping less costs in time."""
    table = report.table(
        "Memory and time of training, width 128, chunk 64",
        ["T", "kept for the backward pass", "added peak memory, GB", "seconds"],
        "Added to what the process held with its inputs, each in a process of its own; gradients "
        "of the inputs are part of it. Times are medians of turns in one process.",
    )
    ways = {"what the op chooses": False, "everything, nothing made again": True}
    for size in (short, n):
        peaks = {way: afresh("op:added_memory", n=size, keep=keep) for way, keep in ways.items()}
        problem = make_problem(size)
        runs = {way: partial(train, problem, keep) for way, keep in ways.items()}
        seconds = interleave(runs, rounds=rounds)
        for way in ways:
            table.add(size, way, peaks[way] / 1e9, seconds[way])
    chosen, every = ways
    report.figures["op.memory.gigabytes"] = peaks[chosen] / 1e9
    report.figures["op.memory.time_against_keeping_all"] = seconds[chosen] / seconds[every]


def added_memory(n: int, *, keep: bool = False) -> int:
    """Bytes by which one training pass raises this process's peak."""
    make_problem(256).training()
    problem = make_problem(n)
    before = peak_memory()
    train(problem, keep)
    return peak_memory() - before


def train(problem: OpProblem, keep: bool) -> None:
    """Forward and backward; with ``keep``, however much there is to keep between them."""
    limit = memory_chunks.KEEP_BYTES
    memory_chunks.KEEP_BYTES = sys.maxsize if keep else limit
    try:
        problem.training()
    finally:
        memory_chunks.KEEP_BYTES = limit
