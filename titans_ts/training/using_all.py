"""using_all: let every weight have its say in a loss, if only that it has none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["using_all"]


def using_all(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """The same loss, whose backward pass comes by every parameter.

    Processes that train together wait for a gradient of each weight, and a switch of the model may
    leave one without; to look for those at every step would take longer.

    Parameters
    ----------
    loss : Tensor of shape ()
    parameters : list of Tensor
    """
    used: Tensor = _UsingAll.apply(loss, *parameters)
    return used


class _UsingAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.n = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return (outer[0], *(None,) * ctx.n)
