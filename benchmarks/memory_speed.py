"""How fast the memory is, and how its cost grows with length.

    OMP_NUM_THREADS=1 python benchmarks/memory_speed.py [--width 64] [--depth 2]

Tokens per second of ``memory_chunked``, forward and with backward, at several chunk sizes and
lengths, each the median of five runs; the exponent is the slope of log time over log length. The
token-by-token reference runs beside it at the shortest length, as the unit of comparison.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn import functional as F

from titans_ts.ops.memory_chunked import memory_chunked
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState

LENGTHS = (512, 2048, 8192)


def problem(
    width: int, depth: int, time: int, chunk: int
) -> tuple[MemoryState, list[torch.Tensor], MemoryGates]:
    """A memory with gates as they are at initialisation, and tokens for it."""
    torch.manual_seed(0)
    sizes = [width, *[4 * width] * (depth - 1), width]
    weights = tuple(
        (torch.randn(1, 1, a, b) * a**-0.5).requires_grad_() for a, b in itertools.pairwise(sizes)
    )
    tokens = [F.normalize(torch.randn(1, 1, time, width), dim=-1) for _ in range(3)]
    tokens = [token.requires_grad_() for token in tokens]
    shape = (1, 1, depth, time)
    gates = MemoryGates(
        torch.full(shape, 0.13 / chunk),
        torch.full(shape, math.log(0.5)),
        torch.full(shape, math.log(0.993)),
    )
    return MemoryState(weights, (), weights, 0), tokens, gates


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Median time of a call, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    arguments = parser.parse_args()
    width, depth = arguments.width, arguments.depth
    print(f"width {width}, depth {depth}, {torch.get_num_threads()} thread(s), float32")
    print("\n| form | chunk | pass | " + " | ".join(f"T = {n}" for n in LENGTHS) + " | exponent |")
    print("|---|---|---|" + "---|" * (len(LENGTHS) + 1))
    for chunk in (4, 16, 64):
        for backward in (False, True):
            spent = []
            for length in LENGTHS:
                state, tokens, gates = problem(width, depth, length, chunk)

                def run(
                    state: MemoryState = state,
                    tokens: list[torch.Tensor] = tokens,
                    gates: MemoryGates = gates,
                    backward: bool = backward,
                    chunk: int = chunk,
                ) -> None:
                    with torch.set_grad_enabled(backward):
                        reads, _ = memory_chunked(state, *tokens, gates, chunk_size=chunk)
                    if backward:
                        reads.square().mean().backward()

                spent.append(seconds(run))
            slope = math.log(spent[-1] / spent[0]) / math.log(LENGTHS[-1] / LENGTHS[0])
            rates = " | ".join(f"{n / s:,.0f}/s" for n, s in zip(LENGTHS, spent, strict=True))
            name = "forward and backward" if backward else "forward"
            print(f"| chunked | {chunk} | {name} | {rates} | {slope:.2f} |", flush=True)
    state, tokens, gates = problem(width, depth, LENGTHS[0], 16)

    def plain() -> None:
        with torch.no_grad():
            memory_reference(state, *tokens, gates, chunk_size=16)

    rate = LENGTHS[0] / seconds(plain)
    print(f"| token by token | 16 | forward | {rate:,.0f}/s |" + " |" * len(LENGTHS))


if __name__ == "__main__":
    main()
