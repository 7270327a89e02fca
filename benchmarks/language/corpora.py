"""Real texts as bytes, in the splits that come with them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["CORPORA", "Splits", "read_splits"]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CORPORA = ("wikitext-2", "shakespeare")


class Splits(NamedTuple):
    """Bytes of a corpus, each an array of uint8."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def read_splits(corpus: str) -> Splits:
    """A corpus, from the folder that ``TITANS_TS_SHARED_DATA`` names or ``../shared/data``.

    WikiText-2 has splits of its own; of tiny Shakespeare, the first 90 % are for training, and
    5 % each for validation and test.
    """
    named = os.environ.get("TITANS_TS_SHARED_DATA")
    folder = (Path(named) if named else SHARED) / "text"
    if corpus == "wikitext-2":
        names = (f"wiki.{split}.tokens.gz" for split in ("train", "valid", "test"))
        return Splits(*(_bytes(folder / "wikitext-2" / name) for name in names))
    text = _bytes(folder / "tinyshakespeare.txt.gz")
    return Splits(*np.split(text, [int(0.9 * len(text)), int(0.95 * len(text))]))


def _bytes(file: Path) -> np.ndarray:
    if not file.exists():
        raise SystemExit(
            f"The corpus file {file} is missing. Set TITANS_TS_SHARED_DATA to the folder that "
            "holds the folder text."
        )
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8)
