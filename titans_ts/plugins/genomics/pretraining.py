"""Words of DNA in batches, to learn what follows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from titans_ts.errors import DataError
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.plugins.genomics.coding import COMPLEMENT, CodedSequences, group_copies, kmer_ids
from titans_ts.plugins.genomics.words import Words, to_words
from titans_ts.training import LoopModule

__all__ = ["WordBatches", "WordModule", "cut_pieces"]


def cut_pieces(
    sequences: CodedSequences,
    length: int,
    fraction: float,
    seed: int,
    *,
    k: int = 1,
    either_strand: bool = False,
) -> tuple[CodedSequences, CodedSequences]:
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
    training, validation : CodedSequences
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
    pieces = CodedSequences(sequences.codes, offsets)
    holds = np.array([_holds_a_word(pieces[i], k) for i in range(len(pieces))])
    if not holds.any():
        raise DataError(
            f"No sequence holds {k} letters of A, C, G and T, or U, from the first on, in a word: "
            "there is nothing to learn. Give other sequences, or a smaller k."
        )
    if not holds.all():
        pieces = pieces.take(np.flatnonzero(holds))
    groups = group_copies(pieces, either_strand=either_strand)
    order = np.random.default_rng(seed).permutation(len(groups))
    n_held = min(round(fraction * len(groups)), len(groups) - 1)
    held = np.zeros(len(pieces), dtype=bool)
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
    pieces : CodedSequences
    k : int
        Bases in a word.
    batch_size : int
    seed : int or None
        For the order and for strands; None keeps the order of the pieces.
    turned : bool, default False
        Whether every other piece, by chance, is read on its other strand.
    """

    def __init__(
        self,
        pieces: CodedSequences,
        k: int,
        batch_size: int,
        seed: int | None,
        *,
        turned: bool = False,
    ) -> None:
        self.pieces, self.k, self.batch_size, self.turned = pieces, k, batch_size, turned
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.pieces) // self.batch_size)

    def __iter__(self) -> Iterator[Words]:
        n, rng = len(self.pieces), self._rng
        order = np.arange(n) if rng is None else rng.permutation(n)
        for rows in np.array_split(order, len(self)):
            codes, lengths = self.pieces.padded(rows), self.pieces.lengths[rows]
            if rng is not None and self.turned:
                for i in np.flatnonzero(rng.random(len(rows)) < 0.5):
                    codes[i, : lengths[i]] = COMPLEMENT[codes[i, : lengths[i]][::-1]]
            yield to_words(codes, lengths, self.k)


class WordModule(LoopModule):
    """Cross-entropy of the next word, over words of A, C, G and T alone."""

    remedy = "Look at the sequences"
    weighs_targets = True  # losses are in nats per word
    model: TokenModel

    def training_loss(self, batch: Words) -> Tensor:
        loss, _ = self.model.loss(
            batch.tokens, batch.targets, None, batch.inside, mask=batch.known, need_state=False
        )
        return loss

    def n_targets(self, batch: Words) -> Tensor:
        return batch.known.sum()
