"""What the estimators of this head share: backbone, training, and where they compute."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from titans_ts.config import BackboneConfig
from titans_ts.errors import ParameterError
from titans_ts.training import TrainingSettings, uses_cuda

__all__ = ["DeviceMixin", "backbone_config", "draw_seed", "training_settings"]

OWN = ("variant", "dim", "depth", "n_heads", "memory_depth", "chunk_size", "segment_length")


def backbone_config(estimator: Any) -> BackboneConfig:
    """The backbone that an estimator's parameters ask for.

    Raises
    ------
    ParameterError
        One makes no sense, or ``backbone_options`` names what is no option.
    """
    options = estimator.backbone_options
    if not isinstance(options, Mapping | None):
        raise ParameterError(
            "backbone_options must be a mapping, such as {'momentum': False}, or None; got "
            f"{options!r}."
        )
    known = {f.name for f in fields(BackboneConfig)} - set(OWN)
    for name in options or {}:
        if name not in known:
            where = "is a parameter of its own" if name in OWN else "is unknown"
            raise ParameterError(
                f"backbone_options[{name!r}] {where}; expected some of {sorted(known)}."
            )
    return BackboneConfig(**{name: getattr(estimator, name) for name in OWN}, **(options or {}))


def training_settings(estimator: Any) -> TrainingSettings:
    """How an estimator's parameters ask it to be trained."""
    return TrainingSettings(
        max_epochs=estimator.max_epochs,
        batch_size=estimator.batch_size,
        learning_rate=estimator.learning_rate,
        patience=estimator.patience,
        weight_decay=0.05,
        average_decay=0.99,
        accelerator=estimator.accelerator,
        devices=estimator.devices,
        precision=estimator.precision,
        trainer_kwargs={} if estimator.trainer_kwargs is None else estimator.trainer_kwargs,
        verbose=estimator.verbose,
    )


def draw_seed(random_state: Any) -> int:
    """A seed drawn from whatever scikit-learn's users call a random state."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        # Not numpy's global generator for None: what a fit draws must move nobody else's numbers.
        return int(np.random.default_rng(random_state).integers(2**31 - 1))
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise ParameterError(
            "random_state must be None, a whole number of at least 0, or a numpy RandomState or "
            f"Generator; got {random_state!r}."
        ) from None


class DeviceMixin:
    """Where an estimator with a ``model_`` and an ``accelerator`` computes."""

    model_: torch.nn.Module
    accelerator: str
    device_: str

    def _device(self) -> torch.device:
        if hasattr(self, "device_"):
            return torch.device(self.device_)
        return torch.device("cuda" if uses_cuda(self.accelerator) else "cpu")

    def _to_device(self, device: str) -> None:
        try:
            self.model_.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ParameterError(
                f"device={device!r} cannot be used here: {error}. "
                "Give device='cpu', or leave it out."
            ) from error
        self.device_ = device

    def __getstate__(self) -> dict[str, Any]:
        held: Any = super().__getstate__()  # scikit-learn's, further up
        state = dict(held)
        if "model_" in state:
            # A pickle made beside a GPU must open where there is none.
            state["model_"] = copy.deepcopy(state["model_"]).cpu()
            state.pop("device_", None)
        return state
