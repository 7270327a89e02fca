"""TitansActivityClassifier: a scikit-learn classifier of windows, on the Titans backbone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from titans_activity.network import WindowClassifier
from titans_ts import DataError, ParameterError, TrainingInterrupted
from titans_ts.config import BackboneConfig
from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
from titans_ts.parameters import check_int, check_number
from titans_ts.persistence import SaveLoadMixin
from titans_ts.training import DeviceMixin, TrainingSettings

__all__ = ["TitansActivityClassifier"]

# Windows that are classified at a time.
BATCH = 512


class TitansActivityClassifier(SaveLoadMixin, DeviceMixin, ClassifierMixin, BaseEstimator):
    """Tell what somebody is doing from windows of what sensors measure.

    Parameters
    ----------
    patch_length : int, default 4
        Steps in a token.
    dim, depth, variant : default 24, 1, "mac"
        As in :class:`titans_ts.config.BackboneConfig`.
    max_epochs : int, default 20
        Passes over the windows.
    batch_size : int, default 32
        Windows in a training step.
    learning_rate : float, default 1e-2
        At its peak.
    validation_fraction : float, default 0.2
        Windows, drawn at random, by which the best epoch is chosen.
    patience : int, default 6
        Epochs without a better validation loss before training stops.
    accelerator : str, default "auto"
        A CUDA GPU where there is one, else the CPU.
    random_state : int, RandomState or None, default None
        Makes training repeatable.

    Attributes
    ----------
    classes_ : ndarray
        The labels, in the order of :meth:`predict_proba`'s columns.
    model_ : WindowClassifier
        The trained torch module.
    history_ : list of dict
        Training and validation loss of every epoch.

    Examples
    --------
    >>> from titans_activity.classifier import TitansActivityClassifier
    >>> from titans_activity.recordings import make_recordings
    >>> X, y = make_recordings(60, random_state=0)
    >>> classifier = TitansActivityClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (60, 4)
    """

    def __init__(
        self,
        *,
        patch_length: int = 4,
        dim: int = 24,
        depth: int = 1,
        variant: str = "mac",
        max_epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-2,
        validation_fraction: float = 0.2,
        patience: int = 6,
        accelerator: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.patch_length = patch_length
        self.dim = dim
        self.depth = depth
        self.variant = variant
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.accelerator = accelerator
        self.random_state = random_state

    # -- the scikit-learn API -----------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from labelled windows.

        Parameters
        ----------
        X : array of shape (windows, time, channels)
        y : array of shape (windows,)
            Labels: text or numbers.

        Returns
        -------
        self
        """
        from titans_activity.training import train  # imports Lightning

        backbone = BackboneConfig(variant=self.variant, dim=self.dim, depth=self.depth)
        settings = self._settings()
        windows = _read_windows(X)
        classes, codes = np.unique(_read_labels(y, len(windows)), return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"y holds the one label {classes.tolist()}; expected two or more.")
        n_steps = windows.shape[1]
        if self.patch_length > n_steps:
            raise ParameterError(
                f"patch_length must be at most the {n_steps} steps of a window, got "
                f"{self.patch_length!r}."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # first weights, drawn on the CPU
            model = WindowClassifier(
                backbone,
                n_channels=windows.shape[2],
                n_classes=len(classes),
                patch_length=self.patch_length,
            )
        usable = windows[:, : n_steps // self.patch_length * self.patch_length]
        result = train(
            model, usable, codes, settings, seed=seed, validation_fraction=self.validation_fraction
        )
        self._forget_device()
        self.model_, self.history_ = model, result.history
        self.classes_, self.n_steps_, self.n_channels_ = classes, n_steps, windows.shape[2]
        if result.interrupted:
            raise TrainingInterrupted("Training was stopped; the best weights so far are kept.")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, shape (windows, classes)."""
        check_is_fitted(self)
        windows = _read_windows(X)
        if windows.shape[1:] != (self.n_steps_, self.n_channels_):
            raise DataError(
                f"X has windows of shape {windows.shape[1:]}, expected "
                f"{(self.n_steps_, self.n_channels_)} (time, channels) as in fit."
            )
        usable = windows[:, : self.n_steps_ // self.patch_length * self.patch_length]
        model = self._model_in_place()
        parts = []
        with torch.inference_mode():
            for batch in torch.from_numpy(usable).split(BATCH):
                logits = model.verdict(batch.to(model.mean.device))
                parts.append(torch.softmax(logits, -1).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each window."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    # -- what SaveLoadMixin asks for ----------------------------------------------------------

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values = {
            "backbone": asdict(self.model_.backbone.config),
            "classes": self.classes_,
            "n_steps": self.n_steps_,
            "n_channels": self.n_channels_,
            "history": self.history_,
        }
        return values, weights_to_arrays(self.model_)

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        backbone, n_channels = values["backbone"], values["n_channels"]
        classes, n_steps = values["classes"], values["n_steps"]
        if not isinstance(classes, np.ndarray) or classes.ndim != 1:
            raise ValueError("classes are no list of labels")
        if not isinstance(n_steps, int) or n_steps < self.patch_length:
            raise ValueError(f"windows of {n_steps!r} steps")
        sizes = {"n_channels": n_channels, "patch_length": self.patch_length, **backbone}
        self.model_ = module_from_arrays(
            lambda: WindowClassifier(
                BackboneConfig(**backbone),
                n_channels=n_channels,
                n_classes=len(classes),
                patch_length=self.patch_length,
            ),
            arrays,
            sizes,
        )
        self.classes_, self.history_ = classes, values["history"]
        self.n_steps_, self.n_channels_ = n_steps, n_channels

    # -- inside -------------------------------------------------------------------------------

    def _settings(self) -> TrainingSettings:
        for name in ("patch_length", "max_epochs", "batch_size", "patience"):
            check_int(name, getattr(self, name))
        for name, most in (("learning_rate", 10), ("validation_fraction", 1)):
            check_number(name, getattr(self, name), minimum=0, maximum=most, exclusive=True)
        return TrainingSettings(
            # Lightning and torch take no whole numbers of numpy.
            max_epochs=int(self.max_epochs),
            batch_size=int(self.batch_size),
            learning_rate=self.learning_rate,
            patience=self.patience,
            # A fit takes some hundred steps: an average over more would lag behind.
            average_decay=0.9,
            accelerator=self.accelerator,
        )


def _read_windows(X: Any) -> np.ndarray:
    try:
        windows = np.asarray(X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"X must hold numbers: {error}.") from error
    if windows.ndim != 3 or not windows.size:
        raise DataError(
            f"X must have the shape (windows, time, channels) and hold something; got "
            f"{windows.shape}."
        )
    if not np.isfinite(windows).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(windows))[0])
        raise DataError(f"X holds NaN or infinite numbers, the first at {at}. Fill them first.")
    return windows


def _read_labels(y: Any, n: int) -> np.ndarray:
    labels = np.asarray(y)
    # Text of pandas comes as objects.
    if labels.dtype == object and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)
    if labels.shape != (n,) or labels.dtype.kind not in "biufU":
        raise DataError(
            f"y must hold one label for each of the {n} windows, all of them text or all numbers; "
            f"got shape {labels.shape} of type {labels.dtype}."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("y holds NaN or infinite numbers. Leave these windows out.")
    return labels
