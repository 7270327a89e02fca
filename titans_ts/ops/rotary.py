"""Rotary positions: features turned by an angle that grows with their position."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.constants import constant

__all__ = ["rotate"]

_STRIDE = 256  # positions between two whose angles are computed from scratch
_REACH = 16_384  # positions up to which tables are kept


def rotate(x: Tensor, first_position: int, *, base: float = 10_000.0, scale: float = 1.0) -> Tensor:
    """Rotary positions (RoFormer, arXiv:2104.09864): turn pairs of features by their position.

    Only differences of positions ever matter, so a caller may count from wherever it likes.
    Features i and i + width / 2 are a pair.

    Parameters
    ----------
    x : Tensor of shape (..., time, width)
        Width even.
    first_position : int
        Position of the first row; may be negative.
    scale : float
        What the result is multiplied by, at no cost.

    Returns
    -------
    Tensor of the shape of ``x``
    """
    time, width = x.shape[-2:]
    cos, sin = _table(first_position, time, width, base, scale, x.dtype, x.device)
    return torch.addcmul(x * cos, x.roll(width // 2, dims=-1), sin)


def _table(
    first: int,
    time: int,
    width: int,
    base: float,
    scale: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, (time, width) each, of consecutive positions."""
    start, stop = first, first + time
    near = start >= -_REACH and stop <= _REACH
    if near:
        # A part of a larger table, so that the lengths of a stream's first calls share it.
        start = -(1 << (-first - 1).bit_length()) if first < 0 else 0
        stop = 1 << max(stop - 1, 63).bit_length()

    def make() -> tuple[Tensor, Tensor]:
        # In float64: at position 2,000,000 float32 angles are off by a tenth of a radian.
        index = torch.arange(0, width, 2, device=device, dtype=torch.float64)
        rate = base ** (-index / width)

        def turns(first: int, last: int, step: int) -> tuple[Tensor, Tensor]:
            positions = torch.arange(first, last, step, device=device, dtype=torch.float64)
            angle = positions[:, None] * rate
            return angle.cos(), angle.sin()

        # Angles add up where turns are multiplied: two short tables instead of a long one.
        far_cos, far_sin = (x[:, None] for x in turns(start, stop, _STRIDE))
        near_cos, near_sin = turns(0, min(_STRIDE, stop - start), 1)
        cos = scale * (far_cos * near_cos - far_sin * near_sin)
        sin = scale * (far_cos * near_sin + far_sin * near_cos)
        cos, sin = (x.flatten(0, 1)[: stop - start].to(dtype) for x in (cos, sin))
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)

    if near:
        cos, sin = constant(("rotary", start, stop, width, base, scale, dtype, device), make)
    else:
        cos, sin = make()
    now = slice(first - start, first - start + time)
    return cos[now], sin[now]
