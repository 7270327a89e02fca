"""Sampling one token after another, each at the same cost in time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

from titans_ts.errors import NonFiniteLossError, ParameterError
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import BackboneState
from titans_ts.parameters import check_int, check_number

__all__ = ["Sampling", "check_seed", "sample_tokens"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Parameters
    ----------
    temperature : float
        What logits are divided by; 0 takes the most likely token each time.
    top_k : int or None
        Only so many of the most likely tokens may be drawn.
    top_p : float or None
        Only the most likely tokens that together have this probability may be drawn.

    Raises
    ------
    ParameterError
        A value makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        number = isinstance(self.temperature, Real) and not isinstance(self.temperature, bool)
        if not number or not 0 <= self.temperature <= 100:
            raise ParameterError(
                "temperature must be a number between 0 and 100, where 0 takes the most likely "
                f"token each time and 1 draws as the model says; got {self.temperature!r}."
            )
        check_int("top_k", self.top_k, optional=True)
        if self.top_p is not None:
            check_number("top_p", self.top_p, minimum=0, maximum=1)
            if self.top_p == 0:
                raise ParameterError(
                    "top_p must be above 0, got 0: no token would be left. For the most likely "
                    "token each time, set temperature=0."
                )

    def draw(self, logits: Tensor, generator: torch.Generator) -> int:
        """Draw a token; ``logits`` has shape (n_tokens,) and is on the CPU.

        Raises
        ------
        NonFiniteLossError
            A logit is no number: the memory diverged.
        """
        if not bool(logits.isfinite().all()):
            raise NonFiniteLossError(
                "The model's memory diverged while it read, and no token can be drawn. Fit it with "
                "a smaller step, such as backbone_options={'max_step_size': 0.05}."
            )
        if self.temperature == 0:
            return int(logits.argmax())
        # Zero at most, so that no temperature is too small to divide by.
        logits = (logits.double() - logits.max()) / float(self.temperature)
        order: Tensor | None = None
        if self.top_k is not None and self.top_k < len(logits):
            logits, order = logits.topk(self.top_k)
        elif self.top_p is not None:
            logits, order = logits.sort(descending=True)
        probabilities = logits.softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            # A token stays where those before it have not reached top_p; so the first always does.
            before = probabilities.cumsum(-1) - probabilities
            probabilities = torch.where(before < float(self.top_p), probabilities, 0.0)
        place = int(torch.multinomial(probabilities, 1, generator=generator))
        return place if order is None else int(order[place])


def sample_tokens(
    model: TokenModel,
    logits: Tensor,
    state: BackboneState,
    sampling: Sampling,
    *,
    n: int,
    end: int,
    generator: torch.Generator,
) -> Iterator[int]:
    """Yield up to ``n`` tokens; less where the model ends the text.

    Parameters
    ----------
    model : TokenModel
        In eval mode.
    logits : Tensor of shape (n_tokens,)
        Of the first token.
    state : BackboneState
        After all that was read; of fixed size, however much that was.
    sampling : Sampling
    n : int
    end : int
        The token that ends a text; it is not yielded.
    generator : torch.Generator
        On the CPU.
    """
    device = model.embedding.weight.device
    for i in range(n):
        token = sampling.draw(logits.cpu(), generator)
        if token == end:
            return
        yield token
        if i + 1 < n:
            # Entered anew each time: between two tokens the caller's own code runs.
            with torch.no_grad():
                after, next_state = model(torch.tensor([[token]], device=device), state)
            assert next_state is not None
            logits, state = after[0, -1], next_state


def check_seed(seed: object) -> None:
    """Raise ParameterError unless ``seed`` is None or a whole number that a generator takes."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if seed is not None and not (whole and 0 <= int(seed) < 2**63):  # type: ignore[call-overload]
        raise ParameterError(
            f"seed must be a whole number from 0 to 2**63 - 1, or None, got {seed!r}."
        )
