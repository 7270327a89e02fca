"""train: fit a model of forecasts to windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from titans_ts.data.store import ArrayStore
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.checkpoint import CheckpointFolder
from titans_ts.training.data import WindowBatches, training_loader, validation_loader
from titans_ts.training.loop import Prepared, TrainingResult, run_training
from titans_ts.training.module import TrainingModule
from titans_ts.training.settings import TrainingSettings, uses_cuda

__all__ = ["train"]

# Steps of an epoch on a small set, where its windows need not be drawn more than four times for it.
LEAST_STEPS = 50

# Examples that are judged at a time; more take more memory than a step of training does.
MOST_JUDGED = 512

# Bytes of a table up to which a copy of it is made for training.
MOST_COPIED = 256 << 20


def train(
    model: ForecastModel,
    windows: TrainingWindows,
    channel_scale: np.ndarray,
    settings: TrainingSettings,
    *,
    n_origins: int,
    seed: int,
    checkpoint: CheckpointFolder | None = None,
) -> TrainingResult:
    """Train a model in place.

    An epoch draws one window for every ``patch_length`` origins of every channel: neighbouring
    origins say nearly the same. On small sets it is longer, up to 50 steps. Validation judges the
    forecasts at every ``patch_length``-th origin, after every epoch; training stops when
    ``patience`` epochs brought nothing better, and the best weights are put back. Where no target
    of those was observed, it is as if there were no validation.

    Parameters
    ----------
    model : ForecastModel
    windows : TrainingWindows
    channel_scale : ndarray of shape (n_series, channels)
        What errors of a channel are measured in.
    settings : TrainingSettings
    n_origins : int
        Patches at the end of each context after which a forecast is trained.
    seed : int
        For the order of windows and for dropout; the global random state is left as it was.
    checkpoint : CheckpointFolder, optional
        Where progress is kept, and gone on from.

    Returns
    -------
    TrainingResult

    Raises
    ------
    DeviceMemoryError
        Memory ended, with ``batch_size="auto"`` even for one sequence a step.
    NonFiniteLossError
        The loss is no number any more.
    KeyboardInterrupt
        Ctrl+C came before anything had been learnt; see ``TrainingResult.interrupted``.
    """
    cuda = uses_cuda(settings.accelerator)
    head = model.head.config
    if not head.channel_mixing:
        windows = _by_column(windows)
    data = WindowBatches(windows.train, channel_scale, by_channel=not head.channel_mixing)
    judged, n_judged = None, 1
    if windows.validation is not None and len(windows.validation):
        index, n_judged = _spread(windows.validation, head.patch_length, n_origins)
        judged = WindowBatches(index, channel_scale, by_channel=not head.channel_mixing)
        if not _any_target(judged, model, n_judged):
            judged = None

    def prepare(batch_size: int) -> Prepared:
        # Small sets see their windows more than once, or eight epochs would be a few dozen steps.
        few = min(LEAST_STEPS * batch_size, 4 * len(data))
        n_drawn = max(len(data) // head.patch_length, few)
        module = TrainingModule(model, settings, n_origins=n_origins, n_validation_origins=n_judged)
        batches = training_loader(
            data, n_drawn=n_drawn, batch_size=batch_size, seed=seed, pin_memory=cuda
        )
        if judged is None:
            return Prepared(module, batches)
        size = min(4 * batch_size, MOST_JUDGED)
        return Prepared(
            module, batches, validation_loader(judged, batch_size=size, pin_memory=cuda)
        )

    return run_training(prepare, settings, seed=seed, checkpoint=checkpoint)


def _any_target(judged: WindowBatches, model: ForecastModel, n_origins: int) -> bool:
    """Whether a target was observed; the first batch nearly always has one."""
    return any(
        int(model.n_observed_targets(batch, n_origins))
        for batch in validation_loader(judged, batch_size=MOST_JUDGED)
    )


def _by_column(windows: TrainingWindows) -> TrainingWindows:
    """The same windows, quick to cut channel by channel; a very large table stays as it is."""
    store = windows.train.series.store
    if not isinstance(store, ArrayStore) or store.values.nbytes > MOST_COPIED:
        return windows
    by_column = store.by_column()

    def moved(index: WindowIndex) -> WindowIndex:
        if index.series.store is not store:
            return index
        return replace(index, series=replace(index.series, store=by_column))

    validation = windows.validation
    return TrainingWindows(moved(windows.train), validation and moved(validation))


def _spread(windows: WindowIndex, patch_length: int, n_origins: int) -> tuple[WindowIndex, int]:
    """Windows whose last ``n`` origins together stand at every ``patch_length``-th origin."""
    first = np.asarray(windows.first_origin)
    room = windows.series.lengths - windows.horizon - first
    n_judged = room[room >= 0] // patch_length + 1
    # No more than the shortest series has room for: a longer window would leave it out.
    most = min(n_origins, int(n_judged.min()))
    # What is left over at the end is not judged; with half as many a window it may be far less.
    n = min(range(most, most // 2, -1), key=lambda n: int((n_judged % n).sum()))
    spread = WindowIndex(
        windows.series,
        windows.context_length,
        windows.horizon,
        # A window's first origin is n - 1 patches before its last; not before ``first`` either.
        first_origin=first + (n - 1) * patch_length,
        stride=n * patch_length,
    )
    return spread, n
