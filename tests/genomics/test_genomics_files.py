"""FASTA, FASTQ and tables: whole, odd, cut short, and no text at all."""

import gzip
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from titans_ts.errors import DataError, DataFileError, ParameterError
from titans_ts.plugins.genomics import read_fasta, read_fastq, read_sequences
from titans_ts.plugins.genomics.fasta import first_line
from titans_ts.plugins.genomics.tables import label_of, read_labelled, read_unlabelled

FASTQ = "@r1 first\nACGT\n+\nIIII\n@r2\nGG\n+r2\n@I\n"


def write(folder, content, name="file"):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def pairs(records):
    return [(record.name, record.sequence) for record in records]


@pytest.mark.parametrize(
    "text",
    [
        ">a one\nACGT\nac\n>b\nTT\n",
        ">a one\r\nACGT\r\nac\r\n>b\r\nTT",
        "\n; a comment\n> a one\nACG Tac\n\n>b\n\nTT\n\n",
        "\ufeff>a one\nACGTac\n>b\nTT\n",
        ">a one\rACGT\rac\r>b\rTT\r",
        ">a one\r\r\nACGT\r\r\nac\r\r\n>b\r\r\nTT\r\r\n",
    ],
    ids=[
        "wrapped",
        "of Windows",
        "blanks and comments",
        "with a mark of UTF-8",
        "of old Macintoshes",
        "of Windows, written as text twice",
    ],
)
def test_fasta_is_read_however_it_is_laid_out(tmp_path, text):
    assert pairs(read_fasta(write(tmp_path, text))) == [("a", "ACGTac"), ("b", "TT")]


def test_gzip_is_found_by_itself(tmp_path):
    file = write(tmp_path, gzip.compress(b">a\nAC\n"), "no-ending")
    assert pairs(read_sequences(file)) == [("a", "AC")]


def test_any_white_space_ends_a_name(tmp_path):
    (record,) = read_fasta(write(tmp_path, ">a\tb  c\nAC\n"))
    assert (record.name, record.description) == ("a", "b  c")
    (read,) = read_fastq(write(tmp_path, "@a\t b\nAC\n+\nII\n"))
    assert (read.name, read.description) == ("a", "b")
    (nameless,) = read_fasta(write(tmp_path, ">\nAC\n"))
    assert (nameless.name, nameless.description) == ("", "")


@contextmanager
def pipe_of(content):
    """A path that can be read once, as the shell's ``<(command)`` is."""
    out, into = os.pipe()

    def fill():
        with suppress(BrokenPipeError), os.fdopen(into, "wb") as end:
            end.write(content)

    writer = Thread(target=fill)
    writer.start()
    try:
        yield Path(f"/dev/fd/{out}")
    finally:
        os.close(out)
        writer.join()


PIPES = pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no paths here")
MANY = ">a\n" + "ACGT\n" * 40_000 + ">b\nGG\n"  # more than a buffer


@PIPES
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_pipes_are_read_too(pack):
    with pipe_of(pack(MANY.encode())) as pipe:
        assert pairs(read_sequences(pipe)) == [("a", "ACGT" * 40_000), ("b", "GG")]
    with pipe_of(pack(MANY.encode())) as pipe:
        assert read_unlabelled(pipe, "sequence").names == ["a", "b"]
    with pipe_of(pack(b"sequence,label\nAC,x\n" + b"GG,y\n" * 20_000)) as pipe:
        assert len(read_labelled(pipe, "sequence", "label").sequences) == 20_001


@PIPES
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_nothing_of_a_pipe_is_lost_by_a_look_at_its_start(pack):
    with pipe_of(pack(b">a\nAC\n")) as pipe, pytest.raises(DataFileError, match="is a pipe"):
        first_line(pipe)


def test_fastq_may_end_its_lines_in_any_way(tmp_path):
    for end in ("\r\n", "\r"):
        file = write(tmp_path, FASTQ.replace("\n", end))
        assert pairs(read_sequences(file)) == [("r1", "ACGT"), ("r2", "GG")]


def test_fastq_keeps_quality_and_description(tmp_path):
    first, second = read_sequences(write(tmp_path, FASTQ))
    assert first == ("r1", "ACGT", "first", "IIII")
    # A line of qualities may start as a title does.
    assert (second.name, second.quality) == ("r2", "@I")


def test_empty_lines_of_fastq_stand_between_records_and_a_read_may_be_empty(tmp_path):
    text = "\n@a\nAC\n+\nII\n\n\n@b\n\n+\n\n\n@c\nG\n+\nI\n\n"
    assert pairs(read_fastq(write(tmp_path, text))) == [("a", "AC"), ("b", ""), ("c", "G")]


