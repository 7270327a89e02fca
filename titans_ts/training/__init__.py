"""Training through Lightning, and nowhere else.

Lightning is imported by what trains, on first use: who only forecasts never waits for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from titans_ts.training.settings import TrainingSettings, uses_cuda

if TYPE_CHECKING:
    from titans_ts.training.fit import TrainingResult, train
    from titans_ts.training.trainer import check_settings

__all__ = ["TrainingResult", "TrainingSettings", "check_settings", "train", "uses_cuda"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "trainer" if name == "check_settings" else "fit"
        return getattr(import_module(f"titans_ts.training.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
