"""A CUDA graph can capture a training step: nothing in it goes through the processor.

On the meta device, which has shapes and no numbers, torch takes the ways of a GPU.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn import memory
from titans_ts.nn.restart import detach

CONFIGS = {
    "mac": {"variant": "mac", "segment_length": 64},
    "mag": {"variant": "mag"},
    "mag, LayerNorm": {"variant": "mag", "memory_residual": True},
    "mal, fused attention": {"variant": "mal", "window": 128},
    "lmm, token by token": {"variant": "lmm", "chunk_size": 1},
    "lmm, linear": {"variant": "lmm", "memory_depth": 1, "chunk_size": 1},
    "lmm, coarse": {"variant": "lmm", "coarse_memory": True},
    "lmm, three layers": {"variant": "lmm", "memory_depth": 3, "chunk_size": 32},
}


class Elsewhere(TorchDispatchMode):
    """Refuses tensors on the processor, and numbers that it would have to wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, found)):
            assert not isinstance(leaf, torch.Tensor) or leaf.device.type == "meta", func
        return found


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_on_another_device_leaves_the_processor_alone(name, monkeypatch):
    # torch has no autocast for shapes alone.
    monkeypatch.setattr(memory, "_is_autocast", lambda x: False)
    monkeypatch.setattr(memory, "_product_dtype", lambda x: torch.float32)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    model = TokenModel(257, BackboneConfig(dim=32, depth=1, dropout=0.0, **CONFIGS[name])).to(
        "meta"
    )
    tokens = torch.zeros(2, 257, dtype=torch.long, device="meta")
    state = None
    with Elsewhere():
        for _ in range(2):
            loss, state = model.loss(tokens[:, :-1], tokens[:, 1:], state)
            loss.backward()
            state = detach(state)
    with Elsewhere(), pytest.raises(RuntimeError, match="meta"):
        loss.item()
