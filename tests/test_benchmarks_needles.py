"""Needles, facts and tracked states: cases are what they say, and they are judged rightly."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.needles import __main__ as command
from benchmarks.needles.babilong import PLACES, TASKS, facts
from benchmarks.needles.batches import training_batch, training_length
from benchmarks.needles.cases import KINDS, WORDS, Case, needle
from benchmarks.needles.haystack import NOISE, Haystack, noise
from benchmarks.needles.judging import answers_to, interval, judge
from benchmarks.needles.recipes import RECIPES, Recipe
from benchmarks.needles.render import heat_map, length_table, page, tracking_table
from benchmarks.needles.tracking import CONTENDERS, Lesson, draw_words, make_tracker, track
from benchmarks.needles.training import make_model, read_weights, train, watch_gates, write_cost
from titans_ts.config import BackboneConfig
from titans_ts.nn.memory import NeuralMemory

TEXT = Haystack(b"It was late. Nobody came by. A lamp burnt in the yard of the old inn. ")
TINY = Recipe(
    backbone=BackboneConfig(
        variant="mag", dim=8, memory_depth=1, chunk_size=1, momentum=False, dropout=0.0
    ),
    shortest=128,
    longest=131,
    n_steps=5,
    step_tokens=256,
    learning_rate=0.01,
)


def prompt(case: Case) -> bytes:
    return case.read(0, case.length).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [0.0, 0.37, 1.0])
def test_a_needle_is_at_the_depth_and_its_prompt_has_the_length_that_were_asked_for(kind, depth):
    case = needle(kind, noise(), 1009, depth, np.random.default_rng(5))
    text = prompt(case)
    assert len(text) == 1009
    assert text.count(case.answer) == 1
    ((place, hidden),) = case.inserts
    assert text[place : place + len(hidden)] == hidden
    assert place == round(depth * (1009 - len(hidden) - len(case.question)))
    assert text.endswith(case.question)


def test_the_haystack_of_a_needle_is_rulers_noise_broken_only_between_sentences():
    case = needle("passkey", noise(), 700, 0.5, np.random.default_rng(2))
    text = prompt(case)
    ((place, hidden),) = case.inserts
    around = text[:place] + text[place + len(hidden) : -len(case.question)]
    assert around in NOISE * 20
    assert text[:place].endswith(b". ")


def test_a_number_has_seven_digits_and_a_word_is_not_its_own_name():
    rng = np.random.default_rng(0)
    assert all(len(needle("number", TEXT, 300, 0.5, rng).answer) == 7 for _ in range(20))
    case = needle("word", TEXT, 300, 0.5, rng)
    assert case.answer.decode() in WORDS
    assert f"for {case.answer.decode()}".encode() not in case.question


def test_no_word_is_part_of_another_or_of_the_noise():
    assert len(set(WORDS)) == len(WORDS)
    assert not [(a, b) for a in WORDS for b in WORDS if a != b and a in b]
    assert not [word for word in WORDS if word.encode() in NOISE]


def test_the_same_seed_hides_the_same_needle():
    first, again, other = (
        prompt(needle("passkey", noise(), 256, 0.3, np.random.default_rng(seed)))
        for seed in (3, 3, 4)
    )
    assert first == again != other


def test_any_pieces_of_a_prompt_are_those_of_the_whole():
    case = facts("qa2", TEXT, 997, 0.4, np.random.default_rng(1))
    whole = case.read(0, 997)
    for size in (1, 13, 500, 4000):
        pieces = [case.read(start, start + size) for start in range(0, 997, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_two_million_tokens_are_read_where_they_are_wanted():
    case = needle("passkey", noise(), 2_097_152, 0.5, np.random.default_rng(1))
    place, hidden = case.inserts[0]
    assert case.read(place - 2, place + len(hidden)).tobytes() == b". " + hidden
    assert case.read(2_097_152 - 5, 3_000_000).tobytes() == case.question[-5:]


def test_a_prompt_too_short_for_its_needle_is_refused():
    with pytest.raises(ValueError, match="A prompt of 60 tokens cannot hold a needle"):
        needle("passkey", noise(), 60, 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="A prompt of 60 tokens cannot hold its facts"):
        facts("qa1", TEXT, 60, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(5))
def test_the_facts_lead_to_the_answer_and_to_no_other(task, seed):
    case = facts(task, TEXT, 1500, 0.6, np.random.default_rng(seed))
    where, holder = {}, {}
    for _, fact in case.inserts:
        who, did, *_, what = fact.decode().strip(". ").split()
        if did == "took":
            holder[what] = who
        else:
            where[who] = what
    asked = case.question.decode().split("?")[0].split()[-1]
    assert where[holder.get(asked, asked)] == case.answer.decode()
    assert case.answer.decode() in PLACES
    assert len(prompt(case)) == 1500


@pytest.mark.parametrize("depth", [0.3, 0.5, 0.7])
def test_the_fact_that_decides_is_at_the_depth_that_was_asked_for(depth):
    case = facts("qa1", TEXT, 3001, depth, np.random.default_rng(7))
    person = case.question.decode().split("?")[0].split()[-1]
    decides = f"{person} went to the {case.answer.decode()}. ".encode()
    places = [place for place, fact in case.inserts if fact == decides]
    assert places == [round(depth * (3001 - len(case.question) - len(decides)))]


def test_wilsons_interval_is_that_of_the_textbook():
    # z = 1.96: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), for 190 of 200.
    assert interval(190, 200) == pytest.approx((0.9104, 0.9726), abs=1e-4)
    assert interval(200, 200) == pytest.approx((0.98115, 1.0), abs=1e-4)


def test_lengths_grow_to_the_longest_and_short_ones_stay():
    recipe = Recipe(shortest=128, longest=1024, growing=0.5, n_steps=100)
    rng = np.random.default_rng(0)
    early = [training_length(recipe, 0, rng) for _ in range(50)]
    late = [training_length(recipe, 60, rng) for _ in range(500)]
    assert set(early) == {128}
    assert min(late) < 160
    assert 900 < max(late) <= 1024


def test_a_training_batch_asks_for_answers_alone_and_is_drawn_alike_each_time():
    tokens, answers = training_batch(TINY, 3)
    again, _ = training_batch(TINY, 3)
    assert torch.equal(tokens, again)
    assert answers.sum(1).tolist() == [7] * len(tokens)
    digits = tokens[answers]
    assert ((digits >= ord("0")) & (digits <= ord("9"))).all()


def test_what_writing_costs_is_how_far_gates_are_above_the_floor():
    model = make_model(replace(TINY, backbone=replace(TINY.backbone, forgetting=False)))
    (memory,) = (m for m in model.modules() if isinstance(m, NeuralMemory))
    torch.nn.init.zeros_(memory.gates.weight)
    torch.nn.init.constant_(memory.gates.bias, -3.0)
    with watch_gates(model) as seen:
        model(torch.zeros(2, 11, dtype=torch.long))
    assert write_cost(seen).item() == pytest.approx(13.0)
    assert not memory.gates._forward_hooks


def test_training_in_two_sittings_is_training_in_one(tmp_path, capsys):
    whole = train(TINY, tmp_path / "whole")
    for _ in range(5):
        parts = train(TINY, tmp_path / "parts", seconds=0.0)
    assert read_weights(TINY, tmp_path / "parts")[1]["steps"] == 0
    calls = iter([0.0] * 7 + [9.0] * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.needles.training.time.monotonic", lambda: next(calls))
        train(TINY, tmp_path / "parts", seconds=5.0)
    assert 0 < read_weights(TINY, tmp_path / "parts")[1]["steps"] < TINY.n_steps
    parts = train(TINY, tmp_path / "parts")
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], weight, rtol=0, atol=0, msg=name)
    with pytest.raises(SystemExit, match="holds progress of another recipe"):
        train(replace(TINY, seed=1), tmp_path / "parts")
    with pytest.raises(SystemExit, match="holds progress of another recipe"):
        read_weights(replace(TINY, seed=1), tmp_path / "parts")


def test_a_trained_model_is_judged_with_its_memory_and_without(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    monkeypatch.setattr(command, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    trained = train(TINY, tmp_path / "weights" / "tiny")
    judged = []

    def judge(model, file, **about):
        judged.append((file.name, model.backbone.config.memory_writes, about["about"]["memory"]))
        for name, weight in trained.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)

    monkeypatch.setattr("benchmarks.needles.judging.judge", judge)
    command.judge_recipe("tiny", "passkey", None, [128])
    command.judge_recipe("tiny", "passkey", None, [128], memory_off=True)
    assert judged == [("tiny.json", True, True), ("tiny-without-memory.json", False, False)]


def test_progress_from_before_a_field_was_there_is_taken_up(tmp_path):
    short = replace(TINY, n_steps=1)
    train(short, tmp_path)
    file = tmp_path / "progress.pt"
    kept = torch.load(file, weights_only=True)
    recipe = ast.literal_eval(kept["recipe"])
    del recipe["backbone"]["memory_residual"], recipe["cost_from"]
    torch.save(kept | {"recipe": repr(recipe)}, file)
    assert read_weights(short, tmp_path)[1]["steps"] == 1
    backbone = replace(short.backbone, memory_residual=True)
    with pytest.raises(SystemExit, match="another recipe"):
        read_weights(replace(short, backbone=backbone), tmp_path)


def test_writing_costs_nothing_until_enough_answers_are_right(tmp_path, capsys):
    short = replace(TINY, n_steps=2)
    free, patient, costly = (
        train(replace(short, **changes), tmp_path / name).backbone.blocks[0].memory.gates.bias
        for name, changes in {
            "free": {"write_cost": 0.0},
            "patient": {"write_cost": 1.0, "cost_from": 0.9},
            "costly": {"write_cost": 1.0},
        }.items()
    )
    torch.testing.assert_close(patient, free)
    assert (costly - free).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["mag", "mac", "lmm"])
def test_prompts_read_in_pieces_are_answered_as_prompts_read_at_once(variant):
    recipe = replace(TINY, backbone=replace(TINY.backbone, variant=variant))
    model = make_model(recipe).eval()
    rng = np.random.default_rng(0)
    cases = [needle("passkey", noise(), 211, depth, rng) for depth in (0.2, 0.8)]
    at_once, held = answers_to(model, cases, piece=10**6)
    pieces, held_in_pieces = answers_to(model, cases, piece=34)
    assert pieces == at_once
    assert held_in_pieces["state_bytes"] == held["state_bytes"] > 0


def test_the_answer_is_what_the_model_would_say_byte_by_byte():
    model = make_model(TINY).eval()
    case = needle("passkey", noise(), 150, 0.5, np.random.default_rng(0))
    (said,), _ = answers_to(model, [case])
    tokens = torch.from_numpy(case.read(0, 150).astype(np.int64))[None]
    for expected in said:
        with torch.no_grad():
            found = int(model(tokens)[0][0, -1].argmax())
        assert found == expected
        tokens = torch.cat([tokens, torch.tensor([[found]])], 1)


def test_judging_goes_on_with_the_cells_that_are_missing(tmp_path, monkeypatch, capsys):
    judged = []

    def cell(model, kind, haystack, length, depth, n, *, rows):
        judged.append((length, depth))
        return {
            "kind": kind, "haystack": haystack, "length": length, "depth": depth, "cases": n,
            "right": n - 1, "seconds": 0.0, "state_bytes": 2048.0, "grown_mib": 0.0,
        }  # fmt: skip

    monkeypatch.setattr("benchmarks.needles.judging.judge_cell", cell)
    model, file = make_model(TINY), tmp_path / "results" / "tiny.json"
    given = {"about": {"steps": 5}, "kind": "passkey", "haystack": "noise", "n_cases": 10}
    judge(model, file, lengths=[128, 256], depths=(0.0, 1.0), **given)
    cells = judge(model, file, lengths=[256, 512], depths=(0.0, 1.0), **given)
    assert judged == [(n, depth) for n in (128, 256, 512) for depth in (0.0, 1.0)]
    assert json.loads(file.read_text())["cells"] == cells
    assert len(cells) == 6
    judge(model, file, lengths=[128], depths=(0.0,), **{**given, "about": {"steps": 6}})
    assert len(json.loads(file.read_text())["cells"]) == 1


def test_results_become_a_table_a_heat_map_and_a_page(tmp_path):
    about = {"steps": 5, "all_steps": 9, "weights": 67_012, "minutes": 2.0}
    cells = [
        {
            "kind": "passkey", "haystack": "noise", "length": length, "depth": depth, "cases": 40,
            "right": right, "seconds": 1.0, "state_bytes": 2048.0, "grown_mib": 0.25,
        }
        for length, depth, right in [(1024, 0.0, 38), (1024, 1.0, 40), (4096, 0.0, 20)]
    ]  # fmt: skip
    table = length_table(cells).splitlines()
    assert table[2] == "| 1,024 | 80 | 97.5 | 91.3 – 99.3 | 95 | 100 | 2 KiB | 0.2 MiB |"
    assert table[3].startswith("| 4,096 | 40 | 50.0 | 35.2 – 64.8 | 50 | – |")
    heat_map(cells, "needles", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "tiny.json").write_text(json.dumps({"model": about, "cells": cells}))
    text = page(tmp_path, tmp_path / "pictures")
    assert "67,012 weights, 5 of 9 steps in 2 minutes" in text
    assert table[2] in text
    assert "(../_static/needles/tiny-passkey-noise.png)" in text
    assert (tmp_path / "pictures" / "tiny-passkey-noise.png").exists()


def test_states_are_those_of_swaps_done_one_after_another():
    tokens, states = draw_words("parity", 2, 9, np.random.default_rng(0))
    assert states[:, -1].tolist() == (tokens.sum(1) % 2).tolist()
    tokens, states = draw_words("s5-swaps", 3, 400, np.random.default_rng(0))
    assert len(np.unique(tokens)) == 10
    # A swap done twice is none; an even number of swaps never gives an odd permutation.
    twice = (tokens[:, 1:] == tokens[:, :-1])[:, 1:]
    assert (states[:, 2:] == states[:, :-2])[twice].all()
    assert not set(states[:, ::2].ravel().tolist()) & set(states[:, 1::2].ravel().tolist())
    _, states = draw_words("s5", 3, 2000, np.random.default_rng(0))
    assert len(np.unique(states)) == 120


def test_a_tracker_is_trained_once_and_its_accuracy_kept(tmp_path):
    lesson, file = Lesson(n_steps=2, batch=4, longest=5), tmp_path / "tracking.json"
    first = track("LSTM", "parity", file, lesson=lesson)
    assert track("LSTM", "parity", file, lesson=lesson) == first
    assert sorted(map(int, first["accuracy"])) == [5, 10, 20, 80]
    assert len(json.loads(file.read_text())) == 1
    table = tracking_table([first, {**first, "seed": 1}])
    assert "| parity | LSTM | 2 | 2 |" in table


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_tracker_reads_tokens_and_tells_states(name):
    model = make_tracker(name, "s5-swaps", 0)
    logits, _ = model(torch.randint(0, 10, (2, 7)))
    assert logits.shape == (2, 7, 120)


def test_recipes_are_small_enough_and_train_on_no_more_than_a_thousand_tokens():
    for recipe in RECIPES.values():
        with torch.device("meta"):
            assert make_model(recipe).n_parameters <= 3_000_000
        assert recipe.longest <= 1024
