"""scikit-learn's own checks of a classifier.

Most of them hand over tables of numbers, and a tag that says "sequences, not tables" makes
scikit-learn skip all of those. What they ask of labels, shapes, clones and repeated fits makes
sense for sequences too, so here a thin class spells each row of numbers as DNA, and all checks run
on it.
"""

import numpy as np
import pytest
from genomics_problems import tiny_classifier, tiny_model
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from titans_ts.plugins.genomics import TitansSequenceClassifier, TitansSequenceModel


class SpelledClassifier(TitansSequenceClassifier):
    """A classifier of tables: the larger a number, the more A and the fewer G spell it."""

    def _spell(self, X, *, reset):
        X = validate_data(self, X, reset=reset)
        levels = np.clip(np.round(2 * X), -12, 12).astype(int)
        return ["".join("C" + "A" * (12 + n) + "G" * (12 - n) for n in row) for row in levels]

    def fit(self, X, y, **options):
        sequences = self._spell(X, reset=True)
        return super().fit(sequences, y, **options)

    def predict_log_proba(self, X):
        check_is_fitted(self)
        return super().predict_log_proba(self._spell(X, reset=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = False
        tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        return tags


# No rows are held out: the checks ask what was learnt of the rows that were given, and of so few a
# tenth is twenty, among which a single outlier ends the learning after one epoch.
SPELLED = SpelledClassifier(
    **tiny_classifier(
        composition=3, max_epochs=12, class_weight=None, dropout=0.0, validation_fraction=0.0
    ).get_params()
)


@pytest.mark.slow
@parametrize_with_checks([SPELLED])
def test_a_classifier_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [tiny_classifier(), tiny_model()])
def test_scikit_learn_itself_gives_no_data_to_what_takes_sequences(estimator):
    with pytest.warns(UserWarning, match="Can't test estimator"):
        pairs = list(estimator_checks_generator(estimator))
    names = {check.func.__name__ for _, check in pairs}
    assert "check_classifiers_train" not in names
    for given, check in pairs:
        check(given)


def test_the_tags_say_that_text_is_taken():
    tags = TitansSequenceClassifier().__sklearn_tags__()
    assert (tags.estimator_type, tags.target_tags.required) == ("classifier", True)
    assert (tags.input_tags.string, tags.input_tags.two_d_array) == (True, False)
    assert not TitansSequenceModel().__sklearn_tags__().target_tags.required
