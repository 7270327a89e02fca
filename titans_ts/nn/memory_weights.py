"""The weights of a NeuralMemory side by side, as a step of one token multiplies by them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["StepWeights", "StepWeightsCache"]


class StepWeights(NamedTuple):
    """Matrices of a module's projections in one, and of what comes after the read in another."""

    project: Tensor  # (dim, 4 * dim + number of gates): queries, keys, values, output gate, gates
    bias: Tensor  # (4 * dim + number of gates,)
    answer: Tensor  # (dim, dim): the norm's gain, then the output projection
    eps: Tensor  # (1,): what the norm adds to a read's sum of squares


class StepWeightsCache:
    """Puts weights side by side once, and again when one of them was changed or replaced.

    A copy of it is empty: a module that is copied or sent elsewhere takes no second set along.
    """

    def __init__(self) -> None:
        self._made: StepWeights | None = None
        self._marks: list[tuple[int, int, int]] = []
        self._sources: tuple[Tensor, ...] = ()  # kept, so that no other tensor gets their ids

    def get(
        self,
        qkv: Tensor,
        out_gate: Tensor,
        gates: Tensor,
        gates_bias: Tensor,
        norm: Tensor,
        out: Tensor,
        eps: float,
    ) -> StepWeights:
        """The weights of today, without derivatives.

        Parameters
        ----------
        qkv : Tensor of shape (3 * dim, dim)
        out_gate : Tensor of shape (dim, dim)
        gates : Tensor of shape (n_gates, dim)
        gates_bias : Tensor of shape (n_gates,)
        norm : Tensor of shape (width of a head,)
        out : Tensor of shape (dim, dim)
        eps : float
            The norm's.
        """
        sources = (qkv, out_gate, gates, gates_bias, norm, out)
        try:
            # The pointer changes where ``.data`` is set, as a move to another device does.
            marks = [(id(x), x._version, x.data_ptr()) for x in sources]
        except RuntimeError:
            # Tensors made in inference mode do not tell whether they were changed.
            return _side_by_side(*sources, eps)
        if self._made is None or marks != self._marks:
            with torch.inference_mode(False), torch.no_grad():
                self._made = _side_by_side(*sources, eps)
            self._marks, self._sources = marks, sources
        return self._made

    def __reduce__(self) -> tuple[type[StepWeightsCache], tuple[Any, ...]]:
        return StepWeightsCache, ()


def _side_by_side(
    qkv: Tensor,
    out_gate: Tensor,
    gates: Tensor,
    gates_bias: Tensor,
    norm: Tensor,
    out: Tensor,
    eps: float,
) -> StepWeights:
    (dim,), width = out.shape[1:], len(norm)
    bias = gates_bias.new_zeros(4 * dim + len(gates))
    bias[4 * dim :] = gates_bias
    # x / sqrt(mean of squares + eps) is sqrt(width) x / sqrt(sum of squares + width eps).
    gain = (norm * width**0.5).repeat(dim // width)
    return StepWeights(
        torch.cat((qkv, out_gate, gates)).t().contiguous(),
        bias,
        (out * gain).t().contiguous(),
        norm.new_full((1,), width * eps),
    )
