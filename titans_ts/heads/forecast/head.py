"""ForecastHead: patches of a series in, one direct multi-step forecast out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.covariates import CovariateReader
from titans_ts.heads.forecast.gaps import FilledSeries, fill_gaps
from titans_ts.heads.forecast.losses import make_loss
from titans_ts.heads.forecast.mixing import ChannelMixer
from titans_ts.heads.forecast.normalisation import (
    Normalised,
    make_normaliser,
    standardise,
)
from titans_ts.parameters import check_choice, check_int

__all__ = ["Encoded", "ForecastConfig", "ForecastHead", "ForecastParameters"]


@dataclass(frozen=True)
class ForecastConfig:
    """The shape of a forecast head. Lengths in steps of the series.

    Parameters
    ----------
    horizon : int
        Steps of one forecast.
    patch_length : int
        Steps in a token.
    highway_length : int
        Last steps that the linear highway reads; 0 turns it off.
    normalisation : {"running", "window"}
        See :mod:`titans_ts.heads.forecast.normalisation`.
    running_memory : int
        Steps that running statistics remember.
    loss : str
        A name in ``LOSSES``, or ``"pinball"``.
    quantiles : tuple of float or None
        Fractions that are trained for.
    channel_mixing : bool
        Whether a channel's forecast may depend on the other channels.
    past, known, static : tuple of int
        Covariates of each kind: 0 for a number, else how many categories it has.
    season : int
        Steps after which a series may repeat itself: what long gaps are filled from; 0 for none.
    n_channels : int
        Told from each other by covariates, and where a context tells nothing of one.
    """

    horizon: int
    patch_length: int = 32
    highway_length: int = 512
    normalisation: str = "running"
    running_memory: int = 512
    loss: str = "mae"
    quantiles: tuple[float, ...] | None = None
    channel_mixing: bool = False
    past: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    static: tuple[int, ...] = ()
    season: int = 0
    n_channels: int = 1

    def __post_init__(self) -> None:
        check_int("horizon", self.horizon)
        check_int("patch_length", self.patch_length)
        check_int("highway_length", self.highway_length, minimum=0)
        check_int("running_memory", self.running_memory)
        check_int("season", self.season, minimum=0)
        check_choice("normalisation", self.normalisation, ("running", "window"))
        check_choice("channel_mixing", self.channel_mixing, (True, False))
        make_loss(self.loss, self.quantiles)


class Encoded(NamedTuple):
    """A batch as tokens, and what decoding needs of it. Rows are windows times channels."""

    tokens: Tensor  # (rows, patches, token features)
    observed: Tensor | None  # (rows, patches), bool: a token with an observed step; None: all
    normalised: Normalised
    series: FilledSeries  # for the highway
    constant: Tensor | None  # (rows, 1, dim): what static covariates and the channel say
    batch: WindowBatch


class ForecastParameters(NamedTuple):
    """The model's answer at each origin, relative to the context's level and spread."""

    values: Tensor  # (batch, origins, horizon, channels, n_parameters)
    location: Tensor  # (batch, origins, 1, channels), float64
    scale: Tensor  # same shape


class ForecastHead(nn.Module):
    """Encode windows as patches, decode vectors as forecasts, and add the linear highway.

    Each channel is a sequence of its own (channel independence), with weights that all share.

    Parameters
    ----------
    config : ForecastConfig
    dim : int
        Width of the backbone's vectors.
    dropout : float
        On the vectors before decoding, in training.
    """

    typical_level: Tensor
    typical_spread: Tensor

    def __init__(self, config: ForecastConfig, dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.loss_function = make_loss(config.loss, config.quantiles)
        self.normaliser = make_normaliser(config.normalisation, config.running_memory)
        # Values, and how level and spread moved since the last patch. Which values were missing is
        # not among them: trained on gaps, the model would not know a context without any.
        self.embed = nn.Linear(config.patch_length + 2, dim)
        n_out = config.horizon * self.loss_function.n_parameters
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(dim, n_out)
        self.covariates = (
            CovariateReader(
                config.past,
                config.known,
                config.static,
                n_channels=config.n_channels,
                patch_length=config.patch_length,
                horizon=config.horizon,
                dim=dim,
                n_parameters=self.loss_function.n_parameters,
            )
            if config.past or config.known or config.static
            else None
        )
        self.mixer = ChannelMixer(dim) if config.channel_mixing else None
        self.highway = (
            nn.Linear(config.highway_length, config.horizon, bias=False)
            if config.highway_length
            else None
        )
        n_channels = config.n_channels
        self.register_buffer("typical_level", torch.zeros(n_channels, dtype=torch.float64))
        self.register_buffer("typical_spread", torch.ones(n_channels, dtype=torch.float64))
        # From zero: the first forecast is the context's level, and nothing has to be unlearnt.
        for layer in (self.project, self.highway):
            if layer is not None:
                nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.project.bias)

    def set_typical(self, level: np.ndarray, spread: np.ndarray) -> None:
        """Say where a channel is forecast of which a context tells nothing.

        Parameters
        ----------
        level, spread : ndarray of shape (channels,)
            Mean and standard deviation over the training rows.
        """
        self.typical_level.copy_(torch.from_numpy(level))
        self.typical_spread.copy_(torch.from_numpy(spread))

    def encode(self, batch: WindowBatch) -> Encoded:
        """Cut contexts into normalised patches.

        Parameters
        ----------
        batch : WindowBatch
            With a context whose length is a multiple of the patch length.

        Returns
        -------
        Encoded
        """
        patch = self.config.patch_length
        series = batch.context.transpose(1, 2).flatten(0, 1)
        observed = seen = seen_patches = None
        if not batch.context_complete:
            observed = batch.observed.transpose(1, 2).flatten(0, 1)
            series = torch.where(observed, series, 0.0)
            seen = observed.unflatten(1, (-1, patch))
            seen_patches = seen.any(-1)
        normalised, _ = self.normaliser.normalise(series.unflatten(1, (-1, patch)), seen)
        gaps = fill_gaps(series, observed, self.config.season)
        parts = self._patches(gaps, normalised), _movement(normalised, seen_patches)
        tokens = self.embed(torch.cat([x.to(self.embed.weight.dtype) for x in parts], dim=-1))
        constant = None
        if self.covariates is not None:
            constant = self.covariates.series_vectors(batch)
            moving = self.covariates.patches(batch)
            for part in (constant, moving):
                tokens = tokens if part is None else tokens + part
        return Encoded(tokens, seen_patches, normalised, gaps, constant, batch)

    def decode(
        self, vectors: Tensor | None, encoded: Encoded, n_origins: int = 1
    ) -> ForecastParameters:
        """Forecast after each of the last ``n_origins`` patches.

        Parameters
        ----------
        vectors : Tensor of shape (rows, patches, dim) or None
            From the backbone; None leaves the forecast to the highway.
        encoded : Encoded
        n_origins : int, default 1

        Returns
        -------
        ForecastParameters
        """
        n_channels = encoded.batch.context.shape[2]
        location = encoded.normalised.location[:, -n_origins:]
        scale = encoded.normalised.scale[:, -n_origins:]
        n_parameters = self.loss_function.n_parameters
        horizon = self.config.horizon
        weight = self.project.weight
        if vectors is None:
            values = weight.new_zeros(location.shape[0], n_origins, horizon, n_parameters)
        else:
            vectors = vectors[:, -n_origins:]
            if self.mixer is not None:
                vectors = self.mixer(vectors, n_channels)
            values = self.project(self.dropout(vectors)).unflatten(-1, (horizon, n_parameters))
            # Losses and units in full precision, whatever the products were made in.
            values = values.to(weight.dtype)
        if self.covariates is not None and self.config.known:
            steer = weight.new_zeros(location.shape[0], 1, weight.shape[1])
            steer = steer if vectors is None else vectors
            if encoded.constant is not None:
                steer = steer + encoded.constant
            values = values + self.covariates.corrections(
                encoded.batch, steer, n_origins, self.normaliser, self.highway
            ).to(values.dtype)
        if self.highway is not None:
            recent = self._recent(encoded, n_origins, location, scale).to(weight.dtype)
            # Full precision: bfloat16 keeps three digits, and the highway carries the level.
            with torch.autocast(recent.device.type, enabled=False):
                line = self.highway(recent)
            values = _add_to_parameter(values, line, self.loss_function.location)

        def per_channel(x: Tensor) -> Tensor:  # (rows, origins, ...) -> channels behind the steps
            x = x.unflatten(0, (-1, n_channels))
            return x.movedim(1, 3)

        return ForecastParameters(
            per_channel(values),
            per_channel(location[..., None]),
            per_channel(scale[..., None]),
        )

    def loss(
        self,
        parameters: ForecastParameters,
        target: Tensor,
        mask: Tensor | None,
        channel_scale: Tensor,
    ) -> Tensor:
        """Mean loss over observed target steps, each channel measured in its own scale.

        Parameters
        ----------
        parameters : ForecastParameters
        target : Tensor of shape (batch, origins, horizon, channels)
            In the data's own units.
        mask : Tensor of the same shape, bool, or None
            None: every step is observed.
        channel_scale : Tensor of shape (batch or 1, channels)

        Returns
        -------
        Tensor of shape ()
        """
        values = parameters.values
        z = (target - parameters.location).div_(parameters.scale).to(values.dtype)
        weight = parameters.scale / channel_scale[:, None, None]
        weight = weight.to(values.dtype).expand_as(z)
        if mask is None:
            return self.loss_function.loss(values, z, weight).mean()
        each = self.loss_function.loss(values, torch.where(mask, z, 0.0), weight)
        # Masked by selection: a step that is not observed must not leave a NaN behind.
        return torch.where(mask, each, 0.0).sum() / mask.sum().clamp(min=1)

    def place_unseen(
        self, parameters: ForecastParameters, batch: WindowBatch
    ) -> ForecastParameters:
        """Place forecasts at a channel's typical level where its whole context was missing.

        Not in training: such a context looks like one of a constant series, and the model would
        learn for both what is right for one.

        Parameters
        ----------
        parameters : ForecastParameters
            After the last patch.
        batch : WindowBatch
        """
        if batch.context_complete or batch.channel is None:
            return parameters
        unseen = ~batch.observed.any(1)[:, None, None]

        def placed(x: Tensor, typical: Tensor) -> Tensor:
            return torch.where(unseen, typical[batch.channel][:, None, None].to(x.dtype), x)

        return parameters._replace(
            location=placed(parameters.location, self.typical_level),
            scale=placed(parameters.scale, self.typical_spread),
        )

    def to_output(
        self, parameters: ForecastParameters, quantiles: tuple[float, ...] | None = None
    ) -> Tensor:
        """Forecasts in the data's own units.

        Returns
        -------
        Tensor of shape (batch, origins, horizon, channels), or with quantiles one more dimension
        """
        location, scale = parameters.location, parameters.scale
        if quantiles is None:
            return location + scale * self.loss_function.point(parameters.values)
        values = self.loss_function.quantiles(parameters.values, quantiles)
        return location[..., None] + scale[..., None] * values

    def _patches(self, series: FilledSeries, normalised: Normalised) -> Tensor:
        """Normalised patches, filled with what was known at the end of each."""
        if series.between is None:  # filled with nothing, so these are the patches themselves
            return normalised.z
        patch = self.config.patch_length
        filled, started = series.up_to_origins(patch, patch, series.forward.shape[1] // patch)
        return standardise(filled, normalised.location, normalised.scale, started)

    def _recent(self, encoded: Encoded, n_origins: int, location: Tensor, scale: Tensor) -> Tensor:
        """The last steps before each origin, normalised as the origin is."""
        length, patch = self.config.highway_length, self.config.patch_length
        filled, started = encoded.series.up_to_origins(length, patch, n_origins)
        return standardise(filled, location, scale, started)


def _movement(normalised: Normalised, seen: Tensor | None) -> Tensor:
    """How level and log spread moved since the patch before, shape (rows, patches, 2).

    Zero up to the first of the patches ``seen``, so that padding looks like a start.
    """
    location, scale = normalised.location, normalised.scale
    level = F.pad(location.diff(dim=1), (1, 0)) / scale
    spread = F.pad(scale.log().diff(dim=1), (1, 0))
    # Bounded: a first jump from a constant start is a million scales high.
    movement = torch.tanh(torch.stack([level, spread], dim=-1))
    if seen is None:
        return movement
    known = F.pad((seen.cumsum(1) > 0)[:, :-1], (1, 0))
    return torch.where(known[..., None], movement, 0.0)


def _add_to_parameter(values: Tensor, line: Tensor, index: int) -> Tensor:
    """Add the highway to the parameter that places the forecast."""
    if values.shape[-1] == 1:
        return values + line[..., None]
    one_hot = F.one_hot(torch.tensor(index, device=values.device), values.shape[-1])
    return values + line[..., None] * one_hot.to(values.dtype)
