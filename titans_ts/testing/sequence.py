"""Checks of a torch module over tokens: causal, masked, cut into pieces, and trained throughout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from titans_ts.testing.case import fail

__all__ = [
    "SequenceCase",
    "check_batch_rows",
    "check_causal",
    "check_gradients",
    "check_masked",
    "check_pieces",
    "check_state_size",
    "check_state_untouched",
]

# Read at most, to see whether a state stops growing; longer windows are longer than tests.
_MOST_TOKENS = 4_000


def _call(module: nn.Module, inputs: Tensor, state: Any, observed: Tensor | None) -> Any:
    return module(inputs, state, observed)


@dataclass
class SequenceCase:
    """A module that reads tokens, and tokens for it.

    Parameters
    ----------
    module : Module
        Checked in double precision and in eval mode, on a copy.
    inputs : Tensor of shape (batch, time, ...)
        At least two rows and a few dozen tokens, of numbers or of ids.
    call : callable, optional
        ``call(module, inputs, state, observed)`` returns ``(outputs, state)``, with an output for
        each token along the second axis. The state is a tensor, or tuples, lists and dicts of
        tensors and numbers: in objects of other kinds nothing is looked for. Default:
        ``module(inputs, state, observed)``.
    other : Tensor, optional
        Like ``inputs`` and different everywhere. Default: numbers with another sign and size; ids
        in another order.
    tolerance : float, default 1e-8
        Of an output, relative to the largest.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.config import BackboneConfig
    >>> from titans_ts.nn.backbone import TitansBackbone
    >>> from titans_ts.testing import SequenceCase, check_sequence
    >>> tokens = torch.randn(2, 29, 8, generator=torch.Generator().manual_seed(0))
    >>> check_sequence(SequenceCase(TitansBackbone(BackboneConfig(variant="lmm", dim=8)), tokens))
    """

    module: nn.Module
    inputs: Tensor
    call: Callable[[nn.Module, Tensor, Any, Tensor | None], tuple[Tensor, Any]] = _call
    other: Tensor | None = None
    tolerance: float = 1e-8

    @cached_property
    def changed(self) -> Tensor:
        if self.other is not None:
            return self.other
        x = self.inputs
        return -2 * x - 1 if x.is_floating_point() else (x + 1) % (int(x.max()) + 1)

    @cached_property
    def ready(self) -> nn.Module:
        """The module as it is checked; weights that begin at zero hide what depends on them."""
        module = copy.deepcopy(self.module).double().eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.1 * noise)
        return module

    def run(
        self, inputs: Tensor, state: Any = None, observed: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        with torch.no_grad():
            outputs, state = self.call(self.ready, inputs, state, observed)
        if outputs.shape[:2] != inputs.shape[:2]:
            fail(
                f"{inputs.shape[1]} tokens of {inputs.shape[0]} rows give outputs of shape "
                f"{tuple(outputs.shape)}, expected an output for each token."
            )
        return outputs, state

    @cached_property
    def outputs(self) -> Tensor:
        return self.run(self.inputs)[0]

    def differ(self, one: Tensor, other: Tensor) -> bool:
        size = self.outputs.abs().max().clamp(min=1e-12)
        gap = (one - other).abs().max()
        return not bool(gap <= self.tolerance * size)  # NaN differs


def check_causal(case: SequenceCase) -> None:
    """No output sees a later token, and later outputs do see an earlier one."""
    length = case.inputs.shape[1]
    for cut in sorted({1, length // 3, length // 2, length - 1}):
        mixed = torch.cat([case.inputs[:, :cut], case.changed[:, cut:]], 1)
        outputs, _ = case.run(mixed)
        if case.differ(outputs[:, :cut], case.outputs[:, :cut]):
            gaps = (outputs[:, :cut] - case.outputs[:, :cut]).abs().flatten(2).amax((0, 2))
            fail(
                f"The output of token {int(gaps.argmax())} changes with tokens from {cut} on: it "
                "sees the future. Look at attention's mask, convolutions and normalisation."
            )
        if not case.differ(outputs[:, cut:], case.outputs[:, cut:]):
            fail(f"No output changes with tokens from {cut} on: the module does not read them.")
    first = torch.cat([case.changed[:, :1], case.inputs[:, 1:]], 1)
    if not case.differ(case.run(first)[0][:, 1:], case.outputs[:, 1:]):
        fail("No later output changes with the first token: nothing is remembered.")


def check_masked(case: SequenceCase) -> None:
    """What stands at a masked token changes no other output."""
    batch, length = case.inputs.shape[:2]
    observed = torch.ones(batch, length, dtype=torch.bool)
    observed[:, length // 3 : length // 2] = False
    observed[0, : length // 4] = False  # as a short row is padded
    hidden = ~observed.reshape(batch, length, *(1,) * (case.inputs.dim() - 2))
    outputs, _ = case.run(case.inputs, None, observed)
    others, _ = case.run(torch.where(hidden, case.changed, case.inputs), None, observed)
    if case.differ(outputs[observed], others[observed]):
        fail(
            "What stands at masked tokens changes the outputs of others: mask them wherever tokens "
            "are mixed, in attention, memory, convolutions and means."
        )
    if not case.differ(outputs[observed], case.outputs[observed]):
        fail("Outputs are the same with a mask as without: the mask is not looked at.")


def check_pieces(case: SequenceCase) -> None:
    """A sequence read in pieces, with the state carried on, gives what one call gives."""
    length = case.inputs.shape[1]
    for cuts in ((1, length // 2), (length // 3,), (length - 1,)):
        pieces, state = [], None
        for part in torch.tensor_split(case.inputs, cuts, dim=1):
            output, state = case.run(part, state)
            pieces.append(output)
        if case.differ(torch.cat(pieces, 1), case.outputs):
            fail(
                f"Read in pieces, cut at {cuts}, a sequence gives other outputs than in one call: "
                "the state lacks something that is carried on inside a call."
            )


def check_batch_rows(case: SequenceCase) -> None:
    """A row's outputs do not depend on the other rows of its batch."""
    alone, _ = case.run(case.inputs[:1])
    if case.differ(alone, case.outputs[:1]):
        fail("A row gives other outputs alone than in a batch: something is shared among rows.")
    beside = torch.cat([case.inputs[:1], case.changed[1:]])
    if case.differ(case.run(beside)[0][:1], case.outputs[:1]):
        fail("A row's outputs change with other rows of its batch.")


