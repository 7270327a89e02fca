"""Backward passes by hand, which have no derivatives of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

__all__ = ["first_derivatives_only"]


def first_derivatives_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Have a backward pass refuse ``create_graph=True``.

    torch's own ``once_differentiable`` leaves out what goes through it where a second derivative
    is taken by ``autograd.grad``, without a word.
    """

    @wraps(backward)
    def once(ctx: Any, *cotangents: Any) -> Any:
        # Off in a backward pass of which no graph is wanted.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Second derivatives do not pass through this backward pass, which is not made of "
                "operations that torch derives: leave out create_graph=True."
            )
        return backward(ctx, *cotangents)

    return once
