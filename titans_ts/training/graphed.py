"""GraphedLoss: a loss and its gradients as one CUDA graph.

A model of a million weights is thousands of small kernels a step, and a GPU waits for the processor
to launch each of them. Recorded once, they are launched together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.utils._python_dispatch import TorchDispatchMode

from titans_ts.nn.restart import map_tensors, tensors_of
from titans_ts.ops.exporting import recording
from titans_ts.ops.once import first_derivatives_only

__all__ = ["CudaGraphs", "EagerSteps", "GraphedLoss", "Recorded", "Work"]

# Batches of one kind that are computed as they come, before the next one is recorded: a short fit
# is over by then, and what libraries set up at their first calls cannot be recorded.
UNRECORDED = 2
# Kinds of batches that are recorded; those that come first stay.
MOST_RECORDED = 2

# Operations that wait for numbers, or for as many of them as there are.
LOOKS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}


class Recorded(NamedTuple):
    """Work that can be done again, from and to the same places."""

    again: Callable[[], None]
    loss: Tensor  # shape ()
    gradients: list[Tensor | None]
    rest: Any  # nested tuples with tensors


#: Returns a loss, its gradients, and what else is to be known, as in :class:`Recorded`.
Work = Callable[[], tuple[Tensor, list[Tensor | None], Any]]


class GraphedLoss:
    """The loss of a batch, recorded where the same kind of batch comes again and again.

    Draws from torch's generator are those of the same batches unrecorded. Where recording fails,
    the loss is computed as it would have been without. ``backward`` has to follow before the next
    batch, and knows first derivatives only.

    Parameters
    ----------
    loss_of : callable
        Takes a batch, nested tuples with tensors, and returns its mean loss, shape (), and what
        else is to be known of it: nested tuples with tensors that have no gradient, or None. Of
        the batch, of ``model``'s weights and buffers, of torch's generator, and of nothing else
        that has a gradient or changes: a count in Python, or a number drawn elsewhere, would be
        recorded once and for all.
    model : torch.nn.Module
    record : callable, optional
        Does work once, and keeps how to do it again. Default: a CUDA graph, and nothing elsewhere.
    """

    def __init__(
        self,
        loss_of: Callable[[Any], tuple[Tensor, Any]],
        model: nn.Module,
        record: Callable[[Work, torch.device], Recorded] | None = None,
    ) -> None:
        self._loss_of, self._model = loss_of, model
        self._record: Callable[[Work, torch.device], Recorded] = record or CudaGraphs()
        self._anywhere = record is not None
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[Any, Recorded]] = {}  # batches to write into, and work
        self.enabled = True
        #: Why a kind of batch could not be recorded; from then on none is.
        self.failed = ""

    def __call__(self, batch: Any) -> tuple[Tensor, Any]:
        """What ``loss_of`` says of a batch, in tensors of the caller's own."""
        weights = [p for p in self._model.parameters() if p.requires_grad]
        kind = self._kind(batch, weights) if self._is_fit(weights) else None
        if kind is None or not self._has_record(kind, batch, weights):
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
        """Kinds of batches that are recorded."""
        return len(self._recorded)

    def _is_fit(self, weights: Sequence[Tensor]) -> bool:
        """Whether nothing has to be seen while it is computed."""
        return (
            self.enabled
            and bool(weights)
            and (self._anywhere or weights[0].is_cuda)
            and torch.is_grad_enabled()
            and not torch.is_anomaly_enabled()
            # Gradients in float16 want the loss scaled before they are taken, by a factor that
            # changes.
            and _autocast_dtype() != torch.float16
            and not nn_module._has_any_global_hook()
            and not any(map(_is_watched, self._model.modules()))
        )

    def _kind(self, batch: Any, weights: Sequence[Tensor]) -> Hashable:
        """All that a record depends on beside numbers; None where that cannot be told."""
        shapes = map_tensors(lambda x: (x.shape, x.dtype), batch)
        # Weights that were moved, or frozen, are not those of the record.
        places = tuple(x.data_ptr() for x in (*weights, *self._model.buffers()))
        modes = tuple(module.training for module in self._model.modules())
        kind = shapes, places, modes, _autocast_dtype()
        try:
            hash(kind)
        except TypeError:
            return None
        return kind

    def _has_record(self, kind: Hashable, batch: Any, weights: Sequence[Tensor]) -> bool:
        """Whether a kind of batch is recorded, if need be from now on."""
        if kind in self._recorded:
            return True
        self._seen[kind] += 1
        full = len(self._recorded) == MOST_RECORDED
        if full or self.failed or self._seen[kind] <= UNRECORDED:
            return False
        try:
            made = self._make(batch, weights)
        # Whatever it is: what is not of recording, the plain step raises again. And in words, since
        # the error itself would keep all that was computed until then.
        except Exception as error:
            self.failed = repr(error)
        else:
            self._recorded[kind] = made
            return True
        # What an interrupted record leaves behind is nothing to build on.
        self.forget()
        if weights[0].is_cuda:
            torch.cuda.empty_cache()
        return False

    def _make(self, batch: Any, weights: Sequence[Tensor]) -> tuple[Any, Recorded]:
        places = map_tensors(lambda x: x.detach().clone().contiguous(), batch)

        def work() -> tuple[Tensor, list[Tensor | None], Any]:
            with _uncached_autocast(), recording():
                loss, rest = self._loss_of(places)
            # As Lightning has it: backward passes are outside of autocast.
            with torch.autocast("cuda", enabled=False):
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            return loss.detach(), list(gradients), rest

        return places, self._record(work, weights[0].device)


