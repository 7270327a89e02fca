"""Ten thousand damaged and hostile saves: a clear error or the right model, and nothing else."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mutations import damage, forge, fresh_copy

from titans_ts import RidgeForecaster, SavedModelError, TitansForecaster

HERE = Path(__file__).parent / "data" / "saved"

# What reading a file of numbers has no need for.
NEVER = {"exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "socket.connect"}


class Watch:
    """Notes what an interpreter does while models are loaded: code, and files elsewhere."""

    def __init__(self):
        self.folder, self.seen = None, set()
        sys.addaudithook(self)  # for good: there is no way to take one out

    def __call__(self, event, arguments):
        if self.folder is None:
            return
        if event in NEVER:
            self.seen.add(event)
        elif event == "open" and isinstance(arguments[0], str | bytes):
            name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
            # Error messages and lazy imports read source files.
            if not name.startswith(str(self.folder)) and not name.endswith((".py", ".pyc")):
                self.seen.add(f"open {name}")


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saves of the present format, with what they forecast."""
    folder = tmp_path_factory.mktemp("saved")
    ridge = RidgeForecaster(horizon=3, context_length=11)
    ridge.fit(np.sin(np.arange(97.0))[:, None] * [1.0, 5.0]).save(folder / "ridge")
    saved = (
        (TitansForecaster, HERE / "format_2"),
        (RidgeForecaster, folder / "ridge"),
    )
    # Loaded once, so that what is imported is imported.
    return [(cls, path, np.asarray(cls.load(path).predict())) for cls, path in saved]


def try_all(models, watch, tmp_path, seeds):
    """Mutate and load; how often it was refused and how often it was right."""
    refused = loaded = 0
    said = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = tmp_path / "model"
    for seed in seeds:
        rng = np.random.default_rng(seed)
        cls, saved, expected = models[seed % len(models)]
        fresh_copy(saved, folder)
        forged = bool(rng.integers(2))
        (forge if forged else damage)(folder, rng)
        start = time.perf_counter()
        watch.folder = folder
        try:
            model = cls.load(folder)
        except SavedModelError as error:
            refused += 1
            said.append(len(str(error)))
        else:
            loaded += 1
            if not forged:  # a byte that says nothing, such as a space
                np.testing.assert_array_equal(np.asarray(model.predict()), expected)
        finally:
            watch.folder = None
        assert time.perf_counter() - start < 5.0, seed
        assert not watch.seen, (seed, watch.seen)
    assert min(said) > 40
    assert max(said) < 2000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 256 * 1024, f"memory grew by {grown} kB"
    return refused, loaded


def test_three_hundred_mutations_give_an_error_or_the_right_model(models, watch, tmp_path):
    refused, loaded = try_all(models, watch, tmp_path, range(300))
    assert refused > 200
    assert loaded > 0


@pytest.mark.slow
def test_ten_thousand_mutations_give_an_error_or_the_right_model(models, watch, tmp_path):
    refused, loaded = try_all(models, watch, tmp_path, range(1000, 11_000))
    assert refused > 7000
    assert loaded > 0
