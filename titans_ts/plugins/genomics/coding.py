"""Nucleotides as numbers: sets of bases, k-mers, and the other strand.

A letter is a set of bases, four bits: A 1, C 2, G 4, T 8. So N is 15, an ambiguous letter needs no
case of its own, and the complement of a letter is its bits in the opposite order. 0 is no base: the
filling behind a sequence that is shorter than others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.errors import DataError, DataTypeError
from titans_ts.parameters import check_int

__all__ = [
    "COMPLEMENT",
    "SHARES",
    "CodedSequences",
    "encode_sequences",
    "kmer_ids",
    "n_kmers",
    "reverse_complement",
]

# IUPAC's letters (Cornish-Bowden 1985); U of RNA is read as T.
BASES = {"A": 1, "C": 2, "G": 4, "T": 8, "U": 8}
AMBIGUOUS = {"M": 3, "R": 5, "W": 9, "S": 6, "Y": 10, "K": 12, "V": 7, "H": 11, "D": 13, "B": 14}
LETTERS = {**BASES, **AMBIGUOUS, "N": 15}

_CODE_OF = np.zeros(256, dtype=np.uint8)
for _letter, _code in LETTERS.items():
    _CODE_OF[[ord(_letter), ord(_letter.lower())]] = _code
_LETTER_OF = np.frombuffer(b"-ACMGRSVTWYHKDBN", dtype=np.uint8)
_BITS = (np.arange(16)[:, None] >> np.arange(4)) & 1

#: What a letter says of A, C, G and T, shape (16, 4): equal shares of the bases that it may be.
SHARES = (_BITS / np.maximum(_BITS.sum(1, keepdims=True), 1)).astype(np.float32)

#: The code of the letter that stands opposite, shape (16,).
COMPLEMENT = (_BITS[:, ::-1] << np.arange(4)).sum(1).astype(np.uint8)

# 0 to 3 for one of A, C, G and T; -1 for anything else.
_PLACE = np.full(16, -1)
_PLACE[[1, 2, 4, 8]] = range(4)

# Letters of an offending sequence that a message shows.
MOST_SHOWN = 20


@dataclass(frozen=True)
class CodedSequences:
    """Sequences of any lengths, end to end.

    Parameters
    ----------
    codes : ndarray of shape (total_length,), uint8
    offsets : ndarray of shape (n + 1,), int64
        Sequence i is ``codes[offsets[i]:offsets[i + 1]]``.
    """

    codes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.codes[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """The length of each sequence."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> CodedSequences:
        """Some of the sequences, in the order of ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], lengths.cumsum()])
        shift = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return CodedSequences(self.codes[np.arange(offsets[-1]) + shift], offsets)

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """Some of the sequences as one array of shape (n, longest), filled up with 0."""
        part = self.take(rows)
        lengths = part.lengths
        longest = int(lengths.max(initial=0))
        inside = np.arange(longest) < lengths[:, None]
        out = np.zeros(inside.shape, dtype=np.uint8)
        out[inside] = part.codes
        return out

    def reverse_complements(self) -> CodedSequences:
        """The other strand of each sequence, in the order of the sequences."""
        codes, offsets = COMPLEMENT[self.codes], self.offsets
        # The place that mirrors each place within its own sequence.
        mirror = np.repeat(offsets[:-1] + offsets[1:] - 1, self.lengths) - np.arange(len(codes))
        return CodedSequences(codes[mirror], offsets)


def encode_sequences(sequences: Any, *, min_length: int = 1) -> CodedSequences:
    """Read sequences as codes, or say which letter of which sequence is none.

    Parameters
    ----------
    sequences : array-like of str or bytes, of shape (n,) or (n, 1)
        Upper or lower case. The letters are those of IUPAC: A, C, G, T, U (read as T), N, and the
        sets R, Y, S, W, K, M, B, D, H, V. White space around a sequence is left out.
    min_length : int, default 1

    Returns
    -------
    CodedSequences

    Raises
    ------
    DataError
        There are none, one is too short, or has a letter that stands for no base.

    Examples
    --------
    >>> from titans_ts.plugins.genomics.coding import encode_sequences
    >>> coded = encode_sequences(["ACGT", "ttn"])
    >>> coded[0], coded[1]
    (array([1, 2, 4, 8], dtype=uint8), array([ 8,  8, 15], dtype=uint8))
    """
    texts = _as_bytes(sequences)
    if not texts:
        raise DataError("No sequences were given; expected at least one, such as ['ACGTTGCA'].")
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    short = np.flatnonzero(lengths < min_length)
    if len(short):
        first = int(short[0])
        what = "is empty" if not lengths[first] else f"has {lengths[first]} letters"
        more = f" (and {len(short) - 1} more)" if len(short) > 1 else ""
        raise DataError(
            f"Sequence {first}{more} {what}; expected at least {min_length} letters in each. "
            "Drop it, or see whether a file was cut short."
        )
    offsets = np.concatenate([[0], lengths.cumsum()])
    codes = _CODE_OF[np.frombuffer(b"".join(texts), dtype=np.uint8)]
    wrong = np.flatnonzero(codes == 0)
    if len(wrong):
        raise DataError(_name_letter(texts, offsets, wrong))
    return CodedSequences(codes, offsets)


def group_copies(sequences: CodedSequences, *, either_strand: bool) -> list[list[int]]:
    """Rows of each sequence that there is, in the order in which they come first.

    With ``either_strand``, a reverse complement is a copy too.
    """
    copies: dict[bytes, list[int]] = {}
    for row in range(len(sequences)):
        codes = sequences[row]
        key = codes.tobytes()
        if either_strand:
            key = min(key, COMPLEMENT[codes[::-1]].tobytes())
        copies.setdefault(key, []).append(row)
    return list(copies.values())


def reverse_complement(sequence: str) -> str:
    """The other strand, read in its own direction; in capitals.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import reverse_complement
    >>> reverse_complement("AACGTR")
    'YACGTT'
    """
    if not sequence:
        return ""
    codes = COMPLEMENT[encode_sequences([sequence]).codes[::-1]]
    return _LETTER_OF[codes].tobytes().decode("ascii")


def n_kmers(k: int) -> int:
    """How many k-mers there are, the one that stands for all ambiguous ones included."""
    return int(4**k) + 1


def kmer_ids(codes: np.ndarray, k: int, *, stride: int = 1) -> np.ndarray:
    """Number the k-mers of coded sequences along the last axis.

    Parameters
    ----------
    codes : ndarray of shape (..., length), uint8
        As :func:`encode_sequences` writes them.
    k : int
        Letters in a word.
    stride : int, default 1
        Letters from one word to the next; ``k`` for words that do not overlap.

    Returns
    -------
    ndarray of shape (..., (length - k) // stride + 1), int64
        A, C, G and T are digits to the base of 4, the first letter the highest; a word with any
        other letter, or with filling, is ``4**k``.

    Examples
    --------
    >>> from titans_ts.plugins.genomics.coding import encode_sequences, kmer_ids
    >>> kmer_ids(encode_sequences(["AACGN"]).codes, 2)
    array([ 0,  1,  6, 16])
    """
    check_int("k", k)
    check_int("stride", stride)
    digits = _PLACE[codes]
    n = max((codes.shape[-1] - k) // stride + 1, 0)
    ids = np.zeros((*codes.shape[:-1], n), dtype=np.int64)
    unknown = np.zeros(ids.shape, dtype=bool)
    if not n:
        return ids
    for i in range(k):
        digit = digits[..., i : i + (n - 1) * stride + 1 : stride]
        ids = 4 * ids + digit
        unknown |= digit < 0
    return np.where(unknown, 4**k, ids)


def _as_bytes(sequences: Any) -> list[bytes]:
    """The sequences as text of one byte a letter; what has none becomes a letter that is wrong."""
    if isinstance(sequences, str | bytes):
        raise DataError(
            f"Expected a list of sequences, got one text of {len(sequences)} letters. "
            "Put it in brackets: [sequence]."
        )
    if isinstance(sequences, Mapping):
        raise DataTypeError(
            f"Expected a list of sequences, got a {type(sequences).__name__}, whose names would be "
            "read in place of its sequences. Give list(sequences.values())."
        )
    if isinstance(sequences, set | frozenset):
        raise DataTypeError(
            f"Expected a list of sequences, got a {type(sequences).__name__}, which has no order. "
            "Give sorted(sequences)."
        )
    if len(getattr(sequences, "column_names", [])) == 1:  # a table of pyarrow
        sequences = sequences.column(0)
    if hasattr(sequences, "to_pylist"):  # a column of one
        sequences = sequences.to_pylist()
    if hasattr(sequences, "to_numpy"):  # a Series or a frame
        sequences = sequences.to_numpy()
    if isinstance(sequences, np.ndarray):
        if sequences.ndim == 2 and sequences.shape[1] == 1:
            sequences = sequences[:, 0]
        if sequences.ndim != 1:
            raise DataError(
                "Expected sequences as an array of shape (n,) or (n, 1), got "
                f"{sequences.shape}. Give the one column that holds them."
            )
        sequences = sequences.tolist()
    if not isinstance(sequences, Iterable):
        raise DataTypeError(
            f"Expected a list of sequences such as ['ACGTTGCA'], got {type(sequences).__name__}."
        )
    return [_one(sequence, i) for i, sequence in enumerate(sequences)]


def _one(sequence: Any, i: int) -> bytes:
    if isinstance(sequence, bytes):
        return sequence.strip()
    if isinstance(sequence, str):
        return sequence.strip().encode("latin-1", errors="replace")
    if isinstance(sequence, list | tuple) and len(sequence) == 1:  # a row of one column
        return _one(sequence[0], i)
    missing = sequence is None or bool(np.any(pd.isna(sequence)))
    what = "is missing" if missing else f"is a {type(sequence).__name__}"
    raise DataTypeError(
        f"Sequence {i} {what}, expected text such as 'ACGTTGCA'. "
        + ("Drop it first." if missing else "Give the letters themselves.")
    )


def _name_letter(texts: Sequence[bytes], offsets: np.ndarray, wrong: np.ndarray) -> str:
    place = int(wrong[0])
    i = int(np.searchsorted(offsets, place, side="right")) - 1
    at = place - int(offsets[i])
    letter = texts[i][at : at + 1].decode("latin-1")
    n_others = len({int(np.searchsorted(offsets, p, side="right")) for p in wrong[:10_000]}) - 1
    more = f" ({n_others} other sequences have such letters too)" if n_others else ""
    shown = texts[i][max(at - MOST_SHOWN // 2, 0) : at + MOST_SHOWN // 2].decode("latin-1")
    hint = "N stands for any base"
    if letter in "-.*":
        hint = "take gaps and stops out; " + hint
    return (
        f"Sequence {i} has the letter {letter!r} at position {at + 1}, in {shown!r}{more}; "
        f"expected letters of DNA or RNA: A, C, G, T, U, or one of {''.join(AMBIGUOUS)}N for "
        f"several bases. Mend it, or drop the sequence; {hint}."
    )
