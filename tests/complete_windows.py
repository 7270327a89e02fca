"""Windows without a gap, and models of every kind that forecast them."""

import numpy as np
import torch

from titans_ts.config import BackboneConfig
from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel

BATCH, CHANNELS, HORIZON, PATCH, PATCHES = 5, 3, 7, 2, 13
TIME = PATCH * PATCHES


def make_batch(n_known=0):
    """Fully observed windows with a level, and covariates known in advance."""
    rng = np.random.default_rng(0)
    rows = 5 + rng.normal(size=(BATCH, TIME + HORIZON, CHANNELS)).cumsum(axis=1)
    rows = torch.from_numpy(rows * 10.0 ** np.arange(CHANNELS))
    seen = torch.ones(rows.shape, dtype=torch.bool)
    known = torch.from_numpy(rng.normal(size=(BATCH, TIME + HORIZON, n_known)))
    return WindowBatch(
        rows[:, :TIME],
        seen[:, :TIME],
        rows[:, TIME:],
        seen[:, TIME:],
        torch.full((1, CHANNELS), 3.0, dtype=torch.float64),
        torch.arange(CHANNELS)[None],
        known=known if n_known else None,
        known_observed=torch.ones(known.shape, dtype=torch.bool) if n_known else None,
    )


def make_model(variant="lmm", *, highway_length=TIME - 6, **head):
    """A model whose weights have all been moved, since it starts from a forecast of zero."""
    config = ForecastConfig(
        horizon=HORIZON,
        patch_length=PATCH,
        highway_length=highway_length,
        running_memory=17,
        n_channels=CHANNELS,
        **head,
    )
    shape = BackboneConfig(variant=variant, dim=8, n_heads=2, chunk_size=2, segment_length=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForecastModel(config, shape)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return model.double().eval()
