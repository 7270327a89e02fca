"""Letters as sets of bases, words, and the other strand."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.errors import DataError, DataTypeError
from titans_ts.plugins.genomics import encode_sequences, kmer_ids, reverse_complement
from titans_ts.plugins.genomics.batches import even_batches
from titans_ts.plugins.genomics.coding import SHARES
from titans_ts.plugins.genomics.strands import other_strand, word_ids

LETTERS = "ACGTRYSWKMBDHVN"


def test_an_ambiguous_letter_is_equal_shares_of_its_bases():
    (codes,) = (encode_sequences(["RN"]).codes,)
    np.testing.assert_allclose(SHARES[codes], [[0.5, 0, 0.5, 0], [0.25] * 4])


def test_case_white_space_and_rna_make_no_difference():
    assert list(encode_sequences([" acgu\r\n"]).codes) == list(encode_sequences(["ACGT"]).codes)


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        pd.Series,
        lambda s: np.array(s, dtype=object)[:, None],
        pd.DataFrame,
        pl.Series,
        lambda s: pl.DataFrame({"sequence": s}),
        pa.array,
        lambda s: pa.chunked_array([s]),
        lambda s: pa.table({"sequence": s}),
    ],
)
def test_sequences_come_in_any_container_of_one_column(container):
    coded = encode_sequences(container(["ACG", "TT"]))
    assert list(coded.lengths) == [3, 2]


def batches_of(lengths, size, **limits):
    sequences = encode_sequences(["A" * n for n in lengths])
    batches = list(even_batches(sequences, size, most_filling=100, **limits))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    return [sequences.lengths[rows].tolist() for rows in batches]


def test_of_sequences_read_together_at_most_half_is_filling_or_little():
    # 4 * 97 = 388 bases of filling to 28 of sequences.
    assert batches_of([101, 7, 7, 7, 7], 64) == [[7, 7, 7, 7], [101]]
    assert batches_of([31, 7, 7, 7, 7], 64) == [[7, 7, 7, 7, 31]]  # 96 of filling
    assert batches_of([500, 1000, 1000], 64) == [[500, 1000, 1000]]
    assert batches_of([5] * 7, 3) == [[5] * 3, [5] * 3, [5]]


def test_sequences_read_together_have_so_many_bases_with_their_filling_or_are_one():
    limits = {"size": 64, "most_bases": 40}
    assert batches_of([9, 3, 5, 7, 100, 3, 5, 60], **limits) == [
        [3, 3, 5, 5, 7],
        [9],
        [60],
        [100],
    ]
    assert batches_of([10] * 9, **limits) == [[10] * 4, [10] * 4, [10]]


def test_the_values_of_a_dictionary_keep_its_order():
    assert list(encode_sequences({"a": "ACG", "c": "TT"}.values()).lengths) == [3, 2]


def test_bytes_are_text_too():
    assert list(encode_sequences([b"ACGT"]).codes) == [1, 2, 4, 8]


def test_the_complement_of_each_letter_is_that_of_iupac():
    assert reverse_complement(LETTERS) == "".join(reversed("TGCAYRSWMKVHDBN"))


@given(st.text(LETTERS, max_size=50))
def test_the_other_strand_of_the_other_strand_is_the_sequence(sequence):
    assert reverse_complement(reverse_complement(sequence)) == sequence


def test_strands_of_padded_tensors_are_those_of_the_sequences():
    coded = encode_sequences(["AACGR", "T", "GGC"])
    turned = coded.reverse_complements()
    assert [reverse_complement(s) for s in ("AACGR", "T", "GGC")] == ["YCGTT", "A", "GCC"]
    rows = np.arange(3)
    codes, lengths = torch.from_numpy(coded.padded(rows)).long(), torch.from_numpy(coded.lengths)
    np.testing.assert_array_equal(other_strand(codes, lengths), turned.padded(rows))
    np.testing.assert_array_equal(turned.codes, encode_sequences(["YCGTT", "A", "GCC"]).codes)


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (2, 1), (3, 3), (5, 2), (7, 7)])
def test_words_are_numbered_alike_as_arrays_and_as_tensors(k, stride):
    rng = np.random.default_rng(0)
    coded = encode_sequences(["".join(rng.choice(list("ACGTN"), 23)) for _ in range(11)])
    codes = coded.padded(np.arange(11))
    numbers = kmer_ids(codes, k, stride=stride)
    assert numbers.shape == (11, (23 - k) // stride + 1)
    np.testing.assert_array_equal(word_ids(torch.from_numpy(codes).long(), k, stride), numbers)


def test_words_count_in_fours_and_those_with_other_letters_are_unknown():
    ids = kmer_ids(encode_sequences(["ACGTNA"]).codes, 2)
    assert list(ids) == [0 * 4 + 1, 1 * 4 + 2, 2 * 4 + 3, 16, 16]


def test_a_sequence_shorter_than_a_word_has_none():
    assert kmer_ids(encode_sequences(["AC"]).codes, 3).shape == (0,)


@pytest.mark.parametrize(
    ("sequences", "error", "words"),
    [
        ([], DataError, "No sequences were given"),
        (["ACGT", ""], DataError, "Sequence 1 is empty"),
        (["ACGT", "ACXGT"], DataError, "Sequence 1 has the letter 'X' at position 3, in 'ACXGT'"),
        (["AC-GT"], DataError, "take gaps and stops out"),
        (["ACé"], DataError, "Sequence 0 has the letter 'é' at position 3"),
        (["AC漢"], DataError, r"Sequence 0 has the letter '\?' at position 3"),
        ("ACGT", DataError, "got one text of 4 letters"),
        (["ACGT", None], DataTypeError, "Sequence 1 is missing"),
        (["ACGT", float("nan")], DataTypeError, "Sequence 1 is missing"),
        (pd.Series(["ACGT", pd.NA], dtype="string"), DataTypeError, "Sequence 1 is missing"),
        (pa.array(["ACGT", None]), DataTypeError, "Sequence 1 is missing"),
        ([1.5], DataTypeError, "Sequence 0 is a float"),
        (7, DataTypeError, "got int"),
        ({"a": "GGG", "c": "TTT"}, DataTypeError, r"got a dict.*list\(sequences.values\(\)\)"),
        ({"GGG", "TTT"}, DataTypeError, r"got a set.*sorted\(sequences\)"),
        (np.array([["A", "C"]]), DataError, r"got \(1, 2\)"),
    ],
)
def test_what_is_no_sequence_is_named(sequences, error, words):
    with pytest.raises(error, match=words):
        encode_sequences(sequences)


@pytest.mark.parametrize("column", [pa.array, lambda rows: pa.chunked_array([rows]), pl.Series])
def test_sequences_come_in_a_column_of_any_library(column):
    coded = encode_sequences(column(["ACGT", "GG"]))
    assert coded.lengths.tolist() == [4, 2]


def test_other_sequences_with_such_letters_are_counted():
    with pytest.raises(DataError, match="2 other sequences"):
        encode_sequences(["AX", "X", "A", "XX"])
