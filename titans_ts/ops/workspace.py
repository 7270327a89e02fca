"""Buffers that are used again: memory never touched before costs a CPU more than arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Workspace"]


class Workspace:
    """Buffers by name, made on first use and then used again."""

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep  # whether all results are still wanted when the chunk is done
        self._buffers: dict[tuple[str, int, tuple[int, ...]], Tensor] = {}

    def take(self, name: str, layer: int, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        key = name, layer, shape
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = like.new_empty(shape)
        return buffer

    def zeros(self, name: str, layer: int, like: Tensor) -> Tensor:
        return self.take(name, layer, like, like.shape).zero_()

    def bmm(self, name: str, layer: int, left: Tensor, right: Tensor) -> Tensor:
        shape = (left.shape[0], left.shape[1], right.shape[2])
        return torch.bmm(left, right, out=self.take(name, layer, left, shape))

    def mul(self, name: str, layer: int, left: Tensor, right: Tensor) -> Tensor:
        """``left * right``, of the shape of ``left``."""
        return torch.mul(left, right, out=self.take(name, layer, left, left.shape))

    def fade(
        self, name: str, layer: int, x: Tensor, scale: Tensor | float, left: Tensor, right: Tensor
    ) -> Tensor:
        """``scale * x - left @ right``; ``scale`` has one number a row."""
        if isinstance(scale, float):
            out = self.take(name, layer, x, x.shape)
            return torch.baddbmm(x, left, right, beta=scale, alpha=-1, out=out)
        return self.mul(name, layer, x, scale).baddbmm_(left, right, alpha=-1)

    def silu(self, name: str, layer: int, x: Tensor) -> Tensor:
        return torch.ops.aten.silu.out(x, out=self.take(name, layer, x, x.shape))

    def silu_backward(self, name: str, layer: int, bar: Tensor, x: Tensor) -> Tensor:
        out = self.take(name, layer, x, x.shape)
        return torch.ops.aten.silu_backward.grad_input(bar, x, grad_input=out)
