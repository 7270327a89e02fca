"""Training of a recipe: any number of sittings, one after another, give what one would."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.needles.batches import training_batch
from benchmarks.needles.recipes import Recipe
from benchmarks.recipes import same_recipe
from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.memory import NeuralMemory

__all__ = ["make_model", "read_weights", "train", "write_cost"]

N_TOKENS = 256
SAVE_EVERY = 60.0  # seconds
# Logits of a step size that is as good as none: exp(-16) of a write.
FLOOR = -16.0


def make_model(recipe: Recipe) -> TokenModel:
    """A new model; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return TokenModel(N_TOKENS, recipe.backbone)


@contextmanager
def watch_gates(model: nn.Module) -> Iterator[list[Tensor]]:
    """What the gates of all memories say while the model reads, a tensor a call."""
    seen: list[Tensor] = []
    memories = [module for module in model.modules() if isinstance(module, NeuralMemory)]

    def note(memory: NeuralMemory) -> object:
        def hook(module: nn.Module, given: object, logits: Tensor) -> None:
            kinds = logits.unflatten(-1, (3, -1))
            seen.append(kinds[..., 0, :])
            if memory.has_forgetting:
                seen.append(kinds[..., 2, :])

        return memory.gates.register_forward_hook(hook)

    hooks = [note(memory) for memory in memories]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()  # type: ignore[attr-defined]


def write_cost(logits: list[Tensor]) -> Tensor:
    """What writing and forgetting cost: how far, on average, their logits are above the floor.

    What a needle's memory suffers from a token of noise is small, and a loss over a thousand tokens
    hardly feels it; over a million tokens it is everything. In the logarithm of a rate, the push
    towards nothing is as strong at a rate of a ten-thousandth as at a half, and only tokens
    whose writes help an answer withstand it.
    """
    return torch.stack([(each - FLOOR).relu().mean() for each in logits]).mean()


def rate_at(step: int, n_steps: int) -> float:
    warm_up = min(max(n_steps // 20, 1), 100)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up + 1)))


def train(recipe: Recipe, folder: Path, *, seconds: float = math.inf) -> TokenModel:
    """Train a recipe, from where the last sitting in ``folder`` left it, and keep it there.

    Parameters
    ----------
    recipe : Recipe
    folder : Path
        Made where it is missing.
    seconds : float, optional
        Length of this sitting; default: until the recipe's last step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.pt"
    model = make_model(recipe)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )
    first, spent, right = 0, 0.0, 0.0
    if progress.exists():
        kept = _read_progress(progress, recipe)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first, spent, right = kept["step"], kept["seconds"], kept["right"]
    started = saved = time.monotonic()

    def save(step: int) -> None:
        kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        kept |= {"seconds": spent + time.monotonic() - started, "right": right}
        part = progress.with_suffix(".part")
        torch.save(kept | {"recipe": repr(asdict(recipe))}, part)
        part.replace(progress)

    for step in range(first, recipe.n_steps):
        if time.monotonic() - started > seconds:
            save(step)
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate_at(step, recipe.n_steps)
        loss, cost, share = _losses(model, *training_batch(recipe, step))
        optimizer.zero_grad()
        # The weight is zero, not the term left out: gates get a gradient at every step.
        weight = recipe.write_cost if right >= recipe.cost_from else 0.0
        (loss + weight * cost).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        right = 0.95 * right + 0.05 * share
        now = time.monotonic()
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1} of {recipe.n_steps}, {spent + now - started:.0f} s: loss "
                f"{loss.item():.4f}, {right:.1%} of answers right, cost {cost.item():.2f}",
                flush=True,
            )
        if now - saved > SAVE_EVERY:
            save(step + 1)
            saved = now
    else:
        save(recipe.n_steps)
    return model


def _losses(model: TokenModel, tokens: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, float]:
    """The answers' loss, what was written, and the share of answers without a mistake."""
    with watch_gates(model) as gates:
        vectors, _ = model.vectors(tokens[:, :-1], need_state=False)
    wanted = answers[:, 1:]
    logits, targets = model.to_logits(vectors[wanted]), tokens[:, 1:][wanted]
    wrong = torch.zeros_like(wanted)
    wrong[wanted] = logits.argmax(-1) != targets
    share = float((~wrong.any(1)).float().mean())
    return nn.functional.cross_entropy(logits, targets), write_cost(gates), share


def read_weights(
    recipe: Recipe, folder: Path, *, memory: bool = True
) -> tuple[TokenModel, dict[str, float]]:
    """The model as the last sitting left it; its steps, minutes of training and weights.

    Without ``memory``, nothing is ever written to it.
    """
    progress = folder / "progress.pt"
    if not progress.exists():
        raise SystemExit(f"{folder} holds no progress; train the recipe first.")
    kept = _read_progress(progress, recipe)
    if not memory:
        recipe = replace(recipe, backbone=replace(recipe.backbone, memory_writes=False))
    model = make_model(recipe)
    model.load_state_dict(kept["model"])
    about = {
        "steps": kept["step"],
        "all_steps": recipe.n_steps,
        "minutes": round(kept["seconds"] / 60, 1),
    }
    return model.eval(), about | {"weights": model.n_parameters}


def _read_progress(file: Path, recipe: Recipe) -> dict[str, Any]:
    kept: dict[str, Any] = torch.load(file, weights_only=True)
    was, now = ast.literal_eval(kept["recipe"]), asdict(recipe)
    same_backbone = same_recipe(was.pop("backbone"), now.pop("backbone"), asdict(BackboneConfig()))
    if not same_backbone or not same_recipe(was, now, asdict(Recipe())):
        raise SystemExit(f"{file.parent} holds progress of another recipe; move it away first.")
    return kept
