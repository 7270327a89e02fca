"""Workers that share a study: nothing is lost or run twice, whoever is killed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import sleeping
from optuna.trial import TrialState
from sleeping import X, search

from titans_ts.tuning.loop import quiet_optuna
from titans_ts.tuning.trials import Ledger
from titans_ts.tuning.workers import open_storage

WORKER = Path(sleeping.__file__)


def start(folder, storage, n_trials, seconds, *more):
    arguments = [storage, n_trials, seconds, folder / "notes", *more]
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(WORKER), *map(str, arguments)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def ends_well(worker):
    _, errors = worker.communicate(timeout=60)
    assert (worker.returncode, errors) == (0, "")


def trials_of(storage):
    with quiet_optuna(), open_storage(storage, 4) as (opened, _):
        return optuna.load_study(study_name="titans-ts", storage=opened).get_trials()


def values_done(folder):
    return Counter(value for word, value, _ in notes(folder) if word == "done")


@pytest.fixture(params=["journal", "sqlite"])
def storage(request, tmp_path):
    return {"journal": str(tmp_path / "study.journal"), "sqlite": f"sqlite:///{tmp_path}/study.db"}[
        request.param
    ]


def test_a_killed_worker_s_trial_is_run_by_another_and_the_budget_is_exact(storage, tmp_path):
    victim, other = (start(tmp_path, storage, 9, 0.5) for _ in range(2))
    mine = str(victim.pid)
    until(lambda: len({pid for _, _, pid in notes(tmp_path)}) == 2)
    seen = len(words_of(victim, tmp_path))
    # At the beginning of a trial, which lasts half a second.
    until(
        lambda: words_of(victim, tmp_path)[seen:] and words_of(victim, tmp_path)[-1] == "begun"
    )
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


def test_workers_that_start_together_share_one_budget(storage, tmp_path):
    workers = [start(tmp_path, storage, 7, 0.1) for _ in range(3)]
    for worker in workers:
        ends_well(worker)
    done = values_done(tmp_path)
    assert (len(done), set(done.values())) == (7, {1})
    assert "0.0" in done  # the estimator's own value, once


def test_a_search_goes_on_after_a_crash(storage, tmp_path):
    worker = start(tmp_path, storage, 4, 0.2)
    until(lambda: len(notes(tmp_path)) >= 3)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    search(4, storage=storage, notes=tmp_path / "notes").fit(X)
    done = values_done(tmp_path)
    assert (len(done), set(done.values())) == (4, {1})
    undisturbed = search(4).fit(X)
    assert sorted(map(float, done)) == sorted(undisturbed.cv_results_["param_value"])
