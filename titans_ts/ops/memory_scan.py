"""One tile of the memory, forward and backward by hand: the inside of the scan over chunks.

Tokens are rows, (rows, tokens, width), where a row of the batch is one head of one sequence. A
layer's weight and momentum buffer lie in one piece, so that one product meets both. README.md
derives all of it.

Results go into buffers that the next tile uses again (see ``arena.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.arena import Workspace

__all__ = [
    "LayerTables",
    "Matrices",
    "dots",
    "look_up",
    "look_up_backward",
    "move_back",
    "move_dots",
    "spread",
    "weigh",
    "write",
    "write_backward",
]


class Matrices:
    """Weight and momentum buffer of one layer, or cotangents of them, below one another.

    A widening layer (``width_in <= width_out``) has them as they are, W above S; a narrowing one
    has their transposes. So what is scaled before a product is always the shorter vector, called
    narrow here: what goes into a widening layer, what comes out of a narrowing one.

    Parameters
    ----------
    stacked : Tensor of shape (rows, parts * narrow, wide)
        Parts: weight and momentum buffer, or the weight alone where there is no momentum.
    n_parts : int
    widening : bool
    """

    __slots__ = ("parts", "stacked", "stacked_t", "weight", "weight_t", "widening")

    def __init__(self, stacked: Tensor, n_parts: int, widening: bool) -> None:
        self.stacked, self.stacked_t, self.widening = stacked, stacked.mT, widening
        self.parts: Sequence[Tensor] = stacked.chunk(n_parts, 1) if n_parts > 1 else (stacked,)
        weight = self.parts[0]
        self.weight, self.weight_t = (weight, weight.mT) if widening else (weight.mT, weight)

    def oriented(self, matrix: Tensor) -> Tensor:
        """A (rows, width_in, width_out) matrix the way that it is kept here, and back."""
        return matrix if self.widening else matrix.mT

    def add_product(self, inputs: Tensor, outputs: Tensor) -> None:
        """Add ``inputs^T outputs`` to the weight, (rows, tokens, in) and (rows, tokens, out)."""
        left, right = (inputs, outputs) if self.widening else (outputs, inputs)
        self.parts[0].baddbmm_(left.mT, right)


class LayerTables(NamedTuple):
    """The gates of one tile and layer as numbers, or cotangents of them; see GateTables."""

    reads: Any  # (rows, tokens, parts, 1): what W_0 and S_0 weigh after each token; None: coarse
    writes: Any  # (rows, tokens, tokens): what write i weighs after token t, at [i, t]; likewise
    ends: Tensor  # (rows, tokens, parts, 1): what each write weighs in W and S after the tile
    # What W_0 weighs in W after the tile, S_0 in W, S_0 in S: of shape (rows, 1, 1), or plain
    # numbers where there is one row, on a CPU: a factor that a product takes along. Folded, the
    # second is what of S_0 is added to W_0 before anything else.
    moves: Any
    # So many of the last writes weigh anything in S after the tile: momentum fades, and what is
    # left of older ones is lost in rounding. 0 in cotangents.
    recent: int = 0
    # Folded: so many of the first tokens need the buffer besides; 0: not folded.
    early: int = 0


def spread(narrow: Tensor, scales: Tensor, out: Tensor) -> Tensor:
    """A vector once for each part, each scaled: (rows, tokens, parts * width)."""
    parts = out.view(*narrow.shape[:-1], scales.shape[-2], narrow.shape[-1])
    torch.mul(narrow.unsqueeze(-2), scales, out=parts)
    return out


def weigh(spreaded: Tensor, scales: Tensor, out: Tensor, *, add: bool = False) -> Tensor:
    """The sum over parts, each scaled: what :func:`spread` is undone by. ``add``: to ``out``."""
    n_parts = scales.shape[-2]
    for part in range(n_parts):
        start = part * out.shape[-1]
        piece = spreaded[..., start : start + out.shape[-1]]
        if part or add:
            out.addcmul_(piece, scales[..., part, :])
        else:
            torch.mul(piece, scales[..., part, :], out=out)
    return out


def dots(spreaded: Tensor, narrow: Tensor, out: Tensor, work: Workspace) -> Tensor:
    """Cotangents of scales: for each part its dot product with ``narrow``, token by token."""
    parts = spreaded.view(*narrow.shape[:-1], out.shape[-2], narrow.shape[-1])
    product = work.take("dots", 0, parts, tuple(parts.shape))
    torch.mul(parts, narrow.unsqueeze(-2), out=product)
    return torch.sum(product, -1, keepdim=True, out=out)


# -- what a state answers ---------------------------------------------------------------------


def look_up(
    state: Matrices, h: Tensor, reads: Tensor, out: Tensor, found: Tensor | None, work: Workspace
) -> Tensor:
    """``h W_0`` and ``h S_0``, weighed for each token; into ``out``, (rows, tokens, width_out).

    ``found`` takes what a narrowing layer's matrices answer, for the backward pass.
    """
    if state.widening:
        shape = (*h.shape[:-1], len(state.parts) * h.shape[-1])
        return torch.bmm(spread(h, reads, work.take("looked", 0, h, shape)), state.stacked, out=out)
    assert found is not None
    return weigh(torch.bmm(h, state.stacked_t, out=found), reads, out)


def look_up_backward(
    state: Matrices,
    h: Tensor,
    found: Tensor | None,
    bar: Tensor,
    tables: LayerTables,
    table_bars: LayerTables,
    state_bar: Matrices,
    out: Tensor,
    work: Workspace,
) -> Tensor:
    """Cotangent of ``h``, into ``out``; ``state_bar`` moves from after the tile to before it."""
    n_parts = len(state.parts)
    if state.widening:
        shape = (*h.shape[:-1], n_parts * h.shape[-1])
        h_bars = torch.bmm(bar, state.stacked_t, out=work.take("look", 0, h, shape))
        dots(h_bars, h, table_bars.reads, work)
        weigh(h_bars, tables.reads, out)
        move_back(state_bar, tables.moves, spread(h, tables.reads, h_bars), bar)
        return out
    assert found is not None
    dots(found, bar, table_bars.reads, work)
    bars = spread(bar, tables.reads, work.take("look", 0, bar, tuple(found.shape)))
    torch.bmm(bars, state.stacked, out=out)
    move_back(state_bar, tables.moves, bars, h)
    return out


# -- what a tile leaves -----------------------------------------------------------------------


def write(old: Matrices, new: Matrices, factor: Tensor, wide: Tensor, tables: LayerTables) -> None:
    """State after a tile: the old one, faded, less ``factor^T wide``. ``new`` may be ``old``."""
    if len(old.parts) == 1:
        torch.mul(old.stacked, tables.moves[0], out=new.stacked)
        new.stacked.baddbmm_(factor.mT, wide, alpha=-1)
        return
    (weight, buffer), (start, pushed, fade) = old.parts, tables.moves
    left, left_buffer = factor.mT.chunk(2, 1)
    late = slice(wide.shape[1] - tables.recent, None)
    late_factors = left_buffer[..., late], wide[:, late]
    if new is old and isinstance(start, float):
        weight.baddbmm_(left, wide, beta=start, alpha=-1).add_(buffer, alpha=pushed)
        buffer.baddbmm_(*late_factors, beta=fade, alpha=-1)
        return
    new_weight, new_buffer = new.parts
    torch.mul(weight, start, out=new_weight)
    _add_scaled(new_weight, buffer, pushed)
    torch.mul(buffer, fade, out=new_buffer)
    if tables.recent == wide.shape[1]:
        new.stacked.baddbmm_(factor.mT, wide, alpha=-1)
    else:
        new_weight.baddbmm_(left, wide, alpha=-1)
        new_buffer.baddbmm_(*late_factors, alpha=-1)


def write_backward(
    state: Matrices,
    state_bar: Matrices,
    factor: Tensor,
    wide: Tensor,
    recent: int,
    move_bars: Tensor | None,
    factor_bar: Tensor,
    wide_bar: Tensor,
) -> None:
    """Cotangents of a write, save that of the state, which :func:`look_up_backward` moves.

    Parameters
    ----------
    state : Matrices
        Before the tile.
    state_bar : Matrices
        Of the state after the tile; left as it is.
    factor, wide : Tensor
        As in :func:`write`.
    recent : int
        As in :class:`LayerTables`; cotangents of older shares in the buffer count as zero.
    move_bars : Tensor of shape (rows, 3) or None
        Written, unless None.
    factor_bar, wide_bar : Tensor
        Written.
    """
    # Not of what is there before (beta is 0), and negative: a product alone could not be that.
    if recent == wide.shape[1] or len(state.parts) == 1:
        factor_bar.baddbmm_(wide, state_bar.stacked_t, beta=0, alpha=-1)
        wide_bar.baddbmm_(factor, state_bar.stacked, beta=0, alpha=-1)
    else:
        (weight_bar, buffer_bar), n = state_bar.parts, wide.shape[1] - recent
        (share, late), (share_bar, late_bar) = (x.chunk(2, -1) for x in (factor, factor_bar))
        share_bar.baddbmm_(wide, weight_bar.mT, beta=0, alpha=-1)
        late_bar[:, :n].zero_()
        late_bar[:, n:].baddbmm_(wide[:, n:], buffer_bar.mT, beta=0, alpha=-1)
        wide_bar.baddbmm_(share, weight_bar, beta=0, alpha=-1)
        wide_bar[:, n:].baddbmm_(late[:, n:], buffer_bar, alpha=-1)
    if move_bars is not None:
        move_dots(state, state_bar, move_bars)


def move_dots(state: Matrices, state_bar: Matrices, out: Tensor) -> None:
    """Cotangents of a tile's moves, (rows, 3), from those of the state after it."""
    n_parts, rows = len(state.parts), len(state.stacked)
    flat, flat_bar = (m.stacked.view(rows, n_parts, -1) for m in (state, state_bar))
    if rows == 1:
        torch.mv(flat[0], flat_bar[0, 0], out=out[0, :n_parts])
        if n_parts == 2:
            torch.dot(flat[0, 1], flat_bar[0, 1], out=out[0, 2])
        return
    out[:, :n_parts] = torch.bmm(flat, flat_bar[:, 0, :, None])[..., 0]
    if n_parts == 2:
        out[:, 2:] = torch.bmm(flat[:, 1:], flat_bar[:, 1, :, None])[..., 0]


