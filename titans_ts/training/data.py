"""Batches of windows, cut when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from titans_ts.data.store import is_all_true
from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.heads.base import WindowBatch

# Numbers of windows that are drawn at a time: a draw takes as long as a small batch takes to cut.
MOST_DRAWN = 1 << 15

# Batches whose numbers are remembered: more than pass between two looks at the loss.
MOST_RECENT = 128

# The mask where all is observed, of any shape and of no size.
EVERYTHING = torch.ones((), dtype=torch.bool)

__all__ = ["WindowBatches", "WindowLoader", "to_batch", "training_loader", "validation_loader"]


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
    return WindowBatch(
        _tensor(cut.context),
        _tensor(cut.context_observed),
        _tensor(cut.target),
        _tensor(cut.target_observed),
        _tensor(channel_scale),
        _tensor(channel),
        past=_optional(cut.past),
        past_observed=_optional(cut.past_observed),
        known=_optional(cut.known),
        known_observed=_optional(cut.known_observed),
        static=_optional(cut.static),
        context_complete=_complete(cut.context_observed),
        target_complete=_complete(cut.target_observed),
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor, without a copy where it may be shared."""
    if is_all_true(array):
        return EVERYTHING.expand(array.shape)
    # torch refuses to share what is read-only, such as rows of a broadcast mask.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _optional(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else _tensor(array)


def _complete(mask: np.ndarray) -> bool:
    return is_all_true(mask) or bool(mask.all())


class _RandomBatches(Sampler[np.ndarray]):
    """As many examples as an epoch takes, drawn anew each epoch."""

    def __init__(self, n_examples: int, n_drawn: int, batch_size: int, seed: int) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size
        self.n_drawn = n_drawn
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-self.n_drawn // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        # With replacement: a permutation would hold the number of every window there is. And some
        # at a time: an epoch of billions of windows has millions of numbers.
        many = max(MOST_DRAWN // self.batch_size, 1) * self.batch_size
        for start in range(0, self.n_drawn, many):
            numbers = self.rng.integers(self.n_examples, size=min(many, self.n_drawn - start))
            for first in range(0, len(numbers), self.batch_size):
                yield numbers[first : first + self.batch_size]


class _OrderedBatches(Sampler[np.ndarray]):
    """Every example once, in order."""

    def __init__(self, n_examples: int, batch_size: int) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, self.n_examples, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.n_examples))


class WindowLoader(DataLoader[WindowBatch]):
    """A DataLoader that hands over what the data set cut, without workers.

    Neither workers nor a thread would help: a batch is cut in a tenth of a millisecond, less than a
    worker takes to pass it on, and a GPU is busy with the steps queued before while it is cut. From
    pinned memory it is copied there without anybody waiting for it. To Lightning this is a
    DataLoader like any other, whose sampler it may replace for several devices.

    Attributes
    ----------
    recent : deque of (int, ndarray)
        Place in the epoch, and numbers of the examples, of the last batches.
    n_skipped : int
        So many batches are drawn and not cut: one batch stands in for them all.
    """

    n_skipped = 0

    @cached_property
    def recent(self) -> deque[tuple[int, np.ndarray]]:
        return deque(maxlen=MOST_RECENT)

    def __iter__(self) -> Iterator[WindowBatch]:  # type: ignore[override]
        # DataLoader's own iterator takes as long for its book-keeping as a batch takes to cut.
        stand_in: WindowBatch | None = None
        for place, numbers in enumerate(self.sampler):
            if self.n_skipped:
                self.n_skipped -= 1
                if stand_in is None:
                    stand_in = self.dataset[numbers]
                yield stand_in
                continue
            self.recent.append((place, numbers))
            batch = self.dataset[numbers]
            yield batch.pin_memory() if self.pin_memory else batch


def training_loader(
    data: WindowBatches, *, n_drawn: int, batch_size: int, seed: int, pin_memory: bool = False
) -> WindowLoader:
    """Batches of windows drawn at random, ``n_drawn`` windows an epoch."""
    batches = _RandomBatches(len(data), n_drawn, batch_size, seed)
    return WindowLoader(data, sampler=batches, batch_size=None, pin_memory=pin_memory)


def validation_loader(
    data: WindowBatches, *, batch_size: int, pin_memory: bool = False
) -> WindowLoader:
    """All windows once."""
    batches = _OrderedBatches(len(data), batch_size)
    return WindowLoader(data, sampler=batches, batch_size=None, pin_memory=pin_memory)
