"""WindowClassifier: patches of a window in, a verdict after each patch out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.nn.backbone import BackboneState, TitansBackbone

__all__ = ["WindowClassifier"]


class WindowClassifier(nn.Module):
    """A Titans backbone that reads a window patch by patch, and says what it takes it for.

    Parameters
    ----------
    backbone : BackboneConfig
    n_channels : int
    n_classes : int
    patch_length : int
        Steps in a token.
    """

    def __init__(
        self, backbone: BackboneConfig, *, n_channels: int, n_classes: int, patch_length: int
    ) -> None:
        super().__init__()
        self.patch_length = patch_length
        self.embed = nn.Linear(patch_length * n_channels, backbone.dim)
        self.backbone = TitansBackbone(backbone)
        self.decide = nn.Linear(backbone.dim, n_classes)
        # What training windows look like; saved with the weights, and not trained.
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("spread", torch.ones(n_channels))

    def encode(self, windows: Tensor) -> Tensor:
        """Cut windows into tokens.

        Parameters
        ----------
        windows : Tensor of shape (batch, time, channels)
            ``time`` is a multiple of ``patch_length``.

        Returns
        -------
        Tensor of shape (batch, time / patch_length, patch_length * channels)
        """
        scaled = (windows - self.mean) / self.spread
        batch, time, channels = scaled.shape
        return scaled.reshape(batch, time // self.patch_length, self.patch_length * channels)

    def forward(
        self,
        tokens: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
    ) -> tuple[Tensor, BackboneState | None]:
        """Return a logit for each class after each token, and the state to go on from.

        Parameters
        ----------
        tokens : Tensor of shape (batch, tokens, patch_length * channels)
            Of :meth:`encode`.
        state : BackboneState, optional
        observed : Tensor of shape (batch, tokens), bool, optional

        Returns
        -------
        logits : Tensor of shape (batch, tokens, classes)
        state : BackboneState
        """
        vectors, state = self.backbone(self.embed(tokens), state, observed)
        return self.decide(vectors), state

    def verdict(self, windows: Tensor) -> Tensor:
        """Return the logits of whole windows, shape (batch, classes): the mean of all patches."""
        return self(self.encode(windows))[0].mean(1)
