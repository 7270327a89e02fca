"""The rules by which workers share a budget: a list of trials says what is to be done."""

import random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from titans_ts.tuning.trials import (
    DISCARDED,
    ERROR,
    INTERRUPTED,
    START,
    WORKER,
    Ledger,
    put_back,
    queue,
)
from titans_ts.tuning.workers import JournalWorkers

X = {"x": FloatDistribution(0, 1)}


def worker(study, n_trials, log, rng):
    """One worker as a generator: between two ``yield`` anything may happen to the others."""
    for key in ("a", "b"):
        if key not in {t.user_attrs.get(START) for t in study.trials}:
            yield
            queue(study, {"x": 0.1}, X, {START: key})
    while True:
        yield
        ledger = Ledger(study.get_trials(deepcopy=False), n_trials)
        for orphan in ledger.orphans():
            yield
            put_back(study, orphan)
        ledger = Ledger(study.get_trials(deepcopy=False), n_trials)
        if ledger.is_over:
            return
        if not (ledger.has_room or ledger.n_waiting):
            continue
        yield
        trial = study.ask()
        log["running"][trial.number] = True
        yield
        if Ledger(study.get_trials(deepcopy=False), n_trials).refusal(trial.number):
            trial.set_user_attr(DISCARDED, "one too many")
            study.tell(trial, state=TrialState.FAIL)
            log["running"].pop(trial.number)
            continue
        line = line_of(study, trial.number)
        log["begun"].append(line)
        yield
        if rng.random() < 0.1:
            trial.set_user_attr(ERROR, "no luck")
            log["done"].append(line)  # a result from here on, whoever writes the state
            yield
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 1.0)
            log["done"].append(line)
        log["running"].pop(trial.number)


def line_of(study, number):
    return Ledger(study.trials).place(number)


@given(seed=st.integers(0, 10**6), n_workers=st.integers(1, 4), deaths=st.integers(0, 2))
def test_whatever_the_order_and_whoever_dies_the_budget_is_exact(seed, n_workers, deaths):
    rng = random.Random(seed)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    log = {"running": {}, "begun": [], "done": []}
    n_trials = 5
    workers = [[worker(study, n_trials, log, rng), {}] for _ in range(n_workers)]
    while workers:
        pair = rng.choice(workers)
        before = set(log["running"])
        if deaths and len(workers) > 1 and rng.random() < 0.05:
            # Killed wherever it is; the system frees its lock, and somebody finds its trial.
            deaths -= 1
            workers.remove(pair)
            for number in pair[1]:
                if number in log["running"]:
                    log["running"].pop(number)
                    study.tell(number, state=TrialState.FAIL)
            continue
        try:
            next(pair[0])
        except StopIteration:
            workers.remove(pair)
        pair[1].update(dict.fromkeys(set(log["running"]) - before))
    ledger = Ledger(study.trials, n_trials)
    assert ledger.is_over
    assert ledger.n_done == n_trials
    assert sorted(log["done"]) == list(range(n_trials))  # each once
    assert len(log["begun"]) <= n_trials + 2  # again only where a worker died


def study_of(*trials):
    study = optuna.create_study()
    for state, attributes in trials:
        value = 1.0 if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, value=value, user_attrs=attributes))
    return study


def test_a_failure_with_a_reason_is_a_result_and_one_without_is_run_again():
    study = study_of((TrialState.FAIL, {ERROR: "too wide"}), (TrialState.FAIL, {}))
    ledger = Ledger(study.trials, 2)
    assert ledger.n_done == 1
    assert [trial.number for trial in ledger.orphans()] == [1]
    put_back(study, ledger.orphans()[0])
    again = Ledger(study.trials, 2)
    assert again.orphans() == []
    assert again.n_waiting == 1
    assert len(again.lines) == 2  # a retry is no new line


@pytest.mark.parametrize(
    ("attributes", "runs"),
    [
        pytest.param({}, 3, id="three deaths are the trial's own fault"),
        pytest.param({INTERRUPTED: True}, 6, id="interruptions are nobody's"),
    ],
)
def test_a_trial_that_kills_its_workers_is_given_up(attributes, runs):
    study = study_of((TrialState.FAIL, attributes))
    for _ in range(5):
        for orphan in Ledger(study.trials, 1).orphans():
            put_back(study, orphan)
            trial = study.ask()
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            study.tell(trial, state=TrialState.FAIL)
    assert len(study.trials) == runs
    assert Ledger(study.trials, 1).is_over == (runs == 3)


def test_of_twins_the_first_is_run_and_of_too_many_the_last_is_not():
    study = study_of((TrialState.FAIL, {}), (TrialState.RUNNING, {}))
    orphan = Ledger(study.trials).orphans()[0]
    put_back(study, orphan)
    put_back(study, orphan)
    study.add_trial(create_trial(state=TrialState.RUNNING))
    ledger = Ledger(study.trials, 2)
    assert [ledger.refusal(number) for number in (1, 2, 3, 4)] == [
        None,
        None,
        "duplicate",
        "surplus",
    ]


def test_a_larger_budget_goes_on_where_the_smaller_one_ended():
    study = study_of(*[(TrialState.COMPLETE, {})] * 3)
    assert Ledger(study.trials, 3).is_over
    assert Ledger(study.trials, 2).is_over
    assert Ledger(study.trials, 4).has_room
    assert not Ledger(study.trials, None).is_over


def test_the_file_of_a_worker_that_was_killed_between_two_trials_is_taken_away(tmp_path):
    journal = tmp_path / "study.journal"
    dead = tmp_path / f"study.journal.{'0' * 32}.worker"
    dead.touch()
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={WORKER: "0" * 32}))
    workers, other = JournalWorkers(journal), JournalWorkers(journal)
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={WORKER: other.name}))
    workers.look(study)
    left = {path.name.split(".")[2] for path in tmp_path.glob("*.worker")}
    assert left == {workers.name, other.name}  # who lives keeps its own
    workers.close()
    other.close()
    assert not list(tmp_path.glob("*.worker"))
