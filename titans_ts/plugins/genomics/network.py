"""SequenceNetwork: both strands through one trunk, and two readings of what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.plugins.genomics.strands import other_strand, word_ids
from titans_ts.plugins.genomics.trunks import MotifTrunk, WordTrunk

__all__ = ["NetworkConfig", "Readings", "SequenceNetwork"]

# What the counts of words are multiplied by. A step of Adam moves every weight as far, and those of
# words, of which there are many and each counts little, have far to go; words at a place, of which
# a sequence has one each, less far. Words of more than so many bases are so rare that steps as long
# as those of others would learn single rows by heart: each more base halves them.
WORD_GAIN, PLACE_GAIN = 18.0, 3.0
COMMON_WORD = 5


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a :class:`SequenceNetwork` beside its backbone. Defaults are written here, once.

    Parameters
    ----------
    n_classes : int
    coding : {"motifs", "kmers"}
        What a token is: what motifs found in some bases, or a word.
    motifs : int
        Patterns that the first layer looks for.
    motif_length : int
        Bases that a pattern spans; odd.
    pool : int
        Bases in a token of motifs.
    k : int
        Bases in a word.
    n_positions : int
        Tokens that have a place of their own, from a sequence's start.
    composition : int
        Length of the longest words that are counted beside the network; 0 for none.
    placement : int
        Length of the longest words whose place counts beside the network; 0 for none.
    dropout : float
        Of the vectors that classes are read from.
    """

    n_classes: int
    coding: str = "motifs"
    motifs: int = 64
    motif_length: int = 13
    pool: int = 8
    k: int = 6
    n_positions: int = 64
    composition: int = 8
    placement: int = 2
    dropout: float = 0.1

    @property
    def token_length(self) -> int:
        """Bases in a token."""
        return self.pool if self.coding == "motifs" else self.k


class Readings(NamedTuple):
    """Logits of the classes, shape (2, batch, n_classes) each: by the network, and by words."""

    symmetric: Tensor  # the same for a sequence and its reverse complement
    directed: Tensor  # of the sequence in the direction in which it is written


