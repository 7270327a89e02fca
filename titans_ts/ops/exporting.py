"""Whether a model is being traced into a graph that runs without Python."""

from __future__ import annotations

import torch

__all__ = ["is_exporting"]

_asked = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing; no branch may then depend on the numbers of a tensor.

    Where a shortcut or a hand-made pass stands beside a plain form, the graph takes the plain one.
    """
    return _asked is not None and bool(_asked())
