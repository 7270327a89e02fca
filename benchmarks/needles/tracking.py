"""Tracking of a state: parity, and what permutations of five things come to.

A fixed number of layers of attention, or of a linear recurrence whose transition has eigenvalues
between 0 and 1, cannot track either over any length (Merrill et al., 2024, arXiv:2404.08819; Grazzi
et al., 2024, arXiv:2411.12537). A delta rule with steps of up to 2 has the eigenvalue -1: each of
its writes is a reflection, and a swap of two things is one.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.language.contenders import LSTMBackbone
from benchmarks.needles.training import rate_at
from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel

__all__ = ["CONTENDERS", "TRACKED", "draw_words", "make_tracker", "track"]

#: Tokens and states of each task.
TRACKED = {"parity": (2, 2), "s5-swaps": (10, 120), "s5": (120, 120)}

COMMON = BackboneConfig(
    variant="lmm",
    dim=64,
    depth=1,
    n_heads=2,
    memory_depth=1,
    chunk_size=1,
    momentum=False,
    forgetting=False,
    segment_length=8,
    dropout=0.0,
)

CONTENDERS: dict[str, tuple[dict[str, Any], type[nn.Module] | None]] = {
    # The inner gradient is twice the error: a step size of 1 reflects, one of 1/2 forgets.
    "memory, reflecting": ({}, None),
    "memory, not reflecting": ({"max_step_size": 0.5}, None),
    "memory with momentum": ({"momentum": True}, None),
    "memory of two layers": ({"memory_depth": 2, "memory_expansion": 2}, None),
    "two blocks": ({"depth": 2}, None),
    "attention alone": ({"variant": "mag", "depth": 2, "memory_writes": False}, None),
    "LSTM": ({}, LSTMBackbone),
}


@cache
def _group() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All permutations of five, ``product[a, b]`` (a after b), and the ten that swap two."""
    everything = np.array(list(itertools.permutations(range(5))))
    number = {tuple(p): i for i, p in enumerate(everything.tolist())}
    product = np.array([[number[tuple(a[b])] for b in everything] for a in everything])
    swaps = np.flatnonzero((everything != np.arange(5)).sum(1) == 2)
    return everything, product, swaps


def draw_words(
    task: str, n: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens, and the state after each; both of shape (n, length).

    Parameters
    ----------
    task : {"parity", "s5-swaps", "s5"}
        Whether the ones so far are odd; which permutation the swaps, or permutations, so far are.
    n, length : int
    rng : numpy.random.Generator
    """
    tokens = rng.integers(0, TRACKED[task][0], (n, length))
    if task == "parity":
        return tokens, tokens.cumsum(1) % 2
    _, product, swaps = _group()
    elements = swaps[tokens] if task == "s5-swaps" else tokens
    states = np.empty_like(tokens)
    states[:, 0] = elements[:, 0]
    for t in range(1, length):
        states[:, t] = product[elements[:, t], states[:, t - 1]]
    return tokens, states


@dataclass(frozen=True)
class Lesson:
    """How trackers are trained: every state of a short sequence is asked for."""

    n_steps: int = 2000
    batch: int = 128
    longest: int = 32
    learning_rate: float = 3e-3


def make_tracker(name: str, task: str, seed: int) -> TokenModel:
    """A contender that reads a task's tokens and tells its states."""
    changes, other = CONTENDERS[name]
    config = replace(COMMON, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TokenModel(max(TRACKED[task]), config, tied=False)
        if other is not None:
            model.backbone = other(config)  # type: ignore[assignment]
    return model


def _batch(task: str, n: int, length: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    tokens, states = draw_words(task, n, length, rng)
    return torch.from_numpy(tokens), torch.from_numpy(states)


def track(
    name: str, task: str, file: Path, *, seed: int = 0, lesson: Lesson | None = None
) -> dict[str, Any]:
    """Train one contender on lengths up to ``lesson.longest``, and test it on longer ones.

    The outcome is kept in ``file`` beside those of others; one that is there is not made again.
    """
    lesson = lesson or Lesson()
    kept = json.loads(file.read_text()) if file.exists() else []
    place = {"contender": name, "task": task, "seed": seed, "steps": lesson.n_steps}
    for found in kept:
        if place.items() <= found.items():
            return dict(found)
    model = make_tracker(name, task, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lesson.learning_rate, weight_decay=0.01)
    started = time.monotonic()
    for step in range(lesson.n_steps):
        rng = np.random.default_rng([seed, step])
        # Short ones first: a state far ahead is learnt from one that is near.
        bound = 3 + (lesson.longest - 3) * min(2 * step / lesson.n_steps, 1)
        tokens, states = _batch(task, lesson.batch, int(rng.integers(2, math.ceil(bound) + 1)), rng)
        for group in optimizer.param_groups:
            group["lr"] = lesson.learning_rate * rate_at(step, lesson.n_steps)
        loss, _ = model.loss(tokens, states, need_state=False)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    accuracy = {}
    for length in (lesson.longest, 2 * lesson.longest, 4 * lesson.longest, 16 * lesson.longest):
        tokens, states = _batch(task, 200, length, np.random.default_rng([1, length]))
        with torch.no_grad():
            logits, _ = model(tokens, need_state=False)
        # Of the last quarter: what comes first is easy for anybody.
        right = (logits.argmax(-1) == states)[:, -length // 4 :]
        accuracy[str(length)] = round(float(right.float().mean()), 4)
    outcome = place | {
        "weights": model.n_parameters,
        "loss": round(loss.item(), 4),
        "accuracy": accuracy,
        "seconds": round(time.monotonic() - started, 1),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([*kept, outcome], indent=1) + "\n")
    return outcome
