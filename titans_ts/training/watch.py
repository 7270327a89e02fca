"""watching: let a plain function look on while a forecaster trains, and stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["ValidationWatch", "watching"]


class ValidationWatch(Callback):
    """Tell a function the validation loss after every epoch; training ends where it says so.

    Parameters
    ----------
    seen : callable
        Called as ``seen(epoch, validation_loss)``; True ends the training after this epoch. The
        forecaster keeps the best weights so far, as with ``patience``.
    """

    def __init__(self, seen: Callable[[int, float], bool]) -> None:
        self.seen = seen

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self.seen(trainer.current_epoch, float(trainer.callback_metrics["validation_loss"])):
            trainer.should_stop = True


def watching(
    trainer_kwargs: Mapping[str, Any] | None, seen: Callable[[int, float], bool]
) -> dict[str, Any]:
    """Return ``trainer_kwargs`` of a forecaster with a :class:`ValidationWatch` added.

    Parameters
    ----------
    trainer_kwargs : mapping or None
        Left as it is.
    seen : callable
        As for :class:`ValidationWatch`.

    Examples
    --------
    >>> from titans_ts.training.watch import watching
    >>> list(watching({"max_steps": 10}, lambda epoch, loss: loss < 0.1))
    ['max_steps', 'callbacks']
    """
    given = dict(trainer_kwargs or {})
    others = given.get("callbacks") or []
    others = [others] if isinstance(others, Callback) else list(others)
    return {**given, "callbacks": [*others, ValidationWatch(seen)]}
