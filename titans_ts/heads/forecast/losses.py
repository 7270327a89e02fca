"""Losses of a forecast: what the parameters of an output mean, and how far they are off.

A loss says how many numbers the model puts out per forecast step, scores them, and turns them
into a point forecast and into quantiles. A new one is a new class in ``LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.errors import ParameterError

__all__ = ["LOSSES", "ForecastLoss", "find_level", "make_loss"]


class ForecastLoss:
    """The interface; see the subclasses.

    ``parameters`` has shape (..., n_parameters) and is in units of the scale, measured from the
    location: ``location + scale * parameter`` is in the data's units for a parameter that is a
    value. ``target`` has the shape without the last dimension, in the same units.
    """

    n_parameters: int = 1
    #: Which parameter places the forecast; the linear highway is added to it.
    location: int = 0

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """How far off each step is, shape (...).

        ``weight``, of the target's shape, turns units of the scale into those that errors are
        measured in; a likelihood has no units and leaves it out.
        """
        raise NotImplementedError

    def point(self, parameters: Tensor) -> Tensor:
        """The point forecast, shape (...)."""
        return parameters[..., 0]

    def quantiles(self, parameters: Tensor, levels: tuple[float, ...]) -> Tensor:
        """Quantiles, shape (..., len(levels))."""
        raise ParameterError(
            f"This forecaster was trained for a point forecast only, so it has no quantiles "
            f"{levels}. Construct it with quantiles={levels} or with loss='student_t', and fit."
        )


class AbsoluteError(ForecastLoss):
    """Mean absolute error: the forecast is the median."""

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return weight * (parameters[..., 0] - target).abs()


class SquaredError(ForecastLoss):
    """Mean squared error: the forecast is the mean."""

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        # The error first: the square of a small weight times that of a large error may not exist.
        return (weight * (parameters[..., 0] - target)).square()


class HuberError(ForecastLoss):
    """Squared for errors below one channel scale, absolute above (Huber, 1964)."""

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        error = weight * (parameters[..., 0] - target)
        return F.huber_loss(error, torch.zeros_like(error), reduction="none")


class PinballLoss(ForecastLoss):
    """Pinball loss: one output per quantile (Koenker and Bassett, 1978).

    The mean over levels is doubled, so that the median alone weighs as the absolute error.
    Outputs are kept in order: the median is free and its neighbours differ from it by positive
    steps. Where no level is 0.5 it is trained along, since the point forecast is the median.
    """

    def __init__(self, levels: tuple[float, ...]) -> None:
        if find_level(0.5, levels) is None:
            levels = tuple(sorted((*levels, 0.5)))
        self.levels = levels
        self.n_parameters = len(levels)
        self.location = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))

    def _ordered(self, parameters: Tensor) -> Tensor:
        middle = parameters[..., self.location : self.location + 1]
        steps = F.softplus(parameters)
        below = middle - steps[..., : self.location].flip(-1).cumsum(-1).flip(-1)
        above = middle + steps[..., self.location + 1 :].cumsum(-1)
        return torch.cat([below, middle, above], dim=-1)

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        error = target[..., None] - self._ordered(parameters)
        level = error.new_tensor(self.levels)
        return weight * 2 * torch.maximum(level * error, (level - 1) * error).mean(-1)

    def point(self, parameters: Tensor) -> Tensor:
        return parameters[..., self.location]

    def quantiles(self, parameters: Tensor, levels: tuple[float, ...]) -> Tensor:
        places = [find_level(level, self.levels) for level in levels]
        missing = [level for level, place in zip(levels, places, strict=True) if place is None]
        if missing:
            raise ParameterError(
                f"quantiles {missing} were not trained: this forecaster was constructed with "
                f"quantiles={self.levels}. Ask for those, or construct and fit it with yours."
            )
        return self._ordered(parameters)[..., places]


def find_level(level: float, levels: tuple[float, ...]) -> int | None:
    """Where ``level`` stands in ``levels``; 0.1 + 0.2 is 0.3 here."""
    return next((i for i, have in enumerate(levels) if abs(have - level) < 1e-9), None)


class StudentT(ForecastLoss):
    """Negative log-likelihood of a Student-t distribution with learnt scale and tail.

    Degrees of freedom stay above 2, so that the variance exists; the scale stays above 1e-3 of
    the context's, so that a constant series cannot drive the likelihood to infinity.
    """

    n_parameters = 3
    min_scale: ClassVar[float] = 1e-3
    # A jump out of a constant context is that many scales away; float32 must hold its square.
    max_target: ClassVar[float] = 1e12

    def shape(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Location, scale and degrees of freedom, of shape (...) each."""
        location, scale, tail = parameters.unbind(-1)
        return location, self.min_scale + F.softplus(scale), 2 + F.softplus(tail)

    def _distribution(self, parameters: Tensor) -> torch.distributions.StudentT:
        location, scale, freedom = self.shape(parameters)
        return torch.distributions.StudentT(freedom, location, scale, validate_args=False)

    def loss(self, parameters: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        near = target.clamp(-self.max_target, self.max_target)
        return -self._distribution(parameters).log_prob(near)

    def quantiles(self, parameters: Tensor, levels: tuple[float, ...]) -> Tensor:
        # scipy, because torch has no inverse of this distribution function.
        from scipy.stats import t

        location, scale, freedom = self.shape(parameters)
        standard = t.ppf(
            torch.tensor(levels, dtype=torch.float64).numpy(), freedom.cpu().double()[..., None]
        )
        standard = torch.as_tensor(standard, dtype=parameters.dtype, device=parameters.device)
        return location[..., None] + scale[..., None] * standard


LOSSES: dict[str, Callable[[], ForecastLoss]] = {
    "mae": AbsoluteError,
    "mse": SquaredError,
    "huber": HuberError,
    "student_t": StudentT,
}


def make_loss(name: str, quantiles: tuple[float, ...] | None) -> ForecastLoss:
    """The loss of this name; with quantiles, the absolute error becomes the pinball loss.

    Raises
    ------
    ParameterError
        The name is unknown, or this loss cannot be combined with quantiles.
    """
    if name == "pinball" and quantiles is None:
        raise ParameterError("loss='pinball' needs quantiles=, such as (0.1, 0.5, 0.9); got None.")
    if name not in LOSSES and name != "pinball":
        listed = ", ".join(repr(known) for known in [*LOSSES, "pinball"])
        raise ParameterError(f"loss must be one of {listed}; got {name!r}.")
    if quantiles is None or name == "student_t":
        return LOSSES[name]()
    if name in ("mae", "pinball"):
        return PinballLoss(quantiles)
    raise ParameterError(
        f"loss={name!r} has no quantiles; with quantiles={quantiles} use 'mae' (which becomes the "
        "pinball loss) or 'student_t'."
    )
