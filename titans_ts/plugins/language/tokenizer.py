"""Tokenizers: text to numbers and back. Bytes need nothing; BPE needs the extra ``text``."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from titans_ts.errors import DataError, DataFileError, ParameterError

__all__ = ["BPETokenizer", "ByteTokenizer", "Tokenizer", "make_tokenizer"]

# What tokenizer.json files call the token at a text's end; the first that is there is taken.
END_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]", "[SEP]")


class TextStream(Protocol):
    """Tokens in one by one, text out as soon as it is certain."""

    def push(self, token: int) -> str:
        """Return the text that is certain since the last call; it may be empty."""

    def close(self) -> str:
        """Return what is left, with a replacement character for half a character."""


class Tokenizer(Protocol):
    """What a language model asks of a tokenizer."""

    n_tokens: int  # numbers are 0 to n_tokens - 1
    end: int  # the token before and after every text

    def writes(self, text: str, tokens: np.ndarray) -> bool:
        """Whether these tokens of a text give it back, but for a space that it starts with."""

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, without one for its end."""

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens."""

    def stream(self, before: Sequence[int] = ()) -> TextStream:
        """Start to turn tokens into text while they come, after those of the text before them."""

    def state(self) -> dict[str, Any]:
        """Return what :func:`make_tokenizer` makes it of again, as values for JSON."""


def utf8(text: str) -> bytes:
    """The bytes of a text.

    Raises
    ------
    DataError
        It holds half of a surrogate pair, which is no character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"A text holds {text[error.start]!r} at character {error.start}, half of a surrogate "
            "pair, which has no bytes in UTF-8. It was decoded wrongly; read the file as UTF-8, or "
            'clean it by text.encode("utf-8", "replace").decode().'
        ) from None


class ByteTokenizer:
    """Every byte of UTF-8 is a token, and 256 the end of a text.

    Any text has tokens, and any tokens a text: bytes that are no UTF-8 come out as a replacement
    character.

    Examples
    --------
    >>> from titans_ts.plugins.language.tokenizer import ByteTokenizer
    >>> ByteTokenizer().encode("né").tolist()
    [110, 195, 169]
    """

    n_tokens = 257
    end = 256

    def writes(self, text: str, tokens: np.ndarray) -> bool:
        return True

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), np.uint8)

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(t for t in tokens if t != self.end).decode(errors="replace")

    def stream(self, before: Sequence[int] = ()) -> TextStream:
        return _ByteStream()

    def state(self) -> dict[str, Any]:
        return {"kind": "bytes"}


class _ByteStream:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(bytes([token]))

    def close(self) -> str:
        return self._decoder.decode(b"", final=True)


def _checked(text: str) -> str:
    utf8(text)
    return text


class BPETokenizer:
    """Byte-pair encoding by the library ``tokenizers``, which is the extra ``text``.

    Parameters
    ----------
    description : str
        What a ``tokenizer.json`` says, Llama's for one.
    end : str, optional
        The token at a text's end; default: the first usual one that the vocabulary has.
    where : str
        What it is called in a message.
    """

    def __init__(
        self, description: str, end: str | None = None, *, where: str = "The tokenizer"
    ) -> None:
        library = _library()
        try:
            self._own = library.Tokenizer.from_str(description)
        # The library raises a plain Exception.
        except Exception as error:
            raise DataError(
                f"{where} is none that the library tokenizers reads: {error}. Expected the content "
                "of a tokenizer.json."
            ) from error
        # A model reads texts whole, one at a time.
        self._own.no_padding()
        self._own.no_truncation()
        # A text that speaks of "</s>" does not end there.
        self._own.encode_special_tokens = True
        self.n_tokens: int = self._own.get_vocab_size(with_added_tokens=True)
        vocabulary = self._own.get_vocab(with_added_tokens=True)
        names = END_NAMES if end is None else (end,)
        found = [vocabulary[name] for name in names if name in vocabulary]
        if not found:
            raise DataError(
                f"{where} has no token for a text's end; expected one of {', '.join(names)}. Add "
                "one to its vocabulary, by the library tokenizers: add_special_tokens(['</s>'])."
            )
        self.end: int = found[0]
        if max(vocabulary.values()) >= self.n_tokens:
            # Numbers may have gaps, where tokens were taken out.
            self.n_tokens = max(vocabulary.values()) + 1

    def __reduce__(self) -> tuple[Any, ...]:
        # The library leaves out of a pickle how it treats the names of special tokens.
        return make_tokenizer, (self.state(), (), 0)

    @classmethod
    def train(cls, texts: Iterable[str], n_tokens: int) -> BPETokenizer:
        """Learn a vocabulary: bytes, and the pairs that come most often.

        Parameters
        ----------
        texts : iterable of str
        n_tokens : int
            Size of the vocabulary; less where the texts have fewer pairs. At least 257.
        """
        library = _library()
        own = library.Tokenizer(library.models.BPE())
        own.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=n_tokens,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        own.train_from_iterator(map(_checked, texts), trainer)
        return cls(own.to_str())

    def writes(self, text: str, tokens: np.ndarray) -> bool:
        written = self.decode(tokens)
        # Many put a space before a text, and take one away, or do one of the two.
        return written == text or f" {written}" == text or written == f" {text}"

    def encode(self, text: str) -> np.ndarray:
        utf8(text)  # the library would panic
        tokens = self._numbers(text)
        if self.end in tokens:
            # The vocabulary has the end's name as a word like others: cut behind its first letter.
            first, rest = map(re.escape, (self._end_name()[:1], self._end_name()[1:]))
            pieces = re.split(f"(?<={first})(?={rest})", text)
            tokens = [token for piece in pieces for token in self._numbers(piece)]
            tokens = [token for token in tokens if token != self.end]
        return np.asarray(tokens, np.int32 if self.n_tokens > 1 << 16 else np.uint16)

    def _numbers(self, text: str) -> list[int]:
        return list(self._own.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Iterable[int]) -> str:
        return self._own.decode([int(t) for t in tokens], skip_special_tokens=True)

    def stream(self, before: Sequence[int] = ()) -> TextStream:
        return _BPEStream(self, before)

    def state(self) -> dict[str, Any]:
        return {"kind": "bpe", "description": self._own.to_str(), "end": self._end_name()}

    def _end_name(self) -> str:
        return str(self._own.id_to_token(self.end))


