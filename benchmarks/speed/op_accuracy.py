"""How exact the op is: against the token-by-token reference, in float32, and cut into pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.problems import OpProblem, make_problem
from benchmarks.speed.report import Report
from titans_ts.ops.memory_chunked import memory_chunked, slice_gates
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryState

__all__ = ["accuracy"]


def accuracy(report: Report, *, width: int = 128, n: int = 300, long: int = 4096) -> None:
    """Largest difference of each kind, relative to the largest value of that kind."""
    table = report.table(
        "Accuracy: largest difference, relative to the largest value",
        ["compared", "chunk", "reads", "state", "outer gradients"],
    )
    worst = 0.0
    for chunk in (16, 64):
        problem = make_problem(n, width=width, chunk=chunk, dtype=torch.float64)
        errors = differences(everything(problem, memory_chunked), everything(problem))
        table.add(f"with the token-by-token reference, float64, T = {n}", chunk, *errors)
        worst = max(worst, *errors)
    report.figures["op.accuracy.float64"] = worst
    worst = 0.0
    for chunk in (16, 64):
        single, double = (
            everything(make_problem(long, width=width, chunk=chunk, dtype=dtype), memory_chunked)
            for dtype in (torch.float32, torch.float64)
        )
        errors = differences(single, double)
        table.add(f"float32 with float64, T = {long}", chunk, *errors)
        worst = max(worst, *errors)
    report.figures["op.accuracy.float32"] = worst
    problem = make_problem(n, width=width, dtype=torch.float64)
    errors = pieces(problem, (1, 7, 64, 65))
    table.add(f"pieces of 1, 7, 64, 65 and the rest with one call, float64, T = {n}", 64, *errors)
    report.figures["op.accuracy.pieces"] = max(errors[:2])


def everything(problem: OpProblem, form=memory_reference) -> list[list[Tensor]]:  # type: ignore[no-untyped-def]
    """Reads, state, and gradients of a fixed functional of both."""
    reads, state = problem.forward(form)
    weights = torch.linspace(-1, 1, reads.numel(), dtype=torch.float64).reshape(reads.shape)
    target = (reads * weights.to(reads.dtype)).sum() + sum(w.sum() for w in state.weights)
    gradients = torch.autograd.grad(target, problem.leaves())
    return [[reads.detach()], content(state), list(gradients)]


def content(state: MemoryState) -> list[Tensor]:
    return [tensor.detach() for tensor in (*state.weights, *state.momentum)]


def differences(found: list[list[Tensor]], expected: list[list[Tensor]]) -> list[float]:
    """The largest of each group, tensor by tensor."""

    def relative(a: Tensor, b: Tensor) -> float:
        return float((a.double() - b.double()).abs().max() / b.double().abs().max())

    pairs = zip(found, expected, strict=True)
    return [max(map(relative, ours, theirs)) for ours, theirs in pairs]


@torch.no_grad()
def pieces(problem: OpProblem, lengths: tuple[int, ...]) -> tuple[float, float, None]:
    """One call against calls on pieces, the state handed on."""
    whole, after = problem.forward()
    n = problem.tokens[0].shape[-2]
    state, reads, start = problem.state, [], 0
    for size in (*lengths, n - sum(lengths)):
        now = slice(start, start + size)
        tokens = [token[..., now, :] for token in problem.tokens]
        gates = slice_gates(problem.gates, now)
        read, state = memory_chunked(state, *tokens, gates, chunk_size=problem.chunk)
        reads.append(read)
        start += size
    joined = [[torch.cat(reads, dim=-2)], content(state)]
    return (*differences(joined, [[whole], content(after)]), None)
