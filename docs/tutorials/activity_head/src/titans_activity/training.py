"""How the network is trained: a loss, and batches; the loop is that of titans_ts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from titans_activity.network import WindowClassifier
from titans_ts.training import (
    LoopModule,
    Prepared,
    TrainingResult,
    TrainingSettings,
    run_training,
)

__all__ = ["train"]


class _Learning(LoopModule):
    def training_loss(self, batch: Any) -> Tensor:
        windows, codes = batch
        return F.cross_entropy(self.model.verdict(windows), codes)


def train(
    model: WindowClassifier,
    windows: np.ndarray,
    codes: np.ndarray,
    settings: TrainingSettings,
    *,
    seed: int,
    validation_fraction: float,
) -> TrainingResult:
    """Train the network in place.

    Parameters
    ----------
    model : WindowClassifier
    windows : ndarray of shape (windows, time, channels), float32
    codes : ndarray of shape (windows,), int
        The class of each window.
    settings : TrainingSettings
    seed : int
    validation_fraction : float
    """
    order = np.random.default_rng(seed).permutation(len(windows))
    n_validation = max(int(len(windows) * validation_fraction), 1)
    later, earlier = order[:n_validation], order[n_validation:]
    # From training windows only.
    model.mean.copy_(torch.from_numpy(windows[earlier].mean((0, 1))))
    model.spread.copy_(torch.from_numpy(windows[earlier].std((0, 1)).clip(1e-6)))

    def rows(numbers: np.ndarray) -> TensorDataset:
        return TensorDataset(torch.from_numpy(windows[numbers]), torch.from_numpy(codes[numbers]))

    def prepare(batch_size: int) -> Prepared:
        draws = torch.Generator().manual_seed(seed)
        return Prepared(
            _Learning(model, settings),
            DataLoader(rows(earlier), batch_size, shuffle=True, generator=draws),
            DataLoader(rows(later), batch_size),
        )

    return run_training(prepare, settings, seed=seed)
