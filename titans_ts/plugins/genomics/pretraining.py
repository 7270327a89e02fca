"""Words of DNA in batches, to learn what follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.errors import DataError
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.restart import detach
from titans_ts.plugins.genomics.coding import COMPLEMENT, CodedSequences, group_copies, kmer_ids
from titans_ts.plugins.genomics.words import Words, to_words
from titans_ts.training import LoopModule, TrainingSettings

__all__ = ["Pieces", "WordBatches", "WordModule", "cut_pieces"]

# Of the pieces from within a sequence, those that are read with a memory that has read before.
SHARE_GOING_ON = 0.75


class Pieces(NamedTuple):
    """Sequences, or parts of long ones."""

    sequences: CodedSequences
    inner: np.ndarray  # (n,), bool: which have a piece of the same sequence before them

    def take(self, rows: np.ndarray) -> Pieces:
        """Some of the pieces, in the order of ``rows``."""
        return Pieces(self.sequences.take(rows), self.inner[rows])


def cut_pieces(
    sequences: CodedSequences,
    length: int,
    fraction: float,
    seed: int,
    *,
    k: int = 1,
    either_strand: bool = False,
) -> tuple[Pieces, Pieces]:
    """Cut long sequences, and draw pieces to judge by.

    Parameters
    ----------
    sequences : CodedSequences
    length : int
        Bases in a piece; the last one of a sequence may have fewer.
    fraction : float
        Of the pieces that are held out. Copies of a piece go together, as in
        :func:`titans_ts.plugins.genomics.labels.hold_out`, and are counted once.
    seed : int
    k : int, default 1
        Bases in a word. Pieces without a word of A, C, G and T are left out: their loss is that of
        nothing, and a validation of such alone would seem perfect.
    either_strand : bool, default False
        Whether a reverse complement is a copy too.

    Returns
    -------
    training, validation : Pieces
        There is always a piece to learn from.

    Raises
    ------
    DataError
        No sequence holds a word of A, C, G and T.
    """
    starts = [
        np.arange(start, stop, length)
        for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]
    offsets = np.append(np.concatenate(starts), sequences.offsets[-1])
    inner = np.concatenate([np.arange(len(places)) > 0 for places in starts])
    pieces = Pieces(CodedSequences(sequences.codes, offsets), inner)
    holds = np.array([_holds_a_word(pieces.sequences[i], k) for i in range(len(inner))])
    if not holds.any():
        raise DataError(
            f"No sequence holds {k} letters of A, C, G and T, or U, from the first on, in a word: "
            "there is nothing to learn. Give other sequences, or a smaller k."
        )
    if not holds.all():
        pieces = pieces.take(np.flatnonzero(holds))
    groups = group_copies(pieces.sequences, either_strand=either_strand)
    order = np.random.default_rng(seed).permutation(len(groups))
    n_held = min(round(fraction * len(groups)), len(groups) - 1)
    held = np.zeros(len(pieces.inner), dtype=bool)
    for group in order[:n_held]:
        held[groups[group]] = True
    return pieces.take(np.flatnonzero(~held)), pieces.take(np.flatnonzero(held))


def _holds_a_word(codes: np.ndarray, k: int) -> bool:
    if len(codes) < k:
        return False
    words = kmer_ids(codes[None], k, stride=k)[0, : len(codes) // k]
    return bool((words < 4**k).any())


class WordBatches:
    """The batches of an epoch, in an order of its own each time.

    Parameters
    ----------
    pieces : Pieces
    k : int
        Bases in a word.
    batch_size : int
    seed : int or None
        For the order, for strands, and for which pieces go on with a memory that has read before;
        None keeps the order of the pieces, and none goes on.
    turned : bool, default False
        Whether every other piece, by chance, is read on its other strand.
    """

    def __init__(
        self,
        pieces: Pieces,
        k: int,
        batch_size: int,
        seed: int | None,
        *,
        turned: bool = False,
    ) -> None:
        self.pieces, self.k, self.batch_size, self.turned = pieces, k, batch_size, turned
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.pieces.inner) // self.batch_size)

    def __iter__(self) -> Iterator[Words]:
        n, rng = len(self.pieces.inner), self._rng
        order = np.arange(n) if rng is None else rng.permutation(n)
        for rows in np.array_split(order, len(self)):
            sequences, inner = self.pieces.take(rows)
            codes, lengths = sequences.padded(np.arange(len(rows))), sequences.lengths
            if rng is not None and self.turned:
                for i in np.flatnonzero(rng.random(len(rows)) < 0.5):
                    codes[i, : lengths[i]] = COMPLEMENT[codes[i, : lengths[i]][::-1]]
            words = to_words(codes, lengths, self.k)
            if rng is not None and inner.any():
                goes_on = inner & (rng.random(len(rows)) < SHARE_GOING_ON)
                words = words._replace(goes_on=torch.from_numpy(goes_on))
            yield words


class WordModule(LoopModule):
    """Cross-entropy of the next word, over words of A, C, G and T alone.

    What a memory has read may be from elsewhere: it is there so that a model has learnt with
    memories of any age, and reads sequences that are far longer than its pieces as well as these
    (state passing; Buitrago and Gu, 2025, arXiv:2507.02782).

    Parameters
    ----------
    model : TokenModel
    settings : TrainingSettings
    carries : bool
        Whether there are pieces that go on with a memory.
    """

    remedy = "Look at the sequences"
    weighs_targets = True  # losses are in nats per word
    model: TokenModel

    def __init__(self, model: TokenModel, settings: TrainingSettings, *, carries: bool) -> None:
        super().__init__(model, settings)
        self.carries = carries
        # What the last batch led to: a state, and its rows' last words, of shape (batch,).
        self.before: tuple[BackboneState, Tensor] | None = None

    def training_loss(self, batch: Words) -> Tensor:
        tokens, state = batch.tokens, None
        if self.before is not None and len(self.before[1]) == len(tokens):
            before, last = self.before
            state = self.model.restart(before, ~batch.goes_on)
            tokens = tokens.clone()
            tokens[:, 0] = torch.where(batch.goes_on, last, tokens[:, 0])
        carries = self.carries and self.alone  # Weights in shards are of no use to restart.
        loss, after = self._read(batch._replace(tokens=tokens), state, need_state=carries)
        self.before = None
        if after is not None and after.position % self.model.unit_length == 0:
            self.before = detach(after), batch.targets[:, -1]
        return loss

    def validation_loss(self, batch: Words) -> Tensor:
        loss, _ = self._read(batch, None, need_state=False)
        return loss

    def n_targets(self, batch: Words) -> Tensor:
        return batch.known.sum()

    def _read(
        self, batch: Words, state: BackboneState | None, *, need_state: bool
    ) -> tuple[Tensor, BackboneState | None]:
        return self.model.loss(
            batch.tokens,
            batch.targets,
            state,
            batch.inside,
            mask=batch.known,
            need_state=need_state,
        )
