"""A saved model again, from numbers that anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from titans_ts.config import BackboneConfig
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.nn.own_random import OwnRandom
from titans_ts.nn.weights import refuse_larger, refuse_other_shapes

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
    refuse_larger(head, weights, lengths=LENGTHS)
    refuse_larger(backbone or {}, weights, lengths=LENGTHS)
    # Written before there were any: a context that tells nothing led to a forecast of zero.
    for name, value in (("head.typical_level", 0.0), ("head.typical_spread", 1e-8)):
        if name not in weights:
            every = torch.full((head.get("n_channels", 1),), value, dtype=torch.float64)
            weights = {**weights, name: every}
    configs = ForecastConfig(**head), None if backbone is None else BackboneConfig(**backbone)
    refuse_other_shapes(lambda: ForecastModel(*configs), weights)
    with OwnRandom():  # first weights are drawn, for nothing
        model = ForecastModel(*configs)
    # Trained with precision="64-true", weights are float64. Not .to(float32) for others: it would
    # round the statistics of covariates, which are float64 always.
    if weights["head.project.weight"].dtype == torch.float64:
        model.double()
    model.load_state_dict(weights)
    return model
