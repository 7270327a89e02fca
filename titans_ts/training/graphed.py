"""GraphedLoss: a loss and its gradients as one CUDA graph.

A model of a million weights is thousands of small kernels a step, and a GPU waits for the processor
to launch each of them. Recorded once, they are launched together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from titans_ts.nn.restart import map_tensors, tensors_of

__all__ = ["GraphedLoss", "Recorded", "record"]

Batch = TypeVar("Batch")

# Batches of one shape that are computed as they come, before the next one is recorded: a short fit
# is over by then, and what libraries set up at their first calls cannot be recorded.
UNRECORDED = 2
# Shapes of batches that are recorded; each keeps memory for itself.
MOST_RECORDED = 2


class Recorded(NamedTuple):
    """Work that can be done again, from and to the same places."""

    again: Callable[[], None]
    loss: Tensor  # shape ()
    gradients: list[Tensor | None]
    rest: Any  # nested tuples with tensors


Work = Callable[[], tuple[Tensor, list[Tensor | None], Any]]


class GraphedLoss:
    """The loss of a batch, recorded where the same shape of batch comes again and again.

    Draws from torch's generator are those of the same batches unrecorded. Where recording fails,
    the loss is computed as it would have been without. ``backward`` has to follow before the next
    batch.

    Parameters
    ----------
    loss_of : callable
        Takes a batch, nested tuples with tensors, and returns its mean loss, shape (), and what
        else is to be known of it: nested tuples with tensors that have no gradient, or None. Of
        the batch, of ``model``'s weights and of nothing else that has a gradient or changes.
    model : torch.nn.Module
    record : callable, optional
        Does work once, and keeps how to do it again.
    """

    def __init__(
        self,
        loss_of: Callable[[Any], tuple[Tensor, Any]],
        model: nn.Module,
        record: Callable[[Work, torch.device], Recorded] | None = None,
    ) -> None:
        self._loss_of, self._model = loss_of, model
        self._record = record
        self._seen: Counter[Any] = Counter()
        self._recorded: dict[Any, tuple[Any, Recorded]] = {}  # batches to write into, and the work
        #: Kinds of batches that could not be recorded, and why.
        self.failed: dict[Any, RuntimeError] = {}

    def __call__(self, batch: Any) -> tuple[Tensor, Any]:
        """What ``loss_of`` says of a batch, in tensors of the caller's own."""
        weights = [p for p in self._model.parameters() if p.requires_grad]
        if not self._is_fit(weights):
            return self._loss_of(batch)
        kind = self._kind(batch, weights)
        if kind not in self._recorded:
            self._seen[kind] += 1
            full = len(self._recorded) == MOST_RECORDED
            if full or kind in self.failed or self._seen[kind] <= UNRECORDED:
                return self._loss_of(batch)
            try:
                self._recorded[kind] = self._make(batch, weights)
            except RuntimeError as error:
                self.failed[kind] = error
                return self._loss_of(batch)
        places, recorded = self._recorded[kind]
        for place, tensor in zip(tensors_of(places), tensors_of(batch), strict=True):
            place.copy_(tensor, non_blocking=True)
        loss: Tensor = _Again.apply(recorded, *weights)
        return loss, map_tensors(torch.clone, recorded.rest)

    def forget(self) -> None:
        """Let go of the memory that records keep."""
        self._recorded.clear()
        self._seen.clear()

    @property
    def n_recorded(self) -> int:
        """Shapes of batches that are recorded."""
        return len(self._recorded)

    def _is_fit(self, weights: Sequence[Tensor]) -> bool:
        """Whether nothing has to be seen while it is computed."""
        return (
            bool(weights)
            and (self._record is not None or weights[0].is_cuda)
            and torch.is_grad_enabled()
            and not torch.is_anomaly_enabled()
            and getattr(self._model, "_compiled_call_impl", None) is None
            and not any(
                module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                for module in self._model.modules()
            )
        )

    def _kind(self, batch: Any, weights: Sequence[Tensor]) -> Any:
        """All that a record depends on beside numbers."""
        shapes = map_tensors(lambda x: (x.shape, x.dtype), batch)
        # Weights that were moved, or frozen, are not those of the record.
        places = tuple(weight.data_ptr() for weight in weights)
        precision = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        return shapes, places, precision, self._model.training

    def _make(self, batch: Any, weights: Sequence[Tensor]) -> tuple[Any, Recorded]:
        places = map_tensors(lambda x: x.detach().clone().contiguous(), batch)

        def work() -> tuple[Tensor, list[Tensor | None], Any]:
            with _uncached_autocast():
                loss, rest = self._loss_of(places)
            # As Lightning has it: backward passes are outside of autocast.
            with torch.autocast("cuda", enabled=False):
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            return loss.detach(), list(gradients), rest

        return places, (self._record or record)(work, weights[0].device)


def record(work: Work, device: torch.device) -> Recorded:
    """Do work once, and keep it as a CUDA graph; torch's generator is left as it was."""
    drawn = torch.cuda.get_rng_state(device)
    stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    try:
        with torch.cuda.stream(stream):
            work()
        torch.cuda.synchronize(device)
        # Other threads may forecast meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            loss, gradients, rest = work()
        torch.cuda.synchronize(device)
    finally:
        torch.cuda.set_rng_state(drawn, device)
    return Recorded(graph.replay, loss, gradients, rest)


def _uncached_autocast() -> AbstractContextManager[Any]:
    """Autocast as it is, but for the copies of weights that it keeps: not those of a record."""
    if not torch.is_autocast_enabled("cuda"):
        return nullcontext()
    return torch.autocast("cuda", torch.get_autocast_dtype("cuda"), cache_enabled=False)


class _Again(torch.autograd.Function):
    """Loss and gradients of a record; what is handed out is the caller's own."""

    @staticmethod
    def forward(ctx: Any, recorded: Recorded, *weights: Tensor) -> Tensor:
        recorded.again()
        ctx.gradients = recorded.gradients
        return recorded.loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        found = [gradient for gradient in ctx.gradients if gradient is not None]
        scaled = iter(torch._foreach_mul(found, outer[0].to(found[0].dtype)))
        return None, *(None if x is None else next(scaled) for x in ctx.gradients)
