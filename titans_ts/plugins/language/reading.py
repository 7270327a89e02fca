"""Reading with a trained model: log probabilities of documents, and where a text has led to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.restart import detach, map_tensors
from titans_ts.plugins.language.streams import SegmentBatch, segments_of, whole_documents
from titans_ts.plugins.language.texts import Corpus

__all__ = ["Reading", "carried_state", "document_log_probabilities", "read_on"]

# Tokens that tell how the next one is written; see the stream of byte pairs.
LAST = 16


@dataclass(frozen=True, eq=False)
class Reading:
    """Where a model is in a text: made by ``read``, and gone on from any number of times.

    Its size is that of the model's state, however long the text is.
    """

    weights: str  # a checksum of the model's
    state: BackboneState = field(repr=False)
    logits: Tensor = field(repr=False)  # (n_tokens,), of what follows
    last: tuple[int, ...] = field(repr=False)  # the last few tokens
    n_tokens: int  # that were read


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
    lengths = corpus.lengths.tolist()
    rows = min(rows, len(lengths))
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
            n = min(stop, lengths[document]) - start
            if n > 0:
                yield document, start, logs[row, :n]


def read_on(
    model: TokenModel,
    tokens: np.ndarray,
    *,
    end: int,
    length: int,
    weights: str,
    after: Reading | None = None,
) -> Reading:
    """Read tokens, however many, in pieces; those of a new text, or of one that goes on.

    Parameters
    ----------
    model : TokenModel
        In eval mode.
    tokens : ndarray of shape (n,), int
        May be empty.
    end : int
        The token that stands before a text.
    length : int
        Tokens that are read at a time.
    weights : str
        A checksum of the model's.
    after : Reading, optional
        Of the same model. Default: a new text starts.
    """
    device = model.embedding.weight.device
    state: BackboneState | None = None
    last: tuple[int, ...] = ()
    n_tokens = -1  # the first token is none of the text's
    if after is None:
        tokens = np.concatenate([[end], tokens])
    elif not len(tokens):
        moved = map_tensors(lambda tensor: tensor.to(device), after.state)
        return replace(after, state=moved, logits=after.logits.to(device))
    else:
        state = map_tensors(lambda tensor: tensor.to(device), after.state)
        last, n_tokens = after.last, after.n_tokens
    vectors: Tensor | None = None
    with torch.no_grad():
        for start in range(0, len(tokens), length):
            piece = np.asarray(tokens[start : start + length], np.int64)
            vectors, state = model.vectors(torch.from_numpy(piece).to(device)[None], state)
        assert vectors is not None
        assert state is not None
        logits = model.to_logits(vectors[0, -1])
    read = [int(token) for token in tokens[-LAST:]]
    return Reading(weights, state, logits, (*last, *read)[-LAST:], n_tokens + len(tokens))
