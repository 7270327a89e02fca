"""Recipes as parameters: those of the Titans paper, and a small model of bytes."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import Any

from titans_ts.errors import ParameterError

__all__ = ["PRESETS", "preset"]

# What all sizes of the paper share: Llama's layout, and the lengths of the NeurIPS version. Batches
# have half a million tokens: 128 rows of 4,096. The average of the weights is not part of the
# recipe, and is left out by patience and epochs alone.
_PAPER: dict[str, Any] = {
    "variant": "mag",
    "context_length": 4096,
    "memory_depth": 2,
    "chunk_size": 16,
    "segment_length": 512,
    "backbone_options": {
        "window": 2048,
        "n_persistent": 128,
        "memory_expansion": 4,
        "memory_residual": True,
        "mlp_expansion": 2.75,
        "dropout": 0.0,
    },
    "batch_size": 128,
    "learning_rate": 4e-4,
    "weight_decay": 0.1,
}

# MAL of benchmarks/language, ahead of all others there by far: narrow blocks of a matrix of memory
# that is written token by token, in steps that may turn what a key stands for into its opposite,
# and in one of them attention that finds what followed the last bytes when they came before.
_BYTES_1M: dict[str, Any] = {
    "variant": "mal",
    "context_length": 256,
    "carried_segments": 32,
    "dim": 128,
    "depth": 7,
    "n_heads": 1,
    "memory_depth": 1,
    "chunk_size": 1,
    "backbone_options": {
        "n_memory_heads": 4,
        "memory_residual": False,
        "memory_skip": True,
        "max_step_size": 1.0,
        "initial_momentum": 0.05,
        "recall": True,
        "attention_every": 4,
        "attention_conv": True,
        "rotary": False,
        "window": 1024,
        "mlp_expansion": 0.49,
        "dropout": 0.0,
    },
    "batch_size": 8,
    "learning_rate": 3e-3,
    "weight_decay": 0.1,
}

#: Parameters of :class:`TitansLanguageModel` by name: the paper's blocks, widths and heads, and a
#: small model of bytes.
PRESETS: dict[str, dict[str, Any]] = {
    "bytes-1m": _BYTES_1M,
    # 15 billion tokens for the sizes up to 400 million weights, 30 for the largest.
    "paper-170m": {**_PAPER, "dim": 768, "depth": 12, "n_heads": 16, "max_tokens": 15_000_000_000},
    "paper-340m": {**_PAPER, "dim": 1024, "depth": 24, "n_heads": 16, "max_tokens": 15_000_000_000},
    "paper-760m": {**_PAPER, "dim": 1536, "depth": 24, "n_heads": 16, "max_tokens": 30_000_000_000},
}


def preset(name: str, **changes: Any) -> dict[str, Any]:
    """Parameters for a :class:`~titans_ts.plugins.language.model.TitansLanguageModel`.

    Those of a recipe, some of them changed.

    Recipes called "paper" are that of the paper (Behrouz et al., 2024, arXiv:2501.00663): AdamW
    with weight decay 0.1, a cosine from a peak of 4e-4, 4,096 tokens a sequence, half a million a
    step, and the lengths that the NeurIPS version gives. A vocabulary of 32,000 is Llama's: give
    its ``tokenizer.json`` as ``tokenizer``.

    Parameters
    ----------
    name : {"bytes-1m", "paper-170m", "paper-340m", "paper-760m"}
        "bytes-1m" is for bytes on a CPU: 0.9 million weights, seven blocks of memory, and in the
        fourth attention over 1,024 bytes, which all start as recall. In ``benchmarks/language``
        it learns more from the same bytes than any other model there. The others are as
        the paper calls its sizes, by blocks, width and heads. It does not say what its blocks are
        made of; with attention, memory and feed-forward in each, as here, and that vocabulary,
        they have 161, 514 and 1,117 million weights.
    **changes
        Any parameter, in place of that of the recipe; of ``backbone_options`` the fields that are
        given.

    Raises
    ------
    ParameterError
        There is no preset of that name, or ``backbone_options`` is no mapping.

    Examples
    --------
    >>> from titans_ts.plugins.language.presets import preset
    >>> parameters = preset("paper-170m", batch_size=8, max_tokens=1_000_000)
    >>> parameters["learning_rate"], parameters["context_length"]
    (0.0004, 4096)
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise ParameterError(
            f"There is no preset {name!r}; expected one of "
            f"{', '.join(repr(known) for known in PRESETS)}.{guess}"
        )
    parameters = copy.deepcopy(PRESETS[name])
    if "backbone_options" in changes:
        options = changes["backbone_options"]
        if not isinstance(options, Mapping | None):
            raise ParameterError(
                "backbone_options must be a mapping, such as {'momentum': False}, or None; got "
                f"{options!r}."
            )
        changes["backbone_options"] = parameters["backbone_options"] | dict(options or {})
    return parameters | changes
