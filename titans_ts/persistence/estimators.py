"""Save and load an estimator of any head, under the names that the registry knows it by.

A folder says which estimator wrote it as ``"language/TitansLanguageModel"``: the head's name and
the class's, never a place in a module. So a file chooses among the heads that are installed, and
nothing else is imported for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from titans_ts.errors import HeadPluginError, ParameterError, SavedModelError
from titans_ts.heads.registry import OURS, find_head_of, get_estimator
from titans_ts.persistence.folder import (
    FORECASTER,
    MODEL,
    Kind,
    encoded_parameters,
    read_arrays,
    read_header,
    refuse_lost_numbers,
    restoring,
    write_folder,
)
from titans_ts.persistence.forecasters import load_forecaster
from titans_ts.persistence.place import find_whole, read_whole
from titans_ts.persistence.plain_json import decode, encode

__all__ = ["SaveLoadMixin", "load_estimator", "load_model", "save_estimator"]

# Of a head, if one lists it, and of the class.
_NAMES = re.compile(r"(?:([a-z][a-z0-9-]*)/)?([A-Za-z_]\w*)")


Estimator = TypeVar("Estimator", bound="SaveLoadMixin")


class SaveLoadMixin:
    """``save`` and ``load`` for an estimator of a plug-in head.

    A class adds two methods: ``_fitted_state`` says what was fitted as values for JSON and arrays
    by name, and ``_restore_state`` takes them back. Parameters of the constructor are kept by
    themselves. A class with weights adds ``_to_device(device)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from titans_ts.persistence import SaveLoadMixin
    >>> class Mean(SaveLoadMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         self.mean_ = np.mean(X, axis=0)
    ...         return self
    ...
    ...     def _fitted_state(self):
    ...         return {}, {"mean": self.mean_}
    ...
    ...     def _restore_state(self, values, arrays):
    ...         self.mean_ = arrays["mean"]
    >>> folder = getfixture("tmp_path") / "mean"
    >>> Mean().fit([[1.0, 2.0], [3.0, 4.0]]).save(folder)
    >>> Mean.load(folder).mean_
    array([2., 3.])
    """

    #: Parameters that no longer matter after ``fit``, and may hold what JSON cannot keep.
    _dispensable_parameters: Collection[str] = ("trainer_kwargs", "random_state")

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what was fitted: values for JSON, and arrays by name; all numbers finite."""
        raise NotImplementedError

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Undo :meth:`_fitted_state` on an estimator that holds its parameters.

        The numbers may come from anybody: check sizes before anything is made of them. Whatever
        is raised becomes a SavedModelError.
        """
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to a folder, from which :func:`titans_ts.load_model` reads it.

        The folder holds a JSON and a safetensors file, and no pickle.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist yet, or one that an earlier ``save`` wrote. It is
            replaced as a whole: an interrupted save leaves what was there before.
        """
        check_is_fitted(self)
        save_estimator(self, path)

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> Self:
        """Read an estimator that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
        device : str, optional
            Where weights go, such as ``"cpu"`` or ``"cuda:0"``. Default: as the estimator chooses.

        Raises
        ------
        SavedModelError
            The folder is damaged, holds another kind of model, or is from a newer version.
        """
        return load_estimator(path, cls=cls, device=device)


def save_estimator(estimator: SaveLoadMixin, path: str | Path) -> None:
    """Write a fitted estimator to a folder.

    Parameters
    ----------
    estimator : SaveLoadMixin
        Fitted. One that no installed head lists can be loaded through its own class alone.
    path : str or Path
        As for :meth:`SaveLoadMixin.save`.

    Raises
    ------
    ParameterError
        ``path`` is a file or a folder that is not a saved model, or a parameter holds an object
        that cannot be saved.
    SavedModelError
        What was fitted could not be loaded again: an array holds NaN, infinite numbers or
        something else than numbers, or a value has no form in JSON.
    OSError
        The disk is full or not writable; whatever was at ``path`` before is still there.
    """
    values, arrays = estimator._fitted_state()
    _check_kept(type(estimator).__name__, values, arrays)
    parameters: dict[str, Any] = estimator.get_params(deep=False)  # type: ignore[attr-defined]
    name, package = _home_of(type(estimator))
    header = {
        "estimator": name,
        "package": package,
        "parameters": encoded_parameters(parameters, dispensable=estimator._dispensable_parameters),
        "state": encode(values),
    }
    write_folder(MODEL, path, header, arrays)


def _home_of(cls: type) -> tuple[str, str | None]:
    """What a class is called in a file, and which package it is from, unless that is ours."""
    head = find_head_of(cls)
    if head is None:
        return cls.__name__, None
    package = f"{head.package} {head.version}" if head.package != OURS else None
    return f"{head.name}/{cls.__name__}", package


def _check_kept(name: str, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Refuse what a load would refuse, while the model is still there."""
    for key, value in values.items():
        try:
            encode(value)
        except TypeError as error:
            raise SavedModelError(
                f"{name} was not saved: the value {key!r} of its _fitted_state cannot be written "
                f"({error}). Its authors should give it as numbers, text, lists, tuples or dicts."
            ) from error
    for key, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise SavedModelError(
                f"{name} was not saved: the array {key!r} of its _fitted_state is of type "
                f"{array.dtype}, expected numbers. Its authors should give text among the values."
            )
        if not np.isfinite(array).all():
            raise SavedModelError(
                f"{name} was not saved: the array {key!r} of its _fitted_state holds NaN or "
                "infinite numbers. Fit it again, or leave out of the state what is no weight."
            )


def load_estimator(
    path: str | Path, *, cls: type[Estimator] | None = None, device: str | None = None
) -> Estimator:
    """Read an estimator that :func:`save_estimator` wrote.

    Parameters
    ----------
    path : str or Path
    cls : type, optional
        The class to expect, or a base class of it; default: that of any installed head.
    device : str, optional
        Where weights go, for an estimator that has any.

    Returns
    -------
    estimator
        Fitted, of the class that was saved.

    Raises
    ------
    SavedModelError
        The folder is missing, damaged, holds another kind of model, is from a newer version, or
        of a head that is not installed.
    """
    return read_whole(Path(path), MODEL.json_file, partial(_load_from, cls, device=device))


def _load_from(
    cls: type[Estimator] | None, folder: Path, *, device: str | None = None
) -> Estimator:
    header = read_header(MODEL, folder)
    target = _class_of(header, cls, folder)
    arrays = read_arrays(MODEL, folder, header)
    with restoring(MODEL, folder, header, package=lambda: _home_of(target)[1]):
        for name, array in arrays.items():
            refuse_lost_numbers(MODEL, name, array)
        estimator = target(**decode(header["parameters"]))
        estimator._restore_state(decode(header["state"]), arrays)
    to_device: Callable[[str], None] | None = getattr(estimator, "_to_device", None)
    if device is not None and to_device is not None:
        to_device(device)
    return estimator


def load_model(path: str | Path, *, device: str | None = None) -> Any:
    """Read a saved model of any installed head: a forecaster, or an estimator of a plug-in.

    Parameters
    ----------
    path : str or Path
        A folder that ``save`` wrote.
    device : str, optional
        Where weights go, such as ``"cpu"`` or ``"cuda:0"``. Default: as the model chooses.

    Returns
    -------
    estimator
        Fitted, of the class that was saved.

    Raises
    ------
    SavedModelError
        The folder is damaged, from a newer version, or of a head that is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts import SeasonalNaiveForecaster, load_model
    >>> folder = getfixture("tmp_path") / "model"
    >>> forecaster = SeasonalNaiveForecaster(horizon=2, context_length=8)
    >>> forecaster.fit(np.arange(40.0)[:, None]).save(folder)
    >>> load_model(folder)
    SeasonalNaiveForecaster(context_length=8, horizon=2)
    """
    # Looked for twice: a save may replace the folder just then.
    kind = _kind_at(Path(path)) or _kind_at(Path(path))
    if kind is None:
        raise SavedModelError(
            f"No saved model in {str(path)!r}: expected a folder, written by save, with the file "
            f"{FORECASTER.json_file} or {MODEL.json_file}. Check the path."
        )
    if kind is FORECASTER:
        return load_forecaster(None, path, device=device)
    return load_estimator(path, device=device)


def _kind_at(path: Path) -> Kind | None:
    for kind in (FORECASTER, MODEL):
        if (find_whole(path, kind.json_file) / kind.json_file).is_file():
            return kind
    return None


def _class_of(header: dict[str, Any], cls: type[Estimator] | None, folder: Path) -> type[Estimator]:
    said = header.get("estimator")
    match = _NAMES.fullmatch(said) if isinstance(said, str) else None
    if match is None:
        raise SavedModelError(
            f"{str(folder)!r} holds a {said!r:.80}, expected a head and its estimator by name. "
            "The folder was altered; save the model again."
        )
    head, name = match.groups()
    if cls is not None and name == cls.__name__:
        return cls
    if head is None:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name:.80}, which no installed head lists. Load it through "
            "its own class."
        )
    try:
        found = get_estimator(head, name)
    except (HeadPluginError, ParameterError) as error:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name:.80} of the head {head[:80]!r}, which cannot be had "
            f"here. {error}"
        ) from error
    if not issubclass(found, SaveLoadMixin) or (cls is not None and not issubclass(found, cls)):
        wanted = "an estimator that is saved so" if cls is None else f"a {cls.__name__}"
        raise SavedModelError(
            f"{str(folder)!r} holds a {name}, not {wanted}. Name a folder of one, or load "
            "this one with titans_ts.load_model."
        )
    return cast("type[Estimator]", found)
