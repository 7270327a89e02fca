"""What holds for the package as a whole: quick to import, complete, and of one version."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tiny_fits import tiny, waves

import titans_ts

HEAVY = ["torch", "lightning", "pandas", "polars", "sklearn", "scipy", "optuna", "matplotlib"]
HEAVY += ["torchmetrics", "mlflow", "onnx", "onnxruntime"]
# What a forecaster needs to learn, and not to forecast.
TRAINS = {"lightning", "torchmetrics", "optuna", "matplotlib"}
PUBLIC = [name for name in titans_ts.__all__ if name != "__version__"]


def loaded_after(statement: str, cwd: Path) -> set[str]:
    """Which heavy libraries a fresh Python has loaded after ``statement``."""
    report = f"import sys; sys.stdout.write(' '.join(m for m in {HEAVY} if m in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", f"{statement}; {report}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return set(result.stdout.split())


def test_importing_the_package_loads_no_heavy_library(tmp_path):
    assert loaded_after("import titans_ts", tmp_path) == set()


def test_listing_the_public_names_loads_no_heavy_library(tmp_path):
    assert loaded_after("import titans_ts; dir(titans_ts)", tmp_path) == set()


@pytest.mark.parametrize(
    "name",
    ["SeasonalNaiveForecaster", "RidgeForecaster", "LinearForecaster", "EnsembleForecaster"],
)
def test_baselines_need_neither_torch_nor_lightning(name, tmp_path):
    loaded = loaded_after(f"from titans_ts import {name}", tmp_path)
    assert loaded & {"torch", "lightning", "optuna", "matplotlib"} == set()
    assert "sklearn" in loaded  # or this test would watch nothing


def test_the_forecaster_comes_without_what_trains_tunes_and_draws(tmp_path):
    loaded = loaded_after("from titans_ts import TitansForecaster; TitansForecaster()", tmp_path)
    assert loaded & TRAINS == set()
    assert "torch" in loaded


def test_a_saved_forecaster_forecasts_without_what_trains_tunes_and_draws(tmp_path):
    ensemble = titans_ts.EnsembleForecaster([("tiny", tiny(max_epochs=1))]).fit(waves())
    ensemble.save(tmp_path / "model")
    loaded = loaded_after(
        "import numpy as np; from titans_ts import TitansForecaster, load_model;"
        " TitansForecaster.load('model/members/0').predict();"
        " forecaster = load_model('model');"
        " forecaster.predict(); forecaster.predict(np.ones((50, 2)));"
        " forecaster.score(np.arange(400.0).reshape(200, 2))",
        tmp_path,
    )
    assert loaded & TRAINS == set()
    assert "torch" in loaded


def test_fitting_is_what_loads_lightning(tmp_path):
    loaded = loaded_after(
        "import numpy as np; from titans_ts import TitansForecaster;"
        " options = {'fast_dev_run': True};"
        " forecaster = TitansForecaster(horizon=2, dim=8, accelerator='cpu',"
        " trainer_kwargs=options);"
        " forecaster.fit(np.arange(90.0)[:, None])",
        tmp_path,
    )
    assert "lightning" in loaded  # or the tests above would watch nothing
    assert "optuna" not in loaded


def test_importing_writes_no_file(tmp_path):
    loaded_after("import titans_ts", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name):
    found = getattr(titans_ts, name)
    assert found.__name__ == name
    assert found.__doc__, f"{name} has no docstring"


def test_public_names_are_listed_by_dir():
    assert set(titans_ts.__all__) <= set(dir(titans_ts))


def test_an_unknown_name_is_refused_in_python_s_own_words():
    with pytest.raises(AttributeError, match=r"^module 'titans_ts' has no attribute 'Forecaster'$"):
        titans_ts.Forecaster  # noqa: B018


def test_version_is_the_one_that_was_installed():
    assert titans_ts.__version__ == metadata.version("titans-ts")


def test_the_package_is_typed():
    assert (Path(titans_ts.__file__).parent / "py.typed").is_file()


def test_the_api_reference_lists_every_public_name():
    reference = Path(__file__).parents[1] / "docs" / "api.md"
    lines = {line.strip() for line in reference.read_text(encoding="utf-8").splitlines()}
    assert set(PUBLIC) - lines == set()


def test_runtime_dependencies_are_all_pinned_for_development():
    constraints = Path(__file__).parents[1] / "constraints.txt"
    lines = constraints.read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    required = {
        re.match(r"[\w-]+", requirement).group().lower()
        for requirement in metadata.requires("titans-ts") or []
    }
    assert "torch" in required
    assert required - pinned == set()
