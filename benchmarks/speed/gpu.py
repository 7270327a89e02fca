"""The memory op and training steps on a GPU: rates, share of the peak, and what bounds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.fits import SIZES, make_ours
from benchmarks.speed.problems import make_problem, useful_flops, wide_table
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort
from titans_ts.training import EagerSteps

__all__ = ["run"]

ROWS, LENGTH = 264, 4096  # heads of all sequences, and tokens of each
EXPANSION = 4
SQUARE = 8192
BATCHES = (32, 2048)
STEPS, PROFILED_STEPS = 15, 3


class Spent(NamedTuple):
    """Of one call."""

    seconds: float
    busy: float  # share of the time in which a kernel runs
    kernels: float


def run(effort: Effort) -> Report:
    if not torch.cuda.is_available():
        raise SystemExit("The benchmark gpu needs a CUDA device, and there is none.")
    device = torch.device("cuda")
    report = Report("gpu", "On a GPU")
    report.calibration = rates = product_rates(device, effort.rounds)
    training(report)
    op(report, rates, device, effort.rounds)
    return report


def product_rates(device: torch.device, rounds: int) -> dict[str, Any]:
    """GFLOP/s of a large matrix product, in float32 and bfloat16."""
    name = torch.cuda.get_device_name(device)
    found: dict[str, Any] = {"device": name, "rates": {}}
    for key, dtype in (("gflops", torch.float32), ("bfloat16_gflops", torch.bfloat16)):
        a, b = (torch.randn(SQUARE, SQUARE, device=device, dtype=dtype) for _ in range(2))
        seconds = timed(lambda a=a, b=b: a @ b, rounds).seconds
        found[key] = rate = 2 * SQUARE**3 / seconds / 1e9
        found["rates"][f"{SQUARE} squared in {str(dtype).removeprefix('torch.')}"] = rate
    return found


def op(report: Report, rates: dict[str, Any], device: torch.device, rounds: int) -> None:
    """Tokens of a head per second, in the kernel and in the scan of plain operations."""
    table = report.table(
        f"The memory op on {rates['device']}: {ROWS} heads, T = {LENGTH:,}, two layers",
        ["width", "chunk", "pass", "form", "tokens/s", "useful TFLOP/s", "share of the peak",
         "GPU busy", "kernels a call"],
        "Tokens of a head per second. The peak is that of a product of two matrices of "
        f"{SQUARE} rows and columns, {rates['gflops'] / 1000:.3g} TFLOP/s in float32 and "
        f"{rates['bfloat16_gflops'] / 1000:.3g} in bfloat16. Forms: the kernel, and the same scan "
        "in plain operations.",
    )  # fmt: skip
    forms = {"kernel, bfloat16": torch.bfloat16, "plain, float32": torch.float32}
    for width in (16, 32, 64):
        for chunk in (16, 32):
            problem = make_problem(LENGTH, width=width, chunk=chunk).spread(ROWS, device)
            for name, do in {"forward": "inference", "training": "training"}.items():
                for form, dtype in forms.items():
                    call = partial(getattr(problem, do), product_dtype=dtype)
                    plain = form.startswith("plain")
                    spent = timed(call, 3 if plain else rounds, calls=1 if plain else 3)
                    flops = useful_flops(width, EXPANSION, chunk, backward=name == "training")
                    rate = ROWS * LENGTH / spent.seconds
                    peak = rates["gflops" if dtype == torch.float32 else "bfloat16_gflops"]
                    teraflops = rate * flops / 1e12
                    row = [rate, teraflops, 1000 * teraflops / peak, spent.busy, spent.kernels]
                    table.add(width, chunk, name, form, *row)
                    print(width, chunk, name, form, f"{rate:,.0f}/s, {spent}", flush=True)
                    key = f"{name}.width{width}.chunk{chunk}.{form.partition(',')[0]}"
                    report.figures[f"gpu.op.{key}"] = rate


def timed(call: Callable[[], object], rounds: int, calls: int = 3) -> Spent:
    """Median of turns by CUDA's clock; what kernels do by torch's profiler."""
    call()
    found = []
    for _ in range(max(rounds, 3)):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) / 1000 / calls)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    busy, kernels = kernel_time(seen)
    return Spent(median(found), min(busy / median(found), 1.0), kernels)


def kernel_time(seen: profile) -> tuple[float, int]:
    """Seconds of all kernels and copies, and how many there were."""
    # Annotations of torch's own, such as that of an optimizer's step, span kernels.
    events = [
        event
        for event in seen.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
    ]
    return sum(event.device_time for event in events) / 1e6, len(events)


def training(report: Report) -> None:
    """Steps of a forecaster's fit, by precision, size and batch."""
    table = report.table(
        "Training steps of TitansForecaster, look-back 512, horizon 96",
        ["size", "parameters", "batch", "precision", "step", "ms a step", "windows/s", "patches/s",
         "GPU busy", "kernels a step"],
        "Univariate windows, of which each supervises as many origins as it has patches. A fit "
        "records its step as a CUDA graph; batches of 32 also as it would be without, bound by "
        "launching kernels one by one: the GPU is busy for a small share of the step.",
    )  # fmt: skip
    data = wide_table(12_000, 7, "15min")
    for size, batch, precision in product(SIZES, BATCHES, ("32-true", "bf16-mixed")):
        for recorded in (True, False) if batch == BATCHES[0] else (True,):
            clock = step_clock()
            callbacks = [clock] if recorded else [clock, EagerSteps()]
            forecaster = make_ours(
                size, batch, callbacks, precision=precision, accelerator="gpu"
            ).fit(data)
            spent: Spent = clock.spent
            rate = batch / spent.seconds
            step = "recorded" if recorded else "eager"
            print(size, batch, precision, step, f"{rate:,.0f}/s, {spent}", flush=True)
            patches = forecaster.context_length // forecaster.patch_length
            table.add(
                size, clock.parameters, batch, precision, step, 1000 * spent.seconds, rate,
                rate * patches, spent.busy, spent.kernels,
            )  # fmt: skip
            report.figures[f"gpu.training.{size}.{batch}.{precision}.{step}"] = rate


def step_clock() -> Any:
    """A callback that times some steps, profiles some more, and ends training."""
    import lightning.pytorch as lightning

    class StepClock(lightning.Callback):
        def __init__(self) -> None:
            self.n_steps, self.parameters = 0, 0
            self.began = self.seconds = 0.0
            self.spent = Spent(float("nan"), float("nan"), float("nan"))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            self.n_steps += 1
            if self.n_steps == STEPS // 3:
                torch.cuda.synchronize()
                self.began = time.perf_counter()
            elif self.n_steps == STEPS // 3 + STEPS:
                torch.cuda.synchronize()
                self.seconds = (time.perf_counter() - self.began) / STEPS
                self.seen = profile(activities=[ProfilerActivity.CUDA])
                self.seen.start()
            elif self.n_steps == STEPS // 3 + STEPS + PROFILED_STEPS:
                torch.cuda.synchronize()
                self.seen.stop()
                busy, kernels = kernel_time(self.seen)
                share = busy / PROFILED_STEPS / self.seconds
                self.spent = Spent(self.seconds, min(share, 1.0), kernels / PROFILED_STEPS)
                self.parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
                trainer.should_stop = True

    return StepClock()
