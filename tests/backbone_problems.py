"""Small random backbones, tokens and masks, and how states compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from titans_ts.config import BackboneConfig
from titans_ts.nn.backbone import TitansBackbone

BATCH, DIM, TIME, SEGMENT, CHUNK, WINDOW, PERSISTENT = 3, 20, 37, 7, 3, 11, 5
VARIANTS = {
    "mac": {"variant": "mac"},
    "mac literal": {"variant": "mac", "mac_mode": "literal"},
    "mac with convolutions": {"variant": "mac", "attention_conv": True, "rotary": False},
    "mag": {"variant": "mag"},
    "mag with convolutions": {"variant": "mag", "attention_conv": True},
    "mal": {"variant": "mal"},
    "mal without positions": {"variant": "mal", "rotary": False},
    "mal with a skip": {"variant": "mal", "memory_skip": True},
    "lmm": {"variant": "lmm"},
}
CAUSAL = [name for name in VARIANTS if name != "mac literal"]
# Each of the paper's ablations, the depths of the memory, and what else has a path of its own.
SWITCHES = {
    "default": {},
    "no convolution": {"conv_width": 0},
    "convolution of one token": {"conv_width": 1},
    "no momentum": {"momentum": False},
    "no forgetting": {"forgetting": False},
    "no persistent tokens": {"n_persistent": 0},
    "linear memory": {"memory_depth": 1},
    "memory of depth 3": {"memory_depth": 3},
    "residual memory": {"memory_residual": True},
    "memory off": {"memory_writes": False},
}


def make_config(**changes: Any) -> BackboneConfig:
    """Two blocks of two heads; neither window nor segment is a multiple of the chunk."""
    sizes = {
        "dim": DIM,
        "depth": 2,
        "n_heads": 2,
        "memory_expansion": 2,
        "chunk_size": CHUNK,
        "segment_length": SEGMENT,
        "window": WINDOW,
        "n_persistent": PERSISTENT,
        "dropout": 0.0,
    }
    return BackboneConfig(**sizes | changes)


def shake(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every weight off its initial value: a gain of 1 that is left out would not be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    return module


def make_backbone(name: str = "mac", seed: int = 0, **changes: Any) -> TitansBackbone:
    """A backbone in float64 whose weights depend on the seed alone."""
    config = make_config(**VARIANTS[name] | changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = TitansBackbone(config).double()
    return shake(backbone, seed).eval()


def make_tokens(
    time: int = TIME, *, batch: int = BATCH, dim: int = DIM, seed: int = 0, **options: Any
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, dim, generator=generator, dtype=torch.float64, **options)


def make_observed(time: int = TIME, *, batch: int = BATCH, seed: int = 0) -> Tensor:
    """About a third masked; the first row starts with masked tokens, more than a segment."""
    generator = torch.Generator().manual_seed(seed + 1)
    observed = torch.rand(batch, time, generator=generator) > 0.3
    observed[0, : SEGMENT + 2] = False
    return observed


def run_pieces(
    backbone: TitansBackbone, tokens: Tensor, cuts: list[int], observed: Tensor | None = None
) -> tuple[list[Tensor], Any]:
    """Outputs of each piece, and the final state."""
    state, outputs = None, []
    for start, stop in zip([0, *cuts], [*cuts, tokens.shape[1]], strict=True):
        seen = None if observed is None else observed[:, start:stop]
        vectors, state = backbone(tokens[:, start:stop], state, seen)
        outputs.append(vectors)
    return outputs, state


def leaves(tree: Any, name: str = "state") -> Iterator[tuple[str, Any]]:
    """Tensors and numbers of a state with the names of their places; None has no place."""
    if isinstance(tree, tuple):
        fields = getattr(tree, "_fields", range(len(tree)))
        for field, part in zip(fields, tree, strict=True):
            yield from leaves(part, f"{name}.{field}")
    elif tree is not None:
        yield name, tree


def tensors(tree: Any) -> dict[str, Tensor]:
    return {name: leaf for name, leaf in leaves(tree) if isinstance(leaf, Tensor)}


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9, name: str = "output") -> None:
    """Equal to a tolerance relative to the largest value."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(
        actual,
        expected,
        rtol=0,
        atol=tolerance * max(scale, 1.0),
        msg=lambda text: f"{name}: {text}",
    )


def same_state(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Same places, same numbers, tensors equal to a tolerance."""
    actual, expected = dict(leaves(actual)), dict(leaves(expected))
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        if isinstance(wanted, Tensor) and wanted.is_floating_point():
            close(actual[name], wanted, tolerance, name)
        elif isinstance(wanted, Tensor):
            assert torch.equal(actual[name], wanted), name
        else:
            assert actual[name] == wanted, name
