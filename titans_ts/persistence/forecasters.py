"""Save a forecaster, with the rows that it forecasts from, and load it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np

import titans_ts
from titans_ts.data.schema import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.errors import SavedModelError
from titans_ts.persistence.ensembles import Ensemble, load_ensemble, save_ensemble
from titans_ts.persistence.files import sha256_of
from titans_ts.persistence.folder import (
    FORECASTER,
    MEMBERS,
    arrays_under,
    encoded_parameters,
    read_arrays,
    read_header,
    refuse_lost_numbers,
    restoring,
    write_folder,
)
from titans_ts.persistence.place import read_whole
from titans_ts.persistence.plain_json import decode, encode

__all__ = ["fingerprint", "load_forecaster", "save_forecaster"]

# A folder names its class; only these names of titans_ts are ever looked up.
_CLASSES = {
    "EnsembleForecaster",
    "LinearForecaster",
    "RidgeForecaster",
    "SeasonalNaiveForecaster",
    "TitansForecaster",
}

_DISPENSABLE = ("trainer_kwargs", "random_state")

_CONTEXT = ("values", "observed", "offsets")


class Saveable(Protocol):
    """What is needed of a forecaster; :class:`titans_ts.base.BaseForecaster` has it."""

    layout_: Layout
    context_: SeriesSet
    context_length_: int
    n_features_in_: int
    freq_: str | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""

    def _note_shape(self) -> None: ...

    def _check_loaded(self) -> None: ...

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]: ...

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None: ...

    def _transform_state(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]: ...

    def _restore_transform(
        self, values: dict[str, Any] | None, arrays: dict[str, np.ndarray]
    ) -> None: ...


Forecaster = TypeVar("Forecaster", bound=Saveable)


def save_forecaster(forecaster: Saveable, path: str | Path) -> None:
    """Write a fitted forecaster to a folder.

    Parameters ``trainer_kwargs`` and ``random_state`` are written as null where they hold objects
    that JSON cannot keep, such as callbacks; they do not matter after ``fit``.

    Parameters
    ----------
    forecaster : BaseForecaster
        Fitted.
    path : str or Path
        A folder that does not exist yet, or one that an earlier save wrote, which is replaced as a
        whole. Missing parent folders are made.

    Raises
    ------
    ParameterError
        ``path`` is a file or a folder that is not a saved forecaster, or another parameter holds
        an object that cannot be saved, or was changed to what makes no sense.
    OSError
        The disk is full or not writable. Whatever was at ``path`` before is still there, and
        nothing else.
    """
    forecaster._check_loaded()  # what a load would refuse, while the forecaster is still there
    if hasattr(forecaster, "members_"):
        save_ensemble(cast("Ensemble", forecaster), path, save_forecaster)
    else:
        write_folder(FORECASTER, path, *_describe(forecaster))


def load_forecaster(
    cls: type[Forecaster] | None, path: str | Path, *, device: str | None = None
) -> Forecaster:
    """Read a forecaster that :func:`save_forecaster` wrote.

    Parameters
    ----------
    cls : type, optional
        The class to expect, or a base class of it; None for any of ours. A class of the caller's
        own is found by its name being that of ``cls``.
    path : str or Path
    device : str, optional
        Where weights go, for a forecaster that has any.

    Returns
    -------
    BaseForecaster
        Fitted, of the class that was saved.

    Raises
    ------
    SavedModelError
        The folder is missing, damaged, holds another kind of forecaster or is from a newer
        version.
    """
    read = partial(_load_from, cls, device=device)
    return read_whole(Path(path), FORECASTER.json_file, read)


def fingerprint(path: str | Path) -> str:
    """Tell one saved forecaster from all others: the checksum of the file that has all checksums.

    Parameters
    ----------
    path : str or Path
        A folder that :func:`load_forecaster` reads.
    """
    name = FORECASTER.json_file
    return read_whole(Path(path), name, lambda folder: sha256_of(folder / name))


def _load_from(
    cls: type[Forecaster] | None, folder: Path, *, device: str | None = None
) -> Forecaster:
    header = read_header(FORECASTER, folder)
    target = _class_of(header, cls, folder)
    if MEMBERS in header:
        load = partial(load_forecaster, None, device=device)
        return cast("Forecaster", load_ensemble(cast("Any", target), folder, header, load))
    arrays = read_arrays(FORECASTER, folder, header)
    with restoring(FORECASTER, folder, header):
        forecaster = _restore(target, header, arrays)
    to_device: Callable[[str], None] | None = getattr(forecaster, "_to_device", None)
    if device is not None and to_device is not None:
        to_device(device)
    return forecaster


def _restore(
    target: type[Forecaster], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Forecaster:
    for name, array in arrays.items():
        # A static covariate may be missing, and a transform may not know a series.
        if name.startswith(("state.", "context.")) and not name.endswith(".static"):
            refuse_lost_numbers(FORECASTER, name, array)
    forecaster = target(**decode(header["parameters"]))
    fitted = decode(header["fitted"])
    for name in ("context_length_", "n_features_in_", "freq_"):
        setattr(forecaster, name, fitted[name])
    forecaster._note_shape()  # it was this, when it was saved
    if fitted["feature_names_in_"] is not None:
        names = np.array(fitted["feature_names_in_"], dtype=object)
        setattr(forecaster, "feature_names_in_", names)  # noqa: B010 - may be absent
    forecaster.layout_ = Layout.from_dict(fitted["layout_"])
    forecaster.context_ = _context_of(arrays, forecaster.layout_)
    forecaster._check_loaded()
    # Written since target transforms exist.
    transform = decode(header.get("target_transform"))
    forecaster._restore_transform(transform, arrays_under(arrays, "target_transform."))
    forecaster._restore_state(decode(header["state"]), arrays_under(arrays, "state."))
    return forecaster


def _describe(forecaster: Saveable) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What goes into the two files."""
    transform, transform_arrays = forecaster._transform_state()
    parameters = forecaster.get_params(deep=False)
    if "target_transform" in parameters:  # kept as it was fitted
        parameters["target_transform"] = None
    names = getattr(forecaster, "feature_names_in_", None)
    values, own = forecaster._fitted_state()
    fitted = {
        "layout_": forecaster.layout_.to_dict(),
        "context_length_": forecaster.context_length_,
        "n_features_in_": forecaster.n_features_in_,
        "feature_names_in_": None if names is None else list(names),
        "freq_": forecaster.freq_,
    }
    header = {
        "class": type(forecaster).__name__,
        "parameters": encoded_parameters(parameters, dispensable=_DISPENSABLE),
        "fitted": encode(fitted),
        "target_transform": encode(transform),
        "state": encode(values),
    }
    arrays = _set_arrays(forecaster.context_, "context.")
    arrays.update({f"target_transform.{name}": a for name, a in transform_arrays.items()})
    arrays.update({f"state.{name}": array for name, array in own.items()})
    return header, arrays