class SequenceNetwork(nn.Module):
    """Classify coded sequences.

    A trunk turns bases into tokens that a Titans backbone reads in order. The other strand goes
    through the same weights, so that every token is seen with what is on either side of it, though
    the backbone reads in one direction. A strand's vector is its mean token, its strongest
    features, what learnt queries find, and what stands at which place. A linear reading of words
    runs beside, with a loss of its own: added up, words would soon explain the training rows, and
    leave the network nothing to learn from. It reads the shares of short words, and, where the
    direction counts, which words stand at which place: sequences that were aligned, to a splice
    site or a start of transcription, are told apart by single bases.

    Parameters
    ----------
    config : NetworkConfig
    backbone : BackboneConfig
    """

    def __init__(self, config: NetworkConfig, backbone: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk: MotifTrunk | WordTrunk
        if config.coding == "motifs":
            self.trunk = MotifTrunk(
                backbone,
                motifs=config.motifs,
                motif_length=config.motif_length,
                pool=config.pool,
                n_positions=config.n_positions,
            )
        else:
            self.trunk = WordTrunk(backbone, config.k)
        self.pooling = Pooling(backbone.dim, config.n_positions)
        # Motifs go straight to the classes too: through the backbone alone, what finds them would
        # learn from small sets too late.
        n_motifs = config.motifs if config.coding == "motifs" else 0
        self.hidden = nn.Linear(self.pooling.width + n_motifs, 2 * backbone.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.symmetric = nn.Linear(2 * backbone.dim, config.n_classes)
        self.directed = nn.Linear(4 * backbone.dim, config.n_classes)
        self.words = WordShares(config.composition, config.n_classes)
        n_places = config.n_positions * config.token_length
        self.placed_words = PlacedWords(config.placement, n_places, config.n_classes)

    def strand_vectors(self, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What is made of each sequence as it is written, and of its other strand.

        Returns
        -------
        written, opposite : Tensor of shape (batch, 2 * dim)
        """
        both = torch.cat([codes, other_strand(codes, lengths)])
        vectors, inside, summary = self.trunk(both, lengths.repeat(2))
        pooled = self.dropout(torch.cat([self.pooling(vectors, inside), summary], dim=-1))
        written, opposite = F.gelu(self.hidden(pooled)).chunk(2)
        return written, opposite

    def forward(self, codes: Tensor, lengths: Tensor) -> Readings:
        """Read sequences.

        Parameters
        ----------
        codes : Tensor of shape (batch, time), int64
            Sets of bases, filled up with 0.
        lengths : Tensor of shape (batch,), int64
        """
        written, opposite = (self.dropout(v) for v in self.strand_vectors(codes, lengths))
        here = self.words(codes, lengths)
        there = self.words(other_strand(codes, lengths), lengths)
        placed = self.placed_words(codes)
        return Readings(
            torch.stack([self.symmetric((written + opposite) / 2), (here + there) / 2]),
            torch.stack([self.directed(torch.cat([written, opposite], dim=-1)), here + placed]),
        )


class Pooling(nn.Module):
    """From the tokens of a strand to one vector of shape (batch, width)."""

    def __init__(self, dim: int, n_positions: int, n_queries: int = 2) -> None:
        super().__init__()
        self.queries = nn.Linear(dim, n_queries, bias=False)
        # A mean forgets what stood where, which is what tells a splice site or a promoter.
        self.placed = nn.Parameter(torch.randn(n_positions, dim, dim) * (n_positions * dim) ** -0.5)
        self.width = (3 + n_queries) * dim

    def forward(self, vectors: Tensor, inside: Tensor) -> Tensor:
        outside = ~inside[..., None]
        zeroed = vectors.masked_fill(outside, 0.0)
        mean = zeroed.sum(1) / inside.sum(1, keepdim=True)
        highest = vectors.masked_fill(outside, -torch.inf).amax(1)
        shares = self.queries(vectors).masked_fill(outside, -torch.inf).softmax(1)
        found = torch.einsum("btq,btd->bqd", shares, zeroed).flatten(1)
        first = zeroed[:, : len(self.placed)]
        placed = torch.einsum("btd,tde->be", first, self.placed[: first.shape[1]])
        return torch.cat([mean, highest, found, placed], dim=-1)


class WordShares(nn.Module):
    """A linear map from the shares of all words of up to ``longest`` bases to classes."""

    def __init__(self, longest: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        # Zeros: words are silent until they are found to say something.
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(4**k + 1, n_classes)) for k in range(1, longest + 1)
        )

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        total = torch.zeros(len(codes), self.n_classes, device=codes.device)
        for k, weight in enumerate(self.weights, 1):
            if codes.shape[1] < k:
                break
            words = F.embedding_bag(word_ids(codes, k), weight, mode="sum", padding_idx=4**k)
            gain = WORD_GAIN * 2.0 ** min(COMMON_WORD - k, 0)
            # The spread of a count grows with the root of the length.
            total = total + gain * words * (lengths - k + 1).clamp(min=1)[:, None] ** -0.5
        return total


class PlacedWords(nn.Module):
    """A linear map from which words of up to ``longest`` bases stand at which place to classes.

    Places count from a sequence's start, and there are ``n_places``.
    """

    def __init__(self, longest: int, n_places: int, n_classes: int) -> None:
        super().__init__()
        self.n_places, self.n_classes = n_places, n_classes
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n_places * 4**k + 1, n_classes)) for k in range(1, longest + 1)
        )

    def forward(self, codes: Tensor) -> Tensor:
        total = torch.zeros(len(codes), self.n_classes, device=codes.device)
        for k, weight in enumerate(self.weights, 1):
            words = word_ids(codes, k)[:, : self.n_places]
            if not words.shape[1]:
                break
            place = torch.arange(words.shape[1], device=codes.device)
            unknown = self.n_places * 4**k
            placed = torch.where(words < 4**k, place * 4**k + words, unknown)
            found = F.embedding_bag(placed, weight, mode="sum", padding_idx=unknown)
            total = total + PLACE_GAIN * found
        return total
