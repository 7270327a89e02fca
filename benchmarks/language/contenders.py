"""Models that read the same tokens, in the same head, with the same number of weights."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.attention import SlidingWindowAttention
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.layers import RMSNorm, SwiGLU

#: Bytes that attention sees, at most in MAC, and else always.
WINDOW = 1024

#: What all share. The memory is a matrix that is written token by token, at first with little
#: momentum: of all that was tried on validation, deeper memories included, what learnt most from a
#: few million tokens. This window is of models without attention, where it says nothing.
COMMON = BackboneConfig(
    variant="mag",
    dim=128,
    n_heads=4,
    memory_depth=1,
    chunk_size=1,
    max_step_size=0.5,
    initial_momentum=0.05,
    memory_skip=True,
    segment_length=64,
    window=128,
    dropout=0.0,
)
#: Blocks of models with memories of more layers, one layer for comparison included: four layers in
#: each of more blocks would leave no weights for anything else.
DEEP_BLOCKS = 3
#: A memory of more layers, where gradients are taken 32 tokens at a time. One of twice a head's
#: width takes half the time of one of four times, and in 131,072 tokens learnt as much (3.330 and
#: 3.323 bits per byte, LMM without LayerNorm).
DEEP: dict[str, Any] = {
    "memory_expansion": 2,
    "memory_residual": True,
    "chunk_size": 32,
}
#: How large its steps may be, by its layers: what validates better, of 0.2 and 0.05. With 0.2 three
#: do not learn (4.05 bits after 0.5 M tokens, where 0.05 has 2.68); see trials.md.
DEEP_STEPS = {1: 0.2, 2: 0.05, 3: 0.05, 4: 0.05}
#: Blocks of models with attention in each, which leaves no weights for more.
ATTENTION_BLOCKS = 4


class TransformerBackbone(nn.Module):
    """Llama's layout: RMSNorm, rotary attention over a window, SwiGLU."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    RMSNorm(config.dim),
                    SlidingWindowAttention(config),
                    RMSNorm(config.dim),
                    SwiGLU(config.dim, config.mlp_expansion),
                ]
            )
            for _ in range(config.depth)
        )
        self.norm = RMSNorm(config.dim)

    def forward(
        self, x: Tensor, state: Any = None, observed: Any = None, *, need_state: bool = True
    ) -> tuple[Tensor, Any]:
        after = []
        for i, (norm, attention, mlp_norm, mlp) in enumerate(self.blocks):
            y, window = attention(norm(x), None if state is None else state.blocks[i], observed)
            x = x + y
            x = x + mlp(mlp_norm(x))
            after.append(window)
        return self.norm(x), BackboneState(tuple(after), 0)


