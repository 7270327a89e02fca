"""Cases of any kind, and batches of them for training."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from benchmarks.needles.babilong import TASKS, facts
from benchmarks.needles.cases import KINDS, Case, needle
from benchmarks.needles.haystack import Haystack, noise, read_text
from benchmarks.needles.recipes import Recipe

__all__ = ["draw_case", "find_haystack", "training_batch", "training_length"]


@cache
def find_haystack(name: str, part: str) -> Haystack:
    """The noise, or a text of which the first nine tenths are for training, the rest for judging.

    Parameters
    ----------
    name : str
        "noise", "shakespeare", "wikitext", or a file's name.
    part : {"training", "judging"}
    """
    if name == "noise":
        return noise()
    text = read_text(name).text
    cut = len(text) * 9 // 10
    return Haystack((text[:cut] if part == "training" else text[cut:]).tobytes())


def draw_case(
    kind: str, haystack: Haystack, length: int, depth: float, rng: np.random.Generator
) -> Case:
    """A needle or facts, whichever ``kind`` names."""
    draw = facts if kind in TASKS else needle
    return draw(kind, haystack, length, depth, rng)


def default_haystack(kind: str) -> str:
    return KINDS[kind].haystack if kind in KINDS else "shakespeare"


def training_length(recipe: Recipe, step: int, rng: np.random.Generator) -> int:
    """Tokens of the prompts of a step: short ones always, long ones later."""
    grown = min(step / max(recipe.growing * recipe.n_steps, 1), 1.0)
    longest = recipe.shortest * (recipe.longest / recipe.shortest) ** grown
    return round(np.exp(rng.uniform(np.log(recipe.shortest), np.log(longest))))


def training_batch(recipe: Recipe, step: int) -> tuple[Tensor, Tensor]:
    """Tokens of shape (batch, time + 1), and which of them are an answer's.

    A step's batch is the same whenever it is drawn.
    """
    rng = np.random.default_rng([recipe.seed, step])
    length = training_length(recipe, step, rng)
    kinds = rng.choice(recipe.kinds, max(recipe.step_tokens // length, 2))
    cases = [
        draw_case(
            kind, find_haystack(default_haystack(kind), "training"), length, rng.random(), rng
        )
        for kind in kinds
    ]
    longest = max(len(case.answer) for case in cases)
    tokens = np.zeros((len(cases), length + longest), np.int64)
    answers = np.zeros(tokens.shape, bool)
    for row, case in enumerate(cases):
        stop = length + len(case.answer)
        tokens[row, :length] = case.read(0, length)
        tokens[row, length:stop] = np.frombuffer(case.answer, np.uint8)
        answers[row, length:stop] = True
    return torch.from_numpy(tokens), torch.from_numpy(answers)
