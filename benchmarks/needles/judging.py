"""Accuracy by length and depth, at constant memory: prompts are read a piece at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from benchmarks.needles.batches import draw_case, find_haystack
from benchmarks.needles.cases import Case
from benchmarks.speed.memory_peak import from_proc
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import tensors_of

__all__ = ["DEPTHS", "answers_to", "interval", "judge", "judge_cell"]

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Tokens of all prompts of a batch that are read at a time.
PIECE = 4096


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's interval, in which the true accuracy lies in 95 of 100 such tests."""
    found = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def answers_to(
    model: TokenModel, cases: list[Case], *, piece: int = PIECE
) -> tuple[list[bytes], dict[str, float]]:
    """What the model says after prompts of one length, a byte at a time, and what memory it took.

    Parameters
    ----------
    model : TokenModel
    cases : list of Case
    piece : int
        Tokens of all prompts together that are read at a time.
    """
    length, n_answer = cases[0].length, max(len(case.answer) for case in cases)
    size = max(piece // len(cases), 1)
    state, logits, resident = None, None, []
    with torch.no_grad():
        for start in range(0, length, size):
            rows = np.stack([case.read(start, start + size) for case in cases])
            vectors, state = model.vectors(torch.from_numpy(rows.astype(np.int64)), state)
            logits = model.to_logits(vectors[:, -1])
            resident.append(_resident())
        said = []
        for i in range(n_answer):
            assert logits is not None
            said.append(logits.argmax(-1))
            if i + 1 < n_answer:
                vectors, state = model.vectors(said[-1][:, None], state)
                logits = model.to_logits(vectors[:, -1])
    texts = [bytes(row) for row in torch.stack(said, 1).to(torch.uint8).numpy()]
    # Of the second half beyond the first: what is allocated for a piece comes and goes.
    half = (len(resident) + 1) // 2
    first = max(resident[:half])
    grown = max(max(resident[half:], default=first) - first, 0) / 2**20
    held = sum(x.numel() * x.element_size() for x in tensors_of(state)) / len(cases)
    return texts, {"state_bytes": held, "grown_mib": round(grown, 2)}


def _resident() -> int:
    size = from_proc("self/status", "VmRSS")
    return 0 if size is None else int(size.split()[0]) * 1024


def judge_cell(
    model: TokenModel, kind: str, haystack: str, length: int, depth: float, n: int, *, rows: int
) -> dict[str, Any]:
    """Answers to ``n`` cases of one length and depth, always the same ones."""
    rng = np.random.default_rng([len(kind), length, round(1000 * depth)])
    text = find_haystack(haystack, "judging")
    cases = [draw_case(kind, text, length, depth, rng) for _ in range(n)]
    started, right, memory = time.monotonic(), 0, {"state_bytes": 0.0, "grown_mib": 0.0}
    for first in range(0, n, rows):
        some = cases[first : first + rows]
        said, found = answers_to(model, some)
        right += sum(a.startswith(case.answer) for a, case in zip(said, some, strict=True))
        memory = {name: max(memory[name], found[name]) for name in memory}
    cell: dict[str, Any] = {"kind": kind, "haystack": haystack, "length": length, "depth": depth}
    cell |= {"cases": n, "right": right, "seconds": round(time.monotonic() - started, 1)}
    return cell | memory


def judge(
    model: TokenModel,
    file: Path,
    *,
    about: dict[str, Any],
    kind: str,
    haystack: str,
    lengths: Iterable[int],
    n_cases: int = 200,
    depths: Iterable[float] = DEPTHS,
    rows: int = 40,
) -> list[dict[str, Any]]:
    """Judge a model cell by cell, and keep each in a file; what is there is not done again.

    Parameters
    ----------
    model : TokenModel
    file : Path
        JSON. Of another model (another ``about``), it is begun anew.
    about : dict
        What the model is: recipe, steps, weights.
    kind, haystack : str
    lengths : iterable of int
    n_cases : int
        Of each length, in equal parts at all depths.
    depths : iterable of float
    rows : int
        Prompts that are read side by side.

    Returns
    -------
    list of dict
        All cells of the file.
    """
    depths = list(depths)
    n = max(n_cases // len(depths), 1)
    kept = json.loads(file.read_text()) if file.exists() else {}
    cells = kept["cells"] if kept.get("model") == about else []
    for length in lengths:
        for depth in depths:
            place = {"kind": kind, "haystack": haystack, "length": length, "depth": depth}
            same = [c for c in cells if place.items() <= c.items()]
            if any(c["cases"] >= n for c in same):
                continue
            cell = judge_cell(model, kind, haystack, length, depth, n, rows=rows)
            cells = [c for c in cells if c not in same] + [cell]
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_text(json.dumps({"model": about, "cells": cells}, indent=1) + "\n")
            part.replace(file)
            low, high = interval(cell["right"], n)
            print(
                f"{kind} {length:,} tokens, depth {depth:g}: {cell['right']} of {n} right "
                f"({low:.0%} to {high:.0%}), {cell['seconds']:.0f} s",
                flush=True,
            )
    return cells
