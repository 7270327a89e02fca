"""Weights in shards: ``strategy="fsdp"``, which keeps a part of each weight on every device."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

if TYPE_CHECKING:
    from titans_ts.training.loop_module import LoopModule

__all__ = ["FullySharded", "full_weights", "gather_weights", "like", "shard_weights", "whole"]


class FullySharded(ModelParallelStrategy):
    """Weights, gradients and the optimiser's state, spread over all devices; batches too.

    Lightning's own "fsdp" wraps a model in torch's first edition of it, which needs GPUs and
    flattens weights; this is the second, which runs on CPUs as well.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard_weights(module: LoopModule) -> None:
    """Put a model in shards in the place of a module's, where the strategy asks for it."""
    strategy = module.trainer.strategy
    if not isinstance(strategy, FullySharded) or module.whole_model:
        return
    from torch.distributed.fsdp import fully_shard

    module.whole_model.append(module.model)
    module.model = copy.deepcopy(module.model).to(strategy.root_device)
    fully_shard(module.model, mesh=strategy.device_mesh["data_parallel"])


def gather_weights(module: LoopModule) -> None:
    """Give a module its own model back, with the weights of the one in shards."""
    if module.whole_model:
        module.whole_model[0].load_state_dict(full_weights(module.model))
        module.model = module.whole_model.pop()


def full_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """All weights, whole; every process has to ask for them."""
    return {name: whole(value) for name, value in model.state_dict().items()}


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be in shards, whole; every process has to ask for it."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def like(other: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, where ``other`` is, and in shards where that is; in every process."""
    tensor = tensor.to(other.device)
    if not hasattr(other, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(other, DTensor)
    return distribute_tensor(tensor, other.device_mesh, other.placements)
