"""What the estimators of this head share: how they are trained, and what they say they take."""

from __future__ import annotations

from typing import Any

from titans_ts.training import TrainingSettings
from titans_ts.training.estimators import training_settings

__all__ = ["sequence_settings", "takes_sequences"]


def sequence_settings(estimator: Any) -> TrainingSettings:
    """How an estimator's parameters ask it to be trained."""
    return training_settings(estimator, weight_decay=0.05, average_decay=0.99)


def takes_sequences(tags: Any) -> Any:
    """scikit-learn's tags of an estimator, altered to say that X is a list of texts."""
    tags.input_tags.string = True
    tags.input_tags.one_d_array = True
    tags.input_tags.two_d_array = False
    return tags
