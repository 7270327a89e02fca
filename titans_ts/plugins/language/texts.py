"""Texts as users give them, to one array of tokens: a byte a token, two or four for byte pairs."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_ts.errors import DataError, DataFileError, DataTypeError
from titans_ts.plugins.language.tokenizer import Tokenizer, utf8

__all__ = ["Corpus", "iter_texts", "read_corpus", "set_documents_aside"]

EXPECTED = "expected a list of texts (str), or of files (pathlib.Path), one document each"

# With fewer documents, the last part of each is set aside for validation, not whole ones.
FEW_DOCUMENTS = 10

GZIP_SIGN = b"\x1f\x8b"


class Corpus(NamedTuple):
    """Documents one after another, without tokens between them."""

    tokens: np.ndarray  # (n,), uint8, uint16 or int32
    offsets: np.ndarray  # (n_documents + 1,), int64
    n_bytes: int  # of their text in UTF-8
    # False where documents are what others were cut to: then their first token follows nothing,
    # and nothing says that their text ends.
    from_start: bool = True
    to_end: bool = True
    is_whole: bool = True  # whether the tokens give back every character; where it was asked

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last but one place of each document's targets: its tokens, and its end."""
        first, more = int(not self.from_start), int(self.to_end)
        return [(first, length + more) for length in self.lengths.tolist()]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each document."""
        return np.diff(self.offsets)

    def fingerprint(self) -> str:
        """A checksum of all documents."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(self.offsets.tobytes())
        digest.update(np.ascontiguousarray(self.tokens).data)
        return digest.hexdigest()


def iter_texts(texts: Any, *, what: str = "texts") -> Iterator[str]:
    """The texts that a user gave, one document each.

    Parameters
    ----------
    texts : iterable of str or Path, or one Path
        A file is read as UTF-8, ``.gz`` unpacked.
    what : str
        What they are called in a message.

    Raises
    ------
    DataTypeError
        It is no iterable of texts.
    DataFileError, DataError
        A file cannot be read, or is no UTF-8.
    """
    if isinstance(texts, str | bytes):
        raise DataTypeError(
            f"{what} is one {type(texts).__name__}, {EXPECTED}. Put it in a list, [text], or name "
            "a file by pathlib.Path(name)."
        )
    if isinstance(texts, os.PathLike):
        texts = [texts]
    if isinstance(texts, Mapping | Set) or hasattr(texts, "columns"):
        raise DataTypeError(
            f"{what} is a {type(texts).__name__}, {EXPECTED}. Give the texts alone, in their "
            "order: list(texts.values()) of a dict, table['column'] of a table, sorted(texts) of a "
            "set."
        )
    # An array of no dimension seems to be one.
    if not isinstance(texts, Iterable) or getattr(texts, "ndim", 1) == 0:
        raise DataTypeError(f"{what} is {texts!r:.80}, {EXPECTED}.")
    for place, text in enumerate(texts):
        if isinstance(text, str):
            if place == 0 and _names_a_file(text):
                raise DataTypeError(
                    f"{what}[0] is {text!r}, the name of a file, which would be taken for the text "
                    "itself. Give pathlib.Path(name) for what is in the file."
                )
            yield text
        elif isinstance(text, os.PathLike):
            yield _read_file(Path(text))
        else:
            advice = " Decode it first: text.decode('utf-8')." if isinstance(text, bytes) else ""
            raise DataTypeError(
                f"{what}[{place}] is a {type(text).__name__} ({text!r:.60}), {EXPECTED}.{advice}"
            )


def _names_a_file(text: str) -> bool:
    """Whether a text is what glob returns; a word that happens to be a file's name is not."""
    if len(text) > 1000 or "\n" in text or "\0" in text or not Path(text).suffix:
        return False
    return os.path.isfile(text)


