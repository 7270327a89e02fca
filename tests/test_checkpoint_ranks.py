"""Processes that train together go on from one checkpoint folder, as if nothing had happened."""

import os

import pytest
from crashes import (
    Crash,
    CrashAt,
    assert_same_figures,
    figures,
    listing,
    save_after_every_step,
)
from ranks import run_ranks
from tiny_fits import tiny, waves

from titans_ts import CheckpointError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")


def fit(folder=None, *, strategy="ddp", batch=None, epoch=None, **options):
    """A fit of three epochs of five steps, with dropout, which crashes where it is told to."""
    trainer = {"limit_train_batches": 5, **options.pop("trainer_kwargs", {})}
    trainer |= {"callbacks": CrashAt(batch, epoch), "strategy": strategy}
    options = {"max_epochs": 3, "batch_size": 11, "variant": "mag"} | options
    forecaster = tiny(devices=2, accelerator="cpu", trainer_kwargs=trainer, **options)
    return forecaster.fit(waves(), checkpoint=folder)


def fit_in_two(*arguments, **options):
    return run_ranks(lambda rank: figures(fit(*arguments, **options)))


def crash_in_two(folder, **where):
    def crash(rank):
        with pytest.raises(Crash):
            fit(folder, **where)

    run_ranks(crash)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save_after_every_step(monkeypatch)
    return tmp_path / "progress"


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"batch": 7}, id="ddp, in the middle of an epoch"),
        pytest.param({"epoch": 0}, id="ddp, at the end of an epoch"),
        pytest.param({"epoch": 2}, id="ddp, when only the end was missing"),
        pytest.param({"batch": 7, "strategy": "fsdp"}, id="fsdp, in the middle of an epoch"),
        pytest.param({"epoch": 1, "strategy": "fsdp"}, id="fsdp, at the end of an epoch"),
        pytest.param(
            {"batch": 8, "trainer_kwargs": {"accumulate_grad_batches": 2}}, id="ddp, accumulated"
        ),
    ],
)
def test_two_processes_go_on_to_the_same_bit(folder, where):
    crash_in_two(folder, **where)
    going_on = {name: value for name, value in where.items() if name not in ("batch", "epoch")}
    resumed, undisturbed = (fit_in_two(place, **going_on) for place in (folder, None))
    assert_same_figures(resumed[0], undisturbed[0])
    assert_same_figures(resumed[1], undisturbed[0])
    assert listing(folder) == ["finished.json", "finished.safetensors"]


def test_the_same_call_after_the_end_trains_nothing(folder):
    first, _ = fit_in_two(folder, max_epochs=1)
    again = fit_in_two(folder, max_epochs=1, batch=0)
    assert_same_figures(again[0], first)
    assert_same_figures(again[1], first)


def test_forked_workers_keep_progress_too(folder):
    with pytest.raises(Exception, match="Crash"):
        fit(folder, strategy="ddp_fork", batch=7)
    resumed, undisturbed = (figures(fit(place, strategy="ddp_fork")) for place in (folder, None))
    assert_same_figures(resumed, undisturbed)
    assert listing(folder) == ["finished.json", "finished.safetensors"]


def test_only_the_first_process_writes(folder):
    def crash(rank):
        own = folder.with_name(f"of-{rank}")
        with pytest.raises(Crash):
            fit(own, batch=7)
        return listing(own)

    names, nothing = run_ranks(crash)
    assert names
    assert nothing == []


def test_a_folder_that_one_process_does_not_see_is_refused_in_both(folder):
    crash_in_two(folder, batch=7)

    def refused(rank):
        own = folder if rank == 0 else folder.with_name("elsewhere")
        with pytest.raises(CheckpointError, match=r"different progress in .* all of them see"):
            fit(own)
        return True

    assert run_ranks(refused) == [True, True]
