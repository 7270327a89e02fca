"""The recipe that every model is trained by: AdamW, warm-up, cosine decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.nn import Parameter

__all__ = ["adamw_with_warm_up"]


def adamw_with_warm_up(
    module: LightningModule,
    *,
    learning_rate: float,
    weight_decay: float,
    other_decays: Mapping[Parameter, float] | None = None,
) -> dict[str, Any]:
    """What ``configure_optimizers`` of a module returns.

    Parameters
    ----------
    module : LightningModule
        With its Trainer, which knows how many steps there are.
    learning_rate : float
        At its peak, after a twentieth of the steps; from there it falls to 0 as half a cosine.
    weight_decay : float
        On matrices; gains and offsets are left alone.
    other_decays : mapping of Parameter to float, optional
        Weight decay of those that have another.
    """
    own = other_decays or {}
    usual = [p for p in module.parameters() if p not in own]
    groups = [
        ([p for p in usual if p.ndim > 1], weight_decay),
        ([p for p in usual if p.ndim <= 1], 0.0),
        *(([p for p in own if own[p] == decay], decay) for decay in dict.fromkeys(own.values())),
    ]
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for parameters, decay in groups],
        lr=learning_rate,
        fused=_fused(module),
    )
    total = max(int(module.trainer.estimated_stepping_batches), 1)
    warm_up = max(total // 20, 1)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * min((step - warm_up) / (total - warm_up + 1), 1)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _fused(module: LightningModule) -> bool | None:
    """Whether one kernel takes the optimiser's step, or torch chooses (None)."""
    # On a CPU torch's own choice is an operation at a time for every weight. Mixed precision
    # clips no gradients for a fused optimiser.
    on_cpu = all(p.device.type == "cpu" for p in module.parameters())
    return True if on_cpu and str(module.trainer.precision).endswith("-true") else None
