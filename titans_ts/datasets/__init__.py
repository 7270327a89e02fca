"""Data sets: a simulated transformer station that needs no network.

Public names are imported on first use (PEP 562), as in :mod:`titans_ts`.
"""

from importlib import import_module
from typing import Any

_HOMES = {"make_transformer_station": "titans_ts.datasets.transformer_station"}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
