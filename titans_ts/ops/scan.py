"""Sums that fade, over any length, at linear cost."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fading_sum"]

# Terms added by one matrix product; the product's cost per term grows with it, the loop's falls.
BLOCK = 128


def fading_sum(terms: Tensor, keep: float, initial: Tensor | None = None) -> Tensor:
    """Running sum ``s_t = keep * s_{t-1} + terms_t``.

    Parameters
    ----------
    terms : Tensor of shape (..., time)
    keep : float
        Between 0 and 1.
    initial : Tensor of shape (...), optional
        ``s`` before the first term; None stands for 0.

    Returns
    -------
    Tensor of shape (..., time)

    Examples
    --------
    >>> import torch
    >>> fading_sum(torch.tensor([1.0, 1.0, 1.0]), 0.5)
    tensor([1.0000, 1.5000, 1.7500])
    """
    if terms.shape[-1] == 0:
        return terms
    carried = torch.zeros_like(terms[..., 0]) if initial is None else initial
    sums = []
    for block in terms.split(BLOCK, dim=-1):
        step = torch.arange(block.shape[-1], device=terms.device)
        # Where the exponent is negative, a term has not come yet.
        age = (step[:, None] - step).clamp(min=-1)
        fade = torch.where(age >= 0, float(keep) ** age.clamp(min=0).to(terms.dtype), 0.0)
        total = block @ fade.mT + carried[..., None] * keep ** (step + 1).to(terms.dtype)
        sums.append(total)
        carried = total[..., -1]
    return torch.cat(sums, dim=-1)
