"""Batches of any make: the first tensor in one, and some of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["first_tensor", "rows_of"]


def first_tensor(batch: Any) -> Tensor:
    """The first tensor of nested tuples, lists and mappings."""
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, Mapping):
        batch = batch.values()
    if isinstance(batch, Iterable) and not isinstance(batch, str):
        for item in batch:
            try:
                return first_tensor(item)
            except TypeError:
                continue
    raise TypeError(
        f"A batch of type {type(batch).__name__} holds no tensor; override n_examples of the "
        "LoopModule."
    )


def rows_of(batch: Any, start: int, stop: int, n: int) -> Any:
    """Some rows of every tensor in nested tuples, lists and mappings.

    Parameters
    ----------
    batch : nested tuple, list or mapping of Tensor
    start, stop : int
    n : int
        Rows of a tensor that has a row for each example; others are left as they are.
    """
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.ndim and len(batch) == n else batch
    if isinstance(batch, Mapping):
        return {name: rows_of(item, start, stop, n) for name, item in batch.items()}
    if isinstance(batch, tuple | list):
        rows = [rows_of(item, start, stop, n) for item in batch]
        return type(batch)(*rows) if hasattr(batch, "_fields") else type(batch)(rows)
    return batch
