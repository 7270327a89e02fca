"""Batches of sequences, and what the training loop is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.plugins.genomics.coding import CodedSequences
from titans_ts.plugins.genomics.network import SequenceNetwork
from titans_ts.training import LoopModule, TrainingSettings

__all__ = ["ClassifierModule", "LabelledBatches", "SequenceBatch", "ordered_batches", "to_batch"]

ANY_BASE = 15


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


class LabelledBatches:
    """The batches of an epoch, in an order of its own each time.

    Parameters
    ----------
    sequences : CodedSequences
    labels : ndarray of shape (n,), int64
    batch_size : int
    seed : int or None
        For the order; None keeps the order of the rows.
    """

    def __init__(
        self, sequences: CodedSequences, labels: np.ndarray, batch_size: int, seed: int | None
    ) -> None:
        self.sequences, self.labels, self.batch_size = sequences, labels, batch_size
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def __iter__(self) -> Iterator[SequenceBatch]:
        n = len(self.sequences)
        order = np.arange(n) if self._rng is None else self._rng.permutation(n)
        # Of equal size up to one: a last batch of two rows would steer as much as a full one.
        for rows in np.array_split(order, len(self)):
            yield to_batch(self.sequences, rows, self.labels)


class ClassifierModule(LoopModule):
    """Cross-entropy of the readings that are asked for.

    Parameters
    ----------
    model : SequenceNetwork
    settings : TrainingSettings
    readings : tuple of str
        Fields of :class:`titans_ts.plugins.genomics.network.Readings`.
    class_weights : Tensor of shape (n_classes,)
    mask_fraction : float
        Bases that are made unknown while training.
    label_smoothing : float
    """

    remedy = "Look at the class weights"
    model: SequenceNetwork

    def __init__(
        self,
        model: SequenceNetwork,
        settings: TrainingSettings,
        *,
        readings: tuple[str, ...],
        class_weights: Tensor,
        mask_fraction: float,
        label_smoothing: float,
    ) -> None:
        super().__init__(model, settings)
        self.readings, self.class_weights = readings, class_weights
        self.mask_fraction, self.label_smoothing = mask_fraction, label_smoothing

    def training_loss(self, batch: SequenceBatch) -> Tensor:
        codes = batch.codes
        if self.mask_fraction:
            hidden = torch.rand(codes.shape, device=codes.device) < self.mask_fraction
            codes = torch.where(hidden & (codes > 0), ANY_BASE, codes)
        return self._loss(batch._replace(codes=codes), self.label_smoothing)

    def validation_loss(self, batch: SequenceBatch) -> Tensor:
        return self._loss(batch, 0.0)

    def _loss(self, batch: SequenceBatch, smoothing: float) -> Tensor:
        readings = self.model(batch.codes, batch.lengths)
        assert batch.labels is not None
        weights = self.class_weights.to(batch.labels.device)
        losses = [
            F.cross_entropy(
                getattr(readings, name).float(), batch.labels, weights, label_smoothing=smoothing
            )
            for name in self.readings
        ]
        return torch.stack(losses).mean()
