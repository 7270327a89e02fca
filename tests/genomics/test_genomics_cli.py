"""``titans-ts genomics``: from files to a model, and from a model to tables."""

import gzip

import pandas as pd
import pytest
from genomics_problems import boxes
from typer.testing import CliRunner

from titans_ts import load_model
from titans_ts.errors import TrainingInterrupted
from titans_ts.plugins.genomics import TitansSequenceClassifier, TitansSequenceModel
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


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_what_was_learnt_before_ctrl_c_is_saved(folder, tmp_path, monkeypatch, command):
    model = {"train": TitansSequenceClassifier, "pretrain": TitansSequenceModel}[command]
    file = {"train": "table.csv", "pretrain": "box.fa.gz"}[command]
    fit = model.fit

    def stopped(self, *arguments, **options):
        fit(self, *arguments, **options)
        raise TrainingInterrupted("Training was stopped.")

    monkeypatch.setattr(model, "fit", stopped)
    result = run(command, folder / file, "--out", tmp_path / "m", *FEW)
    assert result.exit_code == 130
    assert load_model(tmp_path / "m").history_


def test_files_of_classes_are_learnt_with_options(folder, tmp_path):
    out = succeed(
        *("train", folder / "box.fa.gz", f"other={folder / 'none.fa.gz'}", "--out", tmp_path / "m"),
        *("--reverse-complement", "yes", "--balanced", "--max-epochs", 1, "--accelerator", "cpu"),
    )
    assert "60 sequences" in out
    assert "box, other" in out
    classifier = TitansSequenceClassifier.load(tmp_path / "m")
    assert (classifier.reverse_complement, classifier.class_weight) == (True, "balanced")


def test_where_a_classifier_was_saved_is_told_whole(folder, tmp_path):
    out = tmp_path / "m[v] :x: [bold]"
    command = ["train", str(folder / "table.csv"), f"--out={out}", *FEW[:-1]]
    said = CliRunner().invoke(app, command, env={"COLUMNS": "40"}).stdout
    assert said.splitlines()[-1].split(maxsplit=1) == ["Written", str(out)]


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


def write_records(file, records):
    file.write_text("".join(f">{name} x\n{sequence}\n" for name, sequence in records))


BAD_RECORD = "record 3 ('odd'): the sequence has the letter 'X' at position 5, in 'ACGTXXACGT';"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "good=box.fa.gz", "bad.fa", "--out", "new"),
        (
            *("train", "table.csv", "--validation", "bad=bad.fa", "--validation", "none.fa.gz"),
            *("--out", "new"),
        ),
        ("pretrain", "box.fa.gz", "bad.fa", "--out", "new"),
        ("predict", "bad.fa", "--model", "model"),
        ("embed", "bad.fa", "--model", "model"),
    ],
    ids=" ".join,
)
def test_a_record_that_cannot_be_used_is_named_with_its_file(folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    write_records(
        folder / "bad.fa", [("a", "ACGTAC"), ("b", "ACGTAC"), ("odd", "ACGTXXACGT"), ("c", "E")]
    )
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"Error: 'bad.fa', {BAD_RECORD}" in result.stderr


def test_a_row_that_cannot_be_used_is_named_by_its_number(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "rows.tsv").write_text("sequence\tlabel\nACGT\tbox\n\tnone\n")
    result = run("train", "table.csv", "rows.tsv", "--out", "new")
    assert "Error: 'rows.tsv', record 2: the sequence is empty; expected at" in result.stderr
    result = run("pretrain", "rows.tsv", "--k", 3, "--out", "new")
    assert "'rows.tsv', record 1: the sequence has 4 letters; expected at least 6" in result.stderr
    (folder / "rows.tsv").write_text("sequence\tlabel\n")
    result = run("predict", "rows.tsv", "--model", "model")
    assert "Error: 'rows.tsv': No sequences were given" in result.stderr


def test_tables_are_joined_and_files_of_classes_judge(folder, tmp_path):
    table, records = folder / "table.csv", (folder / "box.fa.gz", folder / "none.fa.gz")
    judged = [f"--validation={file}" for file in records]
    out = succeed("train", table, table, *judged, "--out", tmp_path / "m", *FEW[:-1])
    assert "120 sequences" in out
    both = TitansSequenceClassifier.load(tmp_path / "m").history_
    succeed("train", table, table, "--validation", table, "--out", tmp_path / "n", *FEW)
    alike = TitansSequenceClassifier.load(tmp_path / "n").history_
    assert both[0]["validation_loss"] == pytest.approx(alike[0]["validation_loss"], rel=1e-4)


def test_a_label_before_a_table_is_refused_rather_than_dropped(folder, tmp_path):
    files = f"pos={folder / 'table.csv'}", f"neg={folder / 'box.fa.gz'}"
    result = run("train", *files, "--out", tmp_path / "m", *FEW)
    assert "gives the label 'pos' to a table" in " ".join(result.stderr.split())
    assert not (tmp_path / "m").exists()


SIZES = {
    "variant": "mal",
    "dim": 12,
    "depth": 1,
    "n_heads": 3,
    "memory_depth": 2,
    "chunk_size": 4,
    "segment_length": 8,
    "batch_size": 7,
    "learning_rate": 0.02,
    "validation_fraction": 0.3,
    "patience": 5,
}


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_the_options_of_training_reach_the_model(folder, tmp_path, command):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    succeed(command, folder / "table.csv", "--out", tmp_path / "m", *options, *FEW)
    parameters = load_model(tmp_path / "m").get_params()
    assert {name: parameters[name] for name in SIZES} == SIZES


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_what_a_saved_model_computes_on_can_be_named(folder, monkeypatch, command):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    use = (command, folder / "table.csv", "--model", folder / "model")
    assert succeed(*use, "--accelerator", "cpu") == succeed(*use)
    result = run(*use, "--accelerator", "gpu")
    assert result.exit_code == 2
    assert "--accelerator gpu needs a CUDA GPU, and torch finds none here" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "table.csv", "--label-column", "class", "--out", "new"), "no column 'class'"),
        (("train", "box.fa.gz", "--out", "new"), "in which no label stands"),
        (("train", "table.csv", "--validation", "box.fa.gz", "--out", "new"), "no label stands"),
        (("train", "missing.csv", "--out", "new"), "There is no file"),
        (("train", "=box.fa.gz", "none.fa.gz", "--out", "new"), "has no label before '='"),
        (("train", "table.csv", "--out", "."), "is not a saved model"),
        (("train", "table.csv", "--pretrained", "model", "--out", "new"), "TitansSequence"),
        (
            ("train", "table.csv", "--pretrained", "model", "--n-heads", 2, "--out", "new"),
            "--n-heads is for a new network, but --pretrained model brings its own",
        ),
        (("predict", "box.fa.gz", "--model", "nowhere"), "No saved model"),
        (
            ("train", "table.csv", "--pretrained", "model", "--out", "new"),
            "not a TitansSequenceModel. Name a folder of one",
        ),
        (
            ("predict", "box.fa.gz", "--model", "model", "--out", "model/model.json"),
            "--out 'model/model.json' lies in --model 'model'",
        ),
        (
            ("embed", "box.fa.gz", "--model", "model", "--out", "model/arrays.safetensors"),
            "would spoil it",
        ),
        (
            ("train", "table.csv", "--pretrained", "model", "--out", "model"),
            "is the model that --pretrained names",
        ),
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
