"""Coded sequences as tensors, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.plugins.genomics.coding import CodedSequences

__all__ = ["SequenceBatch", "even_batches", "ordered_batches", "to_batch"]


class SequenceBatch(NamedTuple):
    """A batch of sequences as tensors."""

    codes: Tensor  # (batch, time), int64: sets of bases, filled up with 0
    lengths: Tensor  # (batch,), int64
    labels: Tensor | None = None  # (batch,), int64


def to_batch(
    sequences: CodedSequences, rows: np.ndarray, labels: np.ndarray | None = None
) -> SequenceBatch:
    """Some of the sequences as tensors."""
    return SequenceBatch(
        torch.from_numpy(sequences.padded(rows)).long(),
        torch.from_numpy(sequences.lengths[rows]),
        None if labels is None else torch.from_numpy(labels[rows]),
    )


def ordered_batches(
    sequences: CodedSequences, batch_size: int, *, most_bases: int = 1 << 17
) -> Iterator[np.ndarray]:
    """Rows of batches that together are all rows, sequences of like length together.

    A batch has fewer rows where its sequences are long: ``most_bases`` with their filling.
    """
    order = np.argsort(sequences.lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = min(start + batch_size, len(order))
        while stop > start + 1 and (stop - start) * sequences.lengths[order[stop - 1]] > most_bases:
            stop = start + max((stop - start) // 2, 1)
        yield order[start:stop]
        start = stop


def even_batches(
    sequences: CodedSequences, batch_size: int, *, most_filling: int = 1 << 16
) -> Iterator[np.ndarray]:
    """Rows of batches that together are all rows, of so like length that little of it is filling.

    Of a batch at most half is filling, or ``most_filling`` bases where that is more.
    """
    order = np.argsort(sequences.lengths, kind="stable")
    lengths = sequences.lengths[order]
    start = 0
    while start < len(order):
        some = lengths[start : start + batch_size]
        bases = some.cumsum()
        filling = some * np.arange(1, len(some) + 1) - bases
        fits = filling <= np.maximum(bases, most_filling)
        stop = start + (len(some) if fits.all() else int(fits.argmin()))
        yield order[start:stop]
        start = stop
