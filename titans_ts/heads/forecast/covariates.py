"""Covariates: what is known beside a series, read into its tokens and into its forecast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.gaps import fill_gaps
from titans_ts.heads.forecast.normalisation import Normaliser, standardise

__all__ = ["ColumnEncoder", "CovariateReader"]

# Width of the layer that turns covariates of a future step into a correction of the forecast.
HIDDEN = 32


class ColumnEncoder(nn.Module):
    """Turn columns into features: numbers are standardised, categories looked up.

    Parameters
    ----------
    cardinalities : sequence of int
        Of each column: 0 for numbers, else how many categories there are.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.numeric = [i for i, n in enumerate(cardinalities) if not n]
        self.categorical = [i for i, n in enumerate(cardinalities) if n]
        self.register_buffer("mean", torch.zeros(len(self.numeric), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.numeric), dtype=torch.float64))
        # One entry more than there are categories: for a missing one.
        self.missing = [n for n in cardinalities if n]
        widths = [min(8, (n + 1) // 2 + 1) for n in self.missing]
        self.tables = nn.ModuleList(
            nn.Embedding(n + 1, width) for n, width in zip(self.missing, widths, strict=True)
        )
        #: Features of a row.
        self.width = 2 * len(self.numeric) + sum(widths)

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Set what the numbers are standardised by, each of shape (columns,)."""
        self.mean.copy_(torch.from_numpy(mean[self.numeric]))
        self.scale.copy_(torch.from_numpy(scale[self.numeric]))

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        """Encode columns of shape (..., columns) as features of shape (..., width)."""
        numbers, seen = values[..., self.numeric], observed[..., self.numeric]
        z = squash((numbers - self.mean) / self.scale)
        parts = [torch.where(seen, z, torch.zeros_like(z)), (~seen).to(z.dtype)]
        for place, table, missing in zip(self.categorical, self.tables, self.missing, strict=True):
            code = torch.where(observed[..., place], values[..., place].long(), missing)
            parts.append(table(code).to(z.dtype))
        return torch.cat(parts, dim=-1)


class CovariateReader(nn.Module):
    """Read past, known and static covariates of a window.

    All of them go into the tokens, so that attention and memory see with what a series moves.
    Those known in advance also correct each step of the forecast: a gated layer sees the step's
    covariates beside the backbone's vector. It is given them in three forms: standardised over
    the training rows (how hot is it?), relative to the context (how much hotter than lately?),
    and less what the linear highway would have forecast for them (hotter than was to be
    expected?), since the forecast that is corrected expects the usual already.

    Parameters
    ----------
    past, known, static : sequence of int
        Cardinalities, as for :class:`ColumnEncoder`.
    n_channels : int
        With several channels each gets a vector of its own: a covariate may lift one and lower
        another.
    patch_length, horizon, dim, n_parameters : int
        Of the head.
    """

    def __init__(
        self,
        past: Sequence[int],
        known: Sequence[int],
        static: Sequence[int],
        *,
        n_channels: int,
        patch_length: int,
        horizon: int,
        dim: int,
        n_parameters: int,
    ) -> None:
        super().__init__()
        self.patch_length, self.horizon = patch_length, horizon
        self.past = ColumnEncoder(past) if past else None
        self.known = ColumnEncoder(known) if known else None
        self.static = ColumnEncoder(static) if static else None
        over_time = sum(encoder.width for encoder in (self.past, self.known) if encoder)
        self.embed = nn.Linear(patch_length * over_time, dim, bias=False) if over_time else None
        self.embed_static = nn.Linear(self.static.width, dim) if self.static else None
        self.channel = nn.Embedding(n_channels, dim) if n_channels > 1 else None
        if self.known is not None:
            # Relative and unexpected values stand beside the encoded ones.
            features = self.known.width + 2 * len(self.known.numeric)
            self.ahead = nn.Linear(features, 2 * HIDDEN, bias=False)
            self.steer = nn.Linear(dim, 2 * HIDDEN)
            self.step = nn.Parameter(torch.zeros(horizon, 2 * HIDDEN))
            self.correct = nn.Linear(HIDDEN, n_parameters)
            # From zero: a forecast without covariates is where learning starts.
            nn.init.zeros_(self.correct.weight)
            nn.init.zeros_(self.correct.bias)

    def set_statistics(self, role: str, mean: np.ndarray, scale: np.ndarray) -> None:
        """Set mean and standard deviation of the ``"past"``, ``"known"`` or ``"static"`` columns.

        Parameters
        ----------
        role : str
        mean, scale : ndarray of shape (columns,)
            Over the training rows.
        """
        encoder = {"past": self.past, "known": self.known, "static": self.static}[role]
        assert encoder is not None
        encoder.set_statistics(mean, scale)

    def series_vectors(self, batch: WindowBatch) -> Tensor | None:
        """What does not change with time, of shape (batch * channels, 1, dim)."""
        n_channels = batch.context.shape[2]
        vectors = None
        if self.channel is not None:
            assert batch.channel is not None
            rows = batch.channel.expand(batch.context.shape[0], -1)
            vectors = self.channel(rows).flatten(0, 1)
        if self.static is not None and self.embed_static is not None:
            assert batch.static is not None
            seen = ~batch.static.isnan()
            features = self.static(torch.where(seen, batch.static, 0.0), seen)
            features = self.embed_static(features.to(self.embed_static.weight.dtype))
            features = features.repeat_interleave(n_channels, 0)
            vectors = features if vectors is None else vectors + features
        return None if vectors is None else vectors[:, None]

    def patches(self, batch: WindowBatch) -> Tensor | None:
        """What is added to the tokens of each patch, shape (batch * channels, patches, dim)."""
        if self.embed is None:
            return None
        time, n_channels = batch.context.shape[1:]
        parts = []
        if self.past is not None:
            assert batch.past is not None
            assert batch.past_observed is not None
            parts.append(self.past(batch.past, batch.past_observed))
        if self.known is not None:
            assert batch.known is not None
            assert batch.known_observed is not None
            parts.append(self.known(batch.known[:, :time], batch.known_observed[:, :time]))
        features = torch.cat(parts, dim=-1).to(self.embed.weight.dtype)
        patches = features.unflatten(1, (-1, self.patch_length)).flatten(2)
        return self.embed(patches).repeat_interleave(n_channels, 0)

    def corrections(
        self,
        batch: WindowBatch,
        vectors: Tensor,
        n_origins: int,
        normaliser: Normaliser,
        highway: nn.Linear | None,
    ) -> Tensor:
        """What known covariates add to each step of the forecast.

        Parameters
        ----------
        batch : WindowBatch
        vectors : Tensor of shape (batch * channels, origins or 1, dim)
        n_origins : int
        normaliser : Normaliser
            That of the target, so that covariates are relative to the same past.
        highway : nn.Linear or None

        Returns
        -------
        Tensor of shape (batch * channels, origins, horizon, n_parameters)
            In units of the context's scale.
        """
        n_channels = batch.context.shape[2]
        features = self._ahead(batch, n_origins, normaliser, highway).to(self.ahead.weight.dtype)
        seen = self.ahead(features).repeat_interleave(n_channels, 0)
        steered = seen + self.steer(vectors)[:, :, None] + self.step
        gate, value = steered.chunk(2, dim=-1)
        return self.correct(F.silu(gate) * value)

    def _ahead(
        self,
        batch: WindowBatch,
        n_origins: int,
        normaliser: Normaliser,
        highway: nn.Linear | None,
    ) -> Tensor:
        """Features of the steps after each origin, shape (batch, origins, horizon, features)."""
        known, observed = batch.known, batch.known_observed
        assert known is not None
        assert observed is not None
        assert self.known is not None
        time, patch = batch.context.shape[1], self.patch_length
        needed = self.horizon + (n_origins - 1) * patch

        def after_origins(x: Tensor) -> Tensor:  # (batch, origins, horizon, columns)
            return x[:, x.shape[1] - needed :].unfold(1, self.horizon, patch).movedim(-1, 2)

        parts = [after_origins(self.known(known, observed))]
        columns = self.known.numeric
        if columns:
            past = known[:, :time, columns].transpose(1, 2).flatten(0, 1)
            seen = observed[:, :time, columns].transpose(1, 2).flatten(0, 1)
            past = torch.where(seen, past, torch.zeros_like(past))
            normalised, _ = normaliser.normalise(
                past.unflatten(1, (-1, patch)), seen.unflatten(1, (-1, patch))
            )
            location = normalised.location[:, -n_origins:, None]
            scale = normalised.scale[:, -n_origins:, None]

            def by_column(x: Tensor) -> Tensor:  # (batch * columns, origins, h) -> columns last
                return x.unflatten(0, (-1, len(columns))).movedim(1, 3)

            there = after_origins(observed[..., columns])
            relative = after_origins(known[..., columns]) - by_column(location)
            relative = relative / by_column(scale)
            unexpected = relative
            if highway is not None:
                recent, started = fill_gaps(past, seen).up_to_origins(
                    highway.in_features, patch, n_origins
                )
                z = standardise(recent, location[..., 0], scale[..., 0], started)
                # Detached: the highway learns to forecast the target, not its covariates.
                usual = F.linear(z.to(highway.weight.dtype), highway.weight.detach())
                unexpected = relative - by_column(usual).to(relative.dtype)
            zero = torch.zeros_like(relative)
            parts += [torch.where(there, squash(x), zero) for x in (relative, unexpected)]
        return torch.cat(parts, dim=-1)


def squash(x: Tensor) -> Tensor:
    """Leave ordinary values nearly as they are, and bound the extraordinary at 5."""
    return 5 * torch.tanh(x / 5)
