"""Saved forecasters: a folder of one JSON and one safetensors file; no pickle, no code."""

from titans_ts.persistence.folder import (
    FORMAT_VERSION,
    check_save_path,
    fingerprint,
    load_forecaster,
    save_forecaster,
)

__all__ = [
    "FORMAT_VERSION",
    "check_save_path",
    "fingerprint",
    "load_forecaster",
    "save_forecaster",
]
