"""Causal convolutions against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from titans_ts.nn.convolution import CausalConv
from titans_ts.ops import depthwise


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


@pytest.mark.parametrize("cached", [2**17, 100])  # all rows at a time; two, and one that is left
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("time", [2, 11])  # shorter than what is carried, and longer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # oneDNN, and sums
def test_a_convolution_and_its_derivatives_are_torchs(dtype, time, width, cached, monkeypatch):
    monkeypatch.setattr(depthwise, "CACHE_NUMBERS", cached)
    torch.manual_seed(0)
    conv = CausalConv(4, width).to(dtype)
    x = torch.randn(3, time, 4, dtype=dtype, requires_grad=True)
    tail = torch.randn(3, width - 1, 4, dtype=dtype, requires_grad=True)
    out, _ = conv(x, tail)
    joined = torch.cat([tail, x], 1).transpose(1, 2)
    expected = F.conv1d(joined, conv.weight[:, None], groups=4).transpose(1, 2)
    close = {"rtol": 1e-12, "atol": 1e-14} if dtype == torch.float64 else {}
    torch.testing.assert_close(out, expected, **close)
    bar = torch.randn_like(out)
    leaves = [x, tail, conv.weight] if width > 1 else [x, conv.weight]
    found = torch.autograd.grad(out, leaves, bar)
    right = torch.autograd.grad(expected, leaves, bar)
    torch.testing.assert_close(found, right, **close)
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


def test_autocast_does_not_round_what_a_convolution_reads():
    torch.manual_seed(0)
    conv = CausalConv(5, 4)
    x = torch.randn(2, 30, 5)
    expected = conv(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x)[0]
    torch.testing.assert_close(found, expected)
