"""The Triton kernels compute what the token-by-token memory computes.

Run as a program, this file solves its problems in Triton's interpreter, which has to be asked for
before triton is imported: no other test of the process would want it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from memory_problems import Problem, assert_same, make_problem, results_and_gradients

from titans_ts.ops.memory_chunks import ScanOptions, scan_chunks
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState
from titans_ts.ops.memory_triton import supports, triton_available, triton_scan

# Heads of 16 and chunks of 16 are the smallest that the kernels take; 48 hidden units are three
# blocks of them, and 3 chunks in groups of 2 leave a group of one.
SMALL = {"batch": 2, "heads": 1, "width": 16, "hidden": (48,), "time": 48, "max_step": 0.02}
CASES = {
    "momentum and forgetting": {},
    "momentum only": {"forget": False},
    "forgetting only": {"momentum": False},
    "neither": {"momentum": False, "forget": False},
    "no buffer yet": {"buffer": False},
    "masked tokens": {"masked": True},
    "states of every second chunk": {"save_every": 2},
    "wide heads": {"batch": 1, "width": 32, "hidden": (64,), "time": 64, "chunk_size": 32},
}


def flat(tensors):
    """Batch and heads as rows."""
    return [tensor.flatten(0, 1) for tensor in tensors]


def by_rows(scan):
    """A scan of rows in the form of ``memory_reference``."""

    def form(state, queries, keys, values, gates, *, chunk_size, **options):
        heads = queries.shape[:2]
        step, log_momentum, log_keep, observed = gates
        if observed is not None:
            observed = observed.expand(*heads, -1, -1).flatten(0, 1)
        gates = MemoryGates(
            *(g if g is None else g.flatten(0, 1) for g in (step, log_momentum, log_keep)),
            observed,
        )
        reads, weights, momentum = scan(
            flat(state.weights),
            flat(state.momentum),
            *flat((queries, keys, values)),
            gates,
            chunk_size=chunk_size,
            need_state=True,
            **options,
        )[:3]
        weights, momentum = (
            tuple(x.unflatten(0, heads) for x in layers) for layers in (weights, momentum)
        )
        return reads.unflatten(0, heads), MemoryState(weights, momentum, weights, 0)

    return form


def eager_scan(weights, momentum, queries, keys, values, gates, *, chunk_size, need_state):
    options = ScanOptions(
        chunk_size=chunk_size,
        position=0,
        residual=False,
        coarse=False,
        first_order=False,
        save_every=None,
        need_state=need_state,
        n_layers=len(weights),
        has_momentum=bool(momentum),
    )
    return scan_chunks(weights, momentum, [], queries, keys, values, gates, options)


def moved(problem: Problem, **to) -> Problem:
    """The problem in another dtype or on another device."""
    observed = problem.observed
    if observed is not None and "device" in to:
        observed = observed.to(to["device"])
    leaves = {name: leaf.to(**to) for name, leaf in problem.leaves().items()}
    return replace(problem.with_leaves(leaves), observed=observed)


def posed(name: str) -> tuple[Problem, int, dict]:
    """A case's problem, its chunk size, and options of the kernel alone."""
    case = SMALL | CASES[name]
    options = {key: case.pop(key) for key in ("save_every",) if key in case}
    return make_problem(**{k: v for k, v in case.items() if k != "chunk_size"}), (
        case.get("chunk_size", 16)
    ), options


def solve_all() -> dict[str, dict[str, torch.Tensor]]:
    solved = {}
    for name in CASES:
        problem, chunk_size, options = posed(name)
        solved[name] = results_and_gradients(
            moved(problem, dtype=torch.float32),
            by_rows(triton_scan),
            chunk_size=chunk_size,
            **options,
        )
    problem, chunk_size, _ = posed("momentum and forgetting")
    solved["bfloat16"] = results_and_gradients(
        moved(problem, dtype=torch.float32),
        by_rows(triton_scan),
        chunk_size=chunk_size,
        product_dtype=torch.bfloat16,
    )
    return solved


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """Results and gradients of all cases, from Triton's interpreter."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed here: only builds of torch for CUDA bring it")
    file = tmp_path_factory.mktemp("triton") / "solved.pt"
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, __file__, str(file)],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(file)


@pytest.mark.parametrize("name", CASES)
def test_interpreted_kernels_match_the_reference_gradients_included(name, interpreted):
    problem, chunk_size, _ = posed(name)
    expected = results_and_gradients(problem, memory_reference, chunk_size=chunk_size)
    got = {key: tensor.double() for key, tensor in interpreted[name].items()}
    assert_same(got, expected, 1e-4)


def test_bfloat16_products_stay_near_the_reference(interpreted):
    problem, chunk_size, _ = posed("momentum and forgetting")
    expected = results_and_gradients(problem, memory_reference, chunk_size=chunk_size)
    got = {key: tensor.double() for key, tensor in interpreted["bfloat16"].items()}
    assert_same(got, expected, 0.05)
    assert not torch.equal(
        interpreted["bfloat16"]["reads"], interpreted["momentum and forgetting"]["reads"]
    )


if __name__ == "__main__":
    torch.save(solve_all(), sys.argv[1])