class EagerSteps(Callback):
    """Train without recording steps, kernel by kernel; for a look at what happens in one.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.training import EagerSteps
    >>> forecaster = TitansForecaster(trainer_kwargs={"callbacks": EagerSteps()})
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        graphed = getattr(pl_module, "graphed", None)
        if graphed is not None:
            graphed.enabled = False


class CudaGraphs:
    """Records work as CUDA graphs that share their memory, since one is done again at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, work: Work, device: torch.device) -> Recorded:
        """Do work once, and keep it; torch's generator is left as it was.

        Raises
        ------
        RuntimeError
            The work looks at numbers, or cannot be recorded for another reason.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        drawn, before = torch.cuda.get_rng_state(device), torch.cuda.current_stream(device)
        stream, graph = _stream(device), torch.cuda.CUDAGraph()
        torch.cuda.synchronize(device)
        try:
            # A look is noticed here: inside of a record it would be too late.
            with torch.cuda.stream(stream), _NoLooks():
                work()
            torch.cuda.synchronize(device)
            # Other threads may forecast meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
            ):
                loss, gradients, rest = work()
            torch.cuda.synchronize(device)
        finally:
            # torch leaves the stream that it records on only where that went well.
            torch.cuda.set_stream(before)
            torch.cuda.set_rng_state(drawn, device)
        return Recorded(graph.replay, loss, gradients, rest)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Where all records of a device are made: libraries keep memory for every stream they meet."""
    return torch.cuda.Stream(device)


class _NoLooks(TorchDispatchMode):
    """Refuses operations whose numbers, or whose place, the processor has to wait for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func in LOOKS or by_mask:
            raise RuntimeError(f"{func} looks at numbers, which a CUDA graph cannot record.")
        return func(*args, **(kwargs or {}))


def _is_watched(module: nn.Module) -> bool:
    """Whether others want to see what goes through a module, or compute it in their own way."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None


def _uncached_autocast() -> AbstractContextManager[Any]:
    """Autocast as it is, but for the copies of weights that it keeps: not those of a record."""
    dtype = _autocast_dtype()
    return nullcontext() if dtype is None else torch.autocast("cuda", dtype, cache_enabled=False)


class _Again(torch.autograd.Function):
    """Loss and gradients of a record; what is handed out is the caller's own."""

    @staticmethod
    def forward(ctx: Any, recorded: Recorded, *weights: Tensor) -> Tensor:
        recorded.again()
        ctx.gradients = recorded.gradients
        return recorded.loss.clone()

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, *outer: Tensor) -> Any:
        found = [gradient for gradient in ctx.gradients if gradient is not None]
        scaled = iter(torch._foreach_mul(found, outer[0].to(found[0].dtype)))
        return None, *(None if x is None else next(scaled) for x in ctx.gradients)
