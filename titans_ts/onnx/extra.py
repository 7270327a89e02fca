"""Packages of the extra ``onnx``, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from titans_ts.errors import ParameterError

__all__ = ["needed"]


def needed(name: str) -> Any:
    """Import a package of the extra, or say how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"ONNX needs the package {name}, which is not installed: pip install 'titans-ts[onnx]'."
        ) from error
