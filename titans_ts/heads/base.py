"""What every head offers, and the batch that all of them are given."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

__all__ = ["Head", "WindowBatch"]


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


class Head(Protocol):
    """From a batch to tokens, and from a backbone's vectors to answers."""

    def encode(self, batch: Any) -> Any:
        """Turn a batch into tokens of shape (rows, time, dim) and what decoding needs later."""
        ...

    def decode(self, vectors: Tensor, encoded: Any) -> Any:
        """Turn the backbone's vectors into parameters of the answer."""
        ...

    def loss(self, parameters: Any, target: Any, mask: Any) -> Tensor:
        """How far off the answer is: one number."""
        ...

    def to_output(self, parameters: Any, quantiles: tuple[float, ...] | None) -> Tensor:
        """Turn parameters into what a user asked for, in the data's own units."""
        ...
