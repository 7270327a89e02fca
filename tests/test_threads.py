"""Fits and loads in several threads give what they give one after another, and leave nothing."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_fits import tiny, waves

from titans_ts import load_model
from titans_ts.nn.own_random import OwnRandom

SEEDS = range(4)


def forecast(seed):
    return tiny(random_state=seed, backbone_options={"dropout": 0.3}).fit(waves()).predict()


def test_fits_in_threads_are_those_of_one_thread_and_leave_the_process_as_it_was(capfd):
    expected = [forecast(seed) for seed in SEEDS]
    state, filters = torch.get_rng_state(), list(warnings.filters)
    level = logging.getLogger("lightning.pytorch").level
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(forecast, SEEDS))
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert warnings.filters == filters
    assert logging.getLogger("lightning.pytorch").level == level
    assert capfd.readouterr() == ("", "")


def test_a_model_is_loaded_while_another_is_fitted(tmp_path):
    forecaster = tiny(random_state=0).fit(waves())
    forecaster.save(tmp_path / "model")
    expected = [forecast(seed) for seed in SEEDS]

    def load(_):
        return load_model(tmp_path / "model").predict()

    with ThreadPoolExecutor(2) as pool:
        loads = pool.map(load, range(40))
        found = list(pool.map(forecast, SEEDS))
    np.testing.assert_array_equal(found, expected)
    for each in loads:
        np.testing.assert_array_equal(each, forecaster.predict())


@pytest.mark.parametrize("make", [lambda: torch.nn.Linear(3, 2), lambda: torch.randn(5)])
def test_numbers_of_its_own_are_those_that_the_seed_gives_and_move_nothing(make):
    def numbers():
        made = make()
        return made if isinstance(made, torch.Tensor) else made.weight

    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = numbers()
        state = torch.get_rng_state()
        with OwnRandom(3):
            assert torch.equal(numbers(), expected)
        assert torch.equal(torch.get_rng_state(), state)
