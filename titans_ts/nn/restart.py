"""Rows of a batch that start a new sequence while others go on with theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from titans_ts.nn.attention import WindowState
from titans_ts.nn.backbone import BackboneState, TitansBackbone
from titans_ts.nn.blocks import AttentionState
from titans_ts.nn.layers import at_least_float32
from titans_ts.nn.mac import LiteralMACState, MACState
from titans_ts.nn.memory import NeuralMemory, NeuralMemoryState
from titans_ts.ops.memory_state import MemoryState, momentum_or_zeros

__all__ = ["detach", "map_tensors", "restart", "tensors_of"]


def map_tensors(change: Callable[[Tensor], Any], state: Any) -> Any:
    """The same tree of tuples, with every tensor changed; anything else as it is."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, MemoryState):
        state = state.settled()  # what waits to be written is part of the weights
    if isinstance(state, tuple):
        parts = [map_tensors(change, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def tensors_of(state: Any) -> list[Tensor]:
    """The tensors of a state, in the order in which :func:`map_tensors` meets them."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    map_tensors(note, state)
    return found


def detach(state: Any) -> Any:
    """The same state, through which no gradient goes back to what was read before."""
    return map_tensors(Tensor.detach, state)


def restart(backbone: TitansBackbone, state: BackboneState, rows: Tensor) -> BackboneState:
    """Let some rows forget what they read, as a backbone's state is before a first token.

    Gradients reach the initial weights and persistent tokens, as they do without a state.

    Parameters
    ----------
    backbone : TitansBackbone
        In MAG, MAL and LMM, each row must have read a multiple of ``chunk_size`` tokens; in MAC, a
        multiple of ``segment_length``. All rows of a batch share their place in a chunk.
    state : BackboneState
    rows : Tensor of shape (batch,), bool
        True where a new sequence starts.

    Raises
    ------
    ValueError
        The state is in the middle of a chunk, or in MAC of a segment.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.config import BackboneConfig
    >>> from titans_ts.nn.backbone import TitansBackbone
    >>> from titans_ts.nn.restart import restart
    >>> backbone = TitansBackbone(BackboneConfig(variant="mag", dim=16, dropout=0.0))
    >>> before, after = torch.randn(2, 2, 16, 16)
    >>> _, state = backbone(before)
    >>> both, _ = backbone(after, restart(backbone, state, torch.tensor([False, True])))
    >>> alone, _ = backbone(after)
    >>> torch.allclose(both[1], alone[1], atol=1e-5)
    True
    """
    after = tuple(
        _restart_block(block, block_state, rows)
        for block, block_state in zip(backbone.blocks, state.blocks, strict=True)
    )
    return state._replace(blocks=after)


def _restart_block(block: Any, state: Any, rows: Tensor) -> Any:
    if isinstance(state, MACState | LiteralMACState):
        if state.n_open:
            raise ValueError(
                f"a sequence can start anew at the end of a segment of {block.segment_length} "
                f"tokens, not {state.n_open} tokens into one."
            )
        # A segment starts a chunk, wherever in one the memory was left.
        fresh = NeuralMemoryState(block.memory.initial_state(), None)
        memory = _merge_memory(state.memory, fresh, rows, same_place=False)
        tails = [_merge_tail(tail, None, rows) for tail in state.tails]
        return state._replace(memory=memory, tails=type(state.tails)(*tails))
    if isinstance(state, AttentionState):
        window: WindowState = state.window
        window = window._replace(
            observed=window.observed & ~rows[:, None], tail=_merge_tail(window.tail, None, rows)
        )
        return AttentionState(_restart_memory(block.memory, state.memory, rows), window)
    return _restart_memory(block.memory, state, rows)


def _restart_memory(
    memory: NeuralMemory, state: NeuralMemoryState, rows: Tensor
) -> NeuralMemoryState:
    fresh = NeuralMemoryState(memory.initial_state(), None)
    if memory.persistent is not None:
        # The persistent tokens are written, and no other.
        nothing = memory.persistent.new_empty(1, 0, memory.persistent.shape[1])
        _, written = memory(nothing)
        assert written is not None
        fresh = written
    return _merge_memory(state, fresh, rows, same_place=True)


def _merge_memory(
    old: NeuralMemoryState, new: NeuralMemoryState, rows: Tensor, *, same_place: bool
) -> NeuralMemoryState:
    carried, fresh = old.memory.settled(), new.memory.settled()
    if same_place and carried.position != fresh.position:
        raise ValueError(
            f"a sequence can start anew where its chunks start: this state is {carried.position} "
            f"tokens into a chunk, and a new one {fresh.position}."
        )
    momentum: tuple[Tensor, ...] = ()
    if carried.momentum or fresh.momentum:
        momentum = _merge(momentum_or_zeros(carried), momentum_or_zeros(fresh), rows)
    merged = MemoryState(
        _merge(carried.weights, fresh.weights, rows),
        momentum,
        _merge(carried.anchor, fresh.anchor, rows),
        carried.position,
    )
    return NeuralMemoryState(merged, _merge_tail(old.tail, new.tail, rows))


def _merge(old: tuple[Tensor, ...], new: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    where = rows[:, None, None, None]
    return tuple(
        torch.where(where, at_least_float32(b), at_least_float32(a))
        for a, b in zip(old, new, strict=True)
    )


def _merge_tail(old: Tensor | None, new: Tensor | None, rows: Tensor) -> Tensor | None:
    if old is None:
        return None
    new = torch.zeros_like(old) if new is None else new.to(old.dtype)
    return torch.where(rows[:, None, None], new, old)
