"""train: fit a model to windows, quietly, and leave it with its best weights."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from titans_ts.data.store import ArrayStore
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DeviceMemoryError, ParameterError
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.training.callbacks import BestWeights, History, OneProgressBar, WeightAverage
from titans_ts.training.checkpoint import CheckpointFolder
from titans_ts.training.data import WindowBatches, training_loader, validation_loader
from titans_ts.training.faults import FiniteLoss, explain_out_of_memory
from titans_ts.training.module import TrainingModule
from titans_ts.training.resume import Learner, SaveProgress
from titans_ts.training.settings import TrainingSettings, uses_cuda

__all__ = ["TrainingResult", "check_settings", "train"]

# Steps of an epoch on a small set, where its windows need not be drawn more than four times for it.
LEAST_STEPS = 50

# What "auto" starts from. More would learn something else: rate and schedule are made for this one.
DEFAULT_BATCH_SIZE = 64

# Examples that are judged at a time; more take more memory than a step of training does.
MOST_JUDGED = 512

# Bytes of a table up to which a copy of it is made for training.
MOST_COPIED = 256 << 20

# What a memory learns in one step is lost in half the digits; "mixed" keeps it in float32.
NO_PRECISIONS = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


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


def make_trainer(settings: TrainingSettings, callbacks: list[Callback]) -> Trainer:
    """A Trainer that writes no file and prints nothing beyond one bar, unless asked to."""
    precision, accelerator = settings.precision, settings.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if uses_cuda("auto") else "cpu"
    if precision is None:
        # On a CPU, bfloat16 gains nothing here: the products are small, and casts cost as much.
        precision = "bf16-mixed" if uses_cuda(settings.accelerator) else "32-true"
    options: dict[str, Any] = {
        "max_epochs": settings.max_epochs,
        # Lightning's own "auto" would take Apple's GPU, which has no float64.
        "accelerator": accelerator,
        "devices": settings.devices,
        "precision": precision,
        "gradient_clip_val": settings.gradient_clip,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": settings.verbose > 0,
        **settings.trainer_kwargs,
    }
    if options["enable_progress_bar"]:
        callbacks = [*callbacks, OneProgressBar()]
    more = options.get("callbacks") or []
    options["callbacks"] = [*callbacks, *([more] if isinstance(more, Callback) else more)]
    return Trainer(**options)


def check_settings(settings: TrainingSettings) -> None:
    """Raise ParameterError where Lightning would refuse, so that it is known before data are read.

    Raises
    ------
    ParameterError
        With Lightning's own words.
    """
    if not isinstance(settings.trainer_kwargs, Mapping):
        raise ParameterError(
            "trainer_kwargs must be a mapping of arguments of Lightning's Trainer, such as "
            f"{{'max_steps': 100}}; got {settings.trainer_kwargs!r}."
        )
    if settings.precision in NO_PRECISIONS:
        raise ParameterError(
            f"precision={settings.precision!r} would keep the memory in few digits; use "
            "'bf16-mixed', which computes as fast."
        )
    names = ("accelerator", "devices", "precision", "trainer_kwargs")
    try:
        with quiet_lightning():
            make_trainer(settings, [])
    # Lightning raises whatever its depths raise, its own MisconfigurationException among them.
    except Exception as error:
        given = ", ".join(f"{name}={getattr(settings, name)!r}" for name in names)
        raise ParameterError(f"Lightning's Trainer cannot take {given}: {error}") from error


@contextmanager
def plain_interrupt() -> Iterator[None]:
    """Let Ctrl+C be a KeyboardInterrupt; Lightning ends the process, and ignores further ones."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None:  # None: set by other code than Python's
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and hints to itself; what is asked for is not touched."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Its advice on data workers does not fit windows that are cut in memory.
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", module=r"torch\.utils\.data.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
