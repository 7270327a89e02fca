"""TitansSearchCV with the models of text."""

import pytest

from titans_ts import TitansSearchCV
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.tuning import default_space
from titans_ts.tuning.space import own_values, read_space


def test_the_default_space_holds_what_a_search_starts_from():
    estimator = TitansLanguageModel()
    space = read_space(default_space(estimator, 100), estimator)
    kept, _ = space.queued(own_values(estimator, space.names()), strict=True)
    assert set(kept) == set(space.names())


def test_a_language_model_is_searched_and_its_epochs_are_watched():
    model = TitansLanguageModel(
        dim=16,
        depth=1,
        n_heads=1,
        chunk_size=4,
        segment_length=8,
        context_length=32,
        batch_size=4,
        max_epochs=2,
        random_state=0,
        accelerator="cpu",
    )
    texts = ["Eins, zwei, Polizei, drei, vier, Grenadier. " * 5] * 12
    space = {"learning_rate": [3e-3, 1e-9]}
    found = TitansSearchCV(model, param_distributions=space, n_trials=2, random_state=0).fit(texts)
    assert found.best_params_ == {"learning_rate": 3e-3}
    assert found.best_score_ == pytest.approx(max(found.cv_results_["mean_test_score"]))
    assert found.best_estimator_.generate("Eins", max_new_tokens=5, seed=0)
    assert "validation_loss" in found.best_estimator_.history_[0]
    losses = [trial.intermediate_values for trial in found.study_.trials]
    assert all(len(each) == 2 for each in losses)


def test_the_space_of_a_language_model_holds_its_own_values():
    model = TitansLanguageModel(learning_rate=0.02, memory_depth=3, carried_segments=5)
    space = model.default_search_space()
    assert space["learning_rate"].support() == (0.005, 0.08)
    assert space["memory_depth"] == [1, 2, 3]
    assert space["carried_segments"] == [5, 8, 32]
    assert "weight_decay" not in model.set_params(weight_decay=0).default_search_space()
