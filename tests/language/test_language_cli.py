"""``titans-ts language``."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from titans_ts import load_model
from titans_ts.errors import TrainingInterrupted
from titans_ts.plugins.language.cli import app
from titans_ts.plugins.language.model import TitansLanguageModel

RHYME = "Eins, zwei, Polizei, drei, vier, Grenadier. "
TINY = [
    "--dim=16",
    "--depth=1",
    "--context-length=32",
    "--max-tokens=3000",
    "--max-epochs=2",
    "--accelerator=cpu",
]


def run(*arguments, columns=250, **options):
    env = {"COLUMNS": str(columns)}
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env, **options)


def succeed(*arguments, **options):
    result = run(*arguments, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "rhyme.txt").write_text("\n".join([RHYME * 3] * 12), encoding="utf-8")
    said = succeed(
        "train", folder / "rhyme.txt", "--lines", "--out", folder / "model", "--quiet", *TINY
    )
    assert said == ""
    return folder


def test_what_was_trained_writes(folder):
    options = ["generate", folder / "model", "--max-new-tokens=30", "--seed=1"]
    first = succeed(*options, "--prompt=Eins")
    assert 1 < len(first.encode()) <= 31 * 3
    assert succeed(*options, "--prompt=Eins") == first
    assert succeed(*options, "--prompt=-", input="Eins") == first


def test_what_was_learnt_before_ctrl_c_is_saved(folder, tmp_path, monkeypatch):
    fit = TitansLanguageModel.fit

    def stopped(self, *arguments, **options):
        fit(self, *arguments, **options)
        raise TrainingInterrupted("Training was stopped.")

    monkeypatch.setattr(TitansLanguageModel, "fit", stopped)
    result = run("train", folder / "rhyme.txt", "--lines", "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 130
    assert f"Saved to {tmp_path / 'm'}" in result.stdout
    assert load_model(tmp_path / "m").history_
    monkeypatch.setattr(TitansLanguageModel, "fit", lambda *_, **__: raises(KeyboardInterrupt))
    result = run("train", folder / "rhyme.txt", "--lines", "--out", tmp_path / "n", *TINY)
    assert result.exit_code == 130
    assert not (tmp_path / "n").exists()


def raises(error):
    raise error


def test_what_was_trained_is_measured(folder):
    said = succeed("perplexity", folder / "model", folder / "rhyme.txt", "--lines")
    n_bytes = 12 * 3 * len(RHYME)
    assert said.startswith(f"{n_bytes:,} tokens, {n_bytes:,} bytes: perplexity ")
    assert 1 < float(re.search(r"perplexity ([\d.]+)", said)[1]) < 257


def test_training_says_what_came_of_it(folder, tmp_path):
    text = folder / "rhyme.txt"
    said = succeed("train", text, "--out", tmp_path / "model", "--validation", text, *TINY)
    assert re.search(r"weights, trained for 2 epochs; validation loss \d\.\d+ nats", said)


def test_a_line_that_is_called_as_a_file_is_a_line(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "names.txt").write_text("rhyme.txt\n" * 40)
    succeed("train", "names.txt", "--lines", "--out", tmp_path / "m", *TINY)
    assert "perplexity" in succeed("perplexity", tmp_path / "m", "names.txt", "--lines")


SIZES = {
    "context_length": 16,
    "carried_segments": 3,
    "variant": "mal",
    "dim": 12,
    "depth": 1,
    "n_heads": 3,
    "memory_depth": 1,
    "chunk_size": 4,
    "segment_length": 8,
    "batch_size": 5,
    "learning_rate": 0.02,
    "weight_decay": 0.3,
    "validation_fraction": 0.2,
    "patience": 7,
    "max_tokens": 300,
    "max_epochs": 1,
}


def test_the_options_of_training_reach_the_model(folder, tmp_path):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    text = folder / "rhyme.txt"
    succeed("train", text, "--out", tmp_path / "m", "--accelerator=cpu", "-q", *options)
    parameters = load_model(tmp_path / "m").get_params()
    assert {name: parameters[name] for name in SIZES} == SIZES


@pytest.mark.parametrize(
    "command", [["generate", "model", "--seed=1", "-n", "5"], ["perplexity", "model", "rhyme.txt"]]
)
def test_what_a_saved_model_computes_on_can_be_named(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert succeed(*command, "--accelerator=cpu") == succeed(*command)
    result = run(*command, "--accelerator=gpu")
    assert result.exit_code == 2
    assert "--accelerator gpu needs a CUDA GPU, and torch finds none here" in result.stderr


def test_where_a_model_was_saved_is_told_whole(folder, tmp_path):
    out = tmp_path / "m[v] :x: [bold]"
    said = succeed("train", folder / "rhyme.txt", "--out", out, *TINY, columns=40)
    assert said.endswith(f" nats per token. Saved to {out}.\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_document_is_what_stands_between_ends_of_lines(folder, tmp_path, end):
    # A form feed, a next line and a line separator end no line of a file.
    lines = ["Eins\fzwei", "Poli\x85zei", "drei\u2028vier"]
    (tmp_path / "lines.txt").write_bytes(end.join([*lines, ""]).encode())
    said = succeed("perplexity", folder / "model", tmp_path / "lines.txt", "--lines")
    n_bytes = sum(len(line.encode()) for line in lines)
    assert said.startswith(f"{n_bytes:,} tokens, {n_bytes:,} bytes: perplexity ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.txt", "--out", "new"], "'none.txt' cannot be read"),
        (["train", "none.txt", "--out", "new", "--preset", "paper"], "There is no preset 'paper'"),
        (["generate", "none"], "No saved"),
        (["perplexity", "none", "none.txt"], "No saved"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_bad_options_of_sampling_are_one_sentence(folder):
    result = run("generate", folder / "model", "--temperature=-1")
    assert result.exit_code == 2
    assert "--temperature must be a number" in result.stderr
    result = run("generate", folder / "model", "--max-new-tokens=-1")
    assert "--max-new-tokens must be" in result.stderr
    result = run("generate", folder / "model", "--prompt=-", input=b"W\xe4r")
    assert result.exit_code == 2
    assert "Standard input is not UTF-8" in result.stderr


def test_a_seed_that_is_none_is_told_as_an_option(folder, tmp_path):
    result = run("train", folder / "rhyme.txt", "--out", tmp_path / "new", "--seed=-1")
    assert result.exit_code == 2
    assert "--seed" in result.stderr
    assert "random_state" not in result.stderr


@pytest.mark.parametrize(("out", "progress"), [("a/model", "a"), ("a", "a/progress"), ("a", "a")])
def test_model_and_progress_do_not_lie_in_each_other(folder, tmp_path, monkeypatch, out, progress):
    monkeypatch.chdir(tmp_path)
    result = run("train", folder / "rhyme.txt", "--out", out, "--checkpoint", progress, *TINY)
    assert result.exit_code == 2
    assert "and nothing else" in result.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_read_where_the_model_could_not_be_saved(folder):
    result = run("train", folder / "none.txt", "--out", folder / "rhyme.txt")
    assert result.exit_code == 2
    assert "rhyme.txt' is a file" in result.stderr
