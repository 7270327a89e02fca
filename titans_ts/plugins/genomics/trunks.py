"""Trunks: from coded bases to the vectors of a backbone, by motifs or by words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import TitansBackbone
from titans_ts.nn.layers import RMSNorm
from titans_ts.plugins.genomics.coding import n_kmers
from titans_ts.plugins.genomics.strands import SHARE_TABLE, word_ids

__all__ = ["MotifTrunk", "WordTrunk", "word_model"]


class MotifNorm(nn.BatchNorm1d):
    """Batch normalisation that forgets what its running statistics started from.

    They start at a mean of 0 and a variance of 1, of which 0.9^n is left after n batches: after
    the few of a short fit, most of what motifs of a small variance are divided by. It is taken out
    again, as Adam's averages are corrected; after two hundred batches nothing is left of it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:  # a single value has no variance
            return super().forward(x)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        left = (1 - self.momentum) ** self.num_batches_tracked.to(self.running_var.dtype)
        seen = torch.where(left < 1, 1 - left, 1.0)
        mean = self.running_mean / seen
        variance = torch.where(left < 1, (self.running_var - left) / seen, self.running_var)
        return F.batch_norm(
            x, mean, variance.clamp(min=0), self.weight, self.bias, training=False, eps=self.eps
        )


class MotifTrunk(nn.Module):
    """Learnt patterns over windows of bases, pooled into tokens; then the backbone.

    Parameters
    ----------
    backbone : BackboneConfig
    motifs, motif_length, pool, n_positions : int
        As in :class:`titans_ts.plugins.genomics.network.NetworkConfig`.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        *,
        motifs: int,
        motif_length: int,
        pool: int,
        n_positions: int,
    ) -> None:
        super().__init__()
        self.pool = pool
        # Of what is found in so many places next to each other, the strongest counts.
        self.near = next(n for n in (4, 3, 5, 2, 1) if pool % n == 0)
        self.motifs = nn.Conv1d(4, motifs, motif_length, padding=motif_length // 2, bias=False)
        # Without it, patterns start too alike to be told apart, and small sets teach nothing.
        self.motif_norm = MotifNorm(motifs)
        self.to_tokens = nn.Linear(pool // self.near * motifs, backbone.dim, bias=False)
        self.places = nn.Parameter(0.02 * torch.randn(n_positions, backbone.dim))
        self.mix_norm = RMSNorm(backbone.dim)
        self.mix = nn.Conv1d(backbone.dim, backbone.dim, 3, padding=1)
        self.backbone = TitansBackbone(backbone)

    @property
    def backbone_config(self) -> BackboneConfig:
        """The shape of its backbone."""
        return self.backbone.config

    def forward(self, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read sequences.

        Parameters
        ----------
        codes : Tensor of shape (batch, time), int64
        lengths : Tensor of shape (batch,), int64

        Returns
        -------
        vectors : Tensor of shape (batch, tokens, dim)
        inside : Tensor of shape (batch, tokens), bool
            Which tokens are there; the others stand behind a sequence's end.
        summary : Tensor of shape (batch, width)
            What is known of a sequence beside its tokens: how strongly each motif was found.
        """
        codes = F.pad(codes, (0, -codes.shape[1] % self.pool))
        time = torch.arange(codes.shape[1], device=codes.device)
        bases = SHARE_TABLE.to(codes.device, self.places.dtype)[codes].transpose(1, 2)
        # A motif may reach beyond the end, but its centre may not: what a sequence is, and what is
        # usual for a motif, must not depend on how long others of its batch are.
        inside = time < lengths[:, None]
        answers = self.motifs(bases).transpose(1, 2)
        normed = F.relu(self.motif_norm(answers[inside]))
        found = torch.zeros_like(answers).index_put((inside,), normed.to(answers.dtype))
        strongest = found.unflatten(1, (-1, self.near)).amax(2)
        tokens = self.to_tokens(strongest.unflatten(1, (-1, self.pool // self.near)).flatten(2))
        inside = inside[:, :: self.pool]
        there = inside[..., None]
        place = torch.arange(tokens.shape[1], device=codes.device).clamp(max=len(self.places) - 1)
        tokens = (tokens + self.places[place]) * there
        mixed = self.mix(self.mix_norm(tokens).transpose(1, 2)).transpose(1, 2)
        tokens = (tokens + F.gelu(mixed)) * there
        vectors, _ = self.backbone(tokens, None, inside, need_state=False)
        return vectors, inside, found.amax(1)


class WordTrunk(nn.Module):
    """Words of ``k`` bases, one after another, as a sequence model reads them."""

    def __init__(self, backbone: BackboneConfig, k: int) -> None:
        super().__init__()
        self.k = k
        self.model = word_model(backbone, k)

    @property
    def backbone_config(self) -> BackboneConfig:
        """The shape of its backbone."""
        return self.model.backbone.config

    def load_learnt(self, model: TokenModel) -> None:
        """Take the weights of a model of the same words."""
        self.model.load_state_dict(model.state_dict())

    def forward(self, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read sequences; see :meth:`MotifTrunk.forward`. A last word that is cut is unknown."""
        codes = F.pad(codes, (0, -codes.shape[1] % self.k))
        words = word_ids(codes, self.k, self.k)
        first = torch.arange(words.shape[1], device=codes.device) * self.k
        inside = first < lengths[:, None]
        start = words.new_full((len(words), 1), n_kmers(self.k))
        observed = F.pad(inside, (1, 0), value=True)
        vectors, _ = self.model.vectors(
            torch.cat([start, words], dim=1), None, observed, need_state=False
        )
        return vectors[:, 1:], inside, vectors.new_zeros(len(vectors), 0)


def word_model(backbone: BackboneConfig, k: int) -> TokenModel:
    """A model of words: all of k bases, the unknown one, and the start of a sequence."""
    return TokenModel(n_kmers(k) + 1, backbone)
