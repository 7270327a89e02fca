"""Cross-entropy in pieces: logits over a large vocabulary never stand in memory all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = ["log_probabilities", "masked_mean"]

# Logits at a time: 64 MB in float32. 4,096 tokens of a vocabulary of 32,000 would take 524 MB a
# sequence, and as much again for their gradient.
MOST_LOGITS = 1 << 24


def log_probabilities(
    to_logits: Callable[[Tensor], Tensor], vectors: Tensor, targets: Tensor, n_tokens: int
) -> Tensor:
    """The logarithm of the probability that each vector gives to its target.

    Parameters
    ----------
    to_logits : callable
        From vectors of shape (n, dim) to logits of shape (n, n_tokens).
    vectors : Tensor of shape (..., dim)
    targets : Tensor of shape (...), int
    n_tokens : int
        Size of the vocabulary.

    Returns
    -------
    Tensor of shape (...), float32 or better
    """

    def piece(some: Tensor, expected: Tensor) -> Tensor:
        logits = to_logits(some)
        # Half precision would round a loss to two digits.
        logits = logits.float() if logits.dtype != torch.float64 else logits
        return -F.cross_entropy(logits, expected, reduction="none")

    flat, wanted = vectors.flatten(0, -2), targets.flatten()
    length = max(MOST_LOGITS // n_tokens, 1)
    if len(flat) <= length:
        return piece(flat, wanted).view(targets.shape)
    parts = zip(flat.split(length), wanted.split(length), strict=True)
    if torch.is_grad_enabled():
        logs = [checkpoint(piece, a, b, use_reentrant=False) for a, b in parts]
    else:
        logs = [piece(a, b) for a, b in parts]
    return torch.cat(logs).view(targets.shape)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the values where the mask is True, shape (); 0 where it is True nowhere."""
    if mask is None:
        return values.mean()
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)
