"""Small layers that every block is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.ops.once import first_derivatives_only

__all__ = [
    "RMSNorm",
    "SwiGLU",
    "at_least_float32",
    "carry",
    "mask_tokens",
    "persistent_tokens",
    "silu",
    "times",
    "unit_length",
]


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def carry(x: Tensor) -> Tensor:
    """A part of a tensor, to be kept in a state: at least float32, and a copy.

    A view would hold on to the whole tensor, so that the state grew with every call's length.
    """
    return at_least_float32(x).clone()


def mask_tokens(x: Tensor, observed: Tensor | None) -> Tensor:
    """Set masked tokens to zero, so that what they hold reaches nobody.

    Parameters
    ----------
    x : Tensor of shape (batch, time, width)
    observed : Tensor of shape (batch, time), bool, optional
    """
    # where, not a product: zero times infinity would be NaN.
    return x if observed is None else torch.where(observed[..., None], x, torch.zeros_like(x))


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that nobody else needs: in its own place where there are no derivatives.

    Fresh memory for the result would cost more than the arithmetic.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


def times(x: Tensor, y: Tensor) -> Tensor:
    """``x * y``, likewise in the place of ``x``."""
    return x * y if torch.is_grad_enabled() else x.mul_(y)


class _UnitLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(1e-12)
        unit = x / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, bar: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        along = (unit * bar).sum(-1, keepdim=True)
        return torch.addcmul(bar, unit, along, value=-1).div_(length)


def unit_length(x: Tensor) -> Tensor:
    """Vectors of length one, as ``F.normalize`` gives them along the last dimension.

    Nobody else may need ``x``: without derivatives, the result takes its place. The backward pass
    goes over the vectors three times, where torch's own goes eight.
    """
    if not torch.is_grad_enabled():
        return x.div_(torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(1e-12))
    unit: Tensor = _UnitLength.apply(x)
    return unit


class RMSNorm(nn.RMSNorm):
    """torch's, in the precision of its weight: under autocast too, squares are summed in full."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def persistent_tokens(n: int, dim: int) -> nn.Parameter | None:
    """Learnt tokens that come before a sequence (Titans, section 3.3), or None for none.

    None, since training on several devices waits for the gradient of every parameter, and an
    empty one never gets any.
    """
    return nn.Parameter(0.02 * torch.randn(n, dim)) if n else None


class SwiGLU(nn.Module):
    """Gated feed-forward layer (arXiv:2002.05202): ``(silu(x A) * x B) C``."""

    def __init__(self, dim: int, expansion: float) -> None:
        super().__init__()
        hidden = max(int(dim * expansion), 1)
        self.expand = nn.Linear(dim, 2 * hidden, bias=False)
        self.contract = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.contract(F.silu(gate) * value)
