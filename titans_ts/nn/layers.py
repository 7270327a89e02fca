"""Small layers that every block is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.ops.once import first_derivatives_only

__all__ = [
    "CausalConv",
    "RMSNorm",
    "SwiGLU",
    "at_least_float32",
    "carry",
    "mask_tokens",
    "persistent_tokens",
    "silu",
    "start_recall",
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


class _ShiftedSums(torch.autograd.Function):
    """The sums of :class:`CausalConv`, in one piece of memory each way.

    On the CPU they take many times less than a grouped conv1d and its backward pass; torch's own
    backward pass of the sums would fill a piece as large as the input with zeros for every shift.
    """

    @staticmethod
    def forward(ctx: Any, joined: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(joined, weight)
        return _shifted_sums(joined, weight)

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, Tensor]:
        joined, weight = ctx.saved_tensors
        time = bar.shape[1]
        # Half precision is summed in that of the weight.
        joined_bar = joined.new_empty(joined.shape, dtype=torch.result_type(bar, weight))
        torch.mul(bar, weight[:, 0], out=joined_bar[:, :time])
        joined_bar[:, time:] = 0.0
        shifted = [slice(shift, shift + time) for shift in range(weight.shape[1])]
        for tap, part in zip(weight.unbind(1)[1:], shifted[1:], strict=True):
            joined_bar[:, part].addcmul_(bar, tap)
        product = torch.empty_like(joined_bar[:, :time])
        weight_bar = torch.stack(
            [torch.mul(bar, joined[:, part], out=product).sum((0, 1)) for part in shifted], 1
        )
        return joined_bar.to(joined.dtype), weight_bar.to(weight.dtype)


def _shifted_sums(joined: Tensor, weight: Tensor) -> Tensor:
    first, *others = weight.unbind(1)
    time = joined.shape[1] - len(others)
    out = joined[:, :time] * first
    for shift, tap in enumerate(others, start=1):
        out.addcmul_(joined[:, shift : shift + time], tap)
    return out


class CausalConv(nn.Module):
    """Depthwise causal convolution over time, whose last inputs are carried as its state."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(dim, width).uniform_(-1, 1) * width**-0.5)
        # Starts near "this token only", so that the convolution is learnt, not imposed.
        with torch.no_grad():
            self.weight[:, -1] += 1.0

    def forward(
        self, x: Tensor, tail: Tensor | None = None, *, n_open: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Convolve ``x`` of shape (batch, time, dim); return it and the new tail.

        ``tail`` holds the ``width - 1`` inputs before ``x``, shape (batch, width - 1, dim);
        None stands for zeros. The new one is that before the last ``n_open`` tokens.
        """
        if tail is None:
            tail = x.new_zeros(x.shape[0], self.width - 1, x.shape[2])
        joined = torch.cat([tail, x], dim=1)
        # A compiler makes one loop of the plain sums, and cannot follow the others.
        by_hand = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        sums = _ShiftedSums.apply if by_hand else _shifted_sums
        out: Tensor = sums(joined, self.weight)
        stop = joined.shape[1] - n_open
        return out, carry(joined[:, stop - (self.width - 1) : stop])

    def step(self, x: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        """:meth:`forward` of one token, ``x`` of shape (batch, dim)."""
        if tail is None:
            tail = x.new_zeros(x.shape[0], self.width - 1, x.shape[1])
        joined = torch.cat((tail, x[:, None]), 1)
        return (joined * self.weight.t()).sum(1), joined[:, 1:]


def start_recall(queries: Tensor, keys: Tensor, conv: CausalConv) -> None:
    """Let a key start as the query of the token before it.

    What is asked with some tokens is then answered with what followed tokens like them.

    Parameters
    ----------
    queries, keys : Tensor of shape (width, dim)
        Projections; that of the keys is overwritten.
    conv : CausalConv
        Over queries, keys and values, of width 2 or more; a query then starts without the earliest
        token that it reaches, which a key cannot reach.
    """
    query_taps, key_taps, _ = conv.weight.chunk(3)
    with torch.no_grad():
        keys.copy_(queries)
        query_taps[:, 0] = 0.0
        key_taps[:, :-1] = query_taps[:, 1:]
        key_taps[:, -1] = 0.0


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
