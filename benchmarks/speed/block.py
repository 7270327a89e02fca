"""One block of each variant: tokens per second, beside a layer of titans-pytorch, and growth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.speed.machine import calibrate
from benchmarks.speed.peers import require, titans_transformer
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, interleave, slope
from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.nn.backbone import make_block

__all__ = ["CONFIG", "SHAPES", "run", "steps"]

#: As titans-pytorch's layers are: 4 heads of 32, segments of 64, one head of memory.
CONFIG = BackboneConfig(
    dim=128,
    n_heads=4,
    n_memory_heads=1,
    segment_length=64,
    window=64,
    mlp_expansion=8 / 3,
    dropout=0.0,
)
SHAPES = ((1, 2048), (4, 512))  # batch and length
LENGTHS = (1024, 4096, 16_384)
THEIRS = "titans-pytorch MAC"


def run(effort: Effort) -> Report:
    require("titans_pytorch")
    report = Report("block", "A block", calibration=calibrate(effort.rounds))
    table = report.table(
        "A block of width 128: tokens per second",
        ["block", "memory chunk", "batch x T", "forward", "training"],
        "Training is forward, backward and a step of Adam. The last rows are "
        "MemoryAsContextTransformer of depth 1 with the same widths, its embedding of 256 tokens "
        "and four residual streams included; its memory in the default, weaker form.",
    )
    for chunk in (16, 64):
        for batch, length in SHAPES:
            x = torch.randn(batch, length, CONFIG.dim)
            models: dict[str, tuple[nn.Module, Tensor]] = {
                variant.upper(): (make_block(replace(CONFIG, variant=variant, chunk_size=chunk)), x)
                for variant in VARIANTS
            }
            peer = titans_transformer(1, dim=128, heads=4, segment=64, chunk=chunk)
            models[THEIRS] = peer, torch.randint(256, (batch, length))
            rates = {}
            for kind in ("forward", "training"):
                runs = {who: steps(*given)[kind] for who, given in models.items()}
                seconds = interleave(runs, rounds=effort.rounds)
                rates[kind] = {who: batch * length / spent for who, spent in seconds.items()}
            for who in models:
                shape = f"{batch} x {length}"
                table.add(who, chunk, shape, rates["forward"][who], rates["training"][who])
            for kind, of in rates.items():
                name = f"block.mac.chunk{chunk}.{batch}x{length}.{kind}"
                report.figures[name] = of["MAC"] / of[THEIRS]
    growth(report, effort.rounds)
    return report


def growth(report: Report, rounds: int) -> None:
    """Time against length for a fixed window."""
    table = report.table(
        "Growth of time with length, window of 64, memory chunk 64",
        ["block", "pass", *(f"tokens/s, T = {n:,}" for n in LENGTHS), "exponent"],
    )
    for variant in VARIANTS:
        block = make_block(replace(CONFIG, variant=variant, chunk_size=64))
        for kind in ("forward", "training"):
            inputs = {str(n): torch.randn(1, n, CONFIG.dim) for n in LENGTHS}
            runs = {n: steps(block, x)[kind] for n, x in inputs.items()}
            seconds = list(interleave(runs, rounds=rounds).values())
            exponent = slope(LENGTHS, seconds)
            rates = [n / spent for n, spent in zip(LENGTHS, seconds, strict=True)]
            table.add(variant.upper(), kind, *rates, exponent)
            report.figures[f"block.exponent.{variant}.{kind}"] = exponent


def steps(model: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """A forward pass and a training step of a model, ready to be timed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def apply() -> Tensor:
        if x.dtype == torch.int64:
            return model(x)
        return model(x, need_state=False)[0]

    def forward() -> None:
        with torch.no_grad():
            apply()

    def training() -> None:
        optimizer.zero_grad(set_to_none=True)
        apply().square().mean().backward()
        optimizer.step()

    return {"forward": forward, "training": training}
