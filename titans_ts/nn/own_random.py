"""OwnRandom: first weights from a generator of their own, in one thread and in many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["OwnRandom"]

_DRAWS = {
    *(
        getattr(torch, name)
        for name in ("bernoulli", "normal", "rand", "randint", "randn", "randperm")
    ),
    *(
        getattr(torch.Tensor, name)
        for name in ("bernoulli_", "exponential_", "normal_", "random_", "uniform_")
    ),
    *(
        getattr(torch.nn.init, name)
        for name in (
            "kaiming_normal_",
            "kaiming_uniform_",
            "normal_",
            "orthogonal_",
            "trunc_normal_",
            "uniform_",
            "xavier_normal_",
            "xavier_uniform_",
        )
    ),
}


class OwnRandom(TorchFunctionMode):
    """A context in which torch draws numbers from a generator that nobody else has.

    torch's own generator is one for the whole process. Setting it back afterwards leaves it alone
    in one thread, but two threads that do so draw from each other's.

    Parameters
    ----------
    seed : int, optional
        What is drawn is what ``torch.manual_seed(seed)`` would have led to, on the CPU. Default:
        the numbers do not matter.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.nn.own_random import OwnRandom
    >>> with OwnRandom(3):
    ...     first = torch.nn.Linear(2, 2).weight
    >>> with OwnRandom(3):
    ...     second = torch.nn.Linear(2, 2).weight
    >>> torch.equal(first, second)
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._generator = torch.Generator()
        if seed is not None:
            self._generator.manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWS and given.get("generator") is None:
            given["generator"] = self._generator
        return func(*args, **given)
