"""Cases: a haystack with something in it, a question behind it, and the one right answer.

A case is read piece by piece; two million tokens of it never lie in memory at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.needles.haystack import Haystack

__all__ = ["KINDS", "Case", "Kind", "needle"]

#: Keys and words; none is part of another, or of RULER's noise.
WORDS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()


@dataclass(frozen=True)
class Kind:
    """One of RULER's single needles."""

    value: str  # "number" or "word"
    haystack: str  # where it is hidden unless something else is asked for


#: As the Titans paper names them. Numbers have seven digits, as in RULER.
KINDS = {
    "passkey": Kind("number", "noise"),
    "number": Kind("number", "shakespeare"),
    "word": Kind("word", "shakespeare"),
}


@dataclass(frozen=True)
class Case:
    """A prompt of a given length, and its answer.

    Parameters
    ----------
    haystack : Haystack
    phase : int
        Place in the haystack that the prompt's first byte shows.
    inserts : tuple of (int, bytes)
        What is in the haystack, in order: the place of its first byte in the prompt, and itself.
    question : bytes
        The prompt's end.
    answer : bytes
        What should follow the prompt.
    length : int
        Of the prompt, in tokens.
    """

    haystack: Haystack
    phase: int
    inserts: tuple[tuple[int, bytes], ...]
    question: bytes
    answer: bytes
    length: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens ``start`` to ``stop`` of the prompt, as bytes."""
        stop = min(stop, self.length)
        out = np.empty(max(stop - start, 0), np.uint8)
        parts = (*self.inserts, (self.length - len(self.question), self.question))
        at, hidden = 0, 0  # of the prompt, and how much of it before is no haystack
        for place, what in parts:
            # The haystack goes on behind what is in it where it had stopped.
            a, b = max(at, start), min(place, stop)
            if a < b:
                first = self.phase + a - hidden
                out[a - start : b - start] = self.haystack.read(first, first + b - a)
            at, hidden = place + len(what), hidden + len(what)
            a, b = max(place, start), min(at, stop)
            if a < b:
                out[a - start : b - start] = np.frombuffer(what, np.uint8)[a - place : b - place]
        return out


def needle(
    kind: str, haystack: Haystack, length: int, depth: float, rng: np.random.Generator
) -> Case:
    """A single needle (S-NIAH) in the words of RULER, the question cut to its answer's prefix.

    Parameters
    ----------
    kind : {"passkey", "number", "word"}
    haystack : Haystack
    length : int
        Tokens of the prompt, question included.
    depth : float
        Share of the haystack before the needle, 0 to 1. The needle starts at that very token; and
        since the haystack is turned until one ends there, between two sentences.
    rng : numpy.random.Generator
    """
    is_word = KINDS[kind].value == "word"
    name, value = (WORDS[i] for i in rng.choice(len(WORDS), 2, replace=False))
    if not is_word:
        value = str(rng.integers(1_000_000, 10_000_000))
    what = "word" if is_word else "number"
    hidden = f"One of the special magic {what}s for {name} is: {value}. ".encode()
    question = f" The special magic {what} for {name} is: ".encode()
    free = length - len(hidden) - len(question)
    if free < 0:
        raise ValueError(
            f"A prompt of {length} tokens cannot hold a needle and a question of "
            f"{len(hidden) + len(question)}; ask for more."
        )
    place = round(depth * free)
    phase = int(rng.choice(haystack.starts)) - place
    return Case(haystack, phase, ((place, hidden),), question, value.encode(), length)
