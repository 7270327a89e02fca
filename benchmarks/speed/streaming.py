"""One token a call, the state handed on: time of a step, and whether it stays what it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.machine import calibrate
from benchmarks.speed.memory import our_memory
from benchmarks.speed.peers import require, titans_memory
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, clock, interleave

__all__ = ["run"]

WIDTH = 128
#: Steps of one timing: whole chunks, so that each has the same share of steps that end one.
STRETCH = 192
CHUNKS = (1, 16, 64)
STEPS, MANY_STEPS = 20_000, 2_000_000


def run(effort: Effort) -> Report:
    require("titans_pytorch")
    report = Report("streaming", "Streaming", calibration=calibrate(effort.rounds))
    against_peer(report, effort.rounds, (16,) if effort.quick else CHUNKS)
    if not effort.quick:
        flatness(report, MANY_STEPS if effort.full else STEPS)
    return report


def against_peer(report: Report, rounds: int, chunks: tuple[int, ...]) -> None:
    """Time of a step of both, in turns."""
    table = report.table(
        f"A step: one token a call, width {WIDTH}, two layers",
        ["chunk", "ours, ms", "with convolution, ms", "titans-pytorch, ms", "ratio"],
        "The module with projections and gates, without gradients. titans-pytorch stores nothing "
        "until a chunk is full; ours learns from each token as it comes.",
    )
    for chunk in chunks:
        modules = {
            "ours": our_memory(WIDTH, 2, chunk, conv_width=0),
            "with convolution": our_memory(WIDTH, 2, chunk),
            "theirs": titans_memory(WIDTH, chunk),
        }
        runs = {who: stream(module) for who, module in modules.items()}
        seconds = {who: s / STRETCH for who, s in interleave(runs, rounds=rounds).items()}
        ratio = seconds["theirs"] / seconds["ours"]
        table.add(chunk, *(1000 * spent for spent in seconds.values()), ratio)
        report.figures[f"streaming.ratio.chunk{chunk}"] = ratio


def stream(module: nn.Module) -> Callable[[], object]:
    """A stretch of steps that goes on where the last one stopped."""
    torch.manual_seed(0)
    tokens = torch.randn(STRETCH, 1, 1, WIDTH)
    state: Any = None

    def call() -> None:
        nonlocal state
        with torch.no_grad():
            for token in tokens:
                _, state = module(token, state=state)

    return call


def flatness(report: Report, steps: int, chunk: int = 16) -> None:
    """Every step of a long stream, timed: the last tenth against the first, and the state."""
    torch.manual_seed(0)
    module = our_memory(WIDTH, 2, chunk)
    tokens = torch.randn(997, 1, 1, WIDTH)
    spent = np.empty(steps)
    sizes = set()
    state: Any = None
    with torch.no_grad():
        for step, token in zip(range(steps), itertools.cycle(tokens), strict=False):
            start = clock()
            _, state = module(token, state=state)
            spent[step] = clock() - start
            if step >= chunk and step % (steps // 10) < chunk:
                sizes.add((step % chunk, size_of(state)))
    tenths = [float(np.median(part)) for part in np.array_split(spent, 10)]
    growth = len(sizes) - len({place for place, _ in sizes})
    finite = all(bool(torch.isfinite(t).all()) for t in tensors(state))
    table = report.table(
        f"A stream of {steps:,} steps, chunk {chunk}",
        ["tenth", "median step, ms"],
        f"State of {max(size for _, size in sizes):,} bytes at most; at the same place of a "
        f"chunk it {'had always the same size' if not growth else 'changed its size'}. All of it "
        f"is {'finite' if finite else 'not finite'} at the end.",
    )
    for number, tenth in enumerate(tenths, start=1):
        table.add(number, 1000 * tenth)
    report.figures["streaming.last_tenth_to_first"] = tenths[-1] / tenths[0]
    report.figures["streaming.state_growth"] = float(growth)


def tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors of a state."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from tensors(part)


def size_of(state: Any) -> int:
    """Bytes that a state keeps alive: storages are counted whole, and once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors(state)}
    return sum(storage.nbytes() for storage in storages.values())
