"""``titans-ts genomics``: from files to a model, and from a model to tables."""

import gzip

import pandas as pd
import pytest
from genomics_problems import boxes
from typer.testing import CliRunner

from titans_ts.plugins.genomics import TitansSequenceClassifier
from titans_ts.plugins.genomics.cli import app

FEW = ["--max-epochs", "1", "--accelerator", "cpu", "--quiet"]


def run(*arguments):
    # Wide, so that no sentence is broken.
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "250"})


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, a FASTA file for each class, and a model trained on the table."""
    folder = tmp_path_factory.mktemp("genomics")
    sequences, labels = boxes(60)
    frame = pd.DataFrame({"sequence": sequences, "label": labels})
    frame.to_csv(folder / "table.csv", index=False)
    for label, part in frame.groupby("label"):
        text = "".join(f">{label}{i} x\n{s}\n" for i, s in enumerate(part["sequence"]))
        (folder / f"{label}.fa.gz").write_bytes(gzip.compress(text.encode()))
    assert succeed("train", folder / "table.csv", "--out", folder / "model", *FEW) == ""
    return folder


def test_a_table_is_learnt_and_a_fasta_file_classified(folder, tmp_path):
    succeed(
        "predict", folder / "box.fa.gz", "--model", folder / "model", "--out", tmp_path / "p.csv"
    )
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table) == ["name", "label", "p(box)", "p(none)"]
    assert table["name"].tolist()[:2] == ["box0", "box1"]
    assert set(table["label"]) <= {"box", "none"}
    classifier = TitansSequenceClassifier.load(folder / "model")
    expected = classifier.predict_proba(boxes(60)[0][1::2])[:, 0]
    assert table["p(box)"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_files_of_classes_are_learnt_with_options(folder, tmp_path):
    out = succeed(
        *("train", folder / "box.fa.gz", f"other={folder / 'none.fa.gz'}", "--out", tmp_path / "m"),
        *("--reverse-complement", "yes", "--balanced", "--max-epochs", 1, "--accelerator", "cpu"),
    )
    assert "60 sequences" in out
    assert "box, other" in out
    classifier = TitansSequenceClassifier.load(tmp_path / "m")
    assert (classifier.reverse_complement, classifier.class_weight) == (True, "balanced")


def test_vectors_are_printed_where_no_file_is_named(folder):
    lines = succeed("embed", folder / "table.csv", "--model", folder / "model").splitlines()
    assert len(lines) == 61
    assert lines[0].startswith("name,v0,v1,")


def test_a_sequence_model_is_learnt_and_a_classifier_starts_from_it(folder, tmp_path):
    succeed("pretrain", folder / "box.fa.gz", "--out", tmp_path / "learnt", "--k", 2, *FEW)
    table = folder / "table.csv"
    succeed("train", table, "--pretrained", tmp_path / "learnt", "--out", tmp_path / "m", *FEW)
    classifier = TitansSequenceClassifier.load(tmp_path / "m")
    assert classifier.model_.config.k == 2
    assert "v63" in succeed("embed", table, "--model", tmp_path / "m").splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "table.csv", "--label-column", "class", "--out", "new"), "no column 'class'"),
        (("train", "box.fa.gz", "--out", "new"), "in which no label stands"),
        (("train", "missing.csv", "--out", "new"), "There is no file"),
        (("train", "table.csv", "--out", "."), "is not a saved model"),
        (("train", "table.csv", "--pretrained", "model", "--out", "new"), "TitansSequence"),
        (("predict", "box.fa.gz", "--model", "nowhere"), "No saved model"),
        (("predict", "box.fa.gz", "--model", "model", "--out", "box.fa.gz"), "same file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(folder, monkeypatch, arguments, words):
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "new").exists()
