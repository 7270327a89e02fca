"""Labelled sequences in batches, to learn classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from titans_ts.plugins.genomics.batches import SequenceBatch, to_batch
from titans_ts.plugins.genomics.coding import CodedSequences
from titans_ts.plugins.genomics.network import SequenceNetwork
from titans_ts.training import LoopModule, TrainingSettings

__all__ = ["ClassifierModule", "JudgedBatches", "LabelledBatches"]

ANY_BASE = 15
# Of the weights of words, at a learning rate of 3e-3: what a row has taught is forgotten after some
# hundred steps. Few rows come again before; of many, words would learn single ones by heart while
# the network has far to go.
WORD_DECAY = 1.0


class LabelledBatches:
    """The batches of an epoch, in an order of its own each time.

    Parameters
    ----------
    sequences : CodedSequences
    labels : ndarray of shape (n,), int64
    batch_size : int
    seed : int
        For the order.
    """

    def __init__(
        self, sequences: CodedSequences, labels: np.ndarray, batch_size: int, seed: int
    ) -> None:
        self.sequences, self.labels, self.batch_size = sequences, labels, batch_size
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def __iter__(self) -> Iterator[SequenceBatch]:
        order = self._rng.permutation(len(self.sequences))
        # Of equal size up to one: a last batch of two rows would steer as much as a full one.
        for rows in np.array_split(order, len(self)):
            yield to_batch(self.sequences, rows, self.labels)


class JudgedBatches:
    """Batches to judge by, the same each time.

    Parameters
    ----------
    sequences : CodedSequences
    labels : ndarray of shape (n,), int64
    batches : iterable of ndarray of int
        Rows of each.
    """

    def __init__(
        self, sequences: CodedSequences, labels: np.ndarray, batches: Iterable[np.ndarray]
    ) -> None:
        self.sequences, self.labels, self._rows = sequences, labels, list(batches)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[SequenceBatch]:
        for rows in self._rows:
            yield to_batch(self.sequences, rows, self.labels)


class ClassifierModule(LoopModule):
    """Cross-entropy of the readings that are asked for.

    Parameters
    ----------
    model : SequenceNetwork
    settings : TrainingSettings
    readings : mapping of str to bool
        Fields of :class:`titans_ts.plugins.genomics.network.Readings`, and whether words say
        anything in them; the network alone is taught and judged where they do not.
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
        readings: Mapping[str, bool],
        class_weights: Tensor,
        mask_fraction: float,
        label_smoothing: float,
    ) -> None:
        super().__init__(model, settings)
        self.readings, self.class_weights = readings, class_weights
        self.mask_fraction, self.label_smoothing = mask_fraction, label_smoothing
        self._some_weigh_nothing = bool((class_weights == 0).any())
        # Else the mean of an epoch would depend on how the classes lie in its batches. Where all
        # weigh the same, rows are counted: nobody has to wait for a sum on the device.
        self.weighs_targets = bool((class_weights != class_weights[0]).any())

    def other_decays(self) -> dict[Parameter, float]:
        words = (*self.model.words.parameters(), *self.model.placed_words.parameters())
        return dict.fromkeys(words, WORD_DECAY)

    def n_targets(self, batch: SequenceBatch) -> Tensor:
        assert batch.labels is not None
        return self.class_weights.to(batch.labels.device)[batch.labels].sum()

    def training_loss(self, batch: SequenceBatch) -> Tensor:
        codes = batch.codes
        if self.mask_fraction:
            hidden = torch.rand(codes.shape, device=codes.device) < self.mask_fraction
            codes = torch.where(hidden & (codes > 0), ANY_BASE, codes)
        logits = [part for parts in self._logits(codes, batch.lengths) for part in parts]
        return self._loss(logits, batch, self.label_smoothing)

    def validation_loss(self, batch: SequenceBatch) -> Tensor:
        # As they are mixed where nothing else is found to be better.
        logits = [parts.mean(0) for parts in self._logits(batch.codes, batch.lengths)]
        return self._loss(logits, batch, 0.0)

    def _logits(self, codes: Tensor, lengths: Tensor) -> list[Tensor]:
        """Of each reading, by the network and, where they say anything, by words."""
        readings = self.model(codes, lengths)
        return [
            getattr(readings, name)[: 2 if with_words else 1]
            for name, with_words in self.readings.items()
        ]

    def _loss(self, logits: list[Tensor], batch: SequenceBatch, smoothing: float) -> Tensor:
        assert batch.labels is not None
        weights = self.class_weights.to(batch.labels.device)
        if self._some_weigh_nothing and not weights[batch.labels].any():
            # The mean over no weight at all is 0 / 0; such a batch has nothing to teach.
            return torch.stack([some.float().sum() for some in logits]).sum() * 0.0
        losses = [
            F.cross_entropy(some.float(), batch.labels, weights, label_smoothing=smoothing)
            for some in logits
        ]
        return torch.stack(losses).mean()
