"""Small layers against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from titans_ts.nn.layers import CausalConv, unit_length


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


def test_a_convolution_step_by_step_is_the_convolution():
    torch.manual_seed(0)
    conv = CausalConv(5, 4).double()
    x = torch.randn(2, 11, 5, dtype=torch.float64)
    whole, tail = conv(x)
    rows, state = [], None
    for token in x.unbind(1):
        row, state = conv.step(token, state)
        rows.append(row)
    torch.testing.assert_close(torch.stack(rows, 1), whole, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(state, tail, rtol=0, atol=0)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("time", [2, 11])  # shorter than what is carried, and longer
def test_a_convolution_and_its_derivatives_are_torchs(width, time):
    torch.manual_seed(0)
    conv = CausalConv(5, width).double()
    x = torch.randn(3, time, 5, dtype=torch.float64, requires_grad=True)
    tail = torch.randn(3, width - 1, 5, dtype=torch.float64, requires_grad=True)
    out, _ = conv(x, tail)
    joined = torch.cat([tail, x], 1).transpose(1, 2)
    expected = F.conv1d(joined, conv.weight[:, None], groups=5).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-15)
    bar = torch.randn_like(out)
    leaves = [x, tail, conv.weight] if width > 1 else [x, conv.weight]
    found = torch.autograd.grad(out, leaves, bar)
    right = torch.autograd.grad(expected, leaves, bar)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, tail)[0], out, rtol=0, atol=0)


def test_a_convolution_of_half_precision_sums_gradients_in_full():
    torch.manual_seed(0)
    conv = CausalConv(5, 4)
    x = torch.randn(2, 300, 5).bfloat16().requires_grad_()
    out, _ = conv(x)
    assert out.dtype == torch.float32
    bar = torch.randn_like(out)
    x_bar, weight_bar = torch.autograd.grad(out, [x, conv.weight], bar)
    leaf = x.detach().double().requires_grad_()
    exact = torch.autograd.grad(conv.double()(leaf)[0], [leaf, conv.weight], bar.double())
    assert x_bar.dtype == torch.bfloat16
    torch.testing.assert_close(x_bar, exact[0].bfloat16(), rtol=8e-3, atol=0)
    torch.testing.assert_close(weight_bar, exact[1].float(), rtol=1e-5, atol=1e-4)
