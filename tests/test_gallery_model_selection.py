"""The gallery example of model selection says what is so."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plot_model_selection.py"


@pytest.mark.slow
def test_the_example_picks_what_is_best_on_the_test_rows_too(monkeypatch):
    if not EXAMPLE.is_file():
        pytest.skip("examples are not part of an installed package")
    monkeypatch.setattr(plt, "show", lambda: None)
    shown = runpy.run_path(str(EXAMPLE))
    plt.close("all")
    search, errors = shown["search"], shown["errors"]
    candidates = errors[:3]
    assert candidates["folds"].idxmin() == errors.index[search.best_index_]
    assert candidates["test"].idxmin() == candidates["folds"].idxmin()
    # By more than chance moves it, and past repeating a season.
    others = candidates["test"].drop(candidates["test"].idxmin())
    assert candidates["test"].min() < 0.98 * others.min()
    assert candidates["test"].min() < errors.loc["seasonal naive", "test"]
    assert search.best_params_ != search.cv_results_["params"][0]
