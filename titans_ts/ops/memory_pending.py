"""Writes that wait to be added up: what a stream leaves inside a chunk, and momentum beyond it."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MOST_CARRIED", "PendingWrites", "StepRates", "WriteLog", "split_factors"]

# Writes that stand for a momentum buffer: reading through more of them costs about as much as
# passing over it.
MOST_CARRIED = 32


class StepRates(NamedTuple):
    """The gates of one token as they are, not as logarithms; a row is a head of a sequence."""

    step_size: Tensor  # (rows, layers, 1), in units of ``unit``
    momentum: Tensor | None  # same shape; None: no momentum
    forget: Tensor | None  # same shape; None: nothing is forgotten
    observed: Tensor | None  # (rows, 1, 1), bool; None: observed
    unit: float = 1.0


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

    A row is one head of one sequence. There is room for more writes than there are, and for two
    that never are: zeros, so that factors stand beside shares without a cut.

    Where momentum is short, the buffer of what came before this chunk is nothing but its last
    writes: these are carried on, and weigh nothing in the weights, which have them already.
    """

    # (rows, room + 2, sum of all widths + layers): of each write, what it fed into every layer,
    # then its error there, then its step size; zeros where there is none yet.
    factors: Tensor
    inputs: tuple[Tensor, ...]  # views of them: per layer (rows, width_in, room + 2)
    errors: tuple[Tensor, ...]  # per layer (rows, room + 2, width_out)
    # (rows, layers, room + 2): what each write weighs in the weights now, then what the momentum
    # buffer and the weights of before do.
    shares: Tensor
    pushes: Tensor  # same shape: the same for the momentum buffer
    weights: tuple[Tensor, ...]  # views of the state's, (rows, width_in, width_out)
    # What came before carried writes, too: ``pushes`` says what is left of it; () for nothing.
    momentum: tuple[Tensor, ...]
    anchor: tuple[Tensor, ...]
    has_momentum: bool
    carried: int  # places for writes of earlier chunks, which come first
    filled: int  # number of writes
    unit: float  # of step sizes
    log: WriteLog

    @property
    def room(self) -> int:
        return self.factors.shape[1] - 2

    def appended(self, factors: list[Tensor], rates: StepRates, *, moves: bool) -> PendingWrites:
        """One write more: inputs and errors of every layer, each of shape (rows, 1, width).

        ``moves=False``: only the gradient is added, as a coarse memory does inside a chunk.
        """
        n, rows, log = self.filled, self.factors, self.log
        inputs, errors = self.inputs, self.errors
        if not log.extend(n):
            # Another stream went on from this state already: what it appended is its own.
            rows, log = rows.clone(), WriteLog(n + 1)
            rows[:, n + 1 :] = 0
            inputs, errors = split_factors(rows, [x.shape[-1] for x in factors])
        step, momentum, forget, observed, unit = rates
        torch.cat((*factors, step.mT), -1, out=rows.narrow(1, n, 1))
        place = _places(self.room, step.dtype, step.device)[n]
        if not moves:
            shares, pushes = (
                x.addcmul(step, place, value=unit) for x in (self.shares, self.pushes)
            )
            return self._moved(rows, inputs, errors, shares, pushes, unit, log)
        pushes = torch.zeros_like(self.pushes) if momentum is None else self.pushes * momentum
        pushes.addcmul_(step, place, value=unit)
        shares = self.shares + (pushes if observed is None else pushes * observed)
        if forget is not None:
            shares.addcmul_(self.shares, forget, value=-1)
        return self._moved(rows, inputs, errors, shares, pushes, unit, log)

    def _moved(
        self,
        factors: Tensor,
        inputs: tuple[Tensor, ...],
        errors: tuple[Tensor, ...],
        shares: Tensor,
        pushes: Tensor,
        unit: float,
        log: WriteLog,
    ) -> PendingWrites:
        kept = self.weights, self.momentum, self.anchor, self.has_momentum, self.carried
        n = self.filled + 1
        return PendingWrites(factors, inputs, errors, shares, pushes, *kept, n, unit, log)

    def remembered(self) -> int | None:
        """How many of the last writes momentum still has; None: more than are carried on."""
        n, n_layers = self.filled, len(self.weights)
        if not self.has_momentum:
            return 0
        # What momentum left of each: the share of its step size, or NaN where that is 0.
        left = self.pushes[..., :n] / self.factors[:, :n, -n_layers:].mT
        alive = (left > self._tiny * self.unit).flatten(0, 1).any(0).tolist()
        count = n - alive.index(True) if True in alive else 0
        return count if count <= MOST_CARRIED else None

    def buffer_is_forgotten(self) -> bool:
        """Whether nothing is left of the momentum buffer from before these writes."""
        return not self.momentum or float(self.pushes[..., -2].max()) <= self._tiny

    @property
    def _tiny(self) -> float:
        """What is less than the last digit of what it is added to."""
        return float(torch.finfo(self.pushes.dtype).eps) / 8

    def added_up(self, *, buffers: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and momentum buffers after the last write, (rows, width_in, width_out)."""
        n, n_layers = self.filled, len(self.weights)
        buffers = buffers and self.has_momentum
        shares, pushes = (x[:, :, None] for x in (self.shares, self.pushes))
        news = _blank([*self.weights, *(self.weights if buffers else ())])
        for layer, old in enumerate(self.weights):
            x, error = self.inputs[layer][..., :n], self.errors[layer][:, :n]
            weight = torch.mul(old, shares[:, layer, :, -1:], out=news[layer])
            if self.momentum:
                weight.addcmul_(self.momentum[layer], shares[:, layer, :, -2:-1])
            if buffers:
                buffer = news[n_layers + layer]
                if self.momentum:
                    torch.mul(self.momentum[layer], pushes[:, layer, :, -2:-1], out=buffer)
                else:
                    buffer.zero_()
                buffer.baddbmm_(x * pushes[:, layer, :, :n], error, alpha=-1)
            weight.baddbmm_(x * shares[:, layer, :, :n], error, alpha=-1)
        return news[:n_layers], news[n_layers:]


def split_factors(
    factors: Tensor, widths: list[int]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs, turned, and errors of every layer."""
    n_layers = len(widths) // 2
    parts = factors[..., :-n_layers].split(widths, -1)
    return tuple(part.mT for part in parts[:n_layers]), parts[n_layers:]


@lru_cache(maxsize=64)
def _places(room: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """For each write, a vector that is one at its place and zero elsewhere."""
    with torch.inference_mode(False):  # These outlive whoever asks first.
        return torch.eye(room, room + 2, dtype=dtype, device=device).unbind()


def _blank(matrices: list[Tensor]) -> list[Tensor]:
    """Room for matrices of these shapes, all in one piece.

    As pieces of their own, the allocator would give most of them back to the system each time,
    and fetching them anew takes longer than to fill them.
    """
    sizes = [matrix.numel() for matrix in matrices]
    pieces = matrices[0].new_empty(sum(sizes)).split(sizes)
    return [piece.view(matrix.shape) for piece, matrix in zip(pieces, matrices, strict=True)]
