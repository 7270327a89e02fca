"""Ten thousand damaged and hostile saves: a clear error or the right model, and nothing else."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mutations import damage, forge, fresh_copy, sign
from safetensors.numpy import load_file, save_file

from titans_ts import RidgeForecaster, SavedModelError, TitansForecaster
from titans_ts.persistence import FORECASTER

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
        (TitansForecaster, HERE / f"format_{FORECASTER.version}"),
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


# -- what the mutations found, and what they need not find ---------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_of_each_format_forecasts_what_it_did_when_it_was_saved(version):
    expected = json.loads((HERE / f"format_{version}.json").read_text())
    header = json.loads((HERE / f"format_{version}" / "forecaster.json").read_text())
    assert header["format_version"] == version
    forecast = TitansForecaster.load(HERE / f"format_{version}").predict(quantiles=(0.1, 0.5, 0.9))
    assert list(forecast.columns) == expected["columns"]
    assert str(forecast.index[0]) == expected["first"]
    # Another processor adds up in another order, in float32.
    np.testing.assert_allclose(forecast.to_numpy(), expected["values"], rtol=2e-4)


def test_the_present_format_is_among_those_that_are_kept():
    assert (HERE / f"format_{FORECASTER.version}").is_dir()


@pytest.fixture
def model(tmp_path):
    fresh_copy(HERE / f"format_{FORECASTER.version}", tmp_path / "model")
    return tmp_path / "model"


def with_weight(model, value):
    arrays = load_file(model / "arrays.safetensors")
    name = "state.model.head.project.weight"
    arrays[name] = arrays[name].copy()
    arrays[name].flat[-1] = value
    save_file(arrays, model / "arrays.safetensors")
    sign(model, json.loads((model / "forecaster.json").read_text()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_refused(model, value):
    with_weight(model, value)
    with pytest.raises(SavedModelError, match=r"'state.model.head.project.weight' .* holds NaN or"):
        TitansForecaster.load(model)


def test_another_number_as_a_weight_is_noticed_by_the_checksum_only(model):
    with_weight(model, 7.0)
    TitansForecaster.load(model)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("head", "horizon", 10**12, "a head for horizon=1000000000000"),
        ("head", "n_channels", 10**12, r"n_channels=1000000000000 does not go with \d+ weights"),
        ("head", "past", [0] * 50, "expected"),
        ("head", "past", [10**12], "past=1000000000000 does not go with"),
        ("head", "patch_length", 2**70, "patch_length=1180591620717411303424 does not go with"),
        ("backbone", "depth", 10**9, "depth=1000000000 does not go with"),
        ("backbone", "depth", 90, r"depth=90 does not go with \d+ arrays"),
        ("backbone", "dim", 10**12 + 39, "dim=1000000000039 does not go with"),
        ("backbone", "dim", 80, "expected"),
        ("backbone", "mlp_expansion", 64.0, "expected"),
        ("backbone", "memory_expansion", 10**9, "memory_expansion=1000000000 does not go with"),
    ],
)
def test_sizes_are_held_against_the_weights_before_anything_is_made(
    model, part, field, value, message
):
    header = json.loads((model / "forecaster.json").read_text())
    header["state"][part][field] = value
    sign(model, header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(SavedModelError, match=message):
        TitansForecaster.load(model)
    assert time.perf_counter() - start < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("value", [10**12, 0, -1, 2.5, None, "16"])
def test_a_context_that_is_longer_than_what_is_kept_is_refused(model, value):
    header = json.loads((model / "forecaster.json").read_text())
    header["fitted"]["context_length_"] = value
    sign(model, header)
    with pytest.raises(SavedModelError, match="context"):
        TitansForecaster.load(model)


@pytest.mark.parametrize("season", [10**6, 10**13])
def test_a_season_beyond_the_context_takes_no_memory(model, season):
    header = json.loads((model / "forecaster.json").read_text())
    header["state"]["head"]["season"] = season
    sign(model, header)
    forecaster = TitansForecaster.load(model)
    rows = np.sin(np.arange(3.0 * forecaster.context_length_))[:, None]
    X = np.repeat(rows, len(forecaster.layout_.channels), axis=1)
    X[-20:-12] = np.nan
    table = pd.DataFrame(X, columns=forecaster.layout_.channels)
    table.index = pd.date_range("2024-01-01", periods=len(X), freq=forecaster.freq_, name="date")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.isfinite(forecaster.predict(table).to_numpy()).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@pytest.mark.parametrize("where", ["forecaster.json", "arrays.safetensors"])
def test_a_hole_of_a_terabyte_is_not_read(model, where):
    with (model / where).open("r+b") as stream:
        stream.truncate(1 << 40)
    start = time.perf_counter()
    with pytest.raises(SavedModelError, match=r"is no JSON: it has \d+ bytes|truncated or was alt"):
        TitansForecaster.load(model)
    assert time.perf_counter() - start < 1.0


def test_one_changed_letter_of_the_header_is_noticed(model):
    file = model / "forecaster.json"
    file.write_text(file.read_text().replace("Europe/Paris", "Europe/Pariz"))
    with pytest.raises(SavedModelError, match=r"is not what was saved: its content and the check"):
        TitansForecaster.load(model)


def test_a_header_without_its_checksum_is_refused_in_format_2(model):
    file = model / "forecaster.json"
    header = json.loads(file.read_text())
    del header["sha256"]
    file.write_text(json.dumps(header))
    with pytest.raises(SavedModelError, match=r"content and the checksum in it differ"):
        TitansForecaster.load(model)


def test_how_the_header_is_laid_out_does_not_matter(model):
    file = model / "forecaster.json"
    header = json.loads(file.read_text())
    file.write_text(json.dumps(dict(reversed(header.items())), separators=(",", ":")))
    TitansForecaster.load(model)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": Infinity}'])
def test_json_that_readers_disagree_on_is_refused(model, text):
    (model / "forecaster.json").write_text(text)
    with pytest.raises(SavedModelError, match=r"is no JSON: (a name stands twice|\w+ is no JSON)"):
        TitansForecaster.load(model)
