"""Batches of windows, cut when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.heads.base import WindowBatch

__all__ = ["WindowBatches", "training_loader", "validation_loader"]


class WindowBatches(Dataset[WindowBatch]):
    """Batches by number, as tensors.

    Parameters
    ----------
    windows : WindowIndex
    channel_scale : ndarray of shape (channels,)
    by_channel : bool
        Every channel of a window is an example of its own; number ``i`` is then window
        ``i // channels`` and channel ``i % channels``.
    """

    def __init__(self, windows: WindowIndex, channel_scale: np.ndarray, by_channel: bool) -> None:
        self.windows, self.channel_scale, self.by_channel = windows, channel_scale, by_channel
        self.n_channels = len(channel_scale) if by_channel else 1

    def __len__(self) -> int:
        return len(self.windows) * self.n_channels

    def __getitem__(self, numbers: np.ndarray) -> WindowBatch:
        if not self.by_channel:
            return to_batch(self.windows.cut(numbers), self.channel_scale[None])
        window, channel = np.divmod(numbers, self.n_channels)
        return to_batch(self.windows.cut(window, channel), self.channel_scale[channel, None])


def to_batch(cut: CutWindows, channel_scale: np.ndarray) -> WindowBatch:
    """Cut windows as tensors; ``channel_scale`` of shape (batch or 1, channels)."""
    context, observed, target, target_observed = (
        torch.from_numpy(np.ascontiguousarray(array)) for array in cut[:4]
    )
    scale = torch.from_numpy(channel_scale)
    return WindowBatch(context, observed, target, target_observed, scale)


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
