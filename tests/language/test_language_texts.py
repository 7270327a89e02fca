"""Texts as users give them, and their tokens."""

from __future__ import annotations

import copy
import functools
import gzip
import operator
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from titans_ts.errors import DataError, DataFileError, DataTypeError, ParameterError
from titans_ts.plugins.language.streams import TextStreams, segments_of, whole_documents
from titans_ts.plugins.language.texts import read_corpus, set_documents_aside
from titans_ts.plugins.language.tokenizer import BPETokenizer, ByteTokenizer, make_tokenizer

BYTES = ByteTokenizer()
SPEECH = "Wär' ich ein Vogel… 🐦 so flög' ich. "


def corpus_of(*texts):
    return read_corpus(list(texts), BYTES)


@pytest.mark.parametrize("text", [SPEECH, "", "\x00\x7f", "e\u0301"])
def test_bytes_come_back_as_they_were(text):
    assert BYTES.decode(BYTES.encode(text)) == text


def test_a_character_comes_out_of_a_stream_when_its_last_byte_does():
    stream = BYTES.stream()
    pieces = [stream.push(int(b)) for b in BYTES.encode("a🐦b")]
    assert pieces == ["a", "", "", "", "🐦", "b"]
    assert stream.close() == ""
    stream.push(0xF0)
    assert stream.close() == "\ufffd"


def test_a_stream_of_byte_pairs_loses_nothing_beside_replacement_characters():
    pytest.importorskip("tokenizers", reason="needs the extra text")
    pairs = BPETokenizer.train(["héllo wörld 日本語 " * 5, "to be or not to be"], 300)
    rng = np.random.default_rng(0)
    letters = ["\ufffd", "a", " ", "é", "本", "👩", "\u200d", "to be"]
    for _ in range(100):
        text = "".join(rng.choice(letters, 20))
        stream, tokens = pairs.stream(), pairs.encode(text)
        pieces = [stream.push(int(token)) for token in tokens]
        assert "".join([*pieces, stream.close()]) == pairs.decode(tokens) == text
        # Nothing waits for longer than a character may.
        so_far = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
        behind = [len(pairs.decode(tokens[: i + 1])) - len(s) for i, s in enumerate(so_far)]
        assert max(behind) <= 3


def test_half_a_surrogate_pair_is_refused_in_words():
    with pytest.raises(DataError, match="half of a surrogate"):
        corpus_of("good", "bad \ud83d")


def test_files_are_documents_packed_or_not(tmp_path):
    (tmp_path / "a.txt").write_text(SPEECH, encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"second"))
    corpus = read_corpus([tmp_path / "a.txt", tmp_path / "b.txt.gz"], BYTES)
    assert corpus.lengths.tolist() == [len(SPEECH.encode()), 6]
    assert corpus.tokens.dtype == np.uint8
    assert read_corpus(tmp_path / "a.txt", BYTES).lengths.tolist() == [len(SPEECH.encode())]


def test_a_mark_before_a_file_s_text_is_none_of_its_letters(tmp_path):
    (tmp_path / "a.txt").write_text("né", encoding="utf-8-sig")
    assert read_corpus(tmp_path / "a.txt", BYTES).lengths.tolist() == [3]


def test_empty_documents_are_left_out():
    assert corpus_of("", "ab", "").lengths.tolist() == [2]


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        pytest.param("one text", DataTypeError, r"texts is one str.*\[text\]", id="a text"),
        pytest.param([], DataError, "texts is empty", id="nothing"),
        pytest.param(["", ""], DataError, "2 documents, all empty", id="empty documents"),
        pytest.param(["a", b"b"], DataTypeError, r"texts\[1\] is a bytes.*decode", id="bytes"),
        pytest.param([3.5], DataTypeError, r"texts\[0\] is a float", id="a number"),
        pytest.param(None, DataTypeError, "texts is None", id="None"),
        pytest.param(np.array("abc"), DataTypeError, r"texts is array\('abc'", id="no dimension"),
        pytest.param({"book": "text"}, DataTypeError, r"a dict.*list\(texts\.values", id="a dict"),
        pytest.param({"one", "two"}, DataTypeError, r"a set.*sorted\(texts\)", id="a set"),
        pytest.param(
            pd.DataFrame({"text": ["a"]}), DataTypeError, r"a DataFrame.*\['column'\]", id="a table"
        ),
        pytest.param([Path("none.txt")], DataFileError, "'none.txt' cannot be read", id="no file"),
    ],
)
def test_what_is_no_text_is_refused_in_words(texts, error, words):
    with pytest.raises(error, match=words):
        read_corpus(texts, BYTES)