def _read_file(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(
            f"The text file {str(path)!r} is no gzip, or damaged: {error}. Copy it again; a file "
            "that is not packed has another name."
        ) from error
    except OSError as error:
        raise DataFileError(
            f"The text file {str(path)!r} cannot be read: {error.strerror or error}. Check the "
            "path."
        ) from error
    try:
        # Some editors write a mark before the text, which is none of its letters.
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        advice = "read it yourself and give the text: path.read_text(encoding='latin-1')"
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            advice = advice.replace("latin-1", "utf-16")
        elif content.startswith(GZIP_SIGN):
            advice = "name it .gz, since it is gzip"
        raise DataError(
            f"The file {str(path)!r} is not UTF-8: byte {content[error.start]:#04x} at place "
            f"{error.start} fits no character. Convert it, or {advice}."
        ) from None


def read_corpus(
    texts: Any,
    tokenizer: Tokenizer,
    *,
    what: str = "texts",
    contents: bool = False,
    compared: bool = False,
) -> Corpus:
    """Read documents into one array of tokens; empty ones are left out.

    Parameters
    ----------
    texts : iterable of str or Path, or one Path
    tokenizer : Tokenizer
    what : str
        What they are called in a message.
    contents : bool, default False
        Whether all are texts for sure: none is asked whether it is the name of a file.
    compared : bool, default False
        Whether ``is_whole`` is asked.

    Raises
    ------
    DataError
        No document has a token, or a text cannot be read.
    """
    parts, lengths, n_bytes, n_texts, is_whole = [], [0], 0, 0, True
    for text in texts if contents else iter_texts(texts, what=what):
        n_texts += 1
        tokens = tokenizer.encode(text)
        if compared:
            is_whole = is_whole and tokenizer.writes(text, tokens)
        if len(tokens):
            parts.append(tokens)
            lengths.append(len(tokens))
            n_bytes += len(utf8(text))
    if not parts:
        raise DataError(
            f"{what} holds no text: {n_texts or 'no'} documents, all empty. Expected at least one "
            "document with a character."
            if n_texts
            else f"{what} is empty. Expected at least one document with a character."
        )
    return Corpus(
        np.concatenate(parts), np.cumsum(lengths, dtype=np.int64), n_bytes, is_whole=is_whole
    )


def set_documents_aside(corpus: Corpus, fraction: float, seed: int) -> tuple[Corpus, Corpus | None]:
    """Split into documents to learn from, and documents on which learning is judged.

    Whole documents, drawn by the seed; of fewer than 10, the last part of each, where no text
    starts and, before it, none ends. Then no end is learnt, and none is judged. Documents so short
    that no two tokens can be spared are learnt whole. ``n_bytes`` of the parts is not counted.

    Parameters
    ----------
    corpus : Corpus
    fraction : float
        Of the documents, or tokens, to set aside; 0 for none.
    seed : int
    """
    if not fraction:
        return corpus, None
    lengths = corpus.lengths
    if len(lengths) >= FEW_DOCUMENTS:
        n_aside = max(round(fraction * len(lengths)), 1)
        aside = np.zeros(len(lengths), dtype=bool)
        aside[np.random.default_rng(seed).choice(len(lengths), n_aside, replace=False)] = True
        return _some(corpus, ~aside), _some(corpus, aside)
    spared = np.floor(fraction * lengths).astype(np.int64)
    spared[spared < 2] = 0  # the first of a part follows nothing, and is not judged
    if not spared.any():
        return corpus, None
    cuts = corpus.offsets[1:] - spared
    bounds = list(zip(corpus.offsets[:-1], cuts, corpus.offsets[1:], strict=True))
    judged = _joined([corpus.tokens[cut:stop] for _, cut, stop in bounds])
    learnt = _joined([corpus.tokens[start:cut] for start, cut, _ in bounds])
    return learnt._replace(to_end=False), judged._replace(from_start=False, to_end=False)


def _some(corpus: Corpus, which: np.ndarray) -> Corpus:
    return Corpus(
        corpus.tokens[np.repeat(which, corpus.lengths)],
        np.concatenate([[0], np.cumsum(corpus.lengths[which])]),
        0,
    )


def _joined(parts: list[np.ndarray]) -> Corpus:
    parts = [part for part in parts if len(part)]
    lengths = [len(part) for part in parts]
    return Corpus(np.concatenate(parts), np.cumsum([0, *lengths], dtype=np.int64), 0)