def test_records_come_one_at_a_time(tmp_path):
    file = write(tmp_path, ">a\nAC\n>b\nGG\n>c\n")
    records = read_fasta(file)
    assert next(records).name == "a"
    assert next(records).name == "b"
    with pytest.raises(DataFileError, match="no sequence under 'c' at line 5"):
        next(records)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b">a\n" + b"ACGGT" * 999)[:-20], "cut short"),
        (gzip.compress(b">a\nACGT\n")[:-6] + b"xxxxxx", "damaged"),
        (b"\x1f\x8bnonsense", "damaged|cut short"),
        (b">a\nAC\x00GT\n", "not text: line 2 holds a zero byte"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b">a\n", "no sequence under 'a'"),
        (b"@r\nACGT\n+\n", "record 1, at line 1, has 3 of its 4 lines"),
        (b"@r\nACGT\n+\nIII", "4 bases and 3 qualities"),
    ],
    # Not the contents: gzip writes the time into them, and processes must agree on names.
    ids=[
        "cut gzip", "damaged gzip", "no gzip", "zero byte", "nothing", "empty lines", "no sequence",
        "cut record", "short qualities",
    ],
)  # fmt: skip
def test_a_file_that_is_cut_short_or_no_text_is_named(tmp_path, content, words):
    file = write(tmp_path, content)
    with pytest.raises(DataFileError, match=words) as caught:
        list(read_sequences(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reader", "words"),
    [
        ("ACGT\n", read_sequences, "neither FASTA nor FASTQ"),
        ("ACGT\n>a\nAC\n", read_fasta, "line 1 is 'ACGT' before any line with '>'"),
        ("@r\nAC\nGT\n+\nIIII\n", read_fastq, "Records over more lines are not read"),
    ],
)
def test_another_format_is_refused(tmp_path, content, reader, words):
    with pytest.raises(DataError, match=words):
        list(reader(write(tmp_path, content)))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataFileError, match="There is no file"):
        list(read_sequences(tmp_path / "none.fa"))
    with pytest.raises(DataFileError, match="is a folder"):
        list(read_sequences(tmp_path))


def test_tables_are_text_so_that_na_is_a_sequence(tmp_path):
    file = write(tmp_path, "id\tsequence\tlabel\nx\tNA\t1\ny\tACG\t0\n")
    assert read_labelled(file, "sequence", "label") == (
        ["x", "y"],
        ["NA", "ACG"],
        ["1", "0"],
    )


@pytest.mark.parametrize("name", ["table", "table.csv.gz", "table.zip"])
def test_a_table_is_gzip_by_its_content_whatever_its_name(tmp_path, name):
    text = "\n\ufeffsequence,label\r\nAC,1\r\n".encode()
    for content in (text[1:], gzip.compress(text[1:]), gzip.compress(b"\n\n" + text[4:])):
        file = write(tmp_path, content, name)
        read = read_labelled(file, "sequence", "label")
        assert (read.sequences, read.labels) == (["AC"], ["1"])


def test_a_table_in_gzip_that_is_cut_short_is_named(tmp_path):
    text = "sequence,label\n" + "ACGGT,1\nAG,2\n" * 999
    file = write(tmp_path, gzip.compress(text.encode())[:-20], "table.csv.gz")
    with pytest.raises(DataFileError, match="cut short"):
        read_labelled(file, "sequence", "label")


def test_a_file_is_labelled_by_what_is_said_or_by_its_name(tmp_path):
    first, second = write(tmp_path, ">a\nAC\n", "box.fa.gz"), write(tmp_path, ">b\nG\n", "b")
    assert label_of(str(first)) == ("box", first)
    assert label_of(f"none={second}") == ("none", second)


@pytest.mark.parametrize("text", ["=pos.fa", "  =pos.fa"])
def test_a_label_of_nothing_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match="has no label before '='; expected LABEL=FILE"):
        label_of(text)
    # A file may be called so.
    write(tmp_path, ">a\nAC\n", text)
    assert label_of(text) == (text.partition(".")[0], Path(text))


def test_a_file_whose_name_starts_with_a_dot_has_a_label():
    assert label_of("some/.pos.fa.gz") == ("pos", Path("some/.pos.fa.gz"))


def test_white_space_around_a_label_makes_no_class_of_its_own(tmp_path):
    file = write(tmp_path, "sequence,label\nAC,pos\nGG,pos \nTT, neg\n")
    assert read_labelled(file, "sequence", "label").labels == ["pos", "pos", "neg"]
    assert label_of("pos =x.fa")[0] == "pos"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("sequence,class\nAC,1\n", ParameterError, "no column 'label'; it has sequence, class"),
        (">a\nAC\n", ParameterError, "in which no label stands"),
        ("sequence,label\nAC,1\n\xff", DataFileError, "not text in UTF-8"),
        ('sequence,label\n"AC,1\n', DataError, "is no table"),
        ("sequence,label\nAC,a,x\nGG,c,y\n", DataError, "more fields than its header"),
        ('label,sequence,"label"\n1,AC,2\n', DataError, "more than one column .* 'label'"),
        (
            "sequence,label\nAC,1\nGG,\nTT\n",
            DataError,
            "no label in row 2 and 1 more of the column",
        ),
    ],
)
def test_a_table_without_labels_is_refused(tmp_path, content, error, words):
    file = write(tmp_path, content.encode("latin-1"))
    with pytest.raises(error, match=words):
        read_labelled(file, "sequence", "label")


def test_rows_of_a_table_without_names_are_numbered(tmp_path):
    file = write(tmp_path, "sequence\nAC\nGG\n")
    assert read_unlabelled(file, "sequence").names == ["0", "1"]
