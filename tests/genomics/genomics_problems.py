"""Sequences with something to learn, and tiny estimators that learn it in a second."""

import numpy as np

from titans_ts.plugins.genomics import TitansSequenceClassifier, TitansSequenceModel

TINY = {"dim": 8, "max_epochs": 6, "learning_rate": 1e-2, "accelerator": "cpu", "random_state": 0}


def boxes(n=240, seed=0, *, shortest=19, longest=41):
    """Random DNA of unequal length; every other sequence has TATAAA somewhere in it."""
    rng = np.random.default_rng(seed)
    sequences, labels = [], np.where(np.arange(n) % 2, "box", "none")
    for label in labels:
        sequence = "".join(rng.choice(list("ACGT"), rng.integers(shortest, longest)))
        if label == "box":
            place = rng.integers(len(sequence) - 6)
            sequence = sequence[:place] + "TATAAA" + sequence[place + 6 :]
        sequences.append(sequence)
    return sequences, labels


def tiny_classifier(**options):
    return TitansSequenceClassifier(
        **{**TINY, "motifs": 13, "motif_length": 7, "pool": 5, "batch_size": 32, **options}
    )


def tiny_model(**options):
    small = {**TINY, "n_heads": 1, "context_length": 32, "batch_size": 16, "max_epochs": 3}
    return TitansSequenceModel(**{**small, **options})
