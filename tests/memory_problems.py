"""Random memories and tokens for the tests of ``titans_ts.ops``, and how their results compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from titans_ts.ops.memory_state import MemoryGates, MemoryState, mask_gates

BATCH, HEADS, WIDTH, HIDDEN = 5, 3, 7, (11, 13, 17)


@dataclass(frozen=True)
class Problem:
    """A memory, and the tokens that it is to read."""

    state: MemoryState
    queries: Tensor
    keys: Tensor
    values: Tensor
    gates: MemoryGates  # not masked yet
    observed: Tensor | None  # (batch, time)

    def solve(self, form, **options):
        gates = mask_gates(self.gates, self.observed)
        return form(self.state, self.queries, self.keys, self.values, gates, **options)

    def piece(self, time: slice, state: MemoryState) -> Problem:
        """The tokens of a stretch, met by a memory in ``state``."""
        gates = MemoryGates(*(None if gate is None else gate[..., time] for gate in self.gates))
        observed = None if self.observed is None else self.observed[:, time]
        tokens = (tensor[:, :, time] for tensor in (self.queries, self.keys, self.values))
        return Problem(state, *tokens, gates, observed)

    def leaves(self) -> dict[str, Tensor]:
        """Everything that an outer gradient may be asked for."""
        named = {"queries": self.queries, "keys": self.keys, "values": self.values}
        named |= {
            name: gate for name, gate in self.gates._asdict().items() if isinstance(gate, Tensor)
        }
        for name in ("weights", "momentum", "anchor"):
            for layer, tensor in enumerate(getattr(self.state, name)):
                named[f"{name} {layer}"] = tensor
        return named

    def with_leaves(self, leaves: dict[str, Tensor]) -> Problem:
        def layers(name: str) -> tuple[Tensor, ...]:
            return tuple(leaves[f"{name} {i}"] for i in range(len(getattr(self.state, name))))

        state = MemoryState(
            layers("weights"), layers("momentum"), layers("anchor"), self.state.position
        )
        gates = self.gates._replace(
            **{name: leaves[name] for name in self.gates._fields if name in leaves}
        )
        tokens = {name: leaves[name] for name in ("queries", "keys", "values")}
        return replace(self, state=state, gates=gates, **tokens)


def make_problem(
    *,
    time: int,
    depth: int = 2,
    momentum: bool = True,
    forget: bool = True,
    buffer: bool = True,
    position: int = 0,
    masked: bool = False,
    state_batch: int | None = None,
    batch: int = BATCH,
    heads: int = HEADS,
    width: int = WIDTH,
    hidden: tuple[int, ...] = HIDDEN,
    max_step: float = 0.03,
    loud: bool = False,
    seed: int = 0,
) -> Problem:
    """Draw a problem in float64.

    ``buffer``: the state has a momentum buffer already. ``position``: tokens already read of the
    open chunk. ``state_batch=1``: all sequences share one state. ``loud``: the errors of every
    third token are out of bounds. Step sizes are small because the
    recurrence, LayerNorm above all, amplifies round-off when they are large.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    widths = (width, *hidden[: depth - 1], width)
    shapes = [(state_batch or batch, heads, *pair) for pair in pairwise(widths)]
    weights = tuple(normal(*shape) / shape[-2] ** 0.5 for shape in shapes)
    buffers = tuple(0.03 * normal(*shape) for shape in shapes) if momentum and buffer else ()
    # In the middle of a chunk, the weights have moved away from where the chunk started.
    anchor = tuple(w + 0.1 * normal(*w.shape) for w in weights) if position else weights
    gate = (batch, heads, depth, time)
    volume = 1.0 + 20.0 * (torch.arange(time) % 3 == 1)[:, None] * loud
    return Problem(
        MemoryState(weights, buffers, anchor, position),
        F.normalize(normal(batch, heads, time, width), dim=-1),
        F.normalize(normal(batch, heads, time, width), dim=-1),
        normal(batch, heads, time, width) * volume,
        MemoryGates(
            max_step * torch.sigmoid(normal(*gate)),
            F.logsigmoid(normal(*gate)) if momentum else None,
            F.logsigmoid(3 + normal(*gate)) if forget else None,
        ),
        torch.rand(batch, time, generator=generator) > 0.3 if masked else None,
    )


def flatten(reads: Tensor, state: MemoryState) -> dict[str, Tensor]:
    """Reads and final state as named tensors."""
    state = state.settled()
    named = {"reads": reads}
    for name in ("weights", "momentum", "anchor"):
        for layer, tensor in enumerate(getattr(state, name)):
            named[f"{name} {layer}"] = tensor
    return named


def results_and_gradients(problem: Problem, form, **options) -> dict[str, Tensor]:
    """Reads, final state, and the gradients of a fixed random mixture of all of them."""
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in problem.leaves().items()}
    reads, state = problem.with_leaves(leaves).solve(form, **options)
    results = flatten(reads, state)
    generator = torch.Generator().manual_seed(1)
    mixture = torch.zeros((), dtype=reads.dtype, device=reads.device)
    for result in results.values():
        shape = (problem.keys.shape[0], *result.shape[1:])  # a shared anchor counts once a row
        weight = torch.randn(shape, generator=generator, dtype=torch.float64).to(result)
        mixture = mixture + (weight * result).sum()
    gradients = torch.autograd.grad(
        mixture, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    named = {f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}
    return {name: tensor.detach() for name, tensor in (results | named).items()}


def assert_same(
    actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9
) -> None:
    """Equal names, shapes and values; the tolerance is relative to each tensor's largest value."""
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        got = actual[name]
        scale = wanted.abs().max().item() if wanted.numel() else 0.0
        torch.testing.assert_close(
            got.expand_as(wanted),
            wanted,
            rtol=0,
            atol=tolerance * scale + 1e-13,
            msg=lambda text, name=name: f"{name}: {text}",
        )
