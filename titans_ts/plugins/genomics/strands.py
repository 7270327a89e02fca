"""Coded sequences as tensors: shares of bases, the other strand, and words."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.plugins.genomics.coding import COMPLEMENT, SHARES

__all__ = ["SHARE_TABLE", "other_strand", "word_ids"]

SHARE_TABLE = torch.from_numpy(SHARES)
_COMPLEMENT = torch.from_numpy(COMPLEMENT.astype("int64"))
_DIGIT = torch.full((16,), -1)
_DIGIT[[1, 2, 4, 8]] = torch.arange(4)


def other_strand(codes: Tensor, lengths: Tensor) -> Tensor:
    """The reverse complement of each row within its own length.

    Parameters
    ----------
    codes : Tensor of shape (batch, time), int64
        Filled up with 0 behind each row's length.
    lengths : Tensor of shape (batch,), int64
    """
    time = torch.arange(codes.shape[1], device=codes.device)
    mirror = lengths[:, None] - 1 - time
    turned = codes.gather(1, mirror.clamp(min=0))
    return torch.where(mirror >= 0, _COMPLEMENT.to(codes.device)[turned], 0)


def word_ids(codes: Tensor, k: int, stride: int = 1) -> Tensor:
    """Numbers of words, as :func:`titans_ts.plugins.genomics.coding.kmer_ids`; shape (batch, n)."""
    n = max((codes.shape[1] - k) // stride + 1, 0)
    digits = _DIGIT.to(codes.device)[codes]
    ids = torch.zeros(codes.shape[0], n, dtype=torch.int64, device=codes.device)
    unknown = torch.zeros_like(ids, dtype=torch.bool)
    for i in range(k if n else 0):
        digit = digits[:, i : i + (n - 1) * stride + 1 : stride]
        ids = 4 * ids + digit
        unknown |= digit < 0
    return ids.masked_fill(unknown, 4**k)
