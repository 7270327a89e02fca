"""What the training loop asks of a language model: a loss, and memory that is carried along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from titans_ts.errors import ParameterError
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.restart import detach, map_tensors, tensors_of
from titans_ts.plugins.language.reading import carried_state
from titans_ts.plugins.language.streams import SegmentBatch
from titans_ts.training.graphed import GraphedLoss
from titans_ts.training.loop_module import LoopModule
from titans_ts.training.settings import TrainingSettings

__all__ = ["StreamModule"]


#: What a row reads next, and the state that it has come to.
Segment = tuple[SegmentBatch, BackboneState | None]

# Segments in a row in which a memory diverges, before training is given up.
MOST_DIVERGED = 8


class StreamModule(LoopModule):
    """Truncated backpropagation: the state of a segment starts the next, its gradients do not.

    Parameters
    ----------
    model : TokenModel
    settings : TrainingSettings
    """

    remedy = "Make the memory calmer by backbone_options={'max_step_size': 0.05}"

    def __init__(self, model: TokenModel, settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        self.trained: BackboneState | None = None
        self.judged: BackboneState | None = None
        self.n_diverged = 0  # segments in a row
        self.graphed: GraphedLoss = GraphedLoss(self._loss_and_state, model)

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            raise ParameterError(
                f"A language model is trained on one device, and training is on "
                f"{self.trainer.world_size}. Set trainer_kwargs={{'devices': 1}}."
            )

    def training_loss(self, batch: SegmentBatch) -> Tensor | None:
        loss_of = self.graphed if self.alone else self._loss_and_state
        loss, self.trained = self._read(batch, self.trained, loss_of)
        if bool(loss.isfinite()):
            self.n_diverged = 0
            return loss
        # What one odd segment did to a memory must not end a run of days. Rows start anew.
        self.trained, self.n_diverged = None, self.n_diverged + 1
        return None if self.n_diverged < MOST_DIVERGED else loss

    def validation_loss(self, batch: SegmentBatch) -> Tensor:
        # Validation starts with a batch of fresh rows; what the last one left behind is not read.
        loss, self.judged = self._read(batch, self.judged, self._loss_and_state)
        return loss

    def n_examples(self, batch: SegmentBatch) -> int:
        return batch.n_targets

    def carried(self) -> list[Tensor]:
        # Within a chunk or segment, all rows have come to an end: the next batch starts anew.
        if self.trained is None or self.trained.position % self._unit_length():
            return []
        return tensors_of(self.trained)

    def restore_carried(self, tensors: list[Tensor]) -> None:
        # A state's form, from reading a few tokens, and in their places what was kept.
        assert isinstance(self.model, TokenModel)
        tokens = torch.zeros(1, self._unit_length(), dtype=torch.int64, device=self.device)
        with torch.no_grad():
            _, form = self.model.vectors(tokens)
        if len(tensors_of(form)) != len(tensors):
            # An earlier version kept states within a segment, from which nothing goes on.
            self.trained = None
            return
        kept = iter(tensors)
        self.trained = map_tensors(lambda _: next(kept), form)

    def _unit_length(self) -> int:
        assert isinstance(self.model, TokenModel)
        return self.model.unit_length

    def _read(
        self,
        batch: SegmentBatch,
        state: BackboneState | None,
        loss_of: Callable[[Segment], tuple[Tensor, Any]],
    ) -> tuple[Tensor, BackboneState]:
        if batch.all_start:
            state = None
        n_read = 0 if state is None else state.position
        # Which documents these are, and how much was read, changes no number; without it segments
        # are alike.
        alike = None if state is None else state._replace(position=0)
        loss, after = loss_of((batch._replace(n_targets=0, stretches=()), alike))
        return loss, after._replace(position=after.position + n_read)

    def _loss_and_state(self, segment: Segment) -> tuple[Tensor, BackboneState]:
        assert isinstance(self.model, TokenModel)
        batch, state = segment
        before = carried_state(self.model, state, batch)
        loss, after = self.model.loss(batch.tokens, batch.targets, before, batch.observed)
        return loss, detach(after)