class _BPEStream:
    """The text of a few tokens is decoded again with each: a character may span several."""

    # So many tokens before the new one tell how it is written, a space before a word for one.
    n_before = 8
    # A character that is not complete has three bytes at most, each a token at most.
    n_half = 3

    def __init__(self, tokenizer: BPETokenizer, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._keep_the_last(len(self._tokens))

    def push(self, token: int) -> str:
        self._tokens.append(token)
        n_certain = len(self._tokens)
        text = whole = self._pending(n_certain)
        if whole.endswith("\ufffd"):
            # The end may be half a character, until its other half comes. What is before that is
            # certain, unless it is cut inside a character itself.
            for n_certain in range(len(self._tokens) - self.n_half, self._n_done, -1):
                text = self._pending(n_certain)
                if whole.startswith(text):
                    break
            else:
                return ""
        self._keep_the_last(n_certain)
        return text

    def close(self) -> str:
        return self._pending(len(self._tokens))

    def _keep_the_last(self, n_certain: int) -> None:
        """Forget all certain tokens but those that tell how the next are written."""
        certain, rest = self._tokens[:n_certain], self._tokens[n_certain:]
        # Up to four tokens write one character, and half of one would spoil what comes next.
        for n in range(self.n_before, self.n_before + 4):
            last = certain[-n:]
            if not self._tokenizer.decode(last).startswith("\ufffd"):
                break
        self._tokens, self._n_done = last + rest, len(last)

    def _pending(self, n: int) -> str:
        """The text of the first ``n`` tokens, less what has been written."""
        before = self._tokenizer.decode(self._tokens[: self._n_done])
        return self._tokenizer.decode(self._tokens[:n])[len(before) :]


def make_tokenizer(given: Any, texts: Iterable[str], n_tokens: int) -> Tokenizer:
    """The tokenizer that a parameter, or a saved model, asks for.

    Parameters
    ----------
    given : str, path-like or dict
        "bytes"; "bpe", which is trained; the path of a ``tokenizer.json``; or what
        ``Tokenizer.state()`` returned.
    texts : iterable of str
        To train on; read for "bpe" only.
    n_tokens : int
        Size of the vocabulary for "bpe".

    Raises
    ------
    ParameterError
        It is none of these, or the library tokenizers is missing.
    DataFileError
        The file cannot be read.
    """
    if isinstance(given, dict):
        if given.get("kind") == "bytes":
            return ByteTokenizer()
        return BPETokenizer(str(given["description"]), str(given["end"]))
    if given == "bytes":
        return ByteTokenizer()
    if given == "bpe":
        return BPETokenizer.train(texts, n_tokens)
    if isinstance(given, str | os.PathLike) and Path(given).suffix == ".json":
        try:
            description = Path(given).read_text(encoding="utf-8")
            json.loads(description)
        except OSError as error:
            raise DataFileError(
                f"The tokenizer file {str(given)!r} cannot be read: {error.strerror or error}. "
                "Check the path."
            ) from error
        except ValueError as error:
            raise DataFileError(
                f"{str(given)!r} is no tokenizer.json: {error}. Download the file again."
            ) from error
        return BPETokenizer(description, where=f"The tokenizer {str(given)!r}")
    raise ParameterError(
        f"tokenizer must be 'bytes', 'bpe', or the path of a tokenizer.json file; got {given!r}."
    )


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ParameterError(
            "Byte-pair encoding needs the library tokenizers. Install it by "
            "pip install 'titans-ts[text]', or set tokenizer='bytes', which needs nothing."
        ) from error
    return tokenizers
