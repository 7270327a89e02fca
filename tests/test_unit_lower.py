"""Inverses of unit lower triangular matrices, by substitution and by blocks."""

import pytest
import torch

from titans_ts.ops.unit_lower import invert_by_blocks, invert_unit_lower


def lower(n: int, *lead: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """With entries on and above the diagonal, which must not be looked at."""
    torch.manual_seed(n)
    return torch.randn(*lead, n, n, dtype=dtype) / max(n, 1) ** 0.5


def strict(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.tril(-1) + torch.eye(matrix.shape[-1], dtype=matrix.dtype)


@pytest.mark.parametrize("invert", [invert_by_blocks, invert_unit_lower])
@pytest.mark.parametrize("n", [1, 2, 3, 16, 52, 64])
def test_the_inverse_times_the_matrix_is_one(invert, n):
    matrix = lower(n, 3, 2).mT.contiguous().mT  # columns first, as the memory has them
    inverse = invert(matrix)
    assert inverse.shape == matrix.shape
    unit = torch.eye(n, dtype=matrix.dtype).expand_as(matrix)
    torch.testing.assert_close(strict(matrix) @ inverse, unit, rtol=0, atol=1e-12)
    assert torch.equal(inverse.triu(1), torch.zeros_like(inverse))


def test_blocks_are_as_accurate_as_substitution():
    matrix = lower(64, 8, dtype=torch.float32)
    exact = torch.linalg.inv(strict(matrix.double()))
    errors = [
        (invert(matrix).double() - exact).abs().max() / exact.abs().max()
        for invert in (invert_by_blocks, invert_unit_lower)
    ]
    assert errors[0] < 4 * errors[1] + 1e-7


def test_other_devices_take_blocks():
    matrix = torch.empty(2, 8, 8, device="meta")
    assert invert_unit_lower(matrix).shape == (2, 8, 8)