def _class_of(
    header: dict[str, Any], cls: type[Forecaster] | None, folder: Path
) -> type[Forecaster]:
    name = header.get("class")
    if cls is not None and name == cls.__name__:
        return cls
    if not isinstance(name, str) or name not in _CLASSES:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name!r:.80}, which titans_ts does not know. If it is a "
            "class of your own, load it through that class."
        )
    saved = cast("type[Forecaster]", getattr(titans_ts, name))
    if cls is not None and not issubclass(saved, cls):
        raise SavedModelError(
            f"{str(folder)!r} holds a {name}, not a {cls.__name__}. Load it with {name}.load."
        )
    return saved


def _set_arrays(series: SeriesSet, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a set, its covariates included."""
    arrays = {f"{prefix}{name}": getattr(series, name) for name in _CONTEXT}
    for role, part in (("past", series.past), ("known", series.known)):
        if part is not None:
            arrays |= _set_arrays(part, f"{prefix}{role}.")
    return arrays if series.static is None else {**arrays, f"{prefix}static": series.static}


def _context_of(arrays: dict[str, np.ndarray], layout: Layout) -> SeriesSet:
    def read(prefix: str, channels: tuple[str, ...]) -> SeriesSet:
        values, observed, offsets = (arrays[f"{prefix}{name}"] for name in _CONTEXT)
        rows = (values.ndim == 2, observed.shape == values.shape, values.shape[-1] == len(channels))
        cuts = offsets.ndim == 1 and len(offsets) > 1 and offsets[0] == 0
        if not all(rows) or not cuts or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
            raise ValueError(
                f"the kept context has values of shape {values.shape}, a mask of shape "
                f"{observed.shape} and offsets {offsets.tolist()[:5]} for {len(channels)} channels"
            )
        return SeriesSet.from_rows(values, observed, offsets, channels)

    series = read("context.", layout.channels)
    covariates = layout.covariates
    past, known = (
        tuple(str(c.label) for c in part) for part in (covariates.past, covariates.known)
    )
    return replace(
        series,
        past=read("context.past.", past) if past else None,
        known=read("context.known.", known) if known else None,
        static=arrays["context.static"] if covariates.static else None,
        ids=layout.ids or None,
    )
