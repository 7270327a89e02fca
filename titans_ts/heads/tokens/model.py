"""TokenModel: an embedding before a backbone, and probabilities of tokens behind it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from titans_ts.config import BackboneConfig
from titans_ts.errors import ParameterError
from titans_ts.heads.tokens.losses import log_probabilities, masked_mean
from titans_ts.nn.backbone import BackboneState, TitansBackbone
from titans_ts.nn.restart import restart

__all__ = ["TokenModel", "check_causal"]


def check_causal(config: BackboneConfig) -> None:
    """Raise ParameterError where a token would see those that it is to predict."""
    if config.variant == "mac" and config.mac_mode == "literal":
        raise ParameterError(
            "mac_mode='literal' lets a token see the end of its segment, and what comes next is "
            "what is to be predicted here. Use mac_mode='causal'."
        )


class TokenModel(nn.Module):
    """Tokens in, logits of a token out at every position; the head of language and genomics.

    Documents do not share a row of a segment. A row reads one document, segment after segment with
    its state carried; the next one starts at the next segment, after :meth:`restart` gave the row
    the state of a new sequence. What is left of a document's last segment is filled up and masked:
    ``observed`` False there, and no loss.

    Parameters
    ----------
    n_tokens : int
        Size of the vocabulary; tokens are numbers from 0 to ``n_tokens - 1``.
    backbone : BackboneConfig
    tied : bool, default True
        Whether the output reads with the weights that the input is embedded by. A gain, learnt and
        small at first, keeps a new model from answering each token with itself.

    Raises
    ------
    ParameterError
        A backbone in which outputs see later tokens, MAC's ``mac_mode="literal"``.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.config import BackboneConfig
    >>> from titans_ts.heads.tokens.model import TokenModel
    >>> model = TokenModel(257, BackboneConfig(variant="mag", dim=16))
    >>> text = torch.tensor([[104, 101, 108, 108, 111]])
    >>> logits, state = model(text)
    >>> logits.shape, state.position
    (torch.Size([1, 5, 257]), 5)
    """

    def __init__(self, n_tokens: int, backbone: BackboneConfig, *, tied: bool = True) -> None:
        super().__init__()
        check_causal(backbone)
        self.n_tokens = n_tokens
        self.embedding = nn.Embedding(n_tokens, backbone.dim)
        nn.init.normal_(self.embedding.weight, std=backbone.dim**-0.5)
        # Of the size of what blocks add to it, where rows of the embedding have length one.
        self.input_scale = backbone.dim**0.5
        self.backbone = TitansBackbone(backbone)
        self.output: nn.Linear | None = None
        self.gain: nn.Parameter | None = None
        if tied:
            # Vectors have length sqrt(dim), and what a token brought in is a part of its own: at
            # gain one it would be its own successor with certainty. So the first logits are
            # small, and the first loss is that of guessing.
            self.gain = nn.Parameter(torch.tensor(2 * backbone.dim**-0.5))
        else:
            self.output = nn.Linear(backbone.dim, n_tokens, bias=False)
            nn.init.normal_(self.output.weight, std=0.02)

    @property
    def n_parameters(self) -> int:
        """Numbers that are learnt in training; tied weights count once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def vectors(
        self,
        tokens: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, BackboneState | None]:
        """What the backbone makes of tokens, before any logits; see :meth:`forward`.

        Returns
        -------
        vectors : Tensor of shape (batch, time, dim)
        state : BackboneState or None
        """
        embedded = self.embedding(tokens) * self.input_scale
        vectors, state = self.backbone(embedded, state, observed, need_state=need_state)
        return vectors, state

    def to_logits(self, vectors: Tensor) -> Tensor:
        """From vectors of shape (..., dim) to logits of shape (..., n_tokens)."""
        if self.output is not None:
            logits: Tensor = self.output(vectors)
            return logits
        assert self.gain is not None
        return F.linear(vectors * self.gain, self.embedding.weight)

    def forward(
        self,
        tokens: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, BackboneState | None]:
        """Logits of the token that follows each token.

        Parameters
        ----------
        tokens : Tensor of shape (batch, time), int
        state : BackboneState, optional
            From the call before; None at a document's start.
        observed : Tensor of shape (batch, time), bool, optional
            Masked tokens leave state and other tokens as they are.
        need_state : bool, default True
            False: return None for the state, which is cheaper.

        Returns
        -------
        logits : Tensor of shape (batch, time, n_tokens)
        state : BackboneState or None
        """
        vectors, state = self.vectors(tokens, state, observed, need_state=need_state)
        return self.to_logits(vectors), state

    def log_probabilities(
        self,
        tokens: Tensor,
        targets: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
        *,
        need_state: bool = True,
    ) -> tuple[Tensor, BackboneState | None]:
        """The logarithm of the probability of each target, in nats.

        For the next token, ``targets[:, i]`` is ``tokens[:, i + 1]``. Logits of a large vocabulary
        are made some at a time, and again for their gradient.

        Parameters
        ----------
        tokens, targets : Tensor of shape (batch, time), int
        state, observed, need_state
            As for :meth:`forward`.

        Returns
        -------
        log_probabilities : Tensor of shape (batch, time)
        state : BackboneState or None
        """
        vectors, state = self.vectors(tokens, state, observed, need_state=need_state)
        return log_probabilities(self.to_logits, vectors, targets, self.n_tokens), state

    def loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        state: BackboneState | None = None,
        observed: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        need_state: bool = True,
    ) -> tuple[Tensor, BackboneState | None]:
        """Mean cross-entropy of the targets, in nats per token.

        Parameters
        ----------
        tokens, targets : Tensor of shape (batch, time), int
        state, observed, need_state
            As for :meth:`forward`.
        mask : Tensor of shape (batch, time), bool, optional
            Which targets count; default: ``observed``.

        Returns
        -------
        loss : Tensor of shape ()
            0 where no target counts.
        state : BackboneState or None
        """
        logs, state = self.log_probabilities(
            tokens, targets, state, observed, need_state=need_state
        )
        return -masked_mean(logs, observed if mask is None else mask), state

    @property
    def unit_length(self) -> int:
        """Tokens after which a state is one that some rows may :meth:`restart` from."""
        config = self.backbone.config
        # Only MAC cuts a text into segments; windows slide.
        segment = config.segment_length if config.variant == "mac" else 1
        return math.lcm(config.chunk_size, segment)

    def restart(self, state: BackboneState, rows: Tensor) -> BackboneState:
        """Let some rows of a batch start a new document; see :func:`titans_ts.nn.restart.restart`.

        Parameters
        ----------
        state : BackboneState
        rows : Tensor of shape (batch,), bool
        """
        return restart(self.backbone, state, rows)
