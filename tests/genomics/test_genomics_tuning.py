"""TitansSearchCV with the models of DNA."""

import pytest

from titans_ts import TitansSearchCV
from titans_ts.plugins.genomics import TitansSequenceClassifier, TitansSequenceModel
from titans_ts.tuning import default_space
from titans_ts.tuning.space import own_values, read_space


@pytest.mark.parametrize(
    "estimator",
    [TitansSequenceClassifier(), TitansSequenceModel()],
    ids=lambda each: type(each).__name__,
)
def test_the_default_space_holds_what_a_search_starts_from(estimator):
    space = read_space(default_space(estimator, 100), estimator)
    kept, _ = space.queued(own_values(estimator, space.names()), strict=True)
    assert set(kept) == set(space.names())


def test_a_classifier_of_dna_is_searched():
    sequences, labels = ["ACGT" * 5, "TTGA" * 5] * 15, ["one", "two"] * 15
    model = TitansSequenceClassifier(dim=8, motifs=8, max_epochs=1, random_state=0)
    search = TitansSearchCV(model, n_trials=2, scoring="neg_log_loss", random_state=0)
    found = search.fit(sequences, labels)
    assert found.predict(sequences[:2]).tolist() == ["one", "two"]
    assert "dropout" in found.best_params_