def move_back(bar: Matrices, moves: Any, left: Any, right: Any) -> None:
    """The cotangent before a tile from that after it, and ``left^T right`` added (None: nothing).

    ``moves=None``: nobody asked for the state after it, and ``bar`` holds nothing yet.
    """
    if moves is None:
        if left is None:
            bar.stacked.zero_()
        else:
            bar.stacked.baddbmm_(left.mT, right, beta=0)
        return
    if len(bar.parts) == 1:
        bar.stacked.mul_(moves[0])
    else:
        (weight, buffer), (start, pushed, fade) = bar.parts, moves
        if isinstance(start, float) and left is not None:
            left_t, left_buffer = left.mT.chunk(2, 1)
            buffer.baddbmm_(left_buffer, right, beta=fade).add_(weight, alpha=pushed)
            weight.baddbmm_(left_t, right, beta=start)
            return
        buffer.mul_(fade)
        _add_scaled(buffer, weight, pushed)
        weight.mul_(start)
    if left is not None:
        bar.stacked.baddbmm_(left.mT, right)


def _add_scaled(total: Tensor, more: Tensor, scale: Tensor | float) -> None:
    """Add ``scale * more`` in place; ``scale`` has one number a row."""
    if isinstance(scale, float):
        total.add_(more, alpha=scale)
    else:
        total.addcmul_(more, scale)
