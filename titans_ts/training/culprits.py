"""name_culprits: the windows that made a loss no number, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.data import WindowBatches, WindowLoader

__all__ = ["name_culprits"]

# Windows that a message names.
MOST_NAMED = 5


def name_culprits(model: ForecastModel, n_origins: int, loader: Any, place: int) -> str:
    """Name the windows of a batch whose own loss is no number, by series, channel and rows.

    Parameters
    ----------
    model : ForecastModel
    n_origins : int
        Of the training loss.
    loader : WindowLoader
        That the batch came from.
    place : int
        Of the batch in its epoch.

    Returns
    -------
    str
        Empty where the batch is not remembered any more.
    """
    if not (isinstance(loader, WindowLoader) and isinstance(loader.dataset, WindowBatches)):
        return ""
    numbers = dict(loader.recent).get(place)
    if numbers is None:
        return ""
    return _named(loader.dataset, _culprits(model, n_origins, loader, numbers))


def _culprits(
    model: ForecastModel, n_origins: int, loader: WindowLoader, numbers: np.ndarray
) -> np.ndarray:
    """Those of a batch whose own loss is no number; all, where that cannot be told any more."""
    weights = list(model.parameters())
    found, was_training = [], model.training
    if not all(bool(p.isfinite().all()) for p in weights):
        return numbers
    model.eval()
    try:
        with torch.no_grad():
            for number in numbers:
                batch = loader.dataset[np.array([number])].to(weights[0].device)
                if not bool(model.training_loss(batch, n_origins).isfinite()):
                    found.append(number)
    finally:
        model.train(was_training)
    return np.array(found) if found else numbers


def _named(data: WindowBatches, numbers: np.ndarray) -> str:
    """Windows by series, channel and rows, as far as a sentence holds them."""
    index = data.windows
    window, channel = np.divmod(np.unique(numbers), data.n_channels)
    series, origin = index.locate(window)
    ids, channels = index.series.ids, index.series.channels
    words: dict[str, tuple[int, int]] = {}
    for s, c, o in zip(series, channel, origin, strict=True):
        name = f"series {int(s) if ids is None else ids[s]!r}"
        name += f", channel {channels[c]!r}" if data.by_channel else f", channels {channels!r}"
        first, stop = max(int(o) - index.context_length, 0), int(o) + index.horizon
        low, high = words.get(name, (first, stop))
        words[name] = min(low, first), max(high, stop)
    shown = [f"{name} (rows {a} to {b - 1})" for name, (a, b) in words.items()][:MOST_NAMED]
    more = len(words) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
