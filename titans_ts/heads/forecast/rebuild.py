"""A saved model again, from numbers that anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from titans_ts.config import BackboneConfig
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel

__all__ = ["rebuild_model"]

# Fields that say how long something is in time, and size no weight.
LENGTHS = {"running_memory", "season", "segment_length", "chunk_size", "window", "highway_length"}


def rebuild_model(
    head: Mapping[str, Any], backbone: Mapping[str, Any] | None, weights: dict[str, Tensor]
) -> ForecastModel:
    """Build a model and give it its weights.

    Parameters
    ----------
    head, backbone : mapping
        Fields of :class:`ForecastConfig` and :class:`BackboneConfig`.
    weights : dict of Tensor

    Returns
    -------
    ForecastModel
        In the precision of its weights.

    Raises
    ------
    ValueError
        Fields and weights do not fit each other. Nothing is made before they do, so fields ask for
        no more memory than the weights take.
    """
    _refuse_larger(head, backbone, weights)
    configs = ForecastConfig(**head), None if backbone is None else BackboneConfig(**backbone)
    with torch.device("meta"):  # shapes without memory
        expected = {k: v.shape for k, v in ForecastModel(*configs).state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "missing"
        wanted = tuple(expected[name]) if name in expected else "none"
        if found != wanted:
            raise ValueError(f"the weight {name[:80]!r} has the shape {found}, expected {wanted}")
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, for nothing
        model = ForecastModel(*configs)
    # Trained with precision="64-true", weights are float64. Not .to(float32) for others: it would
    # round the statistics of covariates, which are float64 always.
    if weights["head.project.weight"].dtype == torch.float64:
        model.double()
    model.load_state_dict(weights)
    return model


def _refuse_larger(
    head: Mapping[str, Any], backbone: Mapping[str, Any] | None, weights: dict[str, Tensor]
) -> None:
    most = 64 + sum(weight.numel() for weight in weights.values())
    for name, value in [*head.items(), *(backbone or {}).items()]:
        numbers = value if isinstance(value, tuple | list) else (value,)
        for number in numbers:
            if isinstance(number, int) and name not in LENGTHS and number > most:
                raise ValueError(f"{name}={number} does not go with {most - 64} weights")
    if backbone is not None and isinstance(backbone.get("depth"), int):
        depth = backbone["depth"]
        if depth > len(weights):
            raise ValueError(f"depth={depth} does not go with {len(weights)} arrays of weights")
