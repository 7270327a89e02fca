"""Small tensors that depend on sizes alone, made once: tables of angles, masks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor

__all__ = ["constant"]

_KEPT = 64  # a model needs a handful
_LARGEST = 1 << 21  # elements of one tensor: what is larger is rarely asked for, and is made anew

_cache: OrderedDict[Hashable, tuple[Tensor, ...]] = OrderedDict()
_lock = Lock()


def constant(key: Hashable, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What ``make`` returns, made at the first call with this key; never write into it.

    A cache of the process, not of a module: nothing of it is copied, saved or moved with a model,
    whose precision may change. The tensors least recently asked for are dropped.

    Parameters
    ----------
    key : hashable
        Says everything that ``make`` depends on, device and dtype included.
    make : callable
        Takes nothing, returns a tuple of tensors.
    """
    # A compiler must see how the tensors are made, and a CUDA graph must own those it reads, since
    # the cache may drop them.
    if torch.compiler.is_compiling():
        return make()
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        return make()
    with _lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
            return found
    # Not as tensors of inference mode, which training could not use later.
    with torch.inference_mode(False), torch.no_grad():
        made = make()
    # A tensor of another type is a stand-in (as in a dry run for shapes) and holds no numbers.
    if all(type(tensor) is Tensor and tensor.numel() <= _LARGEST for tensor in made):
        with _lock:
            _cache[key] = made
            while len(_cache) > _KEPT:
                _cache.popitem(last=False)
    return made