def test_names_of_files_are_not_taken_for_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "LICENSE"):
        Path(name).write_text("in the file", encoding="utf-8")
    with pytest.raises(DataTypeError, match=r"texts\[0\] is 'a\.txt', the name of a file.*Path"):
        read_corpus(["a.txt", "b.txt"], BYTES)
    assert read_corpus(["LICENSE", "b.txt", "a.txt"], BYTES).lengths.tolist() == [7, 5, 5]


def test_a_file_that_is_not_utf8_is_refused_with_the_place(tmp_path):
    (tmp_path / "old.txt").write_bytes("Wär".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8: byte 0xe4 at place 1"):
        read_corpus(tmp_path / "old.txt", BYTES)
    (tmp_path / "wide.txt").write_bytes("Wär".encode("utf-16"))
    with pytest.raises(DataError, match=r"read_text\(encoding='utf-16'\)"):
        read_corpus(tmp_path / "wide.txt", BYTES)


def test_packed_files_are_told_from_damaged_ones_and_from_such_without_the_name(tmp_path):
    packed = gzip.compress(b"packed" * 99)
    for name, content in (("BOOK.TXT.GZ", packed), ("book.gz", packed[:-9]), ("book.txt", packed)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "false.gz").write_bytes(b"packed")
    assert read_corpus(tmp_path / "BOOK.TXT.GZ", BYTES).lengths == [594]
    for name in ("book.gz", "false.gz"):
        with pytest.raises(DataFileError, match=r"is no gzip, or damaged: .* Copy it again"):
            read_corpus(tmp_path / name, BYTES)
    with pytest.raises(DataError, match=r"not UTF-8: .* or name it \.gz"):
        read_corpus(tmp_path / "book.txt", BYTES)


def test_whole_documents_are_set_aside_and_of_few_their_ends():
    many = corpus_of(*[chr(97 + i) * (i + 1) for i in range(20)])
    learnt, judged = set_documents_aside(many, 0.1, seed=0)
    assert (len(learnt.lengths), len(judged.lengths)) == (18, 2)
    assert sorted([*learnt.lengths, *judged.lengths]) == list(range(1, 21))
    for part in (learnt, judged):
        for start, stop in zip(part.offsets[:-1], part.offsets[1:], strict=True):
            assert set(part.tokens[start:stop].tolist()) == {96 + stop - start}
    learnt, judged = set_documents_aside(corpus_of("aaaaaaaabb", "c"), 0.2, seed=0)
    assert bytes(learnt.tokens) + b"|" + bytes(judged.tokens) == b"aaaaaaaac|bb"
    assert judged.lengths.tolist() == [2]
    assert set_documents_aside(many, 0.0, seed=0) == (many, None)
    # The first token of a part follows nothing: one alone judges nothing.
    for length in (3, 9, 10, 19):
        short = corpus_of("a" * length)
        assert set_documents_aside(short, 0.1, seed=0) == (short, None)
    learnt, judged = set_documents_aside(corpus_of("a" * 20, "b" * 19), 0.1, seed=0)
    assert (learnt.lengths.tolist(), judged.lengths.tolist()) == ([18, 19], [2])


def test_every_token_is_a_target_once_and_follows_its_own_document():
    texts = ["abcdefghijk", "m", "pqrst", "uv"]
    corpus = corpus_of(*texts)
    read = {}
    batches = list(segments_of(corpus, iter(whole_documents(corpus)), rows=2, length=4, end=256))
    for batch in batches:
        assert batch.tokens.shape[1] <= 4
        n = 0
        for row, (document, start, stop) in batch.stretches:
            length = stop - start
            n += length
            read.setdefault(document, []).append(batch.targets[row, :length].tolist())
            if start == 0:
                assert batch.starts[row]
                assert batch.tokens[row, 0] == 256
            else:
                assert batch.tokens[row, 0] == ord(texts[document][start - 1])
            assert batch.tokens[row, 1:length].tolist() == batch.targets[row, : length - 1].tolist()
            observed = batch.observed
            assert observed is None or observed[row].sum() == length
        assert n == batch.n_targets
    for document, parts in read.items():
        assert functools.reduce(operator.iadd, parts, []) == [*texts[document].encode(), 256]
    assert len(read) == 4
    assert batches[0].all_start
    assert [batch.any_starts for batch in batches[1:]].count(True) >= 1


def targets_of(corpus):
    """What follows what, as text, where "$" is a text's end."""
    batches = segments_of(corpus, iter(whole_documents(corpus)), rows=1, length=4, end=256)
    pairs = [(b.tokens[0].tolist(), b.targets[0].tolist()) for b in batches]
    sides = zip(*pairs, strict=True)
    return ["".join("$" if t == 256 else chr(t) for part in side for t in part) for side in sides]


def test_what_is_cut_from_a_document_neither_ends_nor_starts_a_text():
    learnt, judged = set_documents_aside(corpus_of("abcdefghij"), 0.3, 0)
    assert targets_of(learnt) == ["$abcdef", "abcdefg"]
    assert targets_of(judged) == ["hi", "ij"]
    streams = TextStreams(learnt, rows=1, length=9, cut_every=99, n_batches=2, end=256, seed=0)
    assert [b.targets.tolist() for b in streams] == [[[*b"abcdefg"]]] * 2


def test_a_pass_reads_all_documents_and_the_next_one_in_another_order():
    corpus = corpus_of(*[chr(97 + i) * 3 for i in range(20)])

    def orders(seed):
        streams = TextStreams(
            corpus, rows=4, length=8, cut_every=16, n_batches=5, end=256, seed=seed
        )
        return [
            [part.document for batch in streams for _, part in batch.stretches] for _ in range(2)
        ]

    first, second = orders(0)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1)[0] != first


