"""Lightning's Trainer for any model: quiet, and plain about Ctrl+C and what it cannot take."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from titans_ts.errors import ParameterError
from titans_ts.parameters import check_int
from titans_ts.training.callbacks import OneProgressBar, TellLoggers
from titans_ts.training.settings import TrainingSettings, uses_cuda
from titans_ts.training.sharded import FullySharded

__all__ = ["check_settings", "make_trainer", "plain_interrupt", "quiet_lightning"]

# What a memory learns in one step is lost in half the digits; "mixed" keeps it in float32.
NO_PRECISIONS = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")

# What Lightning makes of a fit that we cannot follow.
NO_OPTIONS = {
    "barebones": "leaves out the judging of epochs, by which the best is kept",
    "overfit_batches": "has an order of rows of its own, not of windows; use limit_train_batches",
}


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
        # Every process draws all batches, and takes its share of each.
        "use_distributed_sampler": False,
        **settings.trainer_kwargs,
    }
    if options["enable_progress_bar"]:
        callbacks = [*callbacks, OneProgressBar()]
    if options["logger"] and settings.hyperparameters:
        callbacks = [*callbacks, TellLoggers(settings.hyperparameters)]
    more = options.get("callbacks") or []
    options["callbacks"] = [*callbacks, *([more] if isinstance(more, Callback) else more)]
    if options.get("strategy") == "fsdp":
        options["strategy"] = FullySharded()
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
    _check_kwargs(settings.trainer_kwargs)
    precision = settings.trainer_kwargs.get("precision", settings.precision)
    if precision in NO_PRECISIONS:
        raise ParameterError(
            f"precision={precision!r} would keep the memory in few digits; use "
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


def _check_kwargs(given: Mapping[str, Any]) -> None:
    """Refuse what Lightning would take, and fail with in the midst of a fit."""
    for name, why in NO_OPTIONS.items():
        if given.get(name):
            raise ParameterError(f"trainer_kwargs has {name}={given[name]!r}, which {why}.")
    for name in ("max_epochs", "min_epochs", "max_steps", "min_steps"):
        check_int(f"{name} in trainer_kwargs", given.get(name), minimum=-1, optional=True)
    for name, kind in (("callbacks", Callback), ("logger", Logger)):
        value = given.get(name)
        if value is None or (name == "logger" and isinstance(value, bool)):
            continue
        several = isinstance(value, Iterable) and not isinstance(value, str | kind)
        if not all(isinstance(one, kind) for one in (value if several else [value])):
            raise ParameterError(
                f"trainer_kwargs has {name}={value!r}, expected a {kind.__name__} of Lightning, or "
                "a list of some."
            )


@contextmanager
def plain_interrupt() -> Iterator[None]:
    """Let Ctrl+C be a KeyboardInterrupt, and SIGTERM an exit with the status of that signal.

    At Ctrl+C Lightning ends the process, and ignores further ones; at SIGTERM it leaves with 0, as
    if all were done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None:  # None: set by other code than Python's
            signal.signal(signal.SIGINT, handler)


# Loggers, filters of warnings and torch's generator are the process's, and a fit sets them aside
# and back: of threads that fit, one at a time does so.
_ALONE = threading.RLock()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and hints to itself; what is asked for is not touched.

    One thread at a time is inside; another waits.
    """
    with _ALONE:
        yield from _quiet_lightning()


def _quiet_lightning() -> Iterator[None]:
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
            # Nothing writes into what a model in shards returns.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
