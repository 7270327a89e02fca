"""Training through Lightning, and nowhere else.

Lightning is imported by what trains, on first use: who only forecasts never waits for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from titans_ts.training.settings import TrainingSettings, uses_cuda

if TYPE_CHECKING:
    from titans_ts.training.fit import TrainingResult, check_settings, train

__all__ = ["TrainingResult", "TrainingSettings", "check_settings", "train", "uses_cuda"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("titans_ts.training.fit"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
