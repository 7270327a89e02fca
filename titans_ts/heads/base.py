"""The batch that a head is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["WindowBatch"]


class WindowBatch(NamedTuple):
    """A batch of windows as tensors, in the data's own units.

    float64 where the data are: level and spread are taken out in that precision, so that an
    offset of 1e9 under a signal of 1 costs nothing.
    """

    context: Tensor  # (batch, time, channels)
    observed: Tensor  # same shape, bool; False where a step is missing or padding
    target: Tensor  # (batch, horizon, channels)
    target_observed: Tensor  # same shape, bool
    channel_scale: Tensor  # (batch or 1, channels): what errors of a channel are measured in
    channel: Tensor | None = None  # (batch or 1, channels), int: which channels these are
    # Covariates; None where there are none of the kind. Categories are codes 0, 1, ...
    past: Tensor | None = None  # (batch, time, n_past)
    past_observed: Tensor | None = None  # same shape, bool
    known: Tensor | None = None  # (batch, time + horizon, n_known)
    known_observed: Tensor | None = None  # same shape, bool
    static: Tensor | None = None  # (batch, n_static); NaN where missing
    # Whether ``observed``, and ``target_observed``, are known to be True throughout. They are then
    # not looked at, which spares a GPU the answer and a CPU the work.
    context_complete: bool = False
    target_complete: bool = False

    def to(self, device: torch.device) -> WindowBatch:
        """The same batch on another device; from pinned memory, without waiting for the copy."""
        return self._map(lambda x: x.to(device, non_blocking=x.is_pinned()))

    def pin_memory(self) -> WindowBatch:
        """The same batch in memory from which a GPU copies on its own."""
        # Views that overlap, as those of windows do, have no place there of the same strides.
        return self._map(lambda x: x.contiguous().pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> WindowBatch:
        changed: dict[str, Any] = {
            k: change(v) for k, v in self._asdict().items() if isinstance(v, Tensor)
        }
        return self._replace(**changed)
