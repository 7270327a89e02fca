"""The harness of the benchmark of language: order, resumption, records, page. Little is trained."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.language import __main__ as command
from benchmarks.language import contenders, training
from benchmarks.language.contenders import ABLATIONS, CONTENDERS, ablations_of, depth_of, make
from benchmarks.language.corpora import Splits, read_splits
from benchmarks.language.plan import Group, best_titans, check_names, done_keys, wanted
from benchmarks.language.rates import measure_rates
from benchmarks.language.records import add_record, read_records
from benchmarks.language.render import render
from benchmarks.language.together import train_together
from benchmarks.language.training import Run, Training, bits_per_byte, train

TITANS = [name for name in CONTENDERS if name.startswith("titans-")]
COMMON = contenders.COMMON
SHORT = Group("wikitext-2", 1_000)
TINY = Run("titans-lmm", rows=2, length=32, carried=2, tokens=640, weights=12_000, depth=1)


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch):
    sizes = {"dim": 16, "n_heads": 2}
    lengths = {"chunk_size": 8, "segment_length": 16, "window": 16}
    common = replace(contenders.COMMON, **sizes, **lengths)
    monkeypatch.setattr(contenders, "COMMON", common)


@pytest.fixture(scope="module")
def texts():
    letters = np.random.default_rng(0).integers(97, 105, 4_000).astype(np.uint8)
    return Splits(letters[:3_000], letters[3_000:3_500], letters[3_500:])


def record(name, seed=0, bits=2.0, tokens=1_000, **others):
    run = Run(name, seed=seed, tokens=tokens, depth=others.pop("depth", depth_of(name)))
    outcome = {"validation": bits, "test": bits, "test_cut": bits + 0.5, "seconds": 10.0}
    about = {"shape": run.shape(), "parameters": 900_000}
    return asdict(run) | about | outcome | others


def test_a_record_counts_while_its_name_stands_for_the_same_model():
    done = record("titans-mag")
    assert done_keys([done]) == {Run("titans-mag", tokens=1_000, depth=7).key}
    changed = done | {"shape": done["shape"] | {"momentum": False}}
    assert done_keys([changed]) == set()
    assert "No run is done yet" in render([changed])
    assert done_keys([done | {"peak": 6e-3}]) == set()
    older = {k: v for k, v in done["shape"].items() if k != "memory_residual"}
    assert done_keys([done | {"shape": older}]) == {Run("titans-mag", tokens=1_000, depth=7).key}


def test_a_table_says_what_makes_its_runs():
    own = [record("titans-mal"), record("lstm"), record("lstm", tokens=20_000_000, rows=8)]
    own.append(record("lstm", tokens=5_000, depth=3))
    own.append(record("lstm", tokens=6_000, depth=3, carried=8, device="H200"))
    page = render(own)
    assert "`python -m benchmarks.language --tokens 1000`:" in page
    assert "`python -m benchmarks.language --rows 8`:" in page
    assert "`python -m benchmarks.language --tokens 5000 --depth 3`:" in page
    on_gpu = "`python -m benchmarks.language --tokens 6000 --depth 3 --together`, `CARRIED = 8` in"
    assert on_gpu in page
    names = [name for name in CONTENDERS if name not in ("titans-mal", "lstm")]
    assert f"2, of up to 3 seeds each; not run: {', '.join(names)}." in page


def test_models_of_different_depth_are_rows_of_their_own():
    own = record("titans-lmm", bits=2.0)
    other = record("titans-lmm", bits=2.25, depth=3)
    ablated = record("titans-lmm:no-momentum", bits=2.5, depth=3)
    lines = render([own, other, ablated]).splitlines()
    assert "| titans-lmm | 8 | 1 | 2.000 | – | 2.500 | 900,000 | – |" in lines
    ablations = lines.index("### Ablations of titans-lmm, 3 blocks")
    below = lines[ablations : lines.index("## Trials on the way")]
    assert "| titans-lmm | 3 | 1 | 2.250 | – | 2.750 | 900,000 | – |" in below
    assert not any("| 8 |" in line for line in below)
    todo = {run.name: run.depth for run in wanted([], SHORT)}
    assert todo["titans-lmm"] == 8
    assert {run.depth for run in wanted([], SHORT, depth=3)} == {3}
    shallow = [record(name, depth=3) for name in TITANS]
    assert best_titans(shallow, SHORT) is None
    assert best_titans(shallow, SHORT, depth=3) == TITANS[0]


def test_a_page_is_not_emptied_where_no_run_is_done(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("tables", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"runs\.jsonl holds no run"):
        command.main(["--page"], tmp_path / "results", page, tmp_path / "pictures")
    assert page.read_text(encoding="utf-8") == "tables"


@pytest.mark.parametrize("name", [*CONTENDERS, *(f"titans-mac:{each}" for each in ABLATIONS)])
def test_models_have_the_weights_that_were_asked_for(name):
    model = make(name, 256, 14_000, depth=1)
    assert 0.97 * 14_000 < model.n_parameters <= 14_000
    tokens = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))
    loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:])
    assert float(loss.detach()) == pytest.approx(np.log(256), rel=0.1)


@pytest.mark.parametrize("name", [*TITANS, *(f"{t}:{each}" for t in TITANS for each in ABLATIONS)])
def test_every_titans_has_room_for_its_feed_forward_layers(name, monkeypatch):
    monkeypatch.setattr(contenders, "COMMON", COMMON)
    model = make(name, 256, Run.weights, depth_of(name))
    assert 0.99 * Run.weights < model.n_parameters <= Run.weights


def test_the_most_wanted_runs_come_first_and_ablations_are_of_the_best():
    todo = [run.name for run in wanted([], SHORT)]
    n_contenders = len(CONTENDERS)
    assert todo[:n_contenders] == list(CONTENDERS)
    assert not any(":" in name for name in todo)
    done = [record(name, bits=3.0 - 0.1 * i) for i, name in enumerate(TITANS)]
    assert best_titans(done[:-1], SHORT) is None
    assert best_titans(done, SHORT) == TITANS[-1]
    assert best_titans(done, Group("wikitext-2", 2_000)) is None
    todo = [(run.name, run.seed) for run in wanted(done, SHORT)]
    ablated = ablations_of(TITANS[-1])
    n = n_contenders + len(ablated)
    assert todo[n_contenders:n] == [(f"{TITANS[-1]}:{each}", 0) for each in ablated]
    assert todo[n : n + n_contenders] == [(name, 1) for name in CONTENDERS]
    assert len(todo) == 3 * n


def test_what_changes_nothing_of_a_contender_is_no_ablation_of_it(monkeypatch):
    monkeypatch.setattr(contenders, "COMMON", COMMON)
    mal, lmm = set(ablations_of("titans-mal")), set(ablations_of("titans-lmm"))
    assert set(ABLATIONS) - mal == {"recall"}
    assert set(ABLATIONS) - lmm == {"no-recall", "rotary", "attention-everywhere"}


def test_the_best_is_that_of_its_own_table():
    here = [record(name, bits=2.0 + i) for i, name in enumerate(TITANS)]
    there = [record(name, bits=1.0 - i / 9, carried=8) for i, name in enumerate(TITANS)]
    assert best_titans(here + there, SHORT) == TITANS[0]
    assert best_titans(here + there, SHORT._replace(carried=8)) == TITANS[-1]
    assert best_titans(there, SHORT) is None


def test_a_diverged_run_is_never_the_best():
    done = [record(name) for name in TITANS[1:]]
    diverged = record(TITANS[0], test=None)
    del diverged["validation"]
    assert best_titans([diverged, *done], SHORT) == TITANS[1]


def test_names_choose_among_runs_and_unknown_ones_are_told():
    def todo(*only):
        done = [record(name) for name in TITANS]
        return [(run.name, run.seed) for run in wanted(done, SHORT, list(only))]

    assert todo("lstm") == [("lstm", seed) for seed in range(3)]
    assert todo("no-momentum")[0] == (f"{TITANS[0]}:no-momentum", 0)
    assert todo("titans-lmm:no-momentum") == [("titans-lmm:no-momentum", s) for s in range(3)]
    check_names(["lstm", "no-momentum", "titans-lmm:no-momentum"])
    with pytest.raises(SystemExit, match=r"no contender or ablation 'lmm'; expected one of titans"):
        check_names(["lmm"])


def test_a_line_cut_short_by_a_kill_costs_that_line_alone(tmp_path):
    file = tmp_path / "results" / "runs.jsonl"
    assert read_records(file) == []
    add_record(file, {"name": "a"})
    with file.open("a") as out:
        out.write('{"name": "cut sh')
    add_record(file, {"name": "b"})
    add_record(file, {"name": "c"})
    assert [found["name"] for found in read_records(file)] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["titans-mag", "lstm"])
def test_a_run_that_is_killed_gives_what_it_would_have_given(name, texts, tmp_path, monkeypatch):
    run = replace(TINY, name=name)
    whole = train(run, texts, tmp_path / "whole.pt")
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    read, file = Training.read_stretch, tmp_path / "killed.pt"

    def read_and_die(self):
        read(self)
        if self.stretch in (2, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "read_stretch", read_and_die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(run, texts, file)
        monkeypatch.setattr(Training, "read_stretch", read)
        assert Training(run, texts, file).stretch == 1
        monkeypatch.setattr(Training, "read_stretch", read_and_die)
    monkeypatch.setattr(Training, "read_stretch", read)
    parts = train(run, texts, file)
    same = ("test", "test_cut", "validation", "curve", "tokens", "parameters")
    assert [parts[key] for key in same] == [whole[key] for key in same]
    assert not list(tmp_path.glob("*.part"))


def test_progress_of_another_recipe_is_not_taken_up(texts, tmp_path):
    train(TINY, texts, tmp_path / "x.pt")
    assert Training(TINY, texts, tmp_path / "x.pt").stretch == TINY.n_stretches
    assert Training(replace(TINY, peak=1e-3), texts, tmp_path / "x.pt").stretch == 0


def test_a_sitting_that_is_over_leaves_the_run_where_it_is(texts, tmp_path):
    assert train(TINY, texts, tmp_path / "x.pt", until=0.0) is None
    assert (tmp_path / "x.pt").exists()


def test_a_run_whose_loss_is_no_number_is_written_down_as_diverged(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "read_stretch", _diverge)
    found = train(TINY, texts, tmp_path / "x.pt")
    assert found["test"] is None
    assert "1 diverged" in render([found | {"length": Run.length, "weights": Run.weights}])


def _diverge(self):
    raise FloatingPointError


def test_bits_of_a_model_that_guesses_are_eight(texts):
    model = make("titans-lmm", 256, 12_000, depth=1)
    with torch.no_grad():
        model.gain.zero_()
    for carry in (True, False):
        assert bits_per_byte(model, texts.test, 32, carry=carry) == pytest.approx(8.0)


@pytest.mark.parametrize("name", list(CONTENDERS))
def test_a_state_that_is_not_carried_leaves_each_segment_by_itself(name, texts):
    model, text = make(name, 256, 14_000, depth=1), texts.test[:97]
    cut = [bits_per_byte(model, text[i : i + 33], 32, carry=True) for i in (0, 32, 64)]
    assert bits_per_byte(model, text, 32, carry=False) == pytest.approx(np.mean(cut), abs=1e-6)
    assert bits_per_byte(model, text, 32, carry=True) != pytest.approx(np.mean(cut), abs=1e-6)


def test_one_command_goes_through_what_is_not_done(texts, tmp_path, monkeypatch, capsys):
    trained = []

    def fake(run, texts, file, until):
        trained.append((run.name, run.seed))
        return record(run.name, run.seed, tokens=run.tokens)

    monkeypatch.setattr("benchmarks.language.corpora.read_splits", lambda corpus: texts)
    monkeypatch.setattr("benchmarks.language.training.train", fake)
    page, pictures = tmp_path / "page.md", tmp_path / "pictures"
    command.main(["--tokens", "1000", "--only", "lstm", "titans-mag"], tmp_path, page, pictures)
    assert sorted(trained) == sorted((n, s) for n in ("titans-mag", "lstm") for s in range(3))
    command.main(["--tokens", "1000"], tmp_path, page, pictures)
    ablated = ablations_of(next(name for name in CONTENDERS if name.startswith("titans-")))
    assert len(trained) == len(set(trained)) == 3 * (len(CONTENDERS) + len(ablated))
    assert trained[6 : 4 + len(CONTENDERS)] == [
        (n, 0) for n in CONTENDERS if n not in ("lstm", "titans-mag")
    ]
    assert "## wikitext-2, 1,000 tokens a run" in page.read_text()
    with pytest.raises(SystemExit, match=r"no corpus 'pile'; expected one of wikitext-2"):
        command.main(["--corpus", "pile"], tmp_path, page, pictures)


def test_two_processes_never_take_the_same_run(tmp_path):
    lock = tmp_path / "runs" / "x.lock"
    with command.claimed(lock) as first, command.claimed(lock) as second:
        assert (first, second) == (True, False)
    with command.claimed(lock) as again:
        assert again


def test_the_page_gives_means_and_spread_over_seeds_and_ablations():
    records = [record("titans-mag", seed, bits=2.0 + seed / 10) for seed in range(3)]
    records += [record("lstm", bits=2.5), record("titans-mag:no-momentum", bits=2.25)]
    lines = render([*records, records[0]]).splitlines()
    assert "| titans-mag | 7 | 3 | 2.100 | 2.000 – 2.200 | 2.600 | 900,000 | – |" in lines
    assert "| lstm | 4 | 1 | 2.500 | – | 3.000 | 900,000 | – |" in lines
    assert "| no-momentum | 7 | 1 | 2.250 | – | 2.750 | 900,000 | – |" in lines
    assert "### Ablations of titans-mag, 7 blocks" in lines
    assert "No run is done yet." in render([])


def test_the_page_shows_what_models_learnt_on_the_way(tmp_path):
    def learnt(name, *bits, seed=0, **others):
        curve = [[1_000 * (i + 1), each] for i, each in enumerate(bits)]
        return record(name, seed, bits[-1], curve=curve, **others)

    done = [learnt("titans-mal", 2.5, 2.0), learnt("titans-mal", 2.7, 2.2, seed=1)]
    done += [learnt("lstm", 2.6, 2.1), learnt("lstm", 2.6, 2.1, tokens=2_000)]
    diverged = record("titans-mac", test=None)
    page = render([*done, diverged], pictures=tmp_path)
    # One model alone has no others to be seen beside.
    assert [file.name for file in tmp_path.iterdir()] == ["wikitext-2-1000-rows16.png"]
    assert page.count("(../_static/language/wikitext-2-1000-rows16.png)") == 1
    drawn = (tmp_path / "wikitext-2-1000-rows16.png").read_bytes()
    render(done, pictures=tmp_path)
    assert (tmp_path / "wikitext-2-1000-rows16.png").read_bytes() == drawn
    # The second seed lies further from the first: the same mean, a wider band.
    done[:2] = [learnt("titans-mal", 2.4, 1.9), learnt("titans-mal", 2.8, 2.3, seed=1)]
    render(done, pictures=tmp_path)
    assert (tmp_path / "wikitext-2-1000-rows16.png").read_bytes() != drawn


def test_a_step_is_timed_beside_that_of_the_base_on_the_same_machine(texts, monkeypatch):
    def read_stretch(self):
        self.seconds += 3.0 if self.run.name == "transformer++" else 1.5

    monkeypatch.setattr(Training, "read_stretch", read_stretch)
    run = Run("titans-mag", rows=8, depth=7)
    rates = measure_rates([run], texts)
    assert [(rate["name"], rate["ratio"]) for rate in rates] == [
        ("transformer++", 1.0),
        ("titans-mag", 0.5),
    ]
    done = [record("titans-mag", rows=8), record("lstm", rows=8)]
    page = render(done, rates)
    assert "| weights | time of a step |" in page
    assert "| titans-mag | 7 | 1 | 2.000 | – | 2.500 | 900,000 | 0.50 |" in page
    assert "| lstm | 4 | 1 | 2.000 | – | 2.500 | 900,000 | – |" in page
    # Of another number of rows, of a model that has changed since, and on a GPU.
    assert "| 0.50 |" not in render([record("titans-mag", rows=4)], rates)
    rates[1]["shape"] = rates[1]["shape"] | {"momentum": False}
    assert "| 0.50 |" not in render(done, rates)
    assert "| tokens/s |" in render([record("titans-mag", rows=8, device="H200")], rates)


def test_steps_are_timed_by_training(texts):
    run = replace(TINY, name="titans-mag")
    for rate in measure_rates([run], texts):
        assert rate["ratio"] > 0
        assert (
            rate["parameters"] == make(rate["name"], 256, run.weights, rate["depth"]).n_parameters
        )


def test_shakespeare_is_split_and_a_missing_corpus_is_told(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setenv("TITANS_TS_SHARED_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    content = json.dumps(list(range(300))).encode()
    (tmp_path / "text" / "tinyshakespeare.txt.gz").write_bytes(gzip.compress(content))
    splits = read_splits("shakespeare")
    assert b"".join(part.tobytes() for part in splits) == content
    assert len(splits.test) == pytest.approx(0.05 * len(content), abs=2)
    with pytest.raises(SystemExit, match=r"wiki\.train\.tokens\.gz is missing"):
        read_splits("wikitext-2")


@pytest.mark.parametrize("name", list(CONTENDERS))
def test_runs_side_by_side_learn_what_each_learns_alone(name, texts, tmp_path):
    run = Run(name, tokens=16 * 32 * 4 * 2, length=32, carried=4, weights=14_000, depth=1)
    other = replace(run, seed=1)
    for together, each in zip(
        train_together([run, other], texts, torch.device("cpu")), (run, other), strict=True
    ):
        alone = train(each, texts, tmp_path / each.key)
        for figure in ("test", "test_cut", "validation"):
            assert together[figure] == pytest.approx(alone[figure], abs=1e-4)
        assert together["parameters"] == alone["parameters"]
