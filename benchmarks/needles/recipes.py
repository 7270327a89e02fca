"""Named recipes: a backbone, what it is trained on, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from titans_ts.config import BackboneConfig

__all__ = ["RECIPES", "Recipe"]

#: A matrix memory that learns a pair at a time and forgets nothing of its own accord. Its
#: convolutions see the whole of an answer, so that digits are told apart by their place in it: with
#: the paper's width of 4, a number that repeats three digits is a question with two answers.
BACKBONE = BackboneConfig(
    variant="mag",
    dim=64,
    depth=1,
    n_heads=2,
    n_memory_heads=1,
    memory_depth=1,
    chunk_size=1,
    conv_width=8,
    momentum=False,
    forgetting=False,
    segment_length=32,
    window=64,
    dropout=0.0,
)


@dataclass(frozen=True)
class Recipe:
    """How a model comes about, from its first weights to its last.

    Parameters
    ----------
    backbone : BackboneConfig
    kinds : tuple of str
        Needles of these kinds, or facts ("qa1", "qa2"), drawn alike.
    shortest, longest : int
        Tokens of a training prompt. Lengths are drawn log-uniformly from the shortest to a bound
        that has grown to the longest when ``growing`` of the steps are over.
    growing : float
    n_steps : int
    step_tokens : int
        Of all prompts of a step, about.
    learning_rate, weight_decay : float
    write_cost : float
        Weight of :func:`~benchmarks.needles.training.write_cost` beside the answers' loss.
    cost_from : float
        Share of right answers, lately, from which writing costs. Above zero where the cost would
        end all writing before any has been of use.
    """

    backbone: BackboneConfig = BACKBONE
    kinds: tuple[str, ...] = ("passkey",)
    shortest: int = 128
    longest: int = 1024
    growing: float = 0.6
    n_steps: int = 3000
    step_tokens: int = 4096
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    write_cost: float = 0.01
    cost_from: float = 0.0
    seed: int = field(default=0)


def _passkey(**changes: object) -> Recipe:
    return Recipe(backbone=replace(BACKBONE, **changes))  # type: ignore[arg-type]


# Attention needs two layers to look up what followed; and a window that holds needle and question.
WIDE = {"dim": 128, "depth": 2, "n_heads": 4, "n_memory_heads": 2, "window": 128}

RECIPES = {
    "passkey": Recipe(),
    "passkey-lmm": _passkey(variant="lmm"),
    "passkey-mac": _passkey(variant="mac"),
    "passkey-paper-conv": replace(_passkey(conv_width=4), n_steps=6000),
    # The paper's own memory: two layers, momentum and forgetting, in chunks.
    "passkey-deep": replace(
        _passkey(memory_depth=2, memory_expansion=2, chunk_size=8, momentum=True, forgetting=True),
        cost_from=0.5,
    ),
    # One thing taken away: what writing costs; that, and never forgetting.
    "passkey-free-writes": replace(Recipe(), write_cost=0.0),
    "passkey-forgets": replace(_passkey(forgetting=True), write_cost=0.0),
    # A model that can do without memory inside its window, with and without one.
    "passkey-wide": replace(_passkey(**WIDE), n_steps=6000),
    "passkey-wide-off": replace(
        _passkey(**WIDE, memory_writes=False), n_steps=6000, write_cost=0.0, shortest=112
    ),
    "needles": replace(
        _passkey(**WIDE), kinds=("passkey", "number", "word"), shortest=144, n_steps=20_000
    ),
    "facts": replace(_passkey(**WIDE), kinds=("qa1", "qa2"), shortest=384, n_steps=20_000),
}
