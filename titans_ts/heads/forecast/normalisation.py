"""Two ways to take a series' level and spread out of its patches, with one interface.

``normalise(patches, observed, state) -> (Normalised, state)``. The ``"window"`` kind uses
statistics of everything it is given, so it knows a patch's future: right for one forecast after
the last patch, wrong for anything else. The ``"running"`` kind uses what came up to each patch,
so it can train on a forecast after every patch, and goes on where it stopped.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from titans_ts.ops.scan import fading_sum

__all__ = [
    "Normalised",
    "Normaliser",
    "RunningNormaliser",
    "RunningState",
    "WindowNormaliser",
    "make_normaliser",
    "standardise",
]


class Normalised(NamedTuple):
    """Patches without level and spread, and what was taken out of each."""

    z: Tensor  # (rows, patches, patch_length); 0 where not observed
    location: Tensor  # (rows, patches)
    scale: Tensor  # (rows, patches), > 0


class RunningState(NamedTuple):
    """Fading sums over everything seen so far, measured from the first value seen."""

    origin: Tensor  # (rows,)
    weight: Tensor  # (rows,), how much was seen
    first: Tensor  # (rows,), sum of x - origin
    second: Tensor  # (rows,), sum of (x - origin)^2


class Normaliser(Protocol):
    """What both kinds offer."""

    def normalise(
        self, patches: Tensor, observed: Tensor | None, state: RunningState | None = None
    ) -> tuple[Normalised, RunningState | None]:
        """Normalise patches of shape (rows, patches, patch_length).

        ``observed`` has the same shape; None stands for a mask that is True throughout.
        """
        ...


class WindowNormaliser:
    """Mean and standard deviation of all observed steps; it has no state."""

    def normalise(
        self, patches: Tensor, observed: Tensor | None, state: RunningState | None = None
    ) -> tuple[Normalised, RunningState | None]:
        """As :class:`Normaliser`; ``state`` must be None."""
        if state is not None:
            raise ValueError(
                "normalisation='window' uses statistics of the whole context and cannot go on "
                "from a state; use normalisation='running'."
            )
        # In two steps, so that a level of 1e9 under a signal of 1 costs no digits.
        if observed is None:
            mean = patches.mean((1, 2))
            spread = (patches - mean[:, None, None]).square().mean((1, 2))
            size = patches.abs().amax((1, 2))
        else:
            seen = observed.to(patches.dtype)
            count = seen.sum((1, 2)).clamp(min=1)
            mean = (patches * seen).sum((1, 2)) / count
            spread = ((patches - mean[:, None, None]).square() * seen).sum((1, 2)) / count
            size = (patches * seen).abs().amax((1, 2))
        scale = _safe_scale(spread, size, torch.zeros_like(size))
        shape = patches.shape[:2]
        location, scale = mean[:, None].expand(shape), scale[:, None].expand(shape)
        return _normalised(patches, observed, location, scale), None


class RunningNormaliser:
    """Fading mean and standard deviation of the steps up to and including each patch.

    Parameters
    ----------
    memory : int
        Steps after which a value's weight has fallen to 1/e. Statistics of this kind follow a
        series that drifts, and never depend on how it was cut into calls.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory

    def normalise(
        self, patches: Tensor, observed: Tensor | None, state: RunningState | None = None
    ) -> tuple[Normalised, RunningState | None]:
        """As :class:`Normaliser`; the state goes in and comes out."""
        # Sums are measured from the first value seen, lest squares of a large level swallow a
        # small signal.
        flat = patches.flatten(1)
        if observed is None:
            origin = flat[:, 0]
        else:
            origin = flat.gather(1, observed.flatten(1).int().argmax(1, keepdim=True))[:, 0]
        zero = torch.zeros_like(origin)
        if state is None:
            state = RunningState(origin, zero, zero, zero)
        state = state._replace(origin=torch.where(state.weight > 0, state.origin, origin))
        keep = math.exp(-patches.shape[2] / self.memory)
        shifted = patches - state.origin[:, None, None]
        if observed is None:
            weight = shifted.new_full(shifted.shape[:2], patches.shape[2])
        else:
            seen = observed.to(patches.dtype)
            shifted, weight = shifted * seen, seen.sum(2)
        terms = torch.stack([weight, shifted.sum(2), shifted.square().sum(2)])
        count, first, second = fading_sum(terms, keep, torch.stack(state[1:])).unbind()
        mean = first / count.clamp(min=1e-12)
        spread = (second / count.clamp(min=1e-12) - mean.square()).clamp(min=0)
        location = state.origin[:, None] + mean
        scale = _safe_scale(spread, location.abs(), mean.abs())
        after = RunningState(state.origin, count[:, -1], first[:, -1], second[:, -1])
        return _normalised(patches, observed, location, scale), after


def make_normaliser(kind: str, memory: int) -> Normaliser:
    """The normaliser of this kind, ``"window"`` or ``"running"``."""
    return WindowNormaliser() if kind == "window" else RunningNormaliser(memory)


def _safe_scale(variance: Tensor, size: Tensor, shift: Tensor) -> Tensor:
    """Standard deviation, or a small positive number where a series is constant.

    Below the floor, spread is rounding error, and dividing by it would turn that into a signal:
    values of some ``size`` come rounded to their last digit, and a variance that is a difference
    of squares is rounded to the last digit of ``shift``, the mean, squared.
    """
    digit = torch.finfo(variance.dtype).eps
    # Some digits to spare, since errors add up: 1e-12 and 1e-6 in float64.
    floor = torch.maximum(size * (5e3 * digit), shift * (60 * digit**0.5))
    floor = torch.where(floor > 0, floor, torch.full_like(floor, 1e-8))
    return torch.maximum(variance.sqrt(), floor)


def _normalised(
    patches: Tensor, observed: Tensor | None, location: Tensor, scale: Tensor
) -> Normalised:
    return Normalised(standardise(patches, location, scale, observed), location, scale)


def standardise(x: Tensor, location: Tensor, scale: Tensor, observed: Tensor | None) -> Tensor:
    """Take level and spread out of stretches of a series.

    Parameters
    ----------
    x : Tensor of shape (rows, stretches, steps)
    location, scale : Tensor of shape (rows, stretches)
    observed : Tensor of the shape of ``x``, bool, or None
        Where False, the result is 0; None: everywhere True.
    """
    # In place: new memory costs more than the arithmetic.
    z = (x - location[..., None]).div_(scale[..., None])
    return z if observed is None else torch.where(observed, z, 0.0)
