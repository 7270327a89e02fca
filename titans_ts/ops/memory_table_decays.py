"""Matrices of decays: what is left at one token of what another one had."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["add_exponents", "decay", "least_log", "ones_above", "sums_from_here"]


def decay(since: Tensor, until: Tensor, mask: Tensor, out: Tensor) -> Tensor:
    """``exp(until_t - since_s)`` in row s and column t, zero where ``mask`` is."""
    most = -least_log(until)
    # Asked of a GPU, this question would have to be waited for.
    if until.device.type == "cpu" and -float(until[..., -1].amin()) < most:
        torch.mul(until.exp()[..., None, :], (-since).exp()[..., :, None], out=out)
        return out.mul_(mask)
    # Multiplied by the mask before exp as well as after, where it might overflow.
    torch.sub(until[..., None, :], since[..., :, None], out=out)
    return out.mul_(mask).clamp_(min=-most).exp_().mul_(mask)


def ones_above(rows: int, columns: int, like: Tensor) -> Tensor:
    """Ones on and above the diagonal that ends in the last row and column."""
    ones = torch.ones(rows, columns, dtype=like.dtype, device=like.device)
    return ones.triu_(columns - rows)


def least_log(x: Tensor) -> float:
    """Where logarithms are cut off: numbers that underflow take a CPU a hundred times as long."""
    return 0.7 * math.log(torch.finfo(x.dtype).tiny)


def sums_from_here(x: Tensor) -> Tensor:
    """Of each token and all after it: the way back through running sums."""
    return x.flip(-1).cumsum(-1).flip(-1)


def add_exponents(keep_bar: Tensor | None, product: Tensor) -> None:
    """Of ``exp(K_t - K_s)``, given its value times its cotangent."""
    if keep_bar is None:
        return
    keep_bar += product.sum(-2)
    keep_bar -= product.sum(-1)