def check_state_untouched(case: SequenceCase) -> None:
    """A call returns a new state, and leaves the one it is given as it was."""
    half = case.inputs.shape[1] // 2
    _, state = case.run(case.inputs[:, :half])
    before = copy.deepcopy(state)
    once, _ = case.run(case.inputs[:, half:], state)
    if not _same(state, before):
        fail("A call changes the state it is given; return a new one.")
    if case.differ(case.run(case.inputs[:, half:], state)[0], once):
        fail("The same call with the same state answers otherwise: a module keeps a state inside.")


def check_state_size(case: SequenceCase) -> None:
    """The state stops growing with the tokens that were read, before there are a few thousand.

    A window grows until it is full, and what waits for a segment's end comes and goes.
    """
    stretch = torch.cat([case.inputs, case.changed], 1)
    _, state = case.run(stretch)
    n_read, before = stretch.shape[1], 0
    while (largest := _largest(case, state)) > before:
        if n_read > _MOST_TOKENS:
            fail(
                f"The state grows with the tokens read: from {before} numbers to {largest} when "
                f"{n_read} were twice as many as before."
            )
        repeats = -(-n_read // stretch.shape[1])
        _, state = case.run(torch.cat([stretch] * repeats, 1)[:, :n_read], state)
        n_read, before = 2 * n_read, largest
    if before == 0:
        fail("The state holds no tensor: nothing is carried on.")


def _largest(case: SequenceCase, state: Any) -> int:
    """Numbers in a state, where it is largest within some tokens from here."""
    sizes = [_numbers(state)]
    for token in case.inputs.split(1, 1):
        _, state = case.run(token, state)
        sizes.append(_numbers(state))
    return max(sizes)


def check_gradients(case: SequenceCase) -> None:
    """A loss on the outputs reaches every parameter."""
    inputs = case.inputs.double() if case.inputs.is_floating_point() else case.inputs
    module = copy.deepcopy(case.ready)
    outputs, _ = case.call(module, inputs, None, None)
    weights = torch.randn(
        outputs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    (outputs * weights).sum().backward()
    wanted = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    dead = [name for name, p in wanted if p.grad is None or not p.grad.abs().max() > 0]
    if not wanted:
        fail("The module has no parameter that is trained.")
    if dead:
        fail(f"No gradient reaches {dead}: they are never trained. Use them, or take them out.")
    broken = [name for name, p in wanted if p.grad is not None and not p.grad.isfinite().all()]
    if broken:
        fail(f"The gradient of {broken} is not finite.")


# -- inside -----------------------------------------------------------------------------------


def _leaves(state: Any) -> list[Any]:
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        return [leaf for part in state for leaf in _leaves(part)]
    return [state]


def _numbers(state: Any) -> int:
    return sum(leaf.numel() for leaf in _leaves(state) if isinstance(leaf, Tensor))


def _same(one: Any, other: Any) -> bool:
    pairs = list(zip(_leaves(one), _leaves(other), strict=True))
    return all(torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b) for a, b in pairs)
