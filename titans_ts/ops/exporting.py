"""Whether a model is being traced into a graph that runs without Python."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_exporting", "must_not_look"]

_asked = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing; no branch may then depend on the numbers of a tensor.

    Where a shortcut or a hand-made pass stands beside a plain form, the graph takes the plain one.
    """
    return _asked is not None and bool(_asked())


def must_not_look(x: Tensor) -> bool:
    """Whether no branch may depend on the numbers of ``x`` now.

    So it is while ``torch.export`` traces, and while a CUDA graph records.
    """
    return is_exporting() or (x.is_cuda and torch.cuda.is_current_stream_capturing())
