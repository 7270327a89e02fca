"""Sums that fade, and running maxima, over any length."""

from __future__ import annotations

import torch
from torch import Tensor

from titans_ts.ops.exporting import is_exporting

__all__ = ["fading_sum", "running_maximum"]

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


def running_maximum(x: Tensor, dim: int) -> Tensor:
    """The largest value so far along a dimension.

    Examples
    --------
    >>> import torch
    >>> running_maximum(torch.tensor([1, 3, 2, 5]), 0)
    tensor([1, 3, 3, 5])
    """
    if not is_exporting():
        return x.cummax(dim).values
    # Graphs have no operation for it. Maxima over 1, 2, 4, ... values reach all of them soon.
    reach, length = 1, x.shape[dim]
    while reach < length:
        head = x.narrow(dim, 0, reach)
        now, before = x.narrow(dim, reach, length - reach), x.narrow(dim, 0, length - reach)
        x = torch.cat([head, torch.maximum(now, before)], dim)
        reach *= 2
    return x
