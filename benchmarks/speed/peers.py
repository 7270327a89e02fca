"""The peers, made as their own documentation makes them, at our sizes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from torch import nn

__all__ = ["require", "titans_memory", "titans_transformer"]


def require(module: str) -> None:
    """End with a sentence where a peer is not installed."""
    if find_spec(module) is None:
        raise SystemExit(
            f"This benchmark compares with {module}, which is not installed here. "
            "`make speed` sets up an environment that has it."
        )


def titans_memory(
    width: int, chunk: int, *, depth: int = 2, batch_size: int | None = None
) -> nn.Module:
    """titans-pytorch's NeuralMemory.

    ``batch_size=None``, its default, takes all gradients of a sequence at the initial weights, so
    the memory never reacts to what it has stored; ``batch_size=chunk`` at each chunk's start, as
    ours does.
    """
    from titans_pytorch import MemoryMLP, NeuralMemory

    model = MemoryMLP(width, depth=depth, expansion_factor=4.0)
    return NeuralMemory(dim=width, chunk_size=chunk, batch_size=batch_size, model=model)


def titans_transformer(
    depth: int, *, dim: int, heads: int, segment: int, chunk: int, **options: Any
) -> nn.Module:
    """titans-pytorch's MemoryAsContextTransformer, over tokens of a vocabulary of 256."""
    from titans_pytorch import MemoryAsContextTransformer, MemoryMLP

    return MemoryAsContextTransformer(
        num_tokens=256,
        dim=dim,
        depth=depth,
        heads=heads,
        dim_head=dim // heads,
        segment_len=segment,
        neural_memory_segment_len=chunk,
        num_persist_mem_tokens=4,
        neural_memory_model=MemoryMLP(dim, depth=2, expansion_factor=4.0),
        **options,
    )