class LSTMBackbone(nn.Module):
    """An LSTM in place of attention and memory, in the same layout."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    RMSNorm(config.dim),
                    nn.LSTM(config.dim, config.dim, batch_first=True),
                    RMSNorm(config.dim),
                    SwiGLU(config.dim, config.mlp_expansion),
                ]
            )
            for _ in range(config.depth)
        )
        self.norm = RMSNorm(config.dim)

    def forward(
        self, x: Tensor, state: Any = None, observed: Any = None, *, need_state: bool = True
    ) -> tuple[Tensor, Any]:
        after = []
        for i, (norm, lstm, mlp_norm, mlp) in enumerate(self.blocks):
            y, carried = lstm(norm(x), None if state is None else state.blocks[i])
            x = x + y
            x = x + mlp(mlp_norm(x))
            after.append(carried)
        return self.norm(x), BackboneState(tuple(after), 0)


class Contender(NamedTuple):
    """What one contender has for itself.

    Parameters
    ----------
    changes : dict
        Of the common configuration.
    depth : int
        Blocks. All have as many weights, so more blocks have narrower feed-forward layers: how
        many serve a model best differs, and each has those.
    reader : type, optional
        What reads the tokens where it is not the backbone.
    """

    changes: dict[str, Any]
    depth: int = 4
    reader: type[nn.Module] | None = None


#: Of a memory with momentum: a step may turn what a key stands for into its opposite, as with beta
#: up to 2 in a delta rule. With half of that LMM and MAL learn less.
STEPS = {"max_step_size": 1.0}

#: Attention that looks for what followed the last bytes when they came before, in all of its
#: window. Rotary positions, narrower heads, and a shorter window leave less of that to be found.
RECALLING_ATTENTION: dict[str, Any] = {
    "attention_conv": True,
    "rotary": False,
    "recall": True,
    "n_heads": 1,
    "window": WINDOW,
}
#: Memories start as recall too, and one such attention finds it: other blocks are memory alone,
#: and there are more of them.
RECALL: dict[str, Any] = RECALLING_ATTENTION | {"attention_every": 4, "n_memory_heads": 4}

CONTENDERS = {
    "titans-mag": Contender({"variant": "mag", **STEPS, **RECALL}, depth=7),
    "titans-mac": Contender(
        {"variant": "mac", **STEPS, **RECALL, "segment_length": WINDOW}, depth=7
    ),
    "titans-mal": Contender({"variant": "mal", **STEPS, **RECALL}, depth=7),
    "titans-lmm": Contender({"variant": "lmm", **STEPS}, depth=8),
    "transformer++": Contender({"window": WINDOW}, depth=6, reader=TransformerBackbone),
    # What such attention is worth where there is no memory.
    "transformer++-recall": Contender(RECALLING_ATTENTION, depth=6, reader=TransformerBackbone),
    # Up to a change of variables: a matrix that unlearns and learns token by token, at a rate
    # beta = 2 theta between 0 and 1 (section 1.3 of the paper, and titans_ts/ops/README.md).
    "gated-delta-net": Contender({"variant": "lmm", "momentum": False}, depth=8),
    "lstm": Contender({}, reader=LSTMBackbone),
}

#: Changes of a Titans contender: what the paper's table 5 takes away, but for linear memory, which
#: all have; recall, positions, heads and places of attention, where a contender has others; steps
#: of half the size; momentum as other memories start with it; and what depth costs. One that
#: changes nothing of a contender is no ablation of it.
ABLATIONS: dict[str, dict[str, Any]] = {
    "no-convolution": {"conv_width": 0, "recall": False},
    "recall": {"recall": True},
    "no-recall": {"recall": False},
    "rotary": {"rotary": True},
    "two-heads": {"n_heads": 2},
    "attention-everywhere": {"attention_every": 1},
    "half-steps": {"max_step_size": 0.5},
    "no-momentum": {"momentum": False},
    "half-momentum": {"initial_momentum": 0.5},
    "no-forgetting": {"forgetting": False},
    "no-persistent": {"n_persistent": 0},
    "memory-off": {"memory_writes": False},
    **{
        f"memory-depth-{depth}": DEEP | {"memory_depth": depth, "max_step_size": step}
        for depth, step in DEEP_STEPS.items()
    },
}


def configuration(name: str, depth: int) -> tuple[BackboneConfig, type[nn.Module] | None]:
    """Of a contender, or of one with an ablation behind a colon: "titans-mag:no-momentum"."""
    contender, _, ablation = name.partition(":")
    changes, _, reader = CONTENDERS[contender]
    if ablation:
        changes = changes | ABLATIONS[ablation]
    # Of fewer blocks, the last has attention.
    every = min(changes.get("attention_every", 1), depth)
    return replace(COMMON, **changes | {"depth": depth, "attention_every": every}), reader


def ablations_of(contender: str) -> list[str]:
    """Names of those that change something of a contender."""
    own = asdict(COMMON) | CONTENDERS[contender].changes
    return [name for name, changes in ABLATIONS.items() if own | changes != own]


def depth_of(name: str) -> int:
    """Blocks that a contender has, and an ablation of it."""
    contender, _, ablation = name.partition(":")
    if "memory_depth" in ABLATIONS.get(ablation, {}):
        return DEEP_BLOCKS
    if ablation == "attention-everywhere":
        return ATTENTION_BLOCKS
    return CONTENDERS[contender].depth


def make(name: str, n_tokens: int, n_weights: int, depth: int) -> TokenModel:
    """A contender whose feed-forward layers are as wide as makes it ``n_weights`` large."""
    common, other = configuration(name, depth)

    def build(expansion: float) -> TokenModel:
        config = replace(common, mlp_expansion=expansion)
        model = TokenModel(n_tokens, config)
        if other is not None:
            model.backbone = other(config)  # type: ignore[assignment]
        return model

    low, high = 0.25, 32.0
    with torch.device("meta"):
        if build(low).n_parameters > n_weights:
            raise SystemExit(f"{name} has more than {n_weights} weights without feed-forward")
        while high - low > 1 / COMMON.dim:
            middle = (low + high) / 2
            low, high = (middle, high) if build(middle).n_parameters <= n_weights else (low, middle)
    return build(low)