def test_long_documents_are_cut_at_other_places_in_each_pass():
    corpus = corpus_of("x" * 100)
    streams = TextStreams(corpus, rows=1, length=8, cut_every=32, n_batches=120, end=256, seed=0)
    starts = [part.start for batch in streams if batch.any_starts for _, part in batch.stretches]
    assert starts.count(0) >= 2
    assert len(set(starts) - {0}) > 4


def test_a_row_reads_on_beyond_half_of_the_places_to_cut_at():
    corpus = corpus_of("x" * 10_000)
    streams = TextStreams(corpus, rows=1, length=10, cut_every=100, n_batches=900, end=256, seed=0)
    starts = [batch.any_starts for batch in streams]
    ages = np.diff(np.flatnonzero([*starts, True])) * 10  # tokens, to the segment
    assert 150 < ages.mean() < 270
    assert ages.max() >= 400


def test_batches_that_are_skipped_keep_the_reading_in_place():
    corpus = corpus_of(*[chr(97 + i) * (5 + i) for i in range(20)])
    options = {"rows": 3, "length": 4, "cut_every": 8, "n_batches": 7, "end": 256, "seed": 0}
    whole = [*TextStreams(corpus, **options)]
    skipping = TextStreams(corpus, **options)
    skipping.n_skipped = 4
    assert [b.stretches for b in skipping][4:] == [b.stretches for b in whole][4:]


# -- byte pairs: the extra "text" -----------------------------------------------------------------


@pytest.fixture
def bpe():
    pytest.importorskip("tokenizers", reason="needs the extra text")
    return BPETokenizer.train([SPEECH * 3, "to be or not to be"], 300)


def test_byte_pairs_come_back_as_they_were(bpe):
    for text in (SPEECH, "漢字 that it never met\n"):
        tokens = bpe.encode(text)
        assert tokens.max() < bpe.n_tokens <= 300
        assert bpe.decode(tokens) == text
    assert len(bpe.encode("to be or not to be")) < 18


def test_a_stream_of_byte_pairs_says_what_all_of_them_say(bpe):
    text = SPEECH + "漢字 🐦🐦 that it never met. " + SPEECH
    stream = bpe.stream()
    pieces = [stream.push(int(token)) for token in bpe.encode(text)]
    assert "".join(pieces) + stream.close() == text
    assert sum(bool(piece) for piece in pieces) > 10


@pytest.fixture
def llama_like():
    """A tokenizer in which a space belongs to the word behind it, and bytes write what is rare."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    words = ["▁to", "▁be", "▁or", "▁not", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    letters = sorted({c for word in words[:4] for c in word})
    numbers = {token: i for i, token in enumerate([*letters, *words])}
    merges, have = [], set(letters)
    for word in words[:4]:
        for n in range(2, len(word) + 1):
            if word[:n] not in have:
                have.add(word[:n])
                numbers.setdefault(word[:n], len(numbers))
                merges.append((word[: n - 1], word[n - 1]))
    own = tokenizers.Tokenizer(tokenizers.models.BPE(numbers, merges, byte_fallback=True))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    decoders = tokenizers.decoders
    own.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    own.add_special_tokens(["</s>"])
    return BPETokenizer(own.to_str())


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [
        pytest.param("to be", " or not to be", id="a space"),
        pytest.param("to be 漢字漢字漢字漢字", "漢字🐦 or not 漢字", id="many bytes"),
        pytest.param("", "to be or 漢字漢字漢字漢字🐦 not", id="no prompt"),
    ],
)
def test_a_stream_goes_on_where_the_text_before_it_ended(llama_like, prompt, rest):
    before, whole = llama_like.encode(prompt), llama_like.encode(prompt + rest)
    assert whole[: len(before)].tolist() == before.tolist()
    stream = llama_like.stream(before.tolist())
    pieces = [stream.push(int(token)) for token in whole[len(before) :]]
    assert "".join(pieces) + stream.close() == rest


def test_the_name_of_a_special_token_in_a_text_is_text(bpe):
    text = "ends<|endoftext|>here"
    pickled, copied = pickle.loads(pickle.dumps(bpe)), copy.deepcopy(bpe)
    for tokenizer in (bpe, make_tokenizer(bpe.state(), (), 0), pickled, copied):
        tokens = tokenizer.encode(text)
        assert tokenizer.end not in tokens
        assert tokenizer.decode(tokens) == text


def described(kind, pieces, unknown):
    """A tokenizer whose vocabulary has the end's name as a word like others."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    models = {
        "unigram": lambda: tokenizers.models.Unigram([(p, -1.0) for p in pieces], unk_id=unknown),
        "words": lambda: tokenizers.models.WordLevel(
            {p: i for i, p in enumerate(pieces)}, unk_token=pieces[unknown]
        ),
        "pairs": lambda: tokenizers.models.BPE({p: i for i, p in enumerate(pieces)}, []),
    }
    own = tokenizers.Tokenizer(models[kind]())
    if kind == "words":
        own.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    if kind == "pairs":
        own.add_tokens(["</s>"])
    return BPETokenizer(own.to_str())


