"""NeuralMemory, projections and gates included, against that of titans-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.speed.machine import calibrate
from benchmarks.speed.peers import require, titans_memory
from benchmarks.speed.report import Report, Table
from benchmarks.speed.timing import Effort, interleave
from titans_ts.config import BackboneConfig
from titans_ts.nn.memory import NeuralMemory

__all__ = ["our_memory", "run"]

OURS, EQUAL, DEFAULT = "ours", "theirs, batch_size=chunk", "theirs, default"
NO_CONVOLUTION = "ours, no convolution"
COARSE = "ours, coarse"


class Case(NamedTuple):
    """A memory and a length.

    ``equal``: whether the peer's batch_size=chunk is run as well; ``coarse``: whether our coarse
    form is.
    """

    width: int
    depth: int
    chunk: int
    length: int = 2048
    equal: bool = True
    coarse: bool = False


MAIN = (Case(128, 2, 16), Case(128, 2, 64))
# With small chunks the peer's batch_size=chunk, quadratic in the number of chunks, takes minutes.
MORE = (Case(128, 2, 4, equal=False), Case(128, 2, 256, coarse=True))
LONG = (Case(128, 2, 64, 32_768, equal=False),)
WIDTHS = (
    Case(64, 2, 16, equal=False),
    Case(64, 2, 64, equal=False),
    Case(256, 2, 16, 512, equal=False),
    Case(256, 2, 64, equal=False),
    Case(64, 1, 16, equal=False),
    Case(64, 1, 64, equal=False),
    Case(128, 1, 16, equal=False),
    Case(128, 1, 64, equal=False),
)
COLUMNS = ["width", "depth", "chunk", "T", "pass", "tokens/s", "with convolution"]
COLUMNS += ["against default", "against batch_size=chunk", "coarse, against default"]


def run(effort: Effort) -> Report:
    require("titans_pytorch")
    report = Report("memory", "The memory as a module", calibration=calibrate(effort.rounds))
    table = report.table(
        "NeuralMemory against titans-pytorch 0.5.5, one head, one sequence",
        COLUMNS,
        "Tokens per second of ours without convolutions, which titans-pytorch has not, and with; "
        "then how many times faster the former is. By default titans-pytorch takes all gradients "
        "of a sequence at the initial weights, an easier problem; with batch_size=chunk at each "
        "chunk's start, as ours. Its gates are one value a chunk, its reads those of the chunk's "
        "start; ours go token by token in all rows. Its net is x + LayerNorm(mlp(x)) with GELU, "
        "ours mlp(x) with SiLU; both have two layers or one. Both return the state.",
    )
    cases = MAIN if effort.quick else MAIN + MORE + LONG + WIDTHS
    # Of the sizes that ratios are named for, and of others.
    least: dict[bool, list[float]] = {True: [], False: []}
    for case in cases:
        for name, ratio in compare(case, table, effort.rounds).items():
            key = figure(case, name)
            if key:
                report.figures[key] = ratio
            if case.chunk <= 64 and name[0] == DEFAULT:
                least[key is not None].append(ratio)
    if not effort.quick:
        report.figures["memory.default.least_up_to_chunk64"] = min(least[True])
        report.figures["memory.default.least_of_other_sizes"] = min(least[False])
    return report


def compare(case: Case, table: Table, rounds: int) -> dict[tuple[str, str], float]:
    """Time a case; ratios by peer and pass."""
    torch.manual_seed(0)
    x = torch.randn(1, case.length, case.width)
    modules: dict[str, nn.Module] = {
        NO_CONVOLUTION: our_memory(case.width, case.depth, case.chunk, conv_width=0),
        OURS: our_memory(case.width, case.depth, case.chunk),
        DEFAULT: titans_memory(case.width, case.chunk, depth=case.depth),
    }
    if case.equal:
        modules[EQUAL] = titans_memory(
            case.width, case.chunk, depth=case.depth, batch_size=case.chunk
        )
    if case.coarse:
        modules[COARSE] = our_memory(
            case.width, case.depth, case.chunk, conv_width=0, coarse_memory=True
        )
    ratios = {}
    for name, make in (("forward", forward), ("training", training)):
        runs = {who: make(module, x) for who, module in modules.items()}
        seconds = interleave(runs, rounds=rounds)
        own = seconds[NO_CONVOLUTION]
        against = {who: seconds[who] / own for who in (DEFAULT, EQUAL) if who in seconds}
        if COARSE in seconds:
            against[COARSE] = seconds[DEFAULT] / seconds[COARSE]
        ratios |= {(who, name): ratio for who, ratio in against.items()}
        table.add(
            *case[:4],
            name,
            case.length / own,
            case.length / seconds[OURS],
            against[DEFAULT],
            against.get(EQUAL),
            against.get(COARSE),
        )
    return ratios


def figure(case: Case, name: tuple[str, str]) -> str | None:
    """The name of a ratio that bars.toml may ask for: those of the sizes of the issue."""
    if case in LONG:
        return f"memory.default.long.{name[1]}"
    if (case.width, case.depth) != (128, 2):
        return None
    who = {EQUAL: "equal", DEFAULT: "default", COARSE: "coarse"}[name[0]]
    return f"memory.{who}.chunk{case.chunk}.{name[1]}"


def our_memory(
    width: int, depth: int, chunk: int, *, conv_width: int = 4, coarse_memory: bool = False
) -> NeuralMemory:
    """One head of the memory, as wide as the tokens."""
    config = BackboneConfig(
        dim=width,
        memory_depth=depth,
        n_memory_heads=1,
        chunk_size=chunk,
        n_persistent=0,
        conv_width=conv_width,
        coarse_memory=coarse_memory,
    )
    return NeuralMemory(config)


def forward(module: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            module(x)

    return call


def training(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """Forward and backward, gradients of the parameters and of the tokens before the memory."""
    x = x.clone().requires_grad_()

    def call() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        y, _ = module(x)
        y.square().mean().backward()

    return call
