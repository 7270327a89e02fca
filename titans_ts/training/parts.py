"""A batch in parts: gradients of a whole batch for the memory of some of its windows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from titans_ts.heads.base import WindowBatch

__all__ = ["loss_in_parts", "part_of", "split_batch"]


def split_batch(batch: WindowBatch, n_parts: int) -> list[WindowBatch]:
    """Cut a batch into ``n_parts`` of about equal size, views of it.

    Parameters
    ----------
    batch : WindowBatch
    n_parts : int
        At most the number of windows.
    """
    n = len(batch.context)
    edges = [n * i // n_parts for i in range(n_parts + 1)]

    return [part_of(batch, start, stop) for start, stop in pairwise(edges)]


def part_of(batch: WindowBatch, start: int, stop: int) -> WindowBatch:
    """Some windows of a batch, views of it."""
    n = len(batch.context)

    def part(x: Any) -> Any:
        # What all windows share, such as the scale of channels, has a first dimension of 1.
        return x[start:stop] if isinstance(x, Tensor) and (len(x) > 1 or n == 1) else x

    return WindowBatch(*(part(x) for x in batch))


def loss_in_parts(
    loss_of: Callable[[WindowBatch], Tensor],
    parts: list[WindowBatch],
    shares: list[Tensor],
    parameters: list[Tensor],
) -> Tensor:
    """Weighted sum of the losses of the parts of a batch, differentiable.

    Each part goes forward and backward before the next one starts, so that only one part's
    activations are in memory, and in the cache of a CPU. What a later ``backward()`` finds are
    finished gradients.

    Parameters
    ----------
    loss_of : callable
        The mean loss of a batch; of ``parameters`` and nothing else that has a gradient.
    parts : list of WindowBatch
    shares : list of Tensor of shape ()
        What each part weighs; the sum is 1.
    parameters : list of Tensor
        Leaves that require a gradient.

    Returns
    -------
    Tensor of shape ()
    """
    loss: Tensor = _InParts.apply(loss_of, parts, shares, *parameters)
    return loss


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss_of: Callable[[WindowBatch], Tensor],
        parts: list[WindowBatch],
        shares: list[Tensor],
        *parameters: Tensor,
    ) -> Tensor:
        total: Tensor | None = None
        sums: list[Tensor | None] = [None] * len(parameters)
        for part, share in zip(parts, shares, strict=True):
            with torch.enable_grad():
                loss = loss_of(part)
                loss = loss * share.to(loss.dtype)
                grads = torch.autograd.grad(loss, parameters, allow_unused=True)
            total = loss.detach() if total is None else total + loss.detach()
            for i, grad in enumerate(grads):
                have = sums[i]
                if grad is not None:
                    sums[i] = grad if have is None else have + grad
        assert total is not None
        ctx.grads = sums
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        grads, ctx.grads = ctx.grads, None
        return (None, None, None, *(None if g is None else g * outer[0] for g in grads))