@pytest.mark.parametrize(
    ("kind", "pieces", "text", "n_tokens"),
    [
        ("unigram", ["?", "a", "<", "/", "s", ">", "</s>"], "a</s>a</s>", 10),
        ("words", ["?", "a", "</s>", "<", "/s>"], "a </s> a", 4),
        ("pairs", ["a", "<", "/", "s", ">"], "</s>a</s></s>", 13),
    ],
)
def test_the_name_of_an_end_that_is_a_word_like_others_ends_no_text(kind, pieces, text, n_tokens):
    tokenizer = described(kind, pieces, 0)
    tokens = tokenizer.encode(text)
    assert tokenizer.end not in tokens
    assert len(tokens) == n_tokens
    assert tokenizer.encode("a").tolist() == [pieces.index("a")]


ALL_SORTS = " To be,\n\tOr  not\u00a0— Être, e\u0301t ½ ﬁ \U0001f701\U00010900\r\n"


def whole(tokenizer, *texts):
    return read_corpus(list(texts), tokenizer, compared=True).is_whole


def test_a_tokenizer_that_loses_letters_is_known(bpe, llama_like):
    for tokenizer in (BYTES, bpe, llama_like):
        assert whole(tokenizer, ALL_SORTS, ALL_SORTS.strip())
    words = described("words", ["?", "a", "</s>"], 0)
    assert whole(words, "a a")
    assert not whole(words, "a a", "a b")
    assert not whole(described("pairs", ["a", "b"], 0), "abc")


@pytest.mark.parametrize(
    ("normalizer", "lost", "kept"),
    [
        ("Lowercase", "To be", "to be"),
        ("NFKC", "ﬁt", "fit"),
        ("StripAccents", "e\u0301t", "et"),
        ("Strip", "to be  ", "to be"),
    ],
)
def test_what_a_tokenizer_evens_out_is_lost(bpe, normalizer, lost, kept):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    own = tokenizers.Tokenizer.from_str(bpe.state()["description"])
    own.normalizer = getattr(tokenizers.normalizers, normalizer)()
    tokenizer = BPETokenizer(own.to_str())
    assert whole(tokenizer, kept)
    assert not whole(tokenizer, kept, lost)


def test_a_tokenizer_without_an_end_is_named(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    own = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    (tmp_path / "tokenizer.json").write_text(own.to_str(), encoding="utf-8")
    with pytest.raises(DataError, match=r"tokenizer\.json' has no token for a text's end.*Add"):
        make_tokenizer(tmp_path / "tokenizer.json", (), 0)


def test_a_tokenizer_file_is_read_and_kept(bpe, tmp_path):
    (tmp_path / "tokenizer.json").write_text(bpe.state()["description"], encoding="utf-8")
    found = make_tokenizer(tmp_path / "tokenizer.json", (), 0)
    again = make_tokenizer(found.state(), (), 0)
    for tokenizer in (found, again):
        assert tokenizer.encode(SPEECH).tolist() == bpe.encode(SPEECH).tolist()
        assert (tokenizer.end, tokenizer.n_tokens) == (bpe.end, bpe.n_tokens)


def test_what_is_no_tokenizer_is_refused_in_words(tmp_path):
    with pytest.raises(ParameterError, match="tokenizer must be 'bytes', 'bpe'"):
        make_tokenizer("words", (), 0)
    with pytest.raises(DataFileError, match="cannot be read"):
        make_tokenizer(tmp_path / "none.json", (), 0)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"no tokenizer\.json"):
        make_tokenizer(tmp_path / "bad.json", (), 0)
