"""Whether a model is being traced into a graph that runs without Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

__all__ = ["is_exporting", "must_not_look", "recording"]

_recording: ContextVar[bool] = ContextVar("recording", default=False)

_asked = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing; no branch may then depend on the numbers of a tensor.

    Where a shortcut or a hand-made pass stands beside a plain form, the graph takes the plain one.
    """
    return _asked is not None and bool(_asked())


@contextmanager
def recording() -> Iterator[None]:
    """While inside, what is computed is to be done again with other numbers, in the same way."""
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


def must_not_look(x: Tensor) -> bool:
    """Whether no branch may depend on the numbers of ``x`` now.

    So it is while ``torch.export`` traces, and while a CUDA graph is recorded.
    """
    if is_exporting() or _recording.get():
        return True
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
