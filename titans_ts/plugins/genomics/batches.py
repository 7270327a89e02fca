"""Coded sequences as tensors, some at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.plugins.genomics.coding import CodedSequences

__all__ = ["SequenceBatch", "even_batches", "to_batch"]


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


def even_batches(
    sequences: CodedSequences,
    batch_size: int,
    *,
    most_bases: float = math.inf,
    most_filling: int = 1 << 16,
) -> Iterator[np.ndarray]:
    """Rows of batches that together are all rows, of so like length that little of it is filling.

    Of a batch at most half is filling, or ``most_filling`` bases where that is more; and it has
    fewer rows where its sequences are long: ``most_bases`` with their filling, or a single row.
    """
    order = np.argsort(sequences.lengths, kind="stable")
    lengths = sequences.lengths[order]
    start = 0
    while start < len(order):
        some = lengths[start : start + batch_size]
        bases, filled = some.cumsum(), some * np.arange(1, len(some) + 1)
        fits = (filled - bases <= np.maximum(bases, most_filling)) & (filled <= most_bases)
        fits[0] = True
        stop = start + (len(some) if fits.all() else int(fits.argmin()))
        yield order[start:stop]
        start = stop
