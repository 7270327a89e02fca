"""How to train, and where: what can be said without Lightning, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["TrainingSettings", "uses_cuda"]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; defaults are the forecaster's."""

    max_epochs: int
    batch_size: int | str  # "auto": as many as fit
    learning_rate: float
    patience: int
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    average_decay: float = 0.995
    accelerator: str = "auto"
    devices: Any = 1
    precision: str | None = None
    trainer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    verbose: int = 0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)  # for loggers


def uses_cuda(accelerator: str) -> bool:
    """Whether a forecaster with this ``accelerator`` computes on a CUDA GPU."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
