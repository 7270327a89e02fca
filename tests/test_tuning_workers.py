"""Workers that share a study: nothing is lost or run twice, whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
import sleeping
from optuna.trial import TrialState
from sleeping import X, search

from titans_ts.errors import DataFileError
from titans_ts.tuning.loop import quiet_optuna
from titans_ts.tuning.trials import DISCARDED, Ledger
from titans_ts.tuning.workers import open_storage

WORKER = Path(sleeping.__file__)


@pytest.fixture
def start(tmp_path):
    """Start workers, and end those that are left."""
    workers = []

    def start(storage, n_trials, seconds):
        arguments = [storage, n_trials, seconds, tmp_path / "notes"]
        worker = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *map(str, arguments)],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def notes(folder):
    """Words, values and process ids, in order."""
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(line.split()) for line in lines]


def words_of(worker, folder):
    return [word for word, _, pid in notes(folder) if pid == str(worker.pid)]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ends_well(worker, seconds=60):
    _, errors = worker.communicate(timeout=seconds)
    assert (worker.returncode, errors) == (0, "")


def trials_of(storage):
    with quiet_optuna(), open_storage(storage, 4) as (opened, _):
        return optuna.load_study(study_name="titans-ts", storage=opened).get_trials()


def values_done(folder):
    return Counter(value for word, value, _ in notes(folder) if word == "done")


@pytest.fixture(params=["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def storage(request, tmp_path):
    return {"journal": str(tmp_path / "study.journal"), "sqlite": f"sqlite:///{tmp_path}/study.db"}[
        request.param
    ]


@pytest.mark.slow
def test_a_killed_worker_s_trial_is_run_by_another_within_the_budget(start, storage, tmp_path):
    victim, other = (start(storage, 9, 0.5) for _ in range(2))
    mine = str(victim.pid)
    until(lambda: len({pid for _, _, pid in notes(tmp_path)}) == 2)
    seen = len(words_of(victim, tmp_path))
    # At the beginning of a trial, which lasts half a second.
    until(lambda: words_of(victim, tmp_path)[seen:] and words_of(victim, tmp_path)[-1] == "begun")
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    ends_well(other)
    begun_by_victim = [value for word, value, pid in notes(tmp_path) if pid == mine]
    done = values_done(tmp_path)
    assert set(done.values()) == {1}
    assert len(done) == 9
    assert set(begun_by_victim) <= set(done)
    trials = trials_of(storage)
    complete = [t.params["value"] for t in trials if t.state == TrialState.COMPLETE]
    assert sorted(complete) == sorted(map(float, done))
    assert Ledger(trials, 9).is_over
    assert not list(tmp_path.glob("*.worker"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_of_four_workers_are_killed_and_no_trial_is_lost_or_run_twice(start, tmp_path, seed):
    rng = np.random.default_rng(seed)
    storage, budget = str(tmp_path / "study.journal"), 37
    workers = [start(storage, budget, 0.4) for _ in range(4)]
    until(lambda: len({pid for _, _, pid in notes(tmp_path)}) == 4)
    killed = [workers[i] for i in rng.choice(4, size=2, replace=False)]
    for victim in killed:
        time.sleep(rng.uniform(0.0, 1.0))
        assert victim.poll() is None
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    workers.append(start(storage, budget, 0.4))
    for worker in workers:
        if worker not in killed:
            ends_well(worker, seconds=180)  # one that dies as it writes delays the others by 30

    trials = trials_of(storage)
    finished = Counter(repr(t.params["value"]) for t in trials if t.state == TrialState.COMPLETE)
    assert (len(finished), set(finished.values())) == (budget, {1})
    assert Ledger(trials, budget).is_over
    # What the runs themselves wrote: each of these was fitted, and nothing else to its end.
    assert set(values_done(tmp_path)) == set(finished)
    left = Counter(
        repr(t.params["value"])
        for t in trials
        if t.state == TrialState.FAIL and DISCARDED not in t.user_attrs and t.params
    )
    assert left.total() <= 2  # what a worker had in hand as it died
    begun = Counter(value for word, value, _ in notes(tmp_path) if word == "begun")
    for value, times in begun.items():
        assert times <= 1 + left[value]
    for own in (str(victim.pid) for victim in killed):
        word, value, _ = [note for note in notes(tmp_path) if note[2] == own][-1]
        if word == "begun":  # killed in the middle of it: another ran it
            assert any(n[:2] == ("done", value) and n[2] != own for n in notes(tmp_path))
    assert not list(tmp_path.glob("*.worker"))


@pytest.mark.slow
def test_workers_that_start_together_share_one_budget(start, storage, tmp_path):
    workers = [start(storage, 7, 0.1) for _ in range(3)]
    for worker in workers:
        ends_well(worker)
    done = values_done(tmp_path)
    assert (len(done), set(done.values())) == (7, {1})
    assert "0.0" in done  # the estimator's own value, once


def test_a_search_goes_on_after_a_crash(start, storage, tmp_path):
    worker = start(storage, 4, 0.2)
    until(lambda: len(notes(tmp_path)) >= 3)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    search(4, storage=storage, seconds=0.2, notes=str(tmp_path / "notes")).fit(X)
    done = values_done(tmp_path)
    assert (len(done), set(done.values())) == (4, {1})
    undisturbed = search(4).fit(X)
    assert sorted(map(float, done)) == sorted(undisturbed.cv_results_["param_value"])


def test_a_worker_whose_trial_was_given_away_goes_on_without_its_result(tmp_path):
    class TakesItAway:
        """Another worker, which holds this one for dead while it fits."""

        done = False

        def __call__(self, estimator, X, y=None):
            if not self.done:
                self.done = True
                found.study_.tell(0, state=TrialState.FAIL)
            return -1.0

    found = search(3, scoring=TakesItAway())
    found.fit(X)
    assert [trial.state for trial in found.study_.trials][:2] == [
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert len(found.cv_results_["params"]) == 3
    assert found.cv_results_["param_value"][0] == 0.0  # run again


def test_a_trial_whose_worker_died_before_it_gave_its_name_is_found(storage, monkeypatch):
    monkeypatch.setattr("titans_ts.tuning.workers.NAMELESS_SECONDS", 0.4)
    search(2, storage=storage).fit(X)
    with quiet_optuna(), open_storage(storage, 4) as (opened, _):
        study = optuna.load_study(study_name="titans-ts", storage=opened)
        study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    found = search(3, storage=storage).fit(X)
    assert len(found.cv_results_["params"]) == 3
    assert [t.state for t in found.study_.trials[2:]] == [TrialState.FAIL, TrialState.COMPLETE]


def test_ctrl_c_leaves_the_trial_for_the_next_session(storage):
    def stop(estimator, X, y=None):
        if estimator.value == 5.0:
            raise KeyboardInterrupt
        return sleeping.nearness(estimator, X)

    options = {"storage": storage, "try_defaults": False, "start_from": [{"value": 5.0}]}
    stop.__qualname__ = sleeping.nearness.__qualname__
    with pytest.raises(KeyboardInterrupt):
        search(2, scoring=stop, **options).fit(X)
    found = search(2, **options).fit(X)
    assert found.cv_results_["param_value"][0] == 5.0
    assert len(found.cv_results_["params"]) == 2


@pytest.mark.parametrize(
    ("storage", "content", "message"),
    [
        ("there/is/none.log", None, "there is no folder"),
        ("data.log", b"date,OT\n2024-01-01,3\n", "is not a journal of Optuna"),
        ("data.log", b'{"op_code": 77}\n', "is not a journal of Optuna"),
        ("data.log", b"\x00\xff\n\n", "is not a journal of Optuna"),
        ("data.log", b"hello\n", "is not a journal of Optuna"),
        ("data.log", b"hello", "is not a journal of Optuna"),
        ("sqlite:///there/is/none.db", None, "cannot be opened"),
        ("sqlite:///data.log", b"date,OT\n2024-01-01,3\n" * 99, "cannot be opened"),
        ("nosuch://user:secret@host/name", None, r"nosuch://user:\*\*\*@host/name cannot"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_told_in_a_sentence(
    storage, content, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("data.log").write_bytes(content)
    with pytest.raises(DataFileError, match=message) as refusal:
        search(2, storage=storage).fit(X)
    assert "secret" not in str(refusal.value)
    if content is not None:
        assert Path("data.log").read_bytes() == content


@pytest.mark.parametrize("lost", [1, 10, 400])
def test_a_journal_that_a_power_cut_left_cut_goes_on(lost, tmp_path):
    storage = tmp_path / "study.log"
    search(3, storage=storage).fit(X)
    storage.write_bytes(storage.read_bytes()[:-lost])
    for n_trials in (3, 5):
        found = search(n_trials, storage=storage).fit(X)
        assert (found.cv_results_["trial_state"] == "complete").sum() == n_trials
    assert all(json.loads(line)["op_code"] >= 0 for line in storage.read_text().splitlines())


def test_a_name_in_a_journal_leads_to_no_other_file(tmp_path):
    storage = tmp_path / "study.log"
    search(1, storage=storage).fit(X)
    with open_storage(storage, 4) as (opened, workers):
        study = optuna.load_study(study_name="titans-ts", storage=opened)
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={"worker": "/../../elsewhere"}
        )
        study.add_trial(trial)
        workers.look(study)
    assert study.trials[1].state == TrialState.RUNNING
    assert {path.name for path in tmp_path.iterdir()} == {"study.log"}
