"""Training through Lightning, and nowhere else.

Lightning is imported by what trains, on first use: who only forecasts never waits for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from titans_ts.training.settings import TrainingSettings, uses_cuda

if TYPE_CHECKING:
    from titans_ts.training.compiling import CompileModel
    from titans_ts.training.device import DeviceMixin
    from titans_ts.training.fit import train
    from titans_ts.training.graphed import EagerSteps
    from titans_ts.training.learning_rate import LearningRates, find_learning_rate
    from titans_ts.training.loop import Prepared, TrainingResult, run_training
    from titans_ts.training.loop_module import LoopModule
    from titans_ts.training.trainer import check_settings

__all__ = [
    "CompileModel",
    "DeviceMixin",
    "EagerSteps",
    "LearningRates",
    "LoopModule",
    "Prepared",
    "TrainingResult",
    "TrainingSettings",
    "check_settings",
    "find_learning_rate",
    "run_training",
    "train",
    "uses_cuda",
]

_HOMES = {
    "CompileModel": "compiling",
    "DeviceMixin": "device",
    "EagerSteps": "graphed",
    "LearningRates": "learning_rate",
    "LoopModule": "loop_module",
    "Prepared": "loop",
    "TrainingResult": "loop",
    "check_settings": "trainer",
    "find_learning_rate": "learning_rate",
    "run_training": "loop",
    "train": "fit",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"titans_ts.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
