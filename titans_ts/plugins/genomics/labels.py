"""Labels of sequences: checked, numbered, weighed, and some of their rows held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Number, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from titans_ts.errors import DataError, ParameterError
from titans_ts.plugins.genomics.coding import CodedSequences, group_copies

__all__ = ["class_weights", "hold_out", "read_labels"]

# Labels that a message shows.
MOST_SHOWN = 5


def read_labels(y: Any, n: int, classes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Number the labels.

    Parameters
    ----------
    y : array-like of shape (n,)
    n : int
        How many sequences there are.
    classes : ndarray, optional
        Labels that are known; others are then refused.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted.
    labels : ndarray of shape (n,), int64
        Places in ``classes``.

    Raises
    ------
    DataError
        There are none, too many or too few, some are missing or no classes, they are bytes or of
        several types, or all are one.
    """
    if y is None:
        # scikit-learn's own checks look for these words.
        raise DataError("fit requires y to be passed, but the target y is None: give a label each.")
    # NumPy's text of any length; and columns of pandas with types of its own, whose numbers and
    # booleans would all become floats.
    for dtype in y.dtypes if isinstance(y, pd.DataFrame) else [getattr(y, "dtype", None)]:
        if getattr(dtype, "kind", "") == "T" or isinstance(dtype, pd.api.extensions.ExtensionDtype):
            y = np.asarray(y, dtype=object)
    try:
        _check_elements(y)
        y = _inferred(column_or_1d(y, warn=True))
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("Input y contains infinity")
        check_classification_targets(y)
        if y.dtype.kind not in "biufUO":  # which no saved model could write down
            raise DataError(
                f"The labels are of the type {type(y[0]).__name__}, such as {y[0]!r}; expected "
                "text, numbers, or True and False. Write them as text."
            )
    except DataError:
        raise
    except TypeError as error:
        raise DataError(
            f"The labels are of several types, which cannot be sorted ({error}). Make all of them "
            "text, or all numbers."
        ) from error
    except ValueError as error:
        raise DataError(
            f"The labels cannot be used: {error}. Expected one label for each sequence, text or "
            "whole numbers."
        ) from error
    if len(y) != n:
        raise DataError(
            f"There are {n} sequences and {len(y)} labels (inconsistent numbers of samples); "
            "expected one label for each."
        )
    if classes is None:
        encoder = LabelEncoder()
        labels = encoder.fit_transform(y)
        if len(encoder.classes_) < 2:
            raise DataError(
                f"All {n} labels are of one class, {encoder.classes_.tolist()[0]!r}; expected two "
                "classes at least. Give sequences of the other classes too."
            )
        return encoder.classes_, labels.astype(np.int64)
    places = {label: i for i, label in enumerate(classes.tolist())}
    unknown = list(dict.fromkeys(label for label in y.tolist() if label not in places))
    if unknown:
        raise DataError(
            f"The labels {unknown[:MOST_SHOWN]} are none of those to learn, "
            f"{classes.tolist()[:MOST_SHOWN]}. Give training rows of them, or leave them out."
        )
    return classes, np.array([places[label] for label in y.tolist()], dtype=np.int64)


def _check_elements(y: Any) -> None:
    """Refuse labels that are missing, bytes, or of several kinds.

    They are looked at one by one: in an array of text, NaN is the label 'nan', and 1 is '1'.
    """
    if isinstance(y, np.ndarray) and y.dtype.kind in "biuU":
        return
    labels = np.asarray(y, dtype=object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        return
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"Label {missing[0]}{more} is missing: {labels[missing[0]]}. Expected one label for "
            "each sequence; give one, or leave the sequence out."
        )
    first: dict[str, int] = {}
    for row, label in enumerate(labels.tolist()):
        first.setdefault(_kind_of(label), row)
    if len(first) > 1:
        examples = ", ".join(f"label {row} is {labels[row]!r}" for row in first.values())
        raise DataError(
            f"The labels are of several types, which cannot be sorted: {examples}. Make all of "
            "them text, or all numbers."
        )
    if "bytes" in first:
        raise DataError(
            f"The labels are bytes, such as {labels[0]!r}; expected text, numbers, or True and "
            "False. Decode them, as by [label.decode() for label in y]."
        )


def _inferred(y: np.ndarray) -> np.ndarray:
    """Numbers that an array holds as objects, as numbers: scikit-learn takes such for no labels."""
    if y.dtype.kind == "O" and {_kind_of(label) for label in y.tolist()} == {"number"}:
        return np.array(y.tolist())
    return y


def _kind_of(label: Any) -> str:
    if isinstance(label, str):
        return "text"
    if isinstance(label, bytes):
        return "bytes"
    # Of NumPy's own, its booleans alone are no numbers to Python.
    return "number" if isinstance(label, Number | np.bool_) else type(label).__name__


def class_weights(weight: Any, classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What an error in each class costs, shape (n_classes,).

    Parameters
    ----------
    weight : "balanced", mapping from label to number, or None
    classes, labels
        As :func:`read_labels` returns them.
    """
    # The type first: an array that is compared with a text has no one truth.
    balanced = isinstance(weight, str) and weight == "balanced"
    if weight is not None and not balanced and not isinstance(weight, Mapping):
        raise ParameterError(
            f"class_weight must be 'balanced', a dict from label to number, or None; got "
            f"{weight!r}."
        )
    if isinstance(weight, Mapping):
        unknown = [label for label in weight if label not in set(classes.tolist())]
        if unknown:
            raise ParameterError(
                f"class_weight names {unknown[:MOST_SHOWN]}, but the classes are "
                f"{classes.tolist()[:MOST_SHOWN]}."
            )
        given = [weight.get(label, 1.0) for label in classes.tolist()]
        wrong = [w for w in given if not isinstance(w, Real) or not math.isfinite(w) or w < 0]
        if wrong or not any(given):
            raise ParameterError(
                f"class_weight must be numbers of at least 0 that are not all 0, got {weight!r}."
            )
        return np.array(given, dtype=np.float64)
    kinds = np.arange(len(classes))
    return np.asarray(compute_class_weight(weight, classes=kinds, y=labels), dtype=np.float64)


def hold_out(
    sequences: CodedSequences,
    labels: np.ndarray,
    fraction: float,
    seed: int,
    *,
    either_strand: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows to judge by, as many of each class as it has a share of them, and one at least.

    A class with one sequence is learnt only, and with a ``fraction`` of 0 all are. Copies of a
    sequence go together: one that is learnt says nothing about learning when it is met again.
    With ``either_strand``, its reverse complement is a copy of it too.

    Returns
    -------
    training, validation : ndarray of int
        Rows in their order; every class has a row to learn from.
    """
    rng = np.random.default_rng(seed)
    groups = group_copies(sequences, either_strand=either_strand)
    first = labels[[rows[0] for rows in groups]]
    held = np.zeros(len(labels), dtype=bool)
    for label in range(int(labels.max()) + 1):
        members = rng.permutation(np.flatnonzero(first == label))
        # One at least: a rare class that is not judged has no say in what is kept.
        n_held = max(round(fraction * len(members)), 1) if fraction else 0
        for group in members[: min(n_held, len(members) - 1)]:
            held[groups[group]] = True
    # A class whose sequences are all copies of another's.
    lost = np.setdiff1d(np.unique(labels), np.unique(labels[~held]))
    for group in groups:
        if np.isin(labels[group], lost).any():
            held[group] = False
    return np.flatnonzero(~held), np.flatnonzero(held)
