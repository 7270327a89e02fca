"""Batches of windows, cut when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.heads.base import WindowBatch

# Of CutWindows, in the order of WindowBatch's last fields.
COVARIATES = ("past", "past_observed", "known", "known_observed", "static")

__all__ = ["WindowBatches", "training_loader", "validation_loader"]


class WindowBatches(Dataset[WindowBatch]):
    """Batches by number, as tensors.

    Parameters
    ----------
    windows : WindowIndex
    channel_scale : ndarray of shape (n_series, channels)
    by_channel : bool
        Every channel of a window is an example of its own; number ``i`` is then window
        ``i // channels`` and channel ``i % channels``.
    """

    def __init__(self, windows: WindowIndex, channel_scale: np.ndarray, by_channel: bool) -> None:
        self.windows, self.channel_scale, self.by_channel = windows, channel_scale, by_channel
        self.n_channels = channel_scale.shape[1] if by_channel else 1

    def __len__(self) -> int:
        return len(self.windows) * self.n_channels

    def __getitem__(self, numbers: np.ndarray) -> WindowBatch:
        if not self.by_channel:
            cut = self.windows.cut(numbers)
            return to_batch(cut, self.channel_scale[cut.series])
        window, channel = np.divmod(numbers, self.n_channels)
        cut = self.windows.cut(window, channel)
        return to_batch(cut, self.channel_scale[cut.series, channel][:, None], channel[:, None])


def to_batch(
    cut: CutWindows, channel_scale: np.ndarray, channel: np.ndarray | None = None
) -> WindowBatch:
    """Cut windows as tensors.

    Parameters
    ----------
    cut : CutWindows
    channel_scale : ndarray of shape (batch or 1, channels)
    channel : ndarray of the same shape, int, optional
        Which channels these are. Default: all, in order.
    """
    if channel is None:
        channel = np.arange(cut.context.shape[2])[None]

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    covariates = (getattr(cut, name) for name in COVARIATES)
    return WindowBatch(
        tensor(cut.context),
        tensor(cut.context_observed),
        tensor(cut.target),
        tensor(cut.target_observed),
        tensor(channel_scale),
        tensor(channel),
        *(None if array is None else tensor(array) for array in covariates),
    )


class _RandomBatches(Sampler[np.ndarray]):
    """As many examples as an epoch takes, drawn anew each epoch."""

    def __init__(self, n_examples: int, n_drawn: int, batch_size: int, seed: int) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size
        self.n_drawn = n_drawn
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-self.n_drawn // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        # With replacement: a permutation would hold the number of every window there is. And batch
        # by batch: an epoch of billions of windows has millions of numbers.
        for start in range(0, self.n_drawn, self.batch_size):
            n = min(self.batch_size, self.n_drawn - start)
            yield self.rng.integers(self.n_examples, size=n)


class _OrderedBatches(Sampler[np.ndarray]):
    """Every example once, in order."""

    def __init__(self, n_examples: int, batch_size: int) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, self.n_examples, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.n_examples))


def training_loader(
    data: WindowBatches, *, n_drawn: int, batch_size: int, seed: int
) -> DataLoader[WindowBatch]:
    """Batches of windows drawn at random, ``n_drawn`` windows an epoch."""
    batches = _RandomBatches(len(data), n_drawn, batch_size, seed)
    return DataLoader(data, sampler=batches, batch_size=None)


def validation_loader(data: WindowBatches, *, batch_size: int) -> DataLoader[WindowBatch]:
    """All windows once."""
    return DataLoader(data, sampler=_OrderedBatches(len(data), batch_size), batch_size=None)
