"""train: fit a model to windows, quietly, and leave it with its best weights."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from titans_ts.data.store import ArrayStore
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DeviceMemoryError
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.callbacks import BestWeights, History, WeightAverage
from titans_ts.training.checkpoint import CheckpointFolder
from titans_ts.training.data import WindowBatches, training_loader, validation_loader
from titans_ts.training.faults import FiniteLoss, explain_out_of_memory
from titans_ts.training.module import TrainingModule
from titans_ts.training.resume import Learner, SaveProgress
from titans_ts.training.settings import TrainingSettings, uses_cuda
from titans_ts.training.trainer import make_trainer, plain_interrupt, quiet_lightning

__all__ = ["TrainingResult", "train"]

# Steps of an epoch on a small set, where its windows need not be drawn more than four times for it.
LEAST_STEPS = 50

# What "auto" starts from. More would learn something else: rate and schedule are made for this one.
DEFAULT_BATCH_SIZE = 64

# Examples that are judged at a time; more take more memory than a step of training does.
MOST_JUDGED = 512

# Bytes of a table up to which a copy of it is made for training.
MOST_COPIED = 256 << 20


class TrainingResult(NamedTuple):
    """What came of training; the model itself was changed in place."""

    history: list[dict[str, float]]  # one entry an epoch
    best_epoch: int | None  # whose weights the model now has; None: the last, without validation
    batch_size: int  # of the steps
    interrupted: bool = False  # Ctrl+C came after something had been learnt


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
    ``patience`` epochs brought nothing better, and the best weights are put back.

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
    found = None if checkpoint is None else checkpoint.found
    if checkpoint is not None and found is not None and found.finished:
        with checkpoint.explain_misfit():
            model.load_state_dict(found.tensors)
            model.eval()
            return TrainingResult(**found.state)
    size = settings.batch_size
    if isinstance(size, str):
        size = DEFAULT_BATCH_SIZE if found is None else int(found.state["batch_size"])
    first_weights = {k: v.clone() for k, v in model.state_dict().items()}
    while True:
        try:
            with explain_out_of_memory(size, asked=settings.batch_size):
                result = _train(
                    model,
                    windows,
                    channel_scale,
                    replace(settings, batch_size=size),
                    n_origins=n_origins,
                    seed=seed,
                    checkpoint=checkpoint,
                )
            break
        except DeviceMemoryError:
            if settings.batch_size != "auto" or size == 1:
                raise
        # Outside the handler: what it caught holds on to the tensors of the step that failed, and
        # so does the Trainer, which is part of a circle.
        gc.collect()
        size //= 2
        model.load_state_dict(first_weights)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if checkpoint is not None and not result.interrupted:
        state = result._asdict()
        checkpoint.finish(state, {k: v.clone() for k, v in model.state_dict().items()})
    return result


def _train(
    model: ForecastModel,
    windows: TrainingWindows,
    channel_scale: np.ndarray,
    settings: TrainingSettings,
    *,
    n_origins: int,
    seed: int,
    checkpoint: CheckpointFolder | None,
) -> TrainingResult:
    assert isinstance(settings.batch_size, int)
    head = model.head.config
    if not head.channel_mixing:
        windows = _by_column(windows)
    data = WindowBatches(windows.train, channel_scale, by_channel=not head.channel_mixing)
    # Small sets see their windows more than once, or eight epochs would be a few dozen steps.
    few = min(LEAST_STEPS * settings.batch_size, 4 * len(data))
    n_drawn = max(len(data) // head.patch_length, few)
    cuda = uses_cuda(settings.accelerator)
    loader = training_loader(
        data, n_drawn=n_drawn, batch_size=settings.batch_size, seed=seed, pin_memory=cuda
    )
    judged, n_judged = None, 1
    if windows.validation is not None and len(windows.validation):
        index, n_judged = _spread(windows.validation, head.patch_length, n_origins)
        judged = validation_loader(
            WindowBatches(index, channel_scale, by_channel=not head.channel_mixing),
            batch_size=min(4 * settings.batch_size, MOST_JUDGED),
            pin_memory=cuda,
        )
    module = TrainingModule(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        n_origins=n_origins,
        n_validation_origins=n_judged,
    )
    learner = Learner(
        History(),
        WeightAverage(settings.average_decay),
        BestWeights(settings.patience) if judged is not None else None,
        FiniteLoss(settings.learning_rate),
    )
    progress = None
    if checkpoint is not None:
        progress = SaveProgress(checkpoint, learner, loader, settings.batch_size)
    interrupted = False
    gpus = list(range(torch.cuda.device_count())) if cuda else []
    with quiet_lightning(), torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        trainer = make_trainer(settings, [c for c in (*learner, progress) if c is not None])
        try:
            with plain_interrupt():
                trainer.fit(module, loader, judged)
        except KeyboardInterrupt:
            if progress is not None:
                progress.restore_learner(module)
            if not learner.put_back(module):
                raise
            interrupted = True
        model.cpu().eval()
    history, _, best, _ = learner
    return TrainingResult(
        history.epochs, best.best_epoch if best else None, settings.batch_size, interrupted
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
    room = int((windows.series.lengths - windows.horizon - first).max())
    n_judged = room // patch_length + 1
    most = max(min(n_origins, n_judged), 1)
    # What is left over at the end is not judged; with half as many a window it may be far less.
    n = min(range(most, most // 2, -1), key=lambda n: n_judged % n)
    spread = WindowIndex(
        windows.series,
        windows.context_length,
        windows.horizon,
        # A window's first origin is n - 1 patches before its last; not before ``first`` either.
        first_origin=first + (n - 1) * patch_length,
        stride=n * patch_length,
    )
    return spread, n
