"""A module's weights as arrays, and a module again from arrays that anybody may have written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from titans_ts.nn.own_random import OwnRandom

__all__ = [
    "load_in_their_precision",
    "module_from_arrays",
    "refuse_larger",
    "refuse_other_shapes",
    "weights_to_arrays",
]

Module = TypeVar("Module", bound=nn.Module)

#: Fields of :class:`titans_ts.config.BackboneConfig` that say how long something is in time, and
#: size no weight.
LENGTHS = frozenset({"segment_length", "chunk_size", "window"})


def weights_to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Return all weights and buffers as arrays, for ``_fitted_state`` of an estimator.

    Parameters
    ----------
    module : Module
        In a precision that numpy has: float32 or float64, not bfloat16.

    Returns
    -------
    dict of str to ndarray
        Named as in ``state_dict``.
    """
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def module_from_arrays(
    make: Callable[[], Module],
    arrays: Mapping[str, np.ndarray],
    fields: Mapping[str, Any] | None = None,
) -> Module:
    """Build a module and give it its weights.

    Parameters
    ----------
    make : callable
        Builds the module from numbers that stand in the same file.
    arrays : mapping of str to ndarray
        As :func:`weights_to_arrays` returned them.
    fields : mapping, optional
        Those numbers by name, such as the fields of a config: none may be larger than all weights
        together, but for lengths in time. Without it, a file may ask ``make`` for any depth.

    Returns
    -------
    Module
        In the precision of its weights, and in eval mode.

    Raises
    ------
    ValueError
        Names or shapes of the weights differ from those of the module. It is known before any
        memory is taken, so a file asks for no more than its weights take.

    Examples
    --------
    >>> from torch import nn
    >>> from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
    >>> arrays = weights_to_arrays(nn.Linear(3, 2))
    >>> module_from_arrays(lambda: nn.Linear(3, 2), arrays)
    Linear(in_features=3, out_features=2, bias=True)
    >>> module_from_arrays(lambda: nn.Linear(3, 5), arrays)
    Traceback (most recent call last):
    ValueError: the weight 'bias' has the shape (2,), expected (5,)
    """
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    if fields is not None:
        refuse_larger(fields, weights)
    refuse_other_shapes(make, weights)
    with OwnRandom():  # first weights are drawn, for nothing
        module = make()
    load_in_their_precision(module, weights)
    return module.eval()


def load_in_their_precision(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a module weights of its shapes, and their precision with them.

    Parameters
    ----------
    module : Module
    weights : mapping of str to Tensor
        All that its ``state_dict`` holds.
    """
    # One by one: a module may keep statistics in another precision than its weights.
    for name, value in chain(module.named_parameters(), module.named_buffers()):
        # A buffer need not be kept; and what counts stays whole numbers, whatever a file says.
        if name in weights and value.is_floating_point():
            value.data = value.data.to(weights[name].dtype)
    module.load_state_dict(weights)


def refuse_other_shapes(make: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names and shapes of weights are those of the module."""
    with torch.device("meta"):  # shapes without memory
        expected = {name: value.shape for name, value in make().state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "missing"
        wanted = tuple(expected[name]) if name in expected else "none"
        if found != wanted:
            raise ValueError(f"the weight {name[:80]!r} has the shape {found}, expected {wanted}")


def refuse_larger(
    fields: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    lengths: Collection[str] = LENGTHS,
) -> None:
    """Raise ValueError where a number of a config does not go with so few weights.

    Parameters
    ----------
    fields : mapping
    weights : mapping of str to Tensor
    lengths : collection of str
        Fields that size no weight.
    """
    most = 64 + sum(weight.numel() for weight in weights.values())
    for name, value in fields.items():
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int) and name not in lengths and number > most:
                raise ValueError(f"{name}={number} does not go with {most - 64} weights")
    depth = fields.get("depth")
    if isinstance(depth, int) and depth > len(weights):
        raise ValueError(f"depth={depth} does not go with {len(weights)} arrays of weights")
