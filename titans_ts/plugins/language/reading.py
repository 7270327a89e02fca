"""Reading with a trained model: log probabilities of documents, and the state after a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.restart import detach
from titans_ts.plugins.language.streams import SegmentBatch, segments_of, whole_documents
from titans_ts.plugins.language.texts import Corpus

__all__ = ["carried_state", "document_log_probabilities", "read_prompt"]


def carried_state(
    model: TokenModel, state: BackboneState | None, batch: SegmentBatch
) -> BackboneState | None:
    """The state that each row of a batch starts from, given that after the batch before."""
    if state is None or batch.all_start:
        return None
    return model.restart(state, batch.starts) if batch.any_starts else state


def document_log_probabilities(
    model: TokenModel, corpus: Corpus, *, end: int, rows: int, length: int
) -> Iterator[tuple[int, int, Tensor]]:
    """Read each document from its start, its memory carried through all of it.

    Parameters
    ----------
    model : TokenModel
    corpus : Corpus
    end : int
        The token that stands before and after each document.
    rows : int
        Documents that are read at a time.
    length : int
        Tokens that are read at a time; a multiple of the lengths of chunks and segments.

    Yields
    ------
    document : int
    start : int
        Place in the document of the first of these tokens.
    log_probabilities : Tensor of shape (n,)
        Of its next tokens, in nats; the end of the text is not among them.
    """
    device = model.embedding.weight.device
    documents = iter(whole_documents(corpus))
    rows = min(rows, len(corpus.lengths))
    state: BackboneState | None = None
    for batch in segments_of(corpus, documents, rows=rows, length=length, end=end):
        moved = batch.to(device)
        with torch.no_grad():
            state = carried_state(model, state, moved)
            logs, state = model.log_probabilities(
                moved.tokens, moved.targets, state, moved.observed
            )
        state = detach(state)
        logs = logs.cpu()
        for row, (document, start, stop) in batch.stretches:
            n = min(stop, int(corpus.lengths[document])) - start
            if n > 0:
                yield document, start, logs[row, :n]


def read_prompt(
    model: TokenModel, tokens: np.ndarray, *, length: int
) -> tuple[Tensor, BackboneState]:
    """Read a prompt of any length in pieces.

    Parameters
    ----------
    model : TokenModel
    tokens : ndarray of shape (n,), int
        At least one.
    length : int
        Tokens that are read at a time.

    Returns
    -------
    logits : Tensor of shape (n_tokens,)
        Of what follows.
    state : BackboneState
    """
    device = model.embedding.weight.device
    state: BackboneState | None = None
    vectors: Tensor | None = None
    with torch.no_grad():
        for start in range(0, len(tokens), length):
            piece = np.asarray(tokens[start : start + length], np.int64)
            vectors, state = model.vectors(torch.from_numpy(piece).to(device)[None], state)
        assert vectors is not None
        assert state is not None
        return model.to_logits(vectors[0, -1]), state
