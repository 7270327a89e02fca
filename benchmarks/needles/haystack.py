"""What needles are hidden in: endless text, of which any stretch can be read by itself.

Tokens are bytes. A haystack knows its text once, however long it is asked to be.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

__all__ = ["NOISE", "Haystack", "noise", "read_text"]

#: The repeated noise of RULER (Hsieh et al., 2024, arXiv:2404.06654), as in the pass-key task.
NOISE = (
    b"The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
)

TEXTS = {
    "shakespeare": ("tinyshakespeare.txt.gz",),
    "wikitext": ("wikitext-2", "wiki.train.tokens.gz"),
}


class Haystack:
    """A text that starts anew when it has ended.

    Parameters
    ----------
    text : bytes
    starts : array of int, optional
        Places at which a sentence starts; default: after each full stop and blank.
    """

    def __init__(self, text: bytes, starts: np.ndarray | None = None) -> None:
        self.text = np.frombuffer(text, np.uint8)
        if starts is None:
            stops = (self.text[:-1] == ord(".")) & np.isin(self.text[1:], (32, 10))
            starts = (np.flatnonzero(stops) + 2) % len(self.text)
        self.starts = starts if len(starts) else np.zeros(1, int)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Bytes ``start`` to ``stop`` of the endless text; both may be negative."""
        first = start % len(self.text)
        if first + stop - start <= len(self.text):
            return self.text[first : first + stop - start]
        return self.text[np.arange(start, stop) % len(self.text)]


def noise() -> Haystack:
    """RULER's five sentences, again and again."""
    return Haystack(NOISE)


def read_text(name: str = "shakespeare") -> Haystack:
    """A real text, from the folder that ``TITANS_TS_SHARED_DATA`` names or ``../shared/data``.

    Any other name is that of a file.
    """
    if name not in TEXTS:
        return Haystack(Path(name).read_bytes())
    named = os.environ.get("TITANS_TS_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "data"
    path = folder.joinpath("text", *TEXTS[name])
    if not path.exists():
        raise SystemExit(
            f"The text {name!r} is not in the folder that TITANS_TS_SHARED_DATA names, nor in "
            "../shared/data. Name a file of your own instead."
        )
    return Haystack(gzip.decompress(path.read_bytes()))
