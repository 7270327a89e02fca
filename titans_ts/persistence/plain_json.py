"""Python values as JSON and back, tuples, paths, small arrays and infinities included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

__all__ = ["decode", "encode"]

# JSON has no such types, so they are written as {TAG: type, "value": ...}.
TAG = "__type__"

# Bytes that an array of text may take.
MOST_ROOM = 64 << 20


def encode(value: Any) -> Any:
    """Turn a value into what ``json.dumps(..., allow_nan=False)`` takes.

    Parameters
    ----------
    value : None, bool, int, float, str, list, tuple, mapping, Path or numpy scalar or array
        Nested at will. Numpy scalars come back as Python's own, arrays as arrays of their dtype,
        mappings of every kind as dicts.

    Raises
    ------
    TypeError
        It is, or holds, something else.

    Examples
    --------
    >>> encode({"quantiles": (0.1, 0.9)})
    {'quantiles': {'__type__': 'tuple', 'value': [0.1, 0.9]}}
    >>> decode(encode({"quantiles": (0.1, 0.9)}))
    {'quantiles': (0.1, 0.9)}
    """
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    # Subclasses, such as an enum's members, would lose what they are.
    if type(value) is str:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, PurePath):
        return {TAG: "path", "value": str(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {TAG: "array", "dtype": value.dtype.str, "value": encode(value.tolist())}
    if type(value) is tuple:
        return {TAG: "tuple", "value": [encode(item) for item in value]}
    if type(value) is list:
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: encode(item) for key, item in value.items()}
        pairs = [[encode(key), encode(item)] for key, item in value.items()]
        return {TAG: "dict", "value": pairs}
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def decode(value: Any) -> Any:
    """Undo :func:`encode`.

    Raises
    ------
    ValueError
        A tag is unknown; the value was not written by :func:`encode`.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decode(item) for key, item in value.items()}
    kind, inner = value[TAG], value["value"]
    if kind == "float":
        return float(inner)
    if kind == "path":
        return Path(inner)
    if kind == "array":
        return _array(decode(inner), value["dtype"])
    if kind == "tuple":
        return tuple(decode(item) for item in inner)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in inner}
    raise ValueError(f"unknown type {str(kind)[:40]!r} in JSON")


def _array(items: Any, code: str) -> np.ndarray:
    dtype, words = np.dtype(code), list(_words(items))
    # In an array every word takes the room of the longest, or of what the type says.
    longest = max((len(word) for word in words), default=0)
    room = max(dtype.itemsize if dtype.kind == "U" else 0, 4 * longest) * len(words)
    natural = np.empty(0, object) if room > MOST_ROOM else np.array(items)
    # Numbers made words would take as much room as the type says.
    taken = "U" if dtype.kind == "U" and natural.size else "biufU"
    if dtype.kind not in "biufU" or natural.dtype.kind not in taken:
        raise ValueError(f"an array of type {str(code)[:40]!r} in JSON, of {natural.dtype}")
    return natural.astype(dtype)


def _words(items: Any) -> Iterator[str]:
    if isinstance(items, str):
        yield items
    elif isinstance(items, list):
        for item in items:
            yield from _words(item)
