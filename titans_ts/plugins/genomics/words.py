"""Words of DNA as tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from titans_ts.plugins.genomics.coding import kmer_ids, n_kmers

__all__ = ["Words", "to_words"]


class Words(NamedTuple):
    """Words of some sequences as tensors of shape (batch, time)."""

    tokens: torch.Tensor  # the start, then each word but the last
    targets: torch.Tensor  # the words
    inside: torch.Tensor  # bool: which places are in a sequence
    known: torch.Tensor  # bool: which targets are words of A, C, G and T
    # Shape (batch,), bool: whose memory may be that of what was read before.
    goes_on: torch.Tensor


def to_words(codes: np.ndarray, lengths: np.ndarray, k: int) -> Words:
    """Padded sequences of shape (batch, time) as words; letters that fill no word are left out."""
    ids = kmer_ids(codes, k, stride=k)
    inside = np.arange(ids.shape[1]) < (lengths // k)[:, None]
    start = np.full((len(ids), 1), n_kmers(k))
    tokens = np.concatenate([start, ids[:, :-1]], axis=1)[:, : ids.shape[1]]
    known = inside & (ids < 4**k)
    goes_on = np.zeros(len(ids), dtype=bool)
    return Words(*(torch.from_numpy(a) for a in (tokens, ids, inside, known, goes_on)))
