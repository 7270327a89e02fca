"""A CUDA graph can capture a training step: nothing in it goes through the processor.

On the meta device, which has shapes and no numbers, torch takes the ways of a GPU.
"""

from contextlib import nullcontext

import pytest
import torch
from complete_windows import make_batch, make_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.heads.forecast import gaps
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
    "mac, linear": {"variant": "mac", "memory_depth": 1, "chunk_size": 1, "segment_length": 64},
    "lmm, three layers": {"variant": "lmm", "memory_depth": 3, "chunk_size": 32},
}


class Elsewhere(TorchDispatchMode):
    """Refuses tensors on the processor, and numbers that it would have to wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, found)):
            assert not isinstance(leaf, torch.Tensor) or leaf.device.type == "meta", func
        return found


@pytest.fixture
def without_autocast(monkeypatch):
    """torch has no autocast for shapes alone."""
    monkeypatch.setattr(memory, "_is_autocast", lambda x: False)
    monkeypatch.setattr(memory, "_product_dtype", lambda x: torch.float32)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_on_another_device_leaves_the_processor_alone(name, without_autocast):
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_that_start_anew_beside_masked_ones_leave_the_processor_alone(
    variant, without_autocast
):
    config = BackboneConfig(variant=variant, dim=32, segment_length=64, dropout=0.0)
    model = TokenModel(257, config).to("meta")
    tokens = torch.zeros(2, 129, dtype=torch.long, device="meta")
    rows = torch.zeros(2, dtype=torch.bool, device="meta")
    observed = torch.zeros(2, 128, dtype=torch.bool, device="meta")
    with Elsewhere():
        _, state = model.loss(tokens[:, :-1], tokens[:, 1:], None, observed)
        again = model.restart(detach(state), rows)
        loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:], again, observed)
        loss.backward()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("head", [{}, {"known": (0, 0)}, {"channel_mixing": True}])
@pytest.mark.parametrize("complete", [True, False])
def test_the_loss_of_forecasts_leaves_the_processor_alone(
    variant, normalisation, head, complete, without_autocast, monkeypatch
):
    # As in a CUDA graph, which records no look at numbers.
    monkeypatch.setattr(gaps, "must_not_look", lambda x: True)
    model = make_model(variant, normalisation=normalisation, **head).train().to("meta")
    batch = make_batch(len(head.get("known", ()))).to(torch.device("meta"))
    batch = batch._replace(context_complete=complete, target_complete=complete)
    with Elsewhere():
        model.training_loss(batch, 4 if normalisation == "running" else 1).backward()
