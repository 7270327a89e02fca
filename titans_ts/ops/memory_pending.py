"""Writes that wait to be added up: what a stream leaves inside a chunk."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PendingWrites", "StepRates", "WriteLog", "split_factors"]


class StepRates(NamedTuple):
    """The gates of one token as they are, not as logarithms; a row is a head of a sequence."""

    step_size: Tensor  # (rows, layers, 1)
    momentum: Tensor | None  # same shape; None: no momentum
    keep: Tensor | None  # same shape; None: nothing is forgotten
    observed: Tensor | None  # (rows, 1, 1), bool; None: observed


class WriteLog:
    """Says how far the buffers of pending writes are filled.

    States of one stream share these buffers: each looks at its own writes only, and the newest one
    may append. Whoever goes on from an older state must copy them first.
    """

    def __init__(self, filled: int = 0) -> None:
        self.filled = filled
        self._lock = Lock()

    def extend(self, count: int) -> bool:
        """Claim the place after ``count`` writes; False if it is taken."""
        with self._lock:
            if self.filled != count:
                return False
            self.filled += 1
            return True


class PendingWrites(NamedTuple):
    """Writes that were not added up yet, as a stream leaves them inside a chunk.

    A row is one head of one sequence. There is room for more writes than there are.
    """

    # (rows, room, sum of all widths): of each write, what it fed into every layer, then its error
    # there; zeros where there is none yet.
    factors: Tensor
    inputs: tuple[Tensor, ...]  # views of them: per layer (rows, room, width_in)
    errors: tuple[Tensor, ...]  # per layer (rows, room, width_out)
    # (rows, layers, room + 2): what each write weighs in the weights now, then what the momentum
    # buffer and the weights of before do.
    shares: Tensor
    pushes: Tensor  # same shape: the same for the momentum buffer
    weights: tuple[Tensor, ...]  # views of the state's, (rows, width_in, width_out)
    momentum: tuple[Tensor, ...]
    anchor: tuple[Tensor, ...]
    filled: int  # number of writes
    log: WriteLog

    @property
    def room(self) -> int:
        return self.factors.shape[1]

    def appended(self, factors: Tensor, rates: StepRates, *, moves: bool) -> PendingWrites:
        """One write more: ``factors`` of shape (rows, 1, sum of all widths).

        ``moves=False``: only the gradient is added, as a coarse memory does inside a chunk.
        """
        n, rows, log = self.filled, self.factors, self.log
        inputs, errors = self.inputs, self.errors
        if not log.extend(n):
            # Another stream went on from this state already: what it appended is its own.
            rows, log = rows.clone(), WriteLog(n + 1)
            rows[:, n + 1 :] = 0
            inputs, errors = split_factors(rows, [x.shape[-1] for x in (*inputs, *errors)])
        rows[:, n : n + 1] = factors
        step, momentum, keep, observed = rates
        if not moves:
            shares, pushes = self.shares.clone(), self.pushes.clone()
            shares[..., n : n + 1], pushes[..., n : n + 1] = step, step
            return self._moved(rows, inputs, errors, shares, pushes, log)
        pushes = torch.zeros_like(self.pushes) if momentum is None else self.pushes * momentum
        pushes[..., n : n + 1] = step
        seen = pushes if observed is None else pushes * observed
        shares = self.shares + seen if keep is None else seen.addcmul(self.shares, keep)
        return self._moved(rows, inputs, errors, shares, pushes, log)

    def _moved(
        self,
        factors: Tensor,
        inputs: tuple[Tensor, ...],
        errors: tuple[Tensor, ...],
        shares: Tensor,
        pushes: Tensor,
        log: WriteLog,
    ) -> PendingWrites:
        kept = self.weights, self.momentum, self.anchor
        return PendingWrites(factors, inputs, errors, shares, pushes, *kept, self.filled + 1, log)

    def added_up(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and momentum buffers after the last write, (rows, width_in, width_out)."""
        n, n_layers = self.filled, len(self.weights)
        shares, pushes = (x[..., None] for x in (self.shares, self.pushes))
        news = _blank([*self.weights, *self.momentum])
        for layer, old in enumerate(self.weights):
            x, error = self.inputs[layer][:, :n], self.errors[layer][:, :n]
            weight = torch.mul(old, shares[:, layer, -1:], out=news[layer])
            if self.momentum:
                weight.addcmul_(self.momentum[layer], shares[:, layer, -2:-1])
                buffer = news[n_layers + layer]
                torch.mul(self.momentum[layer], pushes[:, layer, -2:-1], out=buffer)
                buffer.baddbmm_((x * pushes[:, layer, :n]).mT, error, alpha=-1)
            weight.baddbmm_((x * shares[:, layer, :n]).mT, error, alpha=-1)
        return news[:n_layers], news[n_layers:]


def split_factors(
    factors: Tensor, widths: list[int]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and errors of every layer."""
    parts = factors.split(widths, -1)
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


def _blank(matrices: list[Tensor]) -> list[Tensor]:
    """Room for matrices of these shapes, all in one piece.

    As pieces of their own, the allocator would give most of them back to the system each time,
    and fetching them anew takes longer than to fill them.
    """
    sizes = [matrix.numel() for matrix in matrices]
    pieces = matrices[0].new_empty(sum(sizes)).split(sizes)
    return [piece.view(matrix.shape) for piece, matrix in zip(pieces, matrices, strict=True)]
