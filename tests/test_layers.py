"""Small layers against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from titans_ts.nn.layers import unit_length


def test_vectors_of_unit_length_are_torchs_and_so_is_their_derivative():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, dtype=torch.float64)
    x[1, 2] = 0.0  # has no direction, and stays zero
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn_like(x)
    found, expected = unit_length(leaf), F.normalize(other, dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad((weight * found).sum(), leaf)
    (right,) = torch.autograd.grad((weight * expected).sum(), other)
    torch.testing.assert_close(gradient, right, rtol=1e-12, atol=1e-14)
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(unit_length(leaf).sum(), leaf, create_graph=True)
