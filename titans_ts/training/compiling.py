"""CompileModel: torch.compile for a fit, and for nothing behind it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from titans_ts.training.loop_module import LoopModule

__all__ = ["CompileModel"]


class CompileModel(Callback):
    """Train through ``torch.compile``, and leave the model as it was.

    A switch of how a fit is computed, not of what is learnt, so it is a callback in
    ``trainer_kwargs`` and no parameter of the forecaster. It works with every model of the
    training loop. The first step waits for the compiler, minutes for large models.

    Parameters
    ----------
    **options
        As ``torch.compile`` takes them, such as ``mode="max-autotune"``.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.training import CompileModel
    >>> forecaster = TitansForecaster(trainer_kwargs={"callbacks": CompileModel()})
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LoopModule)
        # In place: a wrapper would give every weight another name.
        pl_module.model.compile(**self.options)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._undo(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._undo(pl_module)

    def _undo(self, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LoopModule)
        pl_module.model._compiled_call_impl = None
