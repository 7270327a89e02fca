"""Memory that is used again: on a CPU, touching fresh memory can cost more than arithmetic on it.

An allocator gives large pieces back to the system, which hands them out page by page, zeroed, the
next time they are touched. A scan that asks for its buffers anew in every call would spend a tenth
to a third of its time there.
"""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

__all__ = ["Arena", "Workspace", "borrow", "give_back"]

# Of one piece that an arena asks the system for, at least.
BLOCK_BYTES = 1 << 22
# Kept for later calls, in all of the process.
IDLE_BYTES = 5 << 24

_ALIGNMENT = 64  # a cache line

_idle: list[Arena] = []
_lock = Lock()


class Arena:
    """Pieces of memory, handed out one after the other and taken back in reverse.

    Elsewhere than on a CPU every piece is a tensor of its own: there the allocator keeps them.

    Parameters
    ----------
    device : torch.device
    block_bytes : int, optional
        Asked of the system at a time, at least; 0 where pieces are few and nobody borrows them.
    """

    def __init__(self, device: torch.device, block_bytes: int | None = None) -> None:
        self.device = device
        self._block_bytes = BLOCK_BYTES if block_bytes is None else block_bytes
        self._blocks: list[Tensor] = []
        self._typed: dict[tuple[int, torch.dtype], Tensor] = {}  # blocks as numbers of a kind
        self._block, self._offset = 0, 0

    def take(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """A tensor of any content."""
        if self.device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=self.device)
        size = dtype.itemsize
        strides = [1]
        for length in reversed(shape):
            strides.append(strides[-1] * length)
        room = -(-strides.pop() * size // _ALIGNMENT) * _ALIGNMENT
        while self._block < len(self._blocks):
            if self._offset + room <= len(self._blocks[self._block]):
                break
            self._block, self._offset = self._block + 1, 0
        else:
            self._grow(room)
        start, self._offset = self._offset, self._offset + room
        block = self._typed.get((self._block, dtype))
        if block is None:
            with torch.inference_mode(False):
                block = self._typed[self._block, dtype] = self._blocks[self._block].view(dtype)
        return block.as_strided(shape, strides[::-1], start // size)

    def _grow(self, room: int) -> None:
        # Not as tensors of inference mode, which a later call with gradients could not use.
        with torch.inference_mode(False):
            n_bytes = max(room, self._block_bytes)
            self._blocks.append(torch.empty(n_bytes, dtype=torch.uint8))

    def mark(self) -> tuple[int, int]:
        """Where :meth:`release` is to go back to."""
        return self._block, self._offset

    def release(self, mark: tuple[int, int] = (0, 0)) -> None:
        """Take back every piece that was handed out since ``mark``."""
        self._block, self._offset = mark

    def trim(self, n_bytes: int) -> int:
        """Keep the first blocks, up to ``n_bytes``; return how many bytes these are."""
        kept = 0
        for number, block in enumerate(self._blocks):
            if kept + len(block) > n_bytes:
                del self._blocks[number:]
                self._typed = {k: v for k, v in self._typed.items() if k[0] < number}
                break
            kept += len(block)
        return kept

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self._blocks))


def borrow(device: torch.device) -> Arena:
    """An arena for one call, or for one forward and backward pass."""
    if device.type == "cpu":
        with _lock:
            if _idle:
                return _idle.pop()
    return Arena(device)


def give_back(arena: Arena) -> None:
    """Leave an arena to the next call; nobody may hold a tensor of it any longer."""
    if arena.device.type != "cpu":
        return
    arena.release()
    with _lock:
        if arena.trim(IDLE_BYTES - sum(other.n_bytes for other in _idle)):
            _idle.append(arena)


class Workspace:
    """Buffers by name, made on first use and then used again."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._buffers: dict[tuple[str, int, tuple[int, ...]], Tensor] = {}

    def take(self, name: str, layer: int, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        key = name, layer, shape
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = self._arena.take(*shape, dtype=like.dtype)
        return buffer
