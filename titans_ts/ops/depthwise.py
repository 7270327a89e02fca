"""Depthwise convolution over time, of a few taps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.once import first_derivatives_only

__all__ = ["depthwise"]

# Numbers that are multiplied at a time on the way to the weights' cotangent, where rows are not
# longer: a core's own cache holds them.
CACHE_NUMBERS = 2**17


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Sums of each channel over its neighbours in time, later ones with later taps.

    Parameters
    ----------
    x : Tensor of shape (batch, time + width - 1, dim)
    weight : Tensor of shape (dim, width)

    Returns
    -------
    Tensor of shape (batch, time, dim)
        In the wider of both precisions.
    """
    # A compiler cannot follow what is done by hand.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _convolve(x, weight)
    sums: Tensor = _Depthwise.apply(x, weight)
    return sums


class _Depthwise(torch.autograd.Function):
    """With a backward pass that goes over memory a few times.

    torch's own would fill a piece as large as the input with zeros for every tap of plain sums; on
    the CPU that of a convolution spends most of its time on the few weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight)

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        x_bar = _convolve(bar, weight.flip(1), padding=weight.shape[1] - 1)
        return x_bar.to(x.dtype), _weight_bar(x, weight, bar)


def _weight_bar(x: Tensor, weight: Tensor, bar: Tensor) -> Tensor:
    # Half precision is summed in that of the weight.
    totals = weight.new_zeros(weight.shape[::-1], dtype=torch.result_type(bar, weight))
    n_rows, time, dim = bar.shape
    if bar.device.type == "cpu":
        n_rows = max(CACHE_NUMBERS // max(time * dim, 1), 1)
    product = torch.empty_like(bar[:n_rows], dtype=totals.dtype)
    for bars, inputs in zip(bar.split(n_rows), x.split(n_rows), strict=True):
        out = product[: len(bars)]
        for tap, total in enumerate(totals):
            torch.mul(bars, inputs[:, tap : tap + time], out=out)
            total += out.sum((0, 1))
    return totals.t().to(weight.dtype)


def _convolve(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """``padding``: so many zeros before and after ``x``."""
    if _has_kernel(x, weight):
        # As images of height 1, channels last, which is how they lie in memory.
        image, taps = x.mT.unsqueeze(2), weight[:, None, None]
        return F.conv2d(image, taps, padding=(0, padding), groups=len(weight)).squeeze(2).mT
    x = F.pad(x, (0, 0, padding, padding)) if padding else x
    first, *others = weight.unbind(1)
    time = x.shape[1] - len(others)
    out = x[:, :time] * first
    for shift, tap in enumerate(others, start=1):
        out.addcmul_(x[:, shift : shift + time], tap)
    return out


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can do it, in a tenth of the time that the sums take."""
    # A compiler makes one loop of the sums, and cannot ask for oneDNN.
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return False
    return (
        x.dtype == weight.dtype == torch.float32
        and x.shape[1] >= weight.shape[1]
        and torch.backends.mkldnn.is_available()
        # Which would round the inputs of a convolution, though not those of sums.
        and not torch.is_autocast_enabled("cpu")
    )
