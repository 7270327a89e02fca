"""Coded sequences as tensors, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.plugins.genomics.coding import CodedSequences

__all__ = ["SequenceBatch", "ordered_batches", "to_batch"]


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
