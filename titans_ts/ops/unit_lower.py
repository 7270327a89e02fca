"""Inverses of many small lower triangular matrices with ones on their diagonals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["invert_unit_lower"]


def invert_unit_lower(lower: Tensor) -> Tensor:
    """Invert ``I + L``, where ``L`` is strictly lower triangular.

    A CPU substitutes row by row. Elsewhere that is a kernel as long as its rows, which waits for
    itself: there blocks are joined, pair by pair, by products of all of them at once. The inverse
    of two blocks on the diagonal and one below is

        [ A   ]-1    [    A^-1             ]
        [ C B ]   =  [ -B^-1 C A^-1   B^-1 ]

    which is substitution by blocks, and as accurate.

    Parameters
    ----------
    lower : Tensor of shape (..., n, n)
        What it holds on and above the diagonal is not looked at.

    Returns
    -------
    Tensor of the same shape
        Zeros above the diagonal, ones on it.
    """
    if lower.device.type == "cpu":
        unit = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(
            lower, unit.expand_as(lower), upper=False, unitriangular=True
        )
    return invert_by_blocks(lower)


def invert_by_blocks(lower: Tensor) -> Tensor:
    """:func:`invert_unit_lower` in some twenty operations, whatever ``n``."""
    shape, n = lower.shape, lower.shape[-1]
    size = 1 << max(n - 1, 0).bit_length()
    # Rows that fill up to a power of two take no part: below the diagonal they are zeros.
    lower = F.pad(lower, (0, size - n, 0, size - n)).reshape(-1, size, size)
    inverse = torch.eye(size, dtype=lower.dtype, device=lower.device).repeat(len(lower), 1, 1)
    half = 1
    while half < size:
        whole = 2 * half
        # Blocks on the diagonal, (matrices, blocks, whole, whole).
        blocks = _diagonal_blocks(inverse, whole)
        below = _diagonal_blocks(lower, whole)[..., half:, :half]
        first, second = blocks[..., :half, :half], blocks[..., half:, half:]
        blocks[..., half:, :half] = -(second @ (below @ first))
        half = whole
    return inverse[:, :n, :n].reshape(shape)


def _diagonal_blocks(matrices: Tensor, size: int) -> Tensor:
    """A view of square blocks on the diagonals, (matrices, blocks, size, size)."""
    matrix, row, column = matrices.stride()
    shape = len(matrices), matrices.shape[-1] // size, size, size
    return matrices.as_strided(
        shape, (matrix, size * (row + column), row, column), matrices.storage_offset()
    )
