"""kill -9, with real processes: a fit goes on, and a saved model is the old one or the new one."""

import json
import shutil

import numpy as np
import pytest
from killing import FIT, SAVE, kill_after, start, wait_for

from titans_ts import RidgeForecaster


def fit_to_the_end(folder, result, n_devices):
    process = start(FIT, folder, result, 0.0, n_devices)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    return json.loads(result.read_text())


def assert_same_figures(one, other):
    assert one["best_epoch"] == other["best_epoch"]
    assert len(one["history"]) == len(other["history"])
    for mine, theirs in zip(one["history"], other["history"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    np.testing.assert_allclose(one["forecast"], other["forecast"], rtol=1e-5)
    assert one["score"] == pytest.approx(other["score"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("n_devices", "n_times"), [(1, 10), (2, 4)])
def test_a_fit_killed_at_random_moments_ends_with_the_figures_of_an_undisturbed_one(
    tmp_path, n_devices, n_times
):
    undisturbed = fit_to_the_end("-", tmp_path / "undisturbed.json", n_devices)
    rng = np.random.default_rng(5)
    folder = tmp_path / "progress"
    for number in range(n_times):
        # Killed once, or again and again; from right after the start to about the end.
        shutil.rmtree(folder, ignore_errors=True)
        n_killed = 0
        for _ in range(rng.integers(1, 4)):
            process = start(FIT, folder, tmp_path / "never.json", 0.02, n_devices)
            wait_for(folder.exists, process)
            n_killed += kill_after(process, rng.uniform(0.0, 3.0))
        assert n_killed
        result = fit_to_the_end(folder, tmp_path / f"{number}.json", n_devices)
        assert_same_figures(result, undisturbed)
        left = sorted(entry.name for entry in folder.iterdir())
        assert left == ["finished.json", "finished.safetensors"]
    assert not (tmp_path / "never.json").exists()


@pytest.mark.slow
def test_a_save_killed_at_any_moment_leaves_the_old_model_or_the_new_one(tmp_path):
    rng = np.random.default_rng(6)
    path = tmp_path / "model"
    process = start(SAVE, path)
    wait_for(path.exists, process)
    kill_after(process, 0.0)
    seen = set()
    for _ in range(12):
        process = start(SAVE, path)
        before = path.stat().st_ctime_ns if path.exists() else 0
        wait_for(lambda b=before: path.exists() and path.stat().st_ctime_ns != b, process)
        kill_after(process, rng.uniform(0.0, 0.1))
        loaded = RidgeForecaster.load(path)
        assert loaded.predict().shape == (loaded.horizon, 8)
        seen.add(loaded.horizon)
    assert seen == {5, 7}
