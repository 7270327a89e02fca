"""Whose progress it is: what must be the same for a fit to go on, and what differs in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.persistence.plain_json import encode

__all__ = ["difference", "fingerprint_of_series", "fingerprint_of_windows", "identity_of"]

# Of an estimator's parameters, those that change nothing about what is learnt; and those that
# the data tell: what a transform makes of them is what is fingerprinted.
_FREE = {"verbose", "target_transform", "random_state"}


def identity_of(parameters: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Parameters as JSON keeps them, and a fingerprint of the data."""
    return {
        "parameters": {
            name: _plain(value) for name, value in parameters.items() if name not in _FREE
        },
        "data": fingerprint,
    }


def fingerprint_of_series(series: SeriesSet) -> str:
    """A checksum of series and their covariates; one pass over the rows, some at a time."""
    digest = hashlib.blake2b(digest_size=20)
    _add(digest, series)
    return digest.hexdigest()


def fingerprint_of_windows(windows: TrainingWindows, *shape: Any) -> str:
    """A checksum of all that training reads; one pass over the rows, some at a time.

    ``shape`` is what else the data say of the model, such as its season by their frequency: numbers
    of numpy are those of Python.
    """
    words = json.dumps(_plain(shape), sort_keys=True)
    digest = hashlib.blake2b(words.encode(), digest_size=20)
    rows = windows.train if windows.validation is None else windows.validation
    _add(digest, rows.series)
    for index in windows:
        if index is None:
            continue
        digest.update(f"{index.context_length} {index.horizon} {index.stride}".encode())
        for numbers in (index.series.lengths, index.first_origin):
            digest.update(b"" if numbers is None else np.asarray(numbers, np.int64).tobytes())
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, series: SeriesSet) -> None:
    digest.update(repr((series.channels, series.ids, series.lengths.shape)).encode())
    digest.update(series.lengths.astype(np.int64).tobytes())
    for block in series.blocks():
        digest.update(np.ascontiguousarray(block.values, np.float64).data)
        digest.update(np.packbits(block.observed).data)
    for part in (series.past, series.known):
        digest.update(b"-" if part is None else b"+")
        if part is not None:
            _add(digest, part)
    if series.static is not None:
        digest.update(np.ascontiguousarray(series.static, np.float64).data)


def _plain(value: Any) -> Any:
    """A parameter as JSON; of what JSON cannot keep, such as a callback, its class."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    try:
        return encode(value)
    except TypeError:
        return f"{type(value).__module__}.{type(value).__qualname__}"


def difference(header: dict[str, Any], mine: dict[str, Any]) -> str | None:
    """What tells two fits apart, in words."""
    its = header["parameters"]
    for name in sorted(its.keys() | mine["parameters"].keys()):
        if its.get(name) != mine["parameters"].get(name):
            return f"{name} was {its.get(name)!r} there and is {mine['parameters'].get(name)!r} now"
    if header["data"] != mine["data"]:
        return (
            "the data, or the rows that are set aside for validation, or their frequency were "
            "others"
        )
    if mine["seed"] is not None and header["seed"] != mine["seed"]:
        return "random_state was another"
    return None
