"""Documents as streams: rows that read on where they stopped, segment after segment.

A row of a batch reads one stretch of one document with its memory carried from segment to segment,
and then the next stretch with a fresh memory. Documents never share a segment: what is left of a
stretch's last segment is masked. Stretches of about the same length lie beside each other, so that
few tokens are masked where texts are short.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.plugins.language.texts import Corpus

__all__ = [
    "RepeatedBatches",
    "SegmentBatch",
    "Stretch",
    "TextStreams",
    "segments_of",
    "whole_documents",
]

# Stretches that are sorted by length at a time, for each row: enough that neighbours are alike, and
# few enough that the order of a pass is still one of chance.
POOL = 16

# Of the places at which a long document may be cut, those at which it is.
CUT_SHARE = 0.5


class Stretch(NamedTuple):
    """A part of a document that is read without a break."""

    document: int
    start: int  # first target; 0: the document's first token
    stop: int  # behind the last target; the end of the text is that after the last token

    @property
    def length(self) -> int:
        return self.stop - self.start


class SegmentBatch(NamedTuple):
    """What each row reads next."""

    tokens: Tensor  # (rows, time), int64
    targets: Tensor  # same shape: the token that follows
    observed: Tensor | None  # same shape, bool; None: all
    starts: Tensor  # (rows,), bool: where a row starts with a fresh memory
    all_start: bool
    any_starts: bool
    n_targets: int  # that are observed
    stretches: tuple[tuple[int, Stretch], ...]  # row, and what of which document it reads

    def to(self, device: torch.device) -> SegmentBatch:
        """The same batch on another device."""
        return self._replace(
            tokens=self.tokens.to(device),
            targets=self.targets.to(device),
            observed=None if self.observed is None else self.observed.to(device),
            starts=self.starts.to(device),
        )


def whole_documents(corpus: Corpus, *, longest: int | None = None) -> list[Stretch]:
    """One stretch for each document, longest first, which keeps rows busy to the end.

    Parameters
    ----------
    corpus : Corpus
    longest : int, optional
        Documents longer than that are cut, so that there is something for every row.
    """
    parts = []
    for document, (first, stop) in enumerate(corpus.spans):
        step = longest or max(stop, 1)
        parts += [
            Stretch(document, start, min(start + step, stop)) for start in range(first, stop, step)
        ]
    return sorted(parts, key=lambda part: -part.length)


def segments_of(
    corpus: Corpus, stretches: Iterator[Stretch], *, rows: int, length: int, end: int
) -> Iterator[SegmentBatch]:
    """Give stretches to rows as these become free, a segment at a time, until all are read.

    Parameters
    ----------
    corpus : Corpus
    stretches : iterator of Stretch
        May be endless.
    rows : int
        Sequences in a batch.
    length : int
        Tokens of a segment.
    end : int
        The token that stands before and after each document.

    Yields
    ------
    SegmentBatch
    """
    current: list[Stretch | None] = [None] * rows
    while True:
        fresh = []
        for row in range(rows):
            part = current[row]
            if part is None or not part.length:
                current[row] = next(stretches, None)
                fresh.append(row)
        reading: list[tuple[int, Stretch]] = []
        for row, part in enumerate(current):
            if part is not None:
                reading.append((row, part._replace(stop=min(part.start + length, part.stop))))
        if not reading:
            return
        yield _cut(corpus, reading, fresh, rows, end)
        for row, part in reading:
            whole = current[row]
            assert whole is not None
            current[row] = whole._replace(start=part.stop)


def _cut(
    corpus: Corpus, reading: list[tuple[int, Stretch]], fresh: list[int], rows: int, end: int
) -> SegmentBatch:
    time = max(part.length for _, part in reading)
    # What comes before a document, and after it, is its end token.
    both = np.full((rows, time + 1), end, dtype=np.int64)
    n_targets = 0
    for row, (document, start, stop) in reading:
        first, last = corpus.offsets[document : document + 2]
        left, right = max(start - 1, 0), min(stop, int(last - first))
        at = 1 if start == 0 else 0
        both[row, at : at + right - left] = corpus.tokens[first + left : first + right]
        n_targets += stop - start
    observed = None
    if n_targets < rows * time:
        n_read = np.zeros(rows, dtype=np.int64)
        for row, part in reading:
            n_read[row] = part.length
        observed = torch.from_numpy(np.arange(time) < n_read[:, None])
    starts = np.zeros(rows, dtype=bool)
    starts[[row for row, _ in reading if row in fresh]] = True
    pairs = torch.from_numpy(both)
    return SegmentBatch(
        pairs[:, :-1],
        pairs[:, 1:],
        observed,
        torch.from_numpy(starts),
        len(fresh) == rows,  # those included that have nothing left to read
        bool(starts.any()),
        n_targets,
        tuple(reading),
    )


class RepeatedBatches:
    """Batches that are cut anew, and alike, each time they are read.

    Parameters
    ----------
    cut : callable
        Starts to cut them. Kept, they would take five times the memory of their text.
    """

    def __init__(self, cut: Callable[[], Iterator[SegmentBatch]]) -> None:
        self._cut = cut
        self._n = sum(1 for _ in cut())

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[SegmentBatch]:
        return self._cut()


class TextStreams:
    """Batches of an endless reading of a corpus, so many to an epoch.

    Reading goes on from epoch to epoch: rows keep their place, and their memory with it. In each
    pass, documents come in a new order, and long ones are cut at new places. What lies between two
    cuts has no longest length: a memory that was never older in training than some age answers
    worse and worse beyond it (Buitrago and Gu, 2025, arXiv:2507.02782).

    Parameters
    ----------
    corpus : Corpus
    rows : int
        Sequences in a batch.
    length : int
        Tokens of a segment.
    cut_every : int
        Tokens of a long document after which it may be cut, and a row starts anew with a fresh
        memory: at half of these places, by chance.
    n_batches : int
        Of an epoch.
    end : int
        The token that stands before and after each document.
    seed : int

    Attributes
    ----------
    n_skipped : int
        So many batches are passed over: one batch stands in for them all.
    """

    n_skipped = 0

    def __init__(
        self,
        corpus: Corpus,
        *,
        rows: int,
        length: int,
        cut_every: int,
        n_batches: int,
        end: int,
        seed: int,
    ) -> None:
        self.corpus, self.cut_every, self.rows = corpus, cut_every, rows
        self.n_batches, self.seed = n_batches, seed
        self._batches = segments_of(corpus, self._stretches(), rows=rows, length=length, end=end)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[SegmentBatch]:
        stand_in: SegmentBatch | None = None
        for _ in range(self.n_batches):
            batch = next(self._batches)
            if self.n_skipped:
                self.n_skipped -= 1
                stand_in = stand_in or batch
                yield stand_in
                continue
            yield batch

    def _stretches(self) -> Iterator[Stretch]:
        """Passes over the corpus without end."""
        n_pass = 0
        while True:
            rng = np.random.default_rng([self.seed, n_pass])
            n_pass += 1
            parts: list[Stretch] = []
            for document, (first, stop) in enumerate(self.corpus.spans):
                cuts = [first, stop]
                if stop - first > self.cut_every:
                    begin = first + int(rng.integers(1, self.cut_every + 1))
                    places = np.arange(begin, stop, self.cut_every)
                    cuts[1:1] = places[rng.random(len(places)) < CUT_SHARE].tolist()
                parts += [Stretch(document, *ends) for ends in itertools.pairwise(cuts)]
            parts = [parts[i] for i in rng.permutation(len(parts))]
            pool = POOL * self.rows
            for first in range(0, len(parts), pool):
                yield from sorted(parts[first : first + pool], key=lambda part: part.length)
