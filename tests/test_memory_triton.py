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
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from memory_problems import Problem, assert_same, make_problem, results_and_gradients

from titans_ts.ops import memory_chunked
from titans_ts.ops.memory_chunks import ScanOptions, scan_chunks
from titans_ts.ops.memory_linear import linear_memory
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
    "errors out of bounds": {"loud": True},
    "states of every second chunk": {"save_every": 2},
    "wide heads": {"batch": 1, "width": 32, "hidden": (64,), "time": 64, "chunk_size": 32},
}

# Enough tokens for a scan, between a chunk that was open before and one that stays so.
OPENED = SMALL | {"time": 80, "position": 5}


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
    chunk_size = case.pop("chunk_size", 16)
    return make_problem(**case), chunk_size, options


def solve_all() -> dict[str, dict[str, torch.Tensor]]:
    solved = {}
    for name in CASES:
        problem, chunk_size, options = posed(name)
        solved[name] = results_and_gradients(
            moved(problem, dtype=torch.float32),
            by_rows(triton_scan),
            chunk_size=chunk_size,
            product_dtype=torch.float32,
            **options,
        )
    problem, chunk_size, _ = posed("momentum and forgetting")
    solved["bfloat16"] = results_and_gradients(
        moved(problem, dtype=torch.float32),
        by_rows(triton_scan),
        chunk_size=chunk_size,
        product_dtype=torch.bfloat16,
    )
    solved["whole op"] = results_and_gradients(
        moved(make_problem(**OPENED), dtype=torch.float32),
        memory_chunked.memory_chunked,
        chunk_size=16,
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


def test_the_op_with_interpreted_kernels_matches_the_reference(interpreted):
    expected = results_and_gradients(make_problem(**OPENED), memory_reference, chunk_size=16)
    got = {key: tensor.double() for key, tensor in interpreted["whole op"].items()}
    assert_same(got, expected, 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("chunk_size", [16, 32])
@pytest.mark.parametrize("momentum", [True, False])
def test_kernels_on_the_gpu_match_the_eager_scan(width, chunk_size, momentum):
    device = torch.device("cuda")
    if not torch.cuda.is_available() or not triton_available(device):
        pytest.skip("no CUDA device with Triton here")
    problem = make_problem(
        batch=3,
        heads=2,
        width=width,
        hidden=(4 * width,),
        time=5 * chunk_size,
        momentum=momentum,
        max_step=0.3 / chunk_size,
        masked=True,
    )
    problem = moved(problem, device=device)
    expected = results_and_gradients(problem, by_rows(eager_scan), chunk_size=chunk_size)
    for save_every in (None, 2):
        got = results_and_gradients(
            moved(problem, dtype=torch.float32),
            by_rows(triton_scan),
            chunk_size=chunk_size,
            save_every=save_every,
        )
        got = {key: tensor.double() for key, tensor in got.items()}
        assert_same(got, expected, 0.05)


def test_the_eager_scan_that_the_gpu_is_held_to_matches_the_reference():
    problem, chunk_size, _ = posed("masked tokens")
    expected = results_and_gradients(problem, memory_reference, chunk_size=chunk_size)
    got = results_and_gradients(problem, by_rows(eager_scan), chunk_size=chunk_size)
    assert_same(got, expected)


@pytest.mark.parametrize("position", [0, 5])
def test_whole_chunks_go_by_the_kernel_and_open_ones_beside_it(position, monkeypatch):
    kernel = []

    def stand_in(*args, save_every, product_dtype, **options):
        kernel.append(args[2].shape[1])
        return eager_scan(*args, **options)[:3]

    monkeypatch.setattr(memory_chunked, "triton_available", lambda device: True)
    monkeypatch.setattr(memory_chunked, "triton_scan", stand_in)
    problem = make_problem(
        **SMALL | {"hidden": (64,), "time": 200, "heads": 2, "max_step": 0.02}, position=position
    )
    expected = results_and_gradients(problem, memory_reference, chunk_size=16)
    got = results_and_gradients(
        moved(problem, dtype=torch.float32),
        memory_chunked.memory_chunked,
        chunk_size=16,
        product_dtype=torch.bfloat16,
    )
    assert_same({key: tensor.double() for key, tensor in got.items()}, expected, 1e-4)
    assert kernel == [192 if position == 0 else 176]


def test_a_linear_memory_is_solved_where_there_are_kernels_too(monkeypatch):
    solved = []

    def solve(*args, **options):
        solved.append(args[2].shape[1])
        return linear_memory(*args, **options)

    monkeypatch.setattr(memory_chunked, "triton_available", lambda device: True)
    monkeypatch.setattr(memory_chunked, "linear_memory", solve)
    problem = make_problem(**SMALL | {"depth": 1, "time": 200})
    expected = results_and_gradients(problem, memory_reference, chunk_size=1)
    got = results_and_gradients(problem, memory_chunked.memory_chunked, chunk_size=1)
    assert_same(got, expected)
    assert solved == [200]


@pytest.mark.gpu
@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize(
    ("product_dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)]
)
def test_the_op_on_the_gpu_matches_the_reference(momentum, product_dtype, tolerance):
    device = torch.device("cuda")
    if not torch.cuda.is_available() or not triton_available(device):
        pytest.skip("no CUDA device with Triton here")
    problem = make_problem(
        batch=2, heads=2, width=32, hidden=(128,), time=301, position=5, momentum=momentum
    )
    expected = results_and_gradients(problem, memory_reference, chunk_size=16)
    got = results_and_gradients(
        moved(problem, dtype=torch.float32, device=device),
        memory_chunked.memory_chunked,
        chunk_size=16,
        product_dtype=product_dtype,
    )
    got = {key: tensor.double().cpu() for key, tensor in got.items()}
    assert_same(got, expected, tolerance)


def layers(*widths: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.zeros(3, *pair, dtype=dtype) for pair in pairwise(widths)]


@pytest.mark.parametrize(
    ("weights", "chunk_size", "options", "expected"),
    [
        pytest.param(layers(32, 128, 32), 16, {}, True, id="two layers"),
        pytest.param(layers(64, 48, 64), 32, {}, True, id="any multiple of 16 inside"),
        pytest.param(layers(32, 128, 32), 64, {}, False, id="long chunk"),
        pytest.param(layers(32, 128, 128, 32), 16, {}, False, id="three layers"),
        pytest.param(layers(32, 32), 16, {}, False, id="linear"),
        pytest.param(layers(128, 512, 128), 16, {}, False, id="wide head"),
        pytest.param(layers(32, 72, 32), 16, {}, False, id="uneven hidden width"),
        pytest.param(layers(32, 128, 16), 16, {}, False, id="other width out"),
        pytest.param(layers(32, 128, 32), 8, {}, False, id="short chunk"),
        pytest.param(layers(32, 128, 32), 128, {}, False, id="chunk of several tiles"),
        pytest.param(layers(32, 128, 32, dtype=torch.float64), 16, {}, False, id="float64"),
        pytest.param(layers(32, 128, 32), 16, {"residual": True}, False, id="residual"),
        pytest.param(layers(32, 128, 32), 16, {"coarse": True}, False, id="coarse"),
        pytest.param(layers(32, 128, 32), 16, {"first_order": True}, False, id="first order"),
        pytest.param(
            layers(32, 128, 32), 16, {"product_dtype": torch.float32}, False, id="float32 products"
        ),
    ],
)
def test_only_small_two_layer_memories_are_supported(weights, chunk_size, options, expected):
    assert supports(weights, chunk_size, **options) is expected


@pytest.mark.parametrize(
    ("time", "product_dtype", "message"),
    [
        pytest.param(37, torch.bfloat16, "got .* 37 tokens in chunks of 16", id="ragged"),
        pytest.param(0, torch.bfloat16, " 0 tokens in chunks of 16", id="empty"),
        pytest.param(32, torch.float16, "products in torch.float16", id="half"),
        pytest.param(32, torch.float32, "products in torch.float32", id="float32"),
    ],
)
def test_what_the_kernels_do_not_cover_is_refused(time, product_dtype, message):
    tokens = torch.zeros(3, time, 32)
    gates = MemoryGates(torch.zeros(3, 2, time), None, None)
    with pytest.raises(ValueError, match=message):
        triton_scan(
            layers(32, 128, 32),
            [],
            tokens,
            tokens,
            tokens,
            gates,
            chunk_size=16,
            need_state=True,
            product_dtype=product_dtype,
        )


def test_a_cpu_has_no_kernels_unless_the_interpreter_is_asked_for(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not triton_available(torch.device("cpu"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert triton_available(torch.device("cpu")) is (find_spec("triton") is not None)


def test_importing_the_op_leaves_triton_alone():
    program = (
        "import sys; import titans_ts.ops.memory_triton;"
        "sys.exit('titans_ts.ops.memory_triton_kernels' in sys.modules)"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], cwd=root, check=False, timeout=300)
    assert done.returncode == 0


if __name__ == "__main__":
    torch.save(solve_all(), sys.argv[1])
