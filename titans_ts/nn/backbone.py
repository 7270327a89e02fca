"""TitansBackbone: a stack of blocks over vectors, whatever the vectors stand for."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.nn.blocks import Block, LMMBlock, MAGBlock, MALBlock
from titans_ts.nn.layers import RMSNorm
from titans_ts.nn.mac import LiteralMACBlock, MACBlock

__all__ = ["BackboneState", "TitansBackbone", "make_block"]


class BackboneState(NamedTuple):
    """What a backbone carries from one call to the next: a tree of tensors of fixed size."""

    blocks: tuple[Any, ...]  # the state of each block
    position: int  # tokens read so far


class TitansBackbone(nn.Module):
    """Titans (arXiv:2501.00663): short-term, long-term and persistent memory over tokens.

    Parameters
    ----------
    config : BackboneConfig

    Examples
    --------
    >>> import torch
    >>> from titans_ts.config import BackboneConfig
    >>> from titans_ts.nn.backbone import TitansBackbone
    >>> backbone = TitansBackbone(BackboneConfig(variant="mag", dim=16))
    >>> first, second = torch.randn(1, 30, 16).split([13, 17], dim=1)
    >>> vectors, state = backbone(first)
    >>> vectors, state = backbone(second, state)
    >>> vectors.shape, state.position
    (torch.Size([1, 17, 16]), 30)
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(make_block(config, place) for place in range(config.depth))
        self.norm = RMSNorm(config.dim)
        self._on_provisional = any(isinstance(b, LiteralMACBlock) for b in self.blocks[:-1])

    def forward(
        self,
        tokens: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, BackboneState | None]:
        """Run tokens through all blocks.

        Parameters
        ----------
        tokens : Tensor of shape (batch, time, dim)
        state : BackboneState, optional
            From the call before; None at a sequence's start.
        observed : Tensor of shape (batch, time), bool, optional
            Masked tokens leave state and other tokens as they are.
        need_state : bool, default True
            False: return None for the state, which is cheaper.

        Returns
        -------
        vectors : Tensor of shape (batch, time, dim)
        state : BackboneState or None

        Raises
        ------
        ValueError
            ``mac_mode="literal"`` in a stack, and the call before ended within a segment: its
            outputs are provisional, and the next block has built on them.
        """
        length, position = self.config.segment_length, 0 if state is None else state.position
        if self._on_provisional and position % length and tokens.shape[1]:
            raise ValueError(
                f"mac_mode='literal' with blocks on top of one another goes on at whole segments "
                f"of {length} tokens only, and {position} have been read: what a segment "
                "gave before its end was provisional. Cut sequences at multiples of "
                "segment_length, or use mac_mode='causal'."
            )
        before = state.blocks if state is not None else (None,) * len(self.blocks)
        after = []
        for block, block_state in zip(self.blocks, before, strict=True):
            tokens, block_state = block(tokens, block_state, observed, need_state=need_state)
            after.append(block_state)
        vectors = self.norm(tokens)
        if not need_state:
            return vectors, None
        return vectors, BackboneState(tuple(after), position + tokens.shape[1])


def make_block(config: BackboneConfig, place: int = 0) -> Block:
    """A block of ``config.variant``, or of memory alone where that variant leaves out attention.

    ``place`` is its number in the stack, from 0.
    """
    if config.variant == "lmm" or (place + 1) % config.attention_every:
        return LMMBlock(config)
    if config.variant == "mac":
        return (MACBlock if config.mac_mode == "causal" else LiteralMACBlock)(config)
    return (MAGBlock if config.variant == "mag" else MALBlock)(config)
