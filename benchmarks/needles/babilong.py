"""Facts scattered over any text, and a question about them, in the manner of BABILong.

After Kuratov et al., 2024 (arXiv:2406.10149), whose first two tasks (of bAbI) these are: where a
person is, and where the thing is that a person took. Facts come in order, anywhere in the text; the
fact that decides the answer is at the depth asked for, and all that would change it comes before.
"""

from __future__ import annotations

import numpy as np

from benchmarks.needles.cases import Case
from benchmarks.needles.haystack import Haystack

__all__ = ["TASKS", "facts"]

TASKS = ("qa1", "qa2")
PEOPLE = ("Mary", "John", "Daniel", "Sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")


def facts(
    task: str,
    haystack: Haystack,
    length: int,
    depth: float,
    rng: np.random.Generator,
    *,
    n_facts: int = 6,
) -> Case:
    """A case of one or of two supporting facts.

    Parameters
    ----------
    task : {"qa1", "qa2"}
        "Where is Mary?", or "Where is the football?", which Mary took before she went on.
    haystack : Haystack
    length : int
        Tokens of the prompt, question included.
    depth : float
        Share of the text before the fact that decides, 0 to 1; it starts at that very token, unless
        a fact before it reaches there.
    rng : numpy.random.Generator
    n_facts : int, default 6
        That decide nothing, beside those that do.
    """
    person, *others = rng.permutation(PEOPLE)
    thing = rng.choice(THINGS)
    answer, *elsewhere = rng.permutation(PLACES)

    def moved(who: str, where: str) -> bytes:
        return f"{who} went to the {where}. ".encode()

    before = [moved(rng.choice(PEOPLE), rng.choice(elsewhere)) for _ in range(n_facts // 2)]
    if task == "qa2":
        before.append(f"{person} took the {thing}. ".encode())
    # Others may still move; their moves change nothing.
    after = [moved(rng.choice(others), rng.choice(PLACES)) for _ in range(n_facts - n_facts // 2)]
    subject = person if task == "qa1" else f"the {thing}"
    question = f" Where is {subject}? In the ".encode()
    decides = moved(person, answer)
    free = length - len(question) - sum(map(len, [*before, decides, *after]))
    if free < 0:
        raise ValueError(f"A prompt of {length} tokens cannot hold its facts; {-free} are missing.")
    shown = round(depth * (free + sum(map(len, before)) + sum(map(len, after))))
    n_before = sum(map(len, before))
    # Of the text: how much stands before each fact.
    at = min(max(shown - n_before, 0), free)
    gaps = [*np.sort(rng.integers(0, at + 1, len(before))), at]
    gaps += list(np.sort(rng.integers(at, free + 1, len(after))))
    inserts, written = [], 0
    for gap, fact in zip(gaps, [*before, decides, *after], strict=True):
        inserts.append((int(gap) + written, fact))
        written += len(fact)
    phase = int(rng.choice(haystack.starts))
    return Case(haystack, phase, tuple(inserts), question, answer.encode(), length)
