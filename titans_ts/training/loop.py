"""run_training: the loop that every model is trained by, quietly, to its best weights.

A forecaster, a language model and a genomics model differ in their batches and in their loss. The
rest is here, once: best weights by validation loss with patience, the average of the weights,
history, Ctrl+C that keeps the best so far, a loss that is no number said in words, progress in a
folder that survives ``kill -9``, a batch that fits in memory, and seeds that touch nothing global.

A plug-in says what a loss is, in a :class:`~titans_ts.training.loop_module.LoopModule`, and hands
over its batches as any iterable with a length, such as a torch ``DataLoader``.

Examples
--------
>>> import torch
>>> from torch.utils.data import DataLoader, TensorDataset
>>> from titans_ts.training import LoopModule, Prepared, TrainingSettings, run_training
>>> class Regression(LoopModule):
...     def training_loss(self, batch):
...         x, y = batch
...         return torch.nn.functional.mse_loss(self.model(x), y)
>>> x = torch.linspace(-1, 1, 96)[:, None]
>>> settings = TrainingSettings(max_epochs=9, batch_size=16, learning_rate=0.1, patience=3)
>>> model = torch.nn.Linear(1, 1)
>>> def prepare(batch_size):
...     order = torch.Generator().manual_seed(0)
...     return Prepared(
...         Regression(model, settings),
...         DataLoader(TensorDataset(x, 3 * x + 1), batch_size, shuffle=True, generator=order),
...         DataLoader(TensorDataset(x[::5], 3 * x[::5] + 1), batch_size),
...     )
>>> result = run_training(prepare, settings, seed=0)
>>> sorted(result.history[0])
['epoch', 'train_loss', 'validation_loss']
>>> result.history[-1]["validation_loss"] < result.history[0]["validation_loss"]
True
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from titans_ts.errors import DeviceMemoryError
from titans_ts.nn.weights import load_in_their_precision
from titans_ts.training.callbacks import BestWeights, History, WeightAverage, WholeSteps
from titans_ts.training.checkpoint import CheckpointFolder
from titans_ts.training.faults import FiniteLoss, explain_out_of_memory
from titans_ts.training.loop_module import LoopModule
from titans_ts.training.ranks import Agreement, HandOver, fit
from titans_ts.training.resume import Learner, SaveProgress
from titans_ts.training.settings import TrainingSettings, uses_cuda
from titans_ts.training.trainer import make_trainer, plain_interrupt, quiet_lightning

__all__ = ["Batches", "Prepared", "TrainingResult", "run_training"]

# What "auto" starts from. More would learn something else: rate and schedule are made for this one.
DEFAULT_BATCH_SIZE = 64


class Batches(Iterable[Any], Sized, Protocol):
    """Batches of an epoch, as many as its length.

    A fit that goes on from its progress draws the batches it has seen once more, so their order
    may depend on a seed of the loader's own, and not on the global random state. One that has an
    attribute ``n_skipped`` is told there how many of them will not be looked at.
    """


class Prepared(NamedTuple):
    """What is trained, and on what."""

    module: LoopModule
    batches: Batches
    validation: Batches | None = None  # None: the last weights are kept


class TrainingResult(NamedTuple):
    """What came of training; the model itself was changed in place."""

    history: list[dict[str, float]]  # one entry an epoch
    best_epoch: int | None  # whose weights the model now has; None: the last, without validation
    batch_size: int  # of the steps
    interrupted: bool = False  # Ctrl+C came after something had been learnt


def run_training(
    prepare: Callable[[int], Prepared],
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: CheckpointFolder | None = None,
) -> TrainingResult:
    """Train a model in place, and leave it on the CPU with its best weights.

    Validation judges after every epoch; training stops when ``patience`` epochs brought nothing
    better, and the best weights are put back.

    Parameters
    ----------
    prepare : callable
        Called with a batch size, for a module and its batches. Called again, with half of it,
        where memory ended with ``batch_size="auto"``: always around the same model, whose first
        weights are put back.
    settings : TrainingSettings
    seed : int
        For dropout; the global random state is left as it was.
    checkpoint : CheckpointFolder, optional
        Where progress is kept, and gone on from.

    Returns
    -------
    TrainingResult

    Raises
    ------
    DeviceMemoryError
        Memory ended, with ``batch_size="auto"`` even for one example a step.
    NonFiniteLossError
        The loss is no number any more.
    KeyboardInterrupt
        Ctrl+C came before anything had been learnt; see ``TrainingResult.interrupted``.
    """
    found = None if checkpoint is None else checkpoint.found
    size = settings.batch_size
    if isinstance(size, str):
        size = DEFAULT_BATCH_SIZE if found is None else int(found.state["batch_size"])
    prepared = prepare(size)
    model = prepared.module.model
    if checkpoint is not None and found is not None and found.finished:
        with checkpoint.explain_misfit():
            load_in_their_precision(model, found.tensors)
            model.eval()
            return TrainingResult(**found.state)
    first_weights = {k: v.clone() for k, v in model.state_dict().items()}
    while True:
        try:
            with explain_out_of_memory(size, asked=settings.batch_size):
                result = _run(
                    prepared,
                    replace(settings, batch_size=size),
                    seed=seed,
                    checkpoint=checkpoint,
                    asked=settings.batch_size,
                )
            break
        except DeviceMemoryError:
            if settings.batch_size != "auto" or size == 1:
                raise
        # Outside the handler: what it caught holds on to the tensors of the step that failed, and
        # so does the Trainer, which is part of a circle.
        del prepared
        gc.collect()
        size //= 2
        model.load_state_dict(first_weights)
        if checkpoint is not None:
            checkpoint.forget()  # steps of the larger batch, from which this one cannot go on
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        prepared = prepare(size)
    if checkpoint is not None and not result.interrupted:
        state = result._asdict()
        checkpoint.finish(state, {k: v.clone() for k, v in model.state_dict().items()})
    return result


def _run(
    prepared: Prepared,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: CheckpointFolder | None,
    asked: int | str,
) -> TrainingResult:
    assert isinstance(settings.batch_size, int)
    module, batches, validation = prepared
    learner = Learner(
        History(),
        WeightAverage(settings.average_decay),
        BestWeights(settings.patience) if validation is not None else None,
        FiniteLoss(settings.learning_rate),
    )
    progress = None
    if checkpoint is not None:
        progress = SaveProgress(checkpoint, learner, batches, settings.batch_size)
    interrupted = False
    gpus = list(range(torch.cuda.device_count())) if uses_cuda(settings.accelerator) else []
    with quiet_lightning(), torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        hand_over = HandOver(learner.history, learner.best)
        callbacks = [WholeSteps(), Agreement(seed, asked), *learner, progress, hand_over]
        trainer = make_trainer(settings, [c for c in callbacks if c is not None])
        try:
            with plain_interrupt():
                fit(trainer, module, batches, validation, hand_over)
        except KeyboardInterrupt:
            if module.whole_model:
                raise  # its shards cannot be put together: other processes may have ended
            if progress is not None:
                progress.restore_learner(module)
            if not learner.put_back(module):
                raise
            interrupted = True
        finally:
            if module.graphed is not None:
                module.graphed.forget()
        module.model.cpu().eval()
    history, _, best, _ = learner
    return TrainingResult(
        history.epochs, best.best_epoch if best else None, settings.batch_size, interrupted
    )
