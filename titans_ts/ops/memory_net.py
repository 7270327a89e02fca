"""The memory's network: a small MLP whose weights are the memory's content.

Row-vector convention, ``token @ weights``. Every function takes leading dimensions ``...``
(batch and heads), so that each head of each sequence may hold weights of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.exporting import is_exporting
from titans_ts.ops.once import first_derivatives_only

__all__ = [
    "bound_error",
    "bound_error_backward",
    "is_bounded",
    "layer_norm_backward",
    "memory_errors",
    "read_memory",
    "silu_backward",
    "silu_bend",
]

# Of an error's numbers, their root mean square up to which a token writes with all of it. Values
# are of the size of one, so that what is beyond says of the memory that its steps overshoot.
MOST_ERROR = 8.0

# torch's default; fixed here because the hand-written gradient needs the same number.
LAYER_NORM_EPS = 1e-5


class _SiluBackward(torch.autograd.Function):
    """torch's one-pass backward of SiLU, with the derivative that torch does not give it."""

    @staticmethod
    def forward(ctx: Any, cotangent: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(cotangent, x)
        return torch.ops.aten.silu_backward(cotangent, x)

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:
        cotangent, x = ctx.saved_tensors
        return torch.ops.aten.silu_backward(outer, x), silu_bend(x).mul_(cotangent).mul_(outer)


def silu_bend(x: Tensor) -> Tensor:
    """Second derivative of SiLU, as a new tensor and without a derivative of its own."""
    gate = torch.sigmoid(x)
    # Of x g(x), with g' = g (1 - g): g' (2 + x (1 - 2 g)).
    bend = torch.addcmul(x, x, gate, value=-2).add_(2)
    return bend.mul_(gate.addcmul_(gate, gate, value=-1))


def silu_backward(cotangent: Tensor, x: Tensor) -> Tensor:
    """``cotangent * silu'(x)``."""
    if is_exporting():
        gate = torch.sigmoid(x)
        return cotangent * gate * (1 + x * (1 - gate))
    return _SiluBackward.apply(cotangent, x)


def layer_norm_backward(x: Tensor, cotangent: Tensor) -> Tensor:
    """Pull a cotangent back through a LayerNorm without gain and offset, row by row."""
    mean = x.mean(-1, keepdim=True)
    scale = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + LAYER_NORM_EPS)
    normed = (x - mean) * scale
    centred = cotangent - cotangent.mean(-1, keepdim=True)
    return scale * (centred - normed * (cotangent * normed).mean(-1, keepdim=True))


def read_memory(weights: tuple[Tensor, ...], queries: Tensor, *, residual: bool) -> Tensor:
    """Ask a memory of fixed weights: ``f(q; W)``, no update (Titans, eq. 15).

    Parameters
    ----------
    weights : tuple of Tensor of shape (..., width_in, width_out)
        One per layer; SiLU between layers.
    queries : Tensor of shape (..., time, width)
    residual : bool
        ``f(q) = q + LayerNorm(mlp(q))`` instead of ``mlp(q)``; the LayerNorm has no gain.

    Returns
    -------
    Tensor of shape (..., time, width)
    """
    hidden = queries
    for layer, weight in enumerate(weights):
        hidden = (F.silu(hidden) if layer else hidden) @ weight
    return finish_read(hidden, queries, residual=residual)


def finish_read(output: Tensor, queries: Tensor, *, residual: bool) -> Tensor:
    """Turn the last layer's output into the memory's answer."""
    if not residual:
        return output
    return queries + F.layer_norm(output, output.shape[-1:], eps=LAYER_NORM_EPS)


def output_error(output: Tensor, keys: Tensor, values: Tensor, *, residual: bool) -> Tensor:
    """Gradient of ``|f(k) - v|^2`` with respect to the last layer's output."""
    error = 2 * (finish_read(output, keys, residual=residual) - values)
    return layer_norm_backward(output, error) if residual else error


def bound_error(error: Tensor) -> Tensor:
    """An error as it is written: the further beyond ``MOST_ERROR``, the less of it.

    Within that size nothing is changed. Beyond, ``error * (MOST_ERROR / size)^2``, whose size falls
    as the error's grows: a memory of several layers whose steps overshoot would make them larger
    and larger otherwise, past all numbers within a few chunks.
    """
    if is_bounded(error):
        return error
    square = error.square().mean(-1, keepdim=True)
    most = MOST_ERROR**2
    # Not a choice between 1 and ``most / square``: where an error is 0, as of a masked token, the
    # derivative of what was not chosen would be 0 times infinity.
    return error * (most / square.clamp(min=most))


def is_bounded(error: Tensor) -> bool:
    """Whether :func:`bound_error` is known to change nothing, from the largest number alone."""
    # Asked of a GPU, this question would have to be waited for; a compiler would cut the graph at
    # each, into as many graphs as there are chunks.
    if not error.is_cpu or is_exporting() or torch.compiler.is_compiling():
        return False
    return float(torch.linalg.vector_norm(error.detach(), float("inf"))) <= MOST_ERROR


def bound_error_backward(error: Tensor, bar: Tensor) -> Tensor:
    """Cotangent of ``error`` from that of ``bound_error(error)``."""
    square, most = error.square().mean(-1, keepdim=True), MOST_ERROR**2
    along = (error * bar).mean(-1, keepdim=True) / square
    return torch.where(square > most, most / square * (bar - 2 * along * error), bar)


def memory_errors(
    weights: tuple[Tensor, ...], keys: Tensor, values: Tensor, *, residual: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradient of each token's inner loss ``|f(k; W) - v|^2``, in factors (Titans, eq. 12).

    Of several layers without LayerNorm, the last one's error is bounded, see :func:`bound_error`.

    The gradient of token ``i`` with respect to layer ``l`` has rank one,
    ``inputs[l][i]^T errors[l][i]``; only the factors are returned.

    Parameters
    ----------
    weights : tuple of Tensor of shape (..., width_in, width_out)
    keys, values : Tensor of shape (..., time, width)
    residual : bool
        As in :func:`read_memory`.

    Returns
    -------
    inputs, errors : list of Tensor
        Per layer, of shapes (..., time, width_in) and (..., time, width_out).
    """
    inputs, before = [keys], []
    for weight in weights:
        before.append(inputs[-1] @ weight)
        inputs.append(F.silu(before[-1]))
    inputs.pop()
    error = output_error(before[-1], keys, values, residual=residual)
    errors = [bound_error(error) if len(weights) > 1 and not residual else error]
    for layer in range(len(weights) - 1, 0, -1):
        back = errors[0] @ weights[layer].mT
        errors.insert(0, silu_backward(back, before[layer - 1]))
    return inputs, errors
