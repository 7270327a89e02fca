"""ForecastGraph: a forecaster's model with arrays in and arrays out, as a graph has them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from torch import Tensor, nn

from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.head import ForecastParameters
from titans_ts.heads.forecast.losses import StudentT
from titans_ts.heads.forecast.model import ForecastModel

__all__ = ["ForecastGraph", "StudentTQuantiles"]

# Degree at which quantiles of Student's t are met to twelve digits, far out in the tails too.
DEGREE = 24


class ForecastGraph(nn.Module):
    """What is exported: context and covariates with NaN for what is missing, to forecasts.

    Parameters
    ----------
    model : ForecastModel
    quantiles : tuple of float or None
        Which to forecast beside the point.
    """

    def __init__(self, model: ForecastModel, quantiles: tuple[float, ...] | None) -> None:
        super().__init__()
        self.model, self.levels = model, quantiles
        loss = model.head.loss_function
        self.tails: StudentTQuantiles | None = None
        if quantiles is not None and isinstance(loss, StudentT):
            self.tails = StudentTQuantiles(loss, quantiles)

    def forward(
        self,
        context: Tensor,
        past: Tensor | None = None,
        known: Tensor | None = None,
        static: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Forecast what follows.

        Parameters
        ----------
        context : Tensor of shape (batch, context_length, channels), float64
        past : Tensor of shape (batch, context_length, n_past), float64, optional
        known : Tensor of shape (batch, context_length + horizon, n_known), float64, optional
        static : Tensor of shape (batch, n_static), float64, optional

        Returns
        -------
        forecast : Tensor of shape (batch, horizon, channels), float64
        quantiles : Tensor of shape (batch, horizon, channels, levels), float64
            With quantiles only.
        """
        observed = ~context.isnan()
        n_channels = context.shape[2]
        nothing = context[:, :0]  # targets, which a forecast does not look at
        batch = WindowBatch(
            torch.where(observed, context, 0.0),
            observed,
            nothing,
            nothing.isnan(),
            context.new_ones(1, n_channels),
            torch.arange(n_channels, device=context.device)[None],
            static=static,
        )
        if past is not None:
            batch = batch._replace(past=past, past_observed=~past.isnan())
        if known is not None:
            batch = batch._replace(known=known, known_observed=~known.isnan())
        head, parameters = self.model.head, self.model.forecast(batch)
        point = head.to_output(parameters)[:, -1]
        if self.levels is None:
            return (point,)
        if self.tails is not None:
            return point, self.tails(parameters)[:, -1]
        return point, head.to_output(parameters, self.levels)[:, -1]


class StudentTQuantiles(nn.Module):
    """Quantiles of Student's t without its distribution function, which graphs do not have.

    Over one over the degrees of freedom, from a normal distribution's 0 to a half, a quantile is
    a smooth curve, and so is a polynomial (Chebyshev, at his points).
    """

    def __init__(self, loss: StudentT, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.loss = loss
        self.polynomials = polynomials(levels)

    def forward(self, parameters: ForecastParameters) -> Tensor:
        """Quantiles in the data's own units, one more dimension than ``parameters.location``."""
        location, scale, freedom = self.loss.shape(parameters.values)
        # From [0, 1/2] to [-1, 1], and Clenshaw's rule.
        x = 4 / freedom.double() - 1
        standard = []
        for coefficients in self.polynomials:
            later, latest = torch.zeros_like(x), torch.zeros_like(x)
            for coefficient in coefficients[:0:-1]:
                later, latest = coefficient + 2 * x * later - latest, later
            standard.append(coefficients[0] + x * later - latest)
        z = torch.stack(standard, -1).to(location.dtype)
        values = location[..., None] + scale[..., None] * z
        return parameters.location[..., None] + parameters.scale[..., None] * values


def polynomials(levels: tuple[float, ...]) -> list[list[float]]:
    """Chebyshev coefficients of each quantile over one over the degrees of freedom."""
    from scipy.stats import t

    def quantile(inverse: np.ndarray, level: float) -> np.ndarray:
        return t.ppf(level, 1 / inverse)

    return [
        Chebyshev.interpolate(quantile, DEGREE, domain=[0, 0.5], args=(level,)).coef.tolist()
        for level in levels
    ]


def example_inputs(model: ForecastModel, context_length: int, n_channels: int) -> dict[str, Tensor]:
    """Inputs of the right shapes, of two windows, to trace a graph with."""
    config = model.head.config
    time = torch.arange(context_length, dtype=torch.float64)
    shapes: Mapping[str, tuple[int, ...]] = {
        "past": (context_length, len(config.past)),
        "known": (context_length + config.horizon, len(config.known)),
        "static": (len(config.static),),
    }
    context = time[:, None].sin().expand(2, -1, n_channels).clone()
    covariates = {
        name: torch.zeros(2, *shape, dtype=torch.float64)
        for name, shape in shapes.items()
        if shape[-1]
    }
    return {"context": context, **covariates}
