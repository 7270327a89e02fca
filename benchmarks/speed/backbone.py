"""The whole backbone, MAC, against titans-pytorch's MemoryAsContextTransformer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from benchmarks.speed.block import CONFIG, SHAPES, steps
from benchmarks.speed.machine import calibrate
from benchmarks.speed.peers import require, titans_transformer
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, interleave
from titans_ts.nn.backbone import TitansBackbone

__all__ = ["run"]


def run(effort: Effort) -> Report:
    require("titans_pytorch")
    report = Report("backbone", "The backbone", calibration=calibrate(effort.rounds))
    table = report.table(
        "MAC of width 128 against titans-pytorch's: tokens per second",
        ["depth", "memory chunk", "batch x T", "pass", "ours", "theirs", "ratio"],
        "4 heads, segments of 64, memory of two layers and expansion 4; theirs in the default, "
        "weaker form, and with an embedding of 256 tokens. Training is forward, backward and a "
        "step of Adam. Theirs updates the memory before attention and gives every segment its "
        "reads through the residual stream; ours is the order of the paper, causal per token.",
    )
    for depth in (2, 4):
        for chunk in (16, 64):
            ours = TitansBackbone(replace(CONFIG, variant="mac", depth=depth, chunk_size=chunk))
            theirs = titans_transformer(depth, dim=128, heads=4, segment=64, chunk=chunk)
            if (depth, chunk) == (2, 16):
                sizes = f"{parameters(ours):,} parameters against {parameters(theirs):,}"
                table.note += f" Depth 2: {sizes}."
            for batch, length in SHAPES:
                x = torch.randn(batch, length, CONFIG.dim)
                tokens = torch.randint(256, (batch, length))
                both = {"ours": steps(ours, x), "theirs": steps(theirs, tokens)}
                for kind in ("forward", "training"):
                    runs = {who: of[kind] for who, of in both.items()}
                    seconds = interleave(runs, rounds=effort.rounds)
                    rates = [batch * length / spent for spent in seconds.values()]
                    ratio = seconds["theirs"] / seconds["ours"]
                    table.add(depth, chunk, f"{batch} x {length}", kind, *rates, ratio)
                    name = f"backbone.mac.depth{depth}.chunk{chunk}.{batch}x{length}.{kind}"
                    report.figures[name] = ratio
    return report


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
