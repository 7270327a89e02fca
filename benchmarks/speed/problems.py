"""What is computed: memories with tokens for the op, and tables like ETTm1 and Traffic."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_chunked import memory_chunked
from titans_ts.ops.memory_state import MemoryGates, MemoryState

__all__ = ["OpProblem", "make_problem", "useful_flops", "wide_table"]


@dataclass(frozen=True)
class OpProblem:
    """A memory of one head with gates as they are at initialisation, and tokens for it."""

    state: MemoryState
    tokens: list[Tensor]  # queries, keys and values, (1, 1, time, width)
    gates: MemoryGates
    chunk: int

    def leaves(self) -> list[Tensor]:
        """Everything that training asks a gradient of."""
        gates = [gate for gate in self.gates if gate is not None]
        return [*self.tokens, *gates, *self.state.weights]

    def forward(self, form: Any = memory_chunked, **options: Any) -> tuple[Tensor, MemoryState]:
        return form(self.state, *self.tokens, self.gates, chunk_size=self.chunk, **options)

    def spread(self, n_heads: int, device: torch.device) -> OpProblem:
        """The same for many heads, on a device."""

        def many(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return x.detach().expand(-1, n_heads, -1, -1).contiguous().to(device).requires_grad_()

        weights = tuple(map(many, self.state.weights))
        gates = MemoryGates(*map(many, self.gates))
        state = self.state._replace(weights=weights, anchor=weights)
        return OpProblem(state, [many(x) for x in self.tokens], gates, self.chunk)

    def inference(self, **options: Any) -> None:
        """Forward alone, with the state that a stream would go on from."""
        with torch.no_grad():
            self.forward(**options)

    def training(self, **options: Any) -> None:
        """Forward and backward, gradients of all leaves."""
        reads, _ = self.forward(need_state=False, **options)
        torch.autograd.grad(reads, self.leaves(), torch.ones_like(reads))


def make_problem(
    length: int,
    *,
    width: int = 128,
    depth: int = 2,
    expansion: int = 4,
    chunk: int = 64,
    dtype: torch.dtype = torch.float32,
) -> OpProblem:
    """A problem whose numbers are the same for both dtypes, to rounding."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    sizes = [width, *[expansion * width] * (depth - 1), width]
    weights = tuple(
        leaf(normal(1, 1, n_in, n_out) * n_in**-0.5, dtype)
        for n_in, n_out in itertools.pairwise(sizes)
    )
    queries, keys = (F.normalize(normal(1, 1, length, width), dim=-1) for _ in range(2))
    tokens = [leaf(token, dtype) for token in (queries, keys, normal(1, 1, length, width))]
    shape = (1, 1, depth, length)
    gates = MemoryGates(
        leaf(0.13 / chunk * torch.exp(0.1 * normal(*shape)), dtype),
        leaf(F.logsigmoid(0.1 * normal(*shape)), dtype),
        leaf(F.logsigmoid(5 + 0.1 * normal(*shape)), dtype),
    )
    return OpProblem(MemoryState(weights, (), weights, 0), tokens, gates, chunk)


def leaf(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).requires_grad_()


def useful_flops(width: int, expansion: int, chunk: int, *, backward: bool) -> float:
    """Floating-point operations per token and head that a memory of two layers cannot do without.

    ``22 d m + 4 C (d + m) + 2 C d`` forward, two for a multiply-add: errors, reads from weights
    and momentum, writes of both, attention inside the chunk, products of queries and keys. The
    backward pass has twice as many; what is computed again in it does not count.
    """
    hidden = expansion * width
    forward = 22 * width * hidden + 4 * chunk * (width + hidden) + 2 * chunk * width
    return forward * (3 if backward else 1)


def wide_table(rows: int, channels: int, freq: str = "15min") -> np.ndarray:
    """Loads and temperatures of simulated transformer stations, shape (rows, channels), float32."""
    from titans_ts.datasets import make_transformer_station

    frame = make_transformer_station(rows, n_feeders=math.ceil(channels / 7), freq=freq)
    return np.ascontiguousarray(frame.to_numpy(dtype=np.float32)[:, :channels])
